"""The file operation on real snapshots: results, outputs, owners, cache keys, failures."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from dockc.errors import InvalidDefinition
from dockc.llb.pb import ops_pb2
from dockc.runtime.cancel import Cancelled
from dockc.runtime.fsutil.failure import FileError
from dockc.runtime.ops.file import FileOp
from dockc.runtime.ops.filekey import file_key, outermost
from dockc.runtime.refs.contenthash import Selector
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.ref import ImmutableRef
from dockc.runtime.refs.result import RefResult, ref_of
from dockc.solver.op import CacheMap
from dockc.solver.vertex import Edge, Vertex
from tests.golden.collect import recorded
from tests.runtime.store_helpers import need_mounts
from tests.runtime.waiting import awaited

Files = Mapping[str, str]
RECORDED = recorded("runtime/files", "keys")


class Context:
    """As much of an `OpContext` as the operation uses."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def lent(self, key: object, /) -> tuple[()]:
        return ()

    async def run_blocking(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)


class Builder:
    """Makes refs and runs file operations on them."""

    def __init__(self, refs: RefManager) -> None:
        self.refs = refs
        self.context: Any = Context()

    def ref(self, files: Files, parent: ImmutableRef | None = None) -> ImmutableRef:
        with self.refs.new_mutable(parent) as mutable:
            with mutable.mount() as root:
                for name, content in files.items():
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    (root / name).write_text(content)
            return mutable.commit()

    def op(self, *actions: ops_pb2.FileAction, inputs: int = 0) -> FileOp:
        op = ops_pb2.Op(file=ops_pb2.FileOp(actions=actions))
        edges = tuple(Edge(Vertex(f"sha256:{n}", ops_pb2.Op())) for n in range(inputs))
        worker: Any = self
        return FileOp(Vertex("sha256:op", op, edges, name="step"), worker)

    def run(self, *actions: ops_pb2.FileAction, inputs: tuple[ImmutableRef, ...] = ()) -> list[ImmutableRef]:
        op = self.op(*actions, inputs=len(inputs))
        results = asyncio.run(op.exec(self.context, [RefResult(ref) for ref in inputs]))
        return [ref_of(result) for result in results if result is not None]

    def cache_map(self, *actions: ops_pb2.FileAction, inputs: int = 0) -> CacheMap:
        return asyncio.run(self.op(*actions, inputs=inputs).cache_map(self.context))


