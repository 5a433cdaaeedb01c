"""`dockc lint`: files in, findings out.

    find -> configure (per directory) -> lint, in several processes where there are many -> baseline -> fix -> print

A file that cannot be read, or on which lint itself fails, gives a finding of its own and hides no other file's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from dockc.base.options import Options, option
from dockc.base.record import Record, replace
from dockc.commands import shared
from dockc.commands.discover import STDIN, find
from dockc.errors import DockcError, UsageError
from dockc.grammar.diagnostic import Severity
from dockc.grammar.source import Source, Span
from dockc.linter.config import Config
from dockc.linter.finding import FileReport, Finding
from dockc.linter.options import PROFILES, STRICT, LintOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from dockc.base.output import Output
    from dockc.commands.lint.cache import Cache

UNREADABLE = "unreadable"
FAILED = "lint-failed"
STDIN_NAME = "<stdin>"
_NEVER = -1
_THRESHOLDS = {**{s.value: s.rank for s in Severity}, "none": _NEVER}
#: From this many files on, work is shared among processes.
_MANY = 12
#: So much of a file is looked at to tell whether it is text.
_LOOK = 8192
#: Needs most of what linting any file needs.
_WARM_UP = """FROM scratch AS base
ARG A=1
ENV B=$A
RUN set -x && apt-get update
COPY a /a
CMD ["/a"]
"""

Out = Callable[[str], object]


CODES = "CODE[,CODE]"
_CHOICE, _REPORT, _FIXES = "Which rules", "The report", "Fixes"


class LintCommandOptions(Options):
    """Find mistakes in Dockerfiles, and mend them.

    Exit status: 0 when nothing at or above the threshold was found (with --diff: and nothing would be fixed), 1 when something was, 2 for
    wrong usage or configuration.
    """

    files: tuple[str, ...] = shared.FILES
    profile: str = option(
        "--profile", metavar="NAME", help="dockc (default), or exactly the findings of hadolint or buildkit.", completes="dockc|hadolint|buildkit"
    )
    select: tuple[str, ...] = option(
        "--select", metavar=CODES, group=_CHOICE, completes="rule",
        help="Report these rules only; letters alone, such as DL, mean all rules that begin so.",
    )  # fmt: skip
    ignore: tuple[str, ...] = option("--ignore", metavar=CODES, help="Do not report these rules.", group=_CHOICE, completes="rule")
    extend: tuple[str, ...] = option("--extend", metavar=CODES, help="Report these rules too, which are off by default.", group=_CHOICE, completes="rule")
    severity: tuple[str, ...] = option(
        "--severity", metavar="CODE=LEVEL", help="Give a rule another severity: error, warning, info, style or off.", group=_CHOICE
    )
    format: str = option(
        "--format", metavar="FORM", default="text", group=_REPORT,
        completes="text|json|sarif|github|gitlab|codeclimate|checkstyle|junit|tty|gnu",
        help="text, json, sarif, github, gitlab, codeclimate, checkstyle, junit, tty or gnu.",
    )  # fmt: skip
    output: Path | None = option(
        "--output", "-o", metavar="FILE", help="Write the report there instead of to standard output.", group=_REPORT, completes="file"
    )
    fix: bool = option(
        "--fix", group=_FIXES,
        help="Apply safe fixes, each proven to leave what is built as it is but for what its rule declares. Standard input is printed fixed.",
    )  # fmt: skip
    unsafe: bool = option("--unsafe", help="With --fix or --diff: unsafe fixes too. What is built may change.", group=_FIXES)
    diff: bool = option("--diff", help="Show what --fix would change, and write nothing.", group=_FIXES)
    stats: bool = option("--stats", help="Print how often each rule fired instead of the findings.", group=_REPORT)
    failure_threshold: str = option(
        "--failure-threshold", "-t", metavar="LEVEL", completes="error|warning|info|style|none",
        help="The mildest severity that fails: error, warning, info, style or none. Default: warning; info with --profile=hadolint.",
    )  # fmt: skip
    no_fail: bool = option("--no-fail", help="End with 0 whatever is found.")
    config: Path | None = option(
        "--config", "-c", metavar="FILE", completes="file",
        help="Read this configuration only: dockc.toml, pyproject.toml or hadolint's YAML. Default: what is found beside and above each file.",
    )  # fmt: skip
    baseline: Path | None = option("--baseline", metavar="FILE", help="Do not report the findings in this file.", completes="file")
    write_baseline: bool = option("--write-baseline", help="Write what is found now to the --baseline file.")
    shellcheck: bool | None = option(
        "--shellcheck", off=("--no-shellcheck",), help="Check shell scripts with ShellCheck. Default: where it is installed."
    )
    build_arg: tuple[str, ...] = option("--build-arg", metavar="NAME=VALUE", help="What the checks take for a build argument.")
    jobs: int = option("--jobs", "-j", metavar="N", low=0, help="Processes for many files; 0: one for each core.")
    stdin_filename: str = option(
        "--stdin-filename", metavar="FILE", help="What standard input is called in reports; configuration is looked for beside and above it."
    )
    no_cache: bool = option("--no-cache", help="Lint every file anew; neither use nor keep findings of files that have not changed.")
    explain: str = option("--explain", metavar="RULE", help="Print a rule's page and end.", completes="rule")


def run(options: LintCommandOptions, out: Output) -> int:
    """`dockc lint`."""
    if options.explain:
        from dockc.linter.docs import page
        from dockc.linter.registry import find_rule

        out.write(page(find_rule(options.explain)))
        return 0
    parts: list[str] = []
    status = lint_command(request_of(options), out=parts.append, log=out.log)
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
        format=options.format,
        fix=options.fix,
        unsafe=options.unsafe,
        diff=options.diff,
        stats=options.stats,
        threshold=options.failure_threshold,
        no_fail=options.no_fail,
        config=options.config,
        baseline=options.baseline,
        write_baseline=options.write_baseline,
        shellcheck=options.shellcheck,
        build_args={name: value if equals else os.environ.get(name, "") for name, equals, value in pairs},
        jobs=options.jobs,
        no_cache=options.no_cache,
        stdin_name=options.stdin_filename,
    )


class LintRequest(Record, kw_only=True):
    """What the command line says. Texts are as typed.

    Attributes:
        files: files, directories, patterns, `-`.
        profile: "" leaves it to the configuration.
        select, ignore, extend: codes, also several in one text, separated by commas.
        severities: `CODE=LEVEL`.
        format: of the report.
        fix, unsafe: write fixes; unsafe ones too.
        diff: show fixes, write nothing.
        stats: counts by rule instead of findings.
        threshold: the mildest severity that makes the exit status 1; "" leaves it to the configuration.
        no_fail: exit status 0 whatever is found.
        config: the only configuration file.
        baseline: findings that are known and not reported.
        write_baseline: make the baseline from what is found now.
        shellcheck: None uses it where it is installed.
        platform, build_args: as for a build.
        jobs: processes at most; 0 is one for each core.
        no_cache: lint every file anew, and remember nothing.
        stdin_name: what standard input is called in reports; its configuration is looked for there.
    """

    files: tuple[str, ...] = ()
    profile: str = ""
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    format: str = "text"
    fix: bool = False
    unsafe: bool = False
    diff: bool = False
    stats: bool = False
    threshold: str = ""
    no_fail: bool = False
    config: Path | None = None
    baseline: Path | None = None
    write_baseline: bool = False
    shellcheck: bool | None = None
    build_args: Mapping[str, str] = MappingProxyType({})
    jobs: int = 0
    no_cache: bool = False
    stdin_name: str = ""


class Plan(Record):
    """How one file is linted.

    Attributes:
        path: the file, or `-`.
        options: how.
        fails_at: rank of the mildest severity that fails the run.
        name: what reports call it.
    """

    path: str
    options: LintOptions
    fails_at: int
    name: str


def lint_command(request: LintRequest, *, out: Out, log: Out) -> int:
    """Lint files and print what was found.

    Args:
        out: takes the report.
        log: takes what is said about the run.

    Returns:
        0 when nothing at or above the threshold was found, else 1.

    Raises:
        UsageError: a path, code, format or configuration that cannot be understood.
    """
    from dockc.linter.formats import renderer

    render = renderer(request.format)
    if request.write_baseline and request.baseline is None:
        raise UsageError("--write-baseline needs --baseline FILE")
    plans = make_plans(request)
    if request.fix or request.diff:
        from dockc.commands.lint.fix import fix_files

        reports, changed = fix_files(plans, unsafe=request.unsafe, diff=request.diff, out=out, log=log)
    else:
        reports, changed = lint_files(plans, request.jobs, None if request.no_cache else _cache()), False
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
    to = log if (request.diff or (request.fix and request.files == (STDIN,))) else out
    if request.stats:
        to(statistics(reports))
    elif not request.diff or request.format != "text":
        to(_sound(render(reports), request.format))
    if request.format == "text" and not request.diff and not request.stats:
        to(summary(reports))
    if request.no_fail:
        return 0
    limits = {plan.name: plan.fails_at for plan in plans}
    failing = any(f.severity.rank <= limits[r.path] for r in reports for f in r.findings)
    return 1 if failing or (request.diff and changed) else 0


def _sound(text: str, form: str) -> str:
    """A report that its reader can take, whatever files and their names hold: no bytes that are no characters, nothing that steers a terminal."""
    if form in {"text", "tty", "gnu"}:
        from dockc.console.errors import visible

        return visible(text)
    return text if text.isascii() else text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


# --- configuration


def make_plans(request: LintRequest) -> list[Plan]:
    """One plan a file; configuration is looked up once a directory.

    Raises:
        UsageError: something in the request or in a configuration file cannot be understood.
    """
    from dockc.commands.lint.config import load

    if request.profile and request.profile not in PROFILES:
        raise UsageError(f"unknown profile: {request.profile}", hint=f"Choose one of {', '.join(PROFILES)}.")
    typed = Config(
        profile=request.profile or None,
        select=split(request.select),
        ignore=split(request.ignore),
        extend=split(request.extend),
        severities=dict(map(_severity, split(request.severities))),
        shellcheck=request.shellcheck,
    )
    check_codes(typed)
    plans = []
    known: dict[str, tuple[Config, LintOptions]] = {}
    for path in find(request.files or (".",)):
        name = (request.stdin_name or STDIN_NAME) if path == STDIN else path
        directory = os.path.dirname(name) or "."
        if directory not in known:
            config = load(directory, os.environ, explicit=request.config, profile=request.profile, warn=_warn).merged(typed)
            options = config.options()
            asked = options.extend | {code for code in options.select if not code.isalpha() or code == STRICT}
            options = replace(options, extend=asked)
            known[directory] = config, _with_shellcheck(options)
        config, options = known[directory]
        plans.append(Plan(path, _for_file(name, options, request.build_args), _limit(request, config, options.profile), name))
    return plans


def _warn(error: UsageError) -> None:
    """Say what is wrong with a configuration file that is left out."""
    from dockc.console.errors import visible

    sys.stderr.write(visible(f"warning: {error.message}; the file is ignored\n"))


def _with_shellcheck(options: LintOptions) -> LintOptions:
    if options.shellcheck is False or options.profile == "buildkit":
        return options
    from dockc.commands.lint.shellcheck import with_checker

    return with_checker(options)


def split(texts: Iterable[str]) -> tuple[str, ...]:
    """`["A,B", "C"]` to `("A", "B", "C")`."""
    return tuple(part.strip() for text in texts for part in text.split(",") if part.strip())


def _severity(text: str) -> tuple[str, Severity | None]:
    code, equals, level = text.partition("=")
    levels: dict[str, Severity | None] = {**{s.value: s for s in Severity}, "off": None, "none": None, "ignore": None}
    if not equals or level.lower() not in levels:
        raise UsageError(f"severity is not CODE=LEVEL: {text}", hint=f"Levels: {', '.join(s.value for s in Severity)}, off.")
    return code, levels[level.lower()]


def check_codes(config: Config) -> None:
    """Refuse a rule's code that there is not; ShellCheck's are not listed here, so any of its form will do.

    Raises:
        UsageError: unknown code.
    """
    wanted = [*config.select, *config.extend, *config.ignore, *config.severities]
    if not wanted:
        return
    from dockc.linter.registry import codes, get_rule
    from dockc.linter.runner import SYNTAX

    known = {*codes(), SYNTAX, UNREADABLE, FAILED, "build-error"}
    wanted = [code for code in wanted if code != STRICT]
    for code in wanted:
        prefix = code.isalpha() and any(k.startswith(code) for k in (*known, "SC"))
        if code not in known and not prefix and not (code.startswith("SC") and code[2:].isdigit()):
            get_rule(code)


def _for_file(path: str, options: LintOptions, build_args: Mapping[str, str]) -> LintOptions:
    """Options with what lies beside the file: the ignore file of a build whose context is the file's directory."""
    if build_args:
        attrs = {**options.attrs, **{f"build-arg:{k}": v for k, v in build_args.items()}}
        options = replace(options, attrs=attrs, settings=replace(options.settings, build_args=dict(build_args)))
    if path == STDIN_NAME or options.profile == "hadolint":  # which reads no ignore files
        return options
    for name in (f"{path}.dockerignore", os.path.join(os.path.dirname(path), ".dockerignore")):
        try:
            with open(name, "rb") as file:
                text = file.read(1 << 20)
        except OSError:
            continue
        from dockc.grammar import ignore

        patterns = tuple(ignore.parse(text))
        return replace(options, ignore_file=text, settings=replace(options.settings, ignore_patterns=patterns))
    return options


