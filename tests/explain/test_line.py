"""What lines do, over one file that has something of everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dockc.commands import explain as explaincmd
from dockc.commands.attrs import frontend_attrs
from dockc.compiler.compile import compiling
from dockc.compiler.imagine import made_up
from dockc.compiler.questions import converse
from dockc.engine.plan import Looked
from dockc.engine.request import CompileRequest
from dockc.errors import UsageError
from tests.explain.goldens import FILE, TOUR, on_amd64
from tests.golden.collect import Golden

LINES = (2, 4, 5, 9, 10, 12, 14, 15, 17, 19, 23, 26, 27, 28, 29, 30, 31, 32, 33)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """A build context with a few files."""
    (tmp_path / "go.mod").write_text("module x\n")
    (tmp_path / "go.sum").write_text("")
    (tmp_path / "README.md").write_text("")
    (tmp_path / "skipped.tmp").write_text("")
    (tmp_path / ".dockerignore").write_text("*.tmp\n.dockerignore\n")
    return tmp_path


def looked(context: Path, **options: Any) -> Looked:
    attrs = frontend_attrs(platforms=["linux/amd64"], **options)
    request = CompileRequest(str(context), str(FILE), attrs=attrs)
    return on_amd64(explaincmd.look(request, online=False, filename="Dockerfile"))


@pytest.mark.parametrize("name", [f"line-{number}.txt" for number in LINES])
def test_lines(context: Path, name: str, golden: Golden) -> None:
    number = int(name[5:-4])
    assert explaincmd.line(looked(context), number) == golden(TOUR, name)


def test_digests_are_those_of_the_definition(context: Path) -> None:
    found = looked(context)
    compiled = converse(compiling(found.inputs.front, found.options), found.ask)
    digests = {digest for digest, _ in compiled.definition.ops}
    for number in (4, 5, 9, 14, 15, 17, 19, 30, 31):
        text = explaincmd.line(found, number)
        shown = [word for line in text.splitlines() for word in line.split() if word.startswith("sha256:") and len(word) == 71]
        assert shown, number
        assert set(shown) <= digests, number


def test_a_given_argument_is_said_to_be_given(context: Path) -> None:
    text = explaincmd.line(looked(context, build_args=["VERSION=9"]), 12)
    assert '$VERSION = "9" (ARG of line 11, given with --build-arg)' in text
    assert 'config: Env.NAME = "app-9"' in text


def test_a_stage_that_is_asked_for_is_needed(context: Path) -> None:
    assert "not needed" in explaincmd.line(looked(context), 23)
    assert "not needed" not in explaincmd.line(looked(context, target="unneeded"), 23)


@pytest.mark.parametrize(("number", "hint"), [(1, "line 2"), (24, "line 25")])
def test_lines_without_an_instruction(context: Path, number: int, hint: str) -> None:
    with pytest.raises(UsageError, match="holds no instruction") as caught:
        explaincmd.line(looked(context), number)
    assert hint in caught.value.hint


def test_triggers_of_the_base_are_explained_at_from(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM scratch AS base\nONBUILD COPY a /a\nFROM base\n")
    request = CompileRequest(str(tmp_path), str(tmp_path / "Dockerfile"))
    text = explaincmd.line(explaincmd.look(request, online=False, filename="D"), 3)
    assert "an ONBUILD trigger of the base image" in text
    assert "copy /a to /a" in text


def test_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_bytes(b"FROM scratch\nENV A=\x1b[31mred\nCOPY a$A /\x07b\n")
    request = CompileRequest(str(tmp_path), str(tmp_path / "Dockerfile"))
    found = explaincmd.look(request, online=False, filename="D")
    for number in (2, 3):
        text = explaincmd.line(found, number)
        assert "\x1b" not in text
        assert "\x07" not in text


def test_made_up_images_are_said_to_be(context: Path) -> None:
    assert made_up(()) is not None
    assert "Base images were made up" in explaincmd.line(looked(context), 4)
