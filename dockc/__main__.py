"""`python -m dockc` and the console script; answers `--version` before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `dockc` command; ends the process with the command's exit status."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from dockc import __version__

        sys.stdout.write(f"dockc {__version__}\n")
        return
    from dockc.cli import run

    sys.exit(run())


if __name__ == "__main__":
    main()
