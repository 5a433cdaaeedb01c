"""Variables: what ARG and ENV have set, and how words are expanded against it.

An environment is a plain dict of names to values whose order is that of the last assignment, oldest first: the order
in which a process gets its variables.
"""

from __future__ import annotations

from dockc.compiler.checks import NOWHERE
from dockc.compiler.suggest import nearest
from dockc.errors import CompileError, Fault
from dockc.grammar.word import Lex, WordError
from dockc.oci import platform as platforms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dockc.compiler.checks import Linter
    from dockc.compiler.notes import ArgInfo
    from dockc.compiler.syntax.ast import Arg, Word
    from dockc.grammar.word import Expanded
    from dockc.oci.platform import Platform

SBOM_SCAN_CONTEXT = "BUILDKIT_SBOM_SCAN_CONTEXT"
SBOM_SCAN_STAGE = "BUILDKIT_SBOM_SCAN_STAGE"
NOT_IN_ENVIRONMENT = frozenset((SBOM_SCAN_CONTEXT, SBOM_SCAN_STAGE))
"""ARGs that steer the build and are never seen by a process."""


def assign(env: dict[str, str], key: str, value: str) -> None:
    """Set a variable; it becomes the last one."""
    env.pop(key, None)
    env[key] = value


def pairs(env: Mapping[str, str]) -> tuple[str, ...]:
    """The environment as `KEY=value` strings."""
    return tuple([f"{key}={value}" for key, value in env.items()])


def split_pair(text: str) -> tuple[str, str]:
    """Name and value of an entry `KEY=value`; without `=` the value is empty."""
    key, _, value = text.partition("=")
    return key, value


#: The names of `default_args`.
AUTOMATIC = frozenset(
    f"{side}{what}" for side in ("BUILD", "TARGET") for what in ("PLATFORM", "OS", "OSVERSION", "ARCH", "VARIANT")
) | {"TARGETSTAGE"}  # fmt: skip


def default_args(build: Platform, target: Platform, overrides: Mapping[str, str], stage: str) -> dict[str, str]:
    """The ARGs that every file has before its first FROM: platforms and the name of the target stage."""
    values = {
        "BUILDPLATFORM": platforms.format_short(build),
        "BUILDOS": build.os,
        "BUILDOSVERSION": build.os_version,
        "BUILDARCH": build.architecture,
        "BUILDVARIANT": build.variant,
        "TARGETPLATFORM": platforms.format_all(target),
        "TARGETOS": target.os,
        "TARGETOSVERSION": target.os_version,
        "TARGETARCH": target.architecture,
        "TARGETVARIANT": target.variant,
        "TARGETSTAGE": stage or "default",
    }
    return {key: overrides.get(key, value) for key, value in values.items()}


def meta_args(
    env: Mapping[str, str], args: Iterable[Arg], build_args: Mapping[str, str], lex: Lex
) -> tuple[dict[str, str], dict[str, ArgInfo]]:
    """The environment after the ARGs before the first FROM, and what an outline says about them.

    Raises:
        CompileError: a default that cannot be expanded.
    """
    from dockc.compiler.notes import ArgInfo

    env = dict(env)
    infos: dict[str, ArgInfo] = {}
    for arg in args:
        for pair in arg.pairs:
            key = pair.key.text
            depends: set[str] = set()
            if key in build_args:
                value: str | None = build_args[key]
            elif pair.value is None:
                value = None
            else:
                expanded = expand(lex, pair.value, env, arg.lines)
                value = expanded.result
                depends = set(expanded.matched)
                if key in depends:
                    depends.discard(key)
                    if key in infos:
                        depends |= infos[key].depends
            if value is not None:
                assign(env, key, value)
            infos[key] = ArgInfo(key, value or "", pair.doc_comment, depends, arg.lines)
    return env, infos


def expand(lex: Lex, word: Word, env: Mapping[str, str], lines: tuple[int, int] | None = None) -> Expanded:
    """Expand a word.

    Raises:
        CompileError: the word's syntax is wrong, or a required variable is not set; at `lines` if given.
    """
    try:
        return lex.expand(word.text, env)
    except WordError as error:
        failure = CompileError(error.message, fault=word_fault(error, lex, word))
        raise located(failure, lines) if lines else failure from None


def word_fault(error: WordError, lex: Lex, word: Word) -> Fault:
    """What is wrong with a word that cannot be expanded: the substitution or the quote in it."""
    from dockc.grammar.word import MODIFIER, UNSET, stop

    text, part = word.text, None
    if error.kind == UNSET:
        at = text.find(f"${{{error.name}")
        close = text.find("}", at)
        part = (at, close + 1 if close >= 0 else len(text)) if at >= 0 else None
    elif error.kind == MODIFIER:
        import re

        used = re.search(rf"\$\{{\w*{re.escape(error.name)}[^{{}}]*\}}?", text)
        part = used.span() if used else None
    return Fault(error.kind, word, part or stop(lex, text))


def located(error: CompileError, lines: tuple[int, int]) -> CompileError:
    """The error with one more place after those it has."""
    error.locations = (*error.locations, ranges(lines))
    return error


def ranges(lines: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Each line from the first to the last as a range of its own; none for `NOWHERE`."""
    if lines == NOWHERE:
        return ()
    first, last = lines
    return tuple((line, line) for line in range(first, max(first, last) + 1))


def report_undefined(
    names: Iterable[str],
    declared: Iterable[str],
    env: Mapping[str, str],
    lines: tuple[int, int],
    linter: Linter,
) -> None:
    """Note the variables that are used without being set or declared."""
    unknown = list(names)
    if not unknown:
        return
    known = NOT_IN_ENVIRONMENT.union(declared)
    for name in unknown:
        if name in known:
            continue
        match = nearest(name, env)
        message = f"Usage of undefined variable '${name}'"
        if match:
            message += f" (did you mean ${match}?)"
        linter.report("UndefinedVar", message, lines)
