"""Every option and variable of BuildKit's clients is tried: it works, or it is refused by name."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Dockc

TABLE = tomllib.loads(Path(__file__).with_name("client_words.toml").read_text())
WORDS = [(group, word) for group, table in TABLE.items() for word in table["words"]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A context, and a store that all share."""
    top = tmp_path_factory.mktemp("words")
    context = top / "context"
    context.mkdir()
    (context / "one").write_text("the first\n")
    (context / "two").write_text("the second\n")
    (context / "other.Dockerfile").write_text("FROM base\nRUN echo the other file\n")
    return top


def attempt(argv: list[str], environ: dict[str, str], folder: Path) -> tuple[int, str]:
    """Run dockc in a copy of this process, which has its modules already; status and what it printed."""
    out = folder / "printed"
    child = os.fork()
    if not child:
        try:
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environ)
            target = os.open(out, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
            for number in (1, 2):
                os.dup2(target, number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.argv = ["dockc", *argv]
            from dockc.__main__ import main

            main()
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        finally:
            os._exit(70)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, out.read_text(errors="replace")


@pytest.mark.parametrize(("group", "word"), WORDS, ids=[f"{group}: {word['word']}" for group, word in WORDS])
def test_a_word_of_clients(root: Dockc, base: Path, place: Path, tmp_path: Path, group: str, word: dict[str, Any]) -> None:
    def filled(text: str) -> str:
        return text.replace("{tmp}", str(tmp_path)).replace("{ctx}", str(place / "context"))

    file = word.get("file", f"FROM base\nRUN {word['run']}" if "run" in word else "FROM base\nCOPY one /")
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(file + "\n")
    environ = root.environ() | {"DOCKC_STORE": str(place / "store")} | {k: filled(v) for k, v in word.get("env", {}).items()}
    given = [filled(text) for text in word.get("args", ())]
    if "buildctl" in word:
        argv = ["buildctl", *map(filled, word["buildctl"])]
    else:
        named = [] if any(one == "-f" or one.startswith("-f=") for one in given) or "filename=other.Dockerfile" in given else ["-f", str(dockerfile)]
        if "--no-progress" in given:
            given.remove("--no-progress")
        elif not {"--progress", "-q", "--call", "--check", "--print"} & set(given):
            given.append("--progress=plain")
        again = [] if group == "frontend" and "no-cache=" in given else ["--no-cache"] if "run" in word else []
        argv = ["build", *named, "--build-context", f"base=oci-layout://{base}", *given, *again, str(place / "context")]
    status, printed = attempt(argv, environ, tmp_path)
    assert "Traceback" not in printed
    wanted = word.get("status", [1, 2] if "refused" in word else 0)
    assert status in (wanted if isinstance(wanted, list) else [wanted]), printed
    if "made" in word:
        printed = "\n".join(path.read_text(errors="replace") for path in sorted(tmp_path.glob(word["made"])) if path.stat().st_size < 100_000)
    assert re.search(word["sees"], printed), printed[-3000:]
