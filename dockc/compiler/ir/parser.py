"""Reads the text form of a module; see `printer` for the form."""

from __future__ import annotations

import re

from dockc.base.pattern import pattern
from dockc.compiler.ir import printer
from dockc.compiler.ir.module import Module, ProgressGroup, default_caps
from dockc.compiler.ir.ops import (
    CUSTOM_NAME,
    Copy,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    Location,
    MergeOp,
    Mkdir,
    Mkfile,
    Mount,
    Op,
    OpMeta,
    Owner,
    PassthroughOp,
    ProxyEnv,
    Rm,
    Secret,
    SourceMap,
    SourceOp,
    Ssh,
    Symlink,
    Value,
    replaced,
)
from dockc.errors import CompileError, Fault
from dockc.llb.definition import LinuxResources
from dockc.llb.modes import ContentCache, Network, Security, Sharing
from dockc.oci.platform import Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import ClassVar, NoReturn

_TOKEN = pattern(
    r"""[ \t]+|(?P<comment>\#.*)|(?P<key>[A-Za-z][A-Za-z0-9_\-]*=)|(?P<text>"(?:[^"\\\n]|\\.)*")"""
    r"""|(?P<value>%[0-9]{1,9}(?:\.[0-9]{1,9})?)|(?P<file>@[0-9]{1,9})|(?P<mark>[{}=])|(?P<word>[A-Za-z0-9_./:+\-]+)"""
)
_UNESCAPE = pattern(r"\\(u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)")
_SIMPLE = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_NUMBER = pattern(r"-?[0-9]{1,20}\Z")
_RANGE = pattern(r"([0-9]{1,9}):([0-9]{1,9})-([0-9]{1,9}):([0-9]{1,9})\Z")


def parse_module(text: str) -> Module:
    """Read the text form.

    Raises:
        CompileError: with the line that cannot be read.
    """
    return _Parser(text).module()


class _Text(str):
    """A quoted word."""

    __slots__ = ()


class _Line:
    """A statement: its words, its `key=word` pairs in order, and the lines of its block."""

    __slots__ = ("block", "keys", "number", "words")

    def __init__(self, number: int, words: list[str], keys: list[tuple[str, str]]) -> None:
        self.number = number
        self.words = words
        self.keys = keys
        self.block: list[_Line] = []

    def fail(self, message: str) -> NoReturn:
        raise CompileError(
            f"line {self.number}: {message}", fault=Fault("bad-ir"), locations=(((self.number, self.number),),)
        )

    def word(self, at: int) -> str:
        if at >= len(self.words):
            self.fail(f"{self.words[0]} needs more words" if self.words else "expected a word")
        return self.words[at]

    def text(self, at: int) -> str:
        word = self.word(at)
        if not isinstance(word, _Text):
            self.fail(f"expected quoted text, not {word}")
        return str(word)

    def data(self, at: int) -> bytes:
        try:
            return self.text(at).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            self.fail("the text holds half of a pair of surrogates")

    def integer(self, word: str) -> int:
        if not _NUMBER.match(word):
            self.fail(f"expected a number, not {word}")
        return int(word)

    def mode(self, word: str) -> int:
        if not re.fullmatch(r"0[0-7]{0,11}", word):
            self.fail(f"expected an octal mode, not {word}")
        return int(word, 8)

    def choice(self, names: tuple[str, ...], word: str) -> int:
        return names.index(word) if word in names else self.integer(word)

    def key(self, name: str) -> str | None:
        return next((value for key, value in self.keys if key == name), None)

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(str(value) for key, value in self.keys if key == name)

    def number_of(self, name: str, default: int = 0) -> int:
        word = self.key(name)
        return default if word is None else self.integer(word)

    def only(self, words: Sequence[str] = (), keys: Sequence[str] = (), *, after: int) -> set[str]:
        """The bare words after position `after`; refuses what is not listed."""
        flags = self.words[after:]
        for flag in flags:
            if flag not in words or isinstance(flag, _Text):
                self.fail(f"{self.words[0]} has no word {flag}")
        for key, _ in self.keys:
            if key not in keys:
                self.fail(f"{self.words[0]} has no key {key}")
        return set(flags)


