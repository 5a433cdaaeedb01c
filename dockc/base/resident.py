"""What a command and the resident builder of its store must agree on: where they meet, and what is said there.

The resident has loaded everything a build needs. `dockc build` hands it the command line, the environment, the
directory and the standard streams, and becomes what carries signals there and the exit status back; the resident forks
a process that goes on as the command would have. This module and its client load nothing that takes time.

    client -> resident    8 bytes: length of the rest; texts joined by NUL (`Request`)
    resident -> client    a line: `G` (go on), or `R` and why not
    client -> resident    a byte with four descriptors; then one byte each: the number of a signal
    resident -> client    a line: `S` and the process that builds; then `E` and the status, as waitpid has it
"""

from __future__ import annotations

import os
import sys

from dockc.base.version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SOCKET = "daemon.sock"
"""Name of the socket in a store."""
LOCK = "daemon.lock"
"""Name of the file in a store that its resident holds locked."""
LIMIT = 16 << 20
"""Bytes of a request at most; the kernel's own limit for arguments and environment is lower."""
STREAMS = 3
DESCRIPTORS = STREAMS + 1
"""Standard streams and the working directory."""

#: Set in a process of the resident: what runs a whole command line, and what builds are told of who builds.
whole: Callable[[Sequence[str]], int] | None = None
serving = ""
#: Set by a build that ran no step and was told no secret: its process may be used again.
unchanged = False


class Request:
    """A command line on its way.

    Attributes:
        code: which dockc it is of; another one must not run it.
        state: umask, niceness, encoding and error handler of the streams, ignored signals.
        arguments: after the program's name.
        environment: `NAME=VALUE`.
    """

    __slots__ = ("arguments", "code", "environment", "state")

    def __init__(self, code: str, state: Sequence[str], arguments: Sequence[str], environment: Sequence[bytes]) -> None:
        self.code, self.state, self.arguments, self.environment = code, state, arguments, environment

    def encode(self) -> bytes:
        """The bytes, with their length before them."""
        texts = [
            *map(
                os.fsencode, (self.code, str(len(self.state)), *self.state, str(len(self.arguments)), *self.arguments)
            ),
            *self.environment,
        ]
        data = b"\0".join(texts)
        return len(data).to_bytes(8, "big") + data

    @classmethod
    def decode(cls, data: bytes) -> Request:
        """Read the bytes after the length.

        Raises:
            ValueError: they are no request.
        """
        code, count, *rest = data.split(b"\0")
        size = int(count)
        state, rest = rest[:size], rest[size:]
        size = int(rest[0])
        arguments, environment = rest[1 : size + 1], rest[size + 1 :]
        if len(arguments) != size or not all(b"=" in one for one in environment):
            raise ValueError("not a request")
        return cls(os.fsdecode(code), [*map(os.fsdecode, state)], [*map(os.fsdecode, arguments)], environment)


def code() -> str:
    """Which dockc this is: version, place and file, the interpreter, and how it spells names of files."""
    place = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    file = os.path.abspath(__file__)
    while not os.path.exists(file):  # within an archive: what counts is the archive
        file = os.path.dirname(file)
    told = os.stat(file)
    return "\n".join(
        (
            VERSION,
            place,
            f"{told.st_ino}.{told.st_mtime_ns}",
            sys.executable,
            sys.version,
            sys.getfilesystemencoding(),
        )
    )
