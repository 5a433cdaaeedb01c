"""The history of builds: what each was asked for, what happened, what came of it.

One file a build, `history/<begun>-<ref>.jsonl` in the store: a JSON object a line, appended as things happen, so that
a build that dies leaves what it had told. While it runs, its file is locked (`flock`): that tells a build that runs
from one that was killed, and keeps it from being collected. Nothing is ever rewritten, and nothing waits for the disk.

    {"begin": {...}}      options, platforms, time
    {"dockerfile": TEXT}  as the frontend has read it
    {"step": {...}}       each state of a step; the last counts
    {"log": [STEP, TEXT, STREAM, TIME]}   TEXT is UTF-8; bytes that are none are lone surrogates (PEP 383)
    {"warning": {...}}
    {"sizes": {...}}      bytes that steps' results take on disk, where somebody wanted to know
    {"args": {...}}       build arguments, those of defaults included
    {"keys": [...]}       what the steps' keys were made of, and why those that ran did: `engine.told`
    {"end": {...}}        status, error, results, counts, and where in the file the keys begin

What may change later lies beside it, `history/<begun>-<ref>.about`: whether it is pinned, and what BuildKit calls its
logs and its trace, which is `<begun>-<ref>.trace`; `<begun>-<ref>.error` is the status that a failed call ended with.
Who changes what lies beside a record has the directory locked: what others have changed stays, and of a record that was
collected meanwhile nothing is left.
Records are written by `engine.recording`; the daemon's history calls are served from the same files
(`engine.wirehistory`).
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dockc.base.hashing import sha256
from dockc.base.openflags import BINARY, CLOEXEC, DIRECTORY, NOFOLLOW
from dockc.base.record import Record, made
from dockc.engine.keep import KEEP_BUILDS, KEEP_BYTES, Keep
from dockc.engine.record import VertexRecord
from dockc.engine.told import Step, Told, step_of
from dockc.errors import StoreError, UsageError

if TYPE_CHECKING:
    from dockc.engine.historyfilter import Subject

FOLDER = "history"
"""The directory in the store."""
VERSION = 1
RESULT = 4096
"""Characters of one result that are kept."""
TAIL = 64 << 10
"""Bytes at the end of a record in which its last line lies."""
ENDS = ("completed", "failed", "canceled", "interrupted")
"""What becomes of a build."""
_NAME = re.compile(r"([0-9]{20})-([0-9A-Za-z]{1,64})\.jsonl")
_BESIDE = (".about", ".status", ".trace", ".error", ".html")
"""Ends of the names of what lies beside a record, and goes with it."""
_PART = ".new"
"""End of the name of a file beside a record that is not whole yet."""


def create(folder: Path, name: str) -> int:
    """A new file for its owner alone, locked for as long as it is open."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | NOFOLLOW | CLOEXEC | BINARY
    if sys.platform == "win32":  # a profile belongs to its user, and no directory can be open
        return os.open(folder / name, flags)
    place = os.open(folder, os.O_RDONLY | DIRECTORY | NOFOLLOW)
    try:
        os.fchmod(place, 0o700)
        while True:
            file = os.open(name, flags, 0o600, dir_fd=place)
            os.fchmod(file, 0o600)  # whatever the umask
            _lock(file, wait=True)  # whoever reads it has it for a moment, to see whether the build runs
            if os.fstat(file).st_nlink:
                return file
            os.close(file)  # collected before it was locked
    finally:
        os.close(place)


def _lock(file: int, *, shared: bool = False, wait: bool = False) -> bool:
    """Whether the lock could be had; a system or file system without such locks has them all free."""
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


class KnownAlready(UsageError):
    """A build that is in the history already."""

    def __init__(self, ref: str) -> None:
        super().__init__(f"the build {ref} is in the history already")
        self.ref = ref


