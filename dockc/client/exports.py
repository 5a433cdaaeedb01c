"""Where results go on this machine: files that appear whole, and directories."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.base.aside import aside, entered
from dockc.errors import DockcError, StoreError
from dockc.protocol.names import EXPORTER_FACT, EXPORTER_PLATFORMS
from dockc.protocol.receiving import receive
from dockc.protocol.trees import TreeWriter
from dockc.rpc.transports import payload

if TYPE_CHECKING:
    from dockc.rpc.calls import Call


class Receiver:
    """Takes one output over a call.

    Attributes:
        metadata: what the builder said about it.
        done: whether it has come.
        failed: whether it could not be written here.
        spent: whether a part of it is where it cannot be taken back from, so that it cannot come twice.
    """

    def __init__(self) -> None:
        self.metadata: dict[str, str] = {}
        self.done = self.failed = self.spent = False

    async def receive(self, call: Call) -> None:
        """Take it.

        Raises:
            DockcError: it cannot be written.
        """
        raise NotImplementedError

    def _told(self, call: Call) -> None:
        for key, value in call.metadata:
            if key.startswith(EXPORTER_FACT):
                self.metadata[key.removeprefix(EXPORTER_FACT)] = value


class FileReceiver(Receiver):
    """An archive: its bytes as they are.

    Args:
        dest: a file, which appears when it is whole; "-" is standard output, "" the Docker engine.
    """

    def __init__(self, dest: str) -> None:
        super().__init__()
        self._dest = dest

    async def receive(self, call: Call) -> None:
        """See `Receiver.receive`."""
        from dockc.runtime.exporter.export import docker_load
        from dockc.runtime.exporter.output import open_output

        self._told(call)
        call.start()
        output = open_output(self._dest) if self._dest else docker_load()
        async with entered(output) as file:
            while (messages := await call.receive_all()) is not None:
                self.spent = self._dest in {"", "-"}
                await aside(_write, file, messages)
        self.done = True


def _write(file: BinaryIO, messages: list[bytes]) -> None:
    try:
        for message in messages:
            file.write(payload(message))
    except OSError as exc:
        raise StoreError(f"cannot write the output: {exc.strerror or exc}") from exc


class DirectoryReceiver(Receiver):
    """A tree of files into a directory, as `type=local` does it: what is there stays unless it is replaced or `delete`
    is set.
    """

    def __init__(self, dest: str, *, delete: bool = False) -> None:
        super().__init__()
        self._dest, self._delete = Path(dest), delete

    async def receive(self, call: Call) -> None:
        """See `Receiver.receive`."""
        self._told(call)
        if self._delete and "1" not in call.get_all(EXPORTER_PLATFORMS):
            raise DockcError(
                "local exporter mode=delete requires a BuildKit daemon with multi-platform local export support"
            )
        call.start()
        writer = TreeWriter(self._dest, delete=self._delete)
        try:
            await receive(call, writer.choose)
            await aside(writer.finish)
        finally:
            await aside(writer.close)
        self.done = True
