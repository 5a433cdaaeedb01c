"""The only writer of results: standard output or a file, and what is said beside them.

A reader who has gone ends the command quietly (`BrokenPipeError`, exit status 141), a full disk is an error with one
line, and a file that cannot
be written is wrong usage. Nothing that failed is tried again when the interpreter ends.
"""

from __future__ import annotations

import os
import sys

from dockc.errors import DockcError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from dockc.base.style import Style


class OutputLost(DockcError):
    """Standard output cannot be written: its disk is full, or it is closed."""


class Output:
    """Where a command's results go. Streams are looked up when they are used, so that whoever replaces `sys.stdout`
    gets them.

    Args:
        color: what the line says of colours: auto, always or never.
    """

    def __init__(self, color: str = "auto") -> None:
        self._color = color

    def style(self, path: Path | None = None) -> Style:
        """The colours and links of what `write` is given: none for a file."""
        from dockc.base.style import PLAIN, style_of

        return style_of(sys.stdout, os.environ, self._color) if path is None else PLAIN

    @property
    def log_style(self) -> Style:
        """The colours and links of what `log` is given."""
        from dockc.base.style import style_of

        return style_of(sys.stderr, os.environ, self._color)

    def colored(self, color: str) -> Output:
        """The same streams with other colours."""
        return Output(color)

    def write(self, data: str | bytes, path: Path | None = None) -> None:
        """Write a result, whole.

        Args:
            data: text (lone surrogates are bytes that were no UTF-8) or bytes.
            path: a file; None is standard output.

        Raises:
            UsageError: the file cannot be written.
            OutputLost: standard output cannot.
            BrokenPipeError: nobody reads standard output any more.
        """
        if isinstance(data, str):
            data = data.encode("utf-8", "surrogateescape")
        if path is not None:
            try:
                path.write_bytes(data)
            except OSError as error:
                raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
        elif data:
            self._put(data)

    def _put(self, data: bytes) -> None:
        if sys.stdout is None:  # closed when the process began
            raise OutputLost("cannot write the output: it is closed")
        try:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            abandon()
            raise
        except (OSError, ValueError) as error:  # ValueError: closed meanwhile
            abandon()
            raise OutputLost(
                f"cannot write the output: {getattr(error, 'strerror', None) or 'it is closed'}"
            ) from error

    def log(self, text: str) -> None:
        """Say something beside the result, on standard error; where that is closed or full, nobody is told."""
        log(text)


def log(text: str) -> None:
    """As `Output.log`."""
    if sys.stderr is not None:
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            pass


def counted(number: int, thing: str) -> str:
    """`1 step`, `2 steps`."""
    return f"{number} {thing}{'s' * (number != 1)}"


def abandon() -> None:
    """Let what is still buffered for standard output go nowhere, and not fail again when the interpreter ends."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if raw is not None and hasattr(raw, "lost"):
        raw.lost = True  # a stream of `line.process`
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError):
        pass
