"""Completion in comments and mounts, tokens, signatures, links, hints, minimal edits, and what a small change costs."""

from __future__ import annotations

import gc
import itertools
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from dockc.compiler.compile import read
from dockc.grammar.edits import apply
from dockc.grammar.source import Source, Span
from dockc.linter.memory import Memory
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source
from dockc.lsp import completion, inlays, links, minimal, tokens
from dockc.lsp.features import Document
from dockc.lsp.images import image_facts
from dockc.lsp.signature import signatures


def offered(text: str, files: Callable[[str], Iterable[str]] = lambda _: ()) -> list[str]:
    """What is offered at the bar."""
    offset = text.index("|")
    return [item.text for item in completion.complete(Document(text.replace("|", "", 1)), offset, files=files)]


def test_nothing_that_buildkit_refuses_behind_onbuild() -> None:
    found = offered("FROM debian:12\nONBUILD |")
    assert {"RUN", "COPY", "HEALTHCHECK"} <= set(found)
    assert not {"FROM", "ONBUILD", "MAINTAINER"} & set(found)


@pytest.mark.parametrize(
    ("text", "some", "none"),
    [
        ("# |", {"syntax=", "escape=", "check=", "hadolint ignore=", "dockc ignore="}, set()),
        ("FROM a\n# |\nRUN b", {"hadolint ignore=", "check=skip="}, {"syntax=", "escape="}),
        ("# syntax=|\nFROM a", {"docker/dockerfile:1"}, set()),
        ("# escape=|\nFROM a", {"\\", "`"}, set()),
        ("# check=|\nFROM a", {"skip=", "error=true"}, set()),
        ("# check=skip=A,|\nFROM a", {"StageNameCasing", "all"}, {"DL3008"}),
        ("FROM a\n# hadolint ignore=DL3006,|\nRUN b", {"DL3008"}, {"DK0202", "StageNameCasing"}),
        ("FROM a\n# dockc ignore=|\nRUN b", {"DL3008", "DK0202", "StageNameCasing"}, set()),
        ("FROM a\n# dockc ignore=DL3008 because |\nRUN b", set(), {"DL3008"}),
        ("FROM a\nSTOPSIGNAL |", {"SIGTERM", "SIGQUIT"}, set()),
        ("FROM a\nEXPOSE 80/|", {"tcp", "udp", "sctp"}, set()),
        ("FROM a\nRUN --mount=type=cache,|", {"target=", "sharing=", "id="}, {"type=", "env=", "required", "size="}),
        ("FROM a\nRUN --mount=type=secret,id=x,|", {"env=", "required"}, {"id=", "type=", "sharing="}),
        ("FROM a\nRUN --mount=type=tmpfs,dst=/x,|", {"size="}, {"target=", "from="}),
        ("FROM a\nRUN --mount=|", {"type="}, set()),
    ],
)
def test_offered(text: str, some: set[str], none: set[str]) -> None:
    found = set(offered(text))
    assert some <= found
    assert not none & found


def test_files_of_the_context() -> None:
    asked: list[str] = []

    def files(folder: str) -> list[str]:
        asked.append(folder)
        return ["src/", "a.txt"]

    assert offered("FROM a\nCOPY |", files) == ["src/", "a.txt"]
    assert offered("FROM a\nADD --chmod=1 src/x/y|", files) == ["src/", "a.txt"]
    assert offered("FROM a AS b\nFROM a\nCOPY --from=b |", files) == []
    assert asked == ["", "src/x/"]


def test_tokens_stand_in_order_on_one_line_each() -> None:
    text = '# escape=\\\nARG V=3\n# c\nFROM alpine:$V as a\nENV X=1 \\\n  # in\n  Y=2\nRUN --mount=type=cache,target=/x <<E\nls $X\nE\nCMD ["a"]\n'
    found = tokens.tokens(Document(text))
    assert [(t.type, text[t.span.start : t.span.end], t.declares) for t in found[:8]] == [
        ("macro", "# escape=\\", False),
        ("keyword", "ARG", False),
        ("variable", "V", True),
        ("comment", "# c", False),
        ("keyword", "FROM", False),
        ("variable", "V", False),
        ("keyword", "as", False),
        ("namespace", "a", True),
    ]
    assert all("\n" not in text[t.span.start : t.span.end] for t in found)
    assert all(a.span.end <= b.span.start for a, b in itertools.pairwise(found))


