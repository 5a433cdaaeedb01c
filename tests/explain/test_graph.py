"""The graph: its forms, the laws of its layout, and its page in a real browser."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockc.commands import explain as explaincmd
from dockc.commands.attrs import frontend_attrs
from dockc.compiler.explain.graph import Graph, Lane, Node
from dockc.console.graph import FORMATS, Fact, coloured, dot, match_facts, mermaid, page, render_graph, step_name, svg
from dockc.console.graph_layout import Box, Layout, fitting, layout, wrapped
from dockc.engine.plan import Looked
from dockc.engine.record import Recorder
from dockc.engine.request import CompileRequest
from dockc.solver.progress import SolveStatus, VertexEvent
from tests.explain.goldens import FILE, TOUR, on_amd64
from tests.golden.collect import Golden

SVG = "{http://www.w3.org/2000/svg}"


def looked(context: Path) -> Looked:
    request = CompileRequest(str(context), str(FILE), attrs=frontend_attrs(platforms=["linux/amd64"]))
    return on_amd64(explaincmd.look(request, online=False, filename="Dockerfile"))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of a build: times for all steps, a size for one."""
    recorder = Recorder(lambda status: None, str)
    names = ["[tools 1/2] FROM", "[build 2/5] WORKDIR /src", "[build 3/5] COPY --chown=1000:1000 go.mod *.sum ./"]
    for n, name in enumerate(names):
        recorder(SolveStatus(vertexes=(VertexEvent(f"sha256:{n}", name, started=0, completed=1_500_000_000 * n, cached=n == 1),)))
    recorder.measure({"sha256:2": 123_456})
    recorder.write(tmp_path / "record.json")
    return tmp_path / "record.json"


@pytest.mark.parametrize("name", [f"graph.{form}" for form in FORMATS])
def test_forms(tmp_path: Path, record: Path, name: str, golden: Golden) -> None:
    assert explaincmd.graph(looked(tmp_path), name.partition(".")[2], record) == golden(TOUR, name)


def test_times_and_sizes_of_a_record_are_shown(tmp_path: Path, record: Path) -> None:
    text = explaincmd.graph(looked(tmp_path), "text", record)
    assert "WORKDIR /src  <- #3  line 14  [cached]" in text
    assert "line 15  [3.0s, 123.46kB]" in text


def test_steps_of_another_build_are_found_by_their_names() -> None:
    graph = Graph("f", "", (Lane("a", 1),), (Node("sha256:new", "exec", "x", "[1/1] RUN x", 0, (1, 1), ()),))
    fact = Fact(1.0)
    assert match_facts(graph, [("sha256:old", "[1/1] RUN x", fact)]) == {0: fact}
    assert match_facts(graph, [("sha256:old", "[1/1] RUN x", fact), ("sha256:older", "[1/1] RUN x", fact)]) == {}


@pytest.mark.parametrize(
    ("name", "found_by"),
    [
        (f"[one 1/2] FROM docker.io/library/alpine:3@sha256:{'a' * 64}", "FROM docker.io/library/alpine:3"),
        ("[stage-1 1/2] FROM docker.io/library/alpine:3", "FROM docker.io/library/alpine:3"),
        (f"[2/2] RUN echo FROM a@sha256:{'a' * 64}", f"[2/2] RUN echo FROM a@sha256:{'a' * 64}"),
        ("[one 1/2] WORKDIR /", "[one 1/2] WORKDIR /"),
    ],
)
def test_a_base_image_is_one_step_in_whichever_stage(name: str, found_by: str) -> None:
    assert step_name(name) == found_by


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    lanes = draw(st.integers(1, 4))
    nodes = []
    for n in range(draw(st.integers(0, 14))):
        inputs = tuple(sorted(draw(st.sets(st.integers(0, n - 1), max_size=3)))) if n else ()
        label = draw(st.text(max_size=30))
        nodes.append(Node(f"sha256:{n}", draw(st.sampled_from(["exec", "file", "source"])), label, label, draw(st.integers(0, lanes)), (1, 1), inputs))
    titles = draw(st.lists(st.text(max_size=20), min_size=lanes, max_size=lanes))
    return Graph(draw(st.text(max_size=10)), draw(st.text(max_size=30)), (Lane("sources", 0), *(Lane(t, 1) for t in titles)), tuple(nodes))


