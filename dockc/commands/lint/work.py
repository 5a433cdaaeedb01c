"""Linting many files: one after the other, or shared among processes; what has not changed is not linted again."""

from __future__ import annotations

import os
import sys

from dockc.base.record import replace
from dockc.commands.discover import STDIN
from dockc.commands.lint.plan import Plan
from dockc.commands.lint.shellcheck import Watch
from dockc.errors import DockcError, UsageError
from dockc.grammar.diagnostic import Severity
from dockc.grammar.source import Source, Span
from dockc.linter.codes import FAILED, UNREADABLE
from dockc.linter.finding import FileReport, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from dockc.commands.lint.cache import Cache

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


def open_cache() -> Cache | None:
    """The user's cache of findings; None where there is no place for one."""
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
        known = (
            source
            if isinstance(source, FileReport)
            else cache.look_up(source, plan.options)
            if cache is not None
            else None
        )
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
        if (
            b"\0" in source.data[:_LOOK]
            and any(f.code == "DL1000" for f in report.findings)
            and plan.options.profile == "dockc"
        ):
            return _failed(source, UNREADABLE, "this is no text in UTF-8: it holds NUL characters, as UTF-16 does")
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

    lint_source(
        Source.from_text(_WARM_UP), replace(work[0][1].options, checker=None)
    )  # loads what all will need before it is shared
    sys.stdout.flush()
    sys.stderr.flush()
    children = []
    watch, life = os.pipe()  # breaks when we are gone, however we went: workers and what they started end then
    for worker in range(1, workers):
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(reader)
            os.close(life)
            Watch.parent = watch
            _child(work[worker::workers], writer)
        os.close(writer)
        children.append((worker, pid, reader))
    os.close(watch)
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
    os.close(life)
    return [found[index] for index in range(len(work))]


def _child(work: Sequence[tuple[Source, Plan]], writer: int) -> None:
    """The whole life of a forked process. It must not return into its parent's code, nor flush its parent's buffers."""
    import marshal

    from dockc.commands.lint.cache import packed

    status = 1
    try:
        reports = []
        for item in work:
            if Watch.orphaned():
                return  # through `finally`
            reports.append(lint_read(*item))
        data = marshal.dumps([(packed(report.findings), report.failed) for report in reports])
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)
        status = 0
    finally:
        os._exit(status)