def write_record(
    root: Path, begin: Mapping[str, Any], told: Iterable[Mapping[str, Any]], end: Mapping[str, Any]
) -> BuildRecord:
    """Write the record of a build that was made elsewhere, as much of its logs as there is room for. Nothing is collected:
    that is for who has written the last of them.

    Args:
        root: the store.
        begin: `ref`, `began`, `platform` and `options`.
        told: the lines between beginning and end.
        end: of the build.

    Raises:
        KnownAlready: a build of this name, begun at this time, is there already.
        StoreError: it cannot be written.
    """
    folder = root / FOLDER
    path = folder / f"{begin['began']:020d}-{file_ref(begin['ref'])}.jsonl"
    if path.exists():
        raise KnownAlready(str(begin["ref"]))
    size = keys_at = left_out = 0
    try:
        file = create(folder, path.name)
        try:
            with os.fdopen(os.dup(file), "wb") as out:
                for line in _first(begin, told):
                    data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
                    if size + len(data) > KEEP_BYTES - TAIL:
                        left_out += len(data) if "log" in line else 0
                        continue
                    if "args" in line or ("keys" in line and not keys_at):
                        keys_at = size
                    size += out.write(data)
                ending = {**end, "left_out": left_out, "keys_at": keys_at}
                out.write(json.dumps({"end": ending}, separators=(",", ":")).encode() + b"\n")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(file)
        found = read(path)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error
    assert found is not None
    return found


def _first(begin: Mapping[str, Any], told: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    yield {"begin": {"version": VERSION, **begin}}
    yield from told


def file_ref(ref: str) -> str:
    """A ref as it stands in the names of files: those of clients may hold anything."""
    return ref if re.fullmatch(r"[0-9A-Za-z]{1,64}", ref) else sha256(ref.encode("utf-8", "surrogateescape"))[:32]


class Collected(Record):
    """What a collection has done.

    Attributes:
        gone: file refs of the records that went.
        size: bytes of all that are left, but for pinned ones, with what lies beside them.
    """

    gone: tuple[str, ...]
    size: int


def collect(folder: Path, *, but: str = "", keep: Keep | None = None) -> Collected:
    """Remove the oldest records beyond what is kept; not those of builds that run, nor that of `but`.

    Raises:
        OSError: the directory cannot be read.
    """
    keep = keep or Keep(entries=KEEP_BUILDS, size=KEEP_BYTES)
    count = size = freed = 0
    gone = []
    now = time.time()
    for name, parts in _parts(folder):
        status = _status(parts[".jsonl"])
        if status is None or (".about" in parts and about(folder / name).get("pinned") is True):
            continue
        own = status.st_size
        for suffix in _BESIDE:
            if suffix in parts and (beside := _status(parts[suffix])) is not None:
                own += beside.st_size
        size += own
        count += 1
        old = count > keep.entries and now - status.st_mtime > keep.age
        if (old or size > keep.size) and not name.endswith(f"-{file_ref(but)}.jsonl") and _remove(folder / name):
            gone.append(name.partition("-")[2].removesuffix(".jsonl"))
            freed += own
    return Collected(tuple(gone), size - freed)


def size_of(record: BuildRecord) -> int:
    """Bytes of a record with what lies beside it."""
    size = 0
    for suffix in (".jsonl", *_BESIDE):
        try:
            size += record.path.with_suffix(suffix).stat().st_size
        except OSError:  # there is none
            continue
    return size


def _parts(folder: Path) -> list[tuple[str, dict[str, os.DirEntry[str]]]]:
    """The records of a directory, the newest first: the name, and by their suffixes the files that belong to it. Every
    build looks at all of them when it ends, so it is one look at the directory.
    """
    found: dict[str, dict[str, os.DirEntry[str]]] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                stem, dot, suffix = entry.name.rpartition(".")
                found.setdefault(stem, {})[dot + suffix] = entry
    except FileNotFoundError:
        return []
    records = (stem for stem, parts in found.items() if ".jsonl" in parts)
    return [(name, found[stem]) for stem in sorted(records, reverse=True) if _NAME.fullmatch(name := f"{stem}.jsonl")]


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    """What is known of a file; None where it has gone."""
    try:
        return entry.stat()
    except OSError:
        return None


def about(path: Path) -> dict[str, Any]:
    """What may change of the build whose record is `path`."""
    try:
        return _object(path.with_suffix(".about").read_bytes()) or {}
    except OSError:
        return {}


@contextmanager
def beside(record: BuildRecord, suffix: str) -> Iterator[Path]:
    """The place of a file beside a record, with which it goes; no other process or thread changes what lies beside
    records meanwhile.

    Raises:
        StoreError: it cannot be written, or the record has gone.
    """
    path = record.path.with_suffix(suffix)
    try:
        with _alone(path.parent):
            record.path.lstat()
            yield path
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    if sys.platform == "win32":  # no directory can be open
        yield
        return
    place = os.open(folder, os.O_RDONLY | DIRECTORY | NOFOLLOW | CLOEXEC)
    try:
        _lock(place, wait=True)
        yield
    finally:
        os.close(place)


def change(record: BuildRecord, **facts: Any) -> None:
    """Note what has changed of a build: `pinned`, `logs`, `trace`, `failure`.

    Raises:
        StoreError: it cannot be written.
    """
    with beside(record, ".about") as path:
        _write(path, json.dumps(about(record.path) | facts).encode())


def keep_trace(record: BuildRecord, text: bytes, digest: str, size: int) -> None:
    """Write more of a build's trace beside its record, with which it goes.

    Args:
        record: the build.
        text: what is new: spans, an object of JSON a line.
        digest, size: of the whole.

    Raises:
        StoreError: it cannot be written.
    """
    with beside(record, ".trace") as path:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "ab") as file:
            file.write(text)
    change(record, trace=[digest, size])


