"""Each row of `docs/how-to/coming-from-other-tools.md` is run: the command that is said to take another's place does so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dockc.linter.config import PEER_FORMATS
from tests.e2e.conftest import REPO, Dockc, MakeContext
from tests.runtime.registry_servers import real_registry

PAGE = REPO / "docs/how-to/coming-from-other-tools.md"
Check = Callable[["Newcomer"], None]


class Newcomer:
    """Somebody with a context, a base image and a registry."""

    def __init__(self, dockc: Dockc, context: Path, with_base: tuple[str, str], address: str) -> None:
        self.dockc = dockc
        self.context = context
        self.with_base = with_base
        self.app = f"{address}/app"

    def run(self, *words: object, status: int | None = 0) -> str:
        done = self.dockc.run(*words, status=status)
        return done.stdout + done.stderr

    def build(self, *words: object, status: int | None = 0) -> str:
        return self.run("build", *words, *self.with_base, self.context, status=status)


def _build(who: Newcomer) -> None:
    who.build("-t", "app")
    assert "app:latest" in who.run("images")
    assert "hello" in who.run("run", "app")


def _load(who: Newcomer) -> None:
    if shutil.which("docker") is not None:
        assert "docker" in who.build("--load", "-t", "app", status=None)  # no engine runs here, which is said
    who.build("-o", f"type=docker,dest={who.dockc.home}/app.tar", "-t", "app")
    assert "Loaded image: app:latest" in who.run("load", "-i", who.dockc.home / "app.tar")


def _push(who: Newcomer) -> None:
    who.build("--push", "-t", who.app)
    assert f"Pulled {who.app}:latest" in who.run("pull", who.app)


def _local(who: Newcomer) -> None:
    who.build("-o", who.dockc.home / "out")
    assert (who.dockc.home / "out/said").read_text() == "hello\n"


def _calls(who: Newcomer) -> None:
    for words in (["--check"], ["--call=outline"], ["--call=targets"]):
        assert who.build(*words)


def _frontend(who: Newcomer) -> None:
    assert "hello" in who.build("--opt", "build-arg:WORD=hello", "--progress=plain", "--no-cache")


def _dump(who: Newcomer) -> None:
    for form in ("llb", "json"):
        assert "sha256:" in who.run("compile", f"--emit={form}", *who.with_base, who.context)


def _usage(who: Newcomer) -> None:
    assert "hello" not in who.run("du")
    assert "Total" in who.run("prune")


def _words(who: Newcomer) -> None:
    who.build("--push", "-t", who.app)
    who.run("pull", who.app)
    who.run("tag", who.app, f"{who.app}:2")
    who.run("push", f"{who.app}:2")
    who.run("save", f"{who.app}:2", "-o", "two.tar")
    who.run("rmi", f"{who.app}:2")
    who.run("load", "-i", "two.tar")
    (shown,) = json.loads(who.dockc.run("inspect", f"{who.app}:2").stdout)
    assert shown["name"] == f"{who.app}:2"


def _history(who: Newcomer) -> None:
    who.build("-t", "app")
    assert "echo $WORD" in who.run("image", "history", "app")
    config = who.dockc.home / "config.json"
    config.write_text(json.dumps(json.loads(who.dockc.run("inspect", "app").stdout)[0]["config"]))
    assert "RUN" in (said := who.run("decompile", "app"))
    assert who.dockc.run("decompile", config).stdout in said
    assert "none is neither a file nor an image of the store: no such image: none:latest" in who.run("decompile", "none", status=2)
    assert "`dockc load -i config.json`" in who.run("image", "layers", "config.json", status=1)


def _hadolint(who: Newcomer) -> None:
    said = who.run("lint", "--profile=hadolint", "--no-shellcheck", who.context / "Dockerfile", status=1)
    assert "DL3006" in said


def _formats(who: Newcomer) -> None:
    for form in PEER_FORMATS:
        file = who.context / "Dockerfile"
        said = who.run("lint", "-f", form, "--no-shellcheck", "--profile=hadolint", file, status=1)
        assert "DL3006" in said, form


def _options(who: Newcomer) -> None:
    peer = ("lint", "--profile=hadolint", "--no-shellcheck", "--hadolint-status", who.context / "Dockerfile")
    who.run(*peer, "-t", "error")
    who.run(*peer, "-t", "error", "--error", "DL3006", status=1)
    who.run(*peer, "-t", "error", "--error", "DL3006", "--ignore", "DL3006")


ROWS: dict[str, Check] = {
    "`docker build -t app .`, `docker buildx build …`": _build,
    "`docker build --load`": _load,
    "`docker buildx build --push`": _push,
    "`docker build -o out .`": _local,
    "`docker build --check .`, `--call=outline`, `--call=targets`": _calls,
    "`buildctl build --frontend dockerfile.v0 --opt K=V …`": _frontend,
    "`buildctl debug dump-llb`": _dump,
    "`docker buildx du`, `docker buildx prune`": _usage,
    "`docker pull`, `push`, `tag`, `save`, `load`, `inspect`, `rmi`": _words,
    "`docker history app`": _history,
    "`hadolint Dockerfile`": _hadolint,
    "`hadolint -f sarif`, `checkstyle`, `gnu`, …": _formats,
    "`hadolint --error DL3008 --ignore DL3015 -t error …`": _options,
}


def _rows() -> list[str]:
    lines = PAGE.read_text().splitlines()
    cells = [re.split(r"(?<!\\) \| ", line.strip("| "))[0] for line in lines if line.startswith("| `")]
    return [cell.replace("\\|", "|") for cell in cells]


def test_every_row_has_its_check() -> None:
    assert _rows() == list(ROWS)


@pytest.fixture
def who(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> Newcomer:
    folder = context("FROM base\nARG WORD=hello\nRUN echo $WORD | cat > /said; cat /said\nCMD [\"cat\", \"/said\"]\n")
    return Newcomer(root, folder, with_base, "")


def test_each_row_holds(who: Newcomer) -> None:
    with real_registry(who.dockc.home) as address:
        for number, (row, check) in enumerate(ROWS.items()):
            dockc = replace(who.dockc, store=who.dockc.home / f"store-{number % 3}")
            try:
                check(Newcomer(dockc, who.context, who.with_base, address))
            except BaseException as error:
                error.add_note(row)
                raise


def test_what_is_refused_says_so(who: Newcomer) -> None:
    for option in ("--attest=type=sbom", "--sbom=true", "--provenance=true"):
        said = who.build(option, status=None)
        assert "attestations are not supported yet" in said
    text = PAGE.read_text()
    assert "`--attest`, `--sbom`, `--provenance`" in text


def test_words_that_are_none_say_what_does(who: Newcomer) -> None:
    assert "image history" in who.run("history", "app", status=2)
    done = subprocess.run(who.dockc.argv("ps"), env=who.dockc.environ(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