def _limit(request: LintRequest, config: Config, profile: str) -> int:
    text = request.threshold or config.fail_on or ("info" if profile == "hadolint" else "warning")
    if config.no_fail and not request.threshold:
        text = "none"
    if text not in _THRESHOLDS:
        raise UsageError(f"unknown severity: {text}", hint=f"Choose one of {', '.join(_THRESHOLDS)}.")
    return _THRESHOLDS[text]


# --- linting


def _cache() -> Cache | None:
    from dockc.commands.lint.cache import opened

    return opened(os.environ)


def lint_files(plans: Sequence[Plan], jobs: int = 0, cache: Cache | None = None) -> list[FileReport]:
    """Reports in the order of the plans.

    Args:
        jobs: processes at most; 0 is one for each core.
        cache: where reports of earlier runs are.
    """
    found: dict[int, FileReport] = {}
    left: list[tuple[int, Source]] = []
    for index, plan in enumerate(plans):
        source = read_source(plan.path, plan.name)
        known = source if isinstance(source, FileReport) else cache.look_up(source, plan.options) if cache is not None else None
        if known is not None:
            found[index] = known
        elif isinstance(source, Source):
            left.append((index, source))
    work = [(source, plans[index]) for index, source in left]
    workers = min(jobs or cores(), len(work))
    if len(work) < _MANY or workers < 2 or not hasattr(os, "fork"):
        new = [lint_read(*item) for item in work]
    else:
        new = _shared_out(work, workers)
    for (index, _), report in zip(left, new, strict=True):
        found[index] = report
        if cache is not None:
            cache.keep(report, plans[index].options)
    return [found[index] for index in range(len(plans))]


