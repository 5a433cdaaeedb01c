"""The log of a step under limits of size and speed."""

from __future__ import annotations

import sys

import pytest

from dockc.errors import UsageError
from dockc.runtime.ops.steplog import LogLimits, StepLog, limits_of

CLIPPED = b"\n[output clipped, log limit %s reached]\n"


def test_what_comes_too_fast_is_lost_until_time_has_made_room() -> None:
    passed: list[bytes] = []
    now = [100.0]
    log = StepLog(lambda _, data: passed.append(data), limits=LogLimits(speed=10), clock=lambda: now[0])
    now[0] += 0.5  # the first second has begun
    log.write(1, b"0123456")
    log.write(1, b"789abc")
    log.write(1, b"lost")
    assert passed == [b"0123456", b"789" + CLIPPED % b"9.5e-06MiB/s"]
    now[0] += 1
    log.write(1, b"def")
    assert passed[2:] == [b"def"], "20 bytes by now, and 17 were written"
    log.write(1, b"ghi")
    assert passed[3:] == [CLIPPED % b"9.5e-06MiB/s"]
    log.flush_tail()
    assert b"".join(passed[4:]) == b"abclostghi"


def test_the_lower_limit_counts_and_is_named() -> None:
    passed: list[bytes] = []
    limits = LogLimits(size=1 << 20, speed=2 << 20)
    log = StepLog(lambda _, data: passed.append(data), limits=limits, clock=iter([0.0, 0.5, 0.6, 9.0]).__next__)
    log.write(2, bytes(1 << 20))
    log.write(2, b"more")
    log.write(2, b"again")
    assert passed[1:] == [CLIPPED % b"1MiB"]


def test_limits_are_what_variables_say() -> None:
    assert limits_of({}) == LogLimits(sys.maxsize, sys.maxsize)
    given = {"BUILDKIT_STEP_LOG_MAX_SIZE": "-1", "BUILDKIT_STEP_LOG_MAX_SPEED": "4096"}
    assert limits_of(given) == LogLimits(sys.maxsize, 4096)
    with pytest.raises(UsageError, match="BUILDKIT_STEP_LOG_MAX_SPEED: expected a number of bytes a second"):
        limits_of({"BUILDKIT_STEP_LOG_MAX_SPEED": "fast"})