@pytest.fixture(params=["overlay", "native"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Builder]:
    need_mounts()
    with RefManager(tmp_path / "store", snapshotter_name=request.param) as manager:
        yield Builder(manager)


def action(target: int, source: int = -1, output: int = -1, **kind: Any) -> ops_pb2.FileAction:
    return ops_pb2.FileAction(input=target, secondaryInput=source, output=output, **kind)


def mkfile(path: str, data: str = "", **more: Any) -> ops_pb2.FileActionMkFile:
    return ops_pb2.FileActionMkFile(path=path, data=data.encode(), mode=0o644, timestamp=-1, **more)


def copy(src: str, dest: str, **more: Any) -> ops_pb2.FileActionCopy:
    values = {"mode": -1, "timestamp": -1, "createDestPath": True, "dirCopyContents": True, **more}
    return ops_pb2.FileActionCopy(src=src, dest=dest, **values)


def contents(ref: ImmutableRef) -> dict[str, str]:
    with ref.mount() as root:
        return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


pytestmark = pytest.mark.root


def test_a_chain_makes_one_snapshot(build: Builder) -> None:
    base = build.ref({"base": "base"})
    (made,) = build.run(
        action(0, mkdir=ops_pb2.FileActionMkDir(path="/d/e", makeParents=True, mode=0o750, timestamp=-1)),
        action(1, mkfile=mkfile("/d/e/f", "text")),
        action(2, symlink=ops_pb2.FileActionSymlink(oldpath="d/e/f", newpath="/l", timestamp=1_000_000_000)),
        action(3, output=0, rm=ops_pb2.FileActionRm(path="/base")),
        inputs=(base,),
    )
    assert contents(made) == {"d/e/f": "text", "l": "text"}
    assert contents(base) == {"base": "base"}
    assert len(made.layers()) == 2
    with made.mount() as root:
        assert stat.S_IMODE((root / "d").stat().st_mode) == 0o750
        assert (root / "l").lstat().st_mtime == 1


def test_copies_between_inputs_and_from_nothing(build: Builder) -> None:
    base, source = build.ref({"base": "base"}), build.ref({"src/a": "a", "src/b/c": "c"})
    (made,) = build.run(action(0, 1, 0, copy=copy("/src", "/app/")), inputs=(base, source))
    assert contents(made) == {"base": "base", "app/a": "a", "app/b/c": "c"}
    (alone,) = build.run(action(-1, 0, 0, copy=copy("/src/b", "/")), inputs=(source,))
    assert contents(alone) == {"c": "c"}
    (empty,) = build.run(action(-1, -1, 0, copy=copy("/", "/x/")))
    assert contents(empty) == {}


def test_several_outputs_and_shared_steps(build: Builder) -> None:
    first, second, both = build.run(
        action(-1, mkfile=mkfile("/shared", "s")),
        action(0, output=0, mkfile=mkfile("/one", "1")),
        action(0, output=1, mkfile=mkfile("/two", "2")),
        action(1, 2, 2, copy=copy("/two", "/two")),
    )
    assert contents(first) == {"shared": "s", "one": "1"}
    assert contents(second) == {"shared": "s", "two": "2"}
    assert contents(both) == {"shared": "s", "one": "1", "two": "2"}


def test_an_action_that_no_output_needs_is_not_done(build: Builder) -> None:
    (made,) = build.run(
        action(-1, output=0, mkfile=mkfile("/kept")),
        action(-1, copy=copy("/missing", "/")),
    )
    assert contents(made) == {"kept": ""}


def test_owners_by_name_come_from_the_file_system(build: Builder) -> None:
    base = build.ref(
        {
            "etc/passwd": "root:x:0:0::/root:\n app:x:1000:1001:App:/home/app:/bin/sh\nodd:x:many:-1\n",
            "etc/group": "root:x:0:\nstaff:x:50:app\n",
        }
    )

    def named(name: str) -> ops_pb2.UserOpt:
        return ops_pb2.UserOpt(byName=ops_pb2.NamedUserOpt(name=name, input=0))

    cases: list[tuple[ops_pb2.ChownOpt | None, tuple[int, int]]] = [
        (None, (0, 0)),
        (ops_pb2.ChownOpt(user=named("app")), (1000, 1001)),
        (ops_pb2.ChownOpt(user=named("app"), group=named("staff")), (1000, 50)),
        (ops_pb2.ChownOpt(user=ops_pb2.UserOpt(byID=7)), (7, 7)),
        (ops_pb2.ChownOpt(user=ops_pb2.UserOpt(byID=7), group=ops_pb2.UserOpt(byID=8)), (7, 8)),
        (ops_pb2.ChownOpt(user=named("nobody-knows"), group=named("none")), (0, 0)),
        (ops_pb2.ChownOpt(group=named("staff")), (0, 50)),
    ]
    for owner, expected in cases:
        (made,) = build.run(action(0, output=0, mkfile=mkfile("/f", owner=owner)), inputs=(base,))
        with made.mount() as root:
            status = (root / "f").stat()
            assert (status.st_uid, status.st_gid) == expected, owner


def test_a_hostile_passwd_file(build: Builder, tmp_path: Path) -> None:
    (tmp_path / "passwd").write_text("app:x:1:1::/:\n")
    owner = ops_pb2.ChownOpt(user=ops_pb2.UserOpt(byName=ops_pb2.NamedUserOpt(name="app", input=0)))
    with build.refs.new_mutable() as mutable:
        with mutable.mount() as root:
            (root / "etc").mkdir()
            (root / "etc/passwd").symlink_to(tmp_path / "passwd")
        base = mutable.commit()
    (made,) = build.run(action(0, output=0, mkfile=mkfile("/f", owner=owner)), inputs=(base,))
    with made.mount() as root:
        assert (root / "f").stat().st_uid == 0
    with build.refs.new_mutable() as mutable:
        with mutable.mount() as root:
            (root / "etc").mkdir()
            os.mkfifo(root / "etc/passwd")
        base = mutable.commit()
    with pytest.raises(FileError, match=r"^/etc/passwd is not a regular file$"):
        build.run(action(0, output=0, mkfile=mkfile("/f", owner=owner)), inputs=(base,))


def test_a_failed_action_leaves_nothing(build: Builder) -> None:
    base = build.ref({"f": "x"})
    before = stored(build.refs)
    with pytest.raises(FileError, match=r"^lstat /missing: no such file or directory$"):
        build.run(
            action(0, mkfile=mkfile("/new")),
            action(2, 1, 0, copy=copy("/missing", "/x")),
            inputs=(base, base),
        )
    assert stored(build.refs) == before


def stored(refs: RefManager) -> list[str]:
    """Everything the store knows."""
    return sorted(record.id for record in refs.usage())


def test_cancelled(build: Builder) -> None:
    build.context.cancelled.set()
    with pytest.raises(Cancelled):
        build.run(action(-1, output=0, mkfile=mkfile("/f")))


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ((), r"^no outputs specified$"),
        ((action(-1, mkfile=mkfile("/f")),), r"^no outputs specified$"),
        ((action(-1, output=1, mkfile=mkfile("/f")),), r"^missing output index 0$"),
        (
            (action(-1, output=0, mkfile=mkfile("/f")), action(-1, output=0, mkfile=mkfile("/g"))),
            r"^duplicate output 0$",
        ),
        ((action(5, output=0, mkfile=mkfile("/f")),), r"^invalid input index 5, 1 provided$"),
        ((action(-2, output=0, mkfile=mkfile("/f")),), r"^invalid input index -2, 1 provided$"),
        ((action(0, output=0, mkfile=mkfile("/f")),), r"^loop from index 0$"),
        (
            (action(1, mkfile=mkfile("/f")), action(0, output=0, mkfile=mkfile("/g"))),
            r"^loop from index [01]$",
        ),
    ],
)
def test_graphs_that_make_no_sense(build: Builder, actions: tuple[ops_pb2.FileAction, ...], message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        build.run(*actions)


def test_a_long_chain_is_no_deep_recursion(build: Builder) -> None:
    steps = [action(n - 1, mkfile=mkfile(f"/f{n}")) for n in range(3000)]
    steps[-1].output = 0
    (made,) = build.run(*steps)
    assert len(contents(made)) == 3000


# --- cache keys -----------------------------------------------------------------------------------


def test_only_the_name_of_a_source_is_part_of_the_key(build: Builder) -> None:
    one = build.cache_map(action(0, 1, 0, copy=copy("/one/place/x", "/")), inputs=2)
    two = build.cache_map(action(0, 1, 0, copy=copy("/other/x", "/")), inputs=2)
    other = build.cache_map(action(0, 1, 0, copy=copy("/one/place/y", "/")), inputs=2)
    assert one.digest == two.digest != other.digest
    assert one.deps[1].selector != two.deps[1].selector
    assert one.deps[0].content_digest is None
    assert one.deps[0].selector == ""


def test_the_content_of_the_source_decides(build: Builder) -> None:
    cache = build.cache_map(action(0, 1, 0, copy=copy("/src", "/")), inputs=2)
    compute = cache.deps[1].content_digest
    assert compute is not None

    def digest(files: Files) -> str:
        return asyncio.run(awaited(compute(build.context, RefResult(build.ref(files)))))

    first = digest({"src/a": "a", "other": "1"})
    assert digest({"src/a": "a", "other": "2"}) == first
    assert digest({"src/a": "b", "other": "1"}) != first
    with pytest.raises(FileError, match=r'^failed to calculate checksum of ref [0-9a-z]+: "/src": not found$'):
        digest({"other": "1"})


def test_a_base_that_is_copied_from_counts_by_its_definition(build: Builder) -> None:
    cache = build.cache_map(action(0, 0, 0, copy=copy("/a", "/b")), inputs=1)
    assert cache.deps[0].content_digest is None


@pytest.mark.parametrize("case", RECORDED, ids=range(len(RECORDED)))
def test_keys_as_recorded_from_the_reference(case: tuple[dict[str, Any], int, str, list[str]]) -> None:
    fields, inputs, digest, selectors = case
    key = file_key(json_format.ParseDict(fields, ops_pb2.FileOp()), inputs)
    assert key.digest == digest
    assert [key.selector_digest(index) for index in range(inputs)] == selectors


def test_selectors_inside_others_are_left_out() -> None:
    chosen = (
        Selector("/a/b"),
        Selector("/a"),
        Selector("/ab"),
        Selector("/a", follow_links=True),
        Selector("/a/*", wildcard=True),
        Selector("/a", exclude=("x",)),
    )
    assert outermost(chosen) == (
        Selector("/a"),
        Selector("/a", follow_links=True),
        Selector("/a", exclude=("x",)),
        Selector("/a/*", wildcard=True),
        Selector("/ab"),
    )


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (ops_pb2.FileOp(), "invalid file op with no actions"),
        (ops_pb2.FileOp(actions=[ops_pb2.FileAction()]), "invalid file action: no kind"),
        (
            ops_pb2.FileOp(
                actions=[
                    action(
                        -1,
                        mkfile=mkfile(
                            "/f",
                            owner=ops_pb2.ChownOpt(
                                user=ops_pb2.UserOpt(byName=ops_pb2.NamedUserOpt(name="a", input=-1))
                            ),
                        ),
                    )
                ]
            ),
            "invalid user index -1",
        ),
    ],
)
def test_keys_of_what_makes_no_sense(op: ops_pb2.FileOp, message: str) -> None:
    with pytest.raises(InvalidDefinition) as raised:
        file_key(op, 0)
    assert raised.value.message == message
