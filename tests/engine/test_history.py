"""The history of builds: what is kept, of whom, and what dying processes, full disks and strangers do to it."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dockc.engine import history, wirehistory
from dockc.engine import recording as recordings
from dockc.engine.earlier import Index, earlier, like
from dockc.engine.keep import Keep
from dockc.engine.request import Asked, Built, CompileRequest
from dockc.errors import DockcError, StoreError, UsageError
from dockc.runtime.exporter.options import Output
from dockc.runtime.remotecache.base import CacheEntry
from dockc.solver.progress import SolveStatus, VertexEvent, VertexLog, VertexWarning
from tests.tools import calls

ASKED = Asked(compile=CompileRequest("."))


def quiet(status: SolveStatus) -> None:
    pass


def event(name: str, **more: object) -> SolveStatus:
    return SolveStatus(vertexes=(VertexEvent(f"sha256:{name}", name, **more),))  # type: ignore[arg-type]


def log(name: str, data: bytes) -> SolveStatus:
    return SolveStatus(logs=(VertexLog(f"sha256:{name}", 1, data, 7),))


def recorded(root: Path, *told: SolveStatus, asked: Asked = ASKED, error: BaseException | None = None) -> recordings.Recording:
    recording = recordings.Recording(quiet, root, asked)
    for status in told:
        recording(status)
    recording.end(None if error else Built(executed=1, cached=2), error)
    return recording


def logged(record: history.BuildRecord) -> bytes:
    return b"".join(data for _, data in history.logs(record))


def test_what_comes_before_the_beginning_waits_for_it(tmp_path: Path) -> None:
    handed: list[SolveStatus] = []
    recording = recordings.Recording(handed.append, tmp_path, ASKED, held=True)
    threads = threading.active_count()
    recording(event("one", started=1))
    assert threading.active_count() == threads, "a process that enters its namespaces has one thread"
    assert handed == [event("one", started=1)]
    recording.begin()
    recording(event("one", started=1, completed=2))
    recording.end(Built(executed=1, cached=2))
    (record,) = history.records(tmp_path)
    assert [(one.step.name, one.step.completed) for one in history.steps_of(record)] == [("one", 2)]
    unheard = recordings.Recording(quiet, tmp_path, ASKED, held=True)
    unheard(event("one"))
    unheard.end(None, DockcError("no"))
    assert len(history.records(tmp_path)) == 1, "a build that ends before leaves no record"


def test_a_build_that_fails_says_how_many_steps_it_ran(tmp_path: Path) -> None:
    told = (
        event("one", inputs=("sha256:base",), started=1, completed=2),
        event("two", inputs=("sha256:one",), started=2, completed=2, cached=True),
        event("three", inputs=("sha256:two",), started=2, completed=3, error="no"),
    )
    recorded(tmp_path, *told, error=DockcError("no"))
    (record,) = history.records(tmp_path)
    assert (record.status, record.executed, record.cached) == ("failed", 1, 1)


def test_builds_of_the_same_name_elsewhere_are_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`.` is not the same in two directories."""
    found = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found.append(recordings.options_of(Asked(compile=CompileRequest(".", "other.Dockerfile"))))
    assert [one["context"] for one in found] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert found[1]["file"] == str(tmp_path / "b" / "other.Dockerfile")
    assert like(found[0]) != like(found[1])
    assert like(found[0]) == like({**found[0], "names": ["other"]})
    remote = recordings.options_of(Asked(compile=CompileRequest("https://u:hunter2@h/x.git", "-")))
    assert (remote["context"], remote["file"]) == ("https://xxxxx:xxxxx@h/x.git", "-")


