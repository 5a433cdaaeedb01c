"""How the environment says that progress looks."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dockc.console.look import Look, look_of
from dockc.console.plain import PlainProgress
from dockc.console.progress import TtyProgress
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog


def test_nothing_said() -> None:
    assert look_of({}) == Look()


def test_colours() -> None:
    look = look_of({"BUILDKIT_COLORS": "run=green:error=1,2,255:warning=White"})
    assert (look.run, look.error, look.warning, look.cancel) == ("green", "rgb(1,2,255)", "white", "yellow")


@pytest.mark.parametrize("text", ["run=pink", "all=red", "run", "run=1,2", "run=1,2,256", "run=-1,2,3"])
def test_colours_that_are_none_are_told(text: str) -> None:
    look = look_of({"BUILDKIT_COLORS": text})
    assert look.run == "blue"
    assert [repr(text) in trouble for trouble in look.troubles] == [True]


def test_numbers() -> None:
    look = look_of({"BUILDKIT_TTY_LOG_LINES": "20", "TTY_DISPLAY_RATE": "500"})
    assert (look.tail, look.rate, look.troubles) == (20, 500, ())
    wrong = look_of({"BUILDKIT_TTY_LOG_LINES": "many", "TTY_DISPLAY_RATE": "0"})
    assert (wrong.tail, wrong.rate, len(wrong.troubles)) == (6, 125, 2)


def _step(name: str) -> SolveStatus:
    return SolveStatus(vertexes=(VertexEvent(digest="sha256:1", name=name, started=1),), logs=(VertexLog("sha256:1", 1, b"1\n2\n3\n4\n", 2),))


@pytest.mark.parametrize(("value", "shown"), [("0", "x" * 72 + "..."), ("1", "x" * 100), ("", "x" * 100)])
def test_names_of_steps_are_cut_where_that_is_asked_for(value: str, shown: str) -> None:
    out = io.StringIO()
    PlainProgress(out, cut=look_of({"PROGRESS_NO_TRUNC": value}).cut)(_step("x" * 100))
    assert out.getvalue().splitlines()[0] == f"#1 {shown}"


@pytest.mark.parametrize(("lines", "shown"), [("2", 2), ("9", 4), ("0", 0)])
def test_lines_of_a_log(lines: str, shown: int) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, height=40, force_terminal=True)
    progress = TtyProgress(out, console=console, look=look_of({"BUILDKIT_TTY_LOG_LINES": lines}))
    progress.steps.update(_step("RUN x"))
    assert sum("=> => #" in str(line) for line in progress.render().renderables) == shown
