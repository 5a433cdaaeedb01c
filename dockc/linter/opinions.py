"""What dockc's own profile thinks of a finding of ShellCheck's, which knows the shell and not what it runs in a build.

Each finding is kept, left to the set `strict` (right, and of little use in a build step), or dropped: it is about words
of another program, or what it
proposes would break the step. Every case has its reason here.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from functools import lru_cache

from dockc.base.pattern import pattern
from dockc.base.words import Words
from dockc.compiler.syntax import ast as instructions
from dockc.linter.context import Context, Script
from dockc.linter.shell.commands import Command
from dockc.linter.values import PLATFORM


class Opinion(Words):
    """What becomes of a finding."""

    KEEP = "keep"
    STRICT = "strict"
    DROP = "drop"


def opinion(code: str, script: Script, context: Context, start: int, end: int) -> Opinion:
    """The opinion on a finding about a stretch of a script."""
    text = script.shell.text
    match code:
        case "SC2086" | "SC2248" | "SC2250":
            return _unquoted_variable(script, context, start, end)
        case "SC2046":
            return _unquoted_substitution(script, text[start:end], start)
        case "SC2155":  # masks a failure, of what cannot fail
            return (
                Opinion.STRICT
                if _SURE.search(text[start:end]) or _SURE.search(text[start:].partition("\n")[0].partition("&&")[0])
                else Opinion.KEEP
            )
        case "SC2283":  # `chmod =2775` is a mode
            return Opinion.DROP if _runs(script, start, _MODES) else Opinion.KEEP
        case "SC2102":  # `pip install black[colorama]`: an extra, no range of characters
            return (
                Opinion.DROP
                if (_runs(script, start, _PYTHON) or "pip" in text) and _EXTRAS.search(_word(text, start))
                else Opinion.KEEP
            )
        case "SC2014" | "SC2043" | "SC2050" | "SC2291" | "SC2295" | "SC2308":
            return Opinion.STRICT  # meant so more often than not
        case "SC1105":
            return Opinion.STRICT  # `((a) && b)` is two subshells to every shell that is here
        case "SC2211":  # a program whose name has a version in it
            return Opinion.STRICT if text[start : start + 1] in {"/", "."} else Opinion.KEEP
        case "SC1007":  # `A= B=c` empties A on purpose
            return Opinion.DROP if _EMPTIED.match(text, text.rfind("=", 0, end + 1)) else Opinion.KEEP
        case "SC2154":  # set by what is not known here
            return Opinion.STRICT if _is_dynamic(text) else Opinion.KEEP
        case "SC2115":
            return Opinion.STRICT if _is_set(script, context, start) else Opinion.KEEP
        case "SC2164":
            return _directory(text, start, end)
        case "SC2016":  # a script, format or line for another program, which is to expand it itself
            return _single_quotes(script, start)
        case (
            "SC2035"
            | "SC2012"
            | "SC2010"
            | "SC2011"
            | "SC2038"
            | "SC2061"
            | "SC2062"
            | "SC2231"
            | "SC2013"
            | "SC2162"
            | "SC2044"
            | "SC2045"
            | "SC2185"
        ):
            return Opinion.STRICT  # names with blanks, dashes or line ends: a build knows its files
        case (
            "SC2002"
            | "SC2005"
            | "SC2006"
            | "SC2015"
            | "SC2028"
            | "SC2103"
            | "SC2129"
            | "SC2196"
            | "SC2197"
            | "SC2230"
            | "SC2236"
            | "SC2003"
            | "SC2004"
            | "SC2126"
            | "SC2143"
            | "SC2174"
            | "SC2219"
            | "SC2268"
            | "SC2009"
            | "SC1001"
            | "SC2001"
            | "SC2034"
        ):
            return Opinion.STRICT  # style, with the same result
        case _:
            return Opinion.KEEP


#: Programs that take `=` at the beginning of a word.
_MODES = frozenset(["chmod", "find", "install", "setfacl", "test", "expr", "dpkg"])
_PYTHON = frozenset(
    [
        "pip",
        "pip3",
        "pipx",
        "uv",
        "uvx",
        "poetry",
        "pdm",
        "conda",
        "mamba",
        "micromamba",
        "python",
        "python3",
        "pipenv",
        "hatch",
        "easy_install",
    ]
)
_EXTRAS = pattern(r"(?:^|[\w.\-\"'}])\[[A-Za-z0-9_.,\- ]+\]")
#: What cannot fail in a build, or does so only where everything would.
_SURE = pattern(
    r"\$\(\s*(?:echo|printf)\b[^()]*\)|\$\(\s*(?:uname|nproc|pwd|arch|id|whoami|hostname|date|mktemp|basename|dirname|echo|printf|dpkg\s+--print-architecture|dpkg-architecture|getconf|tr)\b[^|]*\)"
    r"|`\s*(?:uname|nproc|pwd|arch|id|date|mktemp|basename|dirname|dpkg\s+--print-architecture)\b[^|`]*`"
)


_EMPTIED = pattern(r"=[ \t]+[A-Za-z_]\w*=")
_DYNAMIC = pattern(r"\b(?:export|eval|declare)\s+[\"']?[$`]|(?:^|[;&|\s])(?:\.|source)\s+\S")


@lru_cache(maxsize=64)
def _is_dynamic(text: str) -> bool:
    """Whether a script sets variables that nobody can see in it."""
    return _DYNAMIC.search(text) is not None


def _is_set(script: Script, context: Context, start: int) -> bool:
    """Whether the variable of `rm -rf $X/` has a value: known, or given by the script."""
    found = _VARIABLE.search(script.shell.text, start)
    if found is None:
        return False
    name = found[1] or found[2]
    return bool(context.values.at(name, script.entry)) or bool(_assignments(script, name))


def _directory(text: str, start: int, end: int) -> Opinion:
    """`cd` without a look at whether it worked: to where every image has a directory, or where the script has looked
    before.
    """
    words = text[start:end].split()
    if len(words) == 2 and words[1].rstrip("/") in _EVERYWHERE:
        return Opinion.STRICT
    before = text[:start].rstrip()
    if len(words) == 2 and re.search(rf"\bmkdir\b[^;&|\n]*\s{re.escape(words[1])}\s*[;&\n]", before):
        return Opinion.STRICT  # just made
    return Opinion.STRICT if before.endswith("&&") and _LOOKED.search(before) else Opinion.KEEP


_EVERYWHERE = frozenset(
    [
        "",
        "/",
        "/root",
        "/tmp",  # noqa: S108
        "/usr",
        "/usr/src",
        "/opt",
        "/home",
        "/var",
        "/srv",
        "/mnt",
        "/etc",
        "-",
        "$HOME",
        "~",
        "/usr/local",
        "/usr/local/bin",
        "/usr/bin",
    ]
)
_LOOKED = pattern(r"(?:\[\s+-d\s+\S+\s+\]|test\s+-d\s+\S+)\s*&&$")


def _command(script: Script, at: int) -> Command | None:
    """The innermost command that a place is in."""
    found = _around(script, at)
    return min(found, key=lambda c: c.end - c.start) if found else None


#: Commands that are looked at before a place: those around it begin not long before it.
_BACK = 24


def _around(script: Script, at: int) -> list[Command]:
    """Commands that a place is in, or at the end of."""
    starts = _ordered(script.shell.commands)
    behind = bisect_right(starts, at, key=lambda c: c.start)
    return [c for c in starts[max(behind - _BACK, 0) : behind] if at <= c.end]


def _ordered(commands: tuple[Command, ...]) -> tuple[Command, ...]:
    """Commands by where they begin; findings come script by script, so the last script's are remembered."""
    if not _LAST or _LAST[0] is not commands:
        _LAST[:] = [commands, tuple(sorted(commands, key=lambda c: c.start))]
    return _LAST[1]


