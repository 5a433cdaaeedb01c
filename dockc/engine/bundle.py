"""Builds of the history in files: dockc's own records, and BuildKit's `.dockerbuild` bundles.

A bundle is an OCI layout in a gzipped archive; each of its manifests is a build: the config is the record as JSON, a
layer of its own media type the progress. Whatever is read here is foreign: its size, digests and forms are checked, and
nothing secret that it holds is kept. Source: buildx, util/desktop/bundle.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from dockc.base.pattern import pattern
from dockc.engine import history, recording, wirehistory
from dockc.engine.told import hider, shown
from dockc.errors import DockcError, StoreError, UsageError, without_credentials
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.rpc.status import CANCELLED

if TYPE_CHECKING:
    import re

    from dockc.engine.history import BuildRecord
    from dockc.engine.keep import Keep
    from dockc.oci.digest import Reader
    from dockc.runtime.archive.tarheader import TarReader

RECORD = "application/vnd.buildkit.historyrecord.v0"
_REFERENCE = "vnd.buildkit.history.reference"
_JSON = 4 << 20
"""Bytes of a document."""
_LINE = 16 << 20
"""Bytes of a line of a record."""
_TOTAL = 1 << 30
"""Bytes of a bundle, unpacked."""
_ENTRIES = 100_000
_HALVES = pattern("[\ud800-\udfff]")
"""Halves of characters that stand alone."""
_NO_TEXT = pattern("[\ud800-\udc7f\udd00-\udfff]")
"""The same but for those by which bytes are written (PEP 383)."""
_KNOWN = ("dockerfile", "step", "log", "warning", "sizes", "args", "keys")
_SECOND = 1_000_000_000


# --- writing ------------------------------------------------------------------------------------------


def write_bundle(records: Sequence[BuildRecord], out: BinaryIO) -> None:
    """Write builds as a bundle.

    Raises:
        UsageError: a build runs.
        StoreError: a record cannot be read.
        OSError: the file cannot be written.
    """
    import gzip
    import io
    import tarfile

    made: list[dict[str, Any]] = []
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0, filename="") as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        written: set[str] = set()

        def put(name: str, file: BinaryIO, size: int) -> None:
            if name not in written:
                written.add(name)
                member = tarfile.TarInfo(name)
                member.size, member.mode = size, 0o444
                tar.addfile(member, file)

        def document(value: object, kind: str) -> dict[str, Any]:
            data = json.dumps(value, indent=2).encode()
            digest = hashlib.sha256(data).hexdigest()
            put(f"blobs/sha256/{digest}", io.BytesIO(data), len(data))
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

        for record in records:
            if record.status == "running":
                raise UsageError(f"the build {record.ref} still runs")
            with tempfile.TemporaryFile() as status:
                digest, size = wirehistory.write_status(record, status)
                status.seek(0)
                put(f"blobs/sha256/{digest.removeprefix('sha256:')}", status, size)
            logs = {"mediaType": wirehistory.STATUS, "digest": digest, "size": size}
            found = _json_record(record, digest, size)
            layers = [logs]
            failure = wirehistory.read_error(record)
            if failure:
                one = digests.from_bytes(failure)
                put(f"blobs/sha256/{digests.encoded(one)}", io.BytesIO(failure), len(failure))
                found["externalError"] = {"media_type": wirehistory.ERROR, "digest": one, "size": len(failure)}
                layers.append({"mediaType": wirehistory.ERROR, "digest": one, "size": len(failure)})
            config = document(found, RECORD)
            manifest = {"schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": config, "layers": layers}
            made.append({**document(manifest, mt.OCI_MANIFEST), "annotations": {_REFERENCE: record.ref}})
        top = (
            made[0]
            if len(made) == 1
            else document({"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": made}, mt.OCI_INDEX)
        )
        for name, value in (
            ("index.json", {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": [top]}),
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ):
            data = json.dumps(value).encode()
            put(name, io.BytesIO(data), len(data))


def _json_record(record: BuildRecord, digest: str, size: int) -> dict[str, Any]:
    """The record as Go writes its message as JSON."""
    wire = wirehistory.wire_record(record)
    found: dict[str, Any] = {
        "Ref": wire.Ref,
        "Frontend": wire.Frontend,
        "FrontendAttrs": dict(wire.FrontendAttrs),
        "Exporters": [{"Type": one.Type, "Attrs": dict(one.Attrs)} for one in wire.Exporters],
        "CreatedAt": {"seconds": wire.CreatedAt.seconds, "nanos": wire.CreatedAt.nanos},
        "CompletedAt": {"seconds": wire.CompletedAt.seconds, "nanos": wire.CompletedAt.nanos},
        "logs": {"media_type": wirehistory.STATUS, "digest": digest, "size": size},
        "ExporterResponse": dict(wire.ExporterResponse),
        "Generation": 1,
        "numCachedSteps": wire.numCachedSteps,
        "numTotalSteps": wire.numTotalSteps,
        "numCompletedSteps": wire.numCompletedSteps,
        "numWarnings": wire.numWarnings,
    }
    if wire.HasField("error"):
        found["error"] = {"code": wire.error.code, "message": wire.error.message}
    return {key: value for key, value in found.items() if value not in ("", {}, [], 0)}


# --- reading ------------------------------------------------------------------------------------------


def read_in(root: Path, stream: BinaryIO, name: str, keep: Keep | None = None) -> tuple[list[BuildRecord], list[str]]:
    """Take the builds of a file into the history of a store: records of dockc, or a bundle; which, its bytes tell. When all
    are there, the oldest builds of the store go as after a build.

    Args:
        root: the store.
        stream: the file, which need not be seekable.
        name: what it is called in errors.
        keep: how many builds the store remembers; None for the usual number.

    Returns:
        What was new, and the refs of the builds that were in the history already.

    Raises:
        UsageError: it is neither, or it is damaged.
        StoreError: the history cannot be written.
    """
    from dockc.runtime.archive.compress import Decompressor

    plain = Decompressor(stream)
    head = plain.read(1)
    try:
        whole = _Again(head, plain)
        if head != b"{":
            return _bundle(root, whole, keep)
        try:
            found = _record(root, whole)
        except history.KnownAlready as known:
            return [], [known.ref]
        _collect(root, [found], keep)
        return [found], []
    except (UsageError, StoreError) as error:
        raise type(error)(f"{name}: {error.message}", hint=error.hint) from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(f"{name}: neither a record nor a bundle of builds: {type(error).__name__}") from error


class _Again:
    """A stream whose first byte has been read."""

    def __init__(self, head: bytes, inner: Reader) -> None:
        self._head, self._inner = head, inner

    def read(self, size: int = -1) -> bytes:
        if self._head:
            head, self._head = self._head, b""
            return head if size == 1 else head + self._inner.read(size - 1 if size > 0 else size)
        return self._inner.read(size)


def _record(root: Path, stream: Reader) -> BuildRecord:
    lines = _lines(stream)
    begin = next(lines, {}).get("begin")
    if not isinstance(begin, dict) or begin.get("version") != history.VERSION:
        raise UsageError("no record of a build, or one of another version of dockc")
    start = _begin(str(begin["ref"]), _time(begin["began"]), str(begin.get("platform") or ""), dict(begin["options"]))
    end: dict[str, Any] = {}

    def told() -> Iterator[Mapping[str, Any]]:
        for line in lines:
            if isinstance(line.get("end"), dict):
                end.update(line["end"])
            for key in _KNOWN:
                if key in line:
                    yield {key: line[key]}

    return history.write_record(root, start, told(), _Ending(end))


class _Ending(Mapping[str, Any]):
    """An end that is known when all before it has been read."""

    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found

    def _whole(self) -> dict[str, Any]:
        results = self._found.get("results")
        return {
            **self._found,
            "status": str(self._found.get("status") or "interrupted"),
            "error": without_credentials(str(self._found.get("error") or "")[:4096]),
            "results": {str(k): str(v)[: history.RESULT] for k, v in results.items()}
            if isinstance(results, dict)
            else {},
        }

    def __getitem__(self, key: str) -> Any:
        return self._whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())


def _lines(stream: Reader) -> Iterator[dict[str, Any]]:
    rest = b""
    total = 0
    while data := stream.read(1 << 20):
        total += len(data)
        if total > _TOTAL:
            raise UsageError(f"more than {_TOTAL >> 20} MiB")
        *whole, rest = (rest + data).split(b"\n")
        if len(rest) > _LINE:
            raise UsageError("a line is too long")
        for line in whole:
            found = _loads(line)
            if not isinstance(found, dict):
                raise UsageError("a line is no object")
            yield found


def _loads(data: bytes) -> Any:
    """What a foreign document says: numbers that 64 bits hold, and text that is UTF-8; in logs it may stand for bytes."""
    found = json.loads(data, parse_int=_integer, parse_float=_float, parse_constant=_constant)
    if b"\\u" not in data:
        return found
    return _text_of(found, _NO_TEXT if isinstance(found, dict) and "log" in found else _HALVES)


def _integer(text: str) -> int:
    value = int(text)
    if not -(1 << 63) <= value < 1 << 63:
        raise UsageError("a number that is none")
    return value


def _float(text: str) -> float:
    value = float(text)
    if value - value != 0:  # without an end
        raise UsageError("a number that is none")
    return value


def _constant(text: str) -> float:
    raise UsageError("a number that is none")


def _text_of(value: Any, wrong: re.Pattern[str]) -> Any:
    """The same with a mark in the place of what is no character."""
    if isinstance(value, str):
        return wrong.sub("\ufffd", value)
    if isinstance(value, list):
        return [_text_of(one, wrong) for one in value]
    if isinstance(value, dict):
        return {_text_of(key, wrong): _text_of(one, wrong) for key, one in value.items()}
    return value


def _begin(ref: str, began: int, platform: str, options: dict[str, Any]) -> dict[str, Any]:
    if not 0 < len(ref) <= 256:
        raise UsageError("a build without a name")
    return {"ref": ref, "began": began, "platform": platform[:256], "options": {**options, "imported": True}}


def _time(value: object) -> int:
    if not isinstance(value, int) or not 0 <= value < 10**19:
        raise UsageError("a time that is none")
    return value


def _collect(root: Path, new: Sequence[BuildRecord], keep: Keep | None) -> None:
    """What is more than the store remembers goes; a build that came alone stays, however old it is: it is to be looked at."""
    try:
        history.collect(root / history.FOLDER, but=new[0].ref if len(new) == 1 else "", keep=keep)
    except OSError as error:
        raise StoreError(f"cannot read the history in {root / history.FOLDER}: {error.strerror}") from error


def _bundle(root: Path, stream: Reader, keep: Keep | None) -> tuple[list[BuildRecord], list[str]]:
    with tempfile.TemporaryDirectory(prefix="dockc-bundle-") as folder:
        blobs = _Blobs(Path(folder))
        blobs.fill(stream)
        new: list[BuildRecord] = []
        known: list[str] = []
        try:
            for one in blobs.manifests():
                try:
                    new.append(_build(root, blobs, one))
                except history.KnownAlready as already:
                    known.append(already.ref)
        finally:
            if new:
                _collect(root, new, keep)
        if not new and not known:
            raise UsageError("no builds are in it")
        return new, known


class _Blobs:
    """The blobs of a bundle, each in a file; their digests are what they are called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.index: list[Mapping[str, Any]] = []

    def fill(self, stream: Reader) -> None:
        from dockc.runtime.archive.tarheader import InvalidTar, TarReader

        left = _TOTAL
        try:
            reader = TarReader(stream)
            for number, member in enumerate(reader):
                if number > _ENTRIES or (left := left - member.size) < 0:
                    raise UsageError("it is too large")
                name = member.name.removeprefix("./")
                if name == "index.json" and member.size <= _JSON:
                    self.index = list(_loads(_all(reader))["manifests"])
                elif name.startswith("blobs/sha256/") and member.kind in {"0", "\0"}:
                    self._take(name.removeprefix("blobs/sha256/"), reader)
        except InvalidTar as error:
            raise UsageError(f"no bundle of builds: {error.message}") from error

    def _take(self, name: str, reader: TarReader) -> None:
        if len(name) != 64 or name.strip("0123456789abcdef"):
            raise UsageError("a blob with a digest that is none")
        hasher = hashlib.sha256()
        with (self._folder / name).open("wb") as file:
            while data := reader.read(1 << 20):
                hasher.update(data)
                file.write(data)
        if hasher.hexdigest() != name:
            raise UsageError(f"the blob sha256:{name} is damaged")

    def open(self, digest: object) -> BinaryIO:
        name = str(digest).removeprefix("sha256:")
        if len(name) != 64 or name.strip("0123456789abcdef"):
            raise UsageError("a blob with a digest that is none")
        try:
            return (self._folder / name).open("rb")
        except FileNotFoundError:
            raise UsageError(f"the blob {str(digest)[:80]} is missing") from None

    def document(self, digest: object) -> dict[str, Any]:
        with self.open(digest) as file:
            data = file.read(_JSON + 1)
        if len(data) > _JSON:
            raise UsageError("a document is too large")
        return dict(_loads(data))

    def manifests(self) -> Iterator[dict[str, Any]]:
        """The manifests that the index names, or an index that it names. None is read twice: each of two small lists that
        say one thing a thousand times would make a million of it.
        """
        seen: set[str] = set()
        for top in self.index:
            for found in self._once(top, seen):
                if "manifests" not in found:
                    yield found
                    continue
                for below in found["manifests"]:
                    yield from self._once(below, seen)

    def _once(self, one: Mapping[str, Any], seen: set[str]) -> Iterator[dict[str, Any]]:
        digest = str(one["digest"])
        if digest not in seen:
            seen.add(digest)
            yield self.document(digest)