def cores() -> int:
    """Processors that we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_source(path: str, name: str) -> Source | FileReport:
    """A file's text under a name, or the report that it cannot be read."""
    try:
        if path == STDIN:
            return Source(name, sys.stdin.buffer.read())
        from dockc.base.files import read_file

        return Source(name, read_file(path))
    except DockcError as error:
        return _failed(Source(name, b""), UNREADABLE, error.message)


def lint_read(source: Source, plan: Plan) -> FileReport:
    """Lint text that was read."""
    from dockc.linter.runner import lint_source

    try:
        report = lint_source(source, plan.options, path=source.name)
        if b"\0" in source.data[:_LOOK] and any(f.code == "DL1000" for f in report.findings) and plan.options.profile == "dockc":
            return _failed(source, UNREADABLE, "this is no text: it holds NUL characters")
        return report
    except UsageError:
        raise
    except Exception as error:  # one rule's mistake must not hide the other files
        return _failed(source, FAILED, f"lint failed on this file: {type(error).__name__}: {error}")


def _failed(source: Source, code: str, message: str) -> FileReport:
    finding = Finding(code=code, name=code, message=message, severity=Severity.ERROR, span=Span(0, 0), lines=(1, 1))
    return FileReport(path=source.name, source=source, findings=(finding,), failed=message)