def test_a_build_is_kept_whole(tmp_path: Path) -> None:
    handed: list[SolveStatus] = []
    recording = recordings.Recording(handed.append, tmp_path, ASKED)
    printed = ("é".encode()[:1], "é".encode()[1:] + b"\0\xff" + "😀".encode() + b"\x80\n")  # cut within a character
    told = [event("one"), event("one", started=1), *(log("one", data) for data in printed), event("one", started=1, completed=3)]
    for number, status in enumerate(told):
        recording(status)
        if not number:
            recording.dockerfile(b"FROM https://u:hunter2@h/x\n")
    recording(event("two", started=3, completed=3, cached=True))
    recording.end(Built(executed=1, cached=2))
    assert recording.trouble == ""
    assert handed[: len(told)] == told
    (record,) = history.records(tmp_path)
    assert (record.ref, record.status, record.executed, record.cached) == (recording.ref, "completed", 1, 2)
    assert record.ended is not None and record.ended >= record.began
    assert [(one.number, one.step.name, one.step.completed, one.step.cached) for one in history.steps_of(record)] == [
        (1, "one", 3, False),
        (2, "two", 3, True),
    ]
    assert logged(record) == b"".join(printed)
    assert history.dockerfile(record) == "FROM https://xxxxx:xxxxx@h/x\n"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (DockcError("no https://u:hunter2@h/x"), "failed", "no https://xxxxx:xxxxx@h/x"),
        (KeyboardInterrupt(), "canceled", "KeyboardInterrupt"),
        (ZeroDivisionError("secret"), "failed", "ZeroDivisionError"),
    ],
)
def test_how_it_ended(tmp_path: Path, error: BaseException, status: str, text: str) -> None:
    recorded(tmp_path, event("one"), error=error)
    (record,) = history.records(tmp_path)
    assert (record.status, record.error) == (status, text)


def test_a_build_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    assert recorded(tmp_path, error=DockcError("no store")).trouble == ""
    assert list(tmp_path.iterdir()) == []
    assert history.records(tmp_path / "none") == []


def test_options_without_what_is_secret(tmp_path: Path) -> None:
    attrs = {"build-arg:NPM_TOKEN": "hunter2", "build-arg:A": "x", "build-arg:HTTP_PROXY": "http://u:hunter2@proxy:1"}
    keys = {"access_key_id": "hunter2", "secret_access_key": "hunter2", "session_token": "hunter2", "bucket": "b"}
    asked = Asked(
        compile=CompileRequest("https://u:hunter2@h/x.git", attrs=attrs, contexts={"c": "https://hunter2@h/y"}),
        outputs=(Output("local", "out"),),
        names=("app:1",),
        secrets=("id=mine,src=/home/hunter2",),
        ssh=("default=/hunter2",),
        cache_to=(CacheEntry("s3", keys), CacheEntry("azblob", {"account_url": "https://h/?sig=hunter2"})),
    )
    recorded(tmp_path, event("one"), asked=asked)
    (record,) = history.records(tmp_path)
    assert b"hunter2" not in record.path.read_bytes()
    assert record.options["secrets"] == ["mine"]
    assert record.options["ssh"] == ["default"]
    assert record.options["attrs"]["build-arg:A"] == "x"
    assert record.options["cache_to"][0]["bucket"] == "b"
    assert record.options["names"] == ["app:1"]


