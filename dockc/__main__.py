"""`python -m dockc` and the console script; the commonest commands start without the command line library."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> None:
    """Entry point of the `dockc` command; ends the process with the command's exit status."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from dockc.base.version import VERSION

        sys.stdout.write(f"dockc {VERSION}\n")
        return
    try:
        from dockc import fastargs

        status = fastargs.run(arguments)
        if status is None:
            from dockc.cli import run

            sys.exit(run())
    except KeyboardInterrupt:  # before a command was there to say so
        sys.stderr.write("dockc: interrupted\n")
        sys.exit(130)
    _end(status)


def _end(status: int) -> NoReturn:
    """End the process at once: taking the interpreter apart takes a fifth of the time of a short command.

    Only where nothing is left to do: no other thread runs, standard streams are written out, and nobody measures the process.
    """
    threading = sys.modules.get("threading")
    alone = threading is None or threading.active_count() == 1
    if alone and sys.getprofile() is None and sys.gettrace() is None and "coverage" not in sys.modules:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except BrokenPipeError:
            status = 141
        except OSError as error:
            os.write(2, f"error: cannot write the output: {error.strerror}\n".encode())
            status = status or 1
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
