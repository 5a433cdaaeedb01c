"""The cache key of an exec operation: digest over what the step is, and how each input takes part.

The preimage is JSON, byte for byte as the reference builder hashes it, so that cache records mean the same
to both. Left out is what may differ from machine to machine without changing the result: proxies, the
addresses of extra hosts, ids of cache mounts other than the usual ones, selectors (they are part of the
inputs' keys instead).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from dockc.base import folders
from dockc.base.record import Record
from dockc.errors import DockcError
from dockc.golang.text import dump_json
from dockc.llb.modes import ContentCache, MountKind
from dockc.oci import digest as digests
from dockc.oci import platform as platforms

if TYPE_CHECKING:
    from dockc.llb.pb import ops_pb2

CACHE_TYPE = "buildkit.exec.v0"
EMPTY_INPUT = -1
SKIP_OUTPUT = -1
ROOT = "/"


class InputKey(Record):
    """How one input takes part: the paths read of it, and whether their content makes the key."""

    selectors: tuple[str, ...]
    by_content: bool

    @property
    def selector_digest(self) -> str:
        """What distinguishes the part read from the whole, "" for an input that no mount uses."""
        if not self.selectors:
            return ""
        return digests.from_bytes(b"\0".join(s.encode("utf-8", "surrogateescape") for s in self.selectors))

    @property
    def content_paths(self) -> tuple[str, ...]:
        """The paths to hash, none inside another; empty for the whole input."""
        paths = outermost(self.selectors)
        return () if any(path in ("", ROOT) for path in paths) else paths


def outermost(paths: Sequence[str]) -> tuple[str, ...]:
    """The paths that lie in no other one, sorted; a single one is left as it is."""
    if len(paths) <= 1:
        return tuple(paths)
    return tuple(sorted(folders.outermost(paths)))


def preimage(op: ops_pb2.Op) -> dict[str, Any]:
    """What is hashed, as JSON values in the reference's field order."""
    platform = op.platform if op.HasField("platform") else None
    default = platforms.default()
    out: dict[str, Any] = {
        "Type": CACHE_TYPE,
        "Exec": _exec(op.exec),
        "OS": platform.OS if platform else default.os,
        "Arch": platform.Architecture if platform else default.architecture,
    }
    rest = {
        "Variant": platform.Variant if platform else default.variant,
        "OSVersion": platform.OSVersion if platform else default.os_version,
        "OSFeatures": list(platform.OSFeatures if platform else default.os_features),
    }
    return out | {name: value for name, value in rest.items() if value}


def digest(op: ops_pb2.Op) -> str:
    """The operation's cache digest."""
    return digests.from_bytes(dump_json(preimage(op)))


def _exec(op: ops_pb2.ExecOp) -> dict[str, Any]:
    out: dict[str, Any] = {}
    if op.HasField("meta"):
        out["meta"] = _meta(op.meta)
    if not _is_plain_root(op.mounts):
        out["mounts"] = [_mount(mount) for mount in op.mounts]
    out["network"] = int(op.network)
    out["security"] = int(op.security)
    out["secretenv"] = [_present(ID=s.ID, name=s.name, optional=s.optional) for s in op.secretenv]
    out["cdiDevices"] = [_present(name=d.name, optional=d.optional) for d in op.cdiDevices]
    return _present(**out) if "meta" not in out else {"meta": out.pop("meta")} | _present(**out)


def _present(**values: Any) -> dict[str, Any]:
    """The values that are not zero, in the order given."""
    return {name: value for name, value in values.items() if value}


def _meta(meta: ops_pb2.Meta) -> dict[str, Any]:
    return _present(
        args=list(meta.args),
        env=list(meta.env),
        cwd=meta.cwd,
        user=meta.user,
        extraHosts=[_present(Host=entry.Host) for entry in meta.extraHosts],
        hostname=meta.hostname,
        ulimit=[_present(Name=u.Name, Soft=u.Soft, Hard=u.Hard) for u in meta.ulimit],
        cgroupParent=meta.cgroupParent,
        removeMountStubsRecursive=meta.removeMountStubsRecursive,
        validExitCodes=list(meta.validExitCodes),
    )


def _mount(mount: ops_pb2.Mount) -> dict[str, Any]:
    out = _present(
        input=mount.input,
        dest=mount.dest,
        output=mount.output,
        readonly=mount.readonly,
        mountType=int(mount.mountType),
    )
    if mount.HasField("TmpfsOpt"):
        out["TmpfsOpt"] = _present(size=mount.TmpfsOpt.size)
    if mount.HasField("cacheOpt"):
        cache = mount.cacheOpt
        usual = cache.sharing == 0 and mount.dest in (cache.ID, cache.ID.partition("/")[2])
        out["cacheOpt"] = _present(ID=cache.ID, sharing=int(cache.sharing)) if usual else {}
    for field in ("secretOpt", "SSHOpt"):
        if mount.HasField(field):
            opt = getattr(mount, field)
            out[field] = _present(ID=opt.ID, uid=opt.uid, gid=opt.gid, mode=opt.mode, optional=opt.optional)
    return out | _present(resultID=mount.resultID, contentCache=int(mount.contentCache))


def _is_plain_root(mounts: Sequence[ops_pb2.Mount]) -> bool:
    """Whether the step has just a writable root, as most RUN have: such keys never held the mounts."""
    if len(mounts) != 1:
        return False
    mount = mounts[0]
    options = any(mount.HasField(f) for f in ("cacheOpt", "SSHOpt", "secretOpt"))
    return (
        mount.dest == ROOT
        and not mount.readonly
        and mount.mountType == MountKind.BIND
        and not mount.resultID
        and not options
    )


def input_keys(op: ops_pb2.ExecOp, count: int) -> tuple[InputKey, ...]:
    """How each of `count` inputs takes part in the key.

    Content counts where the step cannot carry unseen files of the input into a result: a mount without
    output, a read-only one, or one of the whole input. The root goes by definition alone.

    Raises:
        DockcError: a mount of an input that does not exist, or content caching where it is unsafe.
    """
    selectors: list[list[str]] = [[] for _ in range(count)]
    by_content = [False] * count
    for mount in op.mounts:
        if mount.mountType in (MountKind.SECRET, MountKind.SSH, MountKind.TMPFS) or mount.input == EMPTY_INPUT:
            continue
        if not 0 <= mount.input < count:
            raise DockcError(f"invalid mountinput {mount.input}")
        selector = posixpath.normpath("/" + mount.selector.lstrip("/"))
        selectors[mount.input].append(selector)
        safe = mount.output == SKIP_OUTPUT or mount.readonly or selector == ROOT
        if mount.contentCache == ContentCache.ON and not safe:
            raise DockcError(f"invalid mount cache content for {mount.dest}")
        if mount.contentCache == ContentCache.OFF or (mount.contentCache != ContentCache.ON and mount.dest == ROOT):
            safe = False
        by_content[mount.input] = safe
    return tuple(InputKey(tuple(s), c) for s, c in zip(selectors, by_content, strict=True))