def _lines(text: str) -> list[_Line]:
    top: list[_Line] = []
    open_block: _Line | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        words, keys = _tokens(number, raw)
        if not words and not keys:
            continue
        line = _Line(number, words, keys)
        if words == ["}"] and not isinstance(words[0], _Text):
            if open_block is None:
                line.fail("no block to close")
            open_block = None
        elif open_block is not None:
            open_block.block.append(line)
        else:
            if words and words[-1] == "{" and not isinstance(words[-1], _Text):
                words.pop()
                open_block = line
            top.append(line)
    if open_block is not None:
        open_block.fail("block is not closed")
    return top


def _tokens(number: int, raw: str) -> tuple[list[str], list[tuple[str, str]]]:
    words: list[str] = []
    keys: list[tuple[str, str]] = []
    key = ""
    at = 0
    while at < len(raw):
        match = _TOKEN.match(raw, at)
        if match is None:
            raise CompileError(f"line {number}: cannot read {raw[at : at + 20]!r}", fault=Fault("bad-ir"))
        at = match.end()
        kind = match.lastgroup
        if kind is None or kind == "comment":
            continue
        if kind == "key":
            key = match.group()[:-1]
            continue
        word = _unquote(match.group()) if kind == "text" else match.group()
        if key:
            keys.append((key, word))
            key = ""
        else:
            words.append(word)
    if key:
        raise CompileError(f"line {number}: {key}= needs a value", fault=Fault("bad-ir"))
    return words, keys


def _unquote(token: str) -> _Text:
    def one(match: re.Match[str]) -> str:
        escape = match.group(1)
        if escape[0] == "u" and len(escape) == 5:
            return chr(int(escape[1:], 16))
        if escape[0] == "x" and len(escape) == 3:
            byte = int(escape[1:], 16)
            return chr(byte if byte < 0x80 else 0xDC00 + byte)
        return _SIMPLE.get(escape, escape)

    return _Text(_UNESCAPE.sub(one, token[1:-1]))


