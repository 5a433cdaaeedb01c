"""An image's history back to a Dockerfile, as far as history tells.

History names the commands and, for copies, only where things went: the files themselves are not known, so such
lines stay as comments where their words are no sources. Steps that made layers come from the history in order;
the settings that matter to them (ENV, USER, SHELL) too; everything else comes from the config, which is exact.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from dockc.base.pattern import pattern
from dockc.compiler.decompile.text import (
    DEFAULT_SHELL,
    CannotWrite,
    assignments,
    command,
    config_lines,
    json_words,
    reads_back,
    word,
)
from dockc.golang.strings import runes

_NOP = pattern(r"^/bin/sh -c #\(nop\)\s+")
_ARGS = pattern(r"^\|(\d+) ")
_HASHED = pattern(r"\b(file|dir|multi):[0-9a-f]{8,}")
_COMMENT = "# buildkit"
_FROM_CONFIG = frozenset(
    "CMD ENTRYPOINT LABEL EXPOSE VOLUME STOPSIGNAL HEALTHCHECK ONBUILD MAINTAINER".split()  # noqa: SIM905
)


def decompile_history(image: Mapping[str, object], base: str = "scratch") -> str:
    """A Dockerfile for an image config (the whole JSON object).

    Args:
        image: the image config.
        base: what the first step builds on; history does not say.
    """
    config = image.get("config")
    config = config if isinstance(config, Mapping) else {}
    history = image.get("history")
    reader = _Reader(config)
    reader.lines.append(f"FROM {base}")
    for entry in history if isinstance(history, list | tuple) else ():
        if isinstance(entry, Mapping):
            reader.entry(str(entry.get("created_by") or ""), bool(entry.get("empty_layer")))
    known = {f"env:{k}": v for k, v in reader.env.items()} | {"workdir": reader.workdir, "user": reader.user}
    return runes(
        "".join(f"{line}\n" for line in [*reader.lines, *config_lines(config, known)])
    )  # JSON may hold half a pair of surrogates


class _Reader:
    """What is in effect while the history is read."""

    def __init__(self, config: Mapping[str, object]) -> None:
        self.lines: list[str] = []
        self.env: dict[str, str] = {}
        self.workdir = ""
        self.user = ""
        self._shell: tuple[str, ...] = DEFAULT_SHELL
        env = config.get("Env")
        self._names = [str(e).partition("=")[0] for e in env] if isinstance(env, list | tuple) else []

    def entry(self, created_by: str, empty: bool) -> None:
        """One step."""
        text = created_by.strip()
        if not text:
            if not empty:
                self.lines.append("# a layer without a history")
            return
        if text.endswith(_COMMENT):
            text = text[: -len(_COMMENT)].rstrip()
        text, nop = _NOP.subn("", text, count=1)
        keyword, _, rest = text.partition(" ")
        rest = rest.strip()
        if keyword == "RUN":
            self._run(rest)
        elif keyword in ("COPY", "ADD"):
            self._copy(keyword, rest)
        elif keyword == "WORKDIR":
            self.workdir = rest
            self.lines.append(f"WORKDIR {_safe(rest)}")
        elif keyword == "ENV":
            self._env(rest)
        elif keyword == "USER":
            self.user = rest
            self.lines.append(f"USER {_safe(rest)}")
        elif keyword == "SHELL":
            self._shell_words(rest)
        elif keyword == "ARG":
            self.lines.append(f"ARG {_one_line(rest)}")
        elif keyword in _FROM_CONFIG:
            return
        elif nop or empty:
            self.lines.append(f"# {_one_line(text)}")
        else:
            self._run(text)

    def _run(self, text: str) -> None:
        """`/bin/sh -c script`, with the values of build arguments in front as `|2 A=1 B=2`."""
        if match := _ARGS.match(text):
            values, text = _skip_words(text[match.end() :], int(match.group(1)))
            self.lines.append(f"# with build arguments {_one_line(' '.join(values))}")
        prefix = " ".join(self._shell) + " "
        if text.startswith(prefix):
            script = text[len(prefix) :]
            self.lines.append(f"RUN {command((*self._shell, script), self._shell)}")
        elif text.startswith(" ".join(DEFAULT_SHELL) + " "):
            script = text[len(" ".join(DEFAULT_SHELL)) + 1 :]
            self.lines.append(f"RUN {json_words((*DEFAULT_SHELL, script))}")
        elif reads_back(text):
            self.lines.append(f"RUN {text}")
        else:
            self.lines.append(f"# RUN {_one_line(text)}")

    def _copy(self, keyword: str, rest: str) -> None:
        if _HASHED.search(rest) or "<<" in rest or "\n" in rest:
            self.lines.append(f"# {keyword} {_one_line(rest)}")
        else:
            self.lines.append(f"{keyword} {rest}")

    def _env(self, rest: str) -> None:
        """`A=1 B=2` without quotes: the names come from the config, where one value ends the next begins."""
        pairs = list(_split_env(rest, self._names))
        self.env.update(pairs)
        try:
            self.lines.append(f"ENV {assignments(pairs)}")
        except CannotWrite:
            self.lines.append(f"# ENV {_one_line(rest)}")

    def _shell_words(self, rest: str) -> None:
        words = re.findall(r'"((?:[^"\\]|\\.)*)"', rest) or rest.strip("[]").split()
        if words:
            self._shell = tuple(words)
            self.lines.append(f"SHELL {json_words(words)}")


def _split_env(text: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    key, _, rest = text.partition("=")
    starts = [m for m in re.finditer(r" ([A-Za-z_][A-Za-z0-9_.\-]*)=", rest) if m.group(1) in names]
    at = 0
    for match in starts:
        yield key, rest[at : match.start()]
        key, at = match.group(1), match.end()
    yield key, rest[at:]


def _skip_words(text: str, count: int) -> tuple[list[str], str]:
    """The first `count` words of a command line, and what follows them."""
    words: list[str] = []
    for _ in range(count):
        match = re.match(r"""\s*((?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+)""", text)
        if match is None:
            break
        words.append(match.group(1))
        text = text[match.end() :]
    return words, text.strip()


def _safe(text: str) -> str:
    try:
        return word(text)
    except CannotWrite:
        return shlex.quote(_one_line(text))


def _one_line(text: str) -> str:
    return re.sub(r"[\r\n\0]+", " ", text).strip()
