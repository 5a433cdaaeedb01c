"""One page about one build: when its steps ran, what it waited for, what was cached and why the rest was not, logs,
sizes.

The page is one file that loads nothing. Everything in it that comes from a Dockerfile or a step is text: escaped,
without control characters; the page's policy lets no script run but its own. It is bounded, whatever the build printed.
"""

from __future__ import annotations

import base64
import hashlib
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.base.units import size_text
from dockc.console.clean import clean_line
from dockc.console.explain import duration_text
from dockc.console.graph import Fact, attribute, coloured, picture, xml
from dockc.console.why import why_lines
from dockc.errors import without_credentials

if TYPE_CHECKING:
    from dockc.compiler.explain.graph import Graph
    from dockc.solver.keydiff import KeyDiff

STEPS = 1000
"""Steps that are shown one by one; of more, those that took longest."""
NODES = 300
"""Operations of a graph that is drawn."""
LOG_BYTES = 2 << 20
"""Characters of all logs on the page together."""
_LINE = 4096
_HEAD = 50
"""Lines from the beginning of a log that is cut."""
_SECOND = 1_000_000_000


class ReportStep(Record, kw_only=True):
    """A step.

    Attributes:
        number: from 1, as in the history.
        digest, name: of it.
        started, completed: nanoseconds since the epoch, or None.
        cached, error, size: as in a build record.
        inputs: digests of what it reads.
        line: of the Dockerfile, 0 where not known.
        why: why it ran, where that is known.
        logs: what it printed; its beginning and end where that was a lot.
        lines: how many lines it printed in all.
    """

    number: int
    digest: str
    name: str
    started: int | None = None
    completed: int | None = None
    cached: bool = False
    error: str = ""
    size: int | None = None
    inputs: tuple[str, ...] = ()
    line: int = 0
    why: KeyDiff | None = None
    logs: Log | None = None

    @property
    def took(self) -> int:
        """Nanoseconds that it ran."""
        return 0 if self.cached or self.started is None else max(0, (self.completed or self.started) - self.started)


class Report(Record, kw_only=True):
    """What a page is made of: the build's name, state and facts, steps that ran and were cached as the build counts
    them, all steps, and the Dockerfile and graph where known.
    """

    ref: str
    name: str
    status: str
    began: int
    ended: int | None
    executed: int
    cached: int
    facts: tuple[tuple[str, str], ...]
    steps: tuple[ReportStep, ...]
    filename: str = "Dockerfile"
    dockerfile: str = ""
    graph: Graph | None = None


class Log:
    """What a step printed, as much as a page can hold: the first lines and the last.

    Mutable: lines come by `add`.
    """

    def __init__(self) -> None:
        self.count = 0
        self._head: list[str] = []
        self._tail: list[str] = []
        self._size = 0
        self._first = 0  # of the tail, how many at the front have been given up

    def add(self, line: bytes) -> None:
        """Take one line."""
        text = without_credentials(clean_line(line[: 4 * _LINE])[:_LINE])
        self.count += 1
        if len(self._head) < _HEAD:
            self._head.append(text)
            return
        self._tail.append(text)
        self._size += len(text) + 1
        while self._size > LOG_BYTES:
            self._size -= len(self._tail[self._first]) + 1
            self._first += 1
        if self._first > len(self._tail) // 2:
            del self._tail[: self._first]
            self._first = 0

    @property
    def size(self) -> int:
        """Characters that are held."""
        return self._size + sum(len(line) + 1 for line in self._head)

    def shown(self, room: int) -> tuple[str, int, str]:
        """The beginning, how many lines are left out, and the end, in so many characters at most."""
        tail = self._tail[self._first :]
        room -= sum(len(line) + 1 for line in self._head)
        at = len(tail)
        while at and room > len(tail[at - 1]):
            at -= 1
            room -= len(tail[at]) + 1
        head = "".join(f"{line}\n" for line in self._head)
        return head, self.count - len(self._head) - (len(tail) - at), "".join(f"{line}\n" for line in tail[at:])


