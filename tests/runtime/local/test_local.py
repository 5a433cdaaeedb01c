"""The local source: what of a user's directory comes into the store, and what a second build does again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from dockc.errors import SolveError
from dockc.golang.modes import to_go
from dockc.llb import attrs
from dockc.rpc.pb import session_pb2
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil import data, filehash, inroot
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.refs import contenthash
from dockc.runtime.refs.contenthash import Selector
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.session.files import LOCALS, HostDirectory
from dockc.runtime.source import arrival, local, localsync
from dockc.runtime.source.base import SourceKey
from dockc.runtime.source.local import LocalSource, parse_options, snapshot
from dockc.solver.lent import Key
from tests.runtime.store_helpers import need_mounts
from tests.tools import need_root

T = TypeVar("T")

OLD = 1_600_000_000_000_000_000


@pytest.fixture(params=["overlay", "native"])
def refs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RefManager]:
    need_mounts()
    with RefManager(tmp_path / "store", snapshotter_name=request.param) as manager:
        yield manager


@pytest.fixture
def context(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "src/deep").mkdir(parents=True)
    (root / "src/main.py").write_text("print(1)\n")
    (root / "src/deep/data").write_bytes(b"\x00" * 5000)
    (root / "README").write_text("read me\n")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    age(root)
    return root


def age(root: Path) -> None:
    """Let everything look old, so that no file is too young to be trusted."""
    for path in [*root.rglob("*"), root]:
        os.utime(path, ns=(OLD, OLD), follow_symlinks=False)


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a test have just been made; the rule for young files has a test of its own."""
    monkeypatch.setattr(localsync, "_RACY_NS", -(10**18))


def bring(refs: RefManager, directory: Path, **attributes: Any) -> ImmutableRef:
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in attributes.items()}
    names = {
        "include": attrs.LOCAL_INCLUDE,
        "exclude": attrs.LOCAL_EXCLUDE,
        "follow": attrs.LOCAL_FOLLOW,
        "differ": attrs.LOCAL_DIFFER,
        "hint": attrs.LOCAL_SHARED_KEY_HINT,
    }
    return snapshot(refs, directory, parse_options("context", {names[k]: v for k, v in values.items()}))


def listing(ref: ImmutableRef) -> dict[str, str]:
    """Path to content; directories end with a slash, links show their target."""
    found: dict[str, str] = {}
    with ref.mount() as root:
        for path in sorted(root.rglob("*")):
            name = str(path.relative_to(root))
            if path.is_symlink():
                found[name] = f"-> {path.readlink()}"
            elif path.is_dir():
                found[name + "/"] = ""
            else:
                found[name] = path.read_text() if path.is_file() else "special"
    return found


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose data is hashed."""
    names: list[str] = []
    real = filehash._hash_data

    def spy(fd: int, name: str, *rest: Any) -> int:
        names.append(name)
        return real(fd, name, *rest)

    monkeypatch.setattr(filehash, "_hash_data", spy)
    return names


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that are written."""
    paths: list[str] = []
    real = localsync.Copier.run

    def spy(self: localsync.Copier, changes: localsync.Changes, old: Any) -> None:
        paths.extend(changes.written)
        real(self, changes, old)

    monkeypatch.setattr(localsync.Copier, "run", spy)
    return paths


pytestmark = pytest.mark.root


def test_everything_comes_as_roots_with_its_times_and_modes(refs: RefManager, context: Path) -> None:
    os.chown(context / "README", 1234, 2345)
    os.utime(context / "README", ns=(OLD, OLD))
    with bring(refs, context) as ref, ref.mount() as root:
        assert (root / "README").read_text() == "read me\n"
        status = (root / "README").stat()
        assert (status.st_uid, status.st_gid, status.st_mtime_ns) == (0, 0, OLD)
        assert stat.S_IMODE((root / "run.sh").stat().st_mode) == 0o755
        assert (root / "src").stat().st_mtime_ns == OLD
        assert (root / "src/deep").stat().st_mtime_ns == OLD