def keep_page(record: BuildRecord, page: str) -> Path:
    """Write a page about a build beside its record, with which it goes; returns where it is.

    Raises:
        StoreError: it cannot be written.
    """
    with beside(record, ".html") as path:
        _write(path, page.encode())
    return path


def keep_error(record: BuildRecord, status: bytes, digest: str) -> Path:
    """Write how a build failed, with all details, beside its record, with which it goes; returns where it is.

    Args:
        record: the build.
        status: the status of the call, in the wire's form.
        digest: of that.

    Raises:
        StoreError: it cannot be written.
    """
    with beside(record, ".error") as path:
        _write(path, status)
    change(record, failure=[digest, len(status)])
    return path


def _write(path: Path, data: bytes) -> None:
    """Write a file beside a record, whole or not at all; to be called `beside`, as nobody else may write it."""
    part = f"{path}{_PART}"  # no `Path`: each new name would stay in Python's table of names, build after build
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NOFOLLOW | CLOEXEC | BINARY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, path)  # noqa: PTH105
    except OSError:
        with suppress(OSError):
            os.unlink(part)  # noqa: PTH108
        raise


def _remove(path: Path) -> bool:
    """Remove the record of a build that does not run; whether it is gone."""
    try:
        file = os.open(path, os.O_RDONLY | NOFOLLOW | CLOEXEC | BINARY)
    except FileNotFoundError:
        return True
    try:
        if not _lock(file):
            return False
        with _alone(path.parent):
            for suffix in (*_BESIDE, ".jsonl"):  # the record itself at last: what is left has a name
                path.with_suffix(suffix).unlink(missing_ok=True)
                path.with_suffix(suffix + _PART).unlink(missing_ok=True)  # of a process that was killed
    finally:
        os.close(file)
    return True


class BuildRecord(Record, kw_only=True):
    """One build of the history.

    Attributes:
        path: its file.
        ref: its name.
        began, ended: nanoseconds since the epoch; None where it has not ended, or was killed.
        status: `running`, `completed`, `failed`, `canceled`, or `interrupted` where it ended without a word.
        error: why it failed, or "".
        platform: what was asked for, or "".
        options: see `engine.recording.options_of`.
        results: BuildKit's exporter response: digests and names.
        executed, cached: steps that ran, and steps whose results were there.
        left_out: bytes of logs for which there was no room.
        keys_at: where in the file the steps' keys begin; 0 where there are none.
        more: what else its end says: BuildKit's code and details of an error, numbers of steps and warnings.
        pinned: it is never collected.
    """

    path: Path
    ref: str
    began: int
    status: str
    ended: int | None = None
    error: str = ""
    platform: str = ""
    options: Mapping[str, Any]
    results: Mapping[str, str]
    executed: int = 0
    cached: int = 0
    left_out: int = 0
    keys_at: int = 0
    more: Mapping[str, Any] = made(dict)
    pinned: bool = False

    def document(self) -> dict[str, Any]:
        """All but the path, for JSON."""
        names = ("ref", "began", "ended", "status", "error", "platform", "options", "results", "executed", "cached")
        return {name: getattr(self, name) for name in (*names, "left_out")}


class LoggedStep(Record):
    """A step of the history, and its number from 1 in the order in which steps were announced."""

    number: int
    step: VertexRecord