class _Parser:
    """The tables of one module while it is read: `_values` by number, `_files` by number."""

    def __init__(self, text: str) -> None:
        self._top = _lines(text)
        self._ops: dict[str, Op] = {}
        self._files: dict[str, SourceMap] = {}
        self._outputs: dict[str, Value | None] = {}
        self._platform: Platform | None = None

    def module(self) -> Module:
        for line in self._top:
            head = line.word(0)
            if head == "platform":
                self._platform = _platform(line)
            elif head == "file":
                self._file(line)
            elif head == "result":
                name = line.text(2) if len(line.words) > 2 else ""
                self._outputs[name] = self._value(line, line.word(1))
            elif head.startswith("%") and line.words[1:2] == ["="]:
                self._define(head, line)
            else:
                line.fail(f"unknown statement {head}")
        if self._platform is None:
            raise CompileError("the module has no platform line", fault=Fault("bad-ir"))
        return Module(self._outputs, self._platform)

    def _value(self, line: _Line, word: str) -> Value | None:
        if word == "scratch" and not isinstance(word, _Text):
            return None
        number, _, index = word.partition(".")
        if not word.startswith("%") or isinstance(word, _Text):
            line.fail(f"expected a value, not {word}")
        if number not in self._ops:
            line.fail(f"value {number} is not defined above")
        return Value(self._ops[number], int(index or 0))

    def _present(self, line: _Line, word: str) -> Value:
        value = self._value(line, word)
        if value is None:
            line.fail("scratch cannot stand here")
        return value

    def _file(self, line: _Line) -> None:
        line.only(keys=("language", "origin"), after=3)
        origin = line.key("origin")
        data = b"".join(row.data(0) for row in line.block)
        self._files[line.word(1)] = SourceMap(
            line.text(2),
            str(line.key("language") or ""),
            data,
            None if origin is None else self._value(line, origin),
            has_origin=origin is not None,
        )

    def _define(self, name: str, line: _Line) -> None:
        if name in self._ops or "." in name:
            line.fail(f"value {name} is defined twice")
        del line.words[:2]
        kind = line.word(0)
        make = self._KINDS.get(kind)
        if make is None:
            line.fail(f"unknown operation {kind}")
        own: list[_Line] = []
        said: dict[str, list[_Line]] = {}
        for row in line.block:
            target = said.setdefault(row.word(0), []) if row.word(0) in _SAID else own
            target.append(row)
        op = make(self, line, own)
        meta = self._meta(said)
        platforms = [_platform(row) for row in said.get("platform", ())]
        op = replaced(
            op,
            meta=meta,
            platform=platforms[-1] if platforms else None,
            filters=tuple(row.text(1) for row in said.get("filter", ())),
        )
        caps = [tuple(map(str, row.words[1:])) for row in said.get("caps", ())]
        self._ops[name] = replaced(op, caps=caps[-1] if caps else default_caps(op))

    def _meta(self, said: dict[str, list[_Line]]) -> OpMeta:
        description = {row.text(1): row.text(2) for row in said.get("describe", ())}
        for row in said.get("name", ()):
            description[CUSTOM_NAME] = row.text(1)
        exported = [row.word(1) == "yes" for row in said.get("export-cache", ())]
        groups = [
            ProgressGroup(row.text(1), row.text(2), weak="weak" in row.only(("weak",), after=3))
            for row in said.get("group", ())
        ]
        return OpMeta(
            description=description,
            locations=[self._location(row) for row in said.get("at", ())],
            ignore_cache="ignore-cache" in said,
            export_cache=exported[-1] if exported else None,
            progress_group=groups[-1] if groups else None,
            resources=_resources(said["resources"][-1]) if "resources" in said else None,
        )

    def _location(self, row: _Line) -> Location:
        file = self._files.get(row.word(1))
        if file is None:
            row.fail(f"file {row.word(1)} is not defined above")
        ranges = []
        for word in row.words[2:]:
            match = _RANGE.match(word)
            if match is None:
                row.fail(f"expected line:character-line:character, not {word}")
            a, b, c, d = map(int, match.groups())
            ranges.append((a, b, c, d))
        return Location(file, tuple(ranges))

    # --- kinds ----------------------------------------------------------------------------------------

    def _source(self, line: _Line, rows: list[_Line]) -> Op:
        attrs = []
        for row in rows:
            if row.word(0) != "attr":
                row.fail(f"source has no line {row.word(0)}")
            attrs.append((row.text(1), row.text(2)))
        return SourceOp(line.text(1), tuple(sorted(attrs)), meta=OpMeta())

    def _exec(self, line: _Line, rows: list[_Line]) -> Op:
        by: dict[str, list[_Line]] = {}
        for row in rows:
            if row.word(0) not in _EXEC_LINES:
                row.fail(f"exec has no line {row.word(0)}")
            by.setdefault(row.word(0), []).append(row)

        def last(word: str) -> str:
            return by[word][-1].text(1) if word in by else ""

        codes = [tuple(r.integer(w) for w in r.words[1:]) for r in by.get("exit-codes", ())]
        networks = [r.choice(Network.NAMES, r.word(1)) for r in by.get("network", ())]
        securities = [r.choice(Security.NAMES, r.word(1)) for r in by.get("security", ())]
        proxies = [ProxyEnv(**{k: str(v) for k, v in r.keys}) for r in by.get("proxy", ()) if _proxy_keys(r)]
        return ExecOp(
            args=tuple(r.text(i) for r in by.get("args", ()) for i in range(1, len(r.words))),
            env=tuple(r.text(1) for r in by.get("env", ())),
            cwd=last("cwd"),
            user=last("user"),
            hostname=last("hostname"),
            cgroup_parent=last("cgroup"),
            hosts=tuple((r.text(1), r.text(2)) for r in by.get("host", ())),
            ulimits=tuple((r.text(1), r.integer(r.word(2)), r.integer(r.word(3))) for r in by.get("ulimit", ())),
            exit_codes=codes[-1] if codes else None,
            network=networks[-1] if networks else 0,
            security=securities[-1] if securities else 0,
            proxy=proxies[-1] if proxies else None,
            mounts=tuple(self._mount(r) for r in by.get("mount", ())),
            secrets=tuple(_secret(r) for r in by.get("secret", ())),
            ssh=tuple(_ssh(r) for r in by.get("ssh", ())),
            devices=tuple((r.text(1), "optional" in r.only(("optional",), after=2)) for r in by.get("device", ())),
            meta=OpMeta(),
            platform=None,
            remove_mount_stubs="keep-mount-stubs" not in by,
        )

    def _mount(self, r: _Line) -> Mount:
        keys = ("selector", "cache", "sharing", "size", "content-cache")
        flags = r.only(("readonly", "no-output", "tmpfs"), keys, after=3)
        return Mount(
            r.text(1),
            self._value(r, r.word(2)),
            selector=str(r.key("selector") or ""),
            readonly="readonly" in flags,
            no_output="no-output" in flags,
            cache_id=str(r.key("cache") or ""),
            sharing=r.choice(Sharing.NAMES, r.key("sharing") or "0"),
            tmpfs="tmpfs" in flags,
            tmpfs_size=r.number_of("size"),
            content_cache=r.choice(ContentCache.NAMES, r.key("content-cache") or "0"),
        )

    def _file_op(self, line: _Line, rows: list[_Line]) -> Op:
        return FileOp(self._value(line, line.word(1)), tuple(self._action(r) for r in rows), meta=OpMeta())

    def _action(self, r: _Line) -> FileAction:
        owned = ("user", "group", "timestamp")
        stamp = r.number_of("timestamp", -1)
        match r.word(0):
            case "copy":
                return self._copy(r, stamp)
            case "mkfile":
                r.only(("owner",), owned, after=4)
                mode, data = r.mode(r.word(2)), r.data(3)
                return Mkfile(r.text(1), mode, data, owner=_owner(r), timestamp=stamp)
            case "mkdir":
                flags = r.only(("owner", "parents"), owned, after=3)
                mode = r.mode(r.word(2))
                return Mkdir(r.text(1), mode, parents="parents" in flags, owner=_owner(r), timestamp=stamp)
            case "rm":
                flags = r.only(("allow-missing", "wildcard"), after=2)
                return Rm(r.text(1), allow_missing="allow-missing" in flags, wildcard="wildcard" in flags)
            case "symlink":
                r.only(("owner",), owned, after=3)
                return Symlink(r.text(1), r.text(2), owner=_owner(r), timestamp=stamp)
        return r.fail(f"unknown file action {r.word(0)}")

    def _copy(self, r: _Line, stamp: int) -> Copy:
        keys = ("mode", "include", "exclude", "required", "user", "group", "timestamp")
        flags = r.only(("owner", *printer.COPY_FLAGS), keys, after=4)
        mode = r.key("mode")
        symbolic = isinstance(mode, _Text)
        copy = Copy(
            self._value(r, r.word(1)),
            r.text(2),
            r.text(3),
            owner=_owner(r),
            mode=-1 if mode is None else 0 if symbolic else r.mode(mode),
            mode_str=str(mode) if symbolic else "",
            include=r.all("include"),
            exclude=r.all("exclude"),
            required=r.all("required"),
            timestamp=stamp,
        )
        return replaced(copy, **{field: flag in flags for flag, field in printer.COPY_FLAGS.items()})

    def _merge(self, line: _Line, rows: list[_Line]) -> Op:
        _none(rows, "merge")
        return MergeOp(tuple(self._present(line, w) for w in line.words[1:]), meta=OpMeta())

    def _diff(self, line: _Line, rows: list[_Line]) -> Op:
        _none(rows, "diff")
        return DiffOp(self._value(line, line.word(1)), self._value(line, line.word(2)), meta=OpMeta())

    def _passthrough(self, line: _Line, rows: list[_Line]) -> Op:
        _none(rows, "passthrough")
        values = tuple(self._present(line, w) for w in line.words[2:])
        forwarded = tuple(line.integer(w) for w in line.all("forward"))
        return PassthroughOp(line.text(1), values, forwarded, meta=OpMeta())

    _KINDS: ClassVar[dict[str, Callable[[_Parser, _Line, list[_Line]], Op]]] = {
        "source": _source,
        "exec": _exec,
        "file": _file_op,
        "merge": _merge,
        "diff": _diff,
        "passthrough": _passthrough,
    }


