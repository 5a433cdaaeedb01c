"""The page about a build: what is on it, how large it may become, and that all that is foreign stays text."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.base.units import size_text
from dockc.compiler.explain.graph import Graph, Lane, Node
from dockc.console import report as pages
from dockc.console.report import Log, Report, ReportStep, critical_path, report_page, ticks
from dockc.solver.keydiff import Change, FileChange, KeyDiff, MissReason

SECOND = 1_000_000_000
HOSTILE = "</pre></script><script>document.title='owned'</script><img src=x onerror=document.title='owned'>\x1b[31m\x00\u202e\"'&"


def step(number: int, name: str, began: float = 0, ended: float = 0, reads: tuple[str, ...] = (), **more: object) -> ReportStep:
    return ReportStep(
        number=number, digest=name, name=name, started=int(began * SECOND), completed=int(ended * SECOND), inputs=reads, **more  # type: ignore[arg-type]
    )


def log(*lines: str) -> Log:
    made = Log()
    for line in lines:
        made.add(line.encode("utf-8", "surrogateescape"))
    return made


def report(*steps: ReportStep, **more: object) -> Report:
    asked = {"name": "app", "status": "completed", "dockerfile": "", "facts": (), "graph": None, **more}
    return Report(ref="3f2", began=0, ended=10 * SECOND, executed=2, cached=1, steps=steps, **asked)  # type: ignore[arg-type]


def hostile(status: str = "failed") -> Report:
    diff = KeyDiff("a", HOSTILE, MissReason.ARGUMENT, changes=(Change(HOSTILE, HOSTILE, None),))
    files = KeyDiff("b", HOSTILE, MissReason.CONTENT, files=(FileChange(HOSTILE, "content"),), more=3)
    steps = (
        step(1, HOSTILE, 0, 2, why=diff, line=1, size=1000, error=HOSTILE, logs=log(HOSTILE, "\udcff\udcfe")),
        step(2, "b", 2, 3, (HOSTILE,), why=files, line=2, size=5),
        step(3, "c", cached=True, line=2),
    )
    nodes = (Node(HOSTILE, "exec", HOSTILE, HOSTILE, 0, (1, 1), ()), Node("b", "file", "COPY", "COPY", 0, (2, 2), (0,), output=True))
    graph = Graph("Dockerfile", "", (Lane(HOSTILE, 1),), nodes)
    return report(*steps, name=HOSTILE, dockerfile=f"RUN {HOSTILE}\nCOPY a b\n", facts=((HOSTILE, HOSTILE),), graph=graph, status=status)


class Elements(HTMLParser):
    """Counts what could run, and finds what is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.bad: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.bad += [(name, value) for name, value in attrs if name.startswith("on") or (name in {"src", "href"} and not (value or "").startswith(("#", "data:")))]


@pytest.mark.parametrize("status", ["failed", HOSTILE, '"><meta http-equiv=refresh content="0;url=//x">'])
def test_what_is_foreign_stays_text(status: str) -> None:
    text = report_page(hostile(status))
    seen = Elements()
    seen.feed(text)
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags
    assert seen.tags.count("meta") == text.split("<body>")[0].count("<meta")
    assert seen.bad == []
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)
    assert "script-src 'sha256-" in text
    assert "default-src 'none'" in text
    text.encode()


def test_what_is_told() -> None:
    text = report_page(hostile())
    for words in ("file: 3 more have changed", "argument ", "HIT", "MISS", size_text(1000), "line 2", "What the build waited for", 'class="node file output"'):
        assert words in text, words
    empty = report_page(report())
    assert "<section" not in empty


