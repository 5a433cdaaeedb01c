"""What is linted and how: the command line and the configuration of each file's directory, together."""

from __future__ import annotations

import os
import sys
from types import MappingProxyType

from dockc.base.files import open_regular
from dockc.base.record import Record, replace
from dockc.commands.discover import STDIN, find_some
from dockc.errors import UsageError
from dockc.grammar.diagnostic import Severity
from dockc.linter.codes import check_codes
from dockc.linter.config import LABEL_TYPES, Config
from dockc.linter.options import PROFILES, STRICT, LintOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    Out = Callable[[str], object]

STDIN_NAME = "<stdin>"
_NEVER = -1
_THRESHOLDS = {**{s.value: s.rank for s in Severity}, "none": _NEVER}


def _silent(text: str) -> object:
    return None


class LintRequest(Record, kw_only=True):
    """What the command line says. Texts are as typed.

    Attributes:
        files: files, directories, patterns, `-`.
        profile: "" leaves it to the configuration.
        select, ignore, extend: codes, also several in one text, separated by commas.
        severities: `CODE=LEVEL`.
        overrides: codes and new severities as hadolint has them: the worst counts, with those of its file.
        trusted_registries, strict_labels: see `Settings`.
        labels: labels that images must have, each `LABEL:TYPE`.
        no_pragmas: comments suppress nothing.
        format: of the report; "" is what hadolint's configuration says with its profile, else `text`.
        report_name: what reports for programs call the files; "" is their own names.
        color: what the line says of colours; with `auto` hadolint's configuration may forbid them.
        verbose: say which configuration holds.
        fix, unsafe: write fixes; unsafe ones too.
        diff: show fixes, write nothing.
        stats: counts by rule instead of findings.
        threshold: the mildest severity that makes the exit status 1; "" leaves it to the configuration.
        no_fail: exit status 0 whatever is found.
        peer_status: with hadolint's profile, exit status 1 instead of 3 where a file cannot be read as hadolint reads
            it.
        config: the only configuration file.
        baseline: findings that are known and not reported.
        write_baseline: make the baseline from what is found now.
        shellcheck: None uses it where it is installed.
        platform, build_args: as for a build.
        jobs: processes at most; 0 is one for each core.
        no_cache: lint every file anew, and remember nothing.
        stdin_name: what standard input is called in reports; its configuration is looked for there.
        if_no_files: what it means that there is no file: `warn`, `error` or `ignore`.
    """

    files: tuple[str, ...] = ()
    profile: str = ""
    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    extend: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()
    overrides: tuple[tuple[str, Severity], ...] = ()
    trusted_registries: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    strict_labels: bool = False
    no_pragmas: bool = False
    format: str = ""
    report_name: str = ""
    color: str = "auto"
    verbose: bool = False
    fix: bool = False
    unsafe: bool = False
    diff: bool = False
    stats: bool = False
    threshold: str = ""
    no_fail: bool = False
    peer_status: bool = False
    config: Path | None = None
    baseline: Path | None = None
    write_baseline: bool = False
    shellcheck: bool | None = None
    build_args: Mapping[str, str] = MappingProxyType({})
    jobs: int = 0
    no_cache: bool = False
    stdin_name: str = ""
    if_no_files: str = "warn"


class Plan(Record):
    """How one file is linted.

    Attributes:
        path: the file, or `-`.
        options: how.
        fails_at: rank of the mildest severity that fails the run.
        name: what reports call it.
        format: the form that hadolint's configuration asks for, where its profile holds; else "".
        plain: configuration wants no colours.
    """

    path: str
    options: LintOptions
    fails_at: int
    name: str
    format: str = ""
    plain: bool = False


def make_plans(request: LintRequest, log: Out = _silent) -> list[Plan]:
    """One plan a file; configuration is looked up once a directory.

    Args:
        request: what is wanted.
        log: is told where there is no file.

    Raises:
        UsageError: something in the request or in a configuration file cannot be understood.
    """
    from dockc.commands.lint.config import combined, layers

    if request.profile and request.profile not in PROFILES:
        raise UsageError(f"unknown profile: {request.profile}", hint=f"Choose one of {', '.join(PROFILES)}.")
    typed = Config(
        profile=request.profile or None,
        select=split(request.select),
        ignore=split(request.ignore),
        extend=split(request.extend),
        severities=dict(map(_severity, split(request.severities))),
        shellcheck=request.shellcheck,
        overrides=request.overrides,
        trusted_registries=split(request.trusted_registries),
        label_schema=dict(map(_label, split(request.labels))),
        strict_labels=request.strict_labels or None,
        pragmas=False if request.no_pragmas else None,
    )
    check_codes(typed)
    plans = []
    known: dict[str, tuple[Config, LintOptions]] = {}
    for path in find_some(request.files or (".",), request.if_no_files, log):
        name = (request.stdin_name or STDIN_NAME) if path == STDIN else path
        directory = os.path.dirname(name) or "."
        if directory not in known:
            sources = layers(directory, os.environ, explicit=request.config, profile=request.profile, warn=_warn)
            config = combined(*(said for _, said in sources)).merged(typed)
            options = config.options()
            if request.verbose or (config.verbose and options.profile == "hadolint"):
                places = ", ".join(place for place, _ in sources if place)
                log(f"{directory}: profile {options.profile}; configuration: {places or 'none'}\n")
            asked = options.extend | {code for code in options.select if not code.isalpha() or code == STRICT}
            options = replace(options, extend=asked)
            known[directory] = config, _with_shellcheck(options)
        config, options = known[directory]
        plans.append(
            Plan(
                path,
                _for_file(name, options, request.build_args),
                _limit(request, config, options.profile),
                name,
                config.formats[-1] if config.formats and options.profile == "hadolint" else "",
                bool(config.no_color),
            )
        )
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
        raise UsageError(
            f"severity is not CODE=LEVEL: {text}", hint=f"Levels: {', '.join(s.value for s in Severity)}, off."
        )
    return code, levels[level.lower()]


def _label(text: str) -> tuple[str, str]:
    """`LABEL:TYPE` as hadolint's option has it; without a type, any text will do."""
    label, _, kind = text.partition(":")
    if not label or kind not in (*LABEL_TYPES, ""):
        raise UsageError(f"label is not LABEL:TYPE: {text}", hint=f"Types are {', '.join(LABEL_TYPES)}.")
    return label, kind or "text"


def _for_file(path: str, options: LintOptions, build_args: Mapping[str, str]) -> LintOptions:
    """Options with what lies beside the file: the ignore file of a build whose context is the file's directory."""
    if build_args:
        attrs = {**options.attrs, **{f"build-arg:{k}": v for k, v in build_args.items()}}
        options = replace(options, attrs=attrs, settings=replace(options.settings, build_args=dict(build_args)))
    if path == STDIN_NAME or options.profile == "hadolint":  # which reads no ignore files
        return options
    for name in (f"{path}.dockerignore", os.path.join(os.path.dirname(path), ".dockerignore")):
        try:
            with open_regular(name) as file:
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
    elif text == "ignore" or (text == "none" and profile == "hadolint" and request.threshold):
        text = Severity.STYLE.value if profile == "hadolint" else "none"
    if text not in _THRESHOLDS:
        raise UsageError(f"unknown severity: {text}", hint=f"Choose one of {', '.join(_THRESHOLDS)}.")
    return _THRESHOLDS[text]
