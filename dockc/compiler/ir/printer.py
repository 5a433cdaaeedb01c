"""The text form of a module: every fact of every operation, in a form that one can read, edit and diff.

    platform linux/amd64
    file @0 "Dockerfile" language="Dockerfile" {
      "FROM alpine\\n"
      "RUN echo hi\\n"
    }
    %0 = source "docker-image://docker.io/library/alpine:latest" {
      platform linux/amd64
      name "[1/2] FROM docker.io/library/alpine:latest"
      at @0 1:0-1:11
    }
    %1 = exec {
      mount "/" %0
      args "/bin/sh" "-c" "echo hi"
      cwd "/"
      platform linux/amd64
    }
    result %1

A statement is a line of words: bare words, numbers, quoted text, `%value`, `@file`, and `key=word`. A block in
braces adds lines to it. `%3.1` is output 1 of `%3`; `scratch` is the empty file system. `parser` reads it back.
"""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.compiler.ir.module import Module, default_caps, walk
from dockc.compiler.ir.ops import (
    CUSTOM_NAME,
    Copy,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    MergeOp,
    Mkdir,
    Mkfile,
    Mount,
    Op,
    OpMeta,
    Owner,
    PassthroughOp,
    Rm,
    Secret,
    SourceMap,
    SourceOp,
    Ssh,
    Symlink,
    Value,
)
from dockc.llb.modes import ContentCache, Network, Security, Sharing
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

COPY_FLAGS = {
    "follow-symlinks": "follow_symlinks",
    "dir-contents": "dir_contents",
    "unpack": "unpack",
    "create-dest": "create_dest",
    "wildcard": "wildcard",
    "empty-wildcard": "empty_wildcard",
    "replace-existing": "replace_existing",
}
RESOURCES = ("memory", "memory_swap", "cpu_shares", "cpu_period", "cpu_quota", "cpuset_cpus", "cpuset_mems")
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}

_ESCAPED = pattern('[\\\\"\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]')
_BARE = pattern(r"[A-Za-z0-9_.:+\-]+\Z")


def print_module(module: Module) -> str:
    """The text form of a module."""
    return _Printer(module).text()


