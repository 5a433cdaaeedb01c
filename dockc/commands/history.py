"""`dockc history`: the builds that were made on a store."""

from __future__ import annotations

from pathlib import Path

from dockc.base.options import Options, argument, option
from dockc.commands import shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.output import Output
    from dockc.engine.history import LoggedStep

_REF = argument("last", help="A build: its ref, the beginning of one, or `last`. Default: last.")
_SECOND = 1_000_000_000
_CHUNK = 1 << 16


class ListOptions(Options):
    """List the builds of the history, the newest first."""

    filter: tuple[str, ...] = option(
        "--filter",
        metavar="FILTER",
        help="Builds that fit alone, in buildx's words: status=error, ref~=^abc, repository=URL, startedAt>1h, "
        "duration>10s. Conditions between commas all hold; of several filters one does.",
    )
    json: bool = shared.JSON
    store: Path | None = shared.STORE
    examples = ("dockc history ls", "dockc history ls --filter 'status=error,startedAt>24h'")


def run_list(options: ListOptions, out: Output) -> int:
    """`dockc history ls`."""
    import json
    import time

    from dockc.console.tables import age_text, table
    from dockc.engine import history

    found = history.records(_root(options.store))
    if options.filter:
        from dockc.engine.historyfilter import matcher

        holds = matcher(options.filter)
        found = [one for one in found if holds(history.subject_of(one))]
    if options.json:
        out.write("".join(json.dumps(one.document()) + "\n" for one in found))
        return 0
    from dockc.commands.report import name_of

    now = time.time_ns()
    rows = [
        [one.ref, one.status, age_text(one.began, now), _duration(one.began, one.ended), f"{one.executed}",
         f"{one.cached}", name_of(one)]
        for one in found
    ]  # fmt: skip
    headers = ("REF", "STATUS", "BEGAN", "TIME", "RUN", "CACHED", "NAME")
    out.write(table(headers, rows, right=(3, 4, 5), width=out.style().width))
    return 0


class InspectOptions(Options):
    """Show one build: what it was asked for, its steps, what came of it."""

    ref: str = _REF
    dockerfile: bool = option("--dockerfile", help="Print the Dockerfile and nothing else.")
    json: bool = option("--json", help="Print JSON.")
    store: Path | None = shared.STORE
    examples = ("dockc history inspect last",)


def run_inspect(options: InspectOptions, out: Output) -> int:
    """`dockc history inspect`.

    Raises:
        UsageError: there is no such build.
    """
    import json

    from dockc.base.record import as_dict
    from dockc.commands.report import facts_of
    from dockc.console.clean import clean_text
    from dockc.console.tables import table
    from dockc.engine import history

    record = history.find(_root(options.store), options.ref)
    if options.dockerfile:
        out.write(history.dockerfile(record))
        return 0
    steps = history.steps_of(record)
    if options.json:
        shown = {
            **record.document(),
            "dockerfile": history.dockerfile(record),
            "steps": [{"number": one.number, **as_dict(one.step)} for one in steps],
        }
        out.write(json.dumps(shown, indent=1) + "\n")
        return 0
    facts = [
        *((key, value) for key, value in facts_of(record) if key in {"Ref", "Status"}),
        ("Began", _time(record.began)),
        ("Time", _duration(record.began, record.ended)),
        ("Steps", f"{record.executed} run, {record.cached} cached"),
        *((key, value) for key, value in facts_of(record) if key not in {"Ref", "Status"}),
    ]
    out.write("".join(f"{key + ':':<14} {clean_text(str(value))}\n" for key, value in facts) + "\n")
    rows = [[f"#{one.number}", _state(one), _step_time(one), one.step.name] for one in steps]
    out.write(table(["STEP", "STATE", "TIME", "NAME"], rows, right=(2,), width=out.style().width))
    return 0


