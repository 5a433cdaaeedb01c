"""The library's stable names."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dockc
import dockc.api
from dockc.compiler.questions import Unanswered
from dockc.errors import SyntaxFailure, UsageError

ROOT = Path(__file__).parents[2]


def test_public_names_are_these() -> None:
    functions = {"build", "compile", "copies", "emit", "explain", "fix", "format", "graph", "lint", "optimize", "parse", "request"}
    classes = {"Answers", "Built", "Engine", "EngineOptions", "LintOptions"}
    assert set(dockc.__all__) == functions | classes | {"__version__", "llb"}
    for name in dockc.__all__:
        assert getattr(dockc, name) is not None
    assert set(dockc.__all__) <= set(dir(dockc)) and "TYPE_CHECKING" not in dir(dockc), "a shell completes them"
    with pytest.raises(AttributeError):
        dockc.nothing  # noqa: B018


def test_the_page_of_the_library_is_true() -> None:
    assert doctest.testmod(dockc.api).failed == 0


def test_parse_raises_with_lines() -> None:
    with pytest.raises(SyntaxFailure, match="unknown instruction: RUNN") as caught:
        dockc.parse("FROM a\nRUNN b\n")
    assert caught.value.locations == (((2, 2),),)


def test_llb_is_authored_in_python() -> None:
    definition = dockc.llb.image("docker.io/library/debian:12").run("echo hi").marshal()
    assert len(definition.ops) == 3
    assert definition.to_bytes() == dockc.llb.image("docker.io/library/debian:12").run("echo hi").marshal().to_bytes()


@pytest.mark.parametrize("use", [dockc.parse, dockc.lint, dockc.format, dockc.fix, dockc.compile])
def test_a_path_is_no_text(use: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"is str or bytes, not PosixPath; Path\.read_text\(\) reads it"):
        use(Path("Dockerfile"))


def test_what_is_compiled_says_what_it_is() -> None:
    assert repr(dockc.compile("FROM debian\n", answers="made-up", attrs={"platform": "linux/arm64"})) == "<Compiled Dockerfile for linux/arm64>"


def test_bytes_text_and_source_are_alike() -> None:
    from dockc.grammar.source import Source

    text = "FROM scratch\nCOPY a /a\n"
    one, two, three = (dockc.compile(t).definition.to_bytes() for t in (text, text.encode(), Source.from_text(text)))
    assert one == two == three


TEXT = "FROM alpine:3 AS Build\nCOPY src *.md /src/\nRUN make\n"


def test_compile_with_answers_of_its_own_making() -> None:
    with pytest.raises(Unanswered) as caught:
        dockc.compile(TEXT)
    assert "`answers`" in caught.value.hint
    assert "--answers" not in caught.value.hint, "options are the command line's"
    compiled = dockc.compile(TEXT, answers="made-up")
    assert dockc.compile(TEXT, answers="made-up").definition.to_bytes() == compiled.definition.to_bytes()
    assert b'"Env":["PATH=' in compiled.image_json
    with pytest.raises(UsageError, match="not 'made up'"):
        dockc.compile(TEXT, answers="made up")  # type: ignore[arg-type]


def test_the_ignore_file_is_part_of_the_graph() -> None:
    with_it = dockc.compile(TEXT, answers="made-up", ignore_file=b"*.tmp\n")
    assert with_it.definition.to_bytes() != dockc.compile(TEXT, answers="made-up").definition.to_bytes()
    assert "*.tmp" in dockc.emit(with_it, "json")


def test_a_machine_without_images_builds_for_amd64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(machine="wasm32"))
    assert str(dockc.compile("FROM scratch\nCOPY a /a\n").platform) == "linux/amd64"


def test_optimize_and_emit() -> None:
    compiled = dockc.compile(TEXT, answers="made-up")
    assert dockc.emit(compiled, "ir") != dockc.emit(dockc.optimize(compiled), "ir")
    assert dockc.emit(dockc.optimize(compiled, passes=""), "ir") == dockc.emit(compiled, "ir")
    with pytest.raises(UsageError, match="unknown form pdf"):
        dockc.emit(compiled, "pdf")
    with pytest.raises(UsageError, match="unknown optimisation level 7"):
        dockc.optimize(compiled, level=7)


def test_fix_says_what_it_did() -> None:
    fixed = dockc.fix(TEXT)
    assert fixed.text.startswith("FROM alpine:3 AS build\n")
    assert [finding.code for finding in fixed.applied] == ["StageNameCasing"]
    assert "StageNameCasing" not in {finding.code for finding in fixed.report.findings}


@pytest.mark.parametrize("text", ["RUN make\n", "FROM a\nRUNN b\n", "", "FROM a\nCOPY a\n"])
def test_format_refuses_what_does_not_parse(text: str) -> None:
    with pytest.raises(SyntaxFailure):
        dockc.format(text)


def test_explain_says_which_files_a_copy_takes() -> None:
    files = ["src/a.c", "src/a.tmp", "README.md", "docs/x.md", "/src/b.c"]
    found = dockc.explain(TEXT, 2, ignore_file=b"**/*.tmp\n", context=files)
    assert [report.lines for report in found.reports] == [(2, 2)]
    assert list(found.files.values()) == [("src/a.c", "src/b.c"), ("README.md",)]
    assert "- src/a.c" in str(found)
    assert "Base images were made up" in str(found)
    assert "no such file in context now" in str(dockc.explain("FROM scratch\nCOPY a /a\n", 2, context=["b"]))
    assert dockc.explain(TEXT, 99).reports == ()
    with pytest.raises(Unanswered):
        dockc.explain(TEXT, 2, answers=None)


def test_explain_a_copy_of_everything() -> None:
    found = dockc.explain("FROM scratch\nCOPY . /\n", 2, ignore_file=b"secret\n", context=["a", "b/c", "secret/key"])
    assert list(found.files.values()) == [("a", "b/c")]


def test_copies_say_what_each_source_takes() -> None:
    text = "FROM scratch AS a\nCOPY lib *.txt /x/\nADD --exclude=*.o src /src/\nFROM scratch\nCOPY --from=a / /\nCOPY <<E /e\nE\n"
    taken = dockc.copies(text, ["a.txt", "src/a.c", "src/a.o", "sub/b.txt"])
    assert [(one.line, one.paths, one.files) for one in taken] == [
        (2, ("/lib",), ()),
        (2, ("/*.txt",), ("a.txt",)),
        (3, ("/src",), ("src/a.c",)),
    ]


def test_exclude_counts_below_what_is_copied() -> None:
    """As the builder copies: the patterns of --exclude are relative to the source, with --parents to the context."""
    files = ["src/a.o", "src/sub/b.o", "c.o", "lib/x/y"]
    text = "FROM scratch\nCOPY --exclude=*.o src *.o /s/\nCOPY --parents --exclude=lib/x lib src/sub /p/\n"
    assert [one.files for one in dockc.copies(text, files)] == [("src/sub/b.o",), ("c.o",), (), ("src/sub/b.o",)]


def test_graph_has_stages_and_operations() -> None:
    graph = dockc.graph(TEXT)
    assert [lane.title for lane in graph.lanes] == ["sources", "build: FROM alpine:3"]
    assert [node.kind for node in graph.nodes] == ["source", "source", "file", "exec"]
    assert graph.render("svg").startswith("<?xml")
    assert graph.render("text").startswith("sources")
    with pytest.raises(UsageError, match="unknown format bmp"):
        graph.render("bmp")


USER_SCRIPT = Path(__file__).parent / "user_script.py"


def test_a_users_script_runs() -> None:
    done = subprocess.run([sys.executable, str(USER_SCRIPT)], env=dict(os.environ, PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DL3006" in done.stdout


@pytest.mark.slow
def test_a_users_script_is_typed(tmp_path: Path) -> None:
    """As `mypy --strict` sees it from outside: exact types of everything that the library's page names."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path), str(USER_SCRIPT)]
    environment = dict(os.environ, MYPYPATH=str(ROOT))
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