_SAID = {"platform", "filter", "caps", "name", "describe", "ignore-cache", "export-cache", "group"} | {
    "resources",
    "at",
}
_EXEC_LINES = {"mount", "args", "env", "cwd", "user", "hostname", "cgroup", "host", "ulimit"} | {
    "exit-codes",
    "network",
    "security",
    "proxy",
    "secret",
    "ssh",
    "device",
    "keep-mount-stubs",
}


def _none(rows: list[_Line], kind: str) -> None:
    if rows:
        rows[0].fail(f"{kind} has no line {rows[0].word(0)}")


def _platform(line: _Line) -> Platform:
    parts = [str(w) for w in line.words[1:]]
    if len(parts) == 1 and not isinstance(line.words[1], _Text):
        parts = parts[0].split("/")
        if "" in parts:
            line.fail("expected os/architecture")
    if not 2 <= len(parts) <= 3:
        line.fail("expected os/architecture")
    version = str(line.key("version") or "")
    return Platform(parts[0], parts[1], parts[2] if len(parts) > 2 else "", version, line.all("feature"))


def _resources(row: _Line) -> LinuxResources:
    row.only(keys=printer.RESOURCES, after=1)
    texts = {k: str(v) for k, v in row.keys if isinstance(v, _Text)}
    numbers = {k: row.integer(v) for k, v in row.keys if not isinstance(v, _Text)}
    return LinuxResources(**texts, **numbers)  # type: ignore[arg-type]


