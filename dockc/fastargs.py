"""Well-formed command lines of the commands that people and editors run most, read without the command line library.

Loading typer takes several times as long as compiling an ordinary Dockerfile. `run` reads the options of `build`, `compile`, `lint` and `fmt` from a
literal table and calls what `dockc.cli` calls; whatever it is not sure of (another command, help, an unknown option, a value that may be
wrong) it leaves to `dockc.cli`, which answers with its own messages. A test holds the table against the definitions there.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    Values = dict[str, Any]

TEXT, LIST, PATH, FLAG, NUMBER = "text", "list", "path", "flag", "number"

#: An option: flags, parameter, kind, default, and what the kind needs: the value a flag sets, the bounds of a number, the variable of a path or text.

COMPILE = (
    (("--file", "-f"), "file", TEXT, "", None),
    (("--emit",), "emit", TEXT, "", None),
    (("--output", "-o"), "output", PATH, None, None),
    (("--target",), "target", TEXT, "", None),
    (("--build-arg",), "build_arg", LIST, (), None),
    (("--platform",), "platform", LIST, (), None),
    (("--label",), "label", LIST, (), None),
    (("--build-context",), "build_context", LIST, (), None),
    (("--opt",), "opt", LIST, (), None),
    (("--no-cache",), "no_cache", FLAG, False, True),
    (("--answers",), "answers", PATH, None, None),
    (("--offline",), "offline", FLAG, False, True),
    (("--locked",), "locked", PATH, None, None),
    (("-O",), "level", NUMBER, 1, (0, 2)),
    (("--passes",), "passes", TEXT, "", None),
    (("--squash",), "squash", NUMBER, 0, (0, 3)),
    (("--print-after",), "print_after", LIST, (), None),
    (("--print-after-all",), "print_after_all", FLAG, False, True),
    (("--time-passes",), "time_passes", FLAG, False, True),
    (("--verify-each",), "verify_each", FLAG, False, True),
    (("--store",), "store", PATH, None, "DOCKC_STORE"),
)

LINT = (
    (("--profile",), "profile", TEXT, "", None),
    (("--select",), "select", LIST, (), None),
    (("--ignore",), "ignore", LIST, (), None),
    (("--extend",), "extend", LIST, (), None),
    (("--severity",), "severity", LIST, (), None),
    (("--format",), "format_", TEXT, "text", None),
    (("--output", "-o"), "output", PATH, None, None),
    (("--fix",), "fix", FLAG, False, True),
    (("--unsafe",), "unsafe", FLAG, False, True),
    (("--diff",), "diff", FLAG, False, True),
    (("--stats",), "stats", FLAG, False, True),
    (("--failure-threshold", "-t"), "failure_threshold", TEXT, "", None),
    (("--no-fail",), "no_fail", FLAG, False, True),
    (("--config", "-c"), "config", PATH, None, None),
    (("--baseline",), "baseline", PATH, None, None),
    (("--write-baseline",), "write_baseline", FLAG, False, True),
    (("--shellcheck",), "shellcheck", FLAG, None, True),
    (("--no-shellcheck",), "shellcheck", FLAG, None, False),
    (("--build-arg",), "build_arg", LIST, (), None),
    (("--jobs", "-j"), "jobs", NUMBER, 0, (0, None)),
    (("--stdin-filename",), "stdin_filename", TEXT, "", None),
    (("--no-cache",), "no_cache", FLAG, False, True),
)

BUILD = (
    (("--file", "-f"), "file", TEXT, "", None),
    (("--tag", "-t"), "tag", LIST, (), None),
    (("--output", "-o"), "output", LIST, (), None),
    (("--target",), "target", TEXT, "", None),
    (("--build-arg",), "build_arg", LIST, (), None),
    (("--platform",), "platform", LIST, (), None),
    (("--label",), "label", LIST, (), None),
    (("--annotation",), "annotation", LIST, (), None),
    (("--build-context",), "build_context", LIST, (), None),
    (("--opt",), "opt", LIST, (), None),
    (("--no-cache",), "no_cache", FLAG, False, True),
    (("--no-cache-filter",), "no_cache_filter", LIST, (), None),
    (("--pull",), "pull", FLAG, False, True),
    (("--call",), "call", TEXT, "build", None),
    (("--check",), "check", FLAG, False, True),
    (("--secret",), "secret", LIST, (), None),
    (("--ssh",), "ssh", LIST, (), None),
    (("--allow",), "allow", LIST, (), None),
    (("--network",), "network", TEXT, "", None),
    (("--add-host",), "add_host", LIST, (), None),
    (("--shm-size",), "shm_size", TEXT, "", None),
    (("--ulimit",), "ulimit", LIST, (), None),
    (("--cgroup-parent",), "cgroup_parent", TEXT, "", None),
    (("--push",), "push", FLAG, False, True),
    (("--load",), "load", FLAG, False, True),
    (("--progress",), "progress", TEXT, "auto", "BUILDKIT_PROGRESS"),
    (("--quiet", "-q"), "quiet", FLAG, False, True),
    (("--metadata-file",), "metadata_file", PATH, None, None),
    (("--iidfile",), "iidfile", PATH, None, None),
    (("--record",), "record", PATH, None, None),
    (("--answers",), "answers", PATH, None, None),
    (("--offline",), "offline", FLAG, False, True),
    (("--locked",), "locked", PATH, None, None),
    (("-O",), "level", NUMBER, 1, (0, 2)),
    (("--passes",), "passes", TEXT, "", None),
    (("--squash",), "squash", NUMBER, 0, (0, 3)),
    (("--executor",), "executor", TEXT, "auto", None),
    (("--snapshotter",), "snapshotter", TEXT, "auto", None),
    (("--parallelism",), "parallelism", NUMBER, 0, (0, None)),
    (("--cache-from", "--import-cache"), "cache_from", LIST, (), None),
    (("--cache-to", "--export-cache"), "cache_to", LIST, (), None),
    (("--attest",), "attest", LIST, (), None),
    (("--provenance",), "provenance", TEXT, "", None),
    (("--sbom",), "sbom", TEXT, "", None),
    (("--builder",), "builder", TEXT, "", None),
    (("--rm",), "rm", FLAG, False, True),
    (("--force-rm",), "force_rm", FLAG, False, True),
    (("--compress",), "compress", FLAG, False, True),
    (("--store",), "store", PATH, None, "DOCKC_STORE"),
)

FMT = (
    (("--check",), "check", FLAG, False, True),
    (("--diff",), "diff", FLAG, False, True),
    (("--stdin-filename",), "stdin_filename", TEXT, "", None),
)

#: Command: options, parameter of the arguments, whether there may be many.
COMMANDS: dict[str, tuple[tuple[Any, ...], str, bool]] = {
    "build": (BUILD, "context", False),
    "compile": (COMPILE, "context", False),
    "lint": (LINT, "files", True),
    "fmt": (FMT, "files", True),
}


def read(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Values | None:
    """The parameters of a command by name, as `dockc.cli` would pass them; None where it had better look itself."""
    options, rest, many = COMMANDS[command]
    by_flag = {flag: option for option in options for flag in option[0]}
    values: Values = {option[1]: list(option[3]) if option[2] == LIST else option[3] for option in options}
    for _, name, kind, _, extra in options:
        if kind in (PATH, TEXT) and extra and environment.get(extra):
            values[name] = _path(environment[extra]) if kind == PATH else environment[extra]
    found: list[str] = []
    if not _take(arguments, by_flag, values, found):
        return None
    if many:
        values[rest] = found or None
    elif len(found) > 1:
        return None
    else:
        values[rest] = found[0] if found else "."
    return values


def _take(arguments: Sequence[str], by_flag: Mapping[str, Any], values: Values, found: list[str]) -> bool:
    """Put options into `values` and arguments into `found`; False at the first thing that is not plain."""
    at = 0
    while at < len(arguments):
        text = arguments[at]
        at += 1
        if not text.startswith("-") or text == "-":
            found.append(text)
            continue
        flag, equals, value = text.partition("=") if text.startswith("--") else (text[:2], text[2:], text[2:])
        option = by_flag.get(flag)
        if option is None:
            return False
        _, name, kind, _, extra = option
        if kind == FLAG:
            if equals:
                return False
            values[name] = extra
            continue
        if not equals:
            if at == len(arguments):
                return False
            value = arguments[at]
            at += 1
            if value.startswith("-") and value != "-":
                return False
        if kind == LIST:
            values[name].append(value)
        elif kind == PATH:
            values[name] = _path(value)
        elif kind == NUMBER:
            if (number := _number(value, *extra)) is None:
                return False
            values[name] = number
        else:
            values[name] = value
    return True


def _number(text: str, low: int, high: int | None) -> int | None:
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        return None
    number = int(text)
    return number if number >= low and (high is None or number <= high) else None


def _path(text: str) -> Path:
    from pathlib import Path

    return Path(text)


def run(argv: Sequence[str]) -> int | None:
    """Run a command line and return the exit status; None leaves it to `dockc.cli`."""
    if not argv or argv[0] not in COMMANDS:
        return None
    values = read(argv[0], argv[1:], os.environ)
    if values is None:
        return None
    import gc

    from dockc import patterncache
    from dockc.errors import DockcError

    gc.set_threshold(20_000, 20, 20)  # what a short command makes is nearly all of use to its end
    patterns = patterncache.install(os.environ)
    try:
        return {"build": _build, "compile": _compile, "lint": _lint, "fmt": _format}[argv[0]](values)
    except KeyboardInterrupt:
        sys.stderr.write("dockc: interrupted\n")
        return 130
    except BrokenPipeError:
        return 141
    except DockcError as error:
        from dockc.console.errors import render_error

        sys.stderr.write(render_error(error))
        return error.exit_code
    finally:
        if patterns is not None:
            patterns.save()


def compile_request(values: Values) -> Any:
    """The `CompileRequest` of the parameters of `compile`."""
    from dockc.commands.options import frontend_attrs, named_contexts
    from dockc.engine.request import CompileRequest

    same = ("context", "file", "answers", "offline", "locked", "level", "passes", "squash", "print_after", "print_after_all",
            "time_passes", "verify_each", "store")  # fmt: skip
    attrs = frontend_attrs(
        target=values["target"],
        build_args=values["build_arg"],
        platforms=values["platform"],
        labels=values["label"],
        opts=values["opt"],
        no_cache=values["no_cache"],
    )
    return CompileRequest(attrs=attrs, contexts=named_contexts(values["build_context"]), **{name: values[name] for name in same})


def lint_request(values: Values) -> Any:
    """The `LintRequest` of the parameters of `lint`."""
    from dockc.commands.lint.command import LintRequest

    same = ("profile", "fix", "unsafe", "diff", "stats", "no_fail", "config", "baseline", "write_baseline", "shellcheck", "jobs",
            "no_cache")  # fmt: skip
    pairs = (text.partition("=") for text in values["build_arg"])
    return LintRequest(
        files=tuple(values["files"] or ()),
        select=tuple(values["select"]),
        ignore=tuple(values["ignore"]),
        extend=tuple(values["extend"]),
        severities=tuple(values["severity"]),
        format=values["format_"],
        threshold=values["failure_threshold"],
        stdin_name=values["stdin_filename"],
        build_args={name: value if equals else os.environ.get(name, "") for name, equals, value in pairs},
        **{name: values[name] for name in same},
    )


def _build(values: Values) -> int:
    from dockc.commands.build import build_command

    return build_command(values)


def _compile(values: Values) -> int:
    from dockc.commands.compile import compile_command

    output = values["output"]
    form = values["emit"] or ("llb" if output is None and sys.stdout.isatty() else "pb")
    _write(compile_command(compile_request(values), form, sys.stderr.write), output)
    return 0


def _lint(values: Values) -> int:
    from dockc.commands.lint.command import lint_command
    from dockc.grammar.source import encode

    parts: list[str] = []
    status = lint_command(lint_request(values), out=parts.append, log=sys.stderr.write)
    _write(encode("".join(parts)), values["output"])
    return status


def _format(values: Values) -> int:
    from dockc.commands.fmt import format_command
    from dockc.grammar.source import encode

    def out(text: str) -> None:
        _write(encode(text), None)

    return format_command(values["files"] or ["."], check=values["check"], diff=values["diff"], stdin_name=values["stdin_filename"], out=out, log=sys.stderr.write)


def _write(data: bytes, output: Path | None) -> None:
    if output is not None:
        try:
            output.write_bytes(data)
        except OSError as error:
            from dockc.errors import UsageError

            raise UsageError(f"cannot write {output}: {error.strerror}") from error
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    except BrokenPipeError:
        raise
    except OSError as error:
        from dockc.errors import DockcError

        raise DockcError(f"cannot write the output: {error.strerror}") from error