@pytest.mark.parametrize(
    ("text", "form", "part"),
    [
        ("FROM |", "FROM [--platform=PLATFORM] IMAGE[:TAG|@DIGEST] [AS NAME]", "IMAGE[:TAG|@DIGEST]"),
        ("FROM a\nCOPY --link|", "COPY [OPTIONS] SRC... DEST", "[OPTIONS]"),
        ("FROM a\nCOPY --link a |", "COPY [OPTIONS] SRC... DEST", "DEST"),
        ('FROM a\nCOPY ["a|', 'COPY [OPTIONS] ["SRC"..., "DEST"]', '["SRC"..., "DEST"]'),
        ("FROM a\nONBUILD RUN x|", "RUN [OPTIONS] COMMAND", "COMMAND"),
    ],
)
def test_signature(text: str, form: str, part: str) -> None:
    # The bar of the form is part of it: the place is the last one of the text.
    found = signatures(Document(text[:-1]), len(text) - 1)
    assert found is not None
    label, parts = found.forms[found.form]
    start, end = parts[found.part]
    assert (label, label[start:end]) == (form, part)
    assert signatures(Document("FROM a\n# RUN "), 13) is None


def test_links_lead_to_pages_of_images_and_to_downloads() -> None:
    text = "# syntax=docker/dockerfile:1\nARG V=3\nFROM alpine:$V AS a\nFROM quay.io/x/y:1\nFROM a\nCOPY --from=a /x /y\nADD https://example.org/z /z\n"
    assert [link.target for link in links.links(Document(text))] == [
        "https://hub.docker.com/r/docker/dockerfile",
        "https://hub.docker.com/_/alpine",
        "https://quay.io/repository/x/y",
        "https://example.org/z",
    ]


def test_hints_have_values_and_what_the_store_knows(tmp_path: Path) -> None:
    def blob(value: object) -> str:
        data = json.dumps(value).encode()
        name = sha256(data).hexdigest()
        folder = tmp_path / "content" / "blobs" / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return f"sha256:{name}"

    config = blob({"created": "2020-01-01T00:00:00Z"})
    manifest = blob({"config": {"digest": config}, "layers": [{"size": 3_000_000}, {"size": 400_000}]})
    names = tmp_path / "content" / "images"
    names.mkdir()
    name = "docker.io/library/alpine:3"
    (names / sha256(name.encode()).hexdigest()).write_text(json.dumps({"name": name, "target": {"digest": manifest}}))

    facts = image_facts(tmp_path, "alpine:3")
    assert facts is not None
    assert facts.size == 3_400_000
    assert facts.days is not None
    assert facts.days > 2000
    assert image_facts(tmp_path, "alpine:4") is None

    text = "ARG V=3\nFROM alpine:$V\nENV A=x\nWORKDIR /${A}/$B\nRUN echo $A\n"
    found = inlays.hints(Document(text), Span(0, len(text)), lambda name: facts if name == "alpine:3" else None)
    assert [(h.offset, h.text) for h in found] == [
        (text.index("$V") + 2, f" 3.4 MB, {facts.days} days old"),
        (text.index("$V") + 2, "=3"),
        (text.index("${A}") + 4, "=x"),
    ]


@pytest.mark.parametrize(("before", "after"), [("a\nb\nc\n", "a\nB\nc\nd\n"), ("a\r\nb", "a\r\nb\r\n"), ("", "x\n"), ("x\n", ""), ("a\nb\n", "b\na\n")])
def test_edits_are_minimal_and_give_the_text(before: str, after: str) -> None:
    found = minimal.edits(before, after)
    assert apply(before, found).text == after
    assert minimal.edits(after, after) == ()
    assert all(edit.span.end - edit.span.start < len(before) for edit in found if len(before) > len("a\nb\n"))


