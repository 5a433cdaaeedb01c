"""What a layer says of its change directory: the entries that BuildKit's layers have."""

from __future__ import annotations

import os
import socket
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from dockc.runtime.fsutil import marks
from dockc.runtime.snapshot.changes import layer_changes
from dockc.runtime.snapshot.tarwrite import write_layer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts and opaque marks need uid 0")

WHEN = 1_600_000_000


def make(root: Path, *names: str) -> Path:
    """A tree with fixed times; names that end in a slash are directories."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_text(name.rpartition("/")[2])
    for path in [*root.rglob("*"), root]:
        os.utime(path, (WHEN, WHEN))
    return root


def gone(layer: Path, *names: str) -> None:
    for name in names:
        os.mknod(layer / name, 0o020000, 0)


def told(layer: Path, lower: Path | None) -> list[str]:
    """Members of the layer's tar, hard links as `name -> target`."""
    out = BytesIO()
    write_layer(layer_changes(layer, lower), out.write)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        return [f"{info.name} -> {info.linkname}" if info.islnk() else info.name for info in archive]


def test_what_an_opaque_directory_hides_is_named(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/same", "d/other", "d/in/x", "d/in/y", "d/sub/z", "e/f")
    layer = make(tmp_path / "layer", "d/same", "d/new", "d/in/x")
    marks.set_opaque(str(layer / "d"), "trusted.overlay.opaque")
    assert told(layer, lower) == ["d", "d/in", "d/in/.wh.y", "d/new", "d/.wh.other", "d/.wh.sub"]


def test_an_opaque_directory_over_nothing_is_a_new_one(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "f")
    layer = make(tmp_path / "layer", "d/a", "f/b")
    for name in "df":
        marks.set_opaque(str(layer / name), "trusted.overlay.opaque")
    assert told(layer, lower) == ["d", "d/a", "f", "f/b"]
    assert told(layer, None) == ["d", "d/a", "f", "f/b"]


def test_removals_of_what_was_never_there_are_left_out(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/a")
    layer = make(tmp_path / "layer", "d/")
    gone(layer, "d/a", "d/b", "c")
    assert told(layer, lower) == ["d", "d/.wh.a"]


def test_a_difference_for_anything_keeps_its_removals(tmp_path: Path) -> None:
    layer = make(tmp_path / "layer", "d/")
    gone(layer, "d/a", "d/b", "c")
    assert told(layer, None) == [".wh.c", "d", "d/.wh.a", "d/.wh.b"]


def test_a_further_name_is_a_file_of_its_own(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "a")
    layer = make(tmp_path / "layer", "a")
    (layer / "b").hardlink_to(layer / "a")
    (layer / "c").hardlink_to(layer / "a")
    assert told(layer, lower) == ["b", "c -> b"]


def test_names_in_a_replaced_directory_link_to_the_new_one(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/a", "d/z")
    layer = make(tmp_path / "layer", "d/a")
    (layer / "d/b").hardlink_to(layer / "d/a")
    (layer / "d/z").write_text("z")
    os.utime(layer / "d/z", (WHEN, WHEN))
    marks.set_opaque(str(layer / "d"), "trusted.overlay.opaque")
    assert told(layer, lower) == ["d", "d/b", "d/a -> d/b"]


def test_times_of_directories_and_user_attributes_are_no_changes(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/e/f", "g")
    layer = make(tmp_path / "layer", "d/e/", "g")
    os.utime(layer / "d/e", (0, 0))
    os.setxattr(layer / "g", "user.a", b"b")
    assert told(layer, lower) == []
    (layer / "d/e").chmod(0o700)
    assert told(layer, lower) == ["d", "d/e"]


def test_times_of_files_count_to_the_fraction(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "a", "b")
    layer = make(tmp_path / "layer", "a", "b")
    os.utime(layer / "b", ns=(WHEN * 10**9, WHEN * 10**9 + 1))
    assert told(layer, lower) == ["b"]


def test_new_data_of_an_equal_time_is_seen(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "a")
    layer = make(tmp_path / "layer", "a")
    (layer / "a").write_text("b")
    for root in (lower, layer):
        os.utime(root / "a", ns=(WHEN * 10**9, WHEN * 10**9 + 5))
    assert told(layer, lower) == ["a"]


def test_a_socket_brings_no_directory_along(tmp_path: Path) -> None:
    lower = make(tmp_path / "lower", "d/e/")
    layer = make(tmp_path / "layer", "d/e/")
    os.chdir(layer)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("d/e/s")
        assert told(layer, lower) == []


def test_capabilities_are_the_one_attribute_that_is_kept(tmp_path: Path) -> None:
    layer = make(tmp_path / "layer", "a")
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    os.setxattr(layer / "a", "security.capability", value)
    os.setxattr(layer / "a", "user.x", b"y")
    (layer / "b").hardlink_to(layer / "a")
    out = BytesIO()
    write_layer(layer_changes(layer, None), out.write)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        for name in "ab":
            headers = archive.getmember(name).pax_headers
            assert [key for key in headers if "xattr" in key] == ["SCHILY.xattr.security.capability"]
