"""Pages can be found from the index, and code in them works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GENERATED = ("reference/rules/", "reference/passes/", "reference/instructions/")


def test_the_index_leads_to_every_page() -> None:
    text = (DOCS / "index.md").read_text()
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", text))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")} - {"index.md"}
    assert {page for page in pages if not page.startswith(GENERATED)} - linked == set()


@pytest.fixture
def house_rule(tmp_path: Path) -> dict[str, str]:
    """The environment with the rule of the how-to page installed."""
    page = (DOCS / "how-to" / "add-a-rule.md").read_text()
    code, metadata = (re.findall(rf"```{kind}\n(.*?)```", page, flags=re.S)[0] for kind in ("python", "toml"))
    name = re.search(r'ACME1 = "(.*)"', metadata)
    assert name is not None
    site = tmp_path / "site"
    info = site / "acme_rules-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "acme_rules.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-rules\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[dockc.rules]\nACME1 = {name[1]}\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}


def test_the_rule_of_the_how_to_page_fires_and_mends(house_rule: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text("FROM debian:12\nRUN echo curl && curl https://example.org/a\n")
    lint = [sys.executable, "-m", "dockc", "lint", "--no-shellcheck", "--select=ACME1"]
    shown = subprocess.run(
        [*lint, "--format=tty", "Dockerfile"], cwd=tmp_path, env=house_rule, text=True, capture_output=True, check=False
    )
    assert (shown.returncode, shown.stdout) == (1, "Dockerfile:2 ACME1 warning: Use wget, which our images have\n")
    subprocess.run([*lint, "--fix", "--unsafe", "Dockerfile"], cwd=tmp_path, env=house_rule, check=True, capture_output=True)
    assert file.read_text() == "FROM debian:12\nRUN echo curl && wget https://example.org/a\n"
    page = subprocess.run([*lint, "--explain", "ACME1"], cwd=tmp_path, env=house_rule, text=True, capture_output=True, check=True)
    assert "one downloader is enough" in page.stdout


def test_commands_of_the_comparison_page_exist() -> None:
    page = (DOCS / "how-to" / "coming-from-other-tools.md").read_text()
    reference = (DOCS / "reference" / "cli.md").read_text()
    for command in set(re.findall(r"`dockc (\w+)", page)):
        assert re.search(rf"^## dockc {command}\b", reference, flags=re.M), command


def _python_blocks() -> dict[str, str]:
    """From page to its Python, all blocks one after the other."""
    pages = [page for page in [ROOT / "README.md", *DOCS.rglob("*.md")] if "```python" in page.read_text()]
    return {page.relative_to(ROOT).as_posix(): "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.S)) for page in pages}


@pytest.mark.slow
def test_python_on_the_pages_is_typed(tmp_path: Path) -> None:
    """As mypy sees it from outside, strictly."""
    pytest.importorskip("mypy")
    files = []
    for page, code in _python_blocks().items():
        file = tmp_path / (re.sub(r"\W", "_", page.removesuffix(".md")) + ".py")
        file.write_text(code)
        files.append(str(file))
    assert files
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"), *files]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"MYPYPATH": str(ROOT)}, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_library_page_runs(tmp_path: Path) -> None:
    code = _python_blocks()["docs/reference/library.md"]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "DL3006" in done.stdout
    assert "Dockerfile:2  RUN make" in done.stdout


def test_the_recipe_runs(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM alpine:3 AS Build\nCOPY src /src\n")
    (tmp_path / ".dockerignore").write_text("**/*.tmp\n")
    code = _python_blocks()["docs/how-to/from-python.md"] + '\nprint(check(Path("Dockerfile"), ["src/a.c", "src/a.tmp"]))\n'
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "line 2: /src: 1 files" in done.stdout
    assert "FROM alpine:3 AS build" in done.stdout
    assert (tmp_path / "build.svg").read_text().startswith("<?xml")