@given(st.text(), st.integers(2, 40), st.integers(1, 4))
@example("\x80\x80\x80", 5, 1)
def test_wrapped_lines_have_room_and_lose_nothing_but_their_end(text: str, width: int, most: int) -> None:
    lines = wrapped(text, width, most)
    assert 1 <= len(lines) <= most
    assert all(fitting(line, width) == len(line) or len(line) == 1 for line in lines)
    whole = "".join(text.split())
    shown = "".join("".join(lines).split())
    assert shown == whole or whole.startswith(shown.removesuffix("…"))


def test_wide_letters_take_more_room() -> None:
    digest = "12@sha256:24d52e2bbda2352566915f5384eab510"
    (line,) = wrapped(digest, 32, 1)
    assert len(line) < 32
    assert wrapped("i" * 40, 32, 1) == ("i" * 40,)


@given(graphs())
def test_nodes_stand_below_what_they_read_and_do_not_overlap(graph: Graph) -> None:
    placed = layout(graph)
    for i, node in enumerate(graph.nodes):
        box = placed.nodes[i]
        lane = placed.lanes[node.lane]
        assert lane.x <= box.x
        assert box.x + box.width <= lane.x + lane.width
        assert box.y >= 0
        assert box.y + box.height <= placed.height
        assert all(placed.nodes[source].y + placed.nodes[source].height < box.y for source in node.inputs)
        for other in placed.nodes[:i]:
            assert apart(box, other)
    titles_keep_out_of_lines(placed)
    shown = list(placed.lanes.values())
    assert all(apart(one, other) for n, one in enumerate(shown) for other in shown[:n])
    lines_keep_to_free_space(graph, placed)


def titles_keep_out_of_lines(placed: Layout) -> None:
    """No line goes through a title where there is room for words beside those that come in."""
    starts = {number: min((box.y for box in placed.nodes if inside(box, lane)), default=0.0) for number, lane in placed.lanes.items()}
    for number, lane in placed.lanes.items():
        through = [x for points in placed.edges.values() for (x, _), (to_x, y) in pairwise(points) if x == to_x and y == starts[number] and lane.x < x < lane.x + lane.width]
        if not through:
            continue
        at, width = placed.titles_at[number], max(map(len, placed.titles[number])) * 8
        assert lane.x < at
        free = max(min(through) - lane.x, lane.x + lane.width - max(through)) - 14 - 9
        if free >= 14 * 8:
            assert at + width <= lane.x + lane.width
            assert not any(at < x < at + width for x in through)


def inside(box: Box, other: Box) -> bool:
    return other.x <= box.x and box.x + box.width <= other.x + other.width and other.y <= box.y and box.y + box.height <= other.y + other.height


def apart(one: Box, other: Box) -> bool:
    return one.x + one.width <= other.x or other.x + other.width <= one.x or one.y + one.height <= other.y or other.y + other.height <= one.y


def lines_keep_to_free_space(graph: Graph, placed: Layout) -> None:
    """Each line goes from its source down to its reader, through no box, and lies upon no line from elsewhere."""
    level: dict[float, list[tuple[float, float, int]]] = {}
    for i, node in enumerate(graph.nodes):
        for source in node.inputs:
            points = placed.edges[source, i]
            above, below = placed.nodes[source], placed.nodes[i]
            assert points[0] == (above.x + above.width / 2, above.y + above.height)
            assert points[-1][1] == below.y
            assert below.x < points[-1][0] < below.x + below.width
            for (x, y), (to_x, to_y) in pairwise(points):
                assert x == to_x or y == to_y
                assert to_y >= y
                way = Box(min(x, to_x), y, abs(to_x - x), to_y - y)
                assert all(apart(way, box) for n, box in enumerate(placed.nodes) if n not in {source, i})
                assert 0 <= way.x <= placed.width
                if y == to_y and x != to_x:
                    level.setdefault(y, []).append((way.x, way.x + way.width, source))
    for spans in level.values():
        for n, (start, end, source) in enumerate(spans):
            assert all(source == other or end < low or high < start for low, high, other in spans[:n])