def test_a_second_build_copies_and_hashes_nothing(
    refs: RefManager, context: Path, copied: list[str], hashed: list[str]
) -> None:
    first = bring(refs, context)
    digest = contenthash.checksum(first, Selector())
    assert hashed == [], "each was hashed as it was copied, and is read no second time"
    with first.mount() as root:
        assert contenthash.checksum_directory(root, Selector(path="src")) == contenthash.checksum(first, Selector(path="src"))
        assert len(hashed) == 2
    copied.clear()
    hashed.clear()
    second = bring(refs, context)
    assert second.id == first.id
    assert contenthash.checksum(second, Selector()) == digest
    assert (copied, hashed) == ([], [])


def test_only_what_changed_is_copied_and_hashed(
    refs: RefManager, context: Path, copied: list[str], hashed: list[str]
) -> None:
    first = bring(refs, context)
    before = contenthash.checksum(first, Selector())
    copied.clear()
    hashed.clear()
    (context / "src/main.py").write_text("print(2)\n")
    (context / "src/new").write_text("new")
    (context / "run.sh").unlink()
    second = bring(refs, context)
    assert listing(second) == {
        "README": "read me\n",
        "src/": "",
        "src/deep/": "",
        "src/deep/data": "\x00" * 5000,
        "src/main.py": "print(2)\n",
        "src/new": "new",
    }
    assert copied == ["src/main.py", "src/new"]
    after = contenthash.checksum(second, Selector())
    assert hashed == []
    with second.mount() as root:
        assert contenthash.checksum_directory(root, Selector(path="src")) == contenthash.checksum(second, Selector(path="src"))
    assert after != before
    with second.mount() as root:
        assert contenthash.checksum_directory(root, Selector("/src")) == contenthash.checksum(second, Selector("/src"))
    assert listing(first)["src/main.py"] == "print(1)\n"


