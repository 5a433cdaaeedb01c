"""ShellCheck on the scripts of a Dockerfile.

The compiler starts no processes: it makes the scripts and reads the findings; whoever may start processes gives a
`Checker`
(`dockc.commands.lint.shellcheck` has one) in `LintOptions.checker`.

A script is what the shell gets, below a head that tells ShellCheck what is known: `#!SHELL` and an `export` of each
variable
that ENV, ARG or the builder sets. Findings are mapped back to the words of the Dockerfile. For hadolint's profile the
scripts are
hadolint's own, and of each RUN the last finding is kept, on its first line, as hadolint does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from dockc.base.pattern import pattern
from dockc.base.record import NamedTuple, Record
from dockc.compiler.syntax import ast
from dockc.grammar.diagnostic import Severity
from dockc.linter.bases import Base
from dockc.linter.context import Context, Entry, Script
from dockc.linter.families import image
from dockc.linter.finding import Finding
from dockc.linter.scripts import exec_script, script
from dockc.linter.words import alias

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from dockc.linter.options import Checker, LintOptions
    from dockc.linter.pragmas import Pragmas

#: Findings that say nothing about a Dockerfile: 2187 (ash is like dash), 1090 and 1091 (files that are not there).
EXCLUDED = ("SC2187", "SC1090", "SC1091")
#: In dockc's own profile also: a `#!` that is not on the first line of the script as we make it, and what holds a fault
#: that SC1073 tells (1009).
_OWN_EXCLUDED = frozenset((*EXCLUDED, "SC1009", "SC1128"))

#: What ShellCheck takes to be missing in busybox and is there: process substitution, since 1.34.
_BUSYBOX = frozenset(["SC3001"])

_PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "FTP_PROXY", "ftp_proxy", "NO_PROXY", "no_proxy")
_NOT_POSIX = ("pwsh", "powershell", "cmd")
_SHEBANGS = tuple(f"#!{place}{name}" for place in ("/bin/", "/usr/bin/env ") for name in ("sh", "bash", "ksh"))
_SHELLS = frozenset(["sh", "bash", "dash", "ash", "ksh", "busybox"])
_NAME = pattern(r"[A-Za-z_][A-Za-z0-9_]*")
#: With what a script may refer to variables. To others ShellCheck need not be told of any, and is done in half the
#: time.
_ASKS = pattern(r"\$|\(\(|\[\[|\blet\b|-v\b")
#: Where ShellCheck explains its findings, before their code.
PAGES = "https://www.shellcheck.net/wiki/"
_DEFAULT = "/bin/sh -c"


class _Shell(Record):
    """What is known where a script runs: the SHELL as text, and names of variables."""

    name: str = _DEFAULT
    names: frozenset[str] = frozenset(_PROXIES)

    def head(self, shell: str) -> str:
        """The lines above the script. One command for plain names that follow each other: ShellCheck takes its time for
        every command.

        There is a line for each name, because messages of ShellCheck may name lines, as they then do for hadolint.
        """
        lines = []
        for plain, names in groupby(sorted(self.names), key=lambda name: _NAME.fullmatch(name) is not None):
            some = list(names)
            if plain:
                lines.append(f"export {' '.join(f'{name}=1' for name in some)}" + "\n" * len(some))
            else:  # what else stands between quotes or has a variable in it, in hadolint's order: ShellCheck finds faults in it
                lines += [f"export {name}=1\n" for name in some]
        return f"#!{shell}\n{''.join(lines)}"


class _Job(NamedTuple):
    """A script to be checked: its text with head, how many lines that has, and where it belongs."""

    text: str
    head: int
    entry: Entry
    script: Script


def findings(context: Context, pragmas: Pragmas, options: LintOptions) -> Iterator[Finding]:
    """Findings of all scripts; none where no checker is set.

    A checker that can begin its work and answer later has begun when this returns.
    """
    checker = options.checker
    if checker is None or options.shellcheck is False:
        return iter(())
    if context.parity:
        jobs = [*_hadolint_jobs(context, pragmas, triggers=False), *_hadolint_jobs(context, pragmas, triggers=True)]
        return _parity(_run(checker, jobs))
    return _own(context, pragmas, _run(checker, list(_own_jobs(context, pragmas))), options)


def _run(checker: Checker, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, list[dict[str, Any]]]]:
    """Jobs with what the checker says of them; equal scripts are checked once."""
    unique = tuple(dict.fromkeys(job.text for job in jobs))
    if not unique:
        return iter(())
    start = getattr(checker, "start", None)
    return _answered(jobs, unique, start(unique).answers if start is not None else lambda: checker(unique))


def _answered(
    jobs: Sequence[_Job], unique: Sequence[str], ask: Callable[[], Sequence[list[dict[str, Any]]]]
) -> Iterator[tuple[_Job, list[dict[str, Any]]]]:
    answers = dict(zip(unique, ask(), strict=True))
    for job in jobs:
        yield job, answers[job.text]


# --- hadolint's way


def _parity(found: Iterator[tuple[_Job, list[dict[str, Any]]]]) -> Iterator[Finding]:
    for job, comments in found:
        kept = [c for c in comments if f"SC{c['code']}" not in EXCLUDED]
        if not kept:
            continue
        last = max(enumerate(kept), key=lambda pair: (*_place(pair[1]), pair[0]))[1]
        yield Finding(
            code=f"SC{last['code']}",
            name=f"sc{last['code']}",
            message=str(last["message"]),
            severity=_severity(last),
            span=job.entry.node.span,
            lines=job.entry.node.lines,
            url=f"{PAGES}SC{last['code']}",
        )


def _place(comment: Mapping[str, Any]) -> tuple[int, int, int, int, str]:
    return (comment["line"], comment["column"], _severity(comment).rank, comment["code"], comment["message"])


def _hadolint_jobs(context: Context, pragmas: Pragmas, *, triggers: bool) -> Iterator[_Job]:
    """Scripts of RUN, or with `triggers` those behind ONBUILD, which know of other triggers only."""
    states = _States(parity=True)
    scripts = {s.entry.index: s for s in context.runs}
    for _, item in _events(context, pragmas, triggers=triggers):
        if isinstance(item, str):
            states.pragma(item)
            continue
        entry, instruction = item
        states.see(instruction)
        if isinstance(instruction, ast.Run) and instruction.prepend_shell:
            text = scripts[entry.index].shell.text
            shell = states.now
            if any(name in shell.name for name in _NOT_POSIX) or _foreign(text):
                continue
            words = shell.name.split()
            head = shell.head(words[0] if words else "")
            yield _Job(head + text, head.count("\n"), entry, scripts[entry.index])


def _foreign(text: str) -> bool:
    """A script with a `#!` of something that ShellCheck does not know."""
    return text.startswith("#!") and not text.startswith(_SHEBANGS)


def _events(
    context: Context, pragmas: Pragmas, *, triggers: bool
) -> Iterator[tuple[int, str | tuple[Entry, ast.Instruction]]]:
    """Instructions and shell pragmas in the order of the file."""
    events: list[tuple[int, str | tuple[Entry, ast.Instruction]]] = []
    for entry in context.entries:
        found = entry.instruction
        behind = isinstance(found, ast.Onbuild)
        if isinstance(found, ast.Onbuild):
            found = found.trigger
        if found is not None and behind == triggers:
            events.append((entry.line, (entry, found)))
    if not triggers:
        events += [(line, name) for line, name in pragmas.shells]
        events.sort(key=lambda event: event[0])
    yield from events


class _States:
    """Shell and variables from instruction to instruction; a stage begins with those of the stage that it builds on.

    Attributes:
        parity: whether to do exactly as hadolint does.
        now: at the present instruction.
        default: what a stage on an image begins with; only a pragma before anything else changes it.
        stages: what each stage has come to.
        aliases: name of stages and index of the first of that name.
    """

    __slots__ = ("aliases", "begun", "default", "index", "now", "parity", "stages")

    def __init__(self, parity: bool) -> None:
        self.parity = parity
        self.now = self.default = _Shell()
        self.index = 0
        self.begun = False
        self.stages: dict[int, _Shell] = {}
        self.aliases: dict[str, int] = {}

    def see(self, instruction: ast.Instruction) -> None:
        """Take in an instruction."""
        match instruction:
            case ast.From():
                self._stage(instruction)
            case ast.Arg():
                self._variables(pair.key.text for pair in instruction.pairs)
            case ast.Env():
                self._variables(
                    pair.key.text if self.parity else pair.key.text.strip("\"'") for pair in instruction.pairs
                )
            case ast.Shell():
                self._set(_Shell(" ".join(instruction.shell), self.now.names))

    def _variables(self, names: Iterable[str]) -> None:
        # hadolint 2.15.1 forgets the SHELL where a variable is declared.
        self._set(_Shell(_DEFAULT if self.parity else self.now.name, self.now.names.union(names)))

    def pragma(self, shell: str) -> None:
        """Take in `# hadolint shell=`."""
        new = _Shell(shell, self.now.names)
        if not self.begun:
            self.default = new
        self._set(new)

    def _set(self, shell: _Shell) -> None:
        self.begun = True
        self.now = self.stages[self.index] = shell

    def _stage(self, from_: ast.From) -> None:
        if not self.begun:
            self.now = self.default
        else:
            base = image(from_.base.text).name
            parent = self.aliases.get(base)
            self.index += 1
            self.now = self.default if parent is None else self.stages.get(parent, self.default)
        self.begun = True
        self.stages[self.index] = self.now
        if alias(from_):
            self.aliases.setdefault(alias(from_), self.index)


# --- dockc's own way


def _own(
    context: Context, pragmas: Pragmas, found: Iterator[tuple[_Job, list[dict[str, Any]]]], options: LintOptions
) -> Iterator[Finding]:
    from dockc.linter.opinions import Opinion, opinion

    for job, comments in found:
        starts = _line_starts(job.script.shell.text)
        for comment in comments:
            line = comment["line"] - job.head
            code = f"SC{comment['code']}"
            if line < 1 or code in _OWN_EXCLUDED:
                continue
            start = _offset(starts, line, comment["column"])
            end = _offset(starts, comment["endLine"] - job.head, comment["endColumn"])
            size = len(job.script.shell.text)
            verdict = opinion(code, job.script, context, start, end)
            if code.startswith("SC3") and job.text.startswith("#!/bin/sh"):
                verdict = Opinion.STRICT  # what `sh` is here is not known
            if verdict is Opinion.DROP:
                continue
            if code in _BUSYBOX and job.text.startswith("#!/bin/busybox"):
                continue
            span = job.script.span(min(start, size), min(max(start, end), size))
            if verdict is Opinion.STRICT and not options.strict:
                pragmas.suppress(code, context.source.line_at(span.start))  # a comment for it is in use all the same
                continue
            yield Finding(
                code=code,
                name=code.lower(),
                message=str(comment["message"]),
                severity=_own_severity(code, comment),
                span=span,
                lines=context.source.lines_of(span),
                column=context.source.position(span.start).column + 1,
                url=f"{PAGES}{code}",
                strict=verdict is Opinion.STRICT,
            )


def _line_starts(text: str) -> list[int]:
    return [0, *(match.end() for match in re.finditer("\n", text))]


def _offset(starts: Sequence[int], line: int, column: int) -> int:
    return starts[min(max(line, 1), len(starts)) - 1] + max(column, 1) - 1


def _own_jobs(context: Context, pragmas: Pragmas) -> Iterator[_Job]:
    """Scripts of RUN, CMD, ENTRYPOINT and HEALTHCHECK, also behind ONBUILD."""
    from dockc.linter.known import known
    from dockc.linter.opinions import is_broken_json

    states = _States(parity=False)
    runs = {script.entry.index: script for script in context.runs}
    events = [*_events(context, pragmas, triggers=False), *_events(context, pragmas, triggers=True)]
    for _, item in sorted(events, key=lambda event: event[0]):
        if isinstance(item, str):
            states.pragma(item)
            continue
        entry, instruction = item
        states.see(instruction)
        ran = runs.get(entry.index)
        found = ran if ran is not None and ran.exact else _script(entry, instruction) if ran is None else None
        if found is None or not found.shell.text.strip():
            continue
        if is_broken_json(instruction):
            continue
        base = context.bases[entry.stage] if 0 <= entry.stage < len(context.bases) else Base("", 0)
        if ran is None:
            found = known(found, context.value, context.memory)
        own = _interpreter(found.shell.text) or found.reader
        shell = own or states.now.name
        if not own and states.now.name == _DEFAULT and base.windows:
            continue
        dialect = _dialect(shell.split()[0] if shell.split() else "/bin/sh", base.shell)
        if dialect is None:
            continue
        if (state := context.shells[entry.index]).errexit and not own and state.posix:
            dialect += " -e"
        asks = _ASKS.search(found.shell.text)
        names = frozenset(n for n in states.now.names if _NAME.fullmatch(n)) if asks else frozenset[str]()
        head = _Shell(states.now.name, names).head(dialect)
        yield _Job(head + found.shell.text, head.count("\n"), entry, found)


def _dialect(shell: str, base: str) -> str | None:
    """The `#!` that tells ShellCheck which shell it is; `sh` is what it is in the base image, where that is known. None
    for no POSIX shell.
    """
    name = shell.rsplit("/", 1)[-1].rsplit("\\", 1)[-1]
    if name not in _SHELLS:
        return None
    if name == "busybox" or (name in {"sh", "ash"} and base == "busybox"):
        return "/bin/busybox sh"
    if name == "sh" and base and base != "none":
        return f"/bin/{base}"
    return f"/bin/{name}"


def _interpreter(text: str) -> str:
    """What a script's own `#!` names, or ""."""
    if not text.startswith("#!"):
        return ""
    words = text[2:].partition("\n")[0].split()
    if words and words[0].endswith("/env"):
        words = words[1:]
    return words[0] if words else "unknown"


