"""The graph: its forms, the laws of its layout, and its page in a real browser."""

from __future__ import annotations

import html.parser
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from syrupy.assertion import SnapshotAssertion

from dockc.commands import explain as explaincmd
from dockc.commands.options import frontend_attrs
from dockc.compiler.explain.graph import Graph, Lane, Node
from dockc.console.graph import FORMATS, Fact, dot, layout, match_facts, mermaid, page, render_graph, svg
from dockc.engine.plan import Looked
from dockc.engine.record import Recorder
from dockc.engine.request import CompileRequest
from dockc.solver.progress import SolveStatus, VertexEvent
from tests.explain.goldens import FOLDER, GoldenFile, on_amd64

FILE = FOLDER / "Dockerfile"
SVG = "{http://www.w3.org/2000/svg}"


def looked(context: Path) -> Looked:
    request = CompileRequest(str(context), str(FILE), attrs=frontend_attrs(platforms=["linux/amd64"]))
    return on_amd64(explaincmd.look(request, online=False, filename="Dockerfile"))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """A record of a build: times for all steps, a size for one."""
    recorder = Recorder(lambda status: None)
    names = ["[tools 1/2] FROM", "[build 2/5] WORKDIR /src", "[build 3/5] COPY --chown=1000:1000 go.mod *.sum ./"]
    for n, name in enumerate(names):
        recorder(SolveStatus(vertexes=(VertexEvent(f"sha256:{n}", name, started=0, completed=1_500_000_000 * n, cached=n == 1),)))
    recorder.measure({"sha256:2": 123_456})
    recorder.write(tmp_path / "record.json")
    return tmp_path / "record.json"


@pytest.mark.parametrize("name", [f"graph.{form}" for form in FORMATS])
def test_forms(tmp_path: Path, record: Path, name: str, snapshot: SnapshotAssertion) -> None:
    assert explaincmd.graph(looked(tmp_path), name.partition(".")[2], record) == snapshot(extension_class=GoldenFile)


def test_times_and_sizes_of_a_record_are_shown(tmp_path: Path, record: Path) -> None:
    text = explaincmd.graph(looked(tmp_path), "text", record)
    assert "WORKDIR /src  <- #3  line 14  [cached]" in text
    assert "line 15  [3.0s, 123.46kB]" in text


def test_steps_of_another_build_are_found_by_their_names() -> None:
    graph = Graph("f", "", (Lane("a", 1),), (Node("sha256:new", "exec", "x", "[1/1] RUN x", 0, (1, 1), ()),))
    fact = Fact(1.0)
    assert match_facts(graph, [("sha256:old", "[1/1] RUN x", fact)]) == {0: fact}
    assert match_facts(graph, [("sha256:old", "[1/1] RUN x", fact), ("sha256:older", "[1/1] RUN x", fact)]) == {}


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
            assert box.x + box.width <= other.x or other.x + other.width <= box.x or box.y != other.y


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
  const wide = () => +document.querySelector('main svg').getAttribute('width');
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
  say('errors', window.errors.length === 0);
  document.body.dataset.results = results.join(' ') + ' ' + window.errors.join(';');
});
</script>
"""
_CATCH = "<script>window.errors = []; window.onerror = message => { window.errors.push(message); };</script>"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=4000", "--dump-dom",
)  # fmt: skip


def test_the_page_in_a_real_browser(tmp_path: Path, record: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    text = explaincmd.graph(looked(tmp_path), "html", record)
    text = text.replace("<head>", f"<head>{_CATCH}", 1).replace("</body>", f"{_CHECK}</body>", 1)
    path = tmp_path / "page.html"
    path.write_text(text)
    command = [chromium, *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", path.as_uri()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = re.search(r'data-results="([^"]*)"', ended.stdout)
    assert found is not None, ended.stderr[-2000:]
    assert found[1].split() == [f"{name}=true" for name in ("node", "lines", "line", "row", "key", "visible", "edges", "zoom", "find", "errors")]
