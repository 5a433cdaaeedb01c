"""One instruction: CST node to AST class, with the checks of the reference's instruction phase.

Source: BuildKit's frontend/dockerfile/instructions (parse.go, bflag.go, commands_run*.go). One function per keyword;
the order of checks is the reference's, since it decides which of several errors is reported.
"""

from __future__ import annotations

from dockc.base.pattern import ASCII, IGNORECASE, pattern
from dockc.compiler.suggest import nearest
from dockc.compiler.syntax.ast import (
    CLASSES,
    Add,
    Arg,
    ArgPair,
    Cmd,
    Copy,
    Device,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    InlineFile,
    Instruction,
    KeyValue,
    Label,
    LintFact,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    SourceContent,
    Stopsignal,
    User,
    Volume,
    Word,
    Workdir,
)
from dockc.compiler.syntax.mounts import parse_mount, suggested, ties
from dockc.compiler.syntax.request import (
    BOOL,
    STRING,
    STRINGS,
    USAGE,
    Flags,
    Rejected,
    Request,
    at_least_one,
    check_flags,
    exactly_one,
    flag_word,
    flag_words,
    make_request,
    word_part,
)
from dockc.errors import CompileError, Fault
from dockc.golang.numbers import NumberError, parse_bool, parse_int
from dockc.golang.strings import fold, lower, quote, trim, upper
from dockc.grammar.cst import InstructionNode
from dockc.grammar.options import BadOptions, options
from dockc.grammar.source import Span, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

_ONBUILD = pattern(r"[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*", IGNORECASE | ASCII)
UTF_16 = "this looks like UTF-16, as PowerShell's `>` writes it: save the file as UTF-8"
_INSTRUCTIONS = "a line begins with an instruction, such as RUN or COPY"
_STAGE_NAME = pattern(r"[a-z][a-z0-9\-_.]*\Z")


def build(node: InstructionNode, facts: list[LintFact]) -> Instruction:
    """The AST of a node; lint facts are appended in emission order. Raises Rejected."""
    request = make_request(node, node.command, facts)
    builder = _BUILDERS.get(request.name)
    if builder is None:
        raise _unknown(request)
    return builder(request)


def _unknown(request: Request) -> Rejected:
    options = tuple(sorted(CLASSES))
    name = request.command.keyword.value
    if "\0" in name:
        return Rejected(f"unknown instruction: {name}", request.base["name_span"], "unknown-instruction", UTF_16)
    recase = upper if name == upper(name) and name != lower(name) else lower
    best = recase(nearest(name, options, ignore_case=True))
    equals = tuple(recase(other) for other in ties(name, best, options, ignore_case=True))
    error = suggested(f"unknown instruction: {name}", best, Fault("unknown-instruction"), equals)
    return Rejected(error, request.base["name_span"], "unknown-instruction", "" if best else _INSTRUCTIONS, "")


# One function per instruction


def _doc_comment(comments: tuple[str, ...], name: str) -> str:
    if name:
        for comment in comments:
            if comment.startswith(name + " "):
                return comment[len(name) + 1 :]
    return ""


def _check_description(request: Request, keys: list[str]) -> None:
    comments = request.node.comments
    if not comments or not keys or comments[-1].split(" ")[0] in keys:
        return
    example = keys[0] if len(keys) == 1 else "<arg_key>"
    request.fact(
        "InvalidDefinitionDescription",
        f"Comment for {request.name} should follow the format: `# {example} <description>`",
    )


def _from(request: Request) -> From:
    args, keyword = request.args, request.command.keyword.value
    if len(args) == 3 and args[2].text != lower(args[2].text):
        request.fact("StageNameCasing", f"Stage name '{args[2].text}' should be lowercase")
    if len(args) >= 3:
        word = args[1].text
        small, big = keyword == lower(keyword), keyword == upper(keyword)
        if (small and word != lower(word)) or (big and not small and word != upper(word)):
            request.fact("FromAsCasing", f"'{word}' and '{keyword}' keywords' casing do not match")
    name = ""
    as_word = name_word = None
    if len(args) == 3 and len(args[1].text) == 2 and fold(args[1].text) == "as":
        _, as_word, name_word = args
        name = lower(name_word.text)
        if not _STAGE_NAME.match(name):
            message = (
                f"invalid name for build stage: {quote(args[2].text)}, "
                "name can't start with a number or contain symbols"
            )
            help_ = "begin with a letter; then letters, digits, and any of - _ ."
            raise request.reject(message, "bad-stage-name", args[2].span, help_)
    elif len(args) != 1:
        raise request.reject("FROM requires either one or three arguments", "argument-count", *_from_arguments(args))
    flags = check_flags(request, {"platform": STRING})
    if name:
        _check_description(request, [name])
    return From(
        **request.base,
        base=args[0],
        platform=flag_word(request, flags, "platform"),
        stage_name=name,
        stage_name_word=name_word,
        as_word=as_word,
        doc_comment=_doc_comment(request.node.comments, name),
    )


