"""Doctor finds what was changed in layers, and gets a store going again whatever has happened to its files."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockc.errors import StoreError
from dockc.oci.descriptor import Descriptor
from dockc.oci.reference import parse_normalized
from dockc.runtime.archive.compress import Compression
from dockc.runtime.refs import inventory, recovery
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.privacy import OWN_FOLDERS
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.refs.types import RemoteOptions
from dockc.runtime.source.registry import LocalNames
from dockc.runtime.store import ballast
from dockc.runtime.store.doctor import Problem, Report, examine
from dockc.runtime.store.salvage import examine_files
from dockc.solver.cache.storage.base import CacheLink, CacheResult
from dockc.solver.cache.storage.sqlite import SqliteKeyStorage
from tests.runtime.refs.test_refs import names, step
from tests.runtime.store_helpers import Row, folder, layer, make_tar, symlink, write

GZIP = Compression("gzip", 1)


@pytest.fixture
def refs(tmp_path: Path) -> Iterator[RefManager]:
    with RefManager(tmp_path / "store", snapshotter_name="native") as manager:
        yield manager


def changes(refs: RefManager, ref: ImmutableRef) -> Path:
    return refs.root / "snapshots" / ref.id / "fs"


def rewrite(path: Path) -> None:
    """Other bytes, the same size and time: what only reading them can tell."""
    status = path.stat()
    path.write_bytes(bytes(byte ^ 1 for byte in path.read_bytes()))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("elsewhere")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "content": (lambda fs: rewrite(fs / "d/f"), "d/f: its content has changed"),
    "edited": (lambda fs: (fs / "d/f").write_text("other"), "d/f: it "),
    "gone": (lambda fs: (fs / "d/f").unlink(), "d/f: is gone"),
    "replaced": (lambda fs: replace_by_link(fs / "d/f"), "d/f: was a file and is a symbolic link"),
    "mode": (lambda fs: (fs / "d/f").chmod(0o4755), "d/f: its mode was 0644 and is 4755"),
    "added": (lambda fs: (fs / "d/new").touch(), "d/new: was not there"),
    "link": (lambda fs: replace_by_link(fs / "l"), "l: it leads elsewhere"),
    "folder gone": (lambda fs: shutil.rmtree(fs / "d"), "d: is gone"),
}


def damaged(report: Report) -> list[str]:
    return [finding.message for finding in report.findings if finding.problem is Problem.LAYER_CHANGED]


@pytest.mark.parametrize("what", DAMAGE)
def test_changes_of_an_images_layer_are_found_and_undone(refs: RefManager, what: str) -> None:
    image = refs.from_layers([layer(refs, make_tar([folder("d"), Row("d/f", b"good"), symlink("l", "d/f")]), GZIP)])
    assert names(image) == ["d", "d/f", "l"]
    assert examine(refs).healthy
    damage, said = DAMAGE[what]
    damage(changes(refs, image))
    found = damaged(examine(refs))
    assert len(found) == 1 and said in found[0]
    assert not any(finding.fixed for finding in examine(refs, fix=True).findings), "a build holds it"
    image.release()
    assert examine(refs, fix=True).healthy
    assert examine(refs, full=True).findings == ()
    with refs.get(image.id) as again, again.mount() as root:
        assert (root / "d/f").read_bytes() == b"good" and (root / "l").readlink() == Path("d/f")


def test_what_a_step_made_is_forgotten_with_all_that_stands_on_it(refs: RefManager) -> None:
    base = step(refs, None, write(a="1"))
    top = step(refs, base, write(b="2"))
    rewrite(changes(refs, base) / "a")
    base.release()
    top.release()
    assert examine(refs, fix=True).healthy
    assert not refs.exists(base.id) and not refs.exists(top.id)
    assert examine(refs).findings == ()


def test_a_step_with_a_blob_is_unpacked_again(refs: RefManager) -> None:
    made = step(refs, None, write(a="1"))
    made.remote(RemoteOptions(GZIP))
    rewrite(changes(refs, made) / "a")
    made.release()
    assert examine(refs, fix=True).healthy
    with refs.get(made.id) as again, again.mount() as root:
        assert (root / "a").read_text() == "1"


def test_content_that_was_too_large_to_be_read_is_compared_with_the_blob(
    refs: RefManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "_BYTES", 10)
    image = refs.from_layers([layer(refs, make_tar([Row("big", b"x" * 5000), Row(".wh.z")]), GZIP)])
    names(image)
    assert examine(refs, full=True).healthy
    rewrite(changes(refs, image) / "big")
    assert examine(refs).healthy
    assert damaged(examine(refs, full=True)) == ["big: its content is not that of the layer's blob"]


def test_large_layers_are_sampled(refs: RefManager, monkeypatch: pytest.MonkeyPatch) -> None:
    made = step(refs, None, write(**{f"f{n}": str(n) for n in range(60)}))
    looked = 0
    differs = inventory._differs

    def counted(*args: object, **kwargs: object) -> str:
        nonlocal looked
        looked += 1
        return differs(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(inventory, "_differs", counted)
    monkeypatch.setattr(inventory, "_SAMPLE", 20)
    assert examine(refs).healthy
    assert looked == 20
    assert examine(refs, full=True).healthy
    assert looked == 20 + 61
    (changes(refs, made) / "extra").touch()
    assert damaged(examine(refs, full=True))


# --- stores that cannot be opened ----------------------------------------------------------------


def filled(root: Path) -> tuple[str, str]:
    """A store with an image, a step on it, a merge and a step on that; ids of the two steps."""
    with RefManager(root, snapshotter_name="native") as refs:
        image = refs.from_layers([layer(refs, make_tar([Row("base", b"b")]), GZIP)], description="image")
        first = step(refs, image, write(first="1"))
        other = step(refs, None, write(other="2"))
        merged = refs.merge([first, other])
        last = step(refs, merged, write(last="3"))
        keys = SqliteKeyStorage(root / "cache.db")
        for number, ref in enumerate((first, last)):
            keys.add_result(f"key{number}", CacheResult(ref.id, 1))
            keys.add_link("source", CacheLink(number, 0, "sha256:op"), f"key{number}")
        keys.close()
        return first.id, last.id


def usable(root: Path) -> list[Report]:
    """Get the store going as `dockc doctor --fix` does; then work with it."""
    found = examine_files(root, fix=True)
    assert all(fixed for _, _, fixed in found)
    assert examine_files(root, fix=False) == []
    with RefManager(root, snapshotter_name="native") as refs:
        keys = SqliteKeyStorage(root / "cache.db")
        reports = [examine(refs, keys=keys, fix=True), examine(refs, keys=keys, full=True)]
        assert reports[0].healthy and reports[1].findings == ()
        image = refs.from_layers([layer(refs, make_tar([Row("new", b"n")]), GZIP)])
        assert names(step(refs, image, write(x="1"))) == ["new", "x"]
        keys.close()
    return reports


def zeros(path: Path, at: int, count: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(count))


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


FILES: dict[str, Callable[[Path], object]] = {
    "header": lambda path: zeros(path, 0, 16),
    "first page": lambda path: zeros(path, 0, 4096),
    "second page": lambda path: zeros(path, 4096, 4096),
    "half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "text": lambda path: path.write_text("what is this?\n" * 999),
    "directory": lambda path: replace_by_directory(path),
}


@pytest.mark.parametrize("name", ["store.db", "cache.db"])
@pytest.mark.parametrize("what", FILES)
def test_any_damage_of_a_database_is_mended(tmp_path: Path, name: str, what: str) -> None:
    root = tmp_path / "store"
    first, last = filled(root)
    FILES[what](root / name)
    if (name, what) not in {("cache.db", "empty"), ("cache.db", "gone")}:
        assert [subject for subject, _, _ in examine_files(root, fix=False)] == [name]
    usable(root)
    with RefManager(root, snapshotter_name="native") as refs:
        assert names(refs.get(first)) == ["base", "first"], "what is on disk and sound is known again"
        assert names(refs.get(last)) == ["base", "first", "last", "other"]
        keys = SqliteKeyStorage(root / "cache.db")
        assert (name == "cache.db") or sorted(keys.result_ids()) == sorted((first, last))
        keys.close()


def test_cache_directories_survive_a_damaged_database(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with RefManager(root, snapshotter_name="native") as refs, refs.cache_dir("key") as place:
        (place / "kept").touch()
    with sqlite3.connect(root / "store.db") as database:
        page = database.execute("SELECT rootpage FROM sqlite_master WHERE name = 'parent_of'").fetchone()[0]
    database.close()
    zeros(root / "store.db", (page - 1) * 4096, 100)
    usable(root)
    with RefManager(root, snapshotter_name="native") as refs, refs.cache_dir("key") as place:
        assert (place / "kept").exists()


def test_what_cannot_be_proven_is_dropped(tmp_path: Path) -> None:
    root = tmp_path / "store"
    first, last = filled(root)
    (root / "store.db").unlink()
    rewrite(root / "snapshots" / first / "fs" / "first")
    usable(root)
    with RefManager(root, snapshotter_name="native") as refs:
        assert not refs.exists(first) and not refs.exists(last)


def test_nothing_is_mended_under_a_running_build(tmp_path: Path) -> None:
    root = tmp_path / "store"
    filled(root)
    with RefManager(root, snapshotter_name="native"):
        zeros(root / "cache.db", 0, 16)
        with pytest.raises(StoreError, match="other processes use it"):
            examine_files(root, fix=True)
    assert len(examine_files(root, fix=True)) == 1


@pytest.mark.parametrize("what", ["leases file", "leases garbage", "locks file", "staging file", "snapshots gone",
                                  "blobs gone", "blob garbage", "blob directory", "flights directory", "content gone"])  # fmt: skip
def test_other_damage_is_mended(tmp_path: Path, what: str) -> None:
    root = tmp_path / "store"
    filled(root)
    blob = next((root / "content/blobs/sha256").iterdir())
    name, _, how = what.partition(" ")
    if how == "file":
        shutil.rmtree(root / name)
        (root / name).write_text("?")
    elif what == "leases garbage":
        (root / "leases" / "1-x").write_bytes(os.urandom(99))
        (root / "leases" / ".y").touch()
    elif what == "blob garbage":
        blob.chmod(0o600)
        blob.write_bytes(os.urandom(50))
    elif what == "blob directory":
        blob.unlink()
        blob.mkdir()
        (blob / "x").touch()
    elif what == "flights directory":
        (root / "flights.lock").mkdir()
    else:
        shutil.rmtree(root / {"blobs": "content/blobs/sha256"}.get(name, name))
    usable(root)


WRONG: dict[str, Callable[[Path], object]] = {
    "directory": lambda path: (path / "x").mkdir(parents=True),
    "pipe": lambda path: os.mkfifo(path),
    "link": lambda path: path.symlink_to("/nonexistent/file"),
    "loop": lambda path: path.symlink_to(path),
}
PLACES = ("store.db", "store.db-wal", "store.db-shm", "store.db-journal", "cache.db", "cache.db-wal", "ballast", "flights.lock",
          "spare", "leases/1-a", "leases/.1-a", "locks/recovery", "locks/prune", "content/ingest/new-a", "content/images/a1",
          "content/oci-layout", "content/index.json", "content/blobs/sha256", "staging/x", "snapshots/x", "squashed/x.lock")  # fmt: skip


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("place", PLACES)
def test_what_stands_in_the_place_of_a_file(tmp_path: Path, place: str, kind: str) -> None:
    root = tmp_path / "store"
    filled(root)
    path = root / place
    path.parent.mkdir(exist_ok=True)
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    WRONG[kind](path)
    usable(root)
    with RefManager(root, snapshotter_name="native") as refs:
        refs.prune()
        assert examine(refs).findings == ()
        assert place == "content/blobs/sha256" or not path.is_fifo()


def replaced(refs: RefManager, kind: str) -> tuple[ImmutableRef, str, Path]:
    """A result, with the digest and the place of its blob, where something else stands now."""
    made = step(refs, None, write(a="1"))
    (blob,) = made.remote().layers
    path = refs.content.path(blob.descriptor.digest)
    path.unlink()
    WRONG[kind](path)
    return made, blob.descriptor.digest, path


@pytest.mark.parametrize("kind", WRONG)
def test_what_stands_in_the_place_of_a_blob(refs: RefManager, kind: str) -> None:
    made, _, path = replaced(refs, kind)
    report = examine(refs)
    assert {finding.problem for finding in report.findings} == {Problem.BLOB_DAMAGED, Problem.BLOB_MISSING}
    assert not any("Errno" in finding.message for finding in report.findings)
    assert examine(refs, fix=True).healthy
    assert examine(refs).findings == ()
    assert not os.path.lexists(path)
    assert refs.content.has_sound(made.remote().layers[0].descriptor.digest)


@pytest.mark.parametrize("kind", WRONG)
def test_a_build_that_meets_it_makes_the_blob_anew(refs: RefManager, kind: str) -> None:
    made, digest, _ = replaced(refs, kind)
    assert not refs.content.has_sound(digest)
    assert refs.content.has_sound(made.remote().layers[0].descriptor.digest)


def test_a_link_in_the_staging_room_leads_nowhere(tmp_path: Path) -> None:
    """What a dead process mounted is unmounted, and nothing that lies behind a link."""
    root = tmp_path / "store"
    filled(root)
    (root / "staging" / "1-a").symlink_to("/")
    looked: list[str] = []

    def looking(path: Path) -> list[Path]:
        looked.append(path.name)
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "mounted_below", looking)
        RefManager(root, snapshotter_name="native").close()
    assert "1-a" not in looked
    assert not os.path.lexists(root / "staging" / "1-a")


@pytest.mark.parametrize("place", ["leases", "locks", "staging", "squashed", "snapshots", "spare", "content/ingest", "content/images"])
def test_a_directory_behind_a_link_is_never_touched(tmp_path: Path, place: str) -> None:
    """Everything that nobody knows in a store's directories is removed: not of a directory that is somebody else's."""
    root, other = tmp_path / "store", tmp_path / "other"
    filled(root)
    (other / "folder").mkdir(parents=True)
    for name in ("new-file", "0", "folder/file", "x.lock"):
        (other / name).write_text("mine")
    os.mkfifo(other / "pipe")
    before = sorted(map(str, other.rglob("*")))
    (root / "content/images").mkdir(exist_ok=True)
    if (root / place).exists():
        (root / place).rename(root / "away")
    (root / place).symlink_to(other)
    if place in OWN_FOLDERS:
        with pytest.raises(StoreError, match="is a link"):
            RefManager(root)
    ballast.borrow(root)
    ballast.lay(root, 4096)
    assert (place, "it is a link", False) in examine_files(root, fix=False)
    usable(root)
    assert sorted(map(str, other.rglob("*"))) == before


def test_names_that_are_lost(refs: RefManager) -> None:
    names = LocalNames(refs.content)
    digest = refs.content.put(b"{}")
    names.put(parse_normalized("here:1"), Descriptor("x", digest, 2), built=True)
    names.put(parse_normalized("gone:1"), Descriptor("x", f"sha256:{'0' * 64}", 2), built=True)
    (refs.content.root / "images" / "ab").write_bytes(b"\xff\0")
    found = {(one.problem, one.subject) for one in examine(refs).findings}
    assert found == {(Problem.NAME_DAMAGED, "ab"), (Problem.IMAGE_MISSING, "gone:1")}
    assert examine(refs, fix=True).healthy
    assert examine(refs).findings == ()
    assert [ref.familiar() for ref, _ in names.built()] == ["here:1"]


def test_a_database_is_made_anew_beside_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a kill, in the middle loses nothing."""
    root = tmp_path / "store"
    filled(root)
    zeros(root / "store.db", 0, 16)
    before = (root / "store.db").read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="is full"):
        patch.setattr(shutil, "copyfile", full)
        examine_files(root, fix=True)
    assert (root / "store.db").read_bytes() == before
    assert not list(root.glob("store.db.*"))
    usable(root)


