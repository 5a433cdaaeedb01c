"""The canonical protobuf bytes of LLB messages, written out directly.

Field numbers follow `proto/ops.proto`. Canonical is what a Go client writes, since digests are computed over
it: fields in the order of their numbers with members of a `oneof` after all others, default values left out,
map entries sorted by key and always with key and value. The protobuf package orders `oneof` members and map
entries differently, so it can read these messages but not make their digests.

Every function returns the content of its message, without tag and length.
"""

from __future__ import annotations

from dockc.base.hashing import sha256
from dockc.llb.modes import MountKind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dockc.llb.metadata import Location, OpMetadata, Range
    from dockc.oci.platform import Platform

_SMALL = [bytes((n,)) for n in range(128)]
_TRUE = b"\x01"
_EMPTY = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # -1


def varint(n: int) -> bytes:
    """A number as a varint; negative ones are 64-bit two's complement."""
    if 0 <= n < 128:
        return _SMALL[n]
    if 0 < n < 16384:
        return bytes((n & 127 | 128, n >> 7))
    if n == -1:
        return _EMPTY
    n &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def digest(data: bytes) -> str:
    """The name of an operation: `sha256:` and the hex digest of its bytes."""
    return "sha256:" + sha256(data)


# --- fields: tag, then value; nothing for the default value ---------------------------------------------


def _number(tag: bytes, n: int) -> bytes:
    return tag + varint(n) if n else b""


def _flag(tag: bytes, value: bool) -> bytes:
    return tag + _TRUE if value else b""


def _text(tag: bytes, text: str) -> bytes:
    if not text:
        return b""
    data = text.encode()
    size = len(data)
    return tag + (_SMALL[size] if size < 128 else varint(size)) + data


def _bytes(tag: bytes, data: bytes) -> bytes:
    return tag + varint(len(data)) + data if data else b""


def _texts(tag: bytes, texts: Iterable[str]) -> bytes:
    """A repeated string: empty ones are written."""
    out = []
    for text in texts:
        data = text.encode()
        size = len(data)
        out.append(tag + (_SMALL[size] if size < 128 else varint(size)) + data)
    return b"".join(out)


def _message(tag: bytes, content: bytes) -> bytes:
    """A message that is present, even if it is empty."""
    size = len(content)
    return tag + (_SMALL[size] if size < 128 else varint(size)) + content


def _text_map(tag: bytes, pairs: Iterable[tuple[str, str]]) -> bytes:
    out = []
    for key, value in pairs:
        k, v = key.encode(), value.encode()
        out.append(_message(tag, b"\n" + varint(len(k)) + k + b"\x12" + varint(len(v)) + v))
    return b"".join(out)


# --- operations -----------------------------------------------------------------------------------------


def platform(value: Platform) -> bytes:
    """`pb.Platform`."""
    return (
        _text(b"\n", value.architecture)
        + _text(b"\x12", value.os)
        + _text(b"\x1a", value.variant)
        + _text(b'"', value.os_version)
        + _texts(b"*", value.os_features)
    )


def op(
    inputs: Sequence[tuple[str, int]],
    field: int,
    content: bytes,
    on: Platform | None = None,
    filters: Sequence[str] = (),
) -> bytes:
    """`pb.Op`; `field` is the number of the kind of operation, `content` its message."""
    out = op_inputs(inputs)
    if on is not None:
        out += _message(b"R", platform(on))
    return out + _message(b"Z", _texts(b"\n", filters)) + _message(bytes((field << 3 | 2,)), content)


def op_inputs(inputs: Sequence[tuple[str, int]]) -> bytes:
    """The inputs of a `pb.Op`; of a terminal operation, these are all of it."""
    out = b""
    for name, index in inputs:
        out += _message(b"\n", _text(b"\n", name) + _number(b"\x10", index))
    return out


EXEC, SOURCE, FILE, BUILD, MERGE, DIFF, PASSTHROUGH = range(2, 9)


def source_op(identifier: str, attrs: Iterable[tuple[str, str]]) -> bytes:
    """`pb.SourceOp`; `attrs` are sorted by key."""
    return _text(b"\n", identifier) + _text_map(b"\x12", attrs)


