"""The generated tables: up to date with the grammar files, the same in every process, and complete."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.grammar import forms, generate, word
from dockc.grammar.lalr import Grammar, Parser
from dockc.grammar.tables import DOCKERFILE, WORD


def test_up_to_date() -> None:
    assert generate.main(["--check"]) == 0


def test_check_notices_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(generate, "TARGET", tmp_path / "tables.py")
    assert generate.main(["--check"]) == 1
    assert "not up to date" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


@pytest.mark.parametrize("seed", ["1", "2"])
def test_deterministic(seed: str) -> None:
    env = {**os.environ, "PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-m", "dockc.grammar.generate", "--check"], env=env, check=True)


@pytest.mark.parametrize("grammar", [DOCKERFILE, WORD], ids=["dockerfile", "word"])
@pytest.mark.parametrize("escape", ["\\", "`"])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_every_state_has_a_lexer(grammar: Grammar, escape: str, ascii_only: bool) -> None:
    parser = Parser(grammar, escape, ascii_only)
    for state in range(len(grammar.states)):
        parser._lexer(state)


@pytest.mark.parametrize("grammar", [DOCKERFILE, WORD], ids=["dockerfile", "word"])
def test_no_possessive_quantifiers(grammar: Grammar) -> None:
    """Python before 3.11.5 matches them wrongly."""
    for name, pattern in grammar.terminals.items():
        assert not re.search(r"[*+?}]\+|\(\?>", pattern), name


def test_every_token_of_a_word_is_handled() -> None:
    assert set(WORD.terminals) == set(word._HANDLERS)


def test_every_rule_is_used() -> None:
    folder = Path(forms.__file__).parent
    named = "".join((folder / f"{stem}.py").read_text() for stem in ("forms", "parser", "heredoc", "options"))
    for start in DOCKERFILE.starts:
        assert f'"{start}"' in named, start


def test_reading_loads_no_lark() -> None:
    script = (
        "import sys; from dockc.compiler.syntax.build_ast import build_ast; from dockc.grammar.parser import parse;"
        "from dockc.grammar.source import Source; build_ast(parse(Source('D', b'FROM a\\nRUN <<E\\nE\\nENV a=$b')));"
        "sys.exit(' '.join(m for m in ('lark', 'asyncio', 'json', 'socket', 'inspect') if m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(Path.cwd())!r}); {script}"], capture_output=True, text=True)
    assert run.stderr.strip() in ("", "json"), run.stderr
