"""What commands must not load: a start is as cheap as what it imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FILE = "FROM scratch AS base\nARG A=1\nENV B=$A\nCOPY --chmod=0644 a /a\nRUN echo $B\nCMD [\"/a\"]\n"

#: Nothing short of a build or a question to a registry needs these.
HEAVY = ("asyncio", "grpc", "h2", "dockc.rpc", "urllib3", "http.client", "sqlite3", "ssl", "rich", "lark", "google.protobuf", "socket", "multiprocessing")
#: Nor does reading and compiling one file need these.
LIBRARY = ("typer", "click", "pydantic", "email", "logging", "subprocess", "zipfile", "tempfile", "importlib.metadata", "shutil")
#: And compiling does without these, each a measurable part of a bare interpreter's start.
STANDARD = ("typing", "dataclasses", "inspect", "ast", "pathlib", "urllib", "hashlib", "ipaddress", "datetime", "contextlib")

#: Once patterns are kept from an earlier run, the libraries below them are left alone, a sixth of such a start.
BELOW_PATTERNS = ("re", "enum", "functools", "collections", "operator", "copyreg")

SHOW = "import sys, runpy\ntry:\n    {}\nfinally:\n    sys.stderr.write('\\nLOADED ' + ' '.join(sys.modules))"


def _loaded(code: str, *arguments: str) -> set[str]:
    """Names of all modules that are loaded at the end of a run, without those that a bare interpreter loads."""
    prepare = f"sys.argv[1:] = {list(arguments)!r}; "
    done = subprocess.run([sys.executable, "-c", SHOW.format(prepare + code)], capture_output=True, check=False)
    lines = done.stderr.decode().splitlines()
    assert lines and lines[-1].startswith("LOADED "), done.stderr.decode()
    bare = subprocess.run([sys.executable, "-c", SHOW.format("pass")], capture_output=True, check=True).stderr.decode()
    return set(lines[-1].split()) - set(bare.split())


def _command(*arguments: str) -> set[str]:
    return _loaded("import os; os._exit = sys.exit; from dockc.__main__ import main; main()", *arguments)


def _forbidden(loaded: set[str], names: tuple[str, ...]) -> list[str]:
    return sorted(m for m in loaded if any(m == name or m.startswith(f"{name}.") for name in names))


@pytest.fixture
def dockerfile(tmp_path: Path) -> Path:
    path = tmp_path / "Dockerfile"
    path.write_text(FILE)
    return path


def test_the_package() -> None:
    loaded = _loaded("import dockc")
    assert _forbidden(loaded, (*HEAVY, *LIBRARY, *STANDARD)) == []
    assert {m for m in loaded if m.startswith("dockc")} == {"dockc"}


def test_version() -> None:
    loaded = _command("--version")
    assert _forbidden(loaded, (*HEAVY, *LIBRARY, *STANDARD)) == []
    assert {m for m in loaded if m.startswith("dockc")} == {
        *("dockc", "dockc.__main__", "dockc.base", "dockc.base.version", "dockc.errors"),
        *("dockc.line", "dockc.line.main", "dockc.line.verbs", "dockc.base.output", "dockc.line.process"),
    }


def test_help() -> None:
    # The command line library brings pieces of its own; none of ours may be heavy.
    assert _forbidden(_command("compile", "--help"), ("asyncio", "grpc", "urllib3", "http.client", "sqlite3", "ssl", "rich.live", "lark", "google.protobuf")) == []


@pytest.mark.parametrize("form", ["pb", "llb", "ir", "image", "cst"])
def test_compile(dockerfile: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.delenv("DOCKC_STORE", raising=False)
    loaded = _command("compile", str(dockerfile.parent), f"--emit={form}")
    assert "dockc.compiler.lower" in loaded or form == "cst"
    assert _forbidden(loaded, (*HEAVY, *LIBRARY, *STANDARD)) == []


@pytest.mark.parametrize("line", [("compile", "."), ("fmt", "--check", "Dockerfile"), ("lint", "Dockerfile")])
def test_patterns_are_kept(dockerfile: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...]) -> None:
    monkeypatch.chdir(dockerfile.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(dockerfile.parent / "cache"))
    monkeypatch.delenv("DOCKC_STORE", raising=False)
    for _ in range(2):
        _command(*line)
    assert _forbidden(_command(*line), BELOW_PATTERNS) == []


def test_compile_loads_nothing_for_what_is_not_asked(dockerfile: Path) -> None:
    dockerfile.write_text("FROM scratch\nCOPY a /a\n")  # nothing to warn about
    loaded = _command("compile", str(dockerfile.parent), "--emit=pb")
    others = ("dockc.console", "dockc.commands.options", "dockc.compiler.forms", "dockc.compiler.outline", "dockc.golang.csvline")
    assert _forbidden(loaded, others) == []


def test_collections_are_rare_before_a_command_is_loaded() -> None:
    show = "import gc; import dockc.line.main as line; line._read = lambda *_: print(gc.get_threshold()[0]) or 0; line.run([])"
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, check=True)
    assert int(done.stdout) >= 20_000


def test_lint(dockerfile: Path) -> None:
    loaded = _command("lint", str(dockerfile))
    assert "dockc.commands.lint.command" in loaded
    assert _forbidden(loaded, (*(h for h in HEAVY if h not in {"socket"}), "typer", "click", "pydantic", "dataclasses", "inspect")) == []


def test_a_pipe_loads_nothing_that_paints(dockerfile: Path) -> None:
    for words in (("lint", str(dockerfile)), ("fmt", "--diff", str(dockerfile)), ("lint", "--help"), ("lint", "nowhere")):
        assert _forbidden(_command(*words), ("rich", "dockc.console.paint")) == [], words
    painted = _command("lint", "--no-shellcheck", "--color=always", str(dockerfile))
    assert "dockc.console.paint" in painted
    assert _forbidden(painted, ("rich",)) == []


def test_fmt(dockerfile: Path) -> None:
    loaded = _command("fmt", "--check", str(dockerfile))
    assert "dockc.commands.fmt" in loaded
    assert _forbidden(loaded, (*HEAVY, "typer", "click", "pydantic", "logging", "subprocess", "tempfile", "dataclasses", "inspect")) == []