def exec_op(
    meta: bytes | None,
    mounts: Iterable[bytes],
    *,
    network: int = 0,
    security: int = 0,
    secret_env: Iterable[tuple[str, str, bool]] = (),
    devices: Iterable[tuple[str, bool]] = (),
) -> bytes:
    """`pb.ExecOp`; `secret_env` holds (id, name, optional), `devices` (name, optional)."""
    out = [] if meta is None else [_message(b"\n", meta)]
    out += [_message(b"\x12", m) for m in mounts]
    out.append(_number(b"\x18", network) + _number(b" ", security))
    for name, variable, optional in secret_env:
        out.append(_message(b"*", _text(b"\n", name) + _text(b"\x12", variable) + _flag(b"\x18", optional)))
    for name, optional in devices:
        out.append(_message(b"2", _text(b"\n", name) + _flag(b"\x10", optional)))
    return b"".join(out)


def exec_meta(
    args: Iterable[str],
    env: Iterable[str],
    cwd: str,
    user: str = "",
    *,
    proxy: Sequence[str] | None = None,
    hosts: Iterable[tuple[str, str]] = (),
    hostname: str = "",
    ulimits: Iterable[tuple[str, int, int]] = (),
    cgroup_parent: str = "",
    remove_mount_stubs: bool = True,
    exit_codes: Iterable[int] = (),
) -> bytes:
    """`pb.Meta`; `proxy` holds http, https, ftp, no_proxy and all_proxy."""
    out = _texts(b"\n", args) + _texts(b"\x12", env) + _text(b"\x1a", cwd) + _text(b'"', user)
    if proxy is not None:
        fields = b"".join(_text(bytes((n << 3 | 2,)), v) for n, v in enumerate(proxy, 1))
        out += _message(b"*", fields)
    for host, address in hosts:
        out += _message(b"2", _text(b"\n", host) + _text(b"\x12", address))
    out += _text(b":", hostname)
    for name, soft, hard in ulimits:
        out += _message(b"J", _text(b"\n", name) + _number(b"\x10", soft) + _number(b"\x18", hard))
    out += _text(b"R", cgroup_parent) + _flag(b"X", remove_mount_stubs)
    return out + _bytes(b"b", b"".join(varint(code) for code in exit_codes))


def mount(
    position: int,
    dest: str,
    output: int,
    *,
    selector: str = "",
    readonly: bool = False,
    kind: int = MountKind.BIND,
    option: bytes = b"",
    result_id: str = "",
    content_cache: int = 0,
) -> bytes:
    """`pb.Mount`; `option` is the tagged message of the kind: `tmpfs`, `cache`, `secret` or `ssh`."""
    return (
        _number(b"\x08", position)
        + _text(b"\x12", selector)
        + _text(b"\x1a", dest)
        + _number(b" ", output)
        + _flag(b"(", readonly)
        + _number(b"0", kind)
        + option
        + _text(b"\xba\x01", result_id)
        + _number(b"\xc0\x01", content_cache)
    )


def tmpfs(size: int) -> bytes:
    """The option of a tmpfs mount, tagged."""
    return _message(b"\x9a\x01", _number(b"\x08", size))


def cache(name: str, sharing: int) -> bytes:
    """The option of a cache mount, tagged."""
    return _message(b"\xa2\x01", _text(b"\n", name) + _number(b"\x10", sharing))


def secret(name: str, uid: int, gid: int, mode: int, optional: bool) -> bytes:
    """The option of a secret mount, tagged."""
    return _message(b"\xaa\x01", _credential(name, uid, gid, mode, optional))


def ssh(name: str, uid: int, gid: int, mode: int, optional: bool) -> bytes:
    """The option of an ssh mount, tagged."""
    return _message(b"\xb2\x01", _credential(name, uid, gid, mode, optional))


def _credential(name: str, uid: int, gid: int, mode: int, optional: bool) -> bytes:
    return (
        _text(b"\n", name)
        + _number(b"\x10", uid & 0xFFFFFFFF)
        + _number(b"\x18", gid & 0xFFFFFFFF)
        + _number(b" ", mode & 0xFFFFFFFF)
        + _flag(b"(", optional)
    )


# --- file -----------------------------------------------------------------------------------------------

COPY, MKFILE, MKDIR, RM, SYMLINK = range(4, 9)


