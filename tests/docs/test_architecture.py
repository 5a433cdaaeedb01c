"""The page about the rooms, the contract about them and the folders say the same."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dockc"


def _contract() -> list[str]:
    """Rooms of the contract, from the roof down; those in brackets are optional."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    house = next(one for one in settings["contracts"] if one["name"].startswith("The house"))
    assert house["exhaustive"]
    assert not settings.get("exclude_type_checking_imports"), "a type is knowledge too"
    assert not any("ignore_imports" in one or "exhaustive_ignores" in one for one in settings["contracts"])
    return [name.strip("() ") for layer in house["layers"] for name in layer.split("|")]


def _page() -> list[str]:
    text = (ROOT / "docs/architecture.md").read_text()
    headings = re.findall(r"^### (.+)$", text, re.M)
    return [name.removesuffix("/").removesuffix(".py") for heading in headings for name in re.findall(r"`([^`]+)`", heading)]


def _folders() -> set[str]:
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    return packages | {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}


def test_every_room_is_on_the_page_and_in_the_contract() -> None:
    rooms = _folders()
    assert rooms <= set(_contract())
    assert rooms <= set(_page())


def test_the_page_follows_the_contract() -> None:
    order = _contract()
    page = _page()
    assert set(page) <= set(order)
    assert [order.index(name) for name in page] == sorted(order.index(name) for name in page)


def test_every_room_has_a_paragraph() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    parts = re.split(r"^### .+$", text, flags=re.M)[1:]
    assert all(len(part.strip()) > 40 for part in parts)


def test_the_tool_finds_no_loose_module() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/structure.py"], capture_output=True, text=True, check=True)
    assert "loose modules at the root: 0\n" in done.stdout


def test_files_make_no_circles() -> None:
    done = subprocess.run([sys.executable, ROOT / "tools/structure.py"], capture_output=True, text=True, check=True)
    assert "circles of files: 0\n" in done.stdout
