"""The release script: one version everywhere, notes out of the change log, and nothing that only the owner may do."""

from __future__ import annotations

import datetime
import importlib.util
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from dockc.base.version import VERSION

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def release() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dockc_release", REPO / "tools/release.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tree(release: ModuleType, tmp_path: Path) -> Path:
    for name in (*(place[0] for place in release.PLACES), release.LOG):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, tmp_path / name)
    return tmp_path


def test_all_places_have_one_version(release: ModuleType) -> None:
    assert set(release.versions().values()) == {VERSION}
    assert release.main(["--check"]) == 0


def test_a_version_is_written_everywhere(release: ModuleType, tree: Path) -> None:
    (tree / release.LOG).write_text(
        "# Changelog\n\n## 9.8.7 (unreleased)\n\n- New.\n\n## 9.8.6 (2020-01-01)\n\n- Old.\n"
    )
    assert len(set(release.versions(tree).values())) == 2
    release.write("9.8.7", tree)
    assert set(release.versions(tree).values()) == {"9.8.7"}
    assert release.notes(tree) == "- New.\n"
    release.dated("9.8.7", datetime.date(2030, 1, 2), tree)
    assert "## 9.8.7 (2030-01-02)\n\n- New." in (tree / release.LOG).read_text()
    for version in ("9.8.7", "9.9.0"):
        with pytest.raises(release.Wrong):
            release.dated(version, datetime.date(2030, 1, 2), tree)


def test_what_is_no_release_changes_nothing(release: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["next"]) == 1
    assert capsys.readouterr().err == "error: next is no version such as 0.2.0 or 0.3.0rc1\n"


def test_nothing_is_tagged_or_sent(release: ModuleType) -> None:
    text = (REPO / "tools/release.py").read_text()
    commands = [part.split(")")[0] for part in text.split("_run(")[1:]]
    assert not any(word in command for command in commands for word in ("tag", "push", "commit", "twine", "upload"))


def test_no_page_takes_dockc_from_an_index_that_has_it_not() -> None:
    places = [REPO / "README.md", *(REPO / "docs").rglob("*.md"), *(path for path in (REPO / "examples").rglob("*") if path.is_file())]
    wrong = {
        f"{path.relative_to(REPO)}: {line.strip()}"
        for path in [*places, *(REPO / "editors").rglob("README.md")]
        if "node_modules" not in path.parts
        for line in path.read_text(errors="replace").splitlines()
        if re.search(r"\b(?:pip|pipx|uv pip) install(?: -[-\w=/]+)* '?dockc(?![-\w/])", line) and " @ git+" not in line
    }
    assert wrong == set()
