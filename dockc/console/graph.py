"""The build graph as text, Mermaid, DOT, SVG and a page of its own; `graph_layout` says where everything stands."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.pattern import pattern
from dockc.base.record import Record
from dockc.base.units import size_text
from dockc.console.clean import clean_text
from dockc.console.explain import duration_text
from dockc.console.graph_layout import LINE, Box
from dockc.console.graph_layout import layout as layout

if TYPE_CHECKING:
    from dockc.compiler.explain.graph import Graph, Node

FORMATS = ("svg", "mermaid", "dot", "html", "text", "json")


class Fact(Record):
    """What is known of a node besides the file.

    Attributes:
        seconds: how long it took, or None.
        size: bytes, or None.
        cached: its result was there, or is there now.
        plan: what a build would do now: `cached`, `run`, `depends`, or "" where nobody asked.
        why: reasons for that, in words.
        findings: of lint, in words.
        severity: of the worst finding: `error`, `warning`, `info`, or "" without any.
    """

    seconds: float | None = None
    size: int | None = None
    cached: bool = False
    plan: str = ""
    why: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    severity: str = ""

    def __str__(self) -> str:
        parts = (
            [_PLANS[self.plan]]
            if self.plan
            else ["cached"]
            if self.cached
            else [duration_text(self.seconds)]
            if self.seconds is not None
            else []
        )
        return ", ".join([*parts, *([size_text(self.size)] if self.size is not None else [])])


_PLANS = {"cached": "cached", "run": "would run", "depends": "depends on what runs before"}
Facts = Mapping[int, Fact]
"""By index of the node."""


def render_graph(graph: Graph, form: str, facts: Facts | None = None) -> str:
    """The graph in one of `FORMATS`."""
    known = facts or {}
    match form:
        case "svg":
            return svg(graph, known)
        case "mermaid":
            return mermaid(graph, known)
        case "dot":
            return dot(graph, known)
        case "html":
            return page(graph, known)
        case "json":
            return as_json(graph, known)
        case _:
            return text(graph, known)


# --- text -----------------------------------------------------------------------------------------------


def text(graph: Graph, facts: Facts) -> str:
    """Stages with their operations, and what each reads."""
    out = []
    width = len(str(len(graph.nodes)))
    for number, lane in enumerate(graph.lanes):
        nodes = [(i, node) for i, node in enumerate(graph.nodes) if node.lane == number]
        if not nodes and lane.needed and not lane.line:
            continue
        out.append(clean_text(lane.title) + ("" if lane.needed else "  (not needed)"))
        for i, node in nodes:
            reads = f"  <- {', '.join(f'#{n + 1}' for n in node.inputs)}" if node.inputs else ""
            place = f"  line {node.lines[0]}" if node.lines else ""
            fact = f"  [{facts[i]}]" if i in facts and str(facts[i]) else ""
            mark = "  = image" if node.output else ""
            out.append(f"  #{i + 1:<{width}} {node.kind:<6} {clean_text(node.label)}{reads}{place}{fact}{mark}")
    return "\n".join(out) + "\n"


def as_json(graph: Graph, facts: Facts) -> str:
    """Stages and operations as JSON; `inputs` and `stage` are places in the lists."""
    import json

    stages = [
        {"title": lane.title, "line": lane.line, "needed": lane.needed, "result": lane.result} for lane in graph.lanes
    ]
    operations = []
    for i, node in enumerate(graph.nodes):
        fact = facts.get(i, Fact())
        operations.append(
            {
                "digest": node.digest, "kind": node.kind, "name": node.name or node.label, "stage": node.lane, "lines": list(node.lines or ()),
                "inputs": list(node.inputs), "result": node.output, "seconds": fact.seconds, "size": fact.size,
                "cached": fact.cached or fact.plan == "cached", "plan": fact.plan, "why": list(fact.why), "findings": list(fact.findings),
            }
        )  # fmt: skip
    document = {"file": graph.filename, "stages": stages, "operations": operations}
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"


def mermaid(graph: Graph, facts: Facts) -> str:
    """A Mermaid flowchart."""
    out = ["flowchart TD"]
    for number, lane in enumerate(graph.lanes):
        nodes = [(i, node) for i, node in enumerate(graph.nodes) if node.lane == number]
        if not nodes and lane.needed:
            continue
        out.append(f"  subgraph s{number}[{_mermaid(lane.title)}]")
        if not nodes:
            out.append(f"    s{number}x[{_mermaid('not needed')}]")
        for i, node in nodes:
            shape = (
                f"([{_mermaid(_with_fact(node, facts.get(i)))}])"
                if node.kind == "source"
                else f"[{_mermaid(_with_fact(node, facts.get(i)))}]"
            )
            out.append(f"    n{i}{shape}")
        out.append("  end")
    out += [f"  n{source} --> n{i}" for i, node in enumerate(graph.nodes) for source in node.inputs]
    return "\n".join(out) + "\n"


def _with_fact(node: Node, fact: Fact | None) -> str:
    return f"{node.label} ({fact})" if fact is not None and str(fact) else node.label


def _mermaid(label: str) -> str:
    """A quoted label; Mermaid reads entities written as `#35;`."""
    return '"' + "".join(f"#{ord(c)};" if c in '#&"<>`' else c for c in _short(clean_text(label), 120)) + '"'


def dot(graph: Graph, facts: Facts) -> str:
    """A Graphviz graph."""
    out = ["digraph build {", "  rankdir=TB;", '  node [shape=box, style=rounded, fontname="sans-serif"];']
    for number, lane in enumerate(graph.lanes):
        nodes = [(i, node) for i, node in enumerate(graph.nodes) if node.lane == number]
        if not nodes:
            continue
        out += [f"  subgraph cluster_{number} {{", f"    label={_quoted(lane.title)};"]
        for i, node in nodes:
            ellipse = ", shape=ellipse" if node.kind == "source" else ""
            out.append(
                f"    n{i} [label={_quoted(_with_fact(node, facts.get(i)))}, tooltip={_quoted(node.digest)}{ellipse}];"
            )
        out.append("  }")
    out += [f"  n{source} -> n{i};" for i, node in enumerate(graph.nodes) for source in node.inputs]
    return "\n".join([*out, "}"]) + "\n"


def _quoted(label: str) -> str:
    return '"' + clean_text(label).replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- SVG ------------------------------------------------------------------------------------------------

_STYLE = """
.dockc{font-family:system-ui,sans-serif;font-size:12.5px}
.dockc .lane{fill:#f4f6f8;stroke:#d5dbe1}.dockc .lane.unneeded{stroke:#7d8a96;stroke-dasharray:5 4;fill:none}.dockc .lane.result{stroke:#2f6f3e;stroke-width:2}
.dockc .title{font-weight:600;fill:#3b4650;paint-order:stroke;stroke:#f4f6f8;stroke-width:4px}
.dockc .edge{fill:none;stroke:#8a97a3;stroke-width:1.4}.dockc .tip{fill:#8a97a3}
.dockc .node rect,.dockc .key rect{fill:#fff;stroke:#5b6b7a}
.dockc .source rect{fill:#e8f1fb;stroke:#4a7fb5}.dockc .exec rect{fill:#fdf3e1;stroke:#c08a2b}
.dockc .file rect{fill:#eaf6ec;stroke:#4b9460}.dockc .merge rect,.dockc .diff rect{fill:#f3ecfa;stroke:#8a63b0}
.dockc .output rect{stroke-width:3}.dockc .cached rect{stroke-dasharray:4 3}.dockc .run rect{stroke-width:2.4}
.dockc text{fill:#1d252c}.dockc .kind{fill:#55636f;font-size:11.5px}
.dockc .mark{stroke:#fff;stroke-width:1.5}.dockc .mark.error{fill:#b3261e}.dockc .mark.warning{fill:#a86400}.dockc .mark.info,.dockc .mark.style{fill:#1f5f8b}
.dockc .number{fill:#fff;font-size:11px;font-weight:600;text-anchor:middle}
@media (prefers-color-scheme:dark){
.dockc .lane{fill:#1b2127;stroke:#39434d}.dockc .lane.unneeded{stroke:#74828f}.dockc .lane.result{stroke:#6fbf83}.dockc .title{fill:#b9c4ce;stroke:#1b2127}
.dockc .edge{stroke:#74828f}.dockc .tip{fill:#74828f}
.dockc .source rect{fill:#17293c}.dockc .exec rect{fill:#372a12}.dockc .file rect{fill:#173020}
.dockc .merge rect,.dockc .diff rect{fill:#2a1d38}.dockc .key rect{stroke:#9aa7b3}.dockc .key.output rect,.dockc .key.cached rect,.dockc .key.run rect{fill:#1b2127}.dockc text{fill:#e4e9ee}.dockc .kind{fill:#a3b0bb}.dockc .number{fill:#fff}.dockc .mark{stroke:#14191e}}
"""
_BEND = 6  # radius of a line's corners


def svg(graph: Graph, facts: Facts) -> str:
    """A picture of its own."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _svg(graph, facts, f"<style>{_STYLE}</style>\n")


def picture(graph: Graph, facts: Facts) -> str:
    """The drawing for a page of its own, which brings its style along."""
    return f"<style>{_STYLE}</style>{_svg(graph, facts, '')}"


def _svg(graph: Graph, facts: Facts, style: str) -> str:
    placed = layout(graph)
    size = f'width="{placed.width:g}" height="{placed.height:g}" viewBox="0 0 {placed.width:g} {placed.height:g}"'
    label = attribute(f"Build graph of {graph.filename}")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dockc" {size} role="img" aria-label="{label}">\n{style}',
        ('<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path class="tip" d="M0 0L8 4L0 8z"/></marker></defs>\n')
    ]  # fmt: skip
    for number, box in placed.lanes.items():
        lane = graph.lanes[number]
        kind = " result" if lane.result else "" if lane.needed else " unneeded"
        out.append(
            f'<rect class="lane{kind}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" '
            'rx="8"/>\n'
        )
    for (source, target), points in placed.edges.items():
        out.append(
            f'<path class="edge" data-from="n{source}" data-to="n{target}" marker-end="url(#tip)" '
            f'd="{_way(points)}"/>\n'
        )
    for number, box in placed.lanes.items():
        lines = _lines_of_text(placed.titles[number], placed.titles_at[number], box.y + 22, 17)
        out.append(
            f'<g class="head"><title>{xml(_lane_note(graph, number))}</title><text class="title">{lines}</text></g>\n'
        )
    out += [_node(i, node, placed.nodes[i], placed.labels[i], facts.get(i)) for i, node in enumerate(graph.nodes)]
    return "".join(out) + "</svg>\n"


def _lane_note(graph: Graph, number: int) -> str:
    lane = graph.lanes[number]
    return lane.title + (" (the result)" if lane.result else "" if lane.needed else " (not needed)")


def _way(points: Sequence[tuple[float, float]]) -> str:
    """A path through the points, its corners rounded."""
    (x, y), *rest = points
    parts = [f"M{x:g} {y:g}"]
    for n, (cx, cy) in enumerate(rest[:-1]):
        nx, ny = rest[n + 1]
        radius = min(_BEND, (abs(cx - x) + abs(cy - y)) / 2, (abs(nx - cx) + abs(ny - cy)) / 2)
        parts.append(
            f"L{_toward(cx, x, radius):g} {_toward(cy, y, radius):g}Q{cx:g} {cy:g} {_toward(cx, nx, radius):g} "
            f"{_toward(cy, ny, radius):g}"
        )
        x, y = cx, cy
    return "".join(parts) + f"L{rest[-1][0]:g} {rest[-1][1]:g}"


def _toward(start: float, end: float, distance: float) -> float:
    return start if abs(end - start) < 0.01 else start + distance if end > start else start - distance


def _lines_of_text(lines: Sequence[str], x: float, y: float, step: float) -> str:
    return "".join(f'<tspan x="{x:g}" y="{y + n * step:g}">{xml(line)}</tspan>' for n, line in enumerate(lines))


def _node(i: int, node: Node, box: Box, label: Sequence[str], fact: Fact | None) -> str:
    lines = "" if node.lines is None else f' data-first="{node.lines[0]}" data-last="{node.lines[1]}"'
    known = str(fact) if fact is not None else ""
    result = "result" if node.output else ""
    below = " · ".join(
        part for part in (result, node.kind, f"line {node.lines[0]}" if node.lines else "", known) if part
    )
    classes = " ".join(
        part
        for part in ("node", node.kind, "output" if node.output else "", fact.plan if fact is not None else "")
        if part
    )
    tip = [node.name or node.label, node.digest]
    mark = ""
    if fact is not None:
        tip += [*fact.why, *fact.findings]
        if fact.findings:
            x, y = box.x + box.width - 4, box.y + 3
            mark = (
                f'<circle class="mark {fact.severity}" cx="{x:g}" cy="{y:g}" r="9"/>'
                f'<text class="number" x="{x:g}" y="{y + 4:g}">{len(fact.findings)}</text>'
            )
    return (
        f'<g class="{classes}" id="n{i}"{lines} tabindex="0">'
        f"<title>{xml(chr(10).join(tip), keep=True)}</title>"
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="6"/>'
        f"<text>{_lines_of_text(label, box.x + 10, box.y + 19, LINE)}</text>"
        f'<text class="kind" x="{box.x + 10:g}" y="{box.y + box.height - 9:g}">{xml(below)}</text>{mark}</g>\n'
    )


def _short(label: str, limit: int) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "…"


def xml(label: str, *, keep: bool = False) -> str:
    """Text for people, escaped; with `keep` its line ends stay."""
    lines = (
        label.encode("utf-8", "replace").decode().split("\n") if keep else [label.encode("utf-8", "replace").decode()]
    )
    return "\n".join(html.escape(clean_text(line)) for line in lines)


def attribute(label: str) -> str:
    """Text for an attribute, escaped."""
    return html.escape(clean_text(label.encode("utf-8", "replace").decode()), quote=True)


# --- a page ---------------------------------------------------------------------------------------------

_PAGE_STYLE = """
:root{color-scheme:light dark}*{box-sizing:border-box}
body{margin:0;font:14px/1.45 system-ui,sans-serif;display:grid;grid-template-columns:minmax(0,3fr) minmax(22rem,2fr);
grid-template-rows:auto minmax(0,1fr);height:100vh}
header{grid-column:1/-1;padding:.6rem 1rem;border-bottom:1px solid #8886;display:flex;align-items:center;gap:.5rem;flex-wrap:wrap}
header div{margin-right:auto;min-width:0}h1,header p{overflow-wrap:anywhere}header input{font:inherit;padding:.2rem .4rem;width:14rem;max-width:100%}
header button{font:inherit;min-width:2rem;padding:.2rem .5rem}
h1{font-size:1rem;margin:0}header p{margin:.1rem 0 0;opacity:.75}
main{overflow:auto;min-height:0}main svg{display:block;margin:0 auto}aside{overflow:auto;border-left:1px solid #8886;min-height:0}
.legend{display:flex;flex-wrap:wrap;gap:.2rem .9rem;margin:0;padding:.4rem 1rem;list-style:none;font-size:12px;position:sticky;top:0;left:0;background:Canvas;border-bottom:1px solid #8884}
.legend li{display:flex;align-items:center;gap:.35rem}
ol{margin:0;padding:.5rem 0;list-style:none;font:12px/1.6 ui-monospace,monospace}
ol li{display:flex;white-space:pre;padding-right:1rem}ol li.code{cursor:pointer}
ol li i{flex:none;width:3.5rem;padding-right:.8rem;text-align:right;opacity:.6;font-style:normal;user-select:none}
ol li.on{background:#f4b40044}
ol li b{margin-left:auto;padding-left:1rem;font-weight:400;opacity:.75}
ol li u{text-decoration:underline dotted;text-underline-offset:3px}
.k{color:#1f5f8b;font-weight:600}.c{color:#5f6b76;font-style:italic}.s{color:#8a5300}.v{color:#8b2f6b}
#detail{border-bottom:1px solid #8886;padding:.5rem 1rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:12.5px;min-height:4.6rem}
.dockc .node{cursor:pointer}.dockc .node:focus{outline:none}.dockc .node:focus-visible rect,.dockc .node.on rect{stroke:#d98200;stroke-width:3.5}
.dockc .edge.on{stroke:#d98200;stroke-width:2.6}.dockc .node.faded{opacity:.25}
table{border-collapse:collapse;margin:1rem;font-size:12px}th,td{text-align:left;padding:.15rem .6rem;border-bottom:1px solid #8884}
td.n{text-align:right;font-variant-numeric:tabular-nums}tr.on{background:#f4b40044}tbody tr{cursor:pointer}
@media (prefers-color-scheme:dark){.k{color:#7cb8e4}.c{color:#94a1ac}.s{color:#f0b35b}.v{color:#e69ad0}}
@media (max-width:900px){body{display:flex;flex-direction:column}main{flex:3 1 60%}aside{flex:2 1 40%;border-left:0;border-top:1px solid #8886}}
"""

_SCRIPT = """
const picture = document.querySelector('main > svg');
const main = document.querySelector('main');
const size = {width: +picture.getAttribute('width'), height: +picture.getAttribute('height')};
const edges = [...document.querySelectorAll('.edge')];
const nodes = [...document.querySelectorAll('.node')];
const lines = [...document.querySelectorAll('li[data-line]')];
const rows = [...document.querySelectorAll('tr[data-node]')];
const detail = document.querySelector('#detail');
const legend = document.querySelector('.legend');
let scale = 1;
function zoom(to) {
  scale = Math.min(Math.max(to, 0.1), 3);
  picture.setAttribute('width', size.width * scale);
  picture.setAttribute('height', size.height * scale);
}
const across = () => main.clientWidth / size.width;
const whole = () => Math.min(across(), (main.clientHeight - legend.offsetHeight) / size.height);
document.querySelector('#out').addEventListener('click', () => zoom(scale / 1.25));
document.querySelector('#in').addEventListener('click', () => zoom(scale * 1.25));
document.querySelector('#fit').addEventListener('click', () => zoom(whole()));
// All of it where that can be read, else as small as can be read; then to the result, so that it is seen first.
zoom(Math.min(1, Math.max(whole(), 0.8)));
const result = document.querySelector('.node.output') || document.querySelector('.lane.result');
if (result) {
  const [box, frame] = [result.getBoundingClientRect(), main.getBoundingClientRect()];
  main.scrollTop += Math.max(0, box.bottom + 24 - frame.bottom);
  // Of what stands beside and above the result as much as there is room for.
  const near = [...document.querySelectorAll('.lane:not(.unneeded)')].map(lane => lane.getBoundingClientRect())
    .filter(lane => lane.bottom > frame.top && lane.top < frame.bottom);
  const [left, right] = [Math.min(box.left, ...near.map(lane => lane.left)), Math.max(box.right, ...near.map(lane => lane.right))];
  const middle = right - left < frame.width ? (left + right) / 2 : box.left + box.width / 2;
  main.scrollLeft += Math.min(Math.max(middle - frame.width / 2, left - 12), Math.max(left - 12, right + 12 - frame.width)) - frame.left;
}
const covers = (node, line) => node.dataset.first && +node.dataset.first <= line && line <= +node.dataset.last;
function show(chosen, from) {
  for (const node of nodes) node.classList.toggle('on', chosen.includes(node));
  for (const row of rows) row.classList.toggle('on', chosen.some(node => node.id === row.dataset.node));
  const ids = chosen.map(node => node.id);
  for (const edge of edges) edge.classList.toggle('on', ids.includes(edge.dataset.from) || ids.includes(edge.dataset.to));
  for (const line of lines) line.classList.toggle('on', chosen.some(node => covers(node, +line.dataset.line)));
  detail.textContent = chosen.map(node => node.querySelector('title').textContent).join('\\n\\n') || detail.dataset.hint;
  const first = from === 'line' ? chosen[0] : lines.find(line => line.classList.contains('on'));
  if (first) first.scrollIntoView({block: 'nearest', inline: 'nearest'});
}
for (const node of nodes) {
  node.addEventListener('click', () => show([node], 'node'));
  node.addEventListener('keydown', event => { if (event.key === 'Enter') show([node], 'node'); });
}
for (const row of rows) row.addEventListener('click', () => show(nodes.filter(node => node.id === row.dataset.node), 'row'));
document.querySelector('#find').addEventListener('input', event => {
  const wanted = event.target.value.toLowerCase();
  const found = nodes.filter(node => node.textContent.toLowerCase().includes(wanted));
  for (const node of nodes) node.classList.toggle('faded', !found.includes(node));
  if (wanted && found.length) found[0].scrollIntoView({block: 'center', inline: 'center'});
});
for (const line of lines) line.addEventListener('click', () => show(nodes.filter(node => covers(node, +line.dataset.line)), 'line'));
"""


def page(graph: Graph, facts: Facts) -> str:
    """One self-contained page: the graph, the lines, and a table of times and sizes where they are known."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
    hint = "Choose an operation or a line to see what belongs together."
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n<link rel="icon" href="data:,">\n'
        f"<title>{xml(graph.filename)}: build graph</title>\n<style>{_STYLE}{_PAGE_STYLE}</style>\n</head>\n<body>\n"
        f"<header><div><h1>{xml(graph.filename)}</h1><p>{xml(_told(graph, facts))}</p></div>\n"
        '<input id="find" type="search" placeholder="Find an operation" aria-label="Find an operation">\n'
        '<button id="out" title="Smaller">−</button><button id="in" title="Larger">+</button><button id="fit" '
        'title="Fit all of it">Fit</button></header>\n'
        f"<main>\n{_legend(graph, facts)}{_svg(graph, facts, '')}{_table(graph, facts)}</main>\n"
        '<aside><div id="detail" role="status" '
        f'data-hint="{hint}">{hint}</div><ol>\n{"".join(_lines(graph, facts))}</ol></aside>\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def _told(graph: Graph, facts: Facts) -> str:
    count = len(graph.nodes)
    told = f"{count} operation{'s' * (count != 1)}, {_stages(graph)}"
    if any(fact.plan for fact in facts.values()):
        return told + "".join(
            f"; {sum(fact.plan == plan for fact in facts.values())} {words}" for plan, words in _PLANS.items()
        )
    if any(fact.cached or fact.seconds is not None for fact in facts.values()):
        total = sum(fact.seconds for fact in facts.values() if fact.seconds is not None and not fact.cached)
        told += f"; {sum(fact.cached for fact in facts.values())} cached, {duration_text(total)} of work"
    return told


def _legend(graph: Graph, facts: Facts) -> str:
    """What the colours and lines mean: only those that are there."""
    kinds = {"source": "source", "exec": "command", "file": "files", "merge": "layers", "diff": "difference"}
    there = {node.kind for node in graph.nodes}
    plans = {fact.plan for fact in facts.values()}
    rows = [(f"key {kind}", words) for kind, words in kinds.items() if kind in there]
    rows += [("key output", "result")] * any(node.output for node in graph.nodes)
    rows += [("key cached", "cached")] * ("cached" in plans) + [("key run", "would run")] * ("run" in plans)
    shown = "".join(
        f'<li><svg class="dockc" width="22" height="14"><g class="{kind}"><rect x="1.500" y="1.500" width="19" '
        f'height="11" rx="3"/></g></svg>{words}</li>'
        for kind, words in rows
    )
    dashed = '<li><svg class="dockc" width="22" height="14"><rect class="lane unneeded" x="1.500" y="1.500" width="19" height="11" rx="3"/></svg>not needed</li>'
    shown += dashed * any(not lane.needed for lane in graph.lanes)
    worst = {fact.severity for fact in facts.values() if fact.findings}
    shown += "".join(
        f'<li><svg class="dockc" width="18" height="18"><circle class="mark {severity}" cx="9" cy="9" r="7"/></svg>'
        f"{words}</li>"
        for severity, words in (("error", "errors"), ("warning", "warnings"), ("info", "remarks"))
        if severity in worst
    )
    return f'<ul class="legend" aria-label="Legend">{shown}</ul>\n'


def _stages(graph: Graph) -> str:
    count, left = sum(lane.line > 0 for lane in graph.lanes), sum(not lane.needed for lane in graph.lanes)
    return f"{count} stage{'s' * (count != 1)}" + (f", {left} of them not needed" if left else "")


def _lines(graph: Graph, facts: Facts) -> Iterator[str]:
    covered: dict[int, list[int]] = {}
    first = {i: node.lines[:1] for i, node in enumerate(graph.nodes) if node.lines is not None}
    for i, node in enumerate(graph.nodes):
        if node.lines is not None:
            for line in range(node.lines[0], node.lines[1] + 1):
                covered.setdefault(line, []).append(i)
    for number, written in enumerate(coloured(graph.text), 1):
        nodes = covered.get(number, [])
        code = ' class="code"' if nodes else ""
        here = [facts[i] for i in nodes if number in first.get(i, ()) and i in facts]
        known = "; ".join(str(fact) for fact in here if str(fact))
        note = f"<b>{xml(known)}</b>" if known else ""
        found = [finding for fact in here for finding in fact.findings]
        shown = f'<u title="{attribute(" / ".join(found))}">{written}</u>' if found else written
        yield f'<li id="L{number}" data-line="{number}"{code}><i>{number}</i><span>{shown}</span>{note}</li>\n'


_CLASSES = {"KEYWORD": "k", "comment": "c", "directive": "c", "FLAG": "v", "HEREDOC_BODY": "s", "HEREDOC_END": "s"}


def coloured(text: str) -> list[str]:
    """The lines of a Dockerfile as markup: keywords, comments, flags and here-documents have classes."""
    from dockc.grammar.cst import pieces
    from dockc.grammar.parser import parse
    from dockc.grammar.source import Source

    lines = [""]
    at = 0
    for piece in pieces(parse(Source.from_text(text, "Dockerfile")).file):
        style = _CLASSES.get(str(piece.kind))
        for n, part in enumerate(text[piece.span[0] : piece.span[1]].split("\n")):
            if n:
                lines.append("")
            shown = html.escape(_visible(part))
            # Of a command that goes on over several lines, the comments between them are no part.
            own = style or ("c" if n and piece.kind == "LINE" and part.lstrip().startswith("#") else None)
            lines[-1] += f'<span class="{own}">{shown}</span>' if own and shown else shown
        at = piece.span[1]
    for n, part in enumerate(text[at:].split("\n")):
        if n:
            lines.append("")
        lines[-1] += html.escape(_visible(part))
    return lines[:-1] if text.endswith("\n") else lines


def _visible(line: str) -> str:
    text = line.rstrip("\r").encode("utf-8", "replace").decode()
    return "".join(c if c == "\t" or c.isprintable() else "\ufffd" for c in text)


def _table(graph: Graph, facts: Facts) -> str:
    rows = []
    for i, node in enumerate(graph.nodes):
        fact = facts.get(i)
        if fact is None or not (fact.cached or fact.seconds is not None or fact.size is not None):
            continue
        took = "cached" if fact.cached else "" if fact.seconds is None else duration_text(fact.seconds)
        size = "" if fact.size is None else size_text(fact.size)
        rows.append(
            f'<tr data-node="n{i}"><td>{xml(_short(node.label, 90))}</td><td class="n">{took}</td><td '
            f'class="n">{size}</td></tr>\n'
        )
    if not rows:
        return ""
    return f"<table><thead><tr><th>Step</th><th>Time</th><th>Size</th></tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table>\n"


_BASE = pattern(r"^\[[^]]*] (FROM \S+?)(?:@sha256:[0-9a-f]{64})?$")


def step_name(name: str) -> str:
    """What a step is found by: its name, but of a base image neither the stage, of which there may be several, nor
    the digest: a tag is now this image, now that, and one that was made up is neither.
    """
    return _BASE.sub(r"\1", name)


def match_facts(graph: Graph, records: Sequence[tuple[str, str, Fact]]) -> dict[int, Fact]:
    """Facts of a record for the nodes, found by digest, else by name (`step_name`) where exactly one step has it.

    Args:
        graph: the graph.
        records: digest, name and fact of each recorded step.
    """
    by_digest = {digest: fact for digest, _, fact in records}
    by_name: dict[str, list[Fact]] = {}
    for _, name, fact in records:
        by_name.setdefault(step_name(name), []).append(fact)
    found = {}
    for i, node in enumerate(graph.nodes):
        named = by_name.get(step_name(node.name), []) if node.name else []
        known = by_digest.get(node.digest) or (named[0] if len(named) == 1 else None)
        if known is not None:
            found[i] = known
    return found
