"""`python -m dockc` and the console script."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.line.verbs import Line


def main() -> None:
    """Entry point of the `dockc` command; ends the process with the command's exit status."""
    try:
        from dockc.line.main import main as run

        run(_unusual)
    except KeyboardInterrupt:  # before a command was there to say so
        if sys.stderr is not None:
            sys.stderr.write("dockc: interrupted\n")
        sys.exit(130)


def daemon() -> None:
    """Entry point of `dockcd`: `dockc daemon` under the name that it is called by, which may be that of BuildKit's
    daemon.
    """
    sys.argv[1:1] = ["daemon"]
    main()


def plugin() -> None:
    """Entry point of `docker-dockc`, which the docker command calls."""
    from dockc.line.plugin import begin

    sys.argv[1:] = begin(sys.argv[1:])
    main()


def frontend() -> None:
    """Entry point of `dockc-frontend`, which builders run from an image."""
    from dockc.commands.frontend import main as run

    run()


def _unusual(argv: Sequence[str]) -> Line | int:
    from dockc.cli import parse

    return parse(argv)


if __name__ == "__main__":
    main()