def subject_of(record: BuildRecord) -> Subject:
    """What filters of histories ask of a build."""
    from dockc.engine.historyfilter import Subject, repository_of

    attrs = record.options.get("attrs")
    source = attrs.get("vcs:source") if isinstance(attrs, dict) else None
    status = {"failed": "error", "interrupted": "error"}.get(record.status, record.status)
    repository = repository_of(source, str(record.options.get("context") or ""))
    return Subject(record.ref, status, repository, record.began, record.ended)


def records(root: Path, ref: str = "") -> list[BuildRecord]:
    """All builds of a store, the newest first, or those of one name. A file that is none is left out.

    Raises:
        StoreError: the history cannot be read.
    """
    folder = root / FOLDER
    there = names(folder)
    if ref:
        own = f"-{file_ref(ref)}.jsonl"
        there = [name for name in there if name.endswith(own)]
    try:
        return [found for name in there if (found := read(folder / name)) is not None and ref in ("", found.ref)]
    except OSError as error:
        raise StoreError(f"cannot read the history in {folder}: {error.strerror}") from error


def find(root: Path, ref: str) -> BuildRecord:
    """One build by its ref, the beginning of one, `last`, or `^N` for the one N builds before the last.

    Raises:
        UsageError: there is none, or several begin so.
        StoreError: the history cannot be read.
    """
    return find_all(root, (ref,))[0]


def find_all(root: Path, refs: Iterable[str]) -> list[BuildRecord]:
    """The builds of these names, each as `find` takes it; the history is read once for all.

    Raises:
        UsageError: there is none for one of them, or several begin so.
        StoreError: the history cannot be read.
    """
    known = records(root)
    by_ref = sorted(known, key=lambda one: one.ref)
    found: list[BuildRecord] = []
    for ref in refs:
        back = "0" if ref == "last" else ref.removeprefix("^") if ref.startswith("^") else ""
        if back.isdecimal() and back.isascii() and len(back) < 10:
            fits = known[int(back) : int(back) + 1]
        else:
            at = bisect_left(by_ref, ref, key=lambda one: one.ref)
            fits = [one for one in by_ref[at : at + 2] if ref and one.ref.startswith(ref)]
        if len(fits) != 1:
            what = "several builds begin with" if fits else "no build"
            raise UsageError(f"{what} {ref} in the history", hint="`dockc history ls` shows them all.")
        found += fits
    return found


def remove(record: BuildRecord) -> None:
    """Forget a build.

    Raises:
        UsageError: it still runs.
        StoreError: its file cannot be removed.
    """
    try:
        gone = _remove(record.path)
    except OSError as error:
        raise StoreError(f"cannot remove {record.path}: {error.strerror}") from error
    if not gone:
        raise UsageError(f"the build {record.ref} still runs")


