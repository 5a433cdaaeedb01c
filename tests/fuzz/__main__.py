"""Fuzz for a while: `python -m tests.fuzz --seconds N [--seed S] [--target NAME] [--keep DIR]`.

Runs the targets in turn on mutated seeds; an input that taught nothing new is dropped, one that reached a new outcome (error message
without its quoted parts) joins the seeds. Prints what it found, how many inputs it ran and the dearest ones; ends with 1 if something crashed
or took more CPU time than its size allows.
"""

from __future__ import annotations

import argparse
import re
import time
import traceback
from collections import Counter
from pathlib import Path

from dockc.errors import DockcError
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, random_source

#: CPU seconds that an input may take: a fixed part and a part for each byte. Ordinary inputs take a hundredth of it.
FIXED, PER_BYTE = 2.0, 0.001
_POOL = 400


def _outcome(error: DockcError) -> str:
    return type(error).__name__ + re.sub(r"\"[^\"]*\"|'[^']*'|\d+", "_", error.message)[:60]


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=sorted(TARGETS), action="append")
    parser.add_argument("--keep", type=Path, help="directory for inputs that crash")
    options = parser.parse_args()
    random_ = random_source(options.seed)
    names = options.target or list(TARGETS)
    pools = {name: TARGETS[name][1]() for name in names}
    outcomes: dict[str, set[str]] = {name: set() for name in names}
    runs: Counter[str] = Counter()
    crashes: dict[str, tuple[str, bytes]] = {}
    dearest: dict[str, tuple[float, int]] = dict.fromkeys(names, (0.0, 0))
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        name = names[sum(runs.values()) % len(names)]
        pool = pools[name]
        data = mutate(random_, random_.choice(pool), pool)
        runs[name] += 1
        began = time.process_time()
        try:
            TARGETS[name][0](data)
            outcome = "success"
        except DockcError as error:
            outcome = _outcome(error)
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{name}: {type(error).__name__}: {str(error)[:80]} at {Path(frame.filename).name}:{frame.lineno}"
            if place not in crashes or len(data) < len(crashes[place][1]):
                crashes[place] = (traceback.format_exc(), data)
            outcome = place
        spent = time.process_time() - began
        dearest[name] = max(dearest[name], (spent, len(data)))
        if spent > FIXED + PER_BYTE * len(data):
            crashes.setdefault(f"{name}: {spent:.1f} s for {len(data)} bytes", ("", data))
        if outcome not in outcomes[name]:
            outcomes[name].add(outcome)
            if len(pool) < _POOL:
                pool.append(data)
    for number, (place, (trace, data)) in enumerate(sorted(crashes.items())):
        print(f"CRASH {place}\n{trace}{data[:300]!r}\n")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"crash-{number}").write_bytes(data)
    for name in names:
        seconds, size = dearest[name]
        print(f"{name:10} {runs[name]:7} inputs {len(outcomes[name]):5} outcomes   dearest {seconds * 1000:.0f} ms for {size} bytes")
    print(f"{sum(runs.values())} inputs, {len(crashes)} crashes")
    return 1 if crashes else 0


if __name__ == "__main__":
    raise SystemExit(main())