def _all(reader: TarReader) -> bytes:
    parts = []
    while data := reader.read(1 << 20):
        parts.append(data)
    return b"".join(parts)


def _build(root: Path, blobs: _Blobs, manifest: Mapping[str, Any]) -> BuildRecord:
    if manifest["config"]["mediaType"] != RECORD:
        raise UsageError("it holds no builds")
    config = blobs.document(manifest["config"]["digest"])
    given = {str(k): str(v) for k, v in (config.get("FrontendAttrs") or {}).items()}
    attrs = shown(given)
    state = config.get("localState") or {}
    options = {
        "context": attrs.get("context", "") or without_credentials(str(state.get("LocalPath") or "")),
        "file": attrs.get("filename", ""),
        "frontend": str(config.get("Frontend") or ""),
        "attrs": attrs,
        "outputs": [
            {"type": str(one.get("Type", "")), **shown({str(k): str(v) for k, v in (one.get("Attrs") or {}).items()})}
            for one in config.get("Exporters") or ()
        ],
    }
    start = _begin(str(config["Ref"]), _stamp(config["CreatedAt"]), attrs.get("platform", ""), options)
    total, cached = wirehistory.count(config.get("numTotalSteps")), wirehistory.count(config.get("numCachedSteps"))
    completed = wirehistory.count(config.get("numCompletedSteps"))
    error = config.get("error") or {}
    code = wirehistory.count(error.get("code"))
    end = {
        "ended": _stamp(config["CompletedAt"]) if config.get("CompletedAt") else None,
        "status": "completed" if not error else "canceled" if code == CANCELLED else "failed",
        "error": without_credentials(str(error.get("message") or "")[:4096]),
        "results": {str(k): str(v)[: history.RESULT] for k, v in (config.get("ExporterResponse") or {}).items()},
        "executed": max(0, completed - cached), "cached": cached, "total": total, "completed": completed,
        "warnings": wirehistory.count(config.get("numWarnings")), **({"code": code} if error else {}),
    }  # fmt: skip
    layers = [one for one in manifest.get("layers") or () if one["mediaType"] == wirehistory.STATUS]

    def told() -> Iterator[Mapping[str, Any]]:
        seen: set[str] = set()
        for layer in layers[:1]:
            with blobs.open(layer["digest"]) as file:
                for status in wirehistory.read_status(file):
                    yield from recording.lines_of(status, seen)

    try:
        made = history.write_record(root, start, told(), end)
        for layer in manifest.get("layers") or () if error else ():
            if layer["mediaType"] == wirehistory.ERROR:
                with blobs.open(layer["digest"]) as file:
                    wirehistory.take_error(made, file.read(wirehistory.LARGEST_ERROR), hider(given))
        return made
    except (UsageError, StoreError):
        raise
    except DockcError as problem:
        raise UsageError(problem.message) from problem


def _stamp(value: Mapping[str, Any]) -> int:
    return _time(int(value.get("seconds", 0)) * _SECOND + int(value.get("nanos", 0)))