def lines(record: BuildRecord) -> Iterator[dict[str, Any]]:
    """All lines of a record; one that a killed build left unfinished is left out.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with record.path.open("rb") as file:
            for line in file:
                if (found := _object(line)) is not None:
                    yield found
    except OSError as error:
        raise StoreError(f"cannot read {record.path}: {error.strerror}") from error


def steps_of(record: BuildRecord) -> list[LoggedStep]:
    """The steps of a build; of each the last run counts, as in `engine.record.Recorder`.

    Raises:
        StoreError: the record cannot be read.
    """
    steps: dict[str, VertexRecord] = {}
    sizes: dict[str, int] = {}
    for line in lines(record):
        if isinstance(line.get("sizes"), dict):
            sizes |= {str(digest): size for digest, size in line["sizes"].items() if isinstance(size, int)}
        one = line.get("step")
        if not isinstance(one, dict) or not isinstance(one.get("digest"), str):
            continue
        old = steps.get(one["digest"]) or VertexRecord(one["digest"], str(one.get("name", "")))
        steps[old.digest] = VertexRecord(
            old.digest,
            old.name,
            started=_number(one.get("started")) or old.started,
            completed=_number(one.get("completed")),
            cached=old.cached or one.get("cached") is True,
            error=str(one.get("error") or "") or old.error,
        )
    return [
        LoggedStep(number, dataclasses.replace(step, size=sizes.get(digest)))
        for number, (digest, step) in enumerate(steps.items(), 1)
    ]


def inputs_of(record: BuildRecord) -> dict[str, tuple[str, ...]]:
    """What each step reads: digests by digest.

    Raises:
        StoreError: the record cannot be read.
    """
    found: dict[str, tuple[str, ...]] = {}
    for line in lines(record):
        one = line.get("step")
        if isinstance(one, dict) and isinstance(one.get("inputs"), list):
            found[str(one.get("digest"))] = tuple(map(str, one["inputs"]))
    return found


def told_of(record: BuildRecord) -> Told:
    """What the keys of a build's steps were made of; without steps where nobody knows.

    Raises:
        StoreError: the record cannot be read.
    """
    args: dict[str, str] = {}
    steps: dict[str, Step] = {}
    if not record.keys_at:
        return Told(record.ref)
    try:
        with record.path.open("rb") as file:
            file.seek(record.keys_at)
            for row in file:
                found = _object(row) or {}
                if isinstance(found.get("args"), dict):
                    args |= {str(name): str(value) for name, value in found["args"].items()}
                for one in found["keys"] if isinstance(found.get("keys"), list) else ():
                    if (step := step_of(one)) is not None:
                        steps[step.key.vertex] = step
    except OSError as error:
        raise StoreError(f"cannot read {record.path}: {error.strerror}") from error
    return Told(record.ref, steps, args)


def find_step(record: BuildRecord, wanted: str) -> LoggedStep:
    """A step by its number, its digest, or a part of its name that no other step has.

    Raises:
        UsageError: there is none, or there are several.
    """
    steps = steps_of(record)
    number = wanted.removeprefix("#")
    found = [one for one in steps if str(one.number) == number or one.step.digest == wanted]
    found = found or [one for one in steps if wanted and wanted in one.step.name]
    if len(found) != 1:
        what = "several steps are called" if found else "no step"
        raise UsageError(f"{what} {wanted} in the build {record.ref}", hint="`dockc history inspect` shows all steps.")
    return found[0]


def logs(record: BuildRecord) -> Iterator[tuple[str, bytes]]:
    """Digest of the step and bytes that it printed, in the order in which they came.

    Raises:
        StoreError: the record cannot be read.
    """
    for line in lines(record):
        log = line.get("log")
        if isinstance(log, list) and len(log) == 4 and isinstance(log[0], str) and isinstance(log[1], str):
            yield log[0], log[1].encode("utf-8", "surrogateescape")


def dockerfile(record: BuildRecord) -> str:
    """The Dockerfile's text; "" where the build fetched it from elsewhere."""
    return next((str(line["dockerfile"]) for line in lines(record) if "dockerfile" in line), "")


def names(folder: Path) -> list[str]:
    """Names of records' files, the newest first.

    Raises:
        StoreError: the directory cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted((entry.name for entry in entries if _NAME.fullmatch(entry.name)), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot read the history in {folder}: {error.strerror}") from error


def begun(name: str) -> int:
    """When a build began, in nanoseconds since the epoch, by the name of its file."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match is not None else 0


def read(path: Path) -> BuildRecord | None:
    """A build by its file, of which the first line and the last are read; None where it is none.

    Raises:
        OSError: it cannot be read.
    """
    try:
        file = os.open(path, os.O_RDONLY | NOFOLLOW | CLOEXEC | BINARY)
    except FileNotFoundError:
        return None
    with os.fdopen(file, "rb") as stream:
        runs = not _lock(stream.fileno(), shared=True)
        begin = (_object(stream.readline()) or {}).get("begin")
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - TAIL))
        last = stream.read().rstrip(b"\n").rpartition(b"\n")[2]
    end = (_object(last) or {}).get("end")
    if not isinstance(begin, dict) or begin.get("version") != VERSION:
        return None
    end = end if isinstance(end, dict) else {}
    options, results = begin.get("options"), end.get("results")
    match = _NAME.fullmatch(path.name)
    assert match is not None
    return BuildRecord(
        path=path,
        ref=str(begin.get("ref") or match[2]),
        began=int(match[1]),
        status=end["status"] if end.get("status") in ENDS else "running" if runs else "interrupted",
        ended=_number(end.get("ended")),
        error=str(end.get("error") or ""),
        platform=str(begin.get("platform") or ""),
        options=options if isinstance(options, dict) else {},
        results=results if isinstance(results, dict) else {},
        executed=_number(end.get("executed")) or 0,
        cached=_number(end.get("cached")) or 0,
        left_out=_number(end.get("left_out")) or 0,
        keys_at=_number(end.get("keys_at")) or 0,
        more={key: end[key] for key in ("code", "details", "total", "completed", "warnings", "made") if key in end},
        pinned=about(path).get("pinned") is True,
    )


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line) if line.endswith((b"\n", b"}")) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None