_LAST: list[tuple[Command, ...]] = []


def _runs(script: Script, at: int, names: frozenset[str]) -> bool:
    return any(c.name in names or c.name.rstrip("0123456789.") in names for c in _around(script, at))


def _word(text: str, at: int) -> str:
    """The word that a place is in, as far as blanks tell."""
    start = max(text.rfind(sign, 0, at) for sign in " \t\n") + 1
    ends = [i for sign in " \t\n" if (i := text.find(sign, at)) >= 0]
    return text[start : min(ends, default=len(text))]


# --- SC2086


def _unquoted_variable(script: Script, context: Context, start: int, end: int) -> Opinion:
    found = _VARIABLE.match(script.shell.text, start)
    if found is None:
        return Opinion.KEEP
    name, rest = found[1] or found[2], found[3] or ""
    command = _command(script, start)
    if command is not None and command.name in {"echo", "printf", "export"}:
        return Opinion.STRICT  # what is printed has one blank more or less
    own = _assignments(script, name)
    if own:
        if any(_SPLITS.search(value) for value in own):
            return Opinion.DROP  # a list: quoted it would be one word
        if not rest and _tested(script.shell.text, start) and any("$(" in value or "`" in value for value in own):
            return Opinion.KEEP  # nothing may come of the command
        return (
            Opinion.STRICT if all(_ONE_WORD.fullmatch(value.strip()) for value in own) else _by_use(command, name, rest)
        )
    value = context.values.at(name, script.entry)
    if not rest and not value and _tested(script.shell.text, start) and not _surely_set(name, script, context):
        return Opinion.KEEP  # where it is empty, the condition is no condition
    if value is not None:
        if not value or any(c.isspace() for c in value):
            return Opinion.DROP  # a list, or nothing: quotes would make one word of it, or an empty one
        return Opinion.STRICT if not any(c in value for c in "*?[") else Opinion.DROP
    if name in _PLAIN or name.startswith(("BUILD", "TARGET", "DPKG_", "DEB_")):
        return Opinion.STRICT
    return _by_use(command, name, rest)