def critical_path(steps: Sequence[ReportStep]) -> tuple[ReportStep, ...]:
    """The chain of steps that the build waited for, the first one first: back from the step that ended last, each time
    to the input that was the last to be ready; from a step that reads none that ran, such as the export, to what had
    ended last when it began.
    """
    by_digest = {one.digest: one for one in steps if one.completed is not None and not one.cached}
    in_order = sorted(by_digest.values(), key=_end)
    ends = [_end(one) for one in in_order]
    step = in_order[-1] if in_order else None
    path: list[ReportStep] = []
    seen: set[str] = set()
    while step is not None and step.digest not in seen:
        seen.add(step.digest)
        path.append(step)
        read = max((by_digest[one] for one in step.inputs if one in by_digest), key=_end, default=None)
        before = bisect_right(ends, step.started or 0)
        step = read or (in_order[before - 1] if before else None)
    return tuple(reversed(path))


def _end(step: ReportStep) -> int:
    return step.completed or 0


def report_page(report: Report) -> str:
    """The page."""
    path = critical_path(report.steps)
    script = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{script}'; img-src data:; base-uri 'none'; form-action 'none'"
    sections = (
        ("timeline", "Time line", _timeline(report, path)),
        ("path", "What the build waited for", _path(path)),
        ("cache", "Cache", _cache(report)),
        ("lines", f"{report.filename} by line", _dockerfile(report)),
        ("graph", "Graph", _graph(report)),
        ("logs", "Logs", _logs(report)),
    )
    there = [(name, title, body) for name, title, body in sections if body]
    links = "".join(f'<a href="#{name}">{xml(title)}</a>' for name, title, _ in there)
    bodies = "".join(f'<section id="{name}"><h2>{xml(title)}</h2>\n{body}</section>\n' for name, title, body in there)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>{xml(report.name or report.ref)}: build report</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{_header(report)}<nav>{links}"
        '<input id="find" type="search" placeholder="Find a step" aria-label="Find a step"></nav>\n'
        f"<main>\n{bodies}</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _header(report: Report) -> str:
    ran = [one for one in report.steps if one.completed is not None and not one.cached]
    work = sum(one.took for one in ran)
    tiles = [
        ("Status", report.status, attribute(f"status {report.status}")),
        ("Time", _duration(None if report.ended is None else report.ended - report.began), ""),
        ("Work of all steps", _duration(work), ""),
        ("Steps run", str(report.executed), ""),
        ("Cached", str(report.cached), ""),
        ("Began", time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(report.began // _SECOND)), ""),
    ]
    shown = "".join(
        f'<div class="tile {css}"><dt>{name}</dt><dd>{xml(value)}</dd></div>' for name, value, css in tiles if value
    )
    reason = next((value.partition(": ")[2] for key, value in report.facts if key == "Status"), "")
    failed = next((one for one in report.steps if one.error), None)
    where = f'<a href="#log-{failed.number}">#{failed.number} {xml(failed.name)}</a><br>' if failed is not None else ""
    why = f'<p class="error">{where}{xml(reason)}</p>\n' if reason else ""
    facts = "".join(f"<tr><th>{xml(key)}</th><td>{xml(value)}</td></tr>\n" for key, value in report.facts)
    return (
        f"<header><h1>{xml(report.name or report.ref)}</h1><dl>{shown}</dl>\n{why}"
        f'<details><summary>What was asked for, and what came of it</summary><table class="facts">{facts}</table></details></header>\n'
    )


def _duration(nanoseconds: int | None) -> str:
    return "" if nanoseconds is None else duration_text(max(0, nanoseconds) / _SECOND)


def ticks(span: int) -> dict[int, str]:
    """Round times from 0 to `span` nanoseconds, six at most, with their texts."""
    small = (count * 10**power for power in range(10) for count in (1, 2, 5))
    large = (count * unit for unit in (60 * _SECOND, 3600 * _SECOND) for count in (0.25, 0.5, 1, 2, 5, 10, 20))
    step = next((int(one) for one in (*small, *large) if span <= 5 * one), span // 5)

    def text(at: int) -> str:
        if span < _SECOND:
            return f"{at / 1_000_000:g}ms"
        return f"{at / _SECOND / 60:g}m" if step % (60 * _SECOND) == 0 else f"{at / _SECOND:g}s"

    return {at: text(at) if at else "0" for at in range(0, span + 1, step)}


def _timeline(report: Report, path: Sequence[ReportStep]) -> str:
    ran = [one for one in report.steps if one.started is not None]
    if not ran:
        return ""
    begin = min(one.started or 0 for one in ran)
    end = max(*(one.completed or one.started or 0 for one in ran), begin + 1)
    chosen = ran
    if len(ran) > STEPS:
        longest = {one.digest for one in sorted(ran, key=lambda one: -one.took)[:STEPS]}
        chosen = [one for one in ran if one.digest in longest]
    critical = {one.digest for one in path}
    marks = "".join(
        f'<span style="left:{100 * at / (end - begin):.3f}%">{text}</span>' for at, text in ticks(end - begin).items()
    )
    rows = []
    for one in chosen:
        left = 100 * ((one.started or begin) - begin) / (end - begin)
        width = 100 * one.took / (end - begin)
        kind = "failed" if one.error else "cached" if one.cached else "critical" if one.digest in critical else "ran"
        said = "cached" if one.cached else _duration(one.took)
        rows.append(
            f'<li class="step" data-step="{one.number}"><a href="#log-{one.number}" title="{attribute(one.name)}">'
            f"<i>#{one.number}</i> {xml(one.name)}</a>"
            f'<span class="track"><b class="{kind}" style="left:{left:.3f}%;width:{width:.3f}%"></b></span>'
            f'<span class="n">{said}</span></li>\n'
        )
    more = _more(len(ran) - len(chosen), "steps took less time and are not shown")
    legend = (
        '<p class="legend"><b class="critical"></b> what the build waited for <b class="ran"></b> ran beside it '
        '<b class="failed"></b> failed; the rest was cached</p>'
    )
    return f'{legend}<div class="scale"><span class="track">{marks}</span></div><ol class="timeline">\n{"".join(rows)}</ol>{more}'


def _more(count: int, what: str) -> str:
    return f'<p class="more">{count} {what}.</p>' if count > 0 else ""


def _path(path: Sequence[ReportStep]) -> str:
    if not path:
        return ""
    total = sum(one.took for one in path) or 1
    rows = "".join(
        f'<tr class="step" data-step="{one.number}"><td class="n">#{one.number}</td><td>{xml(one.name)}</td><td class="n">'
        f'{_duration(one.took)}</td><td class="n">{100 * one.took / total:.0f} %</td></tr>\n'
        for one in path[-STEPS:]
    )
    return (
        f"<p>A faster step of this chain makes the build faster; another one does not. Together {_duration(total)}.</p>"
        f'<table><thead><tr><th></th><th>Step</th><th class="n">Time</th><th class="n">Share</th></tr></thead><tbody>\n{rows}</tbody></table>'
    )


def _cache(report: Report) -> str:
    rows = []
    steps = [one for one in report.steps if one.cached or one.why is not None]
    for one in steps[:STEPS]:
        why = "" if one.why is None or one.cached else "".join(f"<div>{xml(line)}</div>" for line in why_lines(one.why))
        place = f"line {one.line}" if one.line else ""
        state = "HIT" if one.cached else "MISS"
        rows.append(
            f'<tr class="step" data-step="{one.number}"><td class="{state.lower()}">{state}</td><td class="place">{xml(place)}</td>'
            f"<td>{xml(one.name)}{f'<div class=why>{why}</div>' if why else ''}</td></tr>\n"
        )
    if not rows:
        return ""
    more = _more(len(steps) - STEPS, "steps more")
    return f"<table><thead><tr><th></th><th></th><th>Step, and why it ran</th></tr></thead><tbody>\n{''.join(rows)}</tbody></table>{more}"


def _dockerfile(report: Report) -> str:
    if not report.dockerfile:
        return ""
    by_line: dict[int, list[ReportStep]] = {}
    for one in report.steps:
        if one.line:
            by_line.setdefault(one.line, []).append(one)
    most = max((sum(one.size or 0 for one in here) for here in by_line.values()), default=0) or 1
    rows = []
    for number, written in enumerate(coloured(report.dockerfile), 1):
        here = by_line.get(number, [])
        size = sum(one.size or 0 for one in here)
        took = sum(one.took for one in here)
        said = "cached" if here and all(one.cached for one in here) else _duration(took) if took else ""
        bar = f'<b style="width:{100 * min(size, most) / most:.2f}%"></b>' if size else ""
        known = size_text(size) if any(one.size is not None for one in here) else ""
        rows.append(
            f'<tr><td class="n">{number}</td><td class="code">{written}</td><td class="n">{said}</td><td class="n">{known}</td>'
            f'<td class="size">{bar}</td></tr>\n'
        )
    sized = any(one.size is not None for one in report.steps)
    unmeasured = (
        "Sizes of layers are measured by <code>dockc build --report</code>."
        if report.status == "completed"
        else "Sizes of layers are known of builds that come to their end."
    )
    note = "" if sized else f"<p>{unmeasured}</p>"
    return (
        f'{note}<table class="file"><thead><tr><th></th><th>Instruction</th><th class="n">Time</th><th class="n">Size</th><th></th></tr>'
        f"</thead><tbody>\n{''.join(rows)}</tbody></table>"
    )


def _graph(report: Report) -> str:
    graph = report.graph
    if graph is None or not graph.nodes:
        return ""
    if len(graph.nodes) > NODES:
        return f"<p>{len(graph.nodes)} operations are too many to draw. <code>dockc explain --graph --format dot</code> writes them all.</p>"
    by_digest = {one.digest: one for one in report.steps}
    facts = {}
    for i, node in enumerate(graph.nodes):
        one = by_digest.get(node.digest)
        if one is not None:
            why = () if one.why is None or one.cached else tuple(why_lines(one.why))
            seconds = None if one.cached or one.started is None else one.took / _SECOND
            facts[i] = Fact(seconds, one.size, one.cached, why=why)
    return f'<div class="picture">{picture(graph, facts)}</div>'


def _logs(report: Report) -> str:
    """Logs, each behind its step's name; of what does not fit the ends. Those of failed steps come before all others."""
    logs = [(one, one.logs) for one in report.steps if one.logs is not None and one.logs.count]
    room = LOG_BYTES
    share: dict[int, int] = {}
    order = sorted(logs, key=lambda pair: (not pair[0].error, pair[1].size))
    for left, (one, log) in enumerate(order):
        part = room if one.error else room // (len(order) - left)
        share[one.number] = min(log.size, max(part, 0))
        room -= share[one.number]
    out = []
    for one, log in logs[:STEPS]:
        head, missing, tail = log.shown(share[one.number])
        gap = f'<p class="more">{missing} lines are left out here; <code>dockc history logs {xml(report.ref)} {one.number}</code> prints them.</p>'
        body = f"<pre>{_pre(head)}</pre>" + (gap if missing else "") + (f"<pre>{_pre(tail)}</pre>" if tail else "")
        words = f"{log.count} line{'s' * (log.count != 1)}"
        out.append(
            f'<details class="step{" failed" if one.error else ""}" id="log-{one.number}" data-step="{one.number}"{" open" if one.error else ""}>'
            f"<summary><i>#{one.number}</i> {xml(one.name)} <small>{words}</small></summary>"
            f"{f'<p class=error>{xml(one.error)}</p>' if one.error else ''}{body}</details>\n"
        )
    return "".join(out) + _more(len(logs) - STEPS, "steps more printed something")


def _pre(text: str) -> str:
    import html

    return html.escape(text.encode("utf-8", "replace").decode(), quote=False)


def rows_of(lines: Iterator[tuple[str, bytes]]) -> Mapping[str, Log]:
    """The logs of steps by digest, from their lines in the order in which they came."""
    found: dict[str, Log] = {}
    for digest, line in lines:
        log = found.get(digest)
        if log is None:
            log = found[digest] = Log()
        log.add(line.rstrip(b"\n"))
    return found


_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#6b7580;--ran:#5b8fb9;--critical:#c26a00;--failed:#c0322b;--hit:#2e7d4f;--miss:#a85f00;
--bar:#5b8fb9;--k:#1f5f8b;--c:#5f6b76;--s:#8a5300;--v:#8b2f6b}
@media (prefers-color-scheme:dark){:root{--soft:#9aa5b0;--ran:#4d7ea6;--critical:#e0902f;--failed:#ee6a60;--hit:#6cc490;--miss:#eaa14c;
--bar:#4d7ea6;--k:#7cb8e4;--c:#94a1ac;--s:#f0b35b;--v:#e69ad0}}
*{box-sizing:border-box}html{scroll-padding-top:3.2rem}
body{margin:0;font:14px/1.5 system-ui,sans-serif}
header,main{max-width:82rem;margin:0 auto;padding:0 1.2rem}h1{font-size:1.35rem;margin:1.1rem 0 .6rem;overflow-wrap:anywhere}
h2{font-size:1.05rem;margin:0 0 .6rem}section{padding:1.3rem 0}section+section{border-top:1px solid var(--line)}main>:first-child{padding-top:.9rem}header details{border:0}
dl{display:flex;flex-wrap:wrap;gap:.6rem;margin:0 0 .8rem}.tile{border:1px solid var(--line);border-radius:6px;padding:.35rem .8rem}
dt{font-size:12px;color:var(--soft)}dd{margin:0;font-weight:600;font-variant-numeric:tabular-nums}
.status.completed dd{color:var(--hit)}.status.failed dd,.status.canceled dd,.status.interrupted dd{color:var(--failed)}
nav{position:sticky;top:0;z-index:1;background:Canvas;border-block:1px solid var(--line);display:flex;flex-wrap:wrap;gap:.2rem 1rem;align-items:center;
padding:.4rem max(1.2rem,calc((100vw - 79.6rem)/2))}nav input{font:inherit;margin-left:auto;padding:.1rem .4rem;width:13rem;max-width:100%}
a{color:inherit}nav a{text-decoration:none}nav a:hover{text-decoration:underline}
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:600;font-size:12px;color:var(--soft)}
td,th{padding:.18rem .6rem .18rem 0;border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td.n:first-child{color:var(--soft);width:3.2rem;padding-right:.9rem}
.facts th{width:14rem}.hit,.miss,.place{white-space:nowrap;width:1%}.place{color:var(--soft);padding-right:1.2rem}.hit{color:var(--hit);font-weight:600}.miss{color:var(--miss);font-weight:600}.why{color:var(--soft);padding-left:1rem}
.timeline{list-style:none;margin:0;padding:0}.timeline li,.scale{display:grid;grid-template-columns:minmax(9rem,24rem) 1fr 4.6rem;gap:.8rem;align-items:center}
.timeline li{border-bottom:1px solid var(--line);padding:.12rem 0}.timeline a{overflow:hidden;white-space:nowrap;text-overflow:ellipsis;text-decoration:none}
.timeline i,summary i{font-style:normal;color:var(--soft)}
.track{position:relative;height:1.1rem}.track b{position:absolute;top:.15rem;height:.8rem;min-width:2px;border-radius:2px}
.scale .track{grid-column:2;font-size:11px;color:var(--soft)}.scale span span{position:absolute;transform:translateX(-50%)}
.scale span span:first-child{transform:none}.scale span span:last-child{transform:translateX(-100%)}
b.ran{background:var(--ran)}b.critical{background:var(--critical)}b.failed{background:var(--failed)}b.cached{background:var(--soft);opacity:.5}
.legend,.more{color:var(--soft);font-size:12.5px}.legend b{display:inline-block;width:1.4rem;height:.7rem;border-radius:2px;margin-left:.8rem}
.legend b:first-child{margin-left:0}
.file td{padding-block:0;border:0}.code{font:12px/1.65 ui-monospace,monospace;white-space:pre-wrap}.size{width:22%}
.size b{display:block;height:.7rem;margin-top:.32rem;background:var(--bar);border-radius:2px;min-width:2px}
.k{color:var(--k);font-weight:600}.c{color:var(--c);font-style:italic}.s{color:var(--s)}.v{color:var(--v)}
.picture{overflow:auto;border:1px solid var(--line);border-radius:6px;max-height:80vh}.picture svg{display:block;margin:0 auto;max-width:max(100%,60rem);height:auto}
details{border-bottom:1px solid var(--line);padding:.2rem 0}summary{cursor:pointer;overflow-wrap:anywhere}small{color:var(--soft)}
pre{font:12px/1.5 ui-monospace,monospace;margin:.4rem 0;padding:.5rem .7rem;overflow:auto;max-height:70vh;background:#8881;border-radius:4px;content-visibility:auto}
.error{color:var(--failed);margin:.3rem 0;overflow-wrap:anywhere}.failed>summary{color:var(--failed)}.hidden{display:none!important}
@media (max-width:700px){.timeline li,.scale{grid-template-columns:1fr 4rem;gap:0 .4rem}.timeline a{grid-column:1/-1}.scale .track{grid-column:1}.size{display:none}.facts th{width:8rem}}
@media print{nav{display:none}pre{max-height:none}}
"""

_SCRIPT = """
const open = () => {
  const chosen = document.getElementById(location.hash.slice(1));
  if (chosen && chosen.tagName === 'DETAILS') chosen.open = true;
};
addEventListener('hashchange', open);
open();
for (const link of document.querySelectorAll('.timeline a')) {
  if (!document.getElementById(link.hash.slice(1))) link.removeAttribute('href');
}
const steps = [...document.querySelectorAll('.step')];
const words = steps.map(step => (step.querySelector('summary, a') || step).textContent.toLowerCase());
document.getElementById('find').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  steps.forEach((step, i) => step.classList.toggle('hidden', !words[i].includes(wanted)));
});
document.documentElement.dataset.ready = 'true';
"""
