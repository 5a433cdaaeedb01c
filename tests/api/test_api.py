"""The library's stable names."""

from __future__ import annotations

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dockc
import dockc.api
from dockc.errors import SyntaxFailure

ROOT = Path(__file__).parents[2]


def test_public_names_are_these() -> None:
    assert set(dockc.__all__) == {"__version__", "compile", "format", "lint", "llb", "parse"}
    for name in dockc.__all__:
        assert getattr(dockc, name) is not None
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


def test_bytes_text_and_source_are_alike() -> None:
    from dockc.grammar.source import Source

    text = "FROM scratch\nCOPY a /a\n"
    one, two, three = (dockc.compile(t).definition.to_bytes() for t in (text, text.encode(), Source.from_text(text)))
    assert one == two == three


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
