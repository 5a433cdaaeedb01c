"""The build graph as text, Mermaid, DOT, SVG and a page of its own.

The layout needs no other program: a node's row is the longest way from a source to it, its column that of its stage, and stages share a
column where they do not meet in it. So time runs downwards, a stage reads top to bottom as it is written, and what crosses columns is what
one stage takes from another. Stages that the
target does not need stand in small boxes below all that.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dockc.base.record import Record
from dockc.console.clean import clean_text, size_text
from dockc.console.explain import duration_text

if TYPE_CHECKING:
    from dockc.compiler.explain.graph import Graph, Node

FORMATS = ("svg", "mermaid", "dot", "html", "text")

_NODE_WIDTH, _NODE_HEIGHT = 250, 44
_GAP_X, _GAP_Y = 24, 34
_LANE_GAP, _LANE_PAD, _LANE_HEAD = 26, 14, 34
_MARGIN = 16
_LABEL, _TITLE = 33, 30


class Fact(Record):
    """What a build record knows of a node.

    Attributes:
        seconds: how long it took, or None.
        size: bytes, or None.
        cached: its result was there.
    """

    seconds: float | None = None
    size: int | None = None
    cached: bool = False

    def __str__(self) -> str:
        parts = ["cached"] if self.cached else [duration_text(self.seconds)] if self.seconds is not None else []
        return ", ".join([*parts, *([size_text(self.size)] if self.size is not None else [])])


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
            shape = f"([{_mermaid(_with_fact(node, facts.get(i)))}])" if node.kind == "source" else f"[{_mermaid(_with_fact(node, facts.get(i)))}]"
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
            out.append(f"    n{i} [label={_quoted(_with_fact(node, facts.get(i)))}, tooltip={_quoted(node.digest)}{ellipse}];")
        out.append("  }")
    out += [f"  n{source} -> n{i};" for i, node in enumerate(graph.nodes) for source in node.inputs]
    return "\n".join([*out, "}"]) + "\n"


def _quoted(label: str) -> str:
    return '"' + clean_text(label).replace("\\", "\\\\").replace('"', '\\"') + '"'


# --- layout ---------------------------------------------------------------------------------------------


class Box(Record):
    """A rectangle in pixels."""

    x: float
    y: float
    width: float
    height: float


class Layout(Record):
    """Where everything is: boxes of nodes and (by index) of lanes that are shown, and the size of the picture."""

    nodes: tuple[Box, ...]
    lanes: Mapping[int, Box]
    width: float
    height: float


def layout(graph: Graph) -> Layout:
    """Place the nodes."""
    rows = _rows(graph)
    places: dict[int, dict[int, list[int]]] = {}
    for i, node in enumerate(graph.nodes):
        places.setdefault(node.lane, {}).setdefault(rows[i], []).append(i)
    top = _MARGIN + _LANE_HEAD
    height_of_row = _NODE_HEIGHT + _GAP_Y
    count = max(rows, default=-1) + 1
    bottom = top + max(count, 1) * height_of_row - _GAP_Y + _LANE_PAD
    boxes: list[Box] = [Box(0, 0, 0, 0)] * len(graph.nodes)
    lanes: dict[int, Box] = {}
    x: float = _MARGIN
    for track in _tracks(graph, places):
        wide = max(len(row) for number in track for row in places[number].values())
        inner = wide * _NODE_WIDTH + (wide - 1) * _GAP_X
        for number in track:
            own = places[number]
            first, last = min(own), max(own)
            height = (last - first) * height_of_row + _NODE_HEIGHT + _LANE_HEAD + _LANE_PAD
            lanes[number] = Box(x, top + first * height_of_row - _LANE_HEAD, inner + 2 * _LANE_PAD, height)
            for row, members in own.items():
                used = len(members) * _NODE_WIDTH + (len(members) - 1) * _GAP_X
                left = x + _LANE_PAD + (inner - used) / 2
                for n, i in enumerate(members):
                    boxes[i] = Box(left + n * (_NODE_WIDTH + _GAP_X), top + row * height_of_row, _NODE_WIDTH, _NODE_HEIGHT)
        x += inner + 2 * _LANE_PAD + _LANE_GAP
    width = x - _LANE_GAP + _MARGIN if lanes else 2 * _MARGIN
    empty = [number for number, lane in enumerate(graph.lanes) if lane.line and number not in lanes]
    return _below(Layout(tuple(boxes), lanes, width, bottom + _MARGIN), empty)


def _tracks(graph: Graph, places: Mapping[int, Mapping[int, list[int]]]) -> list[list[int]]:
    """Lanes by column: one goes below others where there is a free row for its title, so that wide graphs stay narrow."""
    tracks: list[list[int]] = []
    for number in range(len(graph.lanes)):
        own = places.get(number)
        if not own:
            continue
        wide = max(map(len, own.values()))
        fitting = (
            track
            for track in tracks
            if wide <= max(len(row) for other in track for row in places[other].values())
            and all(max(own) + 2 <= min(places[other]) or max(places[other]) + 2 <= min(own) for other in track)
        )
        track = next(fitting, None)
        if track is None:
            tracks.append([number])
        else:
            track.append(number)
    return tracks


def _below(placed: Layout, empty: list[int]) -> Layout:
    """The same with boxes for stages without nodes, row by row below the others."""
    if not empty:
        return placed
    wide = _NODE_WIDTH + 2 * _LANE_PAD
    in_row = max(int((placed.width - 2 * _MARGIN + _GAP_X) // (wide + _GAP_X)), 3)
    lanes = dict(placed.lanes)
    for place, number in enumerate(empty):
        row, column = divmod(place, in_row)
        lanes[number] = Box(_MARGIN + column * (wide + _GAP_X), placed.height + row * (_LANE_HEAD + _GAP_Y / 2), wide, _LANE_HEAD)
    columns, rows = min(len(empty), in_row), (len(empty) - 1) // in_row + 1
    width = max(placed.width, 2 * _MARGIN + columns * (wide + _GAP_X) - _GAP_X)
    return Layout(placed.nodes, lanes, width, placed.height + rows * (_LANE_HEAD + _GAP_Y / 2) + _MARGIN)


def _rows(graph: Graph) -> list[int]:
    """The row of each node: one below the lowest of those it reads. Inputs stand before their readers."""
    rows: list[int] = []
    for node in graph.nodes:
        rows.append(max((rows[i] for i in node.inputs), default=-1) + 1)
    return rows


# --- SVG ------------------------------------------------------------------------------------------------

_STYLE = """
.dockc{font-family:system-ui,sans-serif;font-size:12px}
.dockc .lane{fill:#f4f6f8;stroke:#d5dbe1}.dockc .lane.unneeded{stroke-dasharray:5 4;fill:none}
.dockc .title{font-weight:600;fill:#3b4650}
.dockc .edge{fill:none;stroke:#8a97a3;stroke-width:1.4}
.dockc .node rect{fill:#fff;stroke:#5b6b7a}
.dockc .source rect{fill:#e8f1fb;stroke:#4a7fb5}.dockc .exec rect{fill:#fdf3e1;stroke:#c08a2b}
.dockc .file rect{fill:#eaf6ec;stroke:#4b9460}.dockc .merge rect,.dockc .diff rect{fill:#f3ecfa;stroke:#8a63b0}
.dockc .output rect{stroke-width:2.5}.dockc text{fill:#1d252c}.dockc .kind{fill:#5b6b7a;font-size:11px}
@media (prefers-color-scheme:dark){
.dockc .lane{fill:#1b2127;stroke:#39434d}.dockc .title{fill:#b9c4ce}.dockc .edge{stroke:#74828f}
.dockc .source rect{fill:#17293c}.dockc .exec rect{fill:#372a12}.dockc .file rect{fill:#173020}
.dockc .merge rect,.dockc .diff rect{fill:#2a1d38}.dockc text{fill:#e4e9ee}.dockc .kind{fill:#9aa7b3}}
"""


def svg(graph: Graph, facts: Facts) -> str:
    """A picture of its own."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _svg(graph, facts, f"<style>{_STYLE}</style>\n")


def _svg(graph: Graph, facts: Facts, style: str) -> str:
    placed = layout(graph)
    size = f'width="{placed.width:g}" height="{placed.height:g}" viewBox="0 0 {placed.width:g} {placed.height:g}"'
    label = _attr(f"Build graph of {graph.filename}")
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="dockc" {size} role="img" aria-label="{label}">\n{style}',
        ('<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#8a97a3"/></marker></defs>\n')
    ]
    for number, box in placed.lanes.items():
        lane = graph.lanes[number]
        unneeded = "" if lane.needed else " unneeded"
        out.append(
            f'<g><rect class="lane{unneeded}" x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="8"/>'
            f'<text class="title" x="{box.x + _LANE_PAD:g}" y="{box.y + 21:g}">{_xml(_short(lane.title, int(box.width / _NODE_WIDTH * _TITLE)))}'
            f"<title>{_xml(lane.title)}</title></text></g>\n"
        )
    for i, node in enumerate(graph.nodes):
        for source in node.inputs:
            curve = _curve(placed.nodes[source], placed.nodes[i])
            out.append(f'<path class="edge" data-from="n{source}" data-to="n{i}" marker-end="url(#tip)" d="{curve}"/>\n')
    out += [_node(i, node, placed.nodes[i], facts.get(i)) for i, node in enumerate(graph.nodes)]
    return "".join(out) + "</svg>\n"


def _curve(above: Box, below: Box) -> str:
    x1, y1 = above.x + above.width / 2, above.y + above.height
    x2, y2 = below.x + below.width / 2, below.y
    bend = max(_GAP_Y / 2, (y2 - y1) / 2)
    return f"M{x1:g} {y1:g}C{x1:g} {y1 + bend:g} {x2:g} {y2 - bend:g} {x2:g} {y2:g}"


def _node(i: int, node: Node, box: Box, fact: Fact | None) -> str:
    lines = "" if node.lines is None else f' data-first="{node.lines[0]}" data-last="{node.lines[1]}"'
    known = str(fact) if fact is not None else ""
    below = " · ".join(part for part in (node.kind, f"line {node.lines[0]}" if node.lines else "", known) if part)
    output = " output" if node.output else ""
    return (
        f'<g class="node {node.kind}{output}" id="n{i}"{lines} tabindex="0">'
        f"<title>{_xml(node.name or node.label)}\n{node.digest}</title>"
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{box.height:g}" rx="6"/>'
        f'<text x="{box.x + 10:g}" y="{box.y + 18:g}">{_xml(_short(node.label, _LABEL))}</text>'
        f'<text class="kind" x="{box.x + 10:g}" y="{box.y + 35:g}">{_xml(below)}</text></g>\n'
    )


def _short(label: str, limit: int) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "…"


def _xml(label: str) -> str:
    return html.escape(clean_text(label.encode("utf-8", "replace").decode()))


def _attr(label: str) -> str:
    return html.escape(clean_text(label.encode("utf-8", "replace").decode()), quote=True)


# --- a page ---------------------------------------------------------------------------------------------

_PAGE_STYLE = """
:root{color-scheme:light dark}
body{margin:0;font:14px/1.45 system-ui,sans-serif;display:grid;grid-template-columns:minmax(0,3fr) minmax(22rem,2fr);
grid-template-rows:auto 1fr;height:100vh}
header{grid-column:1/-1;padding:.6rem 1rem;border-bottom:1px solid #8886;display:flex;align-items:center;gap:.5rem}
header div{margin-right:auto}header input{font:inherit;padding:.2rem .4rem;width:14rem}header button{font:inherit;min-width:2rem;padding:.2rem .5rem}
h1{font-size:1rem;margin:0}header p{margin:.1rem 0 0;opacity:.75}
main{overflow:auto}main svg{display:block}aside{overflow:auto;border-left:1px solid #8886}
ol{margin:0;padding:.5rem 0;list-style:none;font:12px/1.6 ui-monospace,monospace}
ol li{display:flex;white-space:pre;padding-right:1rem}ol li.code{cursor:pointer}
ol li i{flex:none;width:3.5rem;padding-right:.8rem;text-align:right;opacity:.5;font-style:normal;user-select:none}
ol li.on{background:#f4b40044}
ol li b{margin-left:auto;padding-left:1rem;font-weight:400;opacity:.65}
.dockc .node{cursor:pointer}.dockc .node:focus{outline:none}.dockc .node.on rect{stroke:#d98200;stroke-width:3.5}
.dockc .edge.on{stroke:#d98200;stroke-width:2.6}.dockc .node.faded{opacity:.25}
table{border-collapse:collapse;margin:1rem;font-size:12px}th,td{text-align:left;padding:.15rem .6rem;border-bottom:1px solid #8884}
td.n{text-align:right;font-variant-numeric:tabular-nums}tr.on{background:#f4b40044}tbody tr{cursor:pointer}
"""

_SCRIPT = """
const picture = document.querySelector('main svg');
const main = document.querySelector('main');
const size = {width: +picture.getAttribute('width'), height: +picture.getAttribute('height')};
let scale = 1;
function zoom(to) {
  scale = Math.min(Math.max(to, 0.1), 3);
  picture.setAttribute('width', size.width * scale);
  picture.setAttribute('height', size.height * scale);
}
const fitting = () => Math.min(1, main.clientWidth / size.width);
document.querySelector('#out').addEventListener('click', () => zoom(scale / 1.25));
document.querySelector('#in').addEventListener('click', () => zoom(scale * 1.25));
document.querySelector('#fit').addEventListener('click', () => zoom(fitting()));
zoom(Math.max(fitting(), 0.6));
const edges = [...document.querySelectorAll('.edge')];
const nodes = [...document.querySelectorAll('.node')];
const lines = [...document.querySelectorAll('li[data-line]')];
const rows = [...document.querySelectorAll('tr[data-node]')];
const covers = (node, line) => node.dataset.first && +node.dataset.first <= line && line <= +node.dataset.last;
function show(chosen, from) {
  for (const node of nodes) node.classList.toggle('on', chosen.includes(node));
  for (const row of rows) row.classList.toggle('on', chosen.some(node => node.id === row.dataset.node));
  const ids = chosen.map(node => node.id);
  for (const edge of edges) edge.classList.toggle('on', ids.includes(edge.dataset.from) || ids.includes(edge.dataset.to));
  for (const line of lines) line.classList.toggle('on', chosen.some(node => covers(node, +line.dataset.line)));
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
    count = len(graph.nodes)
    told = f"{count} operation{'s' * (count != 1)}, {_stages(graph)}"
    total = sum(f.seconds for f in facts.values() if f.seconds is not None and not f.cached)
    if facts:
        told += f"; {sum(f.cached for f in facts.values())} cached, {duration_text(total)} of work"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width">\n<link rel="icon" href="data:,">\n'
        f"<title>{_xml(graph.filename)}: build graph</title>\n<style>{_STYLE}{_PAGE_STYLE}</style>\n</head>\n<body>\n"
        f"<header><div><h1>{_xml(graph.filename)}</h1><p>{_xml(told)}</p></div>\n"
        '<input id="find" type="search" placeholder="Find an operation" aria-label="Find an operation">\n'
        '<button id="out" title="Smaller">−</button><button id="in" title="Larger">+</button><button id="fit" title="Fit the width">Fit</button></header>\n'
        f"<main>\n{_svg(graph, facts, '')}{_table(graph, facts)}</main>\n"
        f"<aside><ol>\n{''.join(_lines(graph, facts))}</ol></aside>\n"
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


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
    for number, written in enumerate(graph.text.removesuffix("\n").split("\n"), 1):
        nodes = covered.get(number, [])
        code = ' class="code"' if nodes else ""
        known = "; ".join(str(facts[i]) for i in nodes if number in first.get(i, ()) and i in facts and str(facts[i]))
        fact = f"<b>{_xml(known)}</b>" if known else ""
        shown = html.escape(_visible(written))
        yield f'<li id="L{number}" data-line="{number}"{code}><i>{number}</i>{shown}{fact}</li>\n'


def _visible(line: str) -> str:
    text = line.rstrip("\r").encode("utf-8", "replace").decode()
    return "".join(c if c == "\t" or c.isprintable() else "\ufffd" for c in text)


def _table(graph: Graph, facts: Facts) -> str:
    if not facts:
        return ""
    rows = []
    for i, node in enumerate(graph.nodes):
        fact = facts.get(i)
        if fact is None:
            continue
        took = "cached" if fact.cached else "" if fact.seconds is None else duration_text(fact.seconds)
        size = "" if fact.size is None else size_text(fact.size)
        rows.append(f'<tr data-node="n{i}"><td>{_xml(_short(node.label, 90))}</td><td class="n">{took}</td><td class="n">{size}</td></tr>\n')
    return f"<table><thead><tr><th>Step</th><th>Time</th><th>Size</th></tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table>\n"


def match_facts(graph: Graph, records: Sequence[tuple[str, str, Fact]]) -> dict[int, Fact]:
    """Facts of a record for the nodes, found by digest, else by name where exactly one step has it.

    Args:
        graph: the graph.
        records: digest, name and fact of each recorded step.
    """
    by_digest = {digest: fact for digest, _, fact in records}
    by_name: dict[str, list[Fact]] = {}
    for _, name, fact in records:
        by_name.setdefault(name, []).append(fact)
    found = {}
    for i, node in enumerate(graph.nodes):
        named = by_name.get(node.name, []) if node.name else []
        known = by_digest.get(node.digest) or (named[0] if len(named) == 1 else None)
        if known is not None:
            found[i] = known
    return found