def quoted(text: str) -> str:
    """Text in double quotes; control characters, quotes and backslashes are escaped."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def quoted_bytes(data: bytes) -> str:
    """Bytes in double quotes: UTF-8 as text, other bytes as `\\xNN`."""
    text = data.decode("utf-8", "surrogateescape")
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def platform_words(platform: Platform) -> str:
    """A platform as words: `os/architecture[/variant]`, then what is unusual about it."""
    parts = [platform.os, platform.architecture] + ([platform.variant] if platform.variant else [])
    bare = all(_BARE.match(p) for p in parts)
    words = ["/".join(parts) if bare else " ".join(quoted(p) for p in parts)]
    if platform.os_version:
        words.append(f"version={quoted(platform.os_version)}")
    words += [f"feature={quoted(f)}" for f in platform.os_features]
    return " ".join(words)


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    code = ord(char)
    if char in ESCAPES:
        return ESCAPES[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}"


def _words(*parts: str) -> str:
    return " ".join(p for p in parts if p)


class _Printer:
    """Numbers the operations and files of one module."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._numbers: dict[Op, int] = {}
        self._files: dict[SourceMap, int] = {}
        self._lines: list[str] = [f"platform {platform_words(module.platform)}"]

    def text(self) -> str:
        ops = self._module.ops()
        origins = [place.source.origin for op in ops for place in op.meta.locations if place.source.origin is not None]
        for op in walk(origins):
            self._op(op)
        for op in ops:
            if op not in self._numbers:
                self._op(op)
        for name, value in self._module.outputs.items():
            self._lines.append(_words("result", self._value(value), quoted(name) if name else ""))
        return "\n".join(self._lines) + "\n"

    def _value(self, value: Value | None) -> str:
        if value is None:
            return "scratch"
        number = self._numbers[value.op]
        return f"%{number}.{value.index}" if value.index else f"%{number}"

    def _file(self, file: SourceMap) -> str:
        if file not in self._files:
            number = self._files[file] = len(self._files)
            head = f"file @{number} {quoted(file.filename)}"
            if file.language:
                head += f" language={quoted(file.language)}"
            if file.has_origin:
                head += f" origin={self._value(file.origin)}"
            self._block(head, [quoted_bytes(line) for line in file.data.splitlines(keepends=True)])
        return f"@{self._files[file]}"

    def _block(self, head: str, body: Iterable[str]) -> None:
        lines = [f"  {line}" for line in body]
        self._lines += [head + " {", *lines, "}"] if lines else [head]

    def _op(self, op: Op) -> None:
        files = [self._file(place.source) for place in op.meta.locations]
        number = len(self._numbers)
        head, body = self._content(op)
        if op.platform is not None:
            body.append(f"platform {platform_words(op.platform)}")
        body += [f"filter {quoted(f)}" for f in op.filters]
        if set(op.caps) != set(default_caps(op)):
            body.append(_words("caps", *[c if _BARE.match(c) else quoted(c) for c in sorted(op.caps)]))
        body += self._meta(op.meta, files)
        self._numbers[op] = number
        self._block(f"%{number} = {head}", body)

    def _content(self, op: Op) -> tuple[str, list[str]]:
        match op:
            case SourceOp():
                attrs = [f"attr {quoted(k)} {quoted(v)}" for k, v in op.attrs]
                return f"source {quoted(op.identifier)}", attrs
            case ExecOp():
                return "exec", self._exec(op)
            case FileOp():
                return f"file {self._value(op.base)}", [self._action(a) for a in op.actions]
            case MergeOp():
                return _words("merge", *map(self._value, op.layers)), []
            case DiffOp():
                return f"diff {self._value(op.lower)} {self._value(op.upper)}", []
            case PassthroughOp():
                values = [self._value(v) for v in op.values]
                forwarded = [f"forward={i}" for i in op.forwarded]
                return _words("passthrough", quoted(op.id), *values, *forwarded), []
        raise TypeError(type(op).__name__)

    def _exec(self, op: ExecOp) -> list[str]:
        lines = [self._mount(m) for m in op.mounts]
        lines.append(_words("args", *map(quoted, op.args)))
        lines += [f"env {quoted(e)}" for e in op.env]
        lines.append(f"cwd {quoted(op.cwd)}")
        for word, text in (("user", op.user), ("hostname", op.hostname), ("cgroup", op.cgroup_parent)):
            if text:
                lines.append(f"{word} {quoted(text)}")
        lines += [f"host {quoted(name)} {quoted(address)}" for name, address in op.hosts]
        lines += [f"ulimit {quoted(name)} {soft} {hard}" for name, soft, hard in op.ulimits]
        if op.exit_codes is not None:
            lines.append(_words("exit-codes", *map(str, op.exit_codes)))
        if op.network:
            lines.append(f"network {_name(Network.NAMES, op.network)}")
        if op.security:
            lines.append(f"security {_name(Security.NAMES, op.security)}")
        if op.proxy is not None:
            given = [f"{name}={quoted(v)}" for name in PROXIES if (v := getattr(op.proxy, name))]
            lines.append(_words("proxy", *given))
        lines += [self._secret(s) for s in op.secrets]
        lines += [self._ssh(s) for s in op.ssh]
        lines += [_words("device", quoted(name), "optional" if optional else "") for name, optional in op.devices]
        if not op.remove_mount_stubs:
            lines.append("keep-mount-stubs")
        return lines

    def _mount(self, m: Mount) -> str:
        return _words(
            "mount",
            quoted(m.target),
            self._value(m.source),
            f"selector={quoted(m.selector)}" if m.selector else "",
            "readonly" if m.readonly else "",
            "no-output" if m.no_output else "",
            f"cache={quoted(m.cache_id)}" if m.cache_id else "",
            f"sharing={_name(Sharing.NAMES, m.sharing)}" if m.sharing else "",
            "tmpfs" if m.tmpfs else "",
            f"size={m.tmpfs_size}" if m.tmpfs_size else "",
            f"content-cache={_name(ContentCache.NAMES, m.content_cache)}" if m.content_cache else "",
        )

    def _secret(self, s: Secret) -> str:
        return _words(
            "secret",
            quoted(s.id),
            f"target={quoted(s.target)}" if s.target is not None else "",
            f"env={quoted(s.env)}" if s.env is not None else "",
            _credential(s),
        )

    def _ssh(self, s: Ssh) -> str:
        return _words("ssh", quoted(s.id), f"target={quoted(s.target)}", _credential(s))

    def _action(self, action: FileAction) -> str:
        match action:
            case Copy():
                return self._copy(action)
            case Mkfile():
                data = quoted_bytes(action.data)
                return _words("mkfile", quoted(action.path), f"0{action.mode:o}", data, *_owned(action))
            case Mkdir():
                parents = "parents" if action.parents else ""
                return _words("mkdir", quoted(action.path), f"0{action.mode:o}", parents, *_owned(action))
            case Rm():
                missing = "allow-missing" if action.allow_missing else ""
                return _words("rm", quoted(action.path), missing, "wildcard" if action.wildcard else "")
            case Symlink():
                return _words("symlink", quoted(action.oldpath), quoted(action.newpath), *_owned(action))
        raise TypeError(type(action).__name__)

    def _copy(self, c: Copy) -> str:
        return _words(
            "copy",
            self._value(c.source),
            quoted(c.src),
            quoted(c.dest),
            f"mode=0{c.mode:o}" if c.mode >= 0 and not c.mode_str else "",
            f"mode={quoted(c.mode_str)}" if c.mode_str else "",
            *[flag for flag, field in COPY_FLAGS.items() if getattr(c, field)],
            *[f"include={quoted(p)}" for p in c.include],
            *[f"exclude={quoted(p)}" for p in c.exclude],
            *[f"required={quoted(p)}" for p in c.required],
            *_owned(c),
        )

    def _meta(self, meta: OpMeta, files: list[str]) -> list[str]:
        lines = [
            f"name {quoted(v)}" if k == CUSTOM_NAME else f"describe {quoted(k)} {quoted(v)}"
            for k, v in sorted(meta.description.items(), key=lambda kv: (kv[0] != CUSTOM_NAME, kv[0]))
        ]
        if meta.ignore_cache:
            lines.append("ignore-cache")
        if meta.export_cache is not None:
            lines.append(f"export-cache {'yes' if meta.export_cache else 'no'}")
        if group := meta.progress_group:
            lines.append(_words("group", quoted(group.id), quoted(group.name), "weak" if group.weak else ""))
        if meta.resources is not None:
            given = [(name, getattr(meta.resources, name)) for name in RESOURCES]
            words = [f"{n}={quoted(v) if isinstance(v, str) else v}" for n, v in given if v]
            lines.append(_words("resources", *words))
        for file, place in zip(files, meta.locations, strict=True):
            lines.append(_words("at", file, *[f"{a}:{b}-{c}:{d}" for a, b, c, d in place.ranges]))
        return lines


def _name(names: tuple[str, ...], number: int) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def _credential(s: Secret | Ssh) -> str:
    return _words(
        f"uid={s.uid}" if s.uid else "",
        f"gid={s.gid}" if s.gid else "",
        f"mode=0{s.mode:o}",
        "optional" if s.optional else "",
    )


def _owned(action: Copy | Mkfile | Mkdir | Symlink) -> list[str]:
    words = []
    owner: Owner | None = action.owner
    if owner is not None:
        if owner.user is None and owner.group is None:
            words.append("owner")
        for key, who in (("user", owner.user), ("group", owner.group)):
            if who is not None:
                words.append(f"{key}={quoted(who) if isinstance(who, str) else who}")
    if action.timestamp != -1:
        words.append(f"timestamp={action.timestamp}")
    return words
