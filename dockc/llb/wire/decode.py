"""Reads protobuf bytes into the types of `llb.operations` and `llb.metadata`; the input may come from anyone.

A table names, for each message, what its fields are; one loop reads them all. As protobuf demands, unknown
fields are skipped, the last value of a single field wins, and repeated parts of one message are merged.
"""

from __future__ import annotations

from collections.abc import Callable

from dockc.base.record import Record
from dockc.errors import InvalidDefinition
from dockc.llb import operations as ops
from dockc.llb.metadata import LinuxResources, Location, OpMetadata, ProgressGroup
from dockc.llb.wire.encode import digest
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

MAX_OPS = 100_000
_MAX_NESTING = 16

# Kinds of a field. A message field holds its table; a name that ends in `*` is repeated.
_TEXT, _BYTES, _INT, _INT32, _UINT32, _BOOL = "text", "bytes", "int", "int32", "uint32", "bool"


class _Message:
    """How a message is read: what to call with the fields, and the fields by number."""

    __slots__ = ("fields", "make")

    def __init__(self, make: Callable[..., Any], **fields: tuple[int, Any]) -> None:
        self.make = make
        self.fields = {number: (name, kind) for name, (number, kind) in fields.items()}


class _Many:
    """A repeated field."""

    __slots__ = ("kind",)

    def __init__(self, kind: Any) -> None:
        self.kind = kind


class _Map:
    """A map with text keys."""

    __slots__ = ("kind",)

    def __init__(self, kind: Any) -> None:
        self.kind = kind


class _OneOf:
    """A member of a `oneof` that is kept under one common name."""

    __slots__ = ("kind", "name")

    def __init__(self, name: str, kind: Any) -> None:
        self.name = name
        self.kind = kind


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise InvalidDefinition("truncated message")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise InvalidDefinition("number of more than 64 bits")


def _fields(data: bytes) -> list[tuple[int, int, Any]]:
    """(number, wire type, value) of each field; the value is an int or bytes."""
    out: list[tuple[int, int, Any]] = []
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if number == 0 or number > 0x1FFFFFFF:
            raise InvalidDefinition("illegal field number")
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
        else:
            if wire == 2:
                size, at = _varint(data, at)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise InvalidDefinition(f"illegal wire type {wire}")
            if size > end - at:
                raise InvalidDefinition("truncated message")
            value = data[at : at + size]
            at += size
        out.append((number, wire, value))
    return out


def _scalar(kind: str, value: Any) -> Any:
    if kind == _TEXT:
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidDefinition("string field contains invalid UTF-8") from None
    if kind == _BYTES:
        return bytes(value)
    if kind == _BOOL:
        return value != 0
    if kind == _UINT32:
        return value & 0xFFFFFFFF
    if kind == _INT32:
        value &= 0xFFFFFFFF
        return value - (1 << 32) if value >> 31 else value
    return value - (1 << 64) if value >> 63 else value