def _shared_out(work: Sequence[tuple[Source, Plan]], workers: int) -> list[FileReport]:
    """Lint in forked processes, each every n-th file. What a process does not bring back is linted here."""
    import marshal

    from dockc.commands.lint.cache import unpacked
    from dockc.linter.runner import lint_source

    lint_source(Source.from_text(_WARM_UP), replace(work[0][1].options, checker=None))  # loads what all will need before it is shared
    sys.stdout.flush()
    sys.stderr.flush()
    children = []
    for worker in range(1, workers):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            _child(work[worker::workers], writer)
        os.close(writer)
        children.append((worker, pid, reader))
    found = {i * workers: lint_read(*item) for i, item in enumerate(work[0::workers])}
    for worker, pid, reader in children:
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        try:
            _, status = os.waitpid(pid, 0)
        except ChildProcessError:  # the caller ignores SIGCHLD: nobody knows how it ended, so its part is done again
            status = 1
        part = work[worker::workers]
        answers = marshal.loads(data) if status == 0 else [None] * len(part)  # noqa: S302  our own child's
        for i, ((source, plan), answer) in enumerate(zip(part, answers, strict=True)):
            found[worker + i * workers] = (
                lint_read(source, plan)
                if answer is None
                else FileReport(path=source.name, source=source, findings=unpacked(answer[0]), failed=answer[1])
            )
    return [found[index] for index in range(len(work))]