ROWS = {
    "no parents": "DROP TABLE parent",
    "parents lost": "DELETE FROM parent",
    "another parent": "UPDATE parent SET parent = (SELECT id FROM record WHERE id NOT IN (SELECT record FROM parent) LIMIT 1)",
    "annotations": "UPDATE blob SET annotations = '{'",
    "digest": "UPDATE blob SET digest = 'sha256:zz'",
    "size": "UPDATE record SET size = 'large'",
    "type": "UPDATE record SET record_type = 'none'",
    "kind": "UPDATE record SET kind = 'none'",
    "state": "UPDATE record SET state = 'none'",
    "no holds": "DROP TABLE hold",
    "columns": "ALTER TABLE record RENAME COLUMN retain TO retaim",
    "no text": "UPDATE record SET description = CAST(x'ff00' AS TEXT)",
    "on itself": "UPDATE parent SET parent = record",
    "ring": "INSERT OR REPLACE INTO parent SELECT parent, 9, record FROM parent",
}


@pytest.mark.parametrize("what", ROWS)
def test_rows_that_cannot_be(tmp_path: Path, what: str) -> None:
    """SQLite finds nothing wrong with them; what stands on lost layers is never taken for the whole."""
    root = tmp_path / "store"
    first, last = filled(root)
    with sqlite3.connect(root / "store.db") as database:
        database.execute(ROWS[what])
    database.close()
    whole = what not in {"parents lost", "another parent"}  # which a database can say, and inventories gainsay
    assert bool(examine_files(root, fix=False)) == whole
    reports = usable(root)
    assert whole or {finding.problem for finding in reports[0].findings} >= {Problem.PARENT_MISSING}
    with RefManager(root, snapshotter_name="native") as refs:
        for name, files in ((first, ["base", "first"]), (last, ["base", "first", "last", "other"])):
            assert names(refs.get(name)) == files if whole or refs.exists(name) else not whole
