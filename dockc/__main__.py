"""`python -m dockc` and the console script; the commonest commands start without the command line library."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> NoReturn:
    """Entry point of the `dockc` command; ends the process with the command's exit status."""
    from dockc.line import process

    process.begin()
    try:
        status = _run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:  # before a command was there to say so
        sys.stderr.write("dockc: interrupted\n")
        status = 130
    except BrokenPipeError:
        status = 141
    except process.OutputLost as error:
        sys.stderr.write(f"error: {error.message}\n")
        status = error.exit_code
    _end(status)


def _run(arguments: list[str]) -> int:
    if arguments in (["--version"], ["-V"]):
        from dockc.base.version import VERSION

        sys.stdout.write(f"dockc {VERSION}\n")
        return 0
    from dockc import fastargs

    status = fastargs.run(arguments)
    if status is None:
        from dockc.cli import run

        return run()
    return status


def _end(status: int) -> NoReturn:
    """End the process at once: taking the interpreter apart takes a fifth of the time of a short command.

    Only where nothing is left to do: no other thread runs, standard streams are written out, and nobody measures the process.
    """
    from dockc.line import process

    threading = sys.modules.get("threading")
    alone = threading is None or threading.active_count() == 1
    if alone and sys.getprofile() is None and sys.gettrace() is None and "coverage" not in sys.modules:
        sys.stderr.flush()
        os._exit(status)
    process.forget_output()
    sys.exit(status)


if __name__ == "__main__":
    main()