def test_only_the_owner_may_read(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir(mode=0o777)
    before = os.umask(0)
    try:
        recorded(tmp_path, event("one"))
    finally:
        os.umask(before)
    (record,) = history.records(tmp_path)
    assert stat.S_IMODE(record.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(record.path.parent.stat().st_mode) == 0o700


def test_a_link_in_the_place_of_the_history_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "history").symlink_to(other)
    assert recorded(tmp_path, event("one")).trouble
    assert list(other.iterdir()) == []


def test_the_oldest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEEP_BUILDS", 3)
    refs = [recorded(tmp_path, event("one")).ref for _ in range(5)]
    assert [one.ref for one in history.records(tmp_path)] == refs[:1:-1]
    size = history.records(tmp_path)[0].path.stat().st_size
    monkeypatch.setattr(history, "KEEP_BYTES", 2 * size + 100)
    newest = recorded(tmp_path, event("one")).ref
    assert [one.ref for one in history.records(tmp_path)] == [newest, refs[-1]]
    monkeypatch.setattr(history, "KEEP_BYTES", 1)
    newest = recorded(tmp_path, event("one")).ref
    assert [one.ref for one in history.records(tmp_path)] == [newest], "the newest stays, whatever its size"


def test_a_look_at_what_is_kept_is_short(tmp_path: Path) -> None:
    """Each build looks at all records when it ends, so a record takes few calls; what lies beside them counts, too."""
    for number in range(100):
        (tmp_path / f"{number:020d}-{number:x}.jsonl").write_bytes(b"x" * 10)
        (tmp_path / f"{number:020d}-{number:x}.trace").write_bytes(b"x" * 10)
    (tmp_path / "other.jsonl").touch()
    assert calls(lambda: history.collect(tmp_path)) < 700
    assert len(list(tmp_path.iterdir())) == 201
    (tmp_path / f"{98:020d}-62.about").write_text('{"pinned": true}')
    found = history.collect(tmp_path, keep=Keep(entries=100, size=60), but="5f")
    assert found.gone == tuple(f"{number:x}" for number in reversed(range(95)))
    assert found.size == 80, "four that are not pinned are left, of which one was to stay"
    assert sorted({path.stem.partition("-")[2] for path in tmp_path.iterdir() if path.stem != "other"}) == ["5f", "60", "61", "62", "63"]


def test_a_build_that_runs_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = recordings.Recording(quiet, tmp_path, ASKED)
    running(event("one"))
    while not history.records(tmp_path):
        pass
    monkeypatch.setattr(history, "KEEP_BUILDS", 1)
    second = recorded(tmp_path, event("two"))
    assert {one.ref: one.status for one in history.records(tmp_path)} == {running.ref: "running", second.ref: "completed"}
    with pytest.raises(UsageError, match="still runs"):
        history.remove(history.find(tmp_path, running.ref))
    running.end(Built())
    history.remove(history.find(tmp_path, running.ref))


def test_a_record_is_locked_whoever_looks_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader has the lock for a moment, and so has somebody who takes the new file for an old one."""
    name = f"{1:020d}-61.jsonl"
    lock = history._lock
    met: list[str] = []

    def meanwhile(file: int, **how: bool) -> bool:
        if how.get("wait") and not met:
            met.append(name)
            (tmp_path / name).unlink()
        elif how.get("wait"):
            reading = os.open(tmp_path / name, os.O_RDONLY)
            assert lock(reading, shared=True)
            threading.Timer(0.2, os.close, (reading,)).start()
        return lock(file, **how)

    monkeypatch.setattr(history, "_lock", meanwhile)
    file = history.create(tmp_path, name)
    assert os.fstat(file).st_ino == (tmp_path / name).stat().st_ino
    with (tmp_path / name).open() as reading:
        assert not lock(reading.fileno(), shared=True)
    os.close(file)


def test_logs_beyond_all_bounds_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "KEEP_BYTES", history.TAIL + 2000)
    recorded(tmp_path, *(log("one", b"x" * 500) for _ in range(10)), event("one", started=1, completed=2))
    (record,) = history.records(tmp_path)
    assert record.left_out + len(logged(record)) == 5000
    assert 0 < len(logged(record)) < 2000
    assert (record.status, history.steps_of(record)[0].step.completed) == ("completed", 2)


def test_logs_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "PENDING", 1000)
    recorded(tmp_path, log("one", b"x" * 1001), log("one", b"y" * 10))
    (record,) = history.records(tmp_path)
    assert (record.left_out, logged(record)) == (1001, b"y" * 10)


def warned(text: str) -> SolveStatus:
    return SolveStatus(warnings=(VertexWarning("sha256:one", 1, text, ("detail",), "u", "Dockerfile", b"s" * 5000),))


def test_warnings_are_bounded_as_logs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "PENDING", 1000)
    told: list[SolveStatus] = []
    recording = recordings.Recording(told.append, tmp_path, ASKED, held=True)  # nothing is written before it begins
    for number in range(10):
        recording(warned(f"{number}" * 300))
    recording.begin()
    recording.end(Built())
    assert [one.warnings[0].source for one in told] == [b"s" * 5000] * 10
    (record,) = history.records(tmp_path)
    assert [line for line in record.path.read_text().splitlines() if '"warning"' in line] == [
        json.dumps({"warning": {"step": "sha256:one", "short": f"{number}" * 300, "url": "u"}}, separators=(",", ":")) for number in range(3)
    ]
    assert record.left_out == 0

    monkeypatch.setattr(recordings, "KEEP_BYTES", history.TAIL + 2000)
    recorded(tmp_path, *(warned("x" * 300) for _ in range(3)), *(warned("y" * 900) for _ in range(3)), event("one", started=1, completed=2))
    last = history.find(tmp_path, "last")
    assert last.path.read_text().count('"warning"') == 3
    assert history.steps_of(last)[0].step.completed == 2


KILLED = """
import os, sys, signal
from pathlib import Path
from tests.engine.test_history import ASKED, event, history, log, quiet, recordings
recording = recordings.Recording(quiet, Path(sys.argv[1]), ASKED)
recording(event("one", started=1))
recording(log("one", b"said"))
while not (found := history.records(Path(sys.argv[1]))) or b"said" not in found[0].path.read_bytes():
    pass
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_build_had_told_stays(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, cwd=Path(__file__).parents[2])
    assert ended.returncode == -signal.SIGKILL
    (record,) = history.records(tmp_path)
    with record.path.open("ab") as file:
        file.write(b'{"log":["sha256:one","torn')
    assert history.records(tmp_path)[0].status == "interrupted"
    assert logged(record) == b"said"
    assert recorded(tmp_path, event("two")).ref == history.find(tmp_path, "last").ref


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Files may not become larger than 400 bytes: a write fails as on a full disk. Pytest's own report may be a file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_said_and_fails_nothing(tmp_path: Path) -> None:
    with no_room():
        recording = recorded(tmp_path, event("one"), log("one", b"x" * 5000), event("one", completed=1))
    assert recording.trouble == "File too large"
    (record,) = history.records(tmp_path)
    assert record.status == "interrupted"


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = """if True:
        import sys
        from tests.engine.test_history import Path, event, history, recorded
        history.KEEP_BUILDS = 20
        for _ in range(20):
            assert recorded(Path(sys.argv[1]), event("one")).trouble == ""
    """
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2]) for _ in range(2)]
    assert [one.wait(60) for one in running] == [0, 0]
    assert len(history.records(tmp_path)) in {20, 21}
    assert {one.status for one in history.records(tmp_path)} == {"completed"}


