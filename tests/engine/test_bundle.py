"""Builds in files: what goes out comes back, and what strangers send is refused in a sentence."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dockc.engine import bundle, history, wirehistory
from dockc.engine import recording as recordings
from dockc.engine.bundle import read_in, write_bundle
from dockc.engine.keep import Keep
from dockc.engine.request import Asked, Built, CompileRequest
from dockc.errors import DockcError, StoreError, UsageError
from dockc.oci import mediatypes as mt
from dockc.rpc.pb import common_pb2
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexWarning

ATTRS = {"build-arg:A": "1", "build-arg:A_TOKEN": "hunter2hunter2", "target": "t"}


def built(root: Path, *, error: BaseException | None = None) -> history.BuildRecord:
    asked = Asked(compile=CompileRequest("https://u:hunter2@h/r", attrs=ATTRS), names=("app:1",))
    recording = recordings.Recording(lambda status: None, root, asked)
    recording(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN a", ("sha256:b",), 1),)))
    recording(SolveStatus(logs=(VertexLog("sha256:a", 1, b"one\n\xff", 7),), warnings=(VertexWarning("sha256:a", short="w"),)))
    recording(SolveStatus(logs=(VertexLog("sha256:a", 2, b"two", 8),)))
    recording(SolveStatus(vertexes=(VertexEvent("sha256:a", "RUN a", ("sha256:b",), 1, 9, error="no" if error else ""),)))
    recording.end(None if error else Built(executed=1, cached=2, sizes={"sha256:a": 5}), error)
    return history.find(root, "last")


def packed(*records: history.BuildRecord) -> bytes:
    out = io.BytesIO()
    write_bundle(records, out)
    return out.getvalue()


def told(record: history.BuildRecord) -> tuple[object, ...]:
    steps = [(one.step.name, one.step.started, one.step.completed, one.step.cached, one.step.error) for one in history.steps_of(record)]
    logs = b"".join(data for _, data in history.logs(record))
    return record.ref, record.began, record.ended, record.status, record.error, record.executed, record.cached, steps, logs


@pytest.mark.parametrize("error", [None, DockcError("it has failed")])
def test_a_bundle_comes_back(tmp_path: Path, error: DockcError | None) -> None:
    first = built(tmp_path / "a", error=error)
    second = built(tmp_path / "a")
    data = packed(first, second)
    assert b"hunter2" not in gzip.decompress(data)
    found, known = read_in(tmp_path / "b", io.BytesIO(data), "x")
    assert known == []
    assert [told(one) for one in found] == [told(first), told(second)]
    assert found[0].options["attrs"] == {"build-arg:A": "1", "build-arg:A_TOKEN": "xxxxx", "target": "t", "context": "https://xxxxx:xxxxx@h/r"}
    assert found[0].options["outputs"] == [{"type": "image", "name": "app:1"}]
    assert read_in(tmp_path / "b", io.BytesIO(data), "x") == ([], [first.ref, second.ref])
    assert read_in(tmp_path / "b", io.BytesIO(first.path.read_bytes()), "x") == ([], [first.ref])
    assert data == packed(first, second), "the same bytes every time"


def test_how_a_build_failed_goes_along(tmp_path: Path) -> None:
    first = built(tmp_path / "a", error=DockcError("it has failed"))
    details = [("github.com/moby/buildkit/errdefs.Vertex+json", b'{"digest": "sha256:a"}'), ("t", b"of hunter2hunter2")]
    kept = wirehistory.keep_error(first, 2, "it has failed", details)
    data = packed(first)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        texts = [file.read() for member in tar if (file := tar.extractfile(member)) is not None]
    (config,) = [found for text in texts if (found := json.loads(text) if text[:1] == b"{" else {}).get("Ref")]
    assert config["externalError"] == {"media_type": wirehistory.ERROR, "digest": kept.digest, "size": kept.size}
    ((found,), _) = read_in(tmp_path / "b", io.BytesIO(data), "x")
    status = common_pb2.Status.FromString(wirehistory.read_error(found))
    assert (status.code, status.message) == (2, "it has failed")
    assert [(one.type_url, one.value) for one in status.details] == details
    record = wirehistory.wire_record(found)
    assert record.externalError.size == kept.size
    history.remove(found)
    assert list((tmp_path / "b" / "history").iterdir()) == []


def test_a_record_comes_back_whole(tmp_path: Path) -> None:
    first = built(tmp_path / "a")
    ((found,), _) = read_in(tmp_path / "b", io.BytesIO(first.path.read_bytes()), "x")
    assert told(found) == told(first)
    assert [one.step.size for one in history.steps_of(found)] == [5]
    assert found.options["imported"] is True


def archive(files: dict[str, bytes], mode: Literal["w", "w:gz"] = "w:gz") -> bytes:
    """An archive of these files, packed or not."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def layout(config: object, *, status: bytes = b"", **more: bytes) -> bytes:
    """A bundle made by hand."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    layers = [blob(status, "application/vnd.buildkit.status.v0")] if status else []
    manifest = blob(json.dumps({"config": blob(json.dumps(config).encode(), bundle.RECORD), "layers": layers}).encode(), mt.OCI_MANIFEST)
    files = {"index.json": json.dumps({"manifests": [manifest]}).encode(), **blobs, **{name.replace("__", "/"): data for name, data in more.items()}}
    return archive(files)


CONFIG = {"Ref": "abc", "CreatedAt": {"seconds": 5}, "CompletedAt": {"seconds": 7, "nanos": 1}}


def test_what_buildx_leaves_out(tmp_path: Path) -> None:
    ((found,), _) = read_in(tmp_path, io.BytesIO(layout({**CONFIG, "localState": {"LocalPath": "/src"}})), "x")
    assert (found.ref, found.began, found.ended, found.status) == ("abc", 5 * 10**9, 7 * 10**9 + 1, "completed")
    assert found.options["context"] == "/src"
    assert history.steps_of(found) == []


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no builds"),
        (b"{}\n", "no record"),
        (b"{" * 100_000 + b"\n", "neither a record"),
        (b'{"begin": {"version": 1, "ref": "", "began": 1, "options": {}}}\n', "without a name"),
        (b'{"begin": {"version": 1, "ref": "x", "began": -1, "options": {}}}\n', "a time that is none"),
        (b'{"begin": {"version": 1, "ref": "x", "began": 1, "options": {}}}\n[]\n', "no object"),
        (gzip.compress(b"no archive" * 1000), "no bundle"),
        (layout({"Ref": "x"}), "neither a record"),
        (layout([]), "neither a record"),
        (layout({**CONFIG, "CreatedAt": {"seconds": 10**11}}), "a time that is none"),
        (layout(CONFIG, status=b"\x04\0\0\0abcd"), "no progress"),
        (layout(CONFIG, status=b"\xff\xff\xff\xffabcd"), "cut off"),
        (layout(CONFIG, blobs__sha256__x=b"1"), "a digest that is none"),
        (layout(CONFIG, **{"blobs__sha256__" + "0" * 64: b"1"}), "is damaged"),
    ],
)
def test_what_is_no_build_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises((UsageError, StoreError), match=words):
        read_in(tmp_path, io.BytesIO(data), "x")
    assert history.records(tmp_path) == []


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "_TOTAL", 10_000)
    big = layout(CONFIG, other=bytes(20_000))
    with pytest.raises(UsageError, match="too large"):
        read_in(tmp_path, io.BytesIO(big), "x")
    with pytest.raises(UsageError, match="more than"):
        read_in(tmp_path, io.BytesIO(b'{"begin": {"version": 1, "ref": "x", "began": 1, "options": {}}}\n' + b'{"log": []}\n' * 9000), "x")
    assert history.records(tmp_path) == []


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_damage_anywhere_is_no_crash(tmp_path_factory: pytest.TempPathFactory, at: int, damage: bytes) -> None:
    root = tmp_path_factory.mktemp("store")
    plain = gzip.decompress(layout(CONFIG, status=b"\x02\0\0\0\x0a\0"))
    at = at * len(plain) // 400
    try:
        read_in(root, io.BytesIO(plain[:at] + damage + plain[at + len(damage) :]), "x")
    except DockcError as error:
        assert error.message.startswith("x: ")


def test_an_index_that_says_one_build_a_million_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small lists, the first of the second and the second of a build, a thousand times each: every document is read once."""
    plain = gzip.decompress(layout(CONFIG))
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        files = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
    (manifest,) = json.loads(files["index.json"])["manifests"]
    inner = json.dumps({"manifests": [manifest] * 1000}).encode()
    digest = hashlib.sha256(inner).hexdigest()
    files |= {f"blobs/sha256/{digest}": inner, "index.json": json.dumps({"manifests": [{"digest": f"sha256:{digest}"}] * 1000}).encode()}
    asked: list[object] = []
    real = bundle._Blobs.document

    def document(self: bundle._Blobs, digest: object) -> dict[str, Any]:
        asked.append(digest)
        return real(self, digest)

    monkeypatch.setattr(bundle._Blobs, "document", document)
    ((found,), known) = read_in(tmp_path, io.BytesIO(archive(files, "w")), "x")
    assert (found.ref, known, len(asked)) == ("abc", [], 3)