def _read(data: bytes, message: _Message, depth: int = 0) -> Any:
    if depth > _MAX_NESTING:
        raise InvalidDefinition("message is nested too deeply")
    values: dict[str, Any] = {}
    pending: dict[str, tuple[_Message, list[bytes]]] = {}  # single messages: parts are joined, then read
    for number, wire, value in _fields(data):
        entry = message.fields.get(number)
        if entry is None:
            continue
        name, kind = entry
        if isinstance(kind, _OneOf):
            name, kind = kind.name, kind.kind
        if isinstance(kind, _Many):
            values.setdefault(name, []).extend(_repeated(kind.kind, wire, value, depth))
        elif isinstance(kind, _Map):
            if wire == 2:
                key, item = _entry(kind.kind, value, depth)
                values.setdefault(name, {})[key] = item
        elif isinstance(kind, _Message):
            if wire == 2:
                values.pop(name, None)
                if name not in pending or pending[name][0] is not kind:
                    pending[name] = (kind, [])
                pending[name][1].append(value)
        elif wire == (2 if kind in (_TEXT, _BYTES) else 0):
            pending.pop(name, None)
            values[name] = _scalar(kind, value)
    for name, (kind, parts) in pending.items():
        values[name] = _read(b"".join(parts), kind, depth + 1)
    return message.make(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _repeated(kind: Any, wire: int, value: Any, depth: int) -> list[Any]:
    if isinstance(kind, _Message):
        return [_read(value, kind, depth + 1)] if wire == 2 else []
    if kind in (_TEXT, _BYTES):
        return [_scalar(kind, value)] if wire == 2 else []
    if wire == 0:
        return [_scalar(kind, value)]
    if wire != 2:
        return []
    numbers = []
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(_scalar(kind, number))
    return numbers


def _entry(kind: Any, data: bytes, depth: int) -> tuple[str, Any]:
    key, plain = "", None
    parts: list[bytes] = []
    for number, wire, value in _fields(data):
        if number == 1 and wire == 2:
            key = _scalar(_TEXT, value)
        elif number == 2 and isinstance(kind, _Message) and wire == 2:
            parts.append(value)
        elif number == 2 and not isinstance(kind, _Message) and wire == (2 if kind == _TEXT else 0):
            plain = _scalar(kind, value)
    if isinstance(kind, _Message):
        return key, _read(b"".join(parts), kind, depth + 1)
    return key, plain if plain is not None else {_TEXT: "", _BOOL: False}[kind]


# --- operations -----------------------------------------------------------------------------------------

_PLATFORM = _Message(
    lambda architecture="", os="", variant="", os_version="", os_features=(): Platform(
        os, architecture, variant, os_version, os_features
    ),
    architecture=(1, _TEXT),
    os=(2, _TEXT),
    variant=(3, _TEXT),
    os_version=(4, _TEXT),
    os_features=(5, _Many(_TEXT)),
)
_INPUT = _Message(ops.Input, digest=(1, _TEXT), index=(2, _INT))
_CREDENTIAL = _Message(
    ops.CredentialOpt,
    id=(1, _TEXT),
    uid=(2, _UINT32),
    gid=(3, _UINT32),
    mode=(4, _UINT32),
    optional=(5, _BOOL),
)
_MOUNT = _Message(
    ops.Mount,
    input=(1, _INT),
    selector=(2, _TEXT),
    dest=(3, _TEXT),
    output=(4, _INT),
    readonly=(5, _BOOL),
    kind=(6, _INT32),
    tmpfs=(19, _Message(ops.TmpfsOpt, size=(1, _INT))),
    cache=(20, _Message(ops.CacheOpt, id=(1, _TEXT), sharing=(2, _INT32))),
    secret=(21, _CREDENTIAL),
    ssh=(22, _CREDENTIAL),
    result_id=(23, _TEXT),
    content_cache=(24, _INT32),
)
_META = _Message(
    ops.Meta,
    args=(1, _Many(_TEXT)),
    env=(2, _Many(_TEXT)),
    cwd=(3, _TEXT),
    user=(4, _TEXT),
    proxy=(
        5,
        _Message(
            ops.ProxyEnv,
            http_proxy=(1, _TEXT),
            https_proxy=(2, _TEXT),
            ftp_proxy=(3, _TEXT),
            no_proxy=(4, _TEXT),
            all_proxy=(5, _TEXT),
        ),
    ),
    hosts=(6, _Many(_Message(ops.HostIP, host=(1, _TEXT), ip=(2, _TEXT)))),
    hostname=(7, _TEXT),
    ulimits=(9, _Many(_Message(ops.Ulimit, name=(1, _TEXT), soft=(2, _INT), hard=(3, _INT)))),
    cgroup_parent=(10, _TEXT),
    remove_mount_stubs=(11, _BOOL),
    exit_codes=(12, _Many(_INT32)),
)
_EXEC = _Message(
    ops.ExecOp,
    meta=(1, _META),
    mounts=(2, _Many(_MOUNT)),
    network=(3, _INT32),
    security=(4, _INT32),
    secret_env=(5, _Many(_Message(ops.SecretEnv, id=(1, _TEXT), name=(2, _TEXT), optional=(3, _BOOL)))),
    devices=(6, _Many(_Message(ops.Device, name=(1, _TEXT), optional=(2, _BOOL)))),
)
_SOURCE = _Message(ops.SourceOp, identifier=(1, _TEXT), attrs=(2, _Map(_TEXT)))
_USER = _Message(
    lambda user=0: ops.User(by_id=user) if isinstance(user, int) else ops.User(by_name=user),
    by_name=(1, _OneOf("user", _Message(ops.NamedUser, name=(1, _TEXT), input=(2, _INT)))),
    by_id=(2, _OneOf("user", _UINT32)),
)
_CHOWN = _Message(ops.Chown, user=(1, _USER), group=(2, _USER))
_COPY = _Message(
    ops.Copy,
    src=(1, _TEXT),
    dest=(2, _TEXT),
    owner=(3, _CHOWN),
    mode=(4, _INT32),
    follow_symlinks=(5, _BOOL),
    dir_contents=(6, _BOOL),
    unpack=(7, _BOOL),
    create_dest=(8, _BOOL),
    wildcard=(9, _BOOL),
    empty_wildcard=(10, _BOOL),
    timestamp=(11, _INT),
    include=(12, _Many(_TEXT)),
    exclude=(13, _Many(_TEXT)),
    replace_existing=(14, _BOOL),
    mode_str=(15, _TEXT),
    required=(16, _Many(_TEXT)),
)
_MKFILE = _Message(
    ops.Mkfile, path=(1, _TEXT), mode=(2, _INT32), data=(3, _BYTES), owner=(4, _CHOWN), timestamp=(5, _INT)
)
_MKDIR = _Message(
    ops.Mkdir, path=(1, _TEXT), mode=(2, _INT32), parents=(3, _BOOL), owner=(4, _CHOWN), timestamp=(5, _INT)
)
_RM = _Message(ops.Rm, path=(1, _TEXT), allow_missing=(2, _BOOL), wildcard=(3, _BOOL))
_SYMLINK = _Message(ops.Symlink, oldpath=(1, _TEXT), newpath=(2, _TEXT), owner=(3, _CHOWN), timestamp=(4, _INT))
_ACTION = _Message(
    ops.FileAction,
    input=(1, _INT),
    secondary=(2, _INT),
    output=(3, _INT),
    copy=(4, _OneOf("action", _COPY)),
    mkfile=(5, _OneOf("action", _MKFILE)),
    mkdir=(6, _OneOf("action", _MKDIR)),
    rm=(7, _OneOf("action", _RM)),
    symlink=(8, _OneOf("action", _SYMLINK)),
)
_POSITION = _Message(lambda position=0: position, position=(1, _INT))
_OP = _Message(
    lambda inputs=(), op=None, platform=None, filters=(): ops.Op(inputs, op, platform, filters),
    inputs=(1, _Many(_INPUT)),
    exec=(2, _OneOf("op", _EXEC)),
    source=(3, _OneOf("op", _SOURCE)),
    file=(4, _OneOf("op", _Message(ops.FileOp, actions=(2, _Many(_ACTION))))),
    build=(
        5,
        _OneOf(
            "op",
            _Message(
                ops.BuildOp,
                builder=(1, _INT),
                inputs=(2, _Map(_POSITION)),
                definition=(3, _BYTES),
                attrs=(4, _Map(_TEXT)),
            ),
        ),
    ),
    merge=(6, _OneOf("op", _Message(ops.MergeOp, inputs=(1, _Many(_POSITION))))),
    diff=(7, _OneOf("op", _Message(ops.DiffOp, lower=(1, _POSITION), upper=(2, _POSITION)))),
    passthrough=(
        8,
        _OneOf("op", _Message(ops.PassthroughOp, id=(1, _TEXT), outputs=(2, _Many(_INT)))),
    ),
    platform=(10, _PLATFORM),
    filters=(11, _Message(lambda filters=(): filters, filters=(1, _Many(_TEXT)))),
)


def op(data: bytes) -> ops.Op:
    """`pb.Op`.

    Raises:
        InvalidDefinition: the bytes are no such message.
    """
    made: ops.Op = _read(data, _OP)
    return made


# --- definition -----------------------------------------------------------------------------------------


class File(Record):
    """A source file, with the graph that reads it, or None."""

    filename: str
    data: bytes
    language: str
    graph: Graph | None


class SourceMap(Record):
    """Source files, and the places of each vertex in them, by digest."""

    files: tuple[File, ...]
    locations: Mapping[str, tuple[Location, ...]]


class Graph(Record):
    """What a definition is made of.

    Attributes:
        ops: pairs of digest and bytes.
        metadata: by digest.
        source: the source map, or None.
    """

    ops: tuple[tuple[str, bytes], ...]
    metadata: Mapping[str, OpMetadata]
    source: SourceMap | None


_METADATA = _Message(
    OpMetadata,
    ignore_cache=(1, _BOOL),
    description=(2, _Map(_TEXT)),
    export_cache=(4, _Message(lambda value=False: value, value=(1, _BOOL))),
    caps=(5, _Map(_BOOL)),
    progress_group=(
        6,
        _Message(
            ProgressGroup,
            id=(1, _TEXT),
            name=(2, _TEXT),
            weak=(3, _BOOL),
        ),
    ),
    resources=(
        7,
        _Message(
            LinuxResources,
            memory=(1, _INT),
            memory_swap=(2, _INT),
            cpu_shares=(3, _INT),
            cpu_period=(4, _INT),
            cpu_quota=(5, _INT),
            cpuset_cpus=(6, _TEXT),
            cpuset_mems=(7, _TEXT),
        ),
    ),
)
_POSITION_IN_FILE = _Message(lambda line=0, character=0: (line, character), line=(1, _INT32), character=(2, _INT32))
_RANGE = _Message(
    lambda start=(0, 0), end=(0, 0): (*start, *end), start=(1, _POSITION_IN_FILE), end=(2, _POSITION_IN_FILE)
)
_LOCATION = _Message(lambda index=0, ranges=(): Location(index, ranges), index=(1, _INT32), ranges=(2, _Many(_RANGE)))
_LOCATIONS = _Message(lambda locations=(): locations, locations=(1, _Many(_LOCATION)))
_INFO = _Message(
    lambda filename="", data=b"", graph=None, language="": File(filename, data, language, graph),
    filename=(1, _TEXT),
    data=(2, _BYTES),
    language=(4, _TEXT),
)
_SOURCE_MAP = _Message(
    lambda locations=None, infos=(): SourceMap(infos, locations or {}),
    locations=(1, _Map(_LOCATIONS)),
    infos=(2, _Many(_INFO)),
)


def _graph(ops: tuple[bytes, ...] = (), metadata: Any = None, source: Any = None) -> Graph:
    return Graph(tuple((digest(data), data) for data in ops), metadata or {}, source)


_DEFINITION = _Message(_graph, ops=(1, _Many(_BYTES)), metadata=(2, _Map(_METADATA)), source=(3, _SOURCE_MAP))
_INFO.fields[3] = ("graph", _DEFINITION)


def definition(data: bytes) -> Graph:
    """`pb.Definition`, checked: every operation reads only operations that are there, the last one is the
    terminal. A graph cannot have cycles, since an operation's digest covers those of its inputs.

    Raises:
        InvalidDefinition: naming the operation and what is wrong with it.
    """
    made: Graph = _read(data, _DEFINITION)
    check(made)
    return made


def check(value: Graph) -> None:
    """The rules of `definition`, for a graph at hand.

    Raises:
        InvalidDefinition: naming the operation and what is wrong with it.
    """
    for file in value.source.files if value.source else ():
        if file.graph is not None:
            check(file.graph)  # nesting is bounded: see `_read`
    if not value.ops:
        return
    if len(value.ops) > MAX_OPS:
        raise InvalidDefinition(f"definition of {len(value.ops)} operations is larger than {MAX_OPS}")
    known = {name for name, _ in value.ops}
    for name, data in value.ops:
        try:
            one = op(data)
            ops.validate(one)
        except InvalidDefinition as failed:
            raise InvalidDefinition(f"operation {name}: {failed.message}") from None
        for wanted in one.inputs:
            if wanted.digest not in known:
                raise InvalidDefinition(f"operation {name}: invalid missing input digest {wanted.digest}")
    terminal(value.ops[-1][1])


def terminal(data: bytes) -> tuple[str, int]:
    """Digest and output index of the result, from the bytes of the last operation.

    Raises:
        InvalidDefinition: it is not a terminal operation.
    """
    last = op(data)
    if last.op is not None or len(last.inputs) != 1:
        raise InvalidDefinition("the last operation must have one input and do nothing")
    return last.inputs[0].digest, last.inputs[0].index
