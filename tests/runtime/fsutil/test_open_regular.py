"""What is no regular file keeps nobody waiting: pipes in the place of files of contexts, caches, stores, settings."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dockc.base.files import open_regular, read_inside
from dockc.client import caches, nodes
from dockc.engine import reading, settings
from dockc.errors import DockcError, UnsafePath
from dockc.runtime.content.store import ContentStore
from dockc.runtime.fsutil import inroot
from dockc.runtime.refs import inventory
from dockc.runtime.remotecache import writing
from dockc.runtime.source import resolve
from dockc.runtime.source.registry import LocalNames


def within(seconds: float, call: Callable[[], object]) -> object:
    """What a call gives or raises; a call that does not come back fails the test, and its thread is let go."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert found, "it waits for somebody to write into the pipe"
    return found[0]


READERS: dict[str, Callable[[Path], object]] = {
    "resolve": lambda root: resolve._read(root, "d/f"),
    "gateway": lambda root: reading.read_file(root, path="d/f"),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_a_pipe_swapped_in_between_look_and_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[Path], object]
) -> None:
    (tmp_path / "d").mkdir()
    file = tmp_path / "d/f"
    file.write_bytes(b"text")
    assert read(tmp_path) == b"text"
    look = inroot.Root.lstat

    def swapped(self: inroot.Root, path: str) -> os.stat_result | None:
        found = look(self, path)
        if path.endswith("f") and file.is_file():
            file.unlink()
            os.mkfifo(file)
        return found

    monkeypatch.setattr(inroot.Root, "lstat", swapped)
    error = within(10, lambda: read(tmp_path))
    assert isinstance(error, DockcError)
    assert error.message.endswith("d/f: not a regular file")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "d/f").mkdir(parents=True)
    with pytest.raises(DockcError, match="d/f: not a regular file"):
        read(tmp_path)
    (tmp_path / "d/f").rmdir()
    (tmp_path / "d/f").symlink_to("/outside")
    (tmp_path / "outside").write_text("inside")
    assert read(tmp_path) == b"inside", "links are read in the root"


def test_a_link_swapped_in_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("x")
    root = tmp_path / "root"
    root.mkdir()
    (root / "f").write_text("y")
    entry = inroot.open_entry

    def swapped(fd: int, name: str, *rest: Any) -> int:
        (root / "f").unlink()
        (root / "f").symlink_to("../secret")
        return entry(fd, name, *rest)

    monkeypatch.setattr(inroot, "open_entry", swapped)
    with inroot.Root(root) as opened, pytest.raises(UnsafePath):
        opened.open_regular("f")


def test_open_regular_by_path(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "file").write_text("x")
    assert isinstance(within(10, lambda: open_regular(tmp_path / "pipe")), OSError)
    for name, error in ((tmp_path, IsADirectoryError), (Path("/dev/zero"), OSError), (tmp_path / "no", FileNotFoundError)):
        with pytest.raises(error):
            open_regular(name)
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"x"
    with pytest.raises(OSError, match="symbolic links"):
        open_regular(tmp_path / "link", follow=False)
    reading_end, writing_end = os.pipe()
    os.write(writing_end, b"given")
    os.close(writing_end)
    with open_regular(f"/dev/fd/{reading_end}") as file:
        assert file.read() == b"given", "what a shell hands over may be a pipe"
    os.close(reading_end)


def test_pipes_in_many_places(tmp_path: Path) -> None:
    def pipe(name: str) -> Path:
        place = tmp_path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(place)
        return place

    cache = pipe("cache/index.json").parent
    assert "cannot read" in str(within(10, lambda: writing.index_of(cache)))
    assert within(10, lambda: caches._digest(cache, "latest")) == ""
    assert within(10, lambda: nodes._origin(str(pipe("repo/.git")))) == ""
    assert within(10, lambda: nodes._origin(str(pipe("bare/config").parent))) == ""
    ignored = pipe("context/.dockerignore")
    assert within(10, lambda: read_inside(ignored.parent, ".dockerignore")) is None
    assert "not a regular file" in str(within(10, lambda: settings._read(pipe("dockc.toml"), frozenset())))
    assert within(10, lambda: inventory.read(pipe(f"layer/{inventory.NAME}").parent)) is None

    content = ContentStore(tmp_path / "content")
    digest = content.put(b"x")
    blob = content.path(digest)
    blob.unlink()
    os.mkfifo(blob)
    assert within(10, lambda: content.has_sound(digest)) is False
    assert within(10, lambda: content.find(digest)) is None
    names = LocalNames(content)
    pipe(f"content/images/{'a' * 64}")
    assert within(10, lambda: list(names.built())) == []
