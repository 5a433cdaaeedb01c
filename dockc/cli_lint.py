"""`dockc lint` on the command line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

Files = Annotated[
    list[str] | None, typer.Argument(help="Files, directories to search, or patterns; `-` reads standard input. Default: the current directory.")
]
Codes = "CODE[,CODE]"


def lint(
    files: Files = None,
    profile: Annotated[str, typer.Option("--profile", metavar="NAME", help="dockc (default), or exactly the findings of hadolint or buildkit.")] = "",
    select: Annotated[list[str], typer.Option("--select", metavar=Codes, help="Report these rules only; letters alone, such as DL, mean all rules that begin so.")] = [],  # noqa: B006  typer copies defaults
    ignore: Annotated[list[str], typer.Option("--ignore", metavar=Codes, help="Do not report these rules.")] = [],  # noqa: B006
    extend: Annotated[list[str], typer.Option("--extend", metavar=Codes, help="Report these rules too, which are off by default.")] = [],  # noqa: B006
    severity: Annotated[list[str], typer.Option("--severity", metavar="CODE=LEVEL", help="Give a rule another severity: error, warning, info, style or off.")] = [],  # noqa: B006
    format_: Annotated[str, typer.Option("--format", metavar="FORM", help="text, json, sarif, github, gitlab, codeclimate, checkstyle, junit, tty or gnu.")] = "text",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the report there instead of to standard output.")] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Apply safe fixes, each proven to leave what is built as it is but for what its rule declares. Standard input is printed fixed.")] = False,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="With --fix or --diff: unsafe fixes too. What is built may change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show what --fix would change, and write nothing.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print how often each rule fired instead of the findings.")] = False,
    failure_threshold: Annotated[str, typer.Option("--failure-threshold", "-t", metavar="LEVEL", help="The mildest severity that fails: error, warning, info, style or none. Default: warning; info with --profile=hadolint.")] = "",
    no_fail: Annotated[bool, typer.Option("--no-fail", help="End with 0 whatever is found.")] = False,
    config: Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="Read this configuration only: dockc.toml, pyproject.toml or hadolint's YAML. Default: what is found beside and above each file.")] = None,
    baseline: Annotated[Path | None, typer.Option("--baseline", metavar="FILE", help="Do not report the findings in this file.")] = None,
    write_baseline: Annotated[bool, typer.Option("--write-baseline", help="Write what is found now to the --baseline file.")] = False,
    shellcheck: Annotated[bool | None, typer.Option("--shellcheck/--no-shellcheck", help="Check shell scripts with ShellCheck. Default: where it is installed.")] = None,
    build_arg: Annotated[list[str], typer.Option("--build-arg", metavar="NAME=VALUE", help="What the checks take for a build argument.")] = [],  # noqa: B006
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=0, help="Processes for many files; 0: one for each core.")] = 0,
    stdin_filename: Annotated[str, typer.Option("--stdin-filename", metavar="FILE", help="What standard input is called in reports; configuration is looked for beside and above it.")] = "",
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Lint every file anew; neither use nor keep findings of files that have not changed.")] = False,
    explain: Annotated[str, typer.Option("--explain", metavar="RULE", help="Print a rule's page and end.")] = "",
) -> int:
    """Find mistakes in Dockerfiles, and mend them.

    Exit status: 0 when nothing at or above the threshold was found (with --diff: and nothing would be fixed), 1 when something was, 2 for
    wrong usage or configuration.
    """
    values = dict(locals())
    if explain:
        from dockc.linter.docs import page
        from dockc.linter.registry import find_rule

        sys.stdout.write(page(find_rule(explain)))
        return 0
    from dockc.commands.lint.command import lint_command
    from dockc.fastargs import lint_request

    parts: list[str] = []
    status = lint_command(lint_request(values), out=parts.append, log=_log)
    _write("".join(parts), output)
    return status


def _log(text: str) -> None:
    sys.stderr.write(text)


def _write(text: str, output: Path | None) -> None:
    from dockc.grammar.source import encode

    if output is not None:
        try:
            output.write_bytes(encode(text))
        except OSError as exc:
            from dockc.errors import DockcError

            raise DockcError(f"cannot write {output}: {exc.strerror}") from exc
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(encode(text))
    sys.stdout.buffer.flush()