class LogsOptions(Options):
    """Print what the steps of a build printed, whole; with STEP of one step only, as it came."""

    ref: str = _REF
    step: str = argument(help="A step: its number, its digest, or a part of its name.")
    grep: str = option("--grep", metavar="RE", help="Only lines in which this regular expression is found.")
    store: Path | None = shared.STORE
    examples = ("dockc history logs last", "dockc history logs last 7 --grep '(?i)error'")


def run_logs(options: LogsOptions, out: Output) -> int:
    """`dockc history logs`: without STEP, lines begin with the number of their step. 1 where no line matches `--grep`.

    To a terminal, control characters are left out: nobody vouches for what a step prints.

    Raises:
        UsageError: there is no such build or step, or the expression is none.
    """
    import re
    import sys

    from dockc.commands.report import lines_of
    from dockc.console.clean import clean_line
    from dockc.engine import history
    from dockc.errors import UsageError

    try:
        wanted = re.compile(options.grep.encode("utf-8", "surrogateescape"))
    except re.error as error:
        raise UsageError(f"--grep {options.grep}: {error}") from None
    record = history.find(_root(options.store), options.ref)
    only = history.find_step(record, options.step).step.digest if options.step else ""
    numbers = {one.step.digest: one.number for one in history.steps_of(record)}
    terminal = sys.stdout is not None and sys.stdout.isatty()
    found = False
    waiting = bytearray()
    for digest, line in lines_of(record, only):
        if options.grep and not wanted.search(line.rstrip(b"\n")):
            continue
        found = True
        shown = clean_line(line.rstrip(b"\n")).encode() + b"\n" if terminal else line
        if not only:
            waiting += b"#%d " % numbers.get(digest, 0)
            shown = shown if shown.endswith(b"\n") else shown + b"\n"
        waiting += shown
        if len(waiting) > _CHUNK:
            out.write(bytes(waiting))
            waiting.clear()
    out.write(bytes(waiting))
    return 1 if options.grep and not found else 0


class ExportOptions(Options):
    """Write builds to a file: the record of one as it is kept, or a bundle for Docker's tools."""

    refs: tuple[str, ...] = argument(
        metavar="REF", help="A build: its ref, the beginning of one, or `last`. A bundle takes several."
    )
    form: str = option(
        "--format", metavar="FORMAT", completes="record|dockerbuild",
        help="record (JSON lines, everything) or dockerbuild (what `docker buildx history export` writes). Default: what "
        "the name of the file says, else record.",
    )  # fmt: skip
    output: Path | None = option(
        "--output", "-o", metavar="FILE", help="Write there instead of standard output.", completes="file"
    )
    store: Path | None = shared.STORE
    examples = ("dockc history export last -o build.jsonl", "dockc history export 3f2 last -o builds.dockerbuild")


def run_export(options: ExportOptions, out: Output) -> int:
    """`dockc history export`.

    Raises:
        UsageError: there is no such build, an unknown format, or the file cannot be written.
        StoreError: the record cannot be read.
    """
    import io

    from dockc.engine import history
    from dockc.errors import StoreError, UsageError

    form = options.form or (
        "dockerbuild" if options.output is not None and options.output.suffix == ".dockerbuild" else "record"
    )
    if form not in {"record", "dockerbuild"}:
        raise UsageError(f"unknown format {form}", hint="Choose record or dockerbuild.")
    if not options.refs or (len(options.refs) > 1 and form == "record"):
        raise UsageError("which build shall be exported?", hint="A bundle (--format dockerbuild) takes several.")
    records = [history.find(_root(options.store), ref) for ref in options.refs]
    if form == "dockerbuild":
        from dockc.engine.bundle import write_bundle

        data = io.BytesIO()
        write_bundle(records, data)
        out.write(data.getvalue(), options.output)
        return 0
    try:
        whole = records[0].path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {records[0].path}: {error.strerror}") from error
    out.write(whole[: whole.rfind(b"\n") + 1], options.output)
    return 0


