"""DK0406 volume-then-write."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.words import unquoted


class VolumeThenWrite(Rule):
    """Reports RUN, COPY and ADD into a directory that an earlier VOLUME of the stage names, and VOLUME on `/dev`,
    `/proc` or `/sys`.

    ## Why

    The classic builder throws away what is written there, and whoever mounts something over it does not see it. Write
    first, declare last.
    """

    code = "DK0406"
    name = "volume-then-write"
    summary = "A directory is written after it was made a volume"
    severity = Severity.INFO
    equivalents = ("dockle:DKL-LI-0002",)
    bad = "FROM debian:12\nVOLUME /data\nCOPY seed.db /data/\n"
    good = "FROM debian:12\nCOPY seed.db /data/\nVOLUME /data\n"

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        scripts = {script.entry.index: script for script in context.runs if not script.onbuild}
        for stage in context.stages:
            volumes: list[str] = []
            for entry in stage:
                found = entry.instruction
                if isinstance(found, ast.Volume):
                    for word in found.volumes:
                        path = "/" + unquoted(word.text).strip("/")
                        if path == "/sys/fs/cgroup":
                            continue  # what systemd in a container asks for
                        if re.match(r"/(?:dev|proc|sys)(?:/|$)", path):
                            yield Hit(
                                word.span, f"{path} belongs to the kernel", entry.node.lines, severity=Severity.WARNING
                            )
                        elif "$" not in path and path != "/":
                            volumes.append(path)
                elif isinstance(found, ast.SourcesAndDest):
                    if volume := _inside(unquoted(found.dest.text), volumes):
                        yield Hit(found.dest.span, f"{volume} is a volume already", entry.node.lines)
                elif entry.index in scripts:
                    script = scripts[entry.index]
                    for command in script.shell.commands:
                        if command.name in _WRITERS and (
                            argument := next((a for a in command.arguments if _inside(a.text, volumes)), None)
                        ):
                            volume = _inside(argument.text, volumes)
                            yield Hit(script.span(argument.start, argument.end), f"{volume} is a volume already")
                            break


_WRITERS = frozenset(["chmod", "chown", "cp", "mkdir", "mv", "touch", "tee", "ln", "install", "chgrp", "tar", "unzip"])


def _inside(path: str, volumes: list[str]) -> str:
    """The volume that a path lies in, or ""."""
    return next((v for v in volumes if path == v or path.startswith(f"{v}/")), "")
