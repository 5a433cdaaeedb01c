"""`python -m dockc` and the console script; the commonest commands start without the command line library."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `dockc` command; ends the process with the command's exit status."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from dockc import __version__

        sys.stdout.write(f"dockc {__version__}\n")
        return
    from dockc import fastargs

    status = fastargs.run(arguments)
    if status is None:
        from dockc.cli import run

        status = run()
    sys.exit(status)


if __name__ == "__main__":
    main()