@given(graphs())
def test_whatever_the_labels_are_the_forms_are_well_formed(graph: Graph) -> None:
    root = ElementTree.fromstring(svg(graph, {}).encode())
    assert len(root.findall(f".//{SVG}g[@id]")) == len(graph.nodes)
    html.parser.HTMLParser().feed(page(graph, {0: Fact(1.0)} if graph.nodes else {}))
    quotes = re.compile(r'"(?:[^"\\]|\\.)*"')
    for line in dot(graph, {}).splitlines():
        assert '"' not in quotes.sub("", line)
    for line in mermaid(graph, {}).splitlines():
        assert line.count('"') in {0, 2}
    assert render_graph(graph, "text")


def test_a_hostile_dockerfile_brings_no_markup_into_the_page(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS x\nCOPY </script><script>alert(1)</script> /\nCOPY <img/onerror=x> /a\n")
    request = CompileRequest(str(tmp_path), str(tmp_path / "Dockerfile"))
    text = explaincmd.graph(explaincmd.look(request, online=False, filename='"><script>'), "html", None)
    assert text.count("<script>") == 1
    assert "<img" not in text


def test_stages_that_do_not_meet_share_a_column_and_unneeded_ones_stand_below() -> None:
    lanes = (Lane("a", 1), Lane("b", 2), Lane("c", 3), Lane("left out", 9, needed=False))
    chain = [(0, ()), (0, (0,)), (1, ()), (1, (2,)), (2, (1, 3)), (2, (4,)), (2, (5,))]
    nodes = [Node(f"sha256:{i}", "exec", "x", "x", lane, (i, i), inputs) for i, (lane, inputs) in enumerate(chain)]
    placed = layout(Graph("f", "", lanes, tuple(nodes)))
    assert placed.lanes[0].x != placed.lanes[1].x
    boxes = list(placed.lanes.values())
    for one in boxes:
        for other in boxes:
            apart = one.x + one.width <= other.x or other.x + other.width <= one.x or one.y + one.height <= other.y or other.y + other.height <= one.y
            assert one is other or apart
    below = placed.lanes[3]
    assert all(below.y >= box.y + box.height for number, box in placed.lanes.items() if number != 3)
    lower = tuple(Node(f"sha256:{i}", "exec", "x", "x", lane, (i, i), inputs) for i, (lane, inputs) in enumerate([(0, ()), (1, (0,)), (1, (1,)), (2, (2,))]))
    assert layout(Graph("f", "", lanes[:3], lower)).lanes[2].x == layout(Graph("f", "", lanes[:3], lower)).lanes[0].x


def test_ten_thousand_steps_are_drawn() -> None:
    nodes = tuple(Node(f"sha256:{n}", "exec", "x", "x", 1, (n + 1, n + 1), (n - 1,) if n else ()) for n in range(10_000))
    assert svg(Graph("f", "", (Lane("s", 0), Lane("a", 1)), nodes), {}).count('class="node') == 10_000


# --- in a browser ---------------------------------------------------------------------------------------

_CHECK = """
<script>
const results = [];
const say = (name, good) => results.push(name + '=' + good);
const on = selector => [...document.querySelectorAll(selector + '.on')].map(element => element.id || element.dataset.node);
const click = element => element.dispatchEvent(new MouseEvent('click', {bubbles: true}));
window.addEventListener('load', () => {
  const node = [...document.querySelectorAll('.node')].find(element => element.dataset.first === '16');
  click(node);
  say('node', on('.node').join() === node.id);
  say('lines', on('li').join() === 'L16,L17,L18');
  click(document.getElementById('L14'));
  const chosen = document.querySelector('.node.on');
  say('line', chosen && chosen.dataset.first === '14' && on('li').join() === 'L14');
  const row = document.querySelector('tr[data-node]');
  click(row);
  say('row', on('.node').join() === row.dataset.node && on('tr').join() === row.dataset.node);
  node.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}));
  say('key', on('.node').join() === node.id);
  const box = node.getBoundingClientRect();
  say('visible', box.width > 50 && box.height > 20);
  const mine = [...document.querySelectorAll('.edge')].filter(edge => [edge.dataset.from, edge.dataset.to].includes(node.id));
  say('edges', mine.length > 0 && document.querySelectorAll('.edge.on').length === mine.length);
  const wide = () => +document.querySelector('main > svg').getAttribute('width');
  const before = wide();
  click(document.getElementById('in'));
  const larger = wide();
  click(document.getElementById('out'));
  say('zoom', larger > before && Math.abs(wide() - before) < 1);
  const find = document.getElementById('find');
  find.value = 'no such operation';
  find.dispatchEvent(new Event('input'));
  const none = document.querySelectorAll('.node:not(.faded)').length;
  find.value = '';
  find.dispatchEvent(new Event('input'));
  say('find', none === 0 && document.querySelectorAll('.node.faded').length === 0);
  const keys = [...document.querySelectorAll('.legend li')].map(item => item.textContent);
  say('legend', ['source', 'command', 'files', 'result', 'not needed'].every(word => keys.includes(word)));
  say('colours', getComputedStyle(document.querySelector('#L1 span span')).fontStyle === 'italic' && document.querySelector('li .k').textContent === 'ARG');
  say('errors', window.errors.length === 0);
  document.body.dataset.results = results.join(' ') + ' ' + window.errors.join(';');
});
</script>
"""
_LOOK = """
<script>
window.addEventListener('load', () => {
  const boxes = [...document.querySelectorAll('.node rect')].map(one => one.getBoundingClientRect());
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const overlap = boxes.some((a, n) => boxes.slice(0, n).some(b => meet(a, b)));
  const result = document.querySelector('.node.output rect').getBoundingClientRect();
  const frame = document.querySelector('main').getBoundingClientRect();
  const seen = result.left >= frame.left && result.right <= frame.right && result.top >= frame.top && result.bottom <= Math.min(frame.bottom, innerHeight);
  const aside = document.querySelector('aside').getBoundingClientRect();
  const texts = [...document.querySelectorAll('.node text:not(.number)')].every(one => {
    const [inner, outer] = [one.getBoundingClientRect(), one.parentNode.querySelector('rect').getBoundingClientRect()];
    return inner.left >= outer.left && inner.right <= outer.right + 1 && inner.bottom <= outer.bottom + 1;
  });
  const wide = document.documentElement.scrollWidth <= innerWidth;
  document.body.dataset.results = `overlap=${overlap} seen=${seen} stacked=${aside.top >= frame.bottom - 1} texts=${texts} fits=${wide} errors=${window.errors.length}`;
});
</script>
"""
_CATCH = "<script>window.errors = []; window.onerror = message => { window.errors.push(message); };</script>"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=4000", "--dump-dom",
)  # fmt: skip


