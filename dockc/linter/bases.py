"""What a stage stands on, as far as the file says: its chain of stages, the image at the bottom, and what that image is known for.

Base images are not asked about; but their names tell much: which shell `/bin/sh` is, and whether the stage is one of Windows.
"""

from __future__ import annotations

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.compiler.syntax import ast
from dockc.linter.context import Context, Entry
from dockc.linter.families import alias, unquoted

_WINDOWS = pattern(r"(^|[/:-])(windows|nanoserver|windowsservercore|servercore|dotnet/framework)", 0)
_SHELLS = (
    ("busybox", pattern(r"(^|[/:._-])(alpine|busybox)", 0)),
    ("dash", pattern(r"(^|[/:._-])(debian|ubuntu|buildpack-deps|slim|bookworm|bullseye|buster|trixie|noble|jammy|focal)", 0)),
    ("bash", pattern(r"(^|[/:._-])(fedora|centos|rockylinux|almalinux|ubi[0-9]*|rhel|amazonlinux|oraclelinux|opensuse|leap|tumbleweed|archlinux)", 0)),
)


class Base(Record):
    """What is at the bottom of a stage.

    Attributes:
        image: as written in the lowest FROM; "scratch" for nothing at all.
        stages: indices of the stages from the stage itself down.
        windows: it is an image of Windows.
        shell: what `/bin/sh` is in it: `busybox`, `dash`, `bash`, or "" where the name does not say.
    """

    image: str
    stages: tuple[int, ...]
    windows: bool = False
    shell: str = ""


def bases(context: Context) -> tuple[Base, ...]:
    """One for each stage of a file, in order."""
    found: list[Base] = []
    names: dict[str, int] = {}
    for index, stage in enumerate(context.stages):
        from_ = stage[0].instruction if stage else None
        if not isinstance(from_, ast.From):
            found.append(Base("", (index,)))
            continue
        below = names.get(unquoted(from_.base.text).lower())
        if below is None:
            found.append(_bottom(context, from_, stage, index))
        else:
            lower = found[below]
            found.append(Base(lower.image, (index, *lower.stages), lower.windows, lower.shell))
        if alias(from_):
            names[alias(from_).lower()] = index
    return tuple(found)


def _bottom(context: Context, from_: ast.From, stage: tuple[Entry, ...], index: int) -> Base:
    text = unquoted(from_.base.text).lower()
    windows = "windows" in from_.platform.text.lower() or _WINDOWS.search(text) is not None
    shell = "" if windows else next((name for name, known in _SHELLS if known.search(text)), "")
    return Base(unquoted(from_.base.text), (index,), windows, shell)
