"""`dockc daemon`, also called `dockcd` and, in the place of BuildKit's daemon, `buildkitd`."""

from __future__ import annotations

import sys

from dockc.base.options import Options, argument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.output import Output


class DaemonOptions(Options):
    """Build for clients of BuildKit's protocol: dockc, buildctl, buildx. `dockc daemon --help` lists its options, which
    are those of buildkitd.
    """

    words: tuple[str, ...] = argument(
        metavar="OPTION", help="Options of the daemon, such as --addr URL and --root DIR."
    )
    interspersed = False
    examples = ("dockc daemon --addr unix:///run/dockc.sock --root /var/lib/dockc",)


def run(options: DaemonOptions, out: Output) -> int:
    """`dockc daemon`: run until told to end.

    Raises:
        DockcError: it cannot be run.
    """
    import logging
    import os

    from dockc.base.system import only_linux

    only_linux("daemons")
    from dockc.daemon import config

    called = os.path.basename(sys.argv[0])  # noqa: PTH119
    prog = called if called in {"dockcd", "buildkitd"} else "dockc daemon"
    made = config.read(options.words, prog)
    handler = logging.StreamHandler(sys.stderr)
    if made.log_format == "json":
        from dockc.daemon.log import JsonLines

        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=made.log_level)
    for text in made.told:
        logging.getLogger("dockc.daemon").info("%s", text)
    if made.resident:
        from pathlib import Path

        from dockc.daemon import resident
        from dockc.engine import settings

        settings.forget_registries()  # builds have their users' own
        return resident.serve(Path(made.store), idle=made.idle, tied=made.tied, grace=made.grace, lock=made.lock)
    for quiet in ("hpack", "asyncio", "urllib3"):
        logging.getLogger(quiet).setLevel(logging.WARNING)
    from dockc.daemon.server import serve

    return serve(made)
