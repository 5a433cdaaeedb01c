"""A build in a process of its own, for programs that only want to call a function.

The caller's process keeps its threads, signals and namespaces as they are: the child enters the builder's namespaces,
runs one
engine, and tells by a pipe what happens. It ends when its build does, when it is told to, or when its caller is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pickle
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from dockc.engine.request import Asked
from dockc.errors import DockcError

if TYPE_CHECKING:
    from dockc.engine.request import Built
    from dockc.solver.progress import SolveStatus, StatusSink

_HEAD = struct.Struct(">I")
_PATIENCE = 10.0
"""Seconds that a child has to cancel its build, before it is ended."""


class HeldSecrets:
    """Secrets that a program has in memory, by id."""

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._secrets = dict(secrets)

    def get(self, secret_id: str) -> bytes | None:
        """See `runtime.session.secrets.SecretStore`."""
        return self._secrets.get(secret_id)


def build(asked: Asked, secrets: Mapping[str, bytes], sink: StatusSink) -> Built:
    """Build in a child; `sink` is called in this thread.

    Raises:
        FailedStep: a step failed.
        DockcError: anything else that can go wrong on purpose.
    """
    theirs, ours = _pipe()
    told, tell = _pipe()
    child = None
    try:
        command = [sys.executable, "-m", "dockc.engine.apart", str(theirs), str(tell)]
        child = subprocess.Popen(
            command, pass_fds=(theirs, tell), env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        )
        os.close(theirs)
        os.close(tell)
        theirs = tell = -1
        with open(told, "rb") as answers:  # noqa: PTH123  a descriptor
            told = -1
            with contextlib.suppress(BrokenPipeError):  # what ended it is in its answer, or in its status
                _write(ours, (asked, dict(secrets)))
            return _listen(answers, sink, child)
    finally:
        for fd in (theirs, ours, told, tell):
            if fd >= 0:
                os.close(fd)
        if child is not None:
            _end(child)


def _listen(answers: BinaryIO, sink: StatusSink, child: subprocess.Popen[bytes]) -> Built:
    while (message := _read(answers)) is not None:
        kind, value = message
        if kind == "status":
            sink(value)
        elif kind == "failed":
            raise value
        else:
            built: Built = value
            return built
    raise DockcError(f"the build's process ended with status {child.wait()} and said nothing")


def _end(child: subprocess.Popen[bytes]) -> None:
    """Wait for the child, which has been told to end or has ended."""
    if child.poll() is None:
        child.terminate()
    try:
        child.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _pipe() -> tuple[int, int]:
    """A pipe beside the standard streams, also where those are closed: a child's output must not end up in it."""
    ends = os.pipe()
    beside = tuple(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in ends)
    for fd in ends:
        os.close(fd)
    return beside[0], beside[1]


def _write(fd: int, value: object) -> None:
    data = pickle.dumps(value)
    view = memoryview(_HEAD.pack(len(data)) + data)
    while view:
        view = view[os.write(fd, view) :]


def _read(stream: BinaryIO) -> Any:
    """One message of the other process, which is ours too; None at the end."""
    head = _exactly(stream, _HEAD.size)
    data = _exactly(stream, _HEAD.unpack(head)[0]) if head is not None else None
    if data is None:
        return None
    return pickle.loads(data)  # noqa: S301  it comes from a child of our own, by a pipe that nobody else has


def _exactly(stream: BinaryIO, count: int) -> bytearray | None:
    """So many bytes, or None where the stream ends before: a pipe gives what it holds, which may be less."""
    data = bytearray()
    while len(data) < count:
        more = stream.read(count - len(data))
        if not more:
            return None
        data += more
    return data


# --- the child ------------------------------------------------------------------------------------------


def main() -> None:
    """The child: `python -m dockc.engine.apart REQUEST-DESCRIPTOR ANSWER-DESCRIPTOR`."""
    request, answers = int(sys.argv[1]), int(sys.argv[2])
    for fd in (0, 1, 2):  # a stream that is closed would be the next file that is opened
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(request, False)
    os.set_inheritable(answers, False)
    stream = open(request, "rb", buffering=0)  # noqa: SIM115  open until the end: its end tells that the caller is gone
    message = _read(stream)
    if message is None:  # the caller has gone already
        sys.exit(128 + signal.SIGTERM)
    asked, secrets = message
    try:
        built = asyncio.run(_build(asked, secrets, request, answers))
    except DockcError as error:
        _write(answers, ("failed", error))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit(128 + signal.SIGTERM)
    else:
        _write(answers, ("built", built))


async def _build(asked: Asked, secrets: Mapping[str, bytes], caller: int, answers: int) -> Built:
    from dockc.base.record import replace
    from dockc.engine.engine import Engine, EngineOptions
    from dockc.engine.lend import lend

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    loop.add_reader(caller, task.cancel)  # nothing more comes: it can only be the end

    def sink(status: SolveStatus) -> None:
        _write(answers, ("status", status))

    request, session = lend(asked)
    if secrets:
        session = replace(session, secrets=HeldSecrets(secrets))
    options = EngineOptions(
        root=asked.compile.store,
        executor=asked.executor,
        snapshotter=asked.snapshotter,
        parallelism=asked.parallelism,
        insecure=asked.insecure,
        offline=asked.compile.offline,
    )
    async with Engine(options) as engine:
        return await engine.build(request, session, sink)


if __name__ == "__main__":
    main()
