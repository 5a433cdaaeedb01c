"""What the pages about the IR, LLB and passes show is what happens."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.ir.verifier import verify
from dockc.compiler.passes.pipeline import PassContext
from dockc.llb.definition import Definition

DOCS = Path(__file__).parents[2] / "docs"


def block(page: str, language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_ir_on_its_page_is_ir() -> None:
    text = block("reference/ir.md", "text")
    module = parse_module(text)
    verify(module)
    assert print_module(module) == text


def test_the_program_on_the_llb_page_runs() -> None:
    names: dict[str, Any] = {}
    exec(block("reference/llb.md", "python"), names)
    assert len(Definition.parse(names["data"]).ops) == 7


def test_the_pass_on_its_page_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "no_network.py").write_text(block("how-to/add-a-pass.md", "python"))
    monkeypatch.syspath_prepend(tmp_path)
    no_network = importlib.import_module("no_network").NoNetwork
    module = parse_module(block("reference/ir.md", "text"))
    context = PassContext()
    after = no_network().run(module, context)
    assert "  network none\n" in print_module(after)
    assert [one.rule for one in context.trace] == ["no network"]