def long_file(word: str) -> str:
    """400 lines: many steps, of which one has the word."""
    steps = "".join(f"RUN apt-get update && apt-get install -y pack-{i} && pip install tool{i} | cat\nENV E{i}=$E{i - 1}x\n" for i in range(199))
    return f"FROM debian:12\n{steps}RUN apt-get install {word}\n"


def test_a_small_change_is_judged_alone_and_finds_what_a_whole_run_finds() -> None:
    memory = Memory()
    options = LintOptions(shellcheck=False)
    lint_source(Source.from_text(long_file("one")), options, memory=memory)
    read_first, judged_first = memory.read, memory.judged
    assert read_first == 200
    after = Source.from_text(long_file("two"))
    found = lint_source(after, options, memory=memory).findings
    assert memory.read - read_first == 1, "one script is read anew"
    assert memory.judged - judged_first <= judged_first / 100, "and no other one is judged"
    assert found == lint_source(after, options).findings
    moved = Source.from_text("\n" + long_file("two"))
    read_second, judged_second = memory.read, memory.judged
    assert lint_source(moved, options, memory=memory).findings == lint_source(moved, options).findings
    assert (memory.read, memory.judged) == (read_second, judged_second), "lines that move are not judged again"


def counted(work: Callable[[], object]) -> Counter[str]:
    """How often each function of ours was called."""
    found: Counter[str] = Counter()

    def tick(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            found[f"{frame.f_globals.get('__name__')}:{frame.f_code.co_name}"] += 1

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return found


def test_a_small_change_is_read_once_and_costs_a_fraction() -> None:
    """As the server does it: each instruction becomes data once, one line is taken apart, and most of the work is not done again."""
    from dockc.lsp.server import File

    options = LintOptions(shellcheck=False)

    def version(number: int, word: str, memory: Memory | None) -> File:
        file = File("file:///nowhere/Dockerfile", number, long_file(word), "utf-16", {}, memory)
        file.findings = lint_source(file.document.front, options, memory=file.memory).findings
        return file

    first = version(1, "zero", None)
    whole = counted(lambda: version(2, "one", None))
    change = counted(lambda: version(3, "two", first.memory))
    line, instruction = "dockc.grammar.parser:_commands", "dockc.compiler.syntax.instructions:build"
    assert (whole[line], whole[instruction], change[instruction]) == (400, 400, 400)
    assert change[line] == 1, "of the lines one is read anew"
    assert change.total() < 0.7 * whole.total()


def test_diagnostics_do_not_wait_for_a_collection_of_what_lives_on() -> None:
    from dockc.lsp.server import make_server

    server = make_server()
    frozen = gc.get_freeze_count()
    try:
        server.settle()
        once = gc.get_freeze_count()
        assert once > frozen
        server.settle()
        assert gc.get_freeze_count() <= once, "once"
    finally:
        gc.unfreeze()


def test_what_a_script_depends_on_is_looked_at() -> None:
    memory = Memory()
    options = LintOptions(select=("DL3016", "DL3042", "DL3004"), shellcheck=False)
    rest = "RUN npm install -g $P\nRUN pip install a==1\nRUN sudo x\n"
    for head in ("FROM debian:12\nARG P=pnpm\n", "FROM debian:12\nARG P=pnpm@9\n", "FROM debian:12\nARG P=pnpm\nUSER app\n", "FROM debian:12\nENV PIP_NO_CACHE_DIR=1 P=pnpm\n"):
        for tail in ("", "FROM scratch\n"):
            source = Source.from_text(head + rest + tail)
            assert lint_source(read(source), options, memory=memory).findings == lint_source(source, options).findings


def test_names_of_the_context_are_those_beside_the_file(tmp_path: Path) -> None:
    from dockc.lsp.server import File, _names

    (tmp_path / "src" / "in").mkdir(parents=True)
    (tmp_path / "Dockerfile").write_text("FROM a\n")
    (tmp_path / "out").symlink_to("/")
    file: Any = File((tmp_path / "Dockerfile").as_uri(), 1, "FROM a\n", "utf-16", {})
    assert _names(file, "") == ["Dockerfile", "out/", "src/"]
    assert _names(file, "src/") == ["in/"]
    assert _names(file, "out/") == []
    assert _names(file, "../") == []
    assert _names(file, "nowhere/") == []