def _from_arguments(args: tuple[Word, ...]) -> tuple[Span | None, str]:
    """Which of the arguments of FROM are too many, and what to write instead."""
    if not args:
        return None, "write FROM IMAGE, or FROM IMAGE AS NAME"
    if len(args) == 2 and upper(args[1].text) == "AS":
        return args[1].span, "the name is missing: write AS NAME"
    if len(args) == 3:
        return args[1].span, "write AS before the name of the stage"
    extra = args[3:] if len(args) > 3 and upper(args[1].text) == "AS" else args[1:]
    return Span(extra[0].span.start, extra[-1].span.end), "write FROM IMAGE, or FROM IMAGE AS NAME"


def _arg(request: Request) -> Arg:
    at_least_one(request)
    pairs = []
    for word in request.args:
        key, equals, value = word.text.partition("=")
        if equals and not key:
            raise request.reject("ARG names can not be blank", "blank-name", word.span, "write a name before =")
        comment = _doc_comment(request.node.comments, key)
        start, end = word.span
        cut = min(start + len(key), end)
        if not equals:
            pairs.append(ArgPair(word, None, comment))
        else:
            pairs.append(ArgPair(Word(key, Span(start, cut)), Word(value, Span(min(cut + 1, end), end)), comment))
    _check_description(request, [pair.key.text for pair in pairs])
    return Arg(**request.base, pairs=tuple(pairs))


def _pairs(request: Request) -> tuple[KeyValue, ...]:
    check_flags(request, {})
    at_least_one(request)
    args = request.args
    pairs = []
    for at in range(0, len(args), 3):
        key, value, delimiter = args[at : at + 3]
        if not key.text:
            message = f"{request.name} names can not be blank"
            raise request.reject(message, "blank-name", delimiter.span, "write a name before =")
        pairs.append(KeyValue(key, value, not delimiter.text))
    return tuple(pairs)


def _env(request: Request) -> Env:
    return Env(**request.base, pairs=_pairs(request))


def _label(request: Request) -> Label:
    return Label(**request.base, pairs=_pairs(request))


def _maintainer(request: Request) -> Maintainer:
    request.fact("MaintainerDeprecated", "Maintainer instruction is deprecated in favor of using label")
    word = exactly_one(request)
    check_flags(request, {})
    return Maintainer(**request.base, maintainer=word)


_COPY_FLAGS = {
    "chown": STRING,
    "from": STRING,
    "chmod": STRING,
    "link": BOOL,
    "exclude": STRINGS,
    "parents": BOOL,
}
_ADD_FLAGS = {
    "chown": STRING,
    "chmod": STRING,
    "link": BOOL,
    "keep-git-dir": BOOL,
    "checksum": STRING,
    "unpack": BOOL,
    "exclude": STRINGS,
}


