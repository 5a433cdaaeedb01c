"""Which stages' files end up in an image: one answer for all rules about what is left behind in layers."""

from __future__ import annotations

from collections.abc import Sequence

from dockc.compiler.syntax import ast
from dockc.linter.bases import Base
from dockc.linter.sheet import Sheet
from dockc.linter.values import Values
from dockc.linter.words import mounts, unquoted


def kept_stages(sheet: Sheet, bases: Sequence[Base], values: Values) -> frozenset[int]:
    """Stages whose file system reaches an image that somebody may build.

    These are the last stage and each named one that nothing else uses (a target), what they are built FROM, and what is
    copied into them as a whole.
    """
    feeds: dict[int, set[int]] = {}  # stage -> those whose whole file system it has
    used: set[int] = set()
    count = len(sheet.stages)
    for entry in sheet.entries:
        found = entry.instruction.trigger if isinstance(entry.instruction, ast.Onbuild) else entry.instruction
        if isinstance(found, ast.From):
            for below in bases[entry.stage].below:
                feeds.setdefault(entry.stage, set()).add(below)
                used.add(below)
        elif isinstance(found, ast.SourcesAndDest) and isinstance(found, ast.Copy) and found.from_.text:
            source = _stage(unquoted(found.from_.text), entry.stage, values)
            if source is not None:
                used.add(source)
                if any((values.word(word, entry) or "") in _WHOLE for word in found.sources):
                    feeds.setdefault(entry.stage, set()).add(source)
        if found is not None:
            named = (_stage(mount["from"], entry.stage, values) for mount in mounts(found) if mount.get("from"))
            used.update(stage for stage in named if stage is not None)
    names = {
        i
        for i, stage in enumerate(sheet.stages)
        if isinstance(stage[0].instruction, ast.From) and stage[0].instruction.stage_name
    }
    queue = [*(names - used), count - 1] if count else []
    kept: set[int] = set()
    while queue:
        stage = queue.pop()
        if stage not in kept:
            kept.add(stage)
            queue += feeds.get(stage, ())
    return frozenset(kept)


#: Sources of COPY that mean everything.
_WHOLE = frozenset(["/", "/.", "/*", ".", "./", "*"])


def _stage(name: str, current: int, values: Values) -> int | None:
    """The stage that `--from` names, by name or number."""
    if name.isdigit():
        return int(name) if int(name) < current else None
    return values.stage(name)
