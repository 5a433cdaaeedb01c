"""Drop results that nobody asked for."""

from __future__ import annotations

from typing import ClassVar

from dockc.base.record import Record
from dockc.compiler.ir.module import Module
from dockc.compiler.passes.pipeline import PassContext


class Prune(Record):
    """Drop the results that are not wanted, and with them every operation that only they need.

    What it does: of a module with several results, keeps the one named by `keep` (and all of them if that is
    `*`). Operations that no kept result reads are gone with them.

    When it is legal: always; a result never depends on another result's operations.

    What it changes: nothing in the definition of the kept results, byte for byte.

    Example:
        `result %7` and `result %3 "base"` become `result %7`; operations only below `%3` disappear.

    Options:
        keep: the name of the result; the empty name is the image.
    """

    name: ClassVar[str] = "prune"
    keep: str = "*"

    def run(self, module: Module, context: PassContext) -> Module:
        """See the class."""
        if self.keep == "*" or list(module.outputs) == [self.keep]:
            return module
        kept = {name: value for name, value in module.outputs.items() if name == self.keep}
        return Module(kept, module.platform)
