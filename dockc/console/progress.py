"""Progress on a terminal: one line a step, with times, marks, parts and the tail of what runs.

The only module that imports rich.live. Drawing happens in rich's own refresh thread, so that clocks go on while
nothing happens; `_lock` keeps the steps still meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from textwrap import wrap
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dockc.base.units import size_text
from dockc.console.clean import clean_text
from dockc.console.look import Look
from dockc.console.steps import Step, Steps, failure_text, now
from dockc.solver.progress import SolveStatus, VertexStatus

_SECOND = 1_000_000_000
_SHORTEST = 12


class TtyProgress:
    """A status sink that keeps a live picture of the build; to be used as a context manager or with `finish`.

    Mutable state: `steps` and the live display, under `_lock`.
    """

    def __init__(
        self,
        out: TextIO,
        *,
        title: str = "Building",
        console: Console | None = None,
        look: Look | None = None,
        color: bool | None = None,
    ) -> None:
        self.steps = Steps(keep_fresh=False)
        self._console = console or Console(
            file=out, highlight=False, soft_wrap=False, no_color=None if color is None else not color
        )
        self._title = title
        self._look = look or Look()
        self._lock = threading.Lock()
        self._final: str | None = None
        self._live = Live(
            console=self._console,
            get_renderable=self.render,
            refresh_per_second=1000 / self._look.rate,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._running = False

    def __call__(self, status: SolveStatus) -> None:
        """Take one batch; it is drawn at the next refresh."""
        with self._lock:
            self.steps.update(status)
        if not self._running:
            self._running = True
            self._live.start()

    def finish(self, error: BaseException | None = None, *, logs: bool = True) -> None:
        """Draw the whole list for the last time, and below it the log of each failed step."""
        with self._lock:
            self._final = "ERROR" if error is not None else "FINISHED"
            self.steps.settle()
        if self._running:
            self._live.vertical_overflow = "visible"
            self._live.stop()
            self._running = False
        text = failure_text(self.steps) if logs else ""
        if text:
            self._console.print(Text(text, end=""), soft_wrap=True)

    # ------------------------------------------------------------ the picture

    def render(self) -> Group:
        """The picture as it is now."""
        with self._lock:
            width = max(self._console.size.width, 20)
            height = self._console.size.height
            lines = [self._headline(width)]
            if self._final is not None:
                lines += (line for step in self.steps.shown for line in self._step(step, width, 0))
            else:
                lines += self._fitting(width, max(height - 2, 3))
        return Group(*lines)

    def _headline(self, width: int) -> Text:
        done, total = self.steps.counts
        moment = now() if self._final is None else self._last_moment()
        text = f"[+] {self._title} {self.steps.elapsed(moment):.1f}s ({done}/{total}) {self._final or ''}".rstrip()
        return Text(text[: width - 1], no_wrap=True)

    def _last_moment(self) -> int:
        return max((stop or now() for step in self.steps.shown for stop in step.intervals.values()), default=now())

    def _fitting(self, width: int, height: int) -> list[Text]:
        """As many steps as fit: what runs always, of the rest the latest."""
        running = [step for step in self.steps.shown if step.running]
        talking = sorted((s for s in running if s.log_bytes), key=lambda s: -s.log_bytes)
        tails: dict[str, int] = {}
        free = height - sum(1 + len(step.parts) + bool(step.miss) for step in running)
        for step in talking:
            wanted = min(self._look.tail, len(step.tail) + 1, free)
            if wanted <= 0:
                break
            tails[step.id] = wanted
            free -= wanted
        drawn = {step.id: self._step(step, width, tails.get(step.id, 0)) for step in running}
        used = sum(len(lines) for lines in drawn.values())
        for step in reversed(self.steps.shown):
            if step.id not in drawn:
                lines = self._step(step, width, 0)
                if used + len(lines) > height:
                    lines = lines[:1]
                if used + len(lines) > height:
                    break
                drawn[step.id] = lines
                used += len(lines)
        picture = [line for step in self.steps.shown for line in drawn.get(step.id, [])]
        return picture[-height:] if len(picture) > height else picture

    def _step(self, step: Step, width: int, tail: int) -> list[Text]:
        mark, style = _mark(step, self._look)
        seconds = step.seconds(now())
        lines = [_row(" => ", mark + step.name, "", seconds, width, style)]
        lines += [
            _row(" => => ", clean_text(part.id), _bytes(part), _part_seconds(part), width, style)
            for part in step.parts.values()
        ]
        if step.miss:
            lines.append(_row(" => => ", step.miss, "", None, width, style))
        lines += [line for one in step.warnings for line in _paragraph(" => WARN: ", one, width, self._look.warning)]
        if tail:
            texts = [line.text for line in step.tail.last(tail)]
            if step.lines.unfinished:
                texts = [*texts, step.lines.unfinished][-tail:]
            lines += [
                Text(f" => => # {text.expandtabs()}"[: width - 1], style="dim", no_wrap=True, overflow="crop")
                for text in texts
            ]
        return lines


def _mark(step: Step, look: Look) -> tuple[str, str]:
    if step.cancelled:
        return "CANCELED ", look.cancel
    if step.failed:
        return "ERROR ", look.error
    if step.cached:
        return "CACHED ", look.run
    return "", look.run if step.completed else ""


def _paragraph(prefix: str, text: str, width: int, style: str) -> list[Text]:
    """All of a text, in as many lines as it takes."""
    room = max(width - len(prefix) - 1, 1)
    parts = wrap(text.expandtabs(), room, break_on_hyphens=False) or [""]
    return [_row(prefix if not n else " " * len(prefix), part, "", None, width, style) for n, part in enumerate(parts)]


def _row(prefix: str, name: str, extra: str, seconds: float | None, width: int, style: str) -> Text:
    """A line with its time at the right border."""
    timer = f" {seconds if seconds >= 0.05 else 0:.1f}s" if seconds is not None else ""
    left = width - len(prefix) - len(timer) - 1
    if extra and left - len(extra) - 1 >= _SHORTEST:
        left -= len(extra) + 1
    else:
        extra = ""
    body = Text(name.expandtabs(), no_wrap=True)
    body.truncate(max(left, 1), overflow="crop")
    text = Text(prefix, no_wrap=True, overflow="crop", style=style)
    text.append_text(body)
    if extra:
        text.append(f" {extra}")
    gap = width - 1 - text.cell_len - len(timer)
    text.append(" " * max(gap, 0) + timer)
    return text


def _bytes(part: VertexStatus) -> str:
    if part.total:
        return f"{size_text(part.current)} / {size_text(part.total)}"
    return size_text(part.current) if part.current else ""


def _part_seconds(part: VertexStatus) -> float | None:
    if part.started is None:
        return None
    return max(0, (part.completed or now()) - part.started) / _SECOND  # a clock may be set back


def plain_lines(group: Group, width: int = 80) -> list[str]:
    """What a picture looks like without colours; for tests and documentation."""
    lines: Iterable[object] = group.renderables
    return [line.plain.rstrip()[:width] if isinstance(line, Text) else str(line) for line in lines]
