"""DL4006 pipefail."""

from __future__ import annotations

from collections.abc import Iterator

from dockc.compiler.syntax import ast
from dockc.linter.context import Context
from dockc.linter.rule import Hit, Rule, Severity
from dockc.linter.shell import ast as shell
from dockc.linter.shell.commands import literal, read
from dockc.linter.shells import shell_state


class Pipefail(Rule):
    """Reports RUN with a pipe in a stage whose shell does not stop on a failure in it.

    ## Why

    Of `a | b` only `b`'s status counts: when `a` fails, the build goes on with what it did not make.

    ## Known problems

    hadolint reports every pipe. dockc's own profile leaves out those that only print something (`echo … | sha256sum -c`); those that only look at
    what is in the image (`find … | sort`, `dpkg … | awk …`) are in the set `strict`.

    ## See also

    `SHELL ["/bin/bash", "-o", "pipefail", "-c"]`, or `set -o pipefail` at the start of the script (dockc's own profile
    sees that too).
    """

    code = "DL4006"
    name = "pipefail"
    summary = "A pipe without pipefail"
    severity = Severity.WARNING
    hadolint_severity = Severity.WARNING
    equivalents = ("hadolint:DL4006",)
    bad = "FROM debian:12\nRUN a | b\n"
    good = 'FROM debian:12\nSHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN a | b\n'

    def check(self, context: Context) -> Iterator[Hit]:
        """See the class."""
        if not context.parity:
            yield from _unguarded_pipes(context)
            return
        safe = False
        scripts = {id(s.entry): s for s in context.runs if not s.onbuild}
        for entry in context.entries:
            found = entry.instruction
            if isinstance(found, ast.From):
                safe = False
            elif isinstance(found, ast.Shell):
                safe = found.shell[:1] != () and _stops(found.shell)
            elif not safe and id(entry) in scripts:
                script = scripts[id(entry)]
                if script.shell.pipes:
                    yield Hit(script.instruction.span, _MESSAGE, entry.node.lines)


_MESSAGE = (
    "Set the SHELL option -o pipefail before RUN with a pipe in it. If you are using /bin/sh in an alpine image or "
    "if your shell is symlinked to busybox then consider explicitly setting your SHELL to /bin/ash, or disable "
    "this check"
)


def _unguarded_pipes(context: Context) -> Iterator[Hit]:
    for script in context.runs:
        if script.onbuild or not script.shell.pipes:
            continue
        state = context.shells[script.entry.index]
        if script.reader:
            state = shell_state(tuple(script.reader.split()), context.bases[script.entry.stage])
        if state.stops_in_pipes:
            continue
        if any(c.name == "set" and c.has_argument("pipefail") for c in script.shell.commands):
            continue
        risky = [p for p in script.shell.pipelines if not all(map(_prints, p.commands[:-1]))]
        found = next((p for p in risky if not all(map(_local, p.commands[:-1])) and not _notices(p.commands[-1])), None)
        if found is not None:
            yield Hit(script.span(found.start, found.end), _MESSAGE)
        elif risky:
            yield Hit(script.span(risky[0].start, risky[0].end), _MESSAGE, strict=True)


def _programs(node: shell.Node) -> set[str]:
    """What a part of a pipe runs; "" for what cannot be told."""
    found = set()
    for simple in shell.walk(shell.Script("", (node,))):
        if isinstance(simple, shell.Simple):
            first = simple.words[0] if simple.words else None
            found.add((literal(first) or "").rpartition("/")[2] if isinstance(first, shell.Word) else "true")
    return found


def _prints(node: shell.Node) -> bool:
    """Whether a part only prints: nothing in it can fail, and `yes` is meant to be cut off."""
    return _programs(node) <= _PRINTERS


def _local(node: shell.Node) -> bool:
    """Whether a part only looks at what is there: where it fails the step is wrong in any case, and what reads it finds
    nothing.
    """
    return _programs(node) <= _READERS


def _notices(node: shell.Node) -> bool:
    """Whether the last part of a pipe fails itself where nothing comes in: a search that must find something."""
    words = (
        [literal(word) or "" for word in node.words if isinstance(word, shell.Word)]
        if isinstance(node, shell.Simple)
        else []
    )
    return words[:1] in (["grep"], ["egrep"], ["fgrep"]) and not any(
        w.startswith("-") and not w.startswith("--") and set("vcL") & set(w) for w in words
    )


_PRINTERS = frozenset(["echo", "printf", "yes", "true", ":", "uname"])
_READERS = _PRINTERS | frozenset(
    ["apk", "apt", "apt-cache", "apt-mark", "arch", "awk", "basename", "cat", "comm", "cut", "date", "dirname", "dpkg", "dpkg-query", "env", "file", "find", "gawk",
     "getconf", "getent", "grep", "egrep", "fgrep", "head", "hostname", "id", "iptables", "ldconfig", "ldd", "ls", "mawk", "nproc", "od", "paste", "pip", "pip3", "ps",
     "pwd", "readelf", "readlink", "realpath", "rev", "rpm", "scanelf", "sed", "sha1sum", "sha256sum", "sha512sum", "md5sum", "sort", "stat", "strings", "tac", "tail",
     "tr", "type", "uniq", "wc", "which", "whoami", "xargs", "export", "set", "local", "test", "[", "xx-info", "lsb_release", "tee", "dd", "base64", "hexdump", "xxd", "expr", "seq", "command"]
)  # fmt: skip


def _stops(shell: tuple[str, ...]) -> bool:
    """Whether hadolint takes a SHELL for one that stops."""
    if shell[0].startswith(("pwsh", "powershell", "cmd")):
        return True
    return any(
        _is_capable(c.name) and c.has_flag("o") and c.has_argument("pipefail") for c in read(" ".join(shell)).commands
    )


def _is_capable(shell: str) -> bool:
    place, _, name = shell.rpartition("/")
    return name in {"bash", "zsh", "ash"} and (place == "/bin" or shell == name)
