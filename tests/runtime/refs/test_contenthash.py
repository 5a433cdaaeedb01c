"""Content digests: equal to the reference's, sensitive to what counts, remembered with refs."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.fsutil.hashtree import HashTree, Node
from dockc.runtime.refs import contenthash
from dockc.runtime.refs.contenthash import EMPTY, Selector, checksum_directory
from tests.golden.collect import recorded
from tests.runtime import file_trees
from tests.tools import calls, deepen

RECORDED = recorded("runtime/files", "checksums")


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    file_trees.need_root()
    base = tmp_path_factory.mktemp("checksums")
    return [file_trees.build(base / str(n), rows) for n, rows in enumerate(RECORDED["trees"])]


def selector(fields: dict[str, Any]) -> Selector:
    return Selector(
        fields["path"],
        wildcard=fields["wildcard"],
        follow_links=fields["follow"],
        include=tuple(fields.get("include", ())),
        exclude=tuple(fields.get("exclude", ())),
        required=tuple(fields.get("required", ())),
    )


@pytest.mark.root
@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: ascii(case[:2])[:70])
def test_as_recorded(case: tuple[int, dict[str, Any], str, str], trees: list[Path]) -> None:
    tree, fields, expected, error = case
    if error:
        with pytest.raises(FileError) as raised:
            checksum_directory(trees[tree], selector(fields))
        assert raised.value.message == error
    else:
        assert checksum_directory(trees[tree], selector(fields)) == expected


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "dir/sub").mkdir(parents=True)
    (tmp_path / "dir/file").write_text("text")
    (tmp_path / "dir/sub/deep").write_text("deep")
    (tmp_path / "link").symlink_to("dir/file")
    (tmp_path / "away").symlink_to("/etc/passwd")
    return tmp_path


def test_times_do_not_count_and_everything_else_does(tree: Path) -> None:
    before = checksum_directory(tree, Selector("dir"))
    os.utime(tree / "dir/file", ns=(1, 1))
    os.utime(tree / "dir", ns=(1, 1))
    assert checksum_directory(tree, Selector("dir")) == before
    seen = {before}
    for change in (
        lambda: (tree / "dir/file").chmod(0o600),
        lambda: (tree / "dir/sub").chmod(0o700),
        lambda: (tree / "dir/file").write_text("texT"),
        lambda: (tree / "dir/file").rename(tree / "dir/other"),
        lambda: (tree / "dir/empty").mkdir(),
        lambda: (tree / "dir/l").symlink_to("x"),
        lambda: os.setxattr(tree / "dir/other", "user.note", b"1"),
    ):
        change()
        digest = checksum_directory(tree, Selector("dir"))
        assert digest not in seen
        seen.add(digest)


def test_links_stay_inside_the_root(tree: Path) -> None:
    assert checksum_directory(tree, Selector("link", follow_links=True)) == checksum_directory(
        tree, Selector("dir/file")
    )
    assert checksum_directory(tree, Selector("link")) != checksum_directory(tree, Selector("dir/file"))
    with pytest.raises(FileError, match=r'^"/away": not found$'):
        checksum_directory(tree, Selector("away", follow_links=True))


def test_required_paths_are_found_without_asking_each_file(tmp_path: Path) -> None:
    def work(n: int) -> None:
        folder = tmp_path / str(n)
        folder.mkdir()
        for k in range(n):
            (folder / f"f{k:04}").touch()
        required = tuple(f"/f{k:04}" for k in range(n))
        assert calls(lambda: checksum_directory(folder, Selector("/", include=("*",), required=required))) <= 60 * n

    work(100)
    work(400)


def test_what_is_not_there(tree: Path) -> None:
    with pytest.raises(FileError, match=r'^"/missing": not found$'):
        checksum_directory(tree, Selector("missing"))
    with pytest.raises(FileError, match=r'^"/none": not found$'):
        checksum_directory(tree, Selector("/", include=("*",), required=("/none",)))
    assert checksum_directory(tree, Selector("*.none", wildcard=True)) == EMPTY
    (tree / "a").symlink_to("b")
    (tree / "b").symlink_to("a")
    with pytest.raises(FileError, match=r"^too many links$"):
        checksum_directory(tree, Selector("a", follow_links=True))


def test_a_near_miss_is_named(tree: Path) -> None:
    with pytest.raises(FileError) as raised:
        checksum_directory(tree, Selector("dir/fil"))
    assert raised.value.hint == 'Did you mean "/dir/file"?'
    with pytest.raises(FileError) as raised:
        checksum_directory(tree, Selector("nothing/like/it"))
    assert ".dockerignore" in raised.value.hint


def test_no_file_system_at_all() -> None:
    assert contenthash.checksum(None, Selector("/")) == EMPTY
    with pytest.raises(FileError, match=r"^/x: no such file or directory$"):
        contenthash.checksum(None, Selector("x"))


def test_cancelled(tree: Path) -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        checksum_directory(tree, Selector("/"), cancelled=event)


def test_nodes_survive_a_round_trip(tree: Path) -> None:
    odd = os.fsdecode(b"\xffodd\xc3")
    (tree / "dir" / odd).symlink_to(odd)
    from contextlib import nullcontext

    with HashTree(lambda: nullcontext(tree)) as hashes:
        found = hashes.find("/", follow=False)
        assert found is not None
        digest = hashes.digest(*found)
        data = found[1].encode()
    again = Node.decode(data)
    assert again is not None
    assert again.encode() == data
    assert again.tree == digest

    def mount() -> Any:
        raise AssertionError("nothing has to be read")

    with HashTree(mount, again) as remembered:
        assert remembered.find(f"/dir/{odd}", follow=False) is not None
        assert remembered.digest("/", again) == digest
        assert not remembered.changed


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x90", b"\x91\x93\x01\x02\x03", b"\xc1junk"])
def test_damaged_memory_is_no_memory(data: bytes) -> None:
    assert Node.decode(data) is None


def test_a_tree_of_great_depth(tmp_path: Path) -> None:
    os.close(deepen(tmp_path, 300))
    assert checksum_directory(tmp_path, Selector("/")).startswith("sha256:")


def test_a_link_to_nothing_is_called_one(tree: Path) -> None:
    (tree / "lost").symlink_to("/nowhere")
    with pytest.raises(FileError, match=r'^"/lost": not found$') as raised:
        checksum_directory(tree, Selector("lost", follow_links=True))
    assert raised.value.hint == 'It is a symbolic link to "/nowhere", which is not there.'


class _Ref:
    """As much of a ref as its tree needs."""

    def __init__(self, name: str, root: Path) -> None:
        self.id, self._root = name, root
        self.kept: bytes | None = None
        self.loads = 0

    def get_meta(self, _: str) -> bytes | None:
        self.loads += 1
        return self.kept

    def set_meta(self, _: str, data: bytes) -> None:
        self.kept = data

    def reading(self) -> AbstractContextManager[Path]:
        return nullcontext(self._root)


def test_large_trees_leave_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trees in memory have so many entries together, whatever the sizes of directories; their digests stay the same."""
    monkeypatch.setattr(contenthash, "_ENTRIES_IN_MEMORY", 100)
    trees = contenthash._Trees()
    refs = []
    for number, size in enumerate((30, 30, 30, 300, 5)):
        root = tmp_path / str(number)
        root.mkdir()
        for name in range(size):
            (root / str(name)).write_text(str(name))
        refs.append(_Ref(str(number), root))

    def digest(ref: _Ref) -> str:
        return trees.use(ref, None, lambda tree: contenthash._checksum(tree, "/", Selector()))  # type: ignore[arg-type]

    first = [digest(ref) for ref in refs[:3]]
    assert list(trees._known) == ["0", "1", "2"]
    first.append(digest(refs[3]))
    assert list(trees._known) == ["3"], "one that is too large alone stays until the next"
    first.append(digest(refs[4]))
    assert list(trees._known) == ["4"]
    assert trees._sizes == {"4": 6}
    assert [digest(ref) for ref in refs] == first
    assert refs[0].loads == 2
    monkeypatch.setattr(contenthash, "_SMALL", 40)
    digest(refs[3])
    trees.put("5", Node.directory())
    loads = [ref.loads for ref in refs]
    digest(refs[0])
    trees.rest()
    assert list(trees._known) == ["5"], "small ones are read again; what is not in the store stays"
    trees.use(refs[3], None, lambda tree: trees.rest())  # type: ignore[arg-type]
    trees.rest()
    assert "3" in trees._known, "a large one stays, and what is used"
    assert digest(refs[0]) == first[0]
    assert refs[0].loads == loads[0] + 2
    trees.put("4", Node.directory())
    assert "4" not in trees._sizes, "it is measured when somebody asks"
