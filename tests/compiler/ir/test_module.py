"""The builder, the verifier and the rewrite driver."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dockc.compiler.emit import emit
from dockc.compiler.ir.module import Builder, Module, ProgressGroup, parse_owner
from dockc.compiler.ir.ops import (
    Copy,
    DiffOp,
    ExecOp,
    FileOp,
    Location,
    MergeOp,
    Mkdir,
    Mount,
    Op,
    OpMeta,
    Rm,
    SourceMap,
    Ssh,
    Value,
    replaced,
)
from dockc.compiler.ir.rewrite import Applied, Rewrite, rewrite
from dockc.compiler.ir.verifier import verify
from dockc.errors import CompileError
from dockc.llb import caps, ops
from dockc.llb.sources import image, local
from dockc.oci.platform import Platform
from tests.compiler.conftest import op_of

AMD64 = Platform("linux", "amd64")


@pytest.fixture
def b() -> Builder:
    return Builder(AMD64, caps.ALL)


def test_equal_operations_are_one_object(b: Builder) -> None:
    assert b.source(image("x:1")).op is b.source(image("x:1")).op
    assert b.source(image("x:1")).op is not b.source(image("x:2")).op
    assert b.source(image("x:1"), meta=OpMeta("a")).op is not b.source(image("x:1"), meta=OpMeta("b")).op
    first = b.file(b.source(image("x:1")), [Mkdir("/a", 0o755)])
    assert first.op is b.file(b.source(image("x:1")), [Mkdir("/a", 0o755)]).op
    assert first.op is not b.file(b.source(image("x:1")), [Mkdir("/a", 0o700)]).op


def test_operations_with_a_place_stay_themselves(b: Builder) -> None:
    file = SourceMap("Dockerfile", "Dockerfile", b"")
    meta = OpMeta("a", locations=[Location(file, ((1, 0, 1, 0),))])
    one, two = b.source(image("x:1"), meta=meta), b.source(image("x:1"), meta=meta)
    assert one.op is not two.op
    definition = emit(Module({"": b.merge([one, two])}, AMD64))
    assert len(definition.ops) == 3
    assert definition.source is not None
    assert len(definition.source.locations[definition.digests[0]]) == 2


def test_later_metadata_wins_and_wishes_add_up(b: Builder) -> None:
    one = b.source(image("x:1"), meta=OpMeta("one", description={"k": "1"}, export_cache=True))
    two = b.source(image("x:1"), meta=OpMeta("two", ignore_cache=True))
    said = emit(Module({"": b.merge([one, two])}, AMD64))
    meta = said.metadata[said.digests[0]]
    assert meta.description == {"llb.customname": "two", "k": "1"}
    assert meta.ignore_cache
    assert meta.export_cache is True


def test_holes(b: Builder) -> None:
    hole = b.hole("context")
    copied = b.file(None, [Copy(hole, "/a", "/a")])
    with pytest.raises(CompileError, match="value 'context' was never defined"):
        emit(Module({"": copied}, AMD64))
    b.fill(hole, b.source(local("context", session="s")))
    assert len(emit(Module({"": copied}, AMD64)).ops) == 3
    with pytest.raises(CompileError, match="defined twice"):
        b.fill(hole, b.source(local("other", session="s")))


def test_cycles_are_found(b: Builder) -> None:
    hole = b.hole("loop")
    copied = b.file(None, [Copy(hole, "/a", "/a")])
    b.fill(hole, copied)
    with pytest.raises(CompileError, match="cycle"):
        emit(Module({"": copied}, AMD64))


def test_long_chains_need_no_recursion(b: Builder) -> None:
    value: Value | None = b.source(image("x:1"))
    for n in range(5000):
        value = b.exec(value, ["run", str(n)])
    assert len(emit(Module({"": value}, AMD64)).ops) == 5002


def test_exec_outputs_are_numbered_by_target(b: Builder) -> None:
    value = b.exec(b.source(image("x:1")), ["a"], mounts=[Mount("/out"), Mount("."), Mount("/tmp", tmpfs=True)])
    assert value is not None
    assert value.index == 1  # "." sorts before "/"
    assert b.mount_output(op_of(value, ExecOp), "/out").index == 2
    with pytest.raises(CompileError, match="the mount at /tmp has no output"):
        b.mount_output(op_of(value, ExecOp), "/tmp")


def test_readonly_root_gives_the_root_back(b: Builder) -> None:
    base = b.source(image("x:1"))
    assert b.exec(base, ["a"], readonly_root=True) is base


def test_ssh_and_path(b: Builder) -> None:
    op = op_of(b.exec(None, ["a"], ssh=[Ssh("x"), Ssh("y", target="/s")]), ExecOp)
    assert op.env == ("SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0",)
    assert [s.target for s in op.ssh] == ["/run/buildkit/ssh_agent.0", "/s"]
    poor = Builder(AMD64, caps.ALL - {caps.EXEC_META_SETS_DEFAULT_PATH})
    assert op_of(poor.exec(None, ["a"]), ExecOp).env[0].startswith("PATH=/usr/local/sbin:")
    assert op_of(poor.exec(None, ["a"], env=["PATH=/x"]), ExecOp).env == ("PATH=/x",)
    windows = Builder(Platform("windows", "amd64"), frozenset())
    assert op_of(windows.exec(None, ["a"]), ExecOp).env == ()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.exec(None, []), "arguments are required"),
        (lambda b: b.exec(None, ["a"], cwd=""), "working directory is required"),
        (lambda b: b.exec(None, ["a"], mounts=[Mount("/t", b.source(image("x:1")), tmpfs=True)]), "must use scratch"),
        (lambda b: b.file(None, []), "action is required"),
        (lambda b: emit(Module({"": b.source(image("\udcff"))}, AMD64)), "invalid UTF-8"),
    ],
)
def test_misuse(b: Builder, call: Callable[[Builder], object], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        call(b)


def test_merge_and_diff_of_little(b: Builder) -> None:
    base = b.source(image("x:1"))
    assert b.merge([None, base, None]) is base
    assert b.merge([None]) is None
    assert b.diff(None, base) is base
    assert op_of(b.diff(base, None), DiffOp).lower is base


@pytest.mark.parametrize(
    ("text", "user", "group"),
    [
        ("5", 5, None),
        ("root:0", 0, 0),
        ("app:staff", "app", "staff"),
        ("", 0, None),
        ("a:", "a", 0),
        (":g", 0, "g"),
        ("+7:-1", 7, -1),
        ("2147483648", "2147483648", None),
        ("a:b:c", "a", "b:c"),
        ("٣", "٣", None),
    ],
)
def test_owners(text: str, user: int | str, group: int | str | None) -> None:
    owner = parse_owner(text)
    assert (owner.user, owner.group) == (user, group)


def test_progress_groups_are_numbered_in_order(b: Builder) -> None:
    far, near = ProgressGroup("zzz", "far"), ProgressGroup("aaa", "near")
    one = b.file(None, [Mkdir("/a", 0o755)], meta=OpMeta(progress_group=far))
    two = b.file(None, [Mkdir("/b", 0o755)], meta=OpMeta(progress_group=near))
    definition = emit(Module({"": b.merge([one, two], meta=OpMeta(progress_group=far))}, AMD64))
    groups = [definition.metadata[d].progress_group for d in definition.digests[:3]]
    assert [g and g.id for g in groups] == ["pg-0", "pg-1", "pg-0"]


# --- verifier -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b, v: Value(MergeOp((v,), meta=OpMeta())), "a merge has two layers or more"),
        (lambda b, v: Value(v.op, 3), "has no output 3"),
        (lambda b, v: Value(replaced(v.op, identifier="nope")), "an identifier with a scheme"),
        (lambda b, v: Value(replaced(v.op, platform=None)), "only image sources have a platform"),
        (lambda b, v: Value(replaced(b.exec(v, ["a"]).op, args=())), "an exec has arguments"),
        (lambda b, v: Value(replaced(b.exec(v, ["a"]).op, env=("X",))), "environment entries have a name"),
        (lambda b, v: Value(replaced(b.exec(v, ["a"]).op, mounts=())), "an exec has a mount at /"),
        (lambda b, v: b.file(v, [Rm("relative")]), "paths of file actions are absolute"),
        (lambda b, v: Value(FileOp(v, (), meta=OpMeta())), "a file operation has actions"),
    ],
)
def test_illegal_modules(b: Builder, make: Callable[[Builder, Value], Value], message: str) -> None:
    with pytest.raises(CompileError, match=message):
        verify(Module({"": make(b, b.source(image("x:1")))}, AMD64))


# --- rewriting ------------------------------------------------------------------------------------------


def test_rewrites_are_recorded_and_the_input_stays(b: Builder) -> None:
    value = b.file(b.source(image("x:1")), [Mkdir("/a", 0o755), Rm("/b")])
    module = Module({"": value}, AMD64)

    def drop_last(op: Op, facts: object) -> FileOp | None:
        assert isinstance(op, FileOp)
        return replaced(op, actions=op.actions[:-1]) if len(op.actions) > 1 else None

    trace: list[Applied] = []
    after = rewrite(module, [Rewrite("drop last", FileOp, drop_last)], trace)
    assert [a.rule for a in trace] == ["drop last"]
    assert len(op_of(after.result, FileOp).actions) == 1
    assert len(op_of(value, FileOp).actions) == 2
    assert rewrite(after, [Rewrite("drop last", FileOp, drop_last)], trace) is after


def test_rules_that_undo_each_other_are_stopped(b: Builder) -> None:
    module = Module({"": b.file(None, [Mkdir("/a", 0o755)])}, AMD64)

    def flip(op: Op, facts: object) -> FileOp:
        assert isinstance(op, FileOp)
        assert isinstance(op.actions[0], Mkdir)
        return replaced(op, actions=(Mkdir("/b" if op.actions[0].path == "/a" else "/a", 0o755),))

    with pytest.raises(CompileError, match="does not end"):
        rewrite(module, [Rewrite("flip", FileOp, flip)], [])


def test_a_node_has_only_its_fields() -> None:
    with pytest.raises(TypeError, match="Rm has no field 'nope'"):
        replaced(Rm("/a"), nope=1)


def test_the_wire_form_is_kept_when_only_words_change(b: Builder) -> None:
    value = b.source(image("x:1"))
    emit(Module({"": value}, AMD64))
    assert replaced(value.op, meta=OpMeta("y")).wire is value.op.wire is not None
    assert replaced(value.op, identifier="docker-image://y").wire is None
    source = ops.parse(value.op.wire[1]).op
    assert isinstance(source, ops.SourceOp)
    assert source.identifier == "docker-image://x:1"
