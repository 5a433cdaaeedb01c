"""DL3010 use-add-for-archives."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.families import ARCHIVES, stretches
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell.commands import Command
from dockc.linter.words import unquoted

_UNPACKERS = frozenset(["unzip", "gunzip", "bunzip2", "unlzma", "unxz", "zgz", "uncompress", "zcat", "gzcat"])


class UseAddForArchives(Rule):
    """Reports COPY of an archive that a later RUN of the stage unpacks.

    ## Why

    ADD unpacks local archives itself: the archive is not left in a layer, and no unpacking tool is needed.
    """

    code = "DL3010"
    name = "use-add-for-archives"
    summary = "COPY of an archive that is unpacked later"
    severity = Severity.INFO
    hadolint_severity = Severity.INFO
    equivalents = ("hadolint:DL3010",)
    bad = "FROM debian:12\nCOPY app.tar.gz /tmp/\nRUN tar -xzf /tmp/app.tar.gz\n"
    good = "FROM debian:12\nADD app.tar.gz /opt/\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        scripts = {id(s.entry): s for s in context.runs if not s.onbuild}
        found = list(stretches(context))
        for entries in found[-1:] if context.parity else found:  # hadolint forgets stages that are followed by another
            copied: list[tuple[str, Entry, ast.Copy]] = []
            hits: dict[int, tuple[Entry, ast.Copy]] = {}
            for entry in entries:
                if isinstance(entry.instruction, ast.Copy) and not entry.instruction.from_.text:
                    copied += [(name, entry, entry.instruction) for name in _archives(entry.instruction)]
                elif id(entry) in scripts:
                    for name, at, copy in copied:
                        if any(_unpacks(c, name) for c in scripts[id(entry)].shell.commands):
                            hits[at.index] = (at, copy)
            for at, copy in hits.values():
                yield Hit(copy.span, "Use `ADD` for extracting archives into an image", at.node.lines)


def _basename(path: str) -> str:
    return unquoted(path).replace("\\", "/").rsplit("/", 1)[-1]


def _archives(copy: ast.Copy) -> list[str]:
    dest = unquoted(copy.dest.text)
    if dest.endswith(ARCHIVES):
        return [_basename(dest)]
    return [_basename(s.text) for s in copy.sources if unquoted(s.text).endswith(ARCHIVES)]


def _unpacks(command: Command, archive: str) -> bool:
    if command.name == "tar":
        flags = command.texts
        if not any(f in {"--extract", "--get"} or (f.startswith("-") and "x" in f) for f in flags):
            return False
    elif command.name not in _UNPACKERS:
        return False
    return archive in {_basename(w) for w in command.words}
