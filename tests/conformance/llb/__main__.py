"""`python -m tests.conformance.llb DIR [--group G]... [--case NAME]...`: run every case, one line each."""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from pathlib import Path

from tests.conformance.llb.run import Case, Run, load


def main() -> int:
    """Run the cases; 1 if one fails or none is found."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance.llb", description=__doc__)
    parser.add_argument("directory", type=Path, help="a folder of cases, or a corpus with manifest.json")
    parser.add_argument("--group", action="append", default=[], help="only cases of this group")
    parser.add_argument("--case", action="append", default=[], help="only cases with this in their name")
    parser.add_argument("--failed", action="store_true", help="print failed cases only")
    parser.add_argument("--time", action="store_true", help="print the CPU time used")
    options = parser.parse_args()
    passed = failed = 0
    began = time.process_time()
    for case in load(options.directory):
        if options.group and case.group not in options.group:
            continue
        if options.case and not any(part in case.name for part in options.case):
            continue
        differences = _run(case)
        passed += not differences
        failed += bool(differences)
        if differences or not options.failed:
            print(f"{'FAIL' if differences else 'ok  '} {case.name}")
        for difference in differences:
            print(f"       {difference}")
    if options.time:
        print(f"{time.process_time() - began:.2f} s of CPU")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


def _run(case: Case) -> list[str]:
    try:
        return Run(case).differences()
    except Exception:
        return ["crash: " + traceback.format_exc(limit=-6).strip().replace("\n", "\n       ")]


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main())