def seen_in_chromium(text: str, script: str, folder: Path, *flags: str) -> str:
    """What a script says of a page."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    path = folder / "page.html"
    path.write_text(text.replace("<head>", f"<head>{_CATCH}", 1).replace("</body>", f"{script}</body>", 1))
    command = [chromium, *_FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", path.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'data-results="([^"]*)"', ended.stdout)
    assert found is not None, ended.stderr[-2000:]
    return found[1].strip()


def test_the_page_in_a_real_browser(tmp_path: Path, record: Path) -> None:
    said = seen_in_chromium(explaincmd.graph(looked(tmp_path), "html", record), _CHECK, tmp_path)
    names = ("node", "lines", "line", "row", "key", "visible", "edges", "zoom", "find", "legend", "colours", "errors")
    assert said.split() == [f"{name}=true" for name in names]


#: Several stages that meet, labels too long for a box, steps that many read, stages nobody needs, a result far from the start.
LARGE = (
    "FROM debian:12@sha256:" + "ab" * 32 + " AS a-stage-with-a-very-long-name-that-no-box-could-hold\n"
    + "".join(f"RUN --mount=type=bind,target=/src,source=/{n:040} make a-target-with-a-long-name-{n:030}\n" for n in range(12))
    + "".join(f"FROM golang:1.{n} AS s{n}\nCOPY f{n} /\nRUN one {n}\nCOPY --from=0 /x{n} /\nRUN two\n" for n in range(6))
    + "FROM alpine AS left-out\nRUN nothing\nFROM alpine AS last\n"
    + "".join(f"COPY --from=s{n} /o{n} /\n" for n in range(6)) + "RUN final\nFROM last\n"
)  # fmt: skip


@pytest.mark.parametrize("width", [600, 1300, 2000])
def test_the_result_is_seen_at_every_width(tmp_path: Path, width: int) -> None:
    (tmp_path / "Dockerfile").write_text(LARGE)
    request = CompileRequest(str(tmp_path), str(tmp_path / "Dockerfile"), attrs=frontend_attrs(platforms=["linux/amd64"]))
    text = explaincmd.graph(explaincmd.look(request, online=False, filename="Dockerfile"), "html", None)
    assert "FROM last · result" in text  # a stage that is only FROM
    said = seen_in_chromium(text, _LOOK, tmp_path, f"--window-size={width},900")
    stacked = "true" if width <= 900 else "false"
    assert said == f"overlap=false seen=true stacked={stacked} texts=true fits=true errors=0"


def test_a_stage_stands_below_what_it_reads() -> None:
    """Where several columns have room for it."""
    nodes = [Node("sha256:0", "source", "x", "", 0, None, ())]
    for lane in (1, 2):
        first = len(nodes)
        nodes += [Node(f"sha256:{first + n}", "exec", "x", "", lane, (1, 1), (first + n - 1 if n else 0,)) for n in range(2)]
    nodes += [Node(f"sha256:{n}", "exec", "x", "", 3, (1, 1), (n - 1,)) for n in (5, 6)]  # below the sources
    nodes.append(Node("sha256:7", "exec", "x", "", 4, (1, 1), (3, 4, 6)))
    placed = layout(Graph("f", "", tuple(Lane(str(n), n) for n in range(5)), tuple(nodes)))
    assert placed.lanes[4].x == placed.lanes[2].x


def test_comments_within_a_command_are_comments() -> None:
    lines = coloured("RUN a \\\n  # why\n  b # c\nRUN <<E\n# shell\nE\n")
    assert lines[1] == '<span class="c">  # why</span>'
    assert lines[2] == "  b # c"
    assert lines[4] == '<span class="s"># shell</span>'


def test_only_what_is_known_is_in_the_table() -> None:
    graph = Graph("f", "RUN a\n", (Lane("a", 1),), (Node("sha256:0", "exec", "RUN a", "", 0, (1, 1), ()),))
    assert "<table>" not in page(graph, {0: Fact(findings=("line 1: X y",), severity="warning")})
    assert "<table>" in page(graph, {0: Fact(seconds=1.0)})


def test_findings_and_plan_are_on_the_boxes() -> None:
    graph = Graph("f", "RUN a\nRUN b\n", (Lane("a", 1),), tuple(Node(f"sha256:{n}", "exec", f"RUN {n}", "", 0, (n + 1, n + 1), ()) for n in range(2)))
    facts = {0: Fact(plan="cached", findings=("line 1: X <y>", "line 1: Z z"), severity="warning"), 1: Fact(plan="run", why=("nothing is cached",))}
    text = page(graph, facts)
    assert "1 cached; 1 would run; 0 depends on what runs before" in text
    assert '<circle class="mark warning"' in text
    assert '<text class="number"' in text
    assert "line 1: X &lt;y&gt;" in text
    assert "nothing is cached" in text
    assert 'class="node exec cached"' in text
    assert 'class="node exec run"' in text
    assert "[would run]" in render_graph(graph, "text", facts)


def test_what_lint_finds_is_found_by_line(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM alpine:3\nRUN cd /x \\\n  && sudo ls\n")
    request = CompileRequest(str(tmp_path), str(tmp_path / "Dockerfile"))
    text = explaincmd.graph(explaincmd.look(request, online=False, filename="Dockerfile"), "svg", None)
    assert "DL3004" in text
    assert text.count("<circle") == 1