def file_op(actions: Iterable[bytes]) -> bytes:
    """`pb.FileOp`."""
    return b"".join(_message(b"\x12", a) for a in actions)


def file_action(position: int, secondary: int, output: int, field: int, content: bytes) -> bytes:
    """`pb.FileAction`; `field` is the number of the kind of action, `content` its message."""
    return (
        _number(b"\x08", position)
        + _number(b"\x10", secondary)
        + _number(b"\x18", output)
        + _message(bytes((field << 3 | 2,)), content)
    )


def copy(
    src: str,
    dest: str,
    *,
    owner: bytes | None = None,
    mode: int = -1,
    follow_symlinks: bool = False,
    dir_contents: bool = False,
    unpack: bool = False,
    create_dest: bool = False,
    wildcard: bool = False,
    empty_wildcard: bool = False,
    timestamp: int = -1,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    replace_existing: bool = False,
    mode_str: str = "",
    required: Iterable[str] = (),
) -> bytes:
    """`pb.FileActionCopy`."""
    return (
        _text(b"\n", src)
        + _text(b"\x12", dest)
        + (b"" if owner is None else _message(b"\x1a", owner))
        + _number(b" ", mode)
        + _flag(b"(", follow_symlinks)
        + _flag(b"0", dir_contents)
        + _flag(b"8", unpack)
        + _flag(b"@", create_dest)
        + _flag(b"H", wildcard)
        + _flag(b"P", empty_wildcard)
        + _number(b"X", timestamp)
        + _texts(b"b", include)
        + _texts(b"j", exclude)
        + _flag(b"p", replace_existing)
        + _text(b"z", mode_str)
        + _texts(b"\x82\x01", required)
    )


def mkfile(path: str, mode: int, data: bytes, *, owner: bytes | None = None, timestamp: int = -1) -> bytes:
    """`pb.FileActionMkFile`."""
    return (
        _text(b"\n", path)
        + _number(b"\x10", mode)
        + _bytes(b"\x1a", data)
        + (b"" if owner is None else _message(b'"', owner))
        + _number(b"(", timestamp)
    )


def mkdir(path: str, mode: int, parents: bool, *, owner: bytes | None = None, timestamp: int = -1) -> bytes:
    """`pb.FileActionMkDir`."""
    return (
        _text(b"\n", path)
        + _number(b"\x10", mode)
        + _flag(b"\x18", parents)
        + (b"" if owner is None else _message(b'"', owner))
        + _number(b"(", timestamp)
    )


def rm(path: str, allow_missing: bool, wildcard: bool) -> bytes:
    """`pb.FileActionRm`."""
    return _text(b"\n", path) + _flag(b"\x10", allow_missing) + _flag(b"\x18", wildcard)


def symlink(oldpath: str, newpath: str, *, owner: bytes | None = None, timestamp: int = -1) -> bytes:
    """`pb.FileActionSymlink`."""
    return (
        _text(b"\n", oldpath)
        + _text(b"\x12", newpath)
        + (b"" if owner is None else _message(b"\x1a", owner))
        + _number(b" ", timestamp)
    )


def chown(user: tuple[str, int] | int | None, group: tuple[str, int] | int | None) -> bytes:
    """`pb.ChownOpt`; a name comes with the position of the input in which it is looked up."""
    return _owner(b"\n", user) + _owner(b"\x12", group)


def _owner(tag: bytes, who: tuple[str, int] | int | None) -> bytes:
    if who is None:
        return b""
    if isinstance(who, int):
        return _message(tag, b"\x10" + varint(who & 0xFFFFFFFF))
    name, position = who
    return _message(tag, _message(b"\n", _text(b"\n", name) + _number(b"\x10", position)))


# --- file systems ---------------------------------------------------------------------------------------


def merge_op(positions: Iterable[int]) -> bytes:
    """`pb.MergeOp`."""
    return b"".join(_message(b"\n", _number(b"\x08", p)) for p in positions)


def diff_op(lower: int | None, upper: int | None) -> bytes:
    """`pb.DiffOp`; -1 for an empty file system, None leaves the field out."""
    out = b"" if lower is None else _message(b"\n", _number(b"\x08", lower))
    return out if upper is None else out + _message(b"\x12", _number(b"\x08", upper))


