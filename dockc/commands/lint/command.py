"""`dockc lint`: files in, findings out.

    find -> configure (per directory) -> lint, in several processes where there are many -> baseline -> fix -> print

A file that cannot be read, or on which lint itself fails, gives a finding of its own and hides no other file's.
"""

from __future__ import annotations

import os

from dockc.base.options import Options, option
from dockc.base.record import replace
from dockc.base.style import PLAIN, Style
from dockc.commands import shared
from dockc.commands.discover import STDIN
from dockc.commands.lint.plan import LintRequest, make_plans, split
from dockc.commands.lint.report import (
    FOR_PEOPLE,
    finished,
    sound,
    statistics,
    summary,
    without_shellcheck,
    wrapped,
)
from dockc.commands.lint.work import lint_files, open_cache
from dockc.errors import UsageError
from dockc.grammar.diagnostic import Severity
from dockc.linter.formats.text import few

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.commands.lint.plan import Out, Plan
    from dockc.linter.finding import FileReport


CODES = "CODE[,CODE]"
_CHOICE, _REPORT, _FIXES, _PEER = "Which rules", "The report", "Fixes", "In hadolint's words"


class LintCommandOptions(Options):
    """Find mistakes in Dockerfiles, and mend them.

    Exit status: 0 when nothing at or above the threshold was found (with --diff: and nothing would be fixed), 1 when
    something was, 2 for wrong usage or configuration, 3 where hadolint's profile could not read a file as hadolint
    could not.
    """

    files: tuple[str, ...] = shared.FILES
    profile: str = option(
        "--profile",
        metavar="NAME",
        help="dockc (default), or exactly the findings of hadolint or buildkit.",
        completes="dockc|hadolint|buildkit",
    )
    select: tuple[str, ...] = option(
        "--select", metavar=CODES, group=_CHOICE, completes="rule",
        help="Report these rules only; letters alone, such as DL, mean all rules that begin so, and strict what is "
             "right and seldom worth it.",
    )  # fmt: skip
    ignore: tuple[str, ...] = option(
        "--ignore", metavar=CODES, help="Do not report these rules.", group=_CHOICE, completes="rule"
    )
    extend: tuple[str, ...] = option(
        "--extend",
        metavar=CODES,
        help="Report these rules too, which are off by default; strict is all that the default profile leaves to "
        "those who ask.",
        group=_CHOICE,
        completes="rule",
    )
    severity: tuple[str, ...] = option(
        "--severity",
        metavar="CODE=LEVEL",
        help="Give a rule another severity: error, warning, info, style or off.",
        group=_CHOICE,
    )
    format: str = option(
        "--format", "-f", metavar="FORM", group=_REPORT,
        completes="text|full|concise|json|sarif|github|gitlab|codeclimate|checkstyle|junit|codacy|sonarqube|tty|gnu",
        help="text, full, concise, json, sarif, github, gitlab (or gitlab_codeclimate), codeclimate, checkstyle, junit, "
             "codacy, sonarqube, tty or gnu. text is full (with the lines) for a few findings, and concise (a line each) "
             "for more. Default: text; with --profile=hadolint, what its configuration says.",
    )  # fmt: skip
    json: bool = option("--json", help="Short for --format=json.", group=_REPORT)
    output: Path | None = option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the report there instead of to standard output.",
        group=_REPORT,
        completes="file",
    )
    fix: bool = option(
        "--fix", group=_FIXES,
        help="Apply safe fixes, each proven to leave what is built as it is but for what its rule declares. Standard "
             "input is printed fixed.",
    )  # fmt: skip
    unsafe: bool = option(
        "--unsafe", help="With --fix or --diff: unsafe fixes too. What is built may change.", group=_FIXES
    )
    diff: bool = option("--diff", help="Show what --fix would change, and write nothing.", group=_FIXES)
    stats: bool = option("--stats", help="Print how often each rule fired instead of the findings.", group=_REPORT)
    failure_threshold: str = option(
        "--failure-threshold", "-t", metavar="LEVEL", completes="error|warning|info|style|none",
        help="The mildest severity that fails: error, warning, info, style or none. Default: warning; info with "
             "--profile=hadolint, where everything fails with none (or ignore), as with hadolint.",
    )  # fmt: skip
    no_fail: bool = option("--no-fail", help="End with 0 whatever is found.")
    hadolint_status: bool = option(
        "--hadolint-status",
        help="With --profile=hadolint: end with 1, as hadolint does, where a file cannot be read as hadolint reads "
        "it (default: 3), and with 0 after a report for codeclimate or codacy.",
    )
    config: Path | None = option(
        "--config", "-c", metavar="FILE", completes="file",
        help="Read this configuration only: dockc.toml, pyproject.toml or hadolint's YAML. Default: what is found "
             "beside and above each file.",
    )  # fmt: skip
    baseline: Path | None = option(
        "--baseline", metavar="FILE", help="Do not report the findings in this file.", completes="file"
    )
    write_baseline: bool = option("--write-baseline", help="Write what is found now to the --baseline file.")
    shellcheck: bool | None = option(
        "--shellcheck",
        off=("--no-shellcheck",),
        help="Check shell scripts with ShellCheck. Default: where it is installed.",
    )
    build_arg: tuple[str, ...] = option(
        "--build-arg", metavar="NAME=VALUE", help="What the checks take for a build argument."
    )
    jobs: int = option("--jobs", "-j", metavar="N", low=0, help="Processes for many files; 0: one for each core.")
    stdin_filename: str = option(
        "--stdin-filename",
        metavar="FILE",
        help="What standard input is called in reports; configuration is looked for beside and above it.",
    )
    no_cache: bool = option(
        "--no-cache", help="Lint every file anew; neither use nor keep findings of files that have not changed."
    )
    if_no_files: str = shared.IF_NO_FILES
    color: str = shared.color(_REPORT)
    error: tuple[str, ...] = option("--error", metavar=CODES, help="As --severity CODE=error.", group=_PEER)
    warning: tuple[str, ...] = option("--warning", metavar=CODES, help="As --severity CODE=warning.", group=_PEER)
    info: tuple[str, ...] = option("--info", metavar=CODES, help="As --severity CODE=info.", group=_PEER)
    style: tuple[str, ...] = option("--style", metavar=CODES, help="As --severity CODE=style.", group=_PEER)
    trusted_registry: tuple[str, ...] = option(
        "--trusted-registry",
        metavar="REGISTRY",
        help="A registry that base images may come from; with one or more, no other is right (DL3026).",
        group=_PEER,
    )
    require_label: tuple[str, ...] = option(
        "--require-label",
        metavar="LABEL:TYPE",
        help="A label that images must have: text, url, semver, hash, rfc3339, spdx or email.",
        group=_PEER,
    )
    strict_labels: bool = option(
        "--strict-labels", help="Report other labels than those that are required.", group=_PEER
    )
    disable_ignore_pragma: bool = option(
        "--disable-ignore-pragma", help="Let no comment in a Dockerfile suppress findings.", group=_PEER
    )
    file_path_in_report: str = option(
        "--file-path-in-report",
        metavar="FILE",
        help="What reports call the files: for a file that lies elsewhere where it is linted. Formats that only people "
        "read name it as it is.",
        group=_PEER,
    )
    no_color: bool = option("--no-color", help="As --color=never.", group=_PEER)
    verbose: bool = option(
        "--verbose", "-V", help="Say on standard error which configuration holds for which directory.", group=_PEER
    )
    version: bool = option("--version", "-v", help="Print dockc's version and end.", group=_PEER)
    explain: str = option("--explain", metavar="RULE", help="Print a rule's page and end.", completes="rule")
    examples = (
        "dockc lint",
        "dockc lint --fix Dockerfile",
        "dockc lint --profile=hadolint --format=sarif . > dockc.sarif",
        "dockc lint --explain DL3008",
    )