def _script(entry: Entry, instruction: ast.Instruction) -> Script | None:
    """The script of an instruction, in the shell form or handed to a shell in the exec form, where it stands in the
    source.
    """
    if isinstance(instruction, ast.ShellDependent):
        found = script(entry, instruction) if instruction.prepend_shell else exec_script(entry, instruction)
    elif isinstance(instruction, ast.Healthcheck):
        found = script(entry, instruction) if instruction.test[0] == "CMD-SHELL" else exec_script(entry, instruction)
    else:
        return None
    return found if found is not None and found.exact else None


# --- the checker's answers


def parse_answer(text: str, names: Sequence[str]) -> list[list[dict[str, Any]]]:
    """What `shellcheck -f json1 NAME...` printed, as one list of comments a name."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for comment in json.loads(text).get("comments", ()):
        if comment.get("file") in found:
            found[comment["file"]].append(comment)
    return [found[name] for name in names]


def _severity(comment: Mapping[str, Any]) -> Severity:
    level = comment["level"]
    return Severity(level) if level in {"warning", "info", "style"} else Severity.ERROR


def _own_severity(code: str, comment: Mapping[str, Any]) -> Severity:
    """An error is what the shell cannot read, or what cannot be meant; the rest of ShellCheck's errors are warnings
    here.
    """
    found = _severity(comment)
    return Severity.WARNING if found is Severity.ERROR and not code.startswith("SC1") and code not in _ERRORS else found


#: Besides what does not parse (SC1…): scripts that do something else than they say on any input.
_ERRORS = frozenset(["SC2070", "SC2077", "SC2078", "SC2104", "SC2105", "SC2152", "SC2168", "SC2242", "SC2281"])