def _by_use(command: Command | None, name: str, rest: str) -> Opinion:
    """Variables of unknown value: lists by their name or where they stand; versions, paths and names of builds have no
    blanks.
    """
    if _LISTS.search(name) or (command is not None and command.name in _TAKES_LISTS):
        return Opinion.DROP
    return Opinion.STRICT


def _tested(text: str, start: int) -> bool:
    """Whether a place is a word of `[ … ]` or `test …`."""
    before = _SEPARATOR.split(text[:start])[-1].lstrip()
    return before.startswith(("[ ", "test ", "! [ ", "! test "))


_SEPARATOR = pattern(r"[;&|\n(){}]|\b(?:if|elif|while|until|then|do|else)\b")


def _surely_set(name: str, script: Script, context: Context) -> bool:
    """Whether a variable of unknown value has one: the builder gives those of the platform to stages that declare
    them.
    """
    if name in PLATFORM and not name.endswith(("VARIANT", "OSVERSION")):
        return context.values.declared(name, script.entry.stage, script.entry.index)
    return name in _PLAIN


_VARIABLE = pattern(r"\$(?:([A-Za-z_]\w*)|\{#?!?([A-Za-z_]\w*)([^}]*)\})")
_SPLITS = pattern(
    r"^[\"'].*[ \t\n].*[\"']$|\$\((?:find|ls|cat|apt-mark|scanelf|ldd|grep|awk|sed|cut|sort|dpkg-query|jq|comm|tr)\b|\$@|\$\*",
    16,
)
_ONE_WORD = pattern(r"[\"']?(?:[\w./:@%+,=~^-]|\$\w+|\$\{[^{}\s]*\}|\$\([^()]*\)|`[^`]*`)*[\"']?")
_PLAIN = frozenset(
    [
        "HOME",
        "PWD",
        "USER",
        "UID",
        "GID",
        "PATH",
        "HOSTNAME",
        "SHELL",
        "GNUPGHOME",
        "JAVA_HOME",
        "GOPATH",
        "GOROOT",
        "CARGO_HOME",
        "PYTHON_VERSION",
        "OLDPWD",
        "PPID",
        "RANDOM",
    ]
)
_LISTS = pattern(
    r"(?:S|LIST|FLAGS|ARGS|OPTS|OPTIONS|DEPS|PARAMS|PACKAGES|PKGS|CMD|COMMAND|EXTRA|FEATURES|TAGS)$|FLAGS|OPTS|DEPS|PACKAGES|ARGS",
    2,
)
_TAKES_LISTS = frozenset(
    ["apk", "apt", "apt-get", "apt-mark", "dnf", "microdnf", "yum", "zypper", "pip", "pip3", "npm", "yarn", "gem", "go", "cargo", "make", "cmake", "configure",
     "./configure", "rpm", "dpkg", "tdnf", "pacman", "luarocks", "conda", "mamba", "docker-php-ext-install", "docker-php-ext-configure", "pecl", "ninja", "bazel"]
)  # fmt: skip


