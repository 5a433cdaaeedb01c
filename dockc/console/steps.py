"""The state that every progress view draws: steps, their times, logs and parts, from a stream of `SolveStatus`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import islice

from dockc.base.record import Mutable, made
from dockc.console.clean import Lines, clean_text
from dockc.console.why import miss_line
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexStatus

CANCELED = "context canceled"
TAIL_BYTES = 1 << 20
_SECOND = 1_000_000_000


class LogLine(Mutable):
    """A line of a step's log; `at` is seconds since the step started."""

    at: float
    text: str

    @property
    def stamp(self) -> str:
        """The time with three, two or one decimals: `0.123`, `12.34`, `123.4`."""
        digits = 3 if self.at < 10 else 2 if self.at < 100 else 1
        return f"{self.at:.{digits}f}"


class Tail:
    """The end of a step's log, about `TAIL_BYTES` of it. Mutable state: the lines, their size, and how many fell off."""

    __slots__ = ("_bytes", "dropped", "lines")

    def __init__(self) -> None:
        self.lines: deque[LogLine] = deque()
        self.dropped = 0
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.lines)

    def append(self, line: LogLine) -> None:
        """Take one more line; the oldest fall off where there are too many."""
        self.lines.append(line)
        self._bytes += len(line.text) + 64  # what a line without text takes
        while self._bytes > TAIL_BYTES and len(self.lines) > 1:
            self._bytes -= len(self.lines.popleft().text) + 64
            self.dropped += 1

    def last(self, count: int) -> list[LogLine]:
        """The last lines, at most so many."""
        return list(islice(reversed(self.lines), count))[::-1]

    def clear(self) -> None:
        """Keep nothing."""
        self.lines.clear()
        self._bytes = 0


class Step(Mutable):
    """One line of a view: a vertex, or a group of vertices shown as one.

    Mutable; changed by `Steps` only. Times are nanoseconds since the epoch.

    Attributes:
        id: digest of the vertex, or the id of the group.
        number: order of first appearance, from 1; 0 while it has not been shown.
        intervals: start to stop (None while it goes on).
        tail: the end of the log, while the step goes on and where it has failed.
        fresh: lines that a view has not taken yet (`take_lines`).
        parts: progress of parts, such as layers, by id.
        waiting: it has ended for now, and goes on when somebody needs what it brings.
        miss: why it runs though there is a cache, where that is worth a line; `fresh_miss` while no view has taken it.
    """

    id: str
    name: str
    number: int = 0
    cached: bool = False
    error: str = ""
    hidden: bool = False
    waiting: bool = False
    intervals: dict[int, int | None] = made(dict)
    tail: Tail = made(Tail)
    fresh: list[LogLine] = made(list)
    parts: dict[str, VertexStatus] = made(dict)
    fresh_parts: dict[str, VertexStatus] = made(dict)
    warnings: list[str] = made(list)
    miss: str = ""
    fresh_miss: bool = False
    lines: Lines = made(Lines)
    members: dict[str, VertexEvent] = made(dict)
    log_bytes: int = 0

    @property
    def started(self) -> bool:
        """Whether it has ever started."""
        return bool(self.intervals)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return any(stop is None for stop in self.intervals.values())

    @property
    def completed(self) -> bool:
        """Whether it has started and ended."""
        return self.started and not self.running and not self.waiting

    @property
    def cancelled(self) -> bool:
        """Whether it ended because nobody wanted it any more."""
        return self.error.endswith(CANCELED)

    @property
    def failed(self) -> bool:
        """Whether it ended with an error of its own."""
        return bool(self.error) and not self.cancelled

    def seconds(self, now: int) -> float:
        """How long it has worked; overlapping intervals count once."""
        total, end = 0, 0
        for start, stop in sorted(self.intervals.items()):
            last = now if stop is None else stop
            total += max(0, last - max(start, end))
            end = max(end, last)
        return total / _SECOND

    @property
    def has_news(self) -> bool:
        """Whether there is something that a view has not taken yet."""
        return bool(self.fresh or self.fresh_parts or self.warnings or self.fresh_miss)

    def take_lines(self) -> list[LogLine]:
        """The lines that have come since the last call."""
        lines, self.fresh = self.fresh, []
        return lines

    def take_parts(self) -> list[VertexStatus]:
        """The parts that have changed since the last call."""
        parts, self.fresh_parts = self.fresh_parts, {}
        return list(parts.values())