def test_what_many_change_of_a_build_at_once_stays(tmp_path: Path) -> None:
    """Pins, logs and traces come from threads and processes of their own."""
    recorded(tmp_path, event("one"))
    (record,) = history.records(tmp_path)
    code = """if True:
        import sys
        from tests.engine.test_history import Path, history
        (record,) = history.records(Path(sys.argv[1]))
        for number in range(100):
            history.change(record, elsewhere=number)
    """
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: history.change(record, **{f"fact-{number}": number}), range(100)))
    assert other.wait(60) == 0
    assert history.about(record.path) == {"elsewhere": 99} | {f"fact-{number}": number for number in range(100)}


def test_nothing_is_left_of_a_build_that_is_collected_while_something_of_it_changes(tmp_path: Path) -> None:
    recorded(tmp_path, event("one"))
    (record,) = history.records(tmp_path)
    history.change(record, pinned=True)
    history.remove(record)
    with pytest.raises(StoreError, match="No such file"):
        history.change(record, pinned=False)
    with pytest.raises(StoreError, match="No such file"):
        history.keep_trace(record, b"{}", "sha256:0", 2)
    with pytest.raises(StoreError, match="No such file"):
        wirehistory.keep_status(record)
    assert list(record.path.parent.iterdir()) == []


def test_a_build_to_compare_with_may_be_collected_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = recordings.Recording(quiet, tmp_path, ASKED)
    recording(event("one"))
    recording.keys([[]])
    recording.end(Built())
    known = history.records(tmp_path)
    assert known[0].keys_at
    history.remove(known[0])
    monkeypatch.setattr("dockc.engine.earlier.names", lambda _: [known[0].path.name])
    index = Index()
    assert earlier(tmp_path, {}, index=index) == []
    assert index.like(known[0].path) == "", "and it is not remembered"