def test_the_digest_is_that_of_the_content(refs: RefManager, context: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    subprocess.run(["cp", "-r", str(context), str(other)], check=True)
    with bring(refs, context) as one, bring(refs, other) as two:
        assert one.id != two.id
        assert contenthash.checksum(one, Selector()) == contenthash.checksum(two, Selector())


def test_after_many_changes_everything_is_copied_afresh(refs: RefManager, context: Path) -> None:
    depth = []
    for number in range(arrival.MAX_LAYERS + 3):
        (context / "README").write_text(f"{number}\n")
        with bring(refs, context) as ref:
            depth.append(len(ref.layers()))
            assert listing(ref)["README"] == f"{number}\n"
    assert max(depth) == arrival.MAX_LAYERS
    assert depth[-1] < arrival.MAX_LAYERS


def test_types_that_change(refs: RefManager, context: Path) -> None:
    for n in range(6):
        (context / f"filler{n}").write_text("x")
    bring(refs, context).release()
    (context / "README").unlink()
    (context / "README").mkdir()
    (context / "README/inner").write_text("now a directory")
    subprocess.run(["rm", "-r", str(context / "src")], check=True)
    (context / "src").symlink_to("README")
    (context / "run.sh").unlink()
    os.mkfifo(context / "run.sh")
    with bring(refs, context) as ref:
        found = listing(ref)
        assert found["README/inner"] == "now a directory"
        assert found["src"] == "-> README"
        assert found["run.sh"] == "special"
        assert not any(name.startswith("src/") for name in found)


def test_a_young_file_is_copied_again(
    refs: RefManager, context: Path, copied: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localsync, "_RACY_NS", 10**10)
    (context / "README").write_text("just written")
    bring(refs, context).release()
    copied.clear()
    bring(refs, context).release()
    assert "README" in copied


def test_ignored_and_wanted(refs: RefManager, context: Path) -> None:
    with bring(refs, context, exclude=["src/**", "!src/deep", "*.sh"]) as ref:
        assert set(listing(ref)) == {"README", "src/", "src/deep/", "src/deep/data"}
    with bring(refs, context, include=["src/deep"]) as ref:
        assert set(listing(ref)) == {"src/", "src/deep/", "src/deep/data"}


def test_only_what_is_asked_for_is_read(refs: RefManager, context: Path) -> None:
    (context / "secret").mkdir(mode=0o700)
    (context / "secret/key").write_text("k")
    opened: list[str] = []

    def note(event: str, args: tuple[object, ...]) -> None:
        if event == "open" and recording:
            opened.append(str(args[0]))

    recording = False
    sys.addaudithook(note)
    recording = True
    with bring(refs, context, follow=["src/main.py"]) as ref:
        recording = False
        assert set(listing(ref)) == {"src/", "src/main.py"}
    assert not any(name in ("key", "secret", "README", "data") for name in opened)


def test_a_followed_path_brings_its_links_and_their_targets(refs: RefManager, context: Path) -> None:
    (context / "link").symlink_to("src/inner")
    (context / "src/inner").symlink_to("/src/deep")
    with bring(refs, context, follow=["link/data"]) as ref:
        assert listing(ref) == {
            "link": "-> src/inner",
            "src/": "",
            "src/inner": "-> /src/deep",
            "src/deep/": "",
            "src/deep/data": "\x00" * 5000,
        }


def test_links_out_of_the_context_stay_links(refs: RefManager, context: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_text("secret")
    (context / "up").symlink_to("../outside")
    (context / "absolute").symlink_to(str(tmp_path / "outside"))
    (context / "passwd").symlink_to("/etc/passwd")
    with bring(refs, context, follow=["up/secret", "absolute/secret", "passwd", "../outside"]) as ref:
        found = listing(ref)
    assert found["up"] == "-> ../outside"
    assert found["absolute"] == f"-> {tmp_path / 'outside'}"
    assert found["passwd"] == "-> /etc/passwd"
    assert "secret" not in str([value for value in found.values() if not value.startswith("->")])
    assert not any("outside" in name for name in found)


def test_hard_links_stay_links(refs: RefManager, context: Path) -> None:
    (context / "again").hardlink_to(context / "README")
    (context / "src/third").hardlink_to(context / "README")
    with bring(refs, context) as ref, ref.mount() as root:
        inodes = {(root / name).stat().st_ino for name in ("README", "again", "src/third")}
        assert len(inodes) == 1
    (context / "README").write_text("changed through one name")
    with bring(refs, context) as ref, ref.mount() as root:
        assert (root / "src/third").read_text() == "changed through one name"
        assert len({(root / name).stat().st_ino for name in ("README", "again", "src/third")}) == 1


def test_sockets_become_empty_files(refs: RefManager, context: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(context / "socket"))
        with bring(refs, context) as ref, ref.mount() as root:
            assert (root / "socket").is_file()
            assert (root / "socket").read_bytes() == b""
        with bring(refs, context) as again:
            assert again.id == ref.id


def test_attributes_come_along(refs: RefManager, context: Path) -> None:
    try:
        os.setxattr(context / "README", "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has no user attributes")
    with bring(refs, context) as ref, ref.mount() as root:
        assert os.getxattr(root / "README", "user.note") == b"kept"


def test_names_that_are_not_utf8(refs: RefManager, context: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (context / name).write_text("latin")
    (context / "l").symlink_to(name)
    with bring(refs, context) as ref, ref.mount() as root:
        assert (root / name).read_text() == "latin"
    with bring(refs, context) as again:
        assert again.id == ref.id


def test_comparison_can_be_switched_off(refs: RefManager, context: Path, copied: list[str]) -> None:
    bring(refs, context, differ="none").release()
    copied.clear()
    bring(refs, context, differ="none").release()
    assert "README" in copied


def test_a_damaged_memory_is_no_memory(refs: RefManager, context: Path) -> None:
    with bring(refs, context) as ref:
        ref.set_meta(local._MANIFEST, b"\xc1nonsense")
    with bring(refs, context) as ref:
        assert listing(ref)["README"] == "read me\n"


def test_cancelled(refs: RefManager, context: Path) -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        snapshot(refs, context, parse_options("context", {}), cancelled=event)


def test_a_directory_that_is_not_there(refs: RefManager, tmp_path: Path) -> None:
    with pytest.raises(SolveError, match=r"^local source 'context': .*/none is not a directory$"):
        bring(refs, tmp_path / "none")


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({attrs.LOCAL_INCLUDE: "["}, r"^invalid value for local\.includepattern: "),
        ({attrs.LOCAL_FOLLOW: "[" * 100_000}, r"^invalid value for local\.followpaths: nested too deeply$"),
        ({attrs.LOCAL_EXCLUDE: '{"a": 1}'}, r"^invalid value for local\.excludepatterns: not a list of strings$"),
        (
            {attrs.LOCAL_METADATA_TRANSFER: "yes"},
            r'^invalid value for local\.metadatatransfer "yes": strconv\.ParseBool: parsing "yes": invalid syntax$',
        ),
    ],
)
def test_attributes_that_make_no_sense(attributes: dict[str, str], message: str) -> None:
    with pytest.raises(SolveError, match=message):
        parse_options("context", attributes)


class Context:
    """As much of an `OpContext` as a source uses."""

    def __init__(self, values: dict[Key[Any], Any]) -> None:
        self.values = values
        self.cancelled = threading.Event()
        self.statuses: list[tuple[str, bool]] = []

    def lent(self, key: Key[T], /) -> tuple[T, ...]:
        return (self.values[key],) if key in self.values else ()

    def status(self, status_id: str, *, name: str = "", current: int = 0, total: int = 0, done: bool = False) -> None:
        self.statuses.append((status_id, done))


def test_the_source_operation(refs: RefManager, context: Path) -> None:
    ctx: Any = Context({LOCALS: {"context": HostDirectory(context)}})
    source = LocalSource("context", {attrs.LOCAL_EXCLUDE: '["src"]'}, refs)
    key = source.key(ctx)
    assert key.key.startswith(f"local:{key.pin}:")
    ref = source.snapshot(ctx)
    assert ref is not None
    assert set(listing(ref)) == {"README", "run.sh"}
    assert contenthash.checksum(ref, Selector()) == key.pin
    assert ctx.statuses[-1] == ("transferring", True)
    ref.release()


def told(data: bytes) -> list[session_pb2.Stat]:
    """What a list of entries tells."""
    found = []
    while data:
        size = int.from_bytes(data[:4], "little")
        found.append(session_pb2.Stat.FromString(data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def test_metadata_alone_with_the_content_of_a_few(refs: RefManager, context: Path) -> None:
    (context / "src/alias.py").hardlink_to(context / "src/main.py")  # before its elder in the order of the walk
    (context / "link").symlink_to("nowhere")
    (context / ".fsutil-metadata").write_text("the user's own")
    age(context)
    wanted = {attrs.LOCAL_METADATA_TRANSFER: "1", attrs.LOCAL_METADATA_TRANSFER_EXCLUDE: '["src/m*", "src/deep"]'}
    ctx: Any = Context({LOCALS: {"context": HostDirectory(context)}})

    def brought() -> tuple[SourceKey, dict[str, bytes], list[session_pb2.Stat]]:
        source = LocalSource("context", wanted, refs)
        key = source.key(ctx)
        ref = source.snapshot(ctx)
        assert ref is not None
        with ref, ref.mount() as root:
            path = root / ".fsutil-metadata"
            assert stat.S_IMODE(path.stat().st_mode) == 0o644
            stats = told(path.read_bytes())
            assert path.stat().st_mtime_ns == max(one.modTime for one in stats)
            files = {str(one.relative_to(root)): one.read_bytes() for one in root.rglob("*") if one.is_file()}
        return key, files, stats

    first, files, stats = brought()
    assert files.keys() == {".fsutil-metadata", "src/main.py", "src/deep/data"}
    assert [os.fsdecode(one.path) for one in stats] == [
        "README", "link", "run.sh", "src", "src/alias.py", "src/deep", "src/deep/data", "src/main.py",
    ]  # fmt: skip
    by_path = {os.fsdecode(one.path): one for one in stats}
    assert (by_path["run.sh"].mode, by_path["run.sh"].size, by_path["run.sh"].modTime) == (0o755, 10, OLD)
    assert by_path["src/main.py"].linkname == b"src/alias.py"
    assert by_path["link"].linkname == b"nowhere"
    assert by_path["link"].mode == to_go(stat.S_IFLNK | 0o777)
    assert brought()[0].key == first.key
    (context / "README").write_text("read me twice")  # a file whose content nobody asked for
    second, files, stats = brought()
    assert second.pin != first.pin
    assert "README" not in files
    (context / "src/main.py").unlink()
    _, files, stats = brought()
    assert files.keys() == {".fsutil-metadata", "src/deep/data"}
    assert len(stats) == 7
    with bring(refs, context) as ref, ref.mount() as root:  # a snapshot of its own
        assert (root / ".fsutil-metadata").read_text() == "the user's own"


def test_a_touched_file_has_another_key_and_the_same_content(refs: RefManager, context: Path) -> None:
    ctx: Any = Context({LOCALS: {"context": HostDirectory(context)}})
    first = LocalSource("context", {}, refs).key(ctx)
    assert LocalSource("context", {}, refs).key(ctx).key == first.key
    os.utime(context / "README", (1, 1))
    touched = LocalSource("context", {}, refs).key(ctx)
    assert touched.pin == first.pin
    assert touched.key != first.key


def test_a_build_without_the_directory(refs: RefManager) -> None:
    with pytest.raises(SolveError, match=r'^no access allowed to dir "context"$'):
        LocalSource("context", {}, refs).key(Context({}))  # type: ignore[arg-type]


def test_unreadable_files_and_directories_as_an_ordinary_user(context: Path) -> None:
    """Root reads everything, so a child gives up being root and walks."""
    need_root()
    (context / "locked").mkdir()
    (context / "locked/file").write_text("x")
    (context / "private").write_text("x")
    for folder in (context, *context.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (context / "locked").chmod(0o700)
    (context / "private").chmod(0o600)

    def said(action: Callable[[], object]) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            message = "nothing"
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                action()
            except FileError as error:
                message = error.message
            finally:
                os.write(writer, message.encode())
                os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as stream:
            text = stream.read()
        os.waitpid(child, 0)
        return text

    from dockc.runtime.fsutil.inroot import Root
    from dockc.runtime.fsutil.walk import Filter, walk

    assert said(lambda: list(walk(context, Filter()))) == (
        f"error from sender: open {context}/locked: permission denied"
    )
    assert said(lambda: list(walk(context, Filter(exclude=("locked",))))) == "nothing"
    assert said(lambda: list(walk(context, Filter(include=("README",))))) == "nothing"

    def copy() -> None:
        wanted = localsync.rows_of(walk(context, Filter(include=("private",))))
        changes = localsync.changes_between({}, wanted)
        import tempfile

        with tempfile.TemporaryDirectory() as target, Root(context) as source, Root(Path(target)) as root:
            localsync.Copier(source, root, wanted, lambda _: None).run(changes, {})

    assert said(copy) == "error from sender: open private: permission denied"


def _become(path: Path, what: str) -> None:
    """Something else stands where a file or directory was, or nothing."""
    if path.is_symlink() or not path.exists():
        return
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    match what:
        case "link":
            path.symlink_to("/etc")
        case "loop":
            path.symlink_to(path.name)
        case "file":
            path.write_text("another")
        case "directory":
            path.mkdir()
            (path / "new").write_text("new")
        case "pipe":
            os.mkfifo(path)


BECOMES = ["nothing", "link", "loop", "file", "directory", "pipe"]


@pytest.mark.parametrize("what", BECOMES)
def test_a_directory_that_becomes_something_else_while_it_is_walked(
    refs: RefManager, context: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inroot.entries

    def spy(fd: int) -> list[str]:
        names = real(fd)
        if "deep" in names:
            _become(context / "src/deep", what)
        return names

    monkeypatch.setattr(inroot, "entries", spy)
    found = listing(bring(refs, context))
    assert found["README"] == "read me\n"
    assert found["src/main.py"] == "print(1)\n"


@pytest.mark.parametrize("what", BECOMES)
@pytest.mark.parametrize("path", ["src", "src/deep", "src/deep/data", "src/main.py"])
def test_what_becomes_something_else_while_it_is_copied(
    refs: RefManager, context: Path, path: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build goes on with what is left; the next one sees what is there then."""
    real = data.Contents.copy

    def spy(*rest: Any) -> None:
        _become(context / path, what)
        real(*rest)

    with monkeypatch.context() as patch:
        patch.setattr(data.Contents, "copy", spy)
        found = listing(bring(refs, context))
    assert found["README"] == "read me\n"
    assert "src/" in found
    (context / "README").write_text("read me again\n")
    assert listing(bring(refs, context))["README"] == "read me again\n"


class Stranger(HostDirectory):
    """A directory of a client that calls itself something else each time."""

    lasting = False
    number = 0

    @property
    def key(self) -> str:
        Stranger.number += 1
        return f"session {self.number}:context"


def kept(refs: RefManager) -> int:
    return len(refs.usage())


def build(refs: RefManager, directory: HostDirectory, **attributes: str) -> str:
    """What a build does: the content is named, and nobody may want it."""
    source = LocalSource("context", attributes, refs)
    key = source.key(Context({LOCALS: {"context": directory}}))  # type: ignore[arg-type]
    del source
    return key.key


def test_files_that_are_copied_in_each_build_are_kept_once(refs: RefManager, context: Path) -> None:
    afresh = {attrs.LOCAL_DIFFER: attrs.DIFFER_NONE}
    first, before = "", 0
    for directory, attributes in ((Stranger(context), {}), (HostDirectory(context), afresh)):
        first = build(refs, directory, **attributes)
        before = kept(refs)
        assert [build(refs, directory, **attributes) for _ in range(3)] == [first] * 3
        assert kept(refs) == before
    (context / "README").write_text("changed")
    assert build(refs, Stranger(context)) != first
    assert kept(refs) == before + 1


def test_what_is_young_is_copied_again_and_kept_once(
    refs: RefManager, context: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localsync, "_RACY_NS", 10**30)
    build(refs, HostDirectory(context))
    before = kept(refs)
    build(refs, HostDirectory(context))
    assert kept(refs) == before
    monkeypatch.setattr(localsync, "_RACY_NS", -(10**18))
    build(refs, HostDirectory(context))
    made = kept(refs)
    copies: list[object] = []
    monkeypatch.setattr(localsync.Copier, "run", lambda *rest: copies.append(rest))
    build(refs, HostDirectory(context))  # what took its place is what the next build starts from
    assert (kept(refs), made, copies) == (before, before, [])


def test_equal_directories_do_not_take_each_others_snapshots(
    refs: RefManager, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    shutil.copytree(context, other, symlinks=True)
    age(other)
    age(context)
    assert build(refs, HostDirectory(context)) == build(refs, HostDirectory(other))
    copies: list[object] = []
    monkeypatch.setattr(localsync.Copier, "run", lambda *rest: copies.append(rest))
    for directory in (context, other, context, other):
        build(refs, HostDirectory(directory))
    assert copies == []