def run(options: LintCommandOptions, out: Output) -> int:
    """`dockc lint`."""
    if options.version:
        from dockc.base.version import VERSION

        out.write(f"dockc {VERSION}\n")
        return 0
    if options.explain:
        from dockc.linter.docs import page
        from dockc.linter.registry import find_rule

        text, style = page(find_rule(options.explain)), out.style()
        if style.color:
            from dockc.console import paint

            text = paint.page(text, style)
        out.write(text)
        return 0
    if options.no_color:
        out = out.colored("never")
    parts: list[str] = []
    status = lint_command(request_of(options), out=parts.append, log=out.log, style=out.style(options.output))
    out.write("".join(parts), options.output)
    return status


def request_of(options: LintCommandOptions) -> LintRequest:
    """What is to be linted."""
    pairs = (text.partition("=") for text in options.build_arg)
    return LintRequest(
        files=options.files,
        profile=options.profile,
        select=options.select,
        ignore=options.ignore,
        extend=options.extend,
        severities=options.severity,
        overrides=tuple(
            (code, level)
            for level, codes in (
                (Severity.ERROR, options.error),
                (Severity.WARNING, options.warning),
                (Severity.INFO, options.info),
                (Severity.STYLE, options.style),
            )
            for code in split(codes)
        ),
        trusted_registries=options.trusted_registry,
        labels=options.require_label,
        strict_labels=options.strict_labels,
        no_pragmas=options.disable_ignore_pragma,
        color="never" if options.no_color else options.color,
        report_name=options.file_path_in_report,
        verbose=options.verbose,
        format=shared.form(options.format, options.json),
        fix=options.fix,
        unsafe=options.unsafe,
        diff=options.diff,
        stats=options.stats,
        threshold=options.failure_threshold,
        no_fail=options.no_fail,
        peer_status=options.hadolint_status,
        config=options.config,
        baseline=options.baseline,
        write_baseline=options.write_baseline,
        shellcheck=options.shellcheck,
        build_args={name: value if equals else os.environ.get(name, "") for name, equals, value in pairs},
        jobs=options.jobs,
        no_cache=options.no_cache,
        stdin_name=options.stdin_filename,
        if_no_files=options.if_no_files,
    )