def passthrough_op(name: str, outputs: Iterable[int]) -> bytes:
    """`pb.PassthroughOp`."""
    return _text(b"\n", name) + _bytes(b"\x12", b"".join(varint(o) for o in outputs))


def build_op(builder: int, inputs: Mapping[str, int], graph: bytes | None, attrs: Mapping[str, str]) -> bytes:
    """`pb.BuildOp`."""
    out = _number(b"\x08", builder)
    for name in sorted(inputs):
        value = _message(b"\x12", _number(b"\x08", inputs[name]))
        out += _message(b"\x12", _message(b"\n", name.encode()) + value)
    if graph is not None:
        out += _message(b"\x1a", graph)
    return out + _text_map(b'"', sorted(attrs.items()))


# --- definition -----------------------------------------------------------------------------------------

_CAP_MAPS: dict[tuple[str, ...], bytes] = {}


def _caps(caps: Mapping[str, bool]) -> bytes:
    """A map of capabilities; the same few sets come again and again."""
    key = tuple(sorted(caps))
    if key not in _CAP_MAPS or not all(caps.values()):
        entries = b"".join(
            _message(b"*", _message(b"\n", cap.encode()) + b"\x10" + (_TRUE if caps[cap] else b"\0")) for cap in key
        )
        if not all(caps.values()) or len(_CAP_MAPS) > 1000:
            return entries
        _CAP_MAPS[key] = entries
    return _CAP_MAPS[key]


def op_metadata(value: OpMetadata) -> bytes:
    """`pb.OpMetadata`."""
    out = _flag(b"\x08", value.ignore_cache) + _text_map(b"\x12", sorted(value.description.items()))
    if value.export_cache is not None:
        out += _message(b'"', _flag(b"\x08", value.export_cache))
    out += _caps(value.caps)
    if group := value.progress_group:
        content = _text(b"\n", group.id) + _text(b"\x12", group.name) + _flag(b"\x18", group.weak)
        out += _message(b"2", content)
    if limits := value.resources:
        out += _message(
            b":",
            _number(b"\x08", limits.memory)
            + _number(b"\x10", limits.memory_swap)
            + _number(b"\x18", limits.cpu_shares)
            + _number(b" ", limits.cpu_period)
            + _number(b"(", limits.cpu_quota)
            + _text(b"2", limits.cpuset_cpus)
            + _text(b":", limits.cpuset_mems),
        )
    return out


def _range(value: Range) -> bytes:
    first_line, first_character, last_line, last_character = value
    start = _number(b"\x08", first_line) + _number(b"\x10", first_character)
    end = _number(b"\x08", last_line) + _number(b"\x10", last_character)
    return _message(b"\n", start) + _message(b"\x12", end)


def location(value: Location) -> bytes:
    """`pb.Location`."""
    return _number(b"\x08", value.index) + b"".join(_message(b"\x12", _range(r)) for r in value.ranges)


def source_info(filename: str, data: bytes, language: str, graph: bytes | None) -> bytes:
    """`pb.SourceInfo`; `graph` is the marshalled definition that reads the file, or None."""
    out = _text(b"\n", filename) + _bytes(b"\x12", data)
    if graph is not None:
        out += _message(b"\x1a", graph)
    return out + _text(b'"', language)


def source(locations: Mapping[str, Iterable[Location]], infos: Iterable[bytes]) -> bytes:
    """`pb.Source` of the places of each vertex, by digest, and the files as `source_info` gives them."""
    out = []
    for name in sorted(locations):
        places = b"".join(_message(b"\n", location(p)) for p in locations[name])
        out.append(_message(b"\n", _message(b"\n", name.encode()) + _message(b"\x12", places)))
    out += [_message(b"\x12", one) for one in infos]
    return b"".join(out)


def definition(ops: Iterable[tuple[str, bytes]], metadata: Mapping[str, OpMetadata], source_map: bytes | None) -> bytes:
    """`pb.Definition` of operations with their digests, what is said about them, and `source`'s bytes, or None."""
    out = [_message(b"\n", data) for _, data in ops]
    for name in sorted(metadata):
        content = op_metadata(metadata[name])
        out.append(_message(b"\x12", _message(b"\n", name.encode()) + _message(b"\x12", content)))
    if source_map is not None:
        out.append(_message(b"\x1a", source_map))
    return b"".join(out)
