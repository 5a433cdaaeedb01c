"""Tables of kinds: what they name is there, and a package may add to them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from dockc.base.table import Table, load
from dockc.engine import frontends
from dockc.errors import DockcError, UsageError
from dockc.runtime.executor import choose
from dockc.runtime.exporter import table as exporters
from dockc.runtime.exporter.options import make_output
from dockc.runtime.source.table import SOURCES
from dockc.runtime.store.worker import OPERATIONS


@pytest.mark.parametrize(
    "table", [SOURCES, OPERATIONS, choose.EXECUTORS, frontends.FRONTENDS], ids=lambda table: table.group
)
def test_what_a_table_names_is_there(table: Table) -> None:
    assert table.names
    for name in table.names:
        assert callable(table.find(name)), name
    assert table.find("nobody") is None


@pytest.mark.parametrize("name", sorted(exporters.KINDS))
def test_what_the_kinds_of_outputs_name_is_there(name: str) -> None:
    kind = exporters.KINDS[name]
    if kind.meaning:
        assert kind.meaning in exporters.KINDS
    else:
        assert callable(load(kind.export))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that adds an output, a source, an executor and a frontend."""
    (tmp_path / "more_kinds.py").write_text(
        "from dockc.runtime.exporter.table import Kind\n"
        "KIND = Kind('more_kinds:export', frozenset(('colour',)), 'paper', 'file')\n"
        "def export(source, output, using): return 'printed'\n"
        "def source(identifier, attributes, platform, backing): return identifier\n"
        "def executor(name, state_dir): return name\n"
        "async def frontend(bridge): return 'made'\n"
    )
    (tmp_path / "more_kinds-1.dist-info").mkdir()
    (tmp_path / "more_kinds-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: more-kinds\nVersion: 1\n"
    )
    (tmp_path / "more_kinds-1.dist-info" / "entry_points.txt").write_text(
        "[dockc.exporters]\npaper = more_kinds:KIND\n[dockc.sources]\npaper = more_kinds:source\n"
        "[dockc.executors]\npaper = more_kinds:executor\nrunc = more_kinds:executor\n[dockc.frontends]\npaper.v0 = more_kinds:frontend\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, "more_kinds", raising=False)


@pytest.mark.usefixtures("package")
def test_a_package_adds_kinds(tmp_path: Path) -> None:
    output = make_output("paper", "out", {"colour": "red"})
    assert output.kind.shown == "paper"
    assert load(output.kind.export)(None, output, None) == "printed"
    with pytest.raises(UsageError, match="type=paper output has no option 'size'"):
        make_output("paper", "out", {"size": "a4"})
    assert SOURCES.find("paper")("paper://x", {}, None, None) == "paper://x"
    assert choose.is_known("paper")
    assert str(choose.choose("paper", tmp_path)) == "paper"
    assert frontends.find("paper.v0").__name__ == "frontend"


@pytest.mark.usefixtures("package")
def test_a_package_replaces_nothing() -> None:
    assert choose.EXECUTORS.find("runc").__module__ == "dockc.runtime.executor.runc"


def test_what_nobody_knows() -> None:
    with pytest.raises(UsageError, match="unknown output type 'paper'"):
        make_output("paper", "", {})
    with pytest.raises(DockcError, match=r"frontend paper\.v0 not found"):
        frontends.find("paper.v0")
    assert not choose.is_known("paper")
