"""A daemon's store: what it says of it, prunes and collects."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dockc.daemon import layouts
from dockc.daemon.mirrors import Mirrors
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.policy import Rule
from dockc.runtime.refs.types import RecordType
from tests.daemon.test_daemon import Daemon, dockc, until
from tests.tools import deepen, shell_context


@pytest.fixture
def context(tmp_path: Path) -> Path:
    return shell_context(tmp_path / "context")


def build(daemon: Daemon, context: Path, number: int, *more: str) -> str:
    (context / "Dockerfile").write_text(
        f'FROM scratch\nCOPY busybox /\nRUN ["/busybox", "dd", "if=/dev/urandom", "of=/r{number}", "bs=70000", "count=10"]\n'
    )
    done = dockc("build", str(context), "--addr", daemon.address, "--progress=plain", *(more or ("-o", "type=cacheonly")))
    assert done.returncode == 0, done.stderr + daemon.said()
    return done.stderr


def ask(daemon: Daemon, *words: str, status: int = 0) -> str:
    done = dockc(*words, "--addr", daemon.address)
    assert done.returncode == status, done.stderr
    return done.stdout if not status else done.stderr


def control(daemon: Daemon, *words: str, status: int = 0) -> str:
    done = dockc("buildctl", "--addr", daemon.address, *words)
    assert done.returncode == status, done.stderr
    return done.stdout if not status else done.stderr


def test_a_daemon_s_space(tmp_path: Path, context: Path) -> None:
    (tmp_path / "config").write_text(
        '[worker.oci]\ngc = true\n[[worker.oci.gcpolicy]]\nkeepDuration = "48h"\nfilters = ["type==source.local"]\nkeepBytes = "512MB"\n'
        "[[worker.oci.gcpolicy]]\nall = true\nmaxUsedSpace = 25000000\n"
    )
    daemon = Daemon(tmp_path, "--config", str(tmp_path / "config"))
    try:
        for number in range(3):
            build(daemon, context, number)
        shown = control(daemon, "debug", "workers", "-v")
        assert shown.endswith(
            "GC Policy rule#0:\n\tAll:\t\tfalse\n\tFilters:\ttype==source.local\n\tKeep duration:\t48h0m0s\n\tReserved space:\t536.870912MB\n"
            "GC Policy rule#1:\n\tAll:\t\t\ttrue\n\tMaximum used space:\t25MB\n\n"
        )
        found = json.loads(control(daemon, "du", "--format", "{{json .}}"))
        assert found == sorted(found, key=lambda one: (one["size"], one["id"]))
        steps = [one for one in found if one["description"].startswith("mount / from exec")]
        assert len(steps) == 3
        assert all(one["usageCount"] == 1 and not one["inUse"] and one["parents"] for one in steps)
        known = [json.loads(line) for line in ask(daemon, "builder", "du", "--json").splitlines()]
        assert {one["id"] for one in known} == {one["id"] for one in found}
        assert ask(daemon, "builder", "du", "--filter", "until=1h", "--format", "{{.ID}}") == "", "all were used just now"
        assert ask(daemon, "builder", "du").splitlines()[-1].startswith("Total:")
        for words, said in [(("du", "--filter", "colour==red"), "unknown filter"), (("prune", "--filter", "id~=("), "no regular expression")]:
            assert said in control(daemon, *words, status=1)
        assert control(daemon, "prune", "--keep-duration", "1h") == "Total:\t0B\n"
        assert control(daemon, "prune", "--keep-storage", "1000", "--free-storage", "0.001", "--keep-storage-min", "1") == "Total:\t0B\n"
        one = control(daemon, "prune", "--filter", f"id=={steps[0]['id']}")
        assert one.splitlines()[0] == "ID\t\t\t\t\t\t\t\t\tRECLAIMABLE\tSIZE\t\tLAST ACCESSED"
        assert one.splitlines()[1].startswith(f"{steps[0]['id']:<71}\ttrue       \t")
        assert len(control(daemon, "prune", "--filter", f"id=={steps[1]['id']}", "-v").splitlines()) == 13
    finally:
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()


def test_a_daemon_collects_by_itself(tmp_path: Path, context: Path) -> None:
    (tmp_path / "config").write_text("[[worker.oci.gcpolicy]]\nall = true\nmaxUsedSpace = 3000000\n")
    def size(daemon: Daemon) -> int:
        return sum(one["size"] for one in json.loads(control(daemon, "du", "--format", "json")) or [])

    sizes: list[int] = []
    for more in (("--config", str(tmp_path / "config"), "--oci-worker-gc=false"), ("--config", str(tmp_path / "config"))):
        for what in ("s", "log"):
            (tmp_path / what).unlink(missing_ok=True)
        daemon = Daemon(tmp_path, *more)
        try:
            build(daemon, context, len(sizes), *(() if sizes else ("-o", "type=cacheonly")))
            build(daemon, context, 10 + len(sizes))
        finally:
            assert daemon.stop() == 0  # which looks at the store, as it is looked at each minute while builds come
        daemon = Daemon(tmp_path, "--oci-worker-gc=false")
        try:
            sizes.append(size(daemon))
            if len(sizes) == 2:
                assert "CACHED" in build(daemon, context, 11), "what was used last is here"
        finally:
            daemon.stop()
    assert sizes[0] > 3_000_000 >= sizes[1]
    for what in ("s", "log"):
        (tmp_path / what).unlink(missing_ok=True)
    (tmp_path / "config").write_text("[[worker.oci.gcpolicy]]\nall = true\nmaxUsedSpace = 1\n")
    daemon = Daemon(tmp_path, "--config", str(tmp_path / "config"))
    try:
        until(lambda: size(daemon) == 0)  # also what the last rules have left
    finally:
        daemon.stop()


def test_images_of_a_daemon_go_with_everything(tmp_path: Path, context: Path) -> None:
    daemon = Daemon(tmp_path)
    try:
        build(daemon, context, 1, "-o", "type=image,name=example.com/x:1", "--frontend=dockerfile.v0")
        found = json.loads(control(daemon, "du", "--format", "json"))
        assert any(one["shared"] for one in found)
        assert "Shared:" in control(daemon, "du")
        copies = tmp_path / "root/contexts"
        assert list(copies.iterdir())
        control(daemon, "prune", "--filter", "type==source.local", "--keep-duration", "1h")
        assert list(copies.iterdir())
        control(daemon, "prune", "--filter", "type==source.local")
        assert not list(copies.iterdir())
        control(daemon, "prune")
        left = json.loads(control(daemon, "du", "--format", "json"))
        assert left and all(one["shared"] for one in left)
        control(daemon, "prune", "--all")
        assert json.loads(control(daemon, "du", "--format", "json")) is None  # as buildctl has it
        assert list((tmp_path / "root/store/content/blobs/sha256").iterdir()) == []
        assert list((tmp_path / "root/store/content/images").glob("[0-9a-f]*")) == []
    finally:
        assert daemon.stop() == 0


BUILDCTL = shutil.which("buildctl")


@pytest.mark.skipif(BUILDCTL is None, reason="buildctl is not installed")
def test_buildctl_says_the_same(tmp_path: Path, context: Path) -> None:
    assert BUILDCTL is not None
    daemon = Daemon(tmp_path)
    try:
        build(daemon, context, 1)
        for words in (
            ["du"], ["du", "-v"], ["du", "-v", "-f", "type==source.local"], ["du", "--format", "{{json .}}"], ["debug", "workers"],
            ["du", "--format", "{{range .}}{{.ID}} {{.Parents}} {{.CreatedAt}} {{.LastUsedAt}} {{.Shared}}{{end}}"], ["debug", "workers", "-v"],
            ["debug", "workers", "--format", "{{json .}}"], ["prune", "--keep-storage", "1000"], ["prune", "--all", "--keep-duration", "1h"],
        ):  # fmt: skip
            theirs = subprocess.run([BUILDCTL, "--addr", daemon.address, *words], capture_output=True, text=True, check=True)
            assert control(daemon, *words) == theirs.stdout, words
    finally:
        daemon.stop()


def test_copies_of_directories_that_nobody_can_ask_for_again_go(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    with mirrors.locked("session:context", "session") as one, mirrors.locked("key:context") as kept:
        (one / "f").touch()
        (kept / "f").touch()
        mirrors.drop("session")
        assert (one / "f").exists(), "it is read"
    assert sorted(path.name for path in tmp_path.iterdir()) == [kept.name, f"{kept.name}.json"]
    mirrors.drop("session")
    mirrors.drop("nobody")
    with mirrors.locked("session:context", "session") as one:
        assert list(one.iterdir()) == []


def test_copies_are_counted_and_collected_with_the_store(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path / "contexts")
    with RefManager(tmp_path / "store") as refs:
        refs.host(mirrors)
        _counted(tmp_path, mirrors, refs)


def _counted(tmp_path: Path, mirrors: Mirrors, refs: RefManager) -> None:
    for key, size in (("old", 1 << 20), ("new", 1 << 20), ("busy", 1 << 20)):
        with mirrors.locked(key, what=key) as copy:
            (copy / "f").write_bytes(b"x" * size)
    with mirrors.locked("new", what="new"):
        pass
    whole = refs.census()
    assert whole.total >= 3 << 20
    assert {one.description: one.usage_count for one in whole.records} == {
        "local source for old": 1, "local source for new": 2, "local source for busy": 1,
    }  # fmt: skip
    assert {(one.record_type, one.mutable, one.in_use) for one in refs.usage()} == {(RecordType.LOCAL_SOURCE, True, False)}
    again = Mirrors(tmp_path / "contexts")  # another daemon knows them, too
    assert {name: item.usage for name, item in again.items().items()} == {one.id: one for one in refs.usage()}
    rule = Rule(filters=("type==source.local",), max_used_space=5 << 19)
    with mirrors.locked("busy", what="busy"):
        assert {one.description for one in refs.usage() if one.in_use} == {"local source for busy"}
        assert [(one.description, one.size >= 1 << 20) for one in refs.collect([rule]).records] == [("local source for old", True)]
        assert [one.description for one in refs.prune().records] == ["local source for new"]
    assert [one.description for one in refs.usage()] == ["local source for busy"]
    assert len(refs.prune([Rule(keep_duration=3600 * 10**9)]).records) == 0
    refs.prune()
    assert list((tmp_path / "contexts").iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"what": 1}', '{"what": "x", "created": "y", "last": 1, "count": 1}'])
def test_a_copy_of_which_nothing_is_known_is_counted(tmp_path: Path, text: str) -> None:
    mirrors = Mirrors(tmp_path)
    with mirrors.locked("key") as copy:
        (copy / "f").touch()
    (tmp_path / f"{copy.name}.json").write_text(text)
    (found,) = Mirrors(tmp_path).items().values()
    assert (found.usage.description, found.usage.usage_count) == ("local source", 0)
    assert found.usage.created_at > 0


def test_a_copy_that_somebody_has_is_not_waited_for(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    with mirrors.unless_busy("peer:context") as one:
        assert one is not None
        (one / "f").touch()
        with mirrors.unless_busy("peer:context") as other:
            assert other is None
        with mirrors.unless_busy("peer:other") as other:
            assert other is not None
            assert other != one
    with mirrors.unless_busy("peer:context") as again:
        assert again == one
        assert [path.name for path in one.iterdir()] == ["f"]


def test_builds_of_one_directory_take_turns(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    order: list[str] = []
    cancelled = threading.Event()

    def wait(name: str, given_up: threading.Event | None) -> None:
        try:
            with mirrors.turn("key", given_up):
                order.append(name)
        except Cancelled:
            order.append(f"{name} has gone")

    threads = [threading.Thread(target=wait, args=(name, event)) for name, event in (("second", None), ("third", cancelled))]
    with mirrors.turn("key"):
        for thread in threads:
            thread.start()
        with mirrors.turn("other"), mirrors.turn("key", patient=False):
            order.append("impatient")
        cancelled.set()
        threads[1].join()
        order.append("first")
    threads[0].join()
    assert order == ["impatient", "third has gone", "first", "second"]
    assert not mirrors._turns


@pytest.mark.skipif(BUILDCTL is None, reason="buildctl is not installed")
def test_a_client_without_a_key_sends_only_what_has_changed(tmp_path: Path, context: Path) -> None:
    assert BUILDCTL is not None
    other = tmp_path / "other"
    other.mkdir()
    for folder, text in ((context, "one"), (other, "two")):
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
        (folder / "large").write_bytes(os.urandom(3_000_000))
        (folder / "small").write_text(text)
    daemon = Daemon(tmp_path)
    try:

        def sent(folder: Path) -> str:
            words = ["build", "--frontend", "dockerfile.v0", "--local", f"context={folder}", "--local", f"dockerfile={folder}"]
            words += ["--output", f"type=local,dest={tmp_path}/out", "--progress=plain"]
            done = subprocess.run([BUILDCTL, "--addr", daemon.address, *words], check=True, capture_output=True, text=True)
            for name in ("large", "small"):
                assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
            return str(re.findall(r"transferring(?: context:)? (\S+)", done.stderr)[-1])

        assert sent(context).endswith("MB")
        assert sent(context).endswith("B")
        assert not sent(context).endswith(("kB", "MB"))
        (context / "small").write_text("changed")
        assert not sent(context).endswith("MB")
        assert sent(other).endswith("MB"), "another directory under the same name takes its place"
        until(lambda: not list((tmp_path / "root/contexts").iterdir()))  # nobody can ask for these copies again
    finally:
        assert daemon.stop() == 0
    assert "Traceback" not in daemon.said()


def test_blobs_go_to_a_client_several_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, sent = threading.Barrier(2), []

    async def write(_caller: object, store: str, digest: str, size: int, _content: object) -> None:
        await asyncio.to_thread(together.wait, 30)
        sent.append((store, digest, size))

    def wait(work: Coroutine[object, object, None], _cancelled: threading.Event | None = None) -> None:
        asyncio.run(work)

    monkeypatch.setattr(layouts, "_write", write)
    caller: Any = SimpleNamespace(serves=lambda _path: True, wait=wait)
    caches = layouts.Caches(caller, tmp_path)
    caches.write("cache", {f"sha256:{n}": n for n in range(4)}, ContentStore(tmp_path / "content"), cancelled=None)
    assert sorted(sent) == [("local:cache", f"sha256:{n}", n) for n in range(4)]


def test_turns_at_copies_take_no_memory_for_ever(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    for number in range(100):
        with mirrors.locked(f"key-{number}", "session" if number % 2 else ""):
            assert len(mirrors._locks) == 1
    with mirrors.unless_busy("key-0") as mine, mirrors.unless_busy("key-0") as another:
        assert (mine is None, another is None) == (False, True)
    mirrors.drop("session")
    assert len(mirrors._locks) == 0


def test_a_copy_goes_however_deep_its_files_lie(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    with mirrors.locked("key", "session") as copy:
        os.close(deepen(copy, 3000))
    assert len(mirrors.items()) == 1
    mirrors.drop("session")
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_ends_while_others_wait_lets_nobody_in_beside_them(tmp_path: Path) -> None:
    mirrors = Mirrors(tmp_path)
    inside: list[int] = []
    most: list[int] = []
    dropped = threading.Event()

    def work(number: int) -> None:
        for _ in range(20):
            with mirrors.locked("key", "session"):
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)

    def drop() -> None:
        while not dropped.wait(0.001):
            mirrors.drop("session")

    dropping = threading.Thread(target=drop)
    dropping.start()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    dropped.set()
    dropping.join()
    assert max(most) == 1
