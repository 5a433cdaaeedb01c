"""Writing Dockerfile words: quoting, flags, heredocs. Shared by the two decompilers."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from dockc.base.pattern import pattern

_PLAIN = pattern(r"[A-Za-z0-9_./:@%+,=\-~^*?\[\]{}!;<>&|()#]+\Z")
_UNSAFE_SHELL = pattern(r"[\[\-<#]|.*(<<|\\$)", re.DOTALL)
DEFAULT_SHELL = ("/bin/sh", "-c")


class CannotWrite(Exception):
    """A value that no Dockerfile can hold."""


def word(text: str) -> str:
    """A word that instructions with variables (ENV, COPY, WORKDIR, ...) read back as `text`.

    Raises:
        CannotWrite: it holds a line break.
    """
    if "\n" in text or "\r" in text or "\0" in text:
        raise CannotWrite("a line break")
    if _PLAIN.match(text) and "<<" not in text:
        return text
    return '"' + re.sub(r'([\\"$])', r"\\\1", text) + '"'


def unexpanded(text: str) -> str:
    """Text that comes out as it is where variables are expanded and quotes are read, but space does not split."""
    return re.sub(r"([\\'\"$])", r"\\\1", text)


def json_words(words: Sequence[str]) -> str:
    """The JSON form of an instruction's words."""
    return json.dumps(list(words), ensure_ascii=False)


def assignments(pairs: Sequence[tuple[str, str]]) -> str:
    """`K=v K2="v 2"`, every value quoted where it has to be.

    Raises:
        CannotWrite: a value holds a line break, or a name what no name can hold.
    """
    out = []
    for key, value in pairs:
        if not re.fullmatch(r"[^\s=\"'$\\]+", key):
            raise CannotWrite(f"the name {key!r}")
        out.append(f"{key}={word(value) if value else ''}" if value else f'{key}=""')
    return " ".join(out)


def command(args: Sequence[str], shell: Sequence[str] = DEFAULT_SHELL) -> str:
    """The command of RUN, CMD or ENTRYPOINT: shell form where it reads back as it is, else JSON."""
    if len(args) == len(shell) + 1 and tuple(args[:-1]) == tuple(shell) and reads_back(args[-1]):
        return args[-1]
    return json_words(args)


def reads_back(script: str) -> bool:
    """Whether a script stands on one line of shell form as it is."""
    return bool(script) and script == script.strip() and script.isprintable() and not _UNSAFE_SHELL.match(script)


def flag(name: str, value: str) -> str:
    """`--name=value`, in quotes where space, quotes or escapes have to stay.

    Raises:
        CannotWrite: a value with a line break.
    """
    if not re.search(r"[\s'\"\\]", value):
        return f"--{name}={value}"
    if not value.isprintable():
        raise CannotWrite(f"--{name} with control characters")
    escaped = re.sub(r"(['\\])", r"\\\1", value)
    return f"--{name}='{escaped}'"


def mount_flag(pairs: Sequence[tuple[str, str | None]]) -> str:
    """`--mount=key=value,...`; fields with commas or quotes are quoted as in CSV.

    Raises:
        CannotWrite: a value holds a line break.
    """
    fields = []
    for key, value in pairs:
        field = key if value is None else f"{key}={unexpanded(value)}"
        fields.append('"' + field.replace('"', '""') + '"' if re.search(r'[",]', field) else field)
    return flag("mount", ",".join(fields))


def heredoc(data: bytes, name: str = "EOF") -> tuple[str, str]:
    """The redirection and the body that give `data`, under the name `name` if it can be one.

    Raises:
        CannotWrite: not text, or no line break at its end.
    """
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise CannotWrite("bytes that are no text") from None
    if text and not text.endswith("\n"):
        raise CannotWrite("a last line without line break")
    if "\r" in text or "\0" in text:
        raise CannotWrite("control characters")
    if not re.fullmatch(r"[A-Za-z0-9_.\-]+", name) or name.startswith("-"):
        name = "EOF"
    while name in text.split("\n"):
        name += "_"
    return f'<<"{name}"', f"{text}{name}\n"


def config_lines(config: Mapping[str, object], known: Mapping[str, str]) -> list[str]:
    """The instructions that give an image config, without those that `known` says are in effect.

    Args:
        config: the inner `config` object of an image config.
        known: `env:KEY`, `workdir`, `user`, and their present values.
    """
    lines: list[str] = []
    env = [str(e).partition("=") for e in _list(config.get("Env"))]
    fresh = [(k, v) for k, _, v in env if known.get(f"env:{k}") != v]
    lines += [_or_comment("ENV", lambda pair=pair: assignments([pair])) for pair in fresh]
    for key, name in (("WorkingDir", "WORKDIR"), ("User", "USER"), ("StopSignal", "STOPSIGNAL")):
        value = str(config.get(key) or "")
        if value and known.get(name.lower()) != value:
            lines.append(_or_comment(name, lambda value=value: word(value)))
    labels = config.get("Labels")
    if isinstance(labels, Mapping):
        lines += [
            _or_comment("LABEL", lambda kv=kv: f"{word(str(kv[0]))}={word(str(kv[1])) or chr(34) * 2}")
            for kv in sorted(labels.items())
        ]
    for key, name in (("ExposedPorts", "EXPOSE"), ("Volumes", "VOLUME")):
        listed = config.get(key)
        if isinstance(listed, Mapping) and listed:
            names = sorted(map(str, listed))
            lines.append(f"{name} {json_words(names) if name == 'VOLUME' else ' '.join(names)}")
    shell = tuple(_list(config.get("Shell"))) or DEFAULT_SHELL
    if config.get("Shell"):
        lines.append(f"SHELL {json_words(shell)}")
    lines += _healthcheck(config.get("Healthcheck"))
    for trigger in _list(config.get("OnBuild")):
        lines.append(f"ONBUILD {trigger}")
    for key in ("Entrypoint", "Cmd"):
        if config.get(key) is not None:
            lines.append(f"{key.upper()} {command(_list(config.get(key)), shell)}")
    return lines


def _healthcheck(check: object) -> list[str]:
    if not isinstance(check, Mapping):
        return []
    test = _list(check.get("Test"))
    if test[:1] == ["NONE"]:
        return ["HEALTHCHECK NONE"]
    flags = [
        f"--{name}={int(value) / 1e9:g}s"
        for key, name in (
            ("Interval", "interval"),
            ("Timeout", "timeout"),
            ("StartPeriod", "start-period"),
            ("StartInterval", "start-interval"),
        )
        if (value := check.get(key))
    ]
    if check.get("Retries"):
        flags.append(f"--retries={check['Retries']}")
    if test[:1] == ["CMD-SHELL"] and len(test) == 2 and reads_back(test[1]):
        return [" ".join(["HEALTHCHECK", *flags, "CMD", test[1]])]
    return [" ".join(["HEALTHCHECK", *flags, "CMD", json_words(test[1:])])] if test else []


def _or_comment(name: str, make: object) -> str:
    assert callable(make)
    try:
        return f"{name} {make()}"
    except CannotWrite as reason:
        return f"# {name}: no Dockerfile can hold {reason}"


def _list(value: object) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list | tuple) else []
