"""Why steps ran, in words, and where progress says it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from dockc.console.plain import PlainProgress, QuietProgress
from dockc.console.progress import TtyProgress
from dockc.console.rawjson import to_json
from dockc.console.why import why_lines
from dockc.solver.keydiff import Change, FileChange, KeyDiff, Missed, MissReason
from dockc.solver.progress import SolveStatus, VertexEvent

ARGUMENT = KeyDiff("v", "RUN x", MissReason.ARGUMENT, changes=(Change("A", "1", "2"), Change("B", None, "\x1b[31m3")))


@pytest.mark.parametrize(
    ("diff", "lines"),
    [
        (ARGUMENT, ["argument A: 1 -> 2", "argument B: (none) -> 3"]),
        (KeyDiff("v", "n", MissReason.ARGUMENT, changes=(Change("T", "xxxxx", "xxxxx"),)), ["argument T has another value"]),
        (KeyDiff("v", "n", MissReason.CONTENT, source="the context"), ["file: what it reads from the context has changed"]),
        (
            KeyDiff("v", "n", MissReason.CONTENT, files=(FileChange("a", "owner", "0:0", "1:2"),), more=2),
            ["file a: owner 0:0 -> 1:2", "file: 2 more have changed"],
        ),
        (KeyDiff("v", "n", MissReason.RESULT), ["no result: the same step failed before, or its result is gone"]),
        (KeyDiff("v", "n", MissReason.UNKNOWN), ["new: no step like it was built here"]),
        (KeyDiff("v", "n", MissReason.BASE, changes=(Change("alpine:3", "sha256:a", "sha256:b"),)), ["base: alpine:3 sha256:a -> sha256:b"]),
        (KeyDiff("v", "n", MissReason.INSTRUCTION, changes=(Change("", "RUN a \\\n b", "RUN " + "c" * 500),)), [f"instruction: `RUN a \\ b` -> `RUN {'c' * 113}...`"]),
    ],
)
def test_words(diff: KeyDiff, lines: list[str]) -> None:
    assert why_lines(diff) == lines


def told(view: PlainProgress | QuietProgress | TtyProgress, *, first: bool = True, diff: KeyDiff = ARGUMENT) -> None:
    view(SolveStatus(vertexes=(VertexEvent("v", "RUN x", started=1),)))
    view(SolveStatus(misses=(Missed(diff, first, 3),)))
    view(SolveStatus(misses=(Missed(diff, first, 3),)))
    view(SolveStatus(vertexes=(VertexEvent("v", "RUN x", started=1, completed=2),)))
    view.finish()


def test_plain_progress_says_it_once() -> None:
    out = io.StringIO()
    told(PlainProgress(out))
    assert out.getvalue() == "#1 RUN x\n#1 cache miss: argument A: 1 -> 2 (and 1 more)\n#1 DONE 0.0s\n"


def test_what_is_known_late_is_said_after_the_end() -> None:
    out = io.StringIO()
    view = PlainProgress(out)
    view(SolveStatus(vertexes=(VertexEvent("v", "RUN x", started=1, completed=2),)))
    view(SolveStatus(misses=(Missed(ARGUMENT, first=True, line=3),)))
    view.finish()
    assert out.getvalue() == "#1 RUN x\n#1 DONE 0.0s\n\n#1 RUN x\n#1 cache miss: argument A: 1 -> 2 (and 1 more)\n"


@pytest.mark.parametrize("quiet", ["follows", "new", "view"])
def test_where_nothing_is_said(quiet: str) -> None:
    out = io.StringIO()
    diff = KeyDiff("v", "RUN x", MissReason.UNKNOWN) if quiet == "new" else ARGUMENT
    told(QuietProgress(out) if quiet == "view" else PlainProgress(out), first=quiet != "follows", diff=diff)
    assert "miss" not in out.getvalue()


def test_the_picture_of_a_terminal_says_it() -> None:
    view = TtyProgress(io.StringIO())
    view.steps.update(SolveStatus(vertexes=(VertexEvent("v", "RUN x", started=1),)))
    view.steps.update(SolveStatus(misses=(Missed(ARGUMENT, first=True, line=3),)))
    out = io.StringIO()
    Console(file=out, width=80).print(*view._step(view.steps.shown[0], 80, 0), sep="\n")
    assert " => => cache miss: argument A: 1 -> 2 (and 1 more)" in out.getvalue()


def test_raw_json_stays_buildkit_s() -> None:
    assert to_json(SolveStatus(misses=(Missed(ARGUMENT, first=True, line=3),))) == {}
