"""Chooses how progress is shown, and shows what commands on the store found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

from dockc.errors import UsageError
from dockc.solver.progress import SolveStatus

if TYPE_CHECKING:
    from dockc.runtime.store.images import NamedImage

MODES = ("auto", "tty", "plain", "rawjson", "quiet", "none")


class View(Protocol):
    """A status sink with an end."""

    def __call__(self, status: SolveStatus) -> None:
        """Take one batch."""
        ...

    def finish(self, error: BaseException | None = None, *, logs: bool = True) -> None:
        """Show what is left; logs of failed steps once more, unless `logs` is off."""
        ...


def make_view(mode: str, out: TextIO, color: str = "auto", *, brief: bool = False) -> View:
    """The view of a mode; `auto` is `tty` on a terminal that can move its cursor, else `plain`. `color` is what the
    line says of colours; with `brief`, lines leave it to the error at the end to say what went wrong.

    Raises:
        UsageError: no such mode, or `tty` where there is no terminal.
    """
    if mode not in MODES:
        raise UsageError(f"invalid progress mode {mode}", hint=f"Choose one of {', '.join(MODES)}.")
    if mode == "rawjson":
        from dockc.console.rawjson import RawJsonProgress

        return RawJsonProgress(out)
    if mode in ("quiet", "none"):
        from dockc.console.plain import QuietProgress

        return QuietProgress(out)
    import os

    from dockc.base.style import style_of
    from dockc.console.look import look_of

    look = look_of(os.environ)
    for trouble in look.troubles:
        out.write(f"warning: {trouble}\n")
    if mode == "tty" or (mode == "auto" and out.isatty() and _can_move()):
        if not out.isatty():
            raise UsageError("progress mode tty needs a terminal", hint="Use --progress=plain.")
        from dockc.console.progress import TtyProgress

        return TtyProgress(out, look=look, color=style_of(out, os.environ, color).color)
    from dockc.console.plain import PlainProgress

    return PlainProgress(out, cut=look.cut, brief=brief)


def _can_move() -> bool:
    import os

    return os.environ.get("TERM", "dumb") not in {"", "dumb"}


def render_images(images: Sequence[NamedImage], *, as_json: bool = False) -> str:
    """A table of named images, or a JSON object a line."""
    if as_json:
        return "".join(
            json.dumps(
                {
                    "name": i.name,
                    "digest": i.target.digest,
                    "platforms": list(i.platforms),
                    "size": i.size,
                    "created": i.created,
                }
            )
            + "\n"
            for i in images
        )
    from dockc.base.units import size_text
    from dockc.console.tables import table

    rows = [(i.name, i.target.digest[7:19], ", ".join(i.platforms), size_text(i.size)) for i in images]
    return table(("NAME", "DIGEST", "PLATFORMS", "SIZE"), rows, right=(3,))
