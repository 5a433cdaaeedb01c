"""`dockc run`: the program of an image that was built here, in a container of its own, on a file system that is thrown
away.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dockc.base.options import Options, argument, option
from dockc.commands import shared
from dockc.engine.connect import registry_client
from dockc.errors import DockcError

if TYPE_CHECKING:
    from dockc.base.output import Output


class RunOptions(Options):
    """Run the program of an image; what it writes is thrown away. It gets dockc's signals, and dockc ends with its exit
    status.
    """

    image: str = argument(required=True, help="Name of an image that was built here.", completes="image")
    command: tuple[str, ...] = argument(help="Command and arguments instead of the image's CMD.")
    env: tuple[str, ...] = option("--env", "-e", metavar="NAME=VALUE", help="Set an environment variable.")
    user: str = option("--user", "-u", metavar="USER", help="Run as this user instead of the image's.")
    workdir: str = option("--workdir", "-w", metavar="DIR", help="Working directory instead of the image's.")
    interactive: bool = option("--interactive", "-i", help="Pass standard input on to the program.")
    terminal: bool = option("--tty", "-t", help="Give the program a terminal.")
    entrypoint: str | None = option(
        "--entrypoint", metavar="PROGRAM", help="Run this instead of the image's ENTRYPOINT, and without its CMD."
    )
    rm: bool = option("--rm", help="Keep nothing of the run, which is so in any case.")
    executor: str = shared.EXECUTOR
    store: Path | None = shared.STORE
    interspersed = False
    examples = ("dockc run app", "dockc run app ls -l /", "dockc run --rm --entrypoint sh app -c 'ls /'")


def run(options: RunOptions, out: Output) -> int:
    """`dockc run`."""
    import sys

    return run_image(options, stdout=sys.stdout.buffer, stderr=sys.stderr.buffer)


def run_image(options: RunOptions, *, stdout: BinaryIO, stderr: BinaryIO) -> int:
    """Run a named image of the store and return the exit status of its program, 128 + n where signal n ended it.

    The program gets the signals that this process gets, as with `docker run`; a third SIGINT or SIGTERM ends it. Enters
    the builder's namespaces, so it must be called while the process has one thread, from the main thread.

    Raises:
        UsageError: a terminal is to have input that is none.
        DockcError: no such image, nothing to run, or the container could not be set up.
    """
    from dockc.base.system import only_linux

    only_linux("containers")
    from dockc.commands.attached import Attached
    from dockc.oci import platform as platforms
    from dockc.oci.config import ImageConfig
    from dockc.runtime.executor.base import ExecCancelled, ExecSpec
    from dockc.runtime.executor.rootless import enter_build_namespace
    from dockc.runtime.store import images
    from dockc.runtime.store.place import default_root
    from dockc.runtime.store.worker import Worker, WorkerOptions

    attached = Attached(_writer(stdout), _writer(stderr), interactive=options.interactive, terminal=options.terminal)
    root = options.store or default_root()
    enter_build_namespace()
    client = registry_client()
    try:
        with Worker(WorkerOptions(root=root, executor=options.executor)) as worker:
            _, loaded = images.find(worker.content, client, options.image, platforms.default())
            config = ImageConfig.parse(loaded.config).config
            if options.entrypoint is None:
                args = [*(config.entrypoint or ()), *(options.command or config.cmd or ())]
            else:  # with "" for none
                args = [*filter(None, (options.entrypoint,)), *options.command]
            if not args:
                raise DockcError(f"image {options.image} has neither ENTRYPOINT nor CMD", hint="Name a command to run.")
            term = ("TERM=xterm",) if options.terminal else ()  # what the image and the user say comes after it
            spec = ExecSpec(
                args=tuple(args),
                env=(*term, *(config.env or ()), *options.env),
                cwd=options.workdir or config.working_dir or "/",
                user=options.user or config.user,
            )
            with worker.refs.from_layers(loaded.layers, description=f"image {options.image}") as base:
                work = worker.refs.new_mutable(base, description=f"run {options.image}")
                try:
                    with work.mount() as rootfs, attached:
                        return worker.executor.run(spec, rootfs, (), attached.io(), attached.enough)
                except ExecCancelled:
                    return attached.status
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