def test_how_many_stay_of_those_that_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as the store remembers, looked at once; one that comes alone stays to be looked at."""
    data = packed(*(built(tmp_path / "a") for _ in range(8)))
    looked: list[Path] = []
    real = history.collect

    def collect(folder: Path, **more: Any) -> history.Collected:
        looked.append(folder)
        return real(folder, **more)

    monkeypatch.setattr(history, "collect", collect)
    for number, kept in ((5, 5), (20, 8)):
        root = tmp_path / str(number)
        assert len(read_in(root, io.BytesIO(data), "x", Keep(entries=number))[0]) == 8
        assert len(history.records(root)) == kept
    old = b'{"begin": {"version": 1, "ref": "old", "began": 1, "options": {}}}\n'
    read_in(tmp_path / "20", io.BytesIO(old), "x", Keep(entries=8))
    assert len(looked) == 3
    assert history.find(tmp_path / "20", "old").began == 1


@pytest.mark.parametrize("number", ["1e999", "NaN", "-Infinity", "1" + "0" * 30, "-" + "9" * 19])
def test_numbers_that_are_none_are_refused(tmp_path: Path, number: str) -> None:
    line = '{"step": {"digest": "sha256:a", "name": "a", "started": ' + number + "}}\n"
    begin = '{"begin": {"version": 1, "ref": "x", "began": 1, "options": {}}}\n'
    with pytest.raises(UsageError, match="a number that is none"):
        read_in(tmp_path, io.BytesIO((begin + line).encode()), "x")
    assert history.records(tmp_path) == []


def test_text_that_is_none_is_marked(tmp_path: Path) -> None:
    """What comes in can go out again, in every form; the bytes of logs are those that were printed."""
    lines = (
        {"begin": {"version": 1, "ref": "\ud800x", "began": 1, "options": {"context": "\udcff", "\ud800": ["\udfff"]}}},
        {"step": {"digest": "sha256:a", "name": "RUN \ud83d", "started": 1, "completed": 2}},
        {"log": ["sha256:a", "\ud800 \udcff\n", 1, 3]},
        {"end": {"status": "failed", "error": "\udc80", "results": {}, "ended": 4}},
    )
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    ((found,), _) = read_in(tmp_path, io.BytesIO(data), "x")
    assert (found.ref, found.options["context"], found.error) == ("\ufffdx", "\ufffd", "\ufffd")
    assert [one.step.name for one in history.steps_of(found)] == ["RUN \ufffd"]
    assert b"".join(data for _, data in history.logs(found)) == "\ufffd ".encode() + b"\xff\n"
    ((again,), _) = read_in(tmp_path / "other", io.BytesIO(packed(found)), "x")
    assert told(again) == told(found)


@pytest.mark.parametrize("status", ["running", '"><script>', "\x1b[31m", 7, ["failed"], {}])
def test_a_build_ends_in_one_of_four_ways(tmp_path: Path, status: object) -> None:
    """Whatever a record says: it does not run here, and its word stands in pages and tables."""
    lines = ({"begin": {"version": 1, "ref": "x", "began": 1, "options": {}}}, {"end": {"status": status, "results": {}}})
    ((found,), _) = read_in(tmp_path, io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines)), "x")
    assert (found.status, history.records(tmp_path)[0].status) == ("interrupted", "interrupted")
