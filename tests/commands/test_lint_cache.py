"""Findings kept from run to run: used only where everything that decides them is the same, and never needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockc.base.record import replace
from dockc.commands.lint import cache as lintcache
from dockc.commands.lint.cache import Cache
from dockc.commands.lint.command import lint_command
from dockc.commands.lint.plan import LintRequest
from dockc.grammar.diagnostic import Severity
from dockc.grammar.source import Source
from dockc.linter.finding import FileReport
from dockc.linter.options import LintOptions
from dockc.linter.runner import lint_source
from dockc.linter.settings import Settings

BAD = b"from debian AS Build\nRUN apt-get install curl\nENV A=\xff\nRUN cd /a && sudo ls | wc\nCOPY --from=Build a b c\n"
OPTIONS = LintOptions()


@pytest.fixture
def report() -> FileReport:
    found = lint_source(Source("Dockerfile", BAD), OPTIONS)
    assert any(f.fix for f in found.findings)
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "lint"


def test_what_was_kept_comes_back_whole(report: FileReport, root: Path) -> None:
    Cache(str(root)).keep(report, OPTIONS)
    found = Cache(str(root)).look_up(Source("Dockerfile", BAD), replace(OPTIONS))
    assert found == report
    assert root.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in root.iterdir()} == {0o600}


@pytest.mark.parametrize(
    "options",
    [
        LintOptions(profile="hadolint"),
        LintOptions(settings=Settings(build_args={"A": "1"})),
        LintOptions(ignored=frozenset({"DL3008"})),
        LintOptions(severities={"DL3008": None}),
        LintOptions(severities={"DL3008": Severity.ERROR}),
        LintOptions(ignore_file=b"a\n"),
        LintOptions(select=("a", "b")),
        LintOptions(select=("a b",)),
    ],
    ids=lambda options: options.profile if options.profile != "dockc" else "",
)
def test_other_options_are_other_entries(report: FileReport, root: Path, options: LintOptions) -> None:
    cache = Cache(str(root))
    cache.keep(report, OPTIONS)
    assert cache.look_up(report.source, options) is None
    cache.keep(report, options)
    assert cache.look_up(report.source, options) is not None
    assert cache.look_up(report.source, OPTIONS) is not None


def test_other_bytes_or_code_or_name_are_not_answered(report: FileReport, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Cache(str(root)).keep(report, OPTIONS)
    assert Cache(str(root)).look_up(Source("Dockerfile", BAD + b"#"), OPTIONS) is None
    assert Cache(str(root)).look_up(Source("./Dockerfile", BAD), OPTIONS) is None
    monkeypatch.setattr(lintcache, "_stamp", lambda: "another")
    assert Cache(str(root)).look_up(report.source, OPTIONS) is None


def test_a_checker_without_identity_is_not_cached(report: FileReport, root: Path) -> None:
    options = LintOptions(checker=lambda scripts: [[] for _ in scripts])
    cache = Cache(str(root))
    cache.keep(report, options)
    assert cache.look_up(report.source, options) is None
    assert not root.exists()


@pytest.mark.parametrize("damage", [b"", b"x" * 200, None])
def test_a_damaged_entry_is_missing(report: FileReport, root: Path, damage: bytes | None) -> None:
    Cache(str(root)).keep(report, OPTIONS)
    (entry,) = [p for p in root.iterdir() if not p.name.startswith(".")]
    data = entry.read_bytes()
    entry.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage is None else damage)
    cache = Cache(str(root))
    assert cache.look_up(report.source, OPTIONS) is None
    cache.keep(report, OPTIONS)
    assert cache.look_up(report.source, OPTIONS) == report


def test_what_others_may_write_is_not_believed(report: FileReport, root: Path) -> None:
    Cache(str(root)).keep(report, OPTIONS)
    (entry,) = [p for p in root.iterdir() if not p.name.startswith(".")]
    entry.chmod(0o666)
    assert Cache(str(root)).look_up(report.source, OPTIONS) is None
    entry.chmod(0o600)
    root.chmod(0o777)
    assert Cache(str(root)).look_up(report.source, OPTIONS) is None
    entry.unlink()
    Cache(str(root)).keep(report, OPTIONS)
    assert not entry.exists()


def test_a_link_in_the_place_of_an_entry_is_not_followed(report: FileReport, root: Path, tmp_path: Path) -> None:
    Cache(str(root)).keep(report, OPTIONS)
    (entry,) = [p for p in root.iterdir() if not p.name.startswith(".")]
    moved = entry.rename(tmp_path / "elsewhere")
    entry.symlink_to(moved)
    assert Cache(str(root)).look_up(report.source, OPTIONS) is None


def test_no_place_for_a_cache_is_no_error(report: FileReport, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Cache(str(tmp_path / "file" / "lint"))
    cache.keep(report, OPTIONS)
    assert cache.look_up(report.source, OPTIONS) is None
    assert lintcache.opened({}) is None
    assert lintcache.opened({"HOME": "relative"}) is None


def test_old_entries_go(report: FileReport, root: Path) -> None:
    cache = Cache(str(root))
    cache.keep(report, OPTIONS)
    (entry,) = [p for p in root.iterdir() if not p.name.startswith(".")]
    os.utime(entry, (0, 0))
    os.utime(root / ".swept", (0, 0))
    Cache(str(root)).keep(report, LintOptions(profile="buildkit"))
    assert not entry.exists()
    assert len(list(root.iterdir())) == 2


def test_rules_of_third_parties_switch_it_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert lintcache.opened({"HOME": str(tmp_path)}) is not None
    folder = tmp_path / "extra-1.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[dockc.rules]\nX1 = extra:Rule\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert lintcache.opened({"HOME": str(tmp_path)}) is None


def test_the_command_says_the_same_with_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = []
    for number in range(15):
        (tmp_path / f"{number}.Dockerfile").write_bytes(BAD + f"RUN echo $a{number}\n".encode())
        files.append(str(tmp_path / f"{number}.Dockerfile"))
    (tmp_path / "cache").mkdir()
    outputs = []
    for request in (
        LintRequest(files=tuple(files), no_cache=True, jobs=1),
        LintRequest(files=tuple(files), no_cache=True, jobs=2),
        LintRequest(files=tuple(files)),
        LintRequest(files=tuple(files)),
    ):
        parts: list[str] = []
        assert lint_command(request, out=parts.append, log=parts.append) == 1
        outputs.append("".join(parts))
        assert (tmp_path / "cache" / "dockc").exists() is not request.no_cache or request.jobs == 0
    assert len(set(outputs)) == 1


def test_a_warm_run_loads_no_compiler(tmp_path: Path) -> None:
    import subprocess
    import sys

    (tmp_path / "Dockerfile").write_bytes(BAD)
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    code = "import sys, os; os._exit = sys.exit\nfrom dockc.line.main import run\nrun(sys.argv[1:])\nprint(*sys.modules)"
    for turn in range(2):
        command = [sys.executable, "-c", code, "lint", str(tmp_path / "Dockerfile")]
        done = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
        loaded = done.stdout.splitlines()[-1].split()
        assert ("dockc.compiler.lower" in loaded) is (turn == 0)
        if turn:
            assert not {"pathlib", "typing", "subprocess", "json", "hashlib", "dockc.compiler.syntax.ast", "dockc.engine"} & set(loaded)
