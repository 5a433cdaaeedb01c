"""`python -m tests.conformance.lint DIR [--profile hadolint|buildkit]`: lint every case as a peer does, one line each."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from dockc.commands.lint.shellcheck import with_checker
from dockc.linter.options import Checker, LintOptions
from tests.conformance.lint.run import PROFILES, Case, differences, load, unparseable


def main() -> int:
    """Run the cases; 1 if one fails or none is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.lint", description=__doc__)
    parser.add_argument("directory", type=Path, help="a folder of cases, or a corpus with manifest.json")
    parser.add_argument("--profile", choices=PROFILES, help="one profile; both without it")
    parser.add_argument("--case", action="append", default=[], help="only cases with this in their name")
    parser.add_argument("--failed", action="store_true", help="print failed cases only")
    parser.add_argument("--time", action="store_true", help="print the CPU time used")
    parser.add_argument("--no-shellcheck", action="store_true", help="leave ShellCheck's findings out")
    options = parser.parse_args()
    checker = None if options.no_shellcheck else with_checker(LintOptions(shellcheck=True)).checker
    passed = failed = 0
    began = time.process_time()
    for case in load(options.directory, [options.profile] if options.profile else PROFILES):
        if options.case and not any(part in case.name for part in options.case):
            continue
        found = _run(case, checker)
        passed += not found
        failed += bool(found)
        if found or not options.failed:
            note = "  (the peer cannot parse it)" if unparseable(case) else ""
            print(f"{'FAIL' if found else 'ok  '} {case.profile} {case.name}{note}")
        for difference in found:
            print(f"       {difference}")
    if options.time:
        print(f"{time.process_time() - began:.2f} s of CPU")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def _run(case: Case, checker: Checker | None) -> list[str]:
    try:
        return differences(case, checker)
    except Exception:
        return ["crash: " + traceback.format_exc(limit=-6).strip().replace("\n", "\n       ")]


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