def _sources(request: Request, known: Mapping[str, str]) -> tuple[dict[str, Any], Flags]:
    """What COPY and ADD share."""
    args, name = request.args, request.name
    if len(args) < 2:
        message = (
            f"{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
        raise request.reject(message, "argument-count", None, f"write {name} SOURCE... DESTINATION")
    flags = check_flags(request, known)
    dest = args[-1]
    if _opener_name(dest.text) is not None:
        raise request.reject(f"{name} cannot accept a heredoc as a destination", "bad-heredoc", dest.span)
    bodies = {heredoc.name: heredoc for heredoc in request.base["heredocs"]}
    sources, contents = [], []
    for word in args[:-1]:
        opener = _opener_name(word.text)
        if opener is None:
            sources.append(word)
            continue
        from dockc.grammar.heredoc import chomp

        path, stripped, expand = opener
        body = bodies.get(path)
        data = body.content if body else ""
        contents.append(
            SourceContent(path, chomp(data) if stripped else data, expand, body.span if body else word.span)
        )
    shared = {
        **request.base,
        "sources": tuple(sources),
        "contents": tuple(contents),
        "dest": dest,
        "chown": flag_word(request, flags, "chown"),
        "chmod": flag_word(request, flags, "chmod"),
        "link": flags.true("link"),
        "excludes": flag_words(request, "exclude"),
    }
    return shared, flags


def _opener_name(text: str) -> tuple[str, bool, bool] | None:
    """Name, `<<-` and expansion of a word that opens a heredoc, else None."""
    if "<<" not in text:
        return None
    from dockc.grammar.heredoc import parse_opener
    from dockc.grammar.word import WordError

    try:
        opener = parse_opener(text)
    except WordError:
        return None
    return None if opener is None else (opener.name, opener.chomp, opener.expand)


def _copy(request: Request) -> Copy:
    shared, flags = _sources(request, _COPY_FLAGS)
    return Copy(**shared, from_=flag_word(request, flags, "from"), parents=flags.true("parents"))


def _add(request: Request) -> Add:
    shared, flags = _sources(request, _ADD_FLAGS)
    return Add(
        **shared,
        checksum=flag_word(request, flags, "checksum"),
        keep_git_dir=flags.maybe("keep-git-dir"),
        unpack=flags.maybe("unpack"),
    )


def _command_line(request: Request, args: tuple[Word, ...]) -> tuple[str, ...]:
    """The exec form's words, or all of the shell form as one."""
    if not args:
        return ()
    if request.command.is_json:
        return tuple(word.text for word in args)
    return (" ".join(word.text for word in args),)


def _run(request: Request) -> Run:
    known = {"device": STRINGS, "mount": STRINGS, "network": STRING, "security": STRING}
    flags = check_flags(request, known)
    devices = tuple(_device(request, word) for word in flag_words(request, "device"))
    mounts = flag_words(request, "mount")
    for mount in mounts:
        try:
            parse_mount(mount, None)
        except CompileError as error:
            raise request.reject(error, "bad-mount", *_bad_mount(mount, error.fault)) from None
    network = flags.text("network", "default")
    if network not in ("default", "none", "host"):
        span = flag_word(request, flags, "network").span
        help_ = "default, none or host"
        raise request.reject(f"invalid network mode {quote(network)}", "bad-flag-value", span, help_)
    security = flags.text("security", "sandbox")
    if security not in ("sandbox", "insecure"):
        span = flag_word(request, flags, "security").span
        help_ = "sandbox or insecure"
        raise request.reject(f"security {quote(security)} is not valid", "bad-flag-value", span, help_)
    return Run(
        **request.base,
        cmdline=_command_line(request, request.args),
        prepend_shell=not request.command.is_json,
        files=tuple(InlineFile(h.name, h.content, h.chomp, h.expand, h.span) for h in request.base["heredocs"]),
        flags_used=tuple(flags.used),
        mounts=mounts,
        network=network,
        security=security,
        devices=devices,
    )


def _bad_mount(mount: Word, fault: Fault) -> tuple[Span, str]:
    """What of a mount is refused already while it is read, and what to write instead."""
    if fault.part is not None:
        return word_part(
            mount, *fault.part
        ), "add FROM ${NAME} AS stage, with an ARG NAME before the first FROM, and mount from the stage"
    start, end = mount.span
    return Span(
        start if mount.text else start - len("--mount="), end
    ), "write key=value,key=value; a value with a comma goes in double quotes"


def _device(request: Request, word: Word) -> Device:
    """Read the value of a `--device`."""

    def bad(message: CompileError | str, at: Span | None = None) -> Rejected:
        return request.reject(message, "bad-device", at or word.span, "write NAME, or NAME,required")

    try:
        found = options(word.text)
    except BadOptions as error:
        raise bad(f"failed to parse csv devices: {error}") from None
    name, required = "", False
    for option, start, end in found:
        key, equals, value = option.partition("=")
        key = lower(key)
        if not equals and key == "required":
            required = True
        elif equals and key == "name":
            if name:
                raise bad(f"device name already set to {name}", word_part(word, start, end))
            name = value
        elif equals and key == "required":
            try:
                required = parse_bool(value)
            except NumberError:
                raise bad(f"invalid value for {key}: {value}", word_part(word, start, end)) from None
        elif not name:
            name = option
        elif not equals:
            raise bad(f"invalid field '{option}' must be a key=value pair", word_part(word, start, end))
        else:
            message = f"unexpected key '{key}' in '{option}'"
            unknown = suggested(message, nearest(key, ("name", "required")), Fault("bad-device"))
            raise bad(unknown, word_part(word, start, start + len(key)))
    return Device(name, required)


def _cmd(request: Request) -> Cmd:
    check_flags(request, {})
    line = _command_line(request, request.args)
    return Cmd(**request.base, cmdline=line, prepend_shell=not request.command.is_json)


def _entrypoint(request: Request) -> Entrypoint:
    check_flags(request, {})
    line = _command_line(request, request.args) or None
    return Entrypoint(**request.base, cmdline=line, prepend_shell=not request.command.is_json)


def _shell(request: Request) -> Shell:
    check_flags(request, {})
    line = _command_line(request, request.args)
    at_least_one(request)
    if not request.command.is_json:
        message = "SHELL requires the arguments to be in JSON form"
        raise request.reject(message, "not-json", None, 'write SHELL ["program", "argument"]')
    return Shell(**request.base, shell=line)


_HEALTH_FLAGS = ("interval", "timeout", "start-period", "start-interval", "retries")


def _healthcheck(request: Request) -> Healthcheck:
    at_least_one(request)
    kind, args = upper(request.args[0].text), request.args[1:]
    if kind == "NONE":
        if args:
            message = "HEALTHCHECK NONE takes no arguments"
            raise request.reject(message, "argument-count", args[0].span, "drop what stands after NONE")
        return Healthcheck(**request.base, test=("NONE",))
    flags = check_flags(request, dict.fromkeys(_HEALTH_FLAGS, STRING))
    if kind != "CMD":
        message = f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)"
        raise request.reject(message, "bad-healthcheck", request.args[0].span, USAGE["HEALTHCHECK"])
    line = _command_line(request, args)
    if not line:
        message = "Missing command after HEALTHCHECK CMD"
        raise request.reject(message, "argument-count", request.args[0].span, USAGE["HEALTHCHECK"])
    times = [_interval(request, flags, name) for name in _HEALTH_FLAGS[:4]]
    return Healthcheck(
        **request.base,
        test=("CMD" if request.command.is_json else "CMD-SHELL", *line),
        interval=times[0],
        timeout=times[1],
        start_period=times[2],
        start_interval=times[3],
        retries=_retries(request, flags),
    )


