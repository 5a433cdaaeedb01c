"""`dockc history`: the builds that were made on a store."""

from __future__ import annotations

from pathlib import Path

from dockc.base.options import Options, argument, option
from dockc.commands import shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dockc.base.output import Output
    from dockc.engine.history import BuildRecord, LoggedStep

_REF = argument(
    "last", help="A build: its ref, the beginning of one, `last`, or ^N for the Nth before it. Default: last."
)
_SECOND = 1_000_000_000
_CHUNK = 1 << 16


class ListOptions(Options):
    """List the builds of the history, the newest first."""

    filter: tuple[str, ...] = option(
        "--filter",
        metavar="FILTER",
        help="Builds that fit alone, in buildx's words: status=error, ref~=^abc, repository=URL, startedAt>1h, "
        "duration>10s. All hold, whether in one filter, between commas, or in several.",
    )
    local: bool = option("--local", help="Builds of the git repository that this directory lies in alone.")
    format: str = option(
        "--format", metavar="FORM",
        help="table, json, or a template of .Ref, .Name, .Status, .CreatedAt and .Duration, such as '{{.Ref}} {{.Status}}'.",
    )  # fmt: skip
    no_trunc: bool = option("--no-trunc", help="Whole names, however narrow the terminal is.")
    quiet: bool = option("--quiet", "-q", help="Refs and nothing else.")
    json: bool = shared.JSON
    store: Path | None = shared.STORE
    examples = ("dockc history ls", "dockc history ls --filter 'status=error,startedAt>24h'")


def run_list(options: ListOptions, out: Output) -> int:
    """`dockc history ls`.

    Raises:
        UsageError: a filter or form that is none, or no repository for `--local`.
        StoreError: the history cannot be read.
    """
    import json
    import time

    from dockc.console.tables import age_text, table
    from dockc.engine import history
    from dockc.errors import UsageError

    if sum((options.json, options.quiet, bool(options.format))) > 1:
        raise UsageError("of --format, --json and --quiet one can be given")
    found = history.records(_root(options.store))
    filters = [*options.filter, *(f"repository={_repository()}" for _ in range(options.local))]
    for text in filters:
        from dockc.engine.historyfilter import matcher

        holds = matcher([text])
        found = [one for one in found if holds(history.subject_of(one))]
    now = time.time_ns()
    if options.json:
        out.write("".join(json.dumps(one.document()) + "\n" for one in found))
    elif options.quiet:
        out.write("".join(f"{one.ref}\n" for one in found))
    elif options.format not in ("", "table"):
        from dockc.commands.histories import listed

        out.write(listed(found, options.format, now))
    else:
        from dockc.commands.report import name_of

        rows = [
            [one.ref, one.status, age_text(one.began, now), _duration(one.began, one.ended), f"{one.executed}",
             f"{one.cached}", name_of(one)]
            for one in found
        ]  # fmt: skip
        headers = ("REF", "STATUS", "BEGAN", "TIME", "RUN", "CACHED", "NAME")
        out.write(table(headers, rows, right=(3, 4, 5), width=0 if options.no_trunc else out.style().width))
    return 0


def _repository() -> str:
    """Where the repository of this directory is from.

    Raises:
        UsageError: it lies in none, or in one that is from nowhere.
    """
    import os

    from dockc.commands.gitinfo import remote_of
    from dockc.errors import UsageError

    try:
        found = remote_of(".", os.environ)
    except OSError as error:
        raise UsageError(f"--local: git cannot be asked: {error.strerror}") from None
    if not found:
        raise UsageError("--local: this directory is in no git repository that has a remote")
    return found


