"""Builders by name: what a name may be, what may stand in the place of their file, and several commands at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dockc.client import builders
from dockc.errors import DockcError, UsageError

NOWHERE = builders.Node("unix:///nowhere")


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "dockc" / "builders.json"


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "a/b", "/abs", "n" * 65, "n" * 10_000, "-x", "a\nb", "a\x1b[2Jb", "\udcff", "default"],
)
def test_what_is_no_name(name: str) -> None:
    for make in (
        lambda: builders.create(name, NOWHERE),
        lambda: builders.append(name, NOWHERE),
        lambda: builders.remove(name),
    ):
        with pytest.raises(UsageError) as caught:
            make()
        assert len(caught.value.message) < 200
        assert caught.value.message.isprintable()
    assert builders.load() == builders.Builders()


@pytest.mark.parametrize(
    "text",
    ["{", "", "null", "[]", '"x"', '{"builders": 5}', '{"builders": {"a": {}}}', '{"builders": {"a": {"nodes": []}}}', "[" * 100_000, "{}" + " " * (1 << 20),
     '{"builders": {"a": {"nodes": [{"addr": "unix:///x", "weight": 1e999}]}}}', '{"builders": {"a": {"nodes": [{"addr": "unix:///x", "tls": 7}]}}}', "\xff\xfe"],
)  # fmt: skip
def test_a_file_that_is_none_of_dockcs_is_refused_and_left(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode("latin-1"))
    for do in (builders.load, lambda: builders.create("a", NOWHERE), lambda: builders.use("")):
        with pytest.raises(DockcError, match="is no list of builders") as caught:
            do()
        assert "Error" not in caught.value.message
        assert len(caught.value.message) < 400
    assert file.read_bytes() == text.encode("latin-1")


def test_what_else_may_stand_in_its_place(file: Path) -> None:
    file.parent.mkdir(parents=True)
    makes: list[Callable[[], None]] = [file.mkdir, lambda: os.mkfifo(file), lambda: file.symlink_to("/dev/zero")]
    for make in makes:
        make()
        with pytest.raises(DockcError, match="cannot read"):
            builders.load()
        file.rmdir() if file.is_dir() else file.unlink()
    file.parent.rmdir()
    file.parent.write_text("")
    assert builders.load() == builders.Builders()
    with pytest.raises(DockcError, match="cannot write"):
        builders.create("a", NOWHERE)


def test_weights_and_the_chosen_one_that_is_gone(file: Path) -> None:
    file.parent.mkdir(parents=True)
    node = {"addr": "unix:///x", "weight": 10**30}
    file.write_text(json.dumps({"builders": {"a": {"nodes": [node]}}, "current": "gone"}))
    assert builders.load().nodes["a"][0].weight == 1000
    with pytest.raises(UsageError, match="no builder gone"):
        builders.find(builders.load().current)
    builders.use("")
    assert not builders.load().current


def test_several_at_once_lose_nothing(file: Path) -> None:
    code = "import sys; from dockc.client import builders as b; n = sys.argv[1]; [b.create(f'b{n}-{i}', b.Node(f'unix:///{n}/{i}')) for i in range(5)]"
    env = {**os.environ, "PYTHONPATH": str(Path(builders.__file__).parents[2])}
    for process in [subprocess.Popen([sys.executable, "-c", code, str(n)], env=env) for n in range(6)]:
        assert process.wait(60) == 0
    assert len(builders.load().nodes) == 30


@pytest.mark.parametrize(
    "words",
    [
        ("use", "a", "--default"),
        ("use", "a", "--global"),
        ("rm", "-f", "a"),
        ("rm", "--force", "--keep-state", "--keep-daemon", "a"),
    ],
)
def test_words_of_buildx_that_ask_for_what_is_anyway(file: Path, words: tuple[str, ...]) -> None:
    builders.create("a", NOWHERE)
    done = subprocess.run(
        [sys.executable, "-m", "dockc", "builder", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert builders.load().current == ("a" if words[0] == "use" else "")


def test_a_builder_that_is_to_be_ready(file: Path) -> None:
    builders.create("a", NOWHERE)
    done = subprocess.run(
        [sys.executable, "-m", "dockc", "builder", "inspect", "--bootstrap", "a"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "the builder a does not answer" in done.stderr