def test_builds_to_compare_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest eight of the same Dockerfile, else of others; who asks often reads each record once."""
    steps = [{"vertex": "sha256:a", "name": "RUN"}]
    mine, other = {"context": "/a", "file": "/a/Dockerfile"}, {"context": "/b", "file": "/b/Dockerfile"}

    def made(number: int, options: dict[str, str], keys: bool = True) -> None:
        begin = {"ref": f"r{number}", "began": number, "platform": "", "options": options}
        told: list[dict[str, Any]] = [{"args": {"N": str(number)}}, {"keys": steps}] if keys else []
        history.write_record(tmp_path, begin, told, {"status": "completed"})

    for number in range(1, 31):
        made(number, mine if number % 3 == 0 else other, keys=number != 30)
    monkeypatch.setattr("dockc.engine.history.step_of", lambda one: SimpleNamespace(key=SimpleNamespace(vertex=one["vertex"])))
    read: list[str] = []

    def reads(path: Path) -> history.BuildRecord | None:
        read.append(path.name)
        return history.read(path)

    monkeypatch.setattr("dockc.engine.earlier.read", reads)
    index = Index()

    def numbers(**more: Any) -> list[int]:
        read.clear()
        return [int(told.ref[1:]) for told in earlier(tmp_path, mine, index=index, **more)]

    assert numbers() == [27, 24, 21, 18, 15, 12, 9, 6]
    assert len(read) == 25 + 8, "those before the eighth are not looked at"
    assert numbers(but="r27", before=25) == [24, 21, 18, 15, 12, 9, 6, 3]
    assert len(read) == 3 + 8
    made(31, other)
    made(32, mine)
    assert numbers()[:2] == [32, 27]
    assert len(read) == 2 + 8
    assert numbers(before=10) == [9, 6, 3, 8, 7, 5, 4, 2]
    assert len(read) == 2 + 8
    for one in history.records(tmp_path)[3:]:
        history.remove(one)
    assert numbers() == [32, 31]
    assert len(index._likes) <= 6, "what has gone is forgotten"


def test_finding(tmp_path: Path) -> None:
    recorded(tmp_path, event("RUN one"), event("RUN two"))
    (record,) = history.records(tmp_path)
    assert history.find(tmp_path, record.ref[:6]).ref == history.find(tmp_path, "last").ref == record.ref
    for wrong in ("", "nothing", record.ref + "0"):
        with pytest.raises(UsageError, match="no build"):
            history.find(tmp_path, wrong)
    for wanted in ("2", "#2", "sha256:RUN two", "two"):
        assert history.find_step(record, wanted).number == 2
    with pytest.raises(UsageError, match="several steps"):
        history.find_step(record, "RUN")
    with pytest.raises(UsageError, match="no step"):
        history.find_step(record, "3")


def test_many_are_found_as_fast_as_one(tmp_path: Path) -> None:
    for _ in range(30):
        recorded(tmp_path, event("one"))
    refs = [one.ref for one in history.records(tmp_path)]
    assert [one.ref for one in history.find_all(tmp_path, [*refs, "last", "^1"])] == [*refs, refs[0], refs[1]]
    assert calls(lambda: history.find_all(tmp_path, refs)) < 2 * calls(lambda: history.find(tmp_path, refs[0]))
    with pytest.raises(UsageError, match="several builds begin with"):
        history.find_all(tmp_path, [*refs, *{ref[:1] for ref in refs}])


def test_what_is_no_record_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    for number, text in enumerate(("", "x", "[]\n", "null\n", '{"begin":{"version":99}}\n', '{"begin":[]}\n', "[" * 100_000 + "\n")):
        (folder / f"{number:020d}-{number:016x}.jsonl").write_text(text)
    (folder / "readme").write_text("x")
    (folder / f"{9:020d}-{9:016x}.jsonl").write_text(
        json.dumps({"begin": {"version": 1}}) + '\n{"step":7}\n{"log":[1]}\n{"step":{"digest":"a","name":3,"started":"x"}}\n{"end":3}\n'
    )
    (record,) = history.records(tmp_path)
    assert (record.status, len(history.steps_of(record)), logged(record)) == ("interrupted", 1, b"")


def test_how_many_are_kept_is_said_by_settings(tmp_path: Path) -> None:
    from dockc.engine.settings import remembered

    config, root = tmp_path / "config.toml", tmp_path / "store"
    root.mkdir()
    environ = {"DOCKC_CONFIG": str(config)}
    config.write_text('[registries."x"]\nhttp = true\n')
    assert remembered(root, environ) is None
    config.write_text('[history]\nmaxEntries = 3\nmaxAge = "1h"\n')
    assert remembered(root, environ) == Keep(entries=3, age=3600.0)
    (root / "dockc.toml").write_text("[history]\nmaxEntries = 1\n")
    assert remembered(root, environ) == Keep(entries=1)
    (root / "dockc.toml").write_text("[history]\nmax = 1\n")
    with pytest.raises(UsageError, match=r"unknown key history\.max"):
        remembered(root, environ)
    about = recordings.Described(options={}, attrs={}, keep=Keep(entries=1))
    for _ in range(3):
        recording = recordings.Recording(quiet, root, about)
        recording(event("one"))
        recording.end(Built())
    assert len(history.records(root)) == 1
