"""Encoder and decoder: against every definition of the conformance suite, against the protobuf package, and
against bytes that are not what they seem."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.errors import InvalidDefinition
from dockc.llb import ops, text
from dockc.llb.definition import (
    Definition,
    LinuxResources,
    Location,
    OpMetadata,
    ProgressGroup,
    Source,
    SourceInfo,
    made,
)
from dockc.llb.pb import ops_pb2
from dockc.llb.wire import decode, encode
from dockc.oci.platform import Platform

# --- conformance ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def definitions(shared: Path) -> dict[str, bytes]:
    """Every `definition.pb` beside this checkout (in ../shared)."""
    return {p.parent.name: p.read_bytes() for p in sorted(shared.glob("conformance/llb/*/*/definition.pb"))}


def test_definitions_come_out_as_they_went_in(definitions: dict[str, bytes]) -> None:
    for name, data in definitions.items():
        definition = Definition.parse(data)
        assert definition.to_bytes() == data, name
        for digest, raw in definition.ops:
            op = ops.parse(raw)
            assert op.encode() == raw, name
            assert op.digest == digest


def test_the_protobuf_package_reads_what_we_write(definitions: dict[str, bytes]) -> None:
    for name, data in definitions.items():
        assert Definition.parse(data).to_pb() == ops_pb2.Definition.FromString(data), name


@pytest.mark.peer
def test_json_lines_are_those_of_buildctl(definitions: dict[str, bytes]) -> None:
    buildctl = shutil.which("buildctl")
    if buildctl is None:
        pytest.skip("buildctl is not installed")
    for name, data in list(definitions.items())[::8]:
        dumped = subprocess.run([buildctl, "debug", "dump-llb"], input=data, capture_output=True, check=True)
        assert text.json_lines(Definition.parse(data)) == dumped.stdout.decode(), name


# --- laws -----------------------------------------------------------------------------------------------

words = st.text(st.characters(codec="utf-8"), max_size=8)
int64 = st.integers(-(2**63), 2**63 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
uint32 = st.integers(0, 2**32 - 1)
many = st.lists(words, max_size=3).map(tuple)
maps = st.dictionaries(words, words, max_size=3)
credentials = st.builds(ops.CredentialOpt, id=words, uid=uint32, gid=uint32, mode=uint32, optional=st.booleans())
users = st.one_of(
    st.builds(lambda n: ops.User(by_id=n), uint32),
    st.builds(lambda n, i: ops.User(ops.NamedUser(n, i)), words, int64),
)
owners = st.none() | st.builds(ops.Chown, user=st.none() | users, group=st.none() | users)
mounts = st.builds(
    ops.Mount,
    input=int64,
    selector=words,
    dest=words,
    output=int64,
    readonly=st.booleans(),
    kind=st.integers(0, 4),
    tmpfs=st.none() | st.builds(ops.TmpfsOpt, size=int64),
    cache=st.none() | st.builds(ops.CacheOpt, id=words, sharing=st.integers(0, 2)),
    secret=st.none() | credentials,
    ssh=st.none() | credentials,
    result_id=words,
    content_cache=st.integers(0, 2),
)
metas = st.builds(
    ops.Meta,
    args=many,
    env=many,
    cwd=words,
    user=words,
    proxy=st.none() | st.builds(ops.ProxyEnv, words, words, words, words, words),
    hosts=st.lists(st.builds(ops.HostIP, words, words), max_size=2).map(tuple),
    hostname=words,
    ulimits=st.lists(st.builds(ops.Ulimit, words, int64, int64), max_size=2).map(tuple),
    cgroup_parent=words,
    remove_mount_stubs=st.booleans(),
    exit_codes=st.lists(int32, max_size=3).map(tuple),
)
actions = st.one_of(
    st.builds(
        ops.Copy,
        src=words,
        dest=words,
        owner=owners,
        mode=int32,
        follow_symlinks=st.booleans(),
        wildcard=st.booleans(),
        timestamp=int64,
        include=many,
        exclude=many,
        replace_existing=st.booleans(),
        mode_str=words,
        required=many,
    ),
    st.builds(ops.Mkfile, words, int32, st.binary(max_size=9), owners, int64),
    st.builds(ops.Mkdir, words, int32, st.booleans(), owners, int64),
    st.builds(ops.Rm, words, st.booleans(), st.booleans()),
    st.builds(ops.Symlink, words, words, owners, int64),
)
kinds = st.one_of(
    st.builds(
        ops.ExecOp,
        meta=st.none() | metas,
        mounts=st.lists(mounts, max_size=3).map(tuple),
        network=st.integers(0, 2),
        security=st.integers(0, 1),
        secret_env=st.lists(st.builds(ops.SecretEnv, words, words, st.booleans()), max_size=2).map(tuple),
        devices=st.lists(st.builds(ops.Device, words, st.booleans()), max_size=2).map(tuple),
    ),
    st.builds(ops.SourceOp, words, maps),
    st.builds(ops.FileOp, st.lists(st.builds(ops.FileAction, int64, int64, int64, actions), max_size=3).map(tuple)),
    st.builds(ops.MergeOp, st.lists(int64, max_size=3).map(tuple)),
    st.builds(ops.DiffOp, st.none() | int64, st.none() | int64),
    st.builds(ops.PassthroughOp, words, st.lists(int64, max_size=3).map(tuple)),
    st.builds(ops.BuildOp, int64, st.dictionaries(words, int64, max_size=2), st.none() | st.just(b""), maps),
)
operations = st.builds(
    ops.Op,
    inputs=st.lists(st.builds(ops.Input, words, int64), max_size=3).map(tuple),
    op=kinds,
    platform=st.none() | st.builds(Platform, words, words, words, words, many),
    filters=many,
)


@settings(max_examples=200, deadline=None)
@given(operations)
def test_operations_round_trip(op: ops.Op) -> None:
    data = op.encode()
    assert ops.parse(data) == op
    message = ops_pb2.Op.FromString(data)
    assert ops.parse(message.SerializeToString()) == op


metadata = st.builds(
    OpMetadata,
    ignore_cache=st.booleans(),
    description=maps,
    export_cache=st.none() | st.booleans(),
    caps=st.dictionaries(words, st.booleans(), max_size=3),
    progress_group=st.none() | st.builds(ProgressGroup, words, words, weak=st.booleans()),
    resources=st.none()
    | st.builds(LinuxResources, memory=int64, cpu_shares=st.integers(0, 2**63 - 1), cpuset_cpus=words),
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(words, metadata, max_size=3), st.binary(max_size=20), words)
def test_definitions_round_trip(said: dict[str, OpMetadata], data: bytes, filename: str) -> None:
    terminal = encode.op_inputs([("sha256:x", 1)])
    places = {"sha256:y": (Location(0, ((1, 0, 2, 7), (0, 0, 0, 0))), Location(3, ())), "": ()}
    source = Source((SourceInfo(filename, data, "L", Definition()), SourceInfo("", b"")), places)
    wire = Definition([("unused", terminal)], said, source).to_bytes()
    again = made(decode._read(wire, decode._DEFINITION))
    assert again.to_bytes() == wire
    message = ops_pb2.Definition.FromString(wire)
    assert made(decode._read(message.SerializeToString(), decode._DEFINITION)).to_bytes() == wire


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        Definition.parse(data)
    except InvalidDefinition:
        pass


# --- hostile graphs -------------------------------------------------------------------------------------


def definition_of(*raw: bytes) -> bytes:
    return b"".join(b"\n" + encode.varint(len(r)) + r for r in raw)


SOURCE = ops.Op(op=ops.SourceOp("docker-image://x")).encode()
END = encode.op_inputs([(encode.digest(SOURCE), 0)])


def test_the_smallest_definition() -> None:
    assert Definition.parse(definition_of(SOURCE, END)).head == (encode.digest(SOURCE), 0)
    assert Definition.parse(b"").head is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (definition_of(END), "invalid missing input digest sha256:"),
        (definition_of(SOURCE), "the last operation must have one input and do nothing"),
        (b"\n", "truncated message"),
        (b"\n\xff\xff\xff\xff\x0f", "truncated message"),
        (b"\xff" * 11, "number of more than 64 bits"),
        (b"\x07", "illegal field number"),
        (b"\x0f", "illegal wire type 7"),
        (definition_of(ops.Op(op=ops.ExecOp()).encode(), END), "invalid exec op with no meta"),
        (definition_of(ops.Op(op=ops.ExecOp(ops.Meta())).encode(), END), "invalid exec op with no args"),
        (
            definition_of(ops.Op(op=ops.ExecOp(ops.Meta(("a",)))).encode(), END),
            "invalid exec op with no mounts",
        ),
        (
            definition_of(ops.Op(op=ops.ExecOp(ops.Meta(("a",)), (ops.Mount(dest="/x"),))).encode(), END),
            "invalid exec op with no rootfs",
        ),
        (
            definition_of(ops.Op(op=ops.ExecOp(ops.Meta(("a",)), (ops.Mount(dest="/"),))).encode(), END),
            "invalid mount input 0: there are 0",
        ),
        (definition_of(ops.Op(op=ops.FileOp()).encode(), END), "invalid file op with no actions"),
        (
            definition_of(ops.Op(op=ops.FileOp((ops.FileAction(0, -1, 0, ops.Rm("/x")),))).encode(), END),
            "invalid file action input 0",
        ),
        (definition_of(ops.Op(op=ops.DiffOp(0, None)).encode(), END), "nil lower or upper input"),
        (definition_of(ops.Op(op=ops.MergeOp((0,))).encode(), END), "invalid merge input 0"),
        (definition_of(ops.Op(op=ops.PassthroughOp("", (0,))).encode(), END), "passthrough op with no id"),
        (
            definition_of(encode.op_inputs([("sha256:" + "0" * 64, -1)]), END),
            "invalid input 0 output index -1",
        ),
        (definition_of(b"\x1a\x04\n\x02\xff\xfe", END), "string field contains invalid UTF-8"),
    ],
)
def test_broken_definitions(data: bytes, message: str) -> None:
    with pytest.raises(InvalidDefinition, match=message):
        Definition.parse(data)


def test_nesting_is_bounded() -> None:
    data = b""
    for _ in range(40):
        info = b"\x1a" + encode.varint(len(data)) + data
        source = b"\x12" + encode.varint(len(info)) + info
        data = b"\x1a" + encode.varint(len(source)) + source
    with pytest.raises(InvalidDefinition, match="nested too deeply"):
        Definition.parse(data)


def test_many_parts_of_one_message_are_joined_in_linear_time() -> None:
    part = b"\x52\x02\x0a\x00" * 200_000  # platform, again and again
    assert ops.parse(part + b"\x1a\x03\n\x01x").platform == Platform("", "")


def test_too_many_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_OPS", 1)
    with pytest.raises(InvalidDefinition, match="larger than 1"):
        Definition.parse(definition_of(SOURCE, END))


def test_text_that_is_no_unicode_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        ops.Op(op=ops.SourceOp("local://\udcff")).encode()