class ImportOptions(Options):
    """Take builds of files into the history: records of `dockc history export`, or .dockerbuild bundles."""

    files: tuple[str, ...] = argument(metavar="FILE", help="Files, or - for standard input.", completes="file")
    store: Path | None = shared.STORE
    examples = ("dockc history import build.dockerbuild",)


def run_import(options: ImportOptions, out: Output) -> int:
    """`dockc history import`: prints the builds' refs.

    Raises:
        UsageError: a file cannot be read, holds no builds, or one that is here already.
        StoreError: the history cannot be written.
    """
    import sys
    from pathlib import Path

    from dockc.engine.bundle import read_in
    from dockc.errors import UsageError

    root = _root(options.store)
    if not options.files:
        raise UsageError(
            "which files shall be imported?", hint="dockc history import FILE..., or - for standard input."
        )
    for name in options.files:
        if name == "-":
            found = read_in(root, sys.stdin.buffer, "standard input")
        else:
            try:
                with Path(name).open("rb") as stream:
                    found = read_in(root, stream, name)
            except OSError as error:
                raise UsageError(f"cannot read {name}: {error.strerror}") from error
        for one in found:
            out.write(one.ref + "\n")
    return 0


class OpenOptions(Options):
    """Make a page of a build and open it: time line, what it waited for, cache use and why, logs, sizes, graph."""

    ref: str = _REF
    output: Path | None = option(
        "--output", "-o", metavar="FILE", help="Write the page there and open nothing.", completes="file"
    )
    store: Path | None = shared.STORE
    examples = ("dockc history open last", "dockc history open 3f2 -o build.html")


def run_open(options: OpenOptions, out: Output) -> int:
    """`dockc history open`: prints where the page is; it is opened where there is a display.

    Raises:
        UsageError: there is no such build, or the file cannot be written.
        StoreError: the record cannot be read.
    """
    import os

    from dockc.commands.report import report_of
    from dockc.engine import history

    record = history.find(_root(options.store), options.ref)
    page = report_of(record)
    if options.output is not None:
        out.write(page, options.output)
        return 0
    path = history.keep_page(record, page)
    out.write(f"{path}\n")
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        import webbrowser

        webbrowser.open(path.resolve().as_uri())
    return 0


class RemoveOptions(Options):
    """Forget builds of the history; images and cache stay."""

    refs: tuple[str, ...] = argument(metavar="REF", help="Builds to forget, as for `dockc history inspect`.")
    everything: bool = option("--all", "-a", help="Forget all that do not run.")
    store: Path | None = shared.STORE
    examples = ("dockc history rm last",)


def run_remove(options: RemoveOptions, out: Output) -> int:
    """`dockc history rm`.

    Raises:
        UsageError: there is no such build, or it still runs.
        StoreError: a record cannot be removed.
    """
    from dockc.engine import history
    from dockc.errors import UsageError

    root = _root(options.store)
    if bool(options.refs) == options.everything:
        raise UsageError("which builds shall be forgotten?", hint="dockc history rm REF..., or --all.")
    if options.everything:
        chosen = [one for one in history.records(root) if one.status != "running"]
    else:
        chosen = [history.find(root, ref) for ref in options.refs]
    for one in chosen:
        history.remove(one)
        out.write(one.ref + "\n")
    return 0


def _root(store: Path | None) -> Path:
    from dockc.runtime.store.place import default_root

    return store or default_root()


def _state(one: LoggedStep) -> str:
    if one.step.error:
        return "failed"
    if one.step.cached:
        return "cached"
    return "done" if one.step.completed is not None else "not run" if one.step.started is None else "begun"


def _step_time(one: LoggedStep) -> str:
    seconds = one.step.seconds
    return "" if seconds is None or one.step.cached else f"{seconds:.1f}s"


def _duration(began: int, ended: int | None) -> str:
    return "" if ended is None else f"{max(0, ended - began) / _SECOND:.1f}s"


def _time(nanoseconds: int) -> str:
    import time

    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(nanoseconds // _SECOND))