class InspectOptions(Options):
    """Show one build: what it was asked for, its steps, what came of it."""

    ref: str = _REF
    dockerfile: bool = option("--dockerfile", help="Print the Dockerfile and nothing else.")
    format: str = option(
        "--format", metavar="FORM",
        help="pretty, json, or a template of buildx's fields, such as '{{.Status}}: {{.Error.Message}}' or '{{json .BuildArgs}}'.",
    )  # fmt: skip
    json: bool = option("--json", help="Print JSON.")
    store: Path | None = shared.STORE
    examples = ("dockc history inspect last", "dockc history inspect attachment last --type manifest")


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
    from dockc.errors import UsageError

    if sum((options.json, options.dockerfile, bool(options.format))) > 1:
        raise UsageError("of --dockerfile, --format and --json one can be given")
    record = history.find(_root(options.store), options.ref)
    if options.dockerfile:
        out.write(history.dockerfile(record))
        return 0
    if options.format not in ("", "pretty"):
        from dockc.commands.histories import inspected

        out.write(inspected(record, options.format))
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
    progress: str = option(
        "--progress", metavar="MODE", default="plain", completes="plain|rawjson",
        help="plain, or rawjson: everything that happened as JSON, as `dockc build --progress=rawjson` prints it. Default: plain.",
    )  # fmt: skip
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
    if options.progress not in ("plain", "tty", "auto", "rawjson"):
        raise UsageError(f"unknown progress {options.progress}", hint="Choose plain or rawjson.")
    record = history.find(_root(options.store), options.ref)
    if options.progress == "rawjson":
        return _raw(record, options, out)
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


def _raw(record: BuildRecord, options: LogsOptions, out: Output) -> int:
    from dockc.console.rawjson import line_of
    from dockc.engine.wirehistory import replay
    from dockc.errors import UsageError

    if options.step or options.grep:
        raise UsageError("--progress=rawjson prints everything", hint="STEP and --grep go with plain.")
    for status in replay(record):
        out.write(line_of(status))
    return 0


class ExportOptions(Options):
    """Write builds to a file: the record of one as it is kept, or a bundle for Docker's tools."""

    refs: tuple[str, ...] = argument(
        metavar="REF",
        help="A build: its ref, the beginning of one, `last` or ^N. A bundle takes several. Default: last.",
    )
    everything: bool = option("--all", help="All builds that do not run, in one bundle.")
    finalize: bool = option("--finalize", help="Nothing to do: a record is whole when its build has ended.")
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
    import sys

    from dockc.engine import history
    from dockc.errors import StoreError, UsageError

    bundled = options.everything or (options.output is not None and options.output.suffix == ".dockerbuild")
    form = options.form or ("dockerbuild" if bundled else "record")
    if form not in {"record", "dockerbuild"}:
        raise UsageError(f"unknown format {form}", hint="Choose record or dockerbuild.")
    if options.everything and options.refs:
        raise UsageError("which builds shall be exported, these or --all?")
    if form == "record" and (options.everything or len(options.refs) > 1):
        raise UsageError("which build shall be exported?", hint="A bundle (--format dockerbuild) takes several.")
    root = _root(options.store)
    if options.everything:
        records = [one for one in history.records(root) if one.status != "running"]
        if not records:
            raise UsageError("there are no builds in the history")
    else:
        records = history.find_all(root, options.refs or ("last",))
    terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
    if form == "dockerbuild" and terminal:
        raise UsageError("a bundle is nothing for a terminal", hint="-o FILE writes it to a file.")
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
    named: tuple[str, ...] = option(
        "--file", "-f", metavar="FILE", help="The same, as buildx has it.", completes="file"
    )
    store: Path | None = shared.STORE
    examples = ("dockc history import build.dockerbuild",)


def run_import(options: ImportOptions, out: Output) -> int:
    """`dockc history import`: prints the refs of the builds that are new, and says which were here already.

    Raises:
        UsageError: a file cannot be read, or holds no builds; or the settings cannot be understood.
        StoreError: the history cannot be written.
    """
    import sys

    from dockc.base.files import open_regular
    from dockc.engine.bundle import read_in
    from dockc.engine.settings import remembered
    from dockc.errors import UsageError

    root = _root(options.store)
    keep = remembered(root)
    files = (*options.files, *options.named)
    if not files:
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError(
                "which files shall be imported?", hint="dockc history import FILE..., or - for standard input."
            )
        files = ("-",)
    for name in files:
        if name == "-":
            found, known = read_in(root, sys.stdin.buffer, "standard input", keep)
        else:
            try:
                with open_regular(name) as stream:
                    found, known = read_in(root, stream, name, keep)
            except OSError as error:
                raise UsageError(f"cannot read {name}: {error.strerror}") from error
        for one in found:
            out.write(one.ref + "\n")
        if known:
            some = ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")
            out.log(f"{'standard input' if name == '-' else name}: in the history already: {some}\n")
        if gone := sum(not one.path.exists() for one in found):
            out.log(
                f"{gone} of these builds are older than those that are kept (dockc.toml: [history] maxEntries, maxAge)\n"
            )
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
        chosen = history.find_all(root, options.refs)
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