def _interval(request: Request, flags: Flags, name: str) -> int:
    word = flag_word(request, flags, name)
    if not word.text:
        return 0
    from dockc.golang.durations import DurationError, parse_duration

    try:
        value = parse_duration(word.text)
    except DurationError as error:
        raise request.reject(str(error), "bad-flag-value", word.span, "a number with a unit, such as 30s") from None
    if value and value < 1_000_000:
        message = f"Interval {quote(name)} cannot be less than 1ms"
        raise request.reject(message, "bad-flag-value", word.span, "write 1ms or more, or 0s for the default")
    return value


def _retries(request: Request, flags: Flags) -> int:
    word = flag_word(request, flags, "retries")
    if not word.text:
        return 0
    try:
        value = parse_int(word.text, bits=32)
    except NumberError as error:
        raise request.reject(str(error), "bad-flag-value", word.span, "a whole number") from None
    if value < 0:
        message = f"--retries cannot be negative ({value})"
        raise request.reject(message, "bad-flag-value", word.span, "write 1 or more, or 0 for the default")
    return value


def _expose(request: Request) -> Expose:
    at_least_one(request)
    check_flags(request, {})
    return Expose(**request.base, ports=tuple(sorted(request.args, key=lambda word: encode(word.text))))


def _stopsignal(request: Request) -> Stopsignal:
    return Stopsignal(**request.base, signal=exactly_one(request))


def _user(request: Request) -> User:
    word = exactly_one(request)
    check_flags(request, {})
    return User(**request.base, user=word)


def _workdir(request: Request) -> Workdir:
    word = exactly_one(request)
    check_flags(request, {})
    return Workdir(**request.base, path=word)


def _volume(request: Request) -> Volume:
    at_least_one(request)
    check_flags(request, {})
    volumes = []
    for word in request.args:
        path = trim(word.text)
        if not path:
            message = "VOLUME specified can not be an empty string"
            raise request.reject(message, "blank-name", word.span, USAGE["VOLUME"])
        volumes.append(Word(path, word.span))
    return Volume(**request.base, volumes=tuple(volumes))


def _onbuild(request: Request) -> Onbuild:
    at_least_one(request)
    check_flags(request, {})
    word = request.args[0]
    trigger = upper(trim(word.text))
    if trigger == "ONBUILD":
        message = "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"
        raise request.reject(message, "bad-trigger", word.span, "write ONBUILD once")
    if trigger in ("MAINTAINER", "FROM"):
        message = f"{trigger} isn't allowed as an ONBUILD trigger"
        raise request.reject(
            message, "bad-trigger", word.span, "a trigger runs inside of a stage that the next build begins"
        )
    expression = _ONBUILD.sub("", request.node.logical.text, count=1)
    if heredocs := request.base["heredocs"]:
        parts = [expression, *(f"{heredoc.content}{heredoc.name}" for heredoc in heredocs)]
        expression = "\n".join(parts)
    inner: Instruction | None = None
    command = request.node.commands[1]
    nested = make_request(request.node, command, [])
    builder = _BUILDERS.get(nested.name)
    if builder is not None:
        try:
            inner = builder(nested)
        except Rejected:
            inner = None  # the build that triggers it will say what is wrong
    return Onbuild(**request.base, expression=expression, trigger=inner)


_BUILDERS: dict[str, Callable[[Request], Instruction]] = {
    "ADD": _add,
    "ARG": _arg,
    "CMD": _cmd,
    "COPY": _copy,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "FROM": _from,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "MAINTAINER": _maintainer,
    "ONBUILD": _onbuild,
    "RUN": _run,
    "SHELL": _shell,
    "STOPSIGNAL": _stopsignal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