def lint_command(request: LintRequest, *, out: Out, log: Out, style: Style = PLAIN) -> int:
    """Lint files and print what was found.

    Args:
        out: takes the report.
        log: takes what is said about the run.
        style: colours, links and width of the report.

    Returns:
        0 when nothing at or above the threshold was found, else 1.

    Raises:
        UsageError: a path, code, format or configuration that cannot be understood.
    """
    from dockc.linter.formats import renderer

    if request.format:
        renderer(request.format)
    if request.write_baseline and request.baseline is None:
        raise UsageError("--write-baseline needs --baseline FILE")
    plans = make_plans(request, log)
    form = request.format or next((plan.format for plan in plans if plan.format), "text")
    people = form in FOR_PEOPLE
    render = renderer(form)
    if any(plan.plain for plan in plans) and request.color == "auto":
        style = replace(style, color=False, links=False)
    if people and (missing := without_shellcheck(plans)):
        log(missing)
    if request.fix or request.diff:
        from dockc.commands.lint.fix import fix_files

        reports, changed = fix_files(plans, unsafe=request.unsafe, diff=request.diff, out=out, log=log, style=style)
    else:
        reports, changed = lint_files(plans, request.jobs, None if request.no_cache else open_cache()), False
    if request.baseline is not None:
        from dockc.commands.lint.baseline import Baseline

        if request.write_baseline:
            written = Baseline.of(reports, request.baseline.parent)
            written.save(request.baseline)
            log(f"{request.baseline}: {len(written)} findings\n")
            return 0
        known = Baseline.load(request.baseline)
        reports = [known.filtered(report) for report in reports]
        if gone := known.left():
            log(f"{request.baseline}: {gone} of its findings are gone; --write-baseline brings it up to date\n")
    if request.report_name and form in _RENAMED:
        reports = [replace(report, path=request.report_name) for report in reports]
    to = log if (request.diff or (request.fix and request.files == (STDIN,))) else out
    if request.stats:
        to(statistics(reports))
    elif not request.diff or not people:
        to(finished(sound(render(reports), form), reports, style) if people else sound(render(reports), form))
    if people and not request.diff and not request.stats:
        to(wrapped(summary(reports, shortened=form == "text" and not few(reports)), style))
    if request.no_fail:
        return 0
    if _unread(reports, plans, log) and not request.peer_status:
        return UNREAD
    if request.peer_status and form in _NO_FAILURE and all(plan.options.profile == "hadolint" for plan in plans):
        return 0
    failing = any(f.severity.rank <= plan.fails_at for plan, r in zip(plans, reports, strict=True) for f in r.findings)
    return 1 if failing or (request.diff and changed) else 0


#: The exit status where hadolint's profile could not read a file.
UNREAD = 3
#: Reports that others read, who may know a file by another name; the same as with hadolint, and what it does not have.
_RENAMED = frozenset(
    ["checkstyle", "codeclimate", "gitlab_codeclimate", "gitlab", "sonarqube", "junit", "sarif", "github", "codacy"]
)
#: After these reports hadolint always ends with 0.
_NO_FAILURE = frozenset(["codeclimate", "codacy"])


def _unread(reports: Sequence[FileReport], plans: Sequence[Plan], log: Out) -> bool:
    """Whether hadolint's profile could not read a file; each that dockc itself can read is named, for its findings are
    missing.
    """
    profiles = {plan.name: plan.options.profile for plan in plans}
    found = False
    for report in reports:
        if (
            profiles.get(report.path) != "hadolint"
            or report.failed
            or not any(f.code == "DL1000" for f in report.findings)
        ):
            continue
        found = True
        from dockc.compiler.compile import read

        if not read(report.source).result.diagnostics:
            log(
                f"note: {report.path}: hadolint cannot read this file, so its rules did not run; BuildKit and "
                "dockc's own profile can\n"
            )
    return found
