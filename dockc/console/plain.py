"""Progress as lines that only ever follow each other: for pipes, CI logs and plain tastes.

    #4 [stage-0 2/3] RUN make
    #4 0.213 cc -o hello hello.c
    #4 DONE 0.4s

One step at a time has the floor. When another takes it, the first is left with `#4 ...` and comes back with
its name.
"""

from __future__ import annotations

from typing import TextIO

from dockc.base.units import size_text
from dockc.console.look import shortened
from dockc.console.steps import Step, Steps, failure_text, now
from dockc.solver.progress import SolveStatus, VertexStatus

_SECOND = 1_000_000_000
_PATIENCE = 5 * _SECOND
_PART_PAUSE = 5 * _SECOND
_PART_SHARE = 0.05
_LOG_LINES = 20


class PlainProgress:
    """A status sink that writes lines.

    Mutable state: `steps`; which step has the floor, since when others wait, and how each was last said to end.
    """

    def __init__(self, out: TextIO, *, cut: int = 0, brief: bool = False) -> None:
        """Write to `out`.

        Args:
            out: where lines go.
            cut: names of steps are cut after so many characters; 0 for not at all.
            brief: what went wrong is not said of a step, as somebody says the very same when all is over.
        """
        self.steps = Steps()
        self._out = out
        self._cut = cut
        self._brief = brief
        self._floor: Step | None = None
        self._waiting: dict[str, int] = {}
        self._parts: dict[tuple[str, str], VertexStatus] = {}
        self._said: dict[str, tuple[bool, str] | None] = {}
        self._started = False

    def __call__(self, status: SolveStatus) -> None:
        """Take one batch and write what follows from it."""
        changed = self.steps.update(status)
        for step in sorted(changed, key=lambda s: (s is not self._floor, not s.completed, s.number)):
            if step.completed:
                self._write(step)
            elif step.has_news or (step is self._floor if step.waiting else step.id not in self._said):
                self._waiting.setdefault(step.id, now())
        self._pass_floor()
        self._out.flush()

    def finish(self, error: BaseException | None = None, *, logs: bool = True) -> None:
        """Write what is left, and once more the log of each failed step."""
        self.steps.settle()
        for step in self.steps.shown:
            if step.has_news or step.id in self._waiting or (step.completed and self._said.get(step.id) is None):
                self._write(step)
        text = failure_text(self.steps, _LOG_LINES) if logs else ""  # the rest stands above
        if text:
            self._out.write(("\n" if self._started else "") + text)
        self._out.flush()

    def _pass_floor(self) -> None:
        """Let the step that has the floor speak; if it has none, or others have waited for long, pass it on."""
        floor = self._floor
        if floor is not None and floor.id in self._waiting:
            self._write(floor)
            floor = self._floor
        if not self._waiting:
            return
        first = min(self._waiting, key=lambda step: self._waiting[step])
        if floor is None or now() - self._waiting[first] > _PATIENCE:
            self._write(self.steps.by_id[first])

    def _write(self, step: Step) -> None:
        self._waiting.pop(step.id, None)
        state = (step.cached, step.error)
        if step.completed and self._said.get(step.id) == state and not step.has_news:
            return  # Done once more, as a step is that first finds its key and then runs: nothing new to say.
        ended = step.completed and self._said.get(step.id) == state
        lines, parts, warnings = step.take_lines(), step.take_parts(), step.warnings
        missed = [step.miss] if step.fresh_miss else []
        step.warnings, step.fresh_miss = [], False
        self._take_floor(step)
        tag = f"#{step.number} "
        out = missed + [text for part in parts if (text := self._part(step, part))]
        out += [f"WARN: {warning}" for warning in warnings]
        out += [f"{line.stamp} {line.text}" for line in lines]
        self._out.write("".join(f"{tag}{line}\n" for line in out))
        if step.completed:
            self._said[step.id] = state
            if not (
                ended and missed and not (lines or parts or warnings)
            ):  # why it ran may be known only when it has ended
                self._out.write(f"{tag}{_ending(step, brief=self._brief)}\n")
        if step.completed or step.waiting:
            self._floor = None

    def _take_floor(self, step: Step) -> None:
        if step is self._floor:
            return
        if self._floor is not None:
            self._out.write(f"#{self._floor.number} ...\n")
        if self._started:
            self._out.write("\n")
        self._started = True
        self._floor = step
        self._said.setdefault(step.id, None)
        self._out.write(f"#{step.number} {shortened(step.name, self._cut)}\n")

    def _part(self, step: Step, part: VertexStatus) -> str:
        """The line for a part of a step, or "" when little has changed since the last one."""
        last = self._parts.get((step.id, part.id))
        if last is not None and part.completed is None:
            moved = (part.current - last.current) / part.total if part.total > 0 else 0.0
            if moved < _PART_SHARE and part.timestamp - last.timestamp < _PART_PAUSE:
                return ""
        self._parts[(step.id, part.id)] = part
        return part_text(part)


def part_text(part: VertexStatus) -> str:
    """`sha256:... 1.05MB / 3.42MB 0.2s done`."""
    from dockc.console.clean import clean_text

    text = clean_text(part.id)
    if part.total:
        text += f" {size_text(part.current)} / {size_text(part.total)}"
    elif part.current:
        text += f" {size_text(part.current)}"
    if part.started is not None:
        seconds = max(0, (part.completed or part.timestamp) - part.started) / _SECOND  # a clock may be set back
        if seconds > 0.01:
            text += f" {seconds:.1f}s"
    return text + (" done" if part.completed is not None else "")


def _ending(step: Step, *, brief: bool) -> str:
    from dockc.console.clean import clean_text

    if step.cancelled:
        return "CANCELED"
    if step.error:
        return "ERROR" if brief else f"ERROR: {clean_text(step.error)}"
    if step.cached:
        return "CACHED"
    return f"DONE {step.seconds(now()):.1f}s"


class QuietProgress:
    """A status sink that says nothing, unless a step fails: then its log, at the end."""

    def __init__(self, out: TextIO) -> None:
        self.steps = Steps(keep_fresh=False)
        self._out = out

    def __call__(self, status: SolveStatus) -> None:
        """Take one batch."""
        self.steps.update(status)

    def finish(self, error: BaseException | None = None, *, logs: bool = True) -> None:
        """Write the logs of failed steps."""
        self._out.write(failure_text(self.steps) if logs else "")
        self._out.flush()
