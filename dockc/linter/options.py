"""How to lint: profile, rules chosen, severities changed, and the options of rules."""

from __future__ import annotations

from types import MappingProxyType

from dockc.base.record import Record
from dockc.grammar.diagnostic import Severity
from dockc.linter.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    #: Runs ShellCheck on scripts that begin with `#!`: for each script, the comments of its `json1` output.
    Checker: TypeAlias = Callable[[Sequence[str]], Sequence[list[dict[str, Any]]]]
else:
    Checker = object

PROFILES = ("dockc", "hadolint", "buildkit")
#: The set of all that is right but not worth everybody's while; named where codes of rules are.
STRICT = "strict"


class LintOptions(Record, kw_only=True):
    """What decides which findings come out.

    Attributes:
        profile: `dockc` (its own defaults), `hadolint` or `buildkit` (those tools' findings exactly).
        settings: options that rules read.
        select: only these codes or name prefixes; empty for the profile's own.
        extend: codes that are on besides the profile's own.
        ignored: codes that are off.
        severities: code to severity; None is off. Also switches a rule on that the profile leaves off.
        pragmas: whether suppressing comments count.
        shellcheck: None uses ShellCheck where it is installed, True demands it, False leaves it.
        checker: what runs ShellCheck; None where it is not installed or not wanted.
        attrs: frontend options for the checks that compile (`build-arg:`, `target`, `platform`).
        images: what is known about base images: name without tag to architecture; all others run on the target
            platform.
        ignore_file: text of the context's ignore file, or None.
    """

    profile: str = "dockc"
    settings: Settings = Settings()
    select: tuple[str, ...] = ()
    extend: frozenset[str] = frozenset()
    ignored: frozenset[str] = frozenset()
    severities: Mapping[str, Severity | None] = MappingProxyType({})
    pragmas: bool = True
    shellcheck: bool | None = None
    checker: Checker | None = None
    attrs: Mapping[str, str] = MappingProxyType({})
    images: Mapping[str, str] = MappingProxyType({})
    ignore_file: bytes | None = None

    @property
    def strict(self) -> bool:
        """Whether findings of the set `strict` are wanted."""
        return STRICT in self.select or STRICT in self.extend
