"""Progress views on a build told by hand: every line as people read it."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import dockc.console.plain
import dockc.console.progress
from dockc.base.units import size_text
from dockc.console.clean import MAX_LINE, Lines, clean_line, clean_text
from dockc.console.plain import PlainProgress, QuietProgress
from dockc.console.progress import TtyProgress, plain_lines
from dockc.console.rawjson import RawJsonProgress, timestamp
from dockc.console.steps import Steps, failure_text
from dockc.solver.progress import SolveStatus, SourceRange, VertexEvent, VertexLog, VertexStatus, VertexWarning
from dockc.solver.vertex import ProgressGroup

S = 1_000_000_000
T0 = 1_700_000_000 * S


class Clock:
    def __init__(self) -> None:
        self.at = T0

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(dockc.console.plain, "now", clock)
    monkeypatch.setattr(dockc.console.progress, "now", clock)
    return clock


def at(seconds: float) -> int:
    return T0 + int(seconds * S)


def vertex(
    digest: str, name: str, start: float | None = None, stop: float | None = None, **more: object
) -> SolveStatus:
    event = VertexEvent(
        digest,
        name,
        started=None if start is None else at(start),
        completed=None if stop is None else at(stop),
        **more,  # type: ignore[arg-type]
    )
    return SolveStatus(vertexes=(event,))


def log(digest: str, text: str | bytes, when: float) -> SolveStatus:
    data = text if isinstance(text, bytes) else text.encode()
    return SolveStatus(logs=(VertexLog(digest, 1, data, at(when)),))


def part(digest: str, current: int, total: int, when: float, *, done: bool = False) -> SolveStatus:
    status = VertexStatus("sha256:aa", digest, "", current, total, at(when), at(0), at(when) if done else None)
    return SolveStatus(statuses=(status,))


def plain(*batches: SolveStatus) -> str:
    out = io.StringIO()
    progress = PlainProgress(out)
    for batch in batches:
        progress(batch)
    progress.finish()
    return out.getvalue()


def test_plain_one_step_after_the_other(clock: Clock) -> None:
    text = plain(
        vertex("a", "[internal] load build context"),
        vertex("b", "[2/2] RUN make"),
        vertex("a", "[internal] load build context", 0, 0.25),
        vertex("b", "[2/2] RUN make", 0.3),
        log("b", "cc -o hello", 0.423),
        log("b", " hello.c\nstrip hello\n", 0.51),
        vertex("b", "[2/2] RUN make", 0.3, 1.52),
        vertex("c", "exporting", 1.6, 1.6, cached=True),
    )
    assert text == (
        "#1 [internal] load build context\n"
        "#1 DONE 0.2s\n"
        "\n"
        "#2 [2/2] RUN make\n"
        "#2 0.210 cc -o hello hello.c\n"
        "#2 0.210 strip hello\n"
        "#2 DONE 1.2s\n"
        "\n"
        "#3 exporting\n"
        "#3 CACHED\n"
    )


def test_plain_steps_take_turns(clock: Clock) -> None:
    out = io.StringIO()
    progress = PlainProgress(out)
    progress(vertex("a", "A", 0))
    progress(vertex("b", "B", 0))
    progress(log("a", "a1\n", 1))
    progress(log("b", "b1\n", 1))
    clock.at = at(6)
    progress(log("a", "a2\n", 6))
    progress(vertex("a", "A", 0, 7))
    progress(log("b", "b2\n", 12.5))
    progress(vertex("b", "B", 0, 123.4))
    progress.finish()
    assert out.getvalue() == (
        "#1 A\n#1 1.000 a1\n#1 6.000 a2\n#1 ...\n\n#2 B\n#2 1.000 b1\n#2 ...\n\n#1 A\n#1 DONE 7.0s\n\n"
        "#2 B\n#2 12.50 b2\n#2 DONE 123.4s\n"
    )


def test_plain_parts_and_warnings(clock: Clock) -> None:
    warning = SolveStatus(warnings=(VertexWarning("a", short="old syntax"),))
    text = plain(
        vertex("a", "FROM debian", 0),
        part("a", 0, 3_420_000, 0),
        part("a", 100, 3_420_000, 0.2),  # too little news for a line
        part("a", 1_050_000, 3_420_000, 0.3),
        part("a", 3_420_000, 3_420_000, 0.5, done=True),
        warning,
        vertex("a", "FROM debian", 0, 0.6),
    )
    assert text == (
        "#1 FROM debian\n"
        "#1 sha256:aa 0B / 3.42MB\n"
        "#1 sha256:aa 1.05MB / 3.42MB 0.3s\n"
        "#1 sha256:aa 3.42MB / 3.42MB 0.5s done\n"
        "#1 WARN: old syntax\n"
        "#1 DONE 0.6s\n"
    )


def test_a_step_that_waits_is_not_done(clock: Clock) -> None:
    base = vertex("b", "FROM base", 0, 1, waiting=True)
    run = vertex("r", "RUN make", 5, 6)
    needed = plain(
        base, vertex("b", "FROM base", 2), part("b", 5, 5, 3, done=True), vertex("b", "FROM base", 2, 4), run
    )
    assert needed == "#1 FROM base\n#1 sha256:aa 5B / 5B 3.0s done\n#1 DONE 3.0s\n\n#2 RUN make\n#2 DONE 1.0s\n"
    assert plain(base, run) == "#2 RUN make\n#2 DONE 1.0s\n\n#1 FROM base\n#1 DONE 1.0s\n"
    assert plain(vertex("b", "FROM base", 0), base, run) == (
        "#1 FROM base\n\n#2 RUN make\n#2 DONE 1.0s\n\n#1 FROM base\n#1 DONE 1.0s\n"
    )
    steps = Steps()
    steps.update(base)
    assert steps.counts == (0, 1)


def test_plain_failure(clock: Clock) -> None:
    text = plain(
        vertex("a", "RUN false", 0),
        vertex("b", "RUN sleep", 0),
        log("a", "about to fail\nno line end", 0.1),
        vertex(
            "a", "RUN false", 0, 0.2, error='process "/bin/sh -c false" did not complete successfully: exit code: 1'
        ),
        vertex("b", "RUN sleep", 0, 0.2, error="context canceled"),
    )
    assert text == (
        "#1 RUN false\n"
        "#1 0.100 about to fail\n"
        "#1 0.200 no line end\n"
        '#1 ERROR: process "/bin/sh -c false" did not complete successfully: exit code: 1\n'
        "\n"
        "#2 RUN sleep\n"
        "#2 CANCELED\n"
        "\n"
        "------\n"
        " > RUN false:\n"
        "0.100 about to fail\n"
        "0.200 no line end\n"
        "------\n"
    )


def test_groups_are_one_step(clock: Clock) -> None:
    def member(
        digest: str, start: float | None, stop: float | None, *, weak: bool = False, cached: bool = False
    ) -> SolveStatus:
        return vertex(
            digest, digest, start, stop, progress_group=ProgressGroup("g", "COPY --link a b", weak), cached=cached
        )

    text = plain(
        member("x", None, None, weak=True),
        member("y", None, None),
        member("x", 0, 1, weak=True),
        member("y", 0.5, 2),
    )
    assert text == "#1 COPY --link a b\n#1 DONE 2.0s\n"
    assert plain(member("x", 0, 1, weak=True)) == ""
    assert plain(member("x", 0, 0, cached=True), member("y", 0, 0, cached=True)) == "#1 COPY --link a b\n#1 CACHED\n"


def test_quiet_shows_only_failures(clock: Clock) -> None:
    out = io.StringIO()
    progress = QuietProgress(out)
    progress(vertex("a", "RUN true", 0, 1))
    progress.finish()
    assert out.getvalue() == ""
    progress(vertex("b", "RUN false", 0))
    progress(log("b", "why\n", 0.5))
    progress(vertex("b", "RUN false", 0, 1, error="exit code: 1"))
    progress.finish()
    assert out.getvalue() == "------\n > RUN false:\n0.500 why\n------\n"


def test_raw_json() -> None:
    out = io.StringIO()
    progress = RawJsonProgress(out)
    progress(
        SolveStatus(
            (VertexEvent("sha256:a", "A", ("sha256:b",), at(0), at(1.5), True, "", ProgressGroup("g", "G", True)),),
            (VertexStatus("layer", "sha256:a", "layer", 5, 10, at(1), at(0), None),),
            (VertexLog("sha256:a", 2, b"\xff\x00hello", at(0.25)),),
            (
                VertexWarning(
                    "sha256:a", 1, "s", ("d",), "https://u", "Dockerfile", b"FROM", (SourceRange((1, 0), (1, 4)),)
                ),
            ),
        )
    )
    progress(SolveStatus())
    first, second = out.getvalue().splitlines()
    assert second == "{}"
    assert json.loads(first) == {
        "vertexes": [
            {
                "digest": "sha256:a",
                "inputs": ["sha256:b"],
                "name": "A",
                "started": "2023-11-14T22:13:20Z",
                "completed": "2023-11-14T22:13:21.5Z",
                "cached": True,
                "progressGroup": {"id": "g", "name": "G", "weak": True},
            }
        ],
        "statuses": [
            {
                "id": "layer",
                "vertex": "sha256:a",
                "name": "layer",
                "total": 10,
                "current": 5,
                "timestamp": "2023-11-14T22:13:21Z",
                "started": "2023-11-14T22:13:20Z",
            }
        ],
        "logs": [{"vertex": "sha256:a", "stream": 2, "data": "/wBoZWxsbw==", "timestamp": "2023-11-14T22:13:20.25Z"}],
        "warnings": [
            {
                "vertex": "sha256:a",
                "level": 1,
                "short": "cw==",
                "detail": ["ZA=="],
                "url": "https://u",
                "sourceInfo": {"filename": "Dockerfile", "data": "RlJPTQ=="},
                "range": [{"start": {"line": 1}, "end": {"line": 1, "character": 4}}],
            }
        ],
    }
    assert timestamp(T0 + 1) == "2023-11-14T22:13:20.000000001Z"


def tty(width: int = 60, height: int = 12) -> tuple[TtyProgress, io.StringIO]:
    out = io.StringIO()
    console = Console(
        file=out, width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False
    )
    progress = TtyProgress(out, console=console)
    progress._running = True  # drawn by hand here, not by rich's thread
    return progress, out


def test_tty_picture(clock: Clock) -> None:
    progress, _ = tty()
    progress(vertex("a", "[1/3] FROM debian", 0, 0, cached=True))
    progress(vertex("b", "[2/3] COPY . .", 0, 0.4))
    progress(vertex("c", "[3/3] RUN make all targets of this quite long command line", 0.4))
    progress(part("c", 1_000_000, 2_000_000, 0.6))
    progress(log("c", "one\ntwo\nthr", 1))
    progress(vertex("d", "later"))
    clock.at = at(3.25)
    assert plain_lines(progress.render(), 60) == [
        "[+] Building 3.2s (2/4)",
        " => CACHED [1/3] FROM debian" + "0.0s".rjust(31),
        " => [2/3] COPY . ." + "0.4s".rjust(41),
        " => [3/3] RUN make all targets of this quite long comm 2.9s",
        " => => sha256:aa 1.00MB / 2.00MB" + "3.2s".rjust(27),
        " => => # one",
        " => => # two",
        " => => # thr",
    ]


def test_tty_warnings_are_whole(clock: Clock) -> None:
    """Whoever is warned wants to read how it ends."""
    progress, _ = tty(width=40, height=20)
    said = "steps have lower limits than elsewhere: nofile 20000. Raise them with prlimit --nofile=1048576:1048576"
    progress(vertex("a", "RUN true", 0, 1))
    progress(SolveStatus(warnings=(VertexWarning("a", short=said),)))
    _, _, *lines = plain_lines(progress.render(), 40)
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].startswith(" => WARN: steps have")
    assert all(line.startswith(" " * 10) for line in lines[1:])
    assert " ".join(line.strip() for line in lines) == f"=> WARN: {said}"
    progress, _ = tty(width=40, height=6)
    progress(vertex("a", "RUN true", 0))
    progress(SolveStatus(warnings=(VertexWarning("a", short=said * 9),)))
    assert len(plain_lines(progress.render(), 40)) <= 6


def test_tty_fits_the_terminal(clock: Clock) -> None:
    progress, _ = tty(height=8)
    for n in range(30):
        progress(vertex(f"d{n}", f"done {n}", 0, 0.1))
    progress(vertex("run", "running", 0.2))
    for n in range(50):
        progress(log("run", f"line {n}\n", 0.3))
    lines = plain_lines(progress.render())
    assert len(lines) <= 8
    assert any("running" in line for line in lines)
    assert " => => # line 49" in lines
    for n in range(30):
        progress(vertex(f"r{n}", f"running {n}", 0.2))
    assert len(plain_lines(progress.render())) <= 8


def test_tty_final_summary(clock: Clock) -> None:
    progress, out = tty(height=6)
    for n in range(10):
        progress(vertex(f"d{n}", f"step {n}", 0, 1))
    progress(vertex("bad", "RUN false", 1, 2, error="exit code: 1"))
    progress(log("bad", "the reason\n", 1.5))
    progress(vertex("other", "RUN sleep", 1, 2, error="context canceled"))
    clock.at = at(9)
    progress.finish(RuntimeError())
    text = [line.rstrip() for line in out.getvalue().splitlines()]
    assert "------" in text
    assert "0.500 the reason" in text
    lines = plain_lines(progress.render())
    assert lines[0] == "[+] Building 2.0s (12/12) ERROR"
    assert len(lines) == 13
    assert lines[-2] == " => ERROR RUN false" + "1.0s".rjust(40)
    assert lines[-1].startswith(" => CANCELED RUN sleep")


def test_tty_really_draws() -> None:
    out = io.StringIO()
    console = Console(file=out, width=60, height=12, force_terminal=True, legacy_windows=False)
    progress = TtyProgress(out, console=console)
    progress(vertex("a", "RUN [red]x[/red] :smile:", 0, 1))
    progress.finish()
    assert "RUN [red]x[/red] :smile:" in out.getvalue()
    assert "FINISHED" in out.getvalue()


HOSTILE = [
    b"\x1b[2J\x1b[H\x1b]0;title\x07visible\n",
    b"\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\\n",
    b"\xff\xfe\x80 bytes\n",
    b"progress 1%\rprogress 50%\rprogress 100%\n",
    b"\x9b2Jc1\n",
    b"\x00\x07\x08nul\n",
    "right\u202eleft\n".encode(),
    b"\x1bPdcs\x1b\\after\x1b[?1049h\x1b7\x1b(0\n",
    b"x" * 200_000 + b"\n",
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_logs(data: bytes, clock: Clock) -> None:
    text = plain(
        vertex("a", "RUN \x1b[31mred\nsecond", 0), log("a", data, 1), vertex("a", "RUN \x1b[31mred\nsecond", 0, 2)
    )
    body = text.replace("\n", "")
    assert body.isprintable() or "\ufffd" in body
    assert "\x1b" not in text
    assert "\x9b" not in text
    assert text.startswith("#1 RUN red second\n")
    assert all(len(line) <= MAX_LINE + 20 for line in text.splitlines())
    progress, _ = tty()
    progress(vertex("a", "A", 0))
    progress(log("a", data, 1))
    lines = plain_lines(progress.render(), 10**9)
    assert all(len(line) < 60 and "\x1b" not in line and "\n" not in line for line in lines)


def test_cleaning() -> None:
    assert clean_line(HOSTILE[0][:-1]) == "visible"
    assert clean_line(HOSTILE[1][:-1]) == "link"
    assert clean_line(b"a\rb\r") == "b"
    assert clean_line("täglich \t grün".encode()) == "täglich \t grün"
    assert clean_text("RUN a\r\nb\nc") == "RUN a b c"


def test_lines_are_put_together() -> None:
    lines = Lines()
    assert lines.feed(b"ab") == []
    assert lines.unfinished == "ab"
    assert lines.feed("cü".encode()[:-1]) == []
    assert lines.feed("ü".encode()[1:] + b"\n\nx") == ["abcü", ""]
    assert lines.finish() == ["x"]
    assert lines.finish() == []


@given(st.lists(st.binary(max_size=40)))
def test_chunks_do_not_matter(chunks: list[bytes]) -> None:
    apart, whole = Lines(), Lines()
    got = [line for chunk in chunks for line in apart.feed(chunk)] + apart.finish()
    assert got == whole.feed(b"".join(chunks)) + whole.finish()


@given(st.binary(max_size=200))
def test_nothing_gets_through(data: bytes) -> None:
    for line in [*Lines().feed(data), clean_line(data), clean_text(data.decode("latin-1"))]:
        assert not any(ord(c) < 32 and c != "\t" for c in line)
        assert not any(0x7F <= ord(c) < 0xA0 for c in line)


def test_memory_stays_bounded() -> None:
    steps = Steps(keep_fresh=False)
    steps.update(vertex("a", "A", 0))
    for n in range(2000):
        steps.update(log("a", f"line {n}\n" * 10, 1))
    tail = steps.by_id["a"].tail
    assert sum(len(line.text) for line in tail.lines) < 1 << 20
    assert (len(tail) + tail.dropped, tail.last(1)[0].text) == (20_000, "line 1999")
    assert steps.by_id["a"].fresh == []
    failed, good = kept_of("a", "exit code: 1"), kept_of("a", "")
    assert failed and not good, "of a step that did its work nothing is kept"


def kept_of(name: str, error: str) -> int:
    steps = Steps(keep_fresh=False)
    steps.update(vertex(name, "A", 0))
    steps.update(log(name, "line\n", 1))
    steps.update(vertex(name, "A", 0, 2, error=error))
    return len(steps.by_id[name].tail)


def test_a_terminal_shows_the_whole_log_of_a_failure(clock: Clock) -> None:
    """Its picture had room for a few lines; in a pipe all of them stand above."""
    lines = [f"line {n}" for n in range(500)]
    statuses = [vertex("a", "RUN make", 0), log("a", "".join(f"{line}\n" for line in lines), 1), vertex("a", "RUN make", 0, 2, error="exit code: 2")]
    steps = Steps(keep_fresh=False)
    for status in statuses:
        steps.update(status)
    assert failure_text(steps) == "------\n > RUN make:\n" + "".join(f"1.000 {line}\n" for line in lines) + "------\n"
    assert plain(*statuses).partition("------\n")[2] == " > RUN make:\n" + "".join(f"1.000 {line}\n" for line in lines[-20:]) + "------\n"
    many = Steps(keep_fresh=False)
    for status in (statuses[0], *(log("a", "x" * 1000 + "\n", 1) for _ in range(3000)), statuses[2]):
        many.update(status)
    dropped = many.by_id["a"].tail.dropped
    assert 1000 < dropped < 3000
    assert failure_text(many).splitlines()[2] == f"... {dropped} lines before these: `dockc history logs` prints all"


def test_an_error_that_is_said_at_the_end_is_not_said_of_the_step() -> None:
    for brief, said in ((False, "#1 ERROR: no such file\n"), (True, "#1 ERROR\n")):
        out = io.StringIO()
        progress = PlainProgress(out, brief=brief)
        progress(vertex("a", "loading a.tar", 0, 1, error="no such file"))
        progress.finish(OSError(), logs=False)
        assert out.getvalue() == "#1 loading a.tar\n" + said


def test_sizes() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 1460, 999_994, 999_999, 3_420_000, 10**13)] == [
        "0B", "999B", "1.00kB", "1.46kB", "999.99kB", "1.00MB", "3.42MB", "10.00TB",
    ]  # fmt: skip