def _proxy_keys(row: _Line) -> bool:
    row.only(keys=printer.PROXIES, after=1)
    return True


def _secret(r: _Line) -> Secret:
    flags = r.only(("optional",), ("target", "env", "uid", "gid", "mode"), after=2)
    target, env = r.key("target"), r.key("env")
    return Secret(
        r.text(1),
        target=None if target is None else str(target),
        env=None if env is None else str(env),
        uid=r.number_of("uid"),
        gid=r.number_of("gid"),
        mode=r.mode(r.key("mode") or "0400"),
        optional="optional" in flags,
    )


def _ssh(r: _Line) -> Ssh:
    flags = r.only(("optional",), ("target", "uid", "gid", "mode"), after=2)
    return Ssh(
        r.text(1),
        target=str(r.key("target") or ""),
        uid=r.number_of("uid"),
        gid=r.number_of("gid"),
        mode=r.mode(r.key("mode") or "0600"),
        optional="optional" in flags,
    )


def _owner(r: _Line) -> Owner | None:
    user, group = r.key("user"), r.key("group")
    if user is None and group is None:
        return Owner() if "owner" in r.words else None
    return Owner(_who(r, user), _who(r, group))


def _who(r: _Line, word: str | None) -> str | int | None:
    if word is None:
        return None
    return str(word) if isinstance(word, _Text) else r.integer(word)