def _assignments(script: Script, name: str) -> tuple[str, ...]:
    """What the script gives a variable, as written."""
    return _assigned(script.shell.text).get(name, ())


@lru_cache(maxsize=64)
def _assigned(text: str) -> dict[str, tuple[str, ...]]:
    """By name, what a script gives it."""
    found: dict[str, list[str]] = {}
    for match in _ASSIGNED.finditer(text):
        found.setdefault(match[1], []).append(match[2])
    for match in _FOR.finditer(text):
        items = f'"{match[2]}"'
        found.setdefault(match[1], []).append("x" if _FOR_ITEMS.fullmatch(items) else items)
    return {name: tuple(values) for name, values in found.items()}


_ASSIGNED = pattern(
    r"(?:^|(?<=[\s;&|({]))([A-Za-z_]\w*)\+?=((?:\"(?:[^\"\\]|\\.)*\"|'[^']*'|\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`|[^\s;&|\"'$`()]|\$)*)"
)
_FOR = pattern(r"\bfor\s+([A-Za-z_]\w*)\s+in\s+([^;\n]*)")


_FOR_ITEMS = pattern(r"\"[\w./:@%+,=~^ \t*?${}\\-]*\"")


# --- SC2046


def _unquoted_substitution(script: Script, text: str, start: int) -> Opinion:
    if _tested(script.shell.text, start) and not _SURE.fullmatch(text):
        return Opinion.KEEP  # nothing instead of a word is a wrong condition
    return Opinion.STRICT


# --- SC2016


def _single_quotes(script: Script, start: int) -> Opinion:
    if _runs(script, start, _EXPANDERS):
        return Opinion.DROP
    line = script.shell.text[script.shell.text.rfind("\n", 0, start) + 1 :].partition("\n")[0]
    if _runs(script, start, frozenset(["echo", "printf", "cat", "tee"])) and (">" in script.shell.text or "|" in line):
        return Opinion.DROP  # lines for a file that is read later
    return Opinion.KEEP


_EXPANDERS = frozenset(
    ["sh", "bash", "dash", "ash", "zsh", "su", "sudo", "runuser", "gosu", "awk", "gawk", "mawk", "sed", "perl", "python", "ruby", "php", "node", "jq", "yq", "grep", "egrep",
     "envsubst", "dpkg-query", "rpm", "find", "xargs", "git", "trap", "eval", "env", "docker-php-ext-configure", "R", "Rscript", "r", "npm", "mvn", "gradle", "go", "curl", "make",
     "opam", "ssh", "tclsh", "lua", "psql", "mysql", "alias", "parallel", "expect", "install2.r", "octave", "sh.exe", "pwsh", "powershell", "runghc", "ghc", "julia", "elixir", "erl"]
)  # fmt: skip


def is_broken_json(instruction: instructions.Instruction) -> bool:
    """Whether a shell form was meant as a JSON array: BuildKit's check says so, and what ShellCheck would say of it
    helps nobody.
    """
    if not isinstance(instruction, instructions.ShellDependent) or not instruction.prepend_shell:
        return False
    return _ARRAY.match((instruction.cmdline or ("",))[0]) is not None


_ARRAY = pattern(r"\s*\[\s*(?:[\"'\u201c\u201d\u2018\u2019]|\])")