class Steps:
    """All steps of a build. Mutable state: the tables; `update` changes them, views read them."""

    def __init__(self, *, keep_fresh: bool = True) -> None:
        """Make an empty table; with `keep_fresh` off, log lines are kept as tails only."""
        self.by_id: dict[str, Step] = {}
        self.shown: list[Step] = []
        self.begin: int | None = None
        self._of_vertex: dict[str, Step] = {}
        self._keep_fresh = keep_fresh

    def update(self, status: SolveStatus) -> list[Step]:
        """Take one batch; return the steps that have changed, each once."""
        changed: dict[str, Step] = {}
        for event in status.vertexes:
            step = self._take_vertex(event)
            if step is not None:
                changed[step.id] = step
        for part in status.statuses:
            if (step := self._of_vertex.get(part.vertex)) is not None:
                part_step = step
                part_step.parts[part.id] = part
                part_step.fresh_parts[part.id] = part
                changed[step.id] = step
        for warning in status.warnings:
            if (step := self._of_vertex.get(warning.vertex)) is not None:
                step.warnings.append(clean_text(warning.short))
                changed[step.id] = step
        for miss in status.misses:
            step = self._of_vertex.get(miss.diff.vertex)
            if step is not None and not step.miss and (text := miss_line(miss)):
                step.miss, step.fresh_miss = text, True
                changed[step.id] = step
        for log in status.logs:
            if (step := self._of_vertex.get(log.vertex)) is not None:
                self._take_log(step, log)
                changed[step.id] = step
        for step in changed.values():
            if step.started and not step.number and not step.hidden:
                self.shown.append(step)
                step.number = len(self.shown)
            if step.completed:
                self._add_lines(step, step.lines.finish(), max(s for s in step.intervals.values() if s is not None))
                if not step.error:
                    step.tail.clear()  # nobody is shown it any more
        return [step for step in changed.values() if step.number]

    def _take_vertex(self, event: VertexEvent) -> Step | None:
        if self.begin is None and event.started is not None:
            self.begin = event.started
        if event.progress_group is not None:
            return self._take_member(event)
        step = self.by_id.get(event.digest)
        if step is None:
            step = self.by_id[event.digest] = self._of_vertex[event.digest] = Step(event.digest, clean_text(event.name))
        if event.started is None:
            return None
        before = (step.cached, step.error, step.waiting, dict(step.intervals))
        step.cached, step.error, step.waiting = event.cached, event.error, event.waiting
        step.intervals[event.started] = event.completed
        if event.completed is not None:
            for start, stop in step.intervals.items():
                # What was begun before and never ended has been given up for this.
                if stop is None and start <= event.started:
                    step.intervals[start] = event.started
        return step if before != (step.cached, step.error, step.waiting, step.intervals) else None

    def _take_member(self, event: VertexEvent) -> Step:
        """Members of a group are one step; it is hidden until a member that is not weak has started."""
        group = event.progress_group
        assert group is not None
        step = self.by_id.get(group.id)
        if step is None:
            step = self.by_id[group.id] = Step(group.id, clean_text(group.name), hidden=True)
        self._of_vertex[event.digest] = step
        step.members[event.digest] = event
        step.cached = all(member.cached for member in step.members.values())
        step.error = next((member.error for member in step.members.values() if member.error), "")
        if event.started is not None:
            step.intervals[event.started] = event.completed
            if not group.weak:
                step.hidden = False
        if step.error:
            step.hidden = False
        return step

    def _take_log(self, step: Step, log: VertexLog) -> None:
        step.log_bytes += len(log.data)
        self._add_lines(step, step.lines.feed(log.data), log.timestamp)

    def _add_lines(self, step: Step, lines: list[str], at: int) -> None:
        start = max(step.intervals, default=at)
        for text in lines:
            line = LogLine(max(0.0, (at - start) / _SECOND), text)
            step.tail.append(line)
            if self._keep_fresh:
                step.fresh.append(line)

    def settle(self) -> list[Step]:
        """Nothing goes on any more: steps that were waiting are over; returns them."""
        left = [step for step in self.shown if step.waiting]
        for step in left:
            step.waiting = False
        return left

    @property
    def counts(self) -> tuple[int, int]:
        """Completed steps, and all that are known."""
        visible = [step for step in self.by_id.values() if not step.hidden]
        return sum(step.completed for step in visible), len(visible)

    def elapsed(self, now: int) -> float:
        """Seconds since the first step started."""
        return (now - self.begin) / _SECOND if self.begin is not None else 0.0

    def failures(self) -> Iterator[Step]:
        """Steps that failed by themselves."""
        return (step for step in self.shown if step.failed)


def failure_text(steps: Steps, lines: int = 0) -> str:
    """The logs of the steps that failed, between rules; "" when none did.

    Args:
        steps: of the build.
        lines: how many lines of each there are at most; 0: all that were kept, and a word about what was not.
    """
    out: list[str] = []
    for step in steps.failures():
        out += ["------", f" > {step.name}:"]
        if not lines and step.tail.dropped:
            out.append(f"... {step.tail.dropped} lines before these: `dockc history logs` prints all")
        out += [f"{line.stamp} {line.text}" for line in step.tail.last(lines or len(step.tail))]
        out.append("------")
    return "".join(f"{line}\n" for line in out)


def now() -> int:
    """Nanoseconds since the epoch."""
    return time.time_ns()