def _child(work: Sequence[tuple[Source, Plan]], writer: int) -> None:
    """The whole life of a forked process. It must not return into its parent's code, nor flush its parent's buffers."""
    import marshal

    from dockc.commands.lint.cache import packed

    status = 1
    try:
        reports = [lint_read(*item) for item in work]
        data = marshal.dumps([(packed(report.findings), report.failed) for report in reports])
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)
        status = 0
    finally:
        os._exit(status)


# --- what is said at the end


def summary(reports: Sequence[FileReport]) -> str:
    """One line, for people."""
    findings = [f for r in reports for f in r.findings]
    files = f"{len(reports)} file{'s' * (len(reports) != 1)}"
    if not findings:
        return f"Nothing found in {files}.\n"
    counts = {s: sum(f.severity is s for f in findings) for s in Severity}
    parts = [f"{n} {s.value}{'s' * (n != 1 and s in {Severity.ERROR, Severity.WARNING})}" for s, n in counts.items() if n]
    text = f"\nFound {', '.join(parts)} in {files}."
    safe = sum(f.fix is not None and f.fix.applicability.value == "safe" for f in findings)
    unsafe = sum(f.fix is not None and f.fix.applicability.value == "unsafe" for f in findings)
    if safe or unsafe:
        also = f"{unsafe} more with `--fix --unsafe`" if safe and unsafe else f"{unsafe} can be fixed with `--fix --unsafe`"
        text += f" {', '.join([f'{safe} can be fixed with `--fix`'] * bool(safe) + [also] * bool(unsafe))}."
    return text + "\n"


def statistics(reports: Sequence[FileReport]) -> str:
    """How often each rule fired, most often first: count, code, fix, name."""
    rows: dict[str, list[Finding]] = {}
    for report in reports:
        for finding in report.findings:
            rows.setdefault(finding.code, []).append(finding)
    ordered = sorted(rows.items(), key=lambda item: (-len(item[1]), item[0]))
    width = max((len(code) for code in rows), default=0)
    out = []
    for code, found in ordered:
        fix = "[fix]" if any(f.fix for f in found) else ""
        out.append(f"{len(found):6}  {code:{width}}  {fix:5}  {found[0].name or found[0].description}".rstrip() + "\n")
    return "".join(out)
