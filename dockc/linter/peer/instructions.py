"""Instructions as hadolint reads them, one function each, put into the compiler's own classes.

Only what hadolint's rules look at is filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from dockc.base.pattern import pattern
from dockc.compiler.syntax import ast
from dockc.grammar.source import Span
from dockc.linter.peer.arguments import command_line, heredoc_body, heredoc_marker, string_list
from dockc.linter.peer.scan import Scanner, Unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NOWHERE = ast.Word("", Span(0, 0))
_TRUTH = {"true": "true", "false": "false"}
_DURATION = pattern(r"(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[smh]")
#: What an option of `--mount` may be called, and what hadolint calls it then.
_STRINGS = {
    "env": "env", "from": "from", "gid": "gid", "id": "id", "mode": "mode", "size": "size", "source": "source", "src": "source",
    "target": "target", "dst": "target", "destination": "target", "uid": "uid",
}  # fmt: skip
_SWITCH = pattern(
    r"(?P<ro>(?:ro|readonly)=true|(?:rw|readwrite)=false)|(?P<rw>(?:rw|readwrite)=true|(?:ro|readonly)=false)|"
    r"(?P<ro2>ro|readonly)|(?P<rw2>rw|readwrite)",
    2,
)
_REQUIRED = pattern(r"required(?:=([Tt]rue|[Ff]alse))?")
_CHOICES = {
    "sharing": ("private", "shared", "locked"),
    "type": ("bind", "cache", "tmpfs", "secret", "ssh"),
    "relabel": ("shared", "private"),
}
_ALLOWED = {
    "bind": frozenset(["target", "source", "from", "ro", "relabel"]),
    "cache": frozenset(["target", "sharing", "id", "ro", "from", "source", "mode", "uid", "gid"]),
    "tmpfs": frozenset(["target", "size"]),
    "secret": frozenset(["target", "id", "required", "source", "mode", "uid", "gid", "env"]),
}
_ALLOWED["ssh"] = _ALLOWED["secret"]
_RUN_FLAGS = {"security": ("insecure", "sandbox"), "network": ("none", "host", "default")}

Base = dict[str, "Any"]


def read_instruction(scanner: Scanner) -> ast.Instruction:
    """The instruction that begins here. The scanner is left behind it."""
    start = scanner.pos
    text = scanner.text
    end = start
    while end < len(text) and text[end].isalpha():
        end += 1
    name = text[start:end]
    reader = _READERS.get(name.upper())
    if reader is None:
        raise Unreadable("instruction")
    scanner.pos = end
    base: Base = {"name": name, "name_span": scanner.word("", start).span}
    scanner.need_space()
    fields, kind = reader(scanner)
    span = scanner.word("", start).span
    return kind(**base, **fields, code="", lines=(0, 0), span=span)


Read = tuple[dict[str, "Any"], Callable[..., ast.Instruction]]


def _line(scanner: Scanner) -> ast.Word:
    start = scanner.pos
    return scanner.word(scanner.rest(), start)


def _onbuild(scanner: Scanner) -> Read:
    if scanner.at("#"):
        end = scanner.text.find("\n", scanner.pos)
        scanner.pos = len(scanner.text) if end < 0 else end
        return {"expression": ""}, ast.Onbuild
    return {"expression": "", "trigger": read_instruction(scanner)}, ast.Onbuild


def _from(scanner: Scanner) -> Read:
    start = scanner.pos
    platform = _NOWHERE
    if scanner.take("--platform="):
        value = scanner.pos
        found = scanner.maybe_until("")
        platform = scanner.word(found or "", value)
        if found is None or not scanner.space():
            scanner.pos, platform = start, _NOWHERE
    if scanner.at("--"):
        raise Unreadable("flag")
    at = scanner.pos
    base = scanner.word(_registry(scanner) + _image(scanner), at)
    fields: dict[str, Any] = {"base": base, "platform": platform}
    before = scanner.pos
    if scanner.space() and scanner.text[scanner.pos : scanner.pos + 2].upper() == "AS":
        as_word = scanner.pos
        scanner.pos += 2
        fields["as_word"] = scanner.word("AS", as_word)
        name = scanner.pos
        if scanner.space():
            name = scanner.pos
            if (alias := scanner.maybe_until("")) is not None:
                fields |= {"stage_name": alias.lower(), "stage_name_word": scanner.word(alias, name)}
                return fields, ast.From
        del fields["as_word"]
    scanner.pos = before
    return fields, ast.From


def _registry(scanner: Scanner) -> str:
    before = scanner.pos
    domain = scanner.expanded(".")
    if domain is not None and scanner.take("."):
        rest = scanner.expanded("/")
        if rest is not None and scanner.take("/"):
            return f"{domain}.{rest}/"
    scanner.pos = before
    return ""


def _image(scanner: Scanner) -> str:
    name = scanner.expanded("@:")
    if name is None:
        raise Unreadable("image")
    if scanner.take(":"):
        tag = scanner.expanded("@:")
        if tag is None:
            raise Unreadable("tag")
        name += f":{tag}"
    if scanner.at("@"):
        before = scanner.pos
        scanner.pos += 1
        digest = scanner.maybe_until("@")
        if digest is None:
            scanner.pos = before
        else:
            name += f"@{digest}"
    return name


def _copy(scanner: Scanner) -> Read:
    flags = _flags(scanner, values=("from", "chown", "chmod", "exclude"), switches=("link", "parents"))
    if scanner.at("<<"):
        before = scanner.pos
        try:
            return _copy_heredoc(scanner, flags), ast.Copy
        except Unreadable:
            scanner.pos = before
    return _files(scanner, flags), ast.Copy


def _add(scanner: Scanner) -> Read:
    values = ("checksum", "chown", "chmod", "exclude")
    flags = _flags(scanner, values, switches=("link", "keep-git-dir", "unpack"), many=())
    if scanner.at("--"):
        raise Unreadable("flag")
    fields = _files(scanner, flags)
    del fields["from_"]
    return {**fields, "checksum": _NOWHERE}, ast.Add


def _flags(
    scanner: Scanner, values: Iterable[str], switches: Iterable[str], many: tuple[str, ...] = ("exclude",)
) -> dict[str, ast.Flag]:
    found: dict[str, ast.Flag] = {}
    while scanner.at("--"):
        start = scanner.pos
        flag = _flag(scanner, values, switches)
        if flag is None:
            scanner.pos = start
            break
        if flag.name in found and flag.name not in many:
            raise Unreadable("flag given twice")
        found[flag.name] = flag
        if not scanner.separated():
            break
    return found


def _flag(scanner: Scanner, values: Iterable[str], switches: Iterable[str]) -> ast.Flag | None:
    start = scanner.pos
    for name in values:
        if scanner.take(f"--{name}="):
            at = scanner.pos
            value = scanner.maybe_until("")
            if value is not None:
                word = scanner.word(value, at)
                return ast.Flag(f"--{name}={value}", name, value, scanner.word("", start).span, word.span)
            scanner.pos = start
    for name in switches:
        if scanner.take(f"--{name}"):
            value = next((v for v in _TRUTH if scanner.take(f"={v}")), None)
            text = f"--{name}" if value is None else f"--{name}={value}"
            return ast.Flag(text, name, value, scanner.word("", start).span, None)
    scanner.pos += 2
    if scanner.maybe_until("=") is not None and scanner.take("="):
        raise Unreadable("unknown flag")
    return None


def _word_of(flags: dict[str, ast.Flag], name: str) -> ast.Word:
    flag = flags.get(name)
    return _NOWHERE if flag is None else ast.Word(flag.value or "", flag.value_span or flag.span)


def _fields(flags: dict[str, ast.Flag], sources: list[ast.Word], dest: ast.Word) -> dict[str, Any]:
    return {
        "flags": tuple(flags.values()),
        "sources": tuple(sources),
        "contents": (),
        "dest": dest,
        "chown": _word_of(flags, "chown"),
        "chmod": _word_of(flags, "chmod"),
        "link": "link" in flags,
        "from_": _word_of(flags, "from"),
    }


def _copy_heredoc(scanner: Scanner, flags: dict[str, ast.Flag]) -> dict[str, Any]:
    sources: list[ast.Word] = []
    while scanner.at("<<"):
        start = scanner.pos
        sources.append(scanner.word(heredoc_marker(scanner), start))
        scanner.blanks()
    dest = _line(scanner)
    heredoc_body(scanner, sources[-1].text)
    return _fields(flags, sources, dest)


def _files(scanner: Scanner, flags: dict[str, ast.Flag]) -> dict[str, Any]:
    start = scanner.pos
    try:
        paths = [scanner.word(text, start) for text in string_list(scanner)]
    except Unreadable:
        scanner.pos = start
        paths = []
        while (text := scanner.maybe_until("")) is not None:
            paths.append(scanner.word(text, start))
            if not scanner.space():
                break
            start = scanner.pos
    if len(paths) < 2:
        raise Unreadable("paths")
    return _fields(flags, paths[:-1], paths[-1])


def _run(scanner: Scanner) -> Read:
    flags: list[ast.Flag] = []
    while scanner.at("--"):
        start = scanner.pos
        flag = _run_flag(scanner)
        if flag is None and not flags:
            break
        if flag is None:
            raise Unreadable("flag")
        flags.append(flag._replace(span=scanner.word("", start).span))
        if not scanner.followed("--"):
            scanner.need_space()
            break
    text, exec_form = command_line(scanner)
    given = {flag.name: flag for flag in reversed(flags) if flag.name != "mount"}
    mounts = [flag for flag in flags if flag.name == "mount"]
    fields = {
        "flags": (*given.values(), *mounts),
        "mounts": tuple(ast.Word(flag.value or "", flag.span) for flag in mounts),
        "cmdline": (text,),
        "prepend_shell": not exec_form,
    }
    return fields, ast.Run


def _run_flag(scanner: Scanner) -> ast.Flag | None:
    at = Span(scanner.moved(scanner.pos), scanner.moved(scanner.pos))
    for name, choices in _RUN_FLAGS.items():
        if scanner.take(f"--{name}="):
            value = next((c for c in choices if scanner.take(c)), None)
            if value is None:
                raise Unreadable("value")
            return ast.Flag(f"--{name}={value}", name, value, at, None)
    if scanner.take("--mount="):
        value = _mount(scanner)
        return ast.Flag(f"--mount={value}", "mount", value, at, None)
    return None


def _mount(scanner: Scanner) -> str:
    options: dict[str, str] = {}
    while True:
        key, value = _mount_option(scanner)
        if key in options:
            raise Unreadable("option given twice")
        options[key] = value
        if not scanner.take(","):
            break
    kind = options.setdefault("type", "bind")
    if not set(options) - {"type"} <= _ALLOWED[kind] or ("target" not in options and kind not in {"secret", "ssh"}):
        raise Unreadable("options")
    return ",".join(f"{key}={options[key]}" for key in sorted(options))


def _mount_option(scanner: Scanner) -> tuple[str, str]:
    for key, choices in _CHOICES.items():
        if scanner.take(f"{key}="):
            value = next((c for c in choices if scanner.take(c)), None)
            if value is None:
                raise Unreadable("value")
            return key, value
    for key, name in _STRINGS.items():
        if scanner.take(f"{key}="):
            if scanner.take('"'):
                end = scanner.text.find('"', scanner.pos)
                if end < 0 or "\\" in scanner.text[scanner.pos : end]:
                    raise Unreadable("string")
                value = scanner.text[scanner.pos : end]
                scanner.pos = end + 1
                return name, value
            return name, scanner.until(",")
    for letter, value in (("z", "shared"), ("Z", "private")):
        if scanner.take(letter):
            return "relabel", value
    if found := _SWITCH.match(scanner.text, scanner.pos):
        scanner.pos = found.end()
        return "ro", "true" if found["ro"] or found["ro2"] else "false"
    if found := _REQUIRED.match(scanner.text, scanner.pos):
        scanner.pos = found.end()
        return "required", (found[1] or "true").lower()
    raise Unreadable("option")


def _command(kind: type[ast.ShellDependent]) -> Callable[[Scanner], Read]:
    def read(scanner: Scanner) -> Read:
        text, exec_form = command_line(scanner)
        return {"cmdline": (text,), "prepend_shell": not exec_form}, kind

    return read


def _shell(scanner: Scanner) -> Read:
    return {"shell": (command_line(scanner).text,)}, ast.Shell


def _healthcheck(scanner: Scanner) -> Read:
    seen: set[str] = set()
    while scanner.at("--"):
        name = next((n for n in _TIMES if scanner.take(f"--{n}=")), None)
        if name is None or name in seen:
            raise Unreadable("flag")
        seen.add(name)
        found = (_DURATION if name != "retries" else _DIGITS).match(scanner.text, scanner.pos)
        if found is None:
            raise Unreadable("value")
        scanner.pos = found.end()
        scanner.need_space()
    if not seen and scanner.take("NONE"):
        return {"test": ("NONE",)}, ast.Healthcheck
    if scanner.text[scanner.pos : scanner.pos + 3].upper() != "CMD":
        raise Unreadable("CMD")
    scanner.pos += 3
    scanner.need_space()
    text, exec_form = command_line(scanner)
    return {"test": ("CMD" if exec_form else "CMD-SHELL", text)}, ast.Healthcheck


_TIMES = ("interval", "timeout", "start-period", "start-interval", "retries")
_DIGITS = pattern(r"\d+")


def _expose(scanner: Scanner) -> Read:
    ports: list[ast.Word] = []
    while True:
        start = scanner.pos
        found = _NUMBERS.match(scanner.text, start)
        if found is not None:  # a continuation is no part of it, as it is of a variable
            scanner.pos = found.end()
        text = found[0] if found is not None else scanner.maybe_until("")
        if text is None:
            break
        if _RANGE.fullmatch(text) is None:
            raise Unreadable("port")
        ports.append(scanner.word(text, start))
        if not scanner.separated():
            break
    return {"ports": tuple(ports)}, ast.Expose


_NUMBERS = pattern(r"[^\s$\\`]+(?![^\s\\`])")
_RANGE = pattern(r"(?:\d+|\$[^-/]+)-(?:\d+|\$[^-/]+)(?:/(?:tcp|udp))?|\$[^$]+|\d+(?:/(?:tcp|udp))?", 2)


def _pairs(kind: type[ast.Env | ast.Label]) -> Callable[[Scanner], Read]:
    def read(scanner: Scanner) -> Read:
        pairs: list[ast.KeyValue] = []
        while True:
            before = start = scanner.pos
            key = scanner.word(scanner.value("="), start)
            if scanner.take("="):
                start = scanner.pos
                pairs.append(ast.KeyValue(key, scanner.word(scanner.value(" \t"), start)))
            elif scanner.space():
                pairs.append(ast.KeyValue(key, _line(scanner), True))
            elif pairs and scanner.pos == before:
                break
            else:
                raise Unreadable("pair")
            if not scanner.separated():
                break
        return {"pairs": tuple(pairs)}, kind

    return read


def _arg(scanner: Scanner) -> Read:
    start = scanner.pos
    name = scanner.maybe_until("=")
    if name is None:
        name = scanner.rest()
        return {"pairs": (ast.ArgPair(scanner.word(name, start), None),)}, ast.Arg
    key = scanner.word(name, start)
    value: ast.Word | None = None
    if scanner.take("="):
        at = scanner.pos
        try:
            value = _line(scanner)
        except Unreadable:
            scanner.pos = at
    elif scanner.pos < len(scanner.text) and not scanner.at("\n"):
        scanner.rest()
    return {"pairs": (ast.ArgPair(key, value),)}, ast.Arg


def _one(kind: type[ast.Instruction], field: str) -> Callable[[Scanner], Read]:
    def read(scanner: Scanner) -> Read:
        return {field: _line(scanner)}, kind

    return read


def _volume(scanner: Scanner) -> Read:
    return {"volumes": (_line(scanner),)}, ast.Volume


_READERS: dict[str, Callable[[Scanner], Read]] = {
    "ONBUILD": _onbuild,
    "FROM": _from,
    "COPY": _copy,
    "RUN": _run,
    "WORKDIR": _one(ast.Workdir, "path"),
    "ENTRYPOINT": _command(ast.Entrypoint),
    "VOLUME": _volume,
    "EXPOSE": _expose,
    "ENV": _pairs(ast.Env),
    "ARG": _arg,
    "USER": _one(ast.User, "user"),
    "LABEL": _pairs(ast.Label),
    "STOPSIGNAL": _one(ast.Stopsignal, "signal"),
    "CMD": _command(ast.Cmd),
    "SHELL": _shell,
    "MAINTAINER": _one(ast.Maintainer, "maintainer"),
    "ADD": _add,
    "HEALTHCHECK": _healthcheck,
}