def test_the_chain_that_a_build_waited_for() -> None:
    steps = (
        step(1, "context", 0, 1),
        step(2, "slow", 0, 4),
        step(3, "quick", 1, 2, ("context",)),
        step(4, "join", 4, 6, ("quick", "slow")),
        step(5, "cached", 6, 6, ("join",), cached=True),
        step(6, "beside", 0, 5, ("context",)),
        step(7, "exporting", 6, 9),
    )
    assert [one.name for one in critical_path(steps)] == ["slow", "join", "exporting"]
    loaded = (step(1, "load", 0, 1), step(2, "beside", 0, 1.5), step(3, "cached", 1, 1, cached=True), step(4, "run", 1, 3, ("cached",)))
    assert [one.name for one in critical_path(loaded)] == ["load", "run"]
    assert critical_path(()) == ()
    assert [one.name for one in critical_path((step(1, "a", 0, 1, ("b",)), step(2, "b", 0, 2, ("a",))))] == ["a", "b"]  # a circle ends


def test_the_page_is_bounded() -> None:
    many = Log()
    for n in range(100_000):
        many.add(b"line %d of a long log that says little and says it again and again" % n)
    failed = log(*(f"before the end {n}" for n in range(1000)))
    steps = [step(n, f"step {n}", n, n + 1) for n in range(3, 3000)]
    text = report_page(report(step(1, "loud", 0, 1, logs=many), step(2, "failed", 0, 1, error="no", logs=failed), *steps))
    assert len(text) < 2 * pages.LOG_BYTES
    assert "line 0 of" in text
    assert "line 49 of" in text
    assert "line 99999 of" in text
    assert "before the end 999" in text
    assert re.search(r"[0-9]+ lines are left out here; <code>dockc history logs 3f2 1</code>", text)
    assert text.count('<li class="step"') == pages.STEPS
    endless = log("x" * 100_000)
    assert endless.size < 5000
    nodes = tuple(Node(str(n), "exec", "RUN", "RUN", 0, None, ()) for n in range(pages.NODES + 1))
    assert "are too many to draw" in report_page(report(graph=Graph("f", "", (Lane("a", 1),), nodes)))


def test_logins_are_in_no_log() -> None:
    assert "hunter2" not in report_page(report(step(1, "a", logs=log("cloning https://u:hunter2@host/r.git"))))


_CHECK = """<script>
document.documentElement.dataset.results = [
  document.title.includes('document.title=') && !document.querySelector('img, iframe, object') && document.documentElement.dataset.ready === 'true',
  document.documentElement.scrollWidth <= innerWidth,
  [...document.querySelectorAll('details.failed')].every(one => one.open),
  document.querySelectorAll('.timeline b').length === 3,
  getComputedStyle(document.body).colorScheme !== undefined && getComputedStyle(document.documentElement).colorScheme === 'light dark',
  (() => { const find = document.getElementById('find'); find.value = 'nowhere'; find.dispatchEvent(new Event('input'));
    return [...document.querySelectorAll('.step')].every(one => getComputedStyle(one).display === 'none'); })(),
  (() => { const find = document.getElementById('find'); find.value = ''; find.dispatchEvent(new Event('input'));
    return [...document.querySelectorAll('.step')].every(one => getComputedStyle(one).display !== 'none'); })(),
  document.querySelector('.picture svg').getBoundingClientRect().width > 100,
].join(' ');
</script>"""


@pytest.mark.parametrize("width", [500, 1300])
def test_the_page_in_a_real_browser(tmp_path: Path, width: int) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    path = tmp_path / "page.html"
    # The page's policy lets no other script run: that of the test is allowed besides.
    text = re.sub("script-src 'sha256-[^']*'", "script-src 'unsafe-inline'", report_page(hostile()))
    path.write_text(text.replace("</body>", f"{_CHECK}</body>", 1))
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync",
        f"--window-size={width},900", "--virtual-time-budget=4000", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}", path.as_uri(),
    ]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'data-results="([^"]*)"', ended.stdout)
    assert found is not None, ended.stderr[-2000:]
    assert found[1].split() == ["true"] * 8
    path.write_text(report_page(hostile()))  # and with its own policy its own script runs
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 'data-ready="true"' in ended.stdout


@given(st.integers(1, 10**15))
def test_the_time_line_is_marked_at_round_times(span: int) -> None:
    marks = ticks(span)
    assert 1 <= len(marks) <= 6 and min(marks) == 0 and max(marks) <= span
    assert len(set(marks.values())) == len(marks), "each is another"
