"""`dockc run`: the program of an image that was built here, in a container of its own, on a file system that is thrown away."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.base.options import Options, argument, option
from dockc.commands import shared
from dockc.engine.connect import registry_client
from dockc.errors import DockcError

if TYPE_CHECKING:
    from dockc.base.output import Output


class RunOptions(Options):
    """Run the program of an image; what it writes is thrown away. Ends with the program's exit status."""

    image: str = argument(required=True, help="Name of an image that was built here.", completes="image")
    command: tuple[str, ...] = argument(help="Command and arguments instead of the image's CMD.")
    env: tuple[str, ...] = option("--env", "-e", metavar="NAME=VALUE", help="Set an environment variable.")
    user: str = option("--user", "-u", metavar="USER", help="Run as this user instead of the image's.")
    workdir: str = option("--workdir", "-w", metavar="DIR", help="Working directory instead of the image's.")
    executor: str = shared.EXECUTOR
    store: Path | None = shared.STORE
    interspersed = False


def run(options: RunOptions, out: Output) -> int:
    """`dockc run`."""
    import sys

    return run_image(
        options.image,
        options.command,
        store=options.store,
        executor=options.executor,
        stdout=sys.stdout.buffer,
        stderr=sys.stderr.buffer,
        env=options.env,
        user=options.user,
        workdir=options.workdir,
    )


def run_image(
    name: str,
    command: Sequence[str],
    *,
    store: Path | None,
    executor: str,
    stdout: BinaryIO,
    stderr: BinaryIO,
    env: Sequence[str] = (),
    user: str = "",
    workdir: str = "",
) -> int:
    """Run a named image of the store and return the exit status of its program.

    Enters the builder's namespaces, so it must be called while the process has one thread.

    Raises:
        DockcError: no such image, nothing to run, or the container could not be set up.
    """
    from dockc.oci import platform as platforms
    from dockc.oci.config import ImageConfig
    from dockc.runtime.executor.base import ExecIO, ExecSpec
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store import images
    from dockc.runtime.store.worker import Worker, WorkerOptions, default_root

    root = store or default_root()
    enter_build_namespace()
    client = registry_client()
    try:
        with Worker(WorkerOptions(root=root, executor=executor)) as worker:
            _, loaded = images.find(worker.content, client, name, platforms.default())
            config = ImageConfig.parse(loaded.config).config
            args = [*(config.entrypoint or ()), *(command or config.cmd or ())]
            if not args:
                raise DockcError(f"image {name} has neither ENTRYPOINT nor CMD", hint="Name a command to run.")
            spec = ExecSpec(
                args=tuple(args),
                env=(*(config.env or ()), *env),
                cwd=workdir or config.working_dir or "/",
                user=user or config.user,
            )
            with worker.refs.from_layers(loaded.layers, description=f"image {name}") as base:
                work = worker.refs.new_mutable(base, description=f"run {name}")
                try:
                    with work.mount() as rootfs:
                        io = ExecIO(stdout=_writer(stdout), stderr=_writer(stderr))
                        return worker.executor.run(spec, rootfs, (), io, threading.Event())
                finally:
                    work.release()
    finally:
        client.close()


class _writer:  # noqa: N801  a function with a stream
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def __call__(self, data: bytes) -> None:
        self._stream.write(data)
        self._stream.flush()
