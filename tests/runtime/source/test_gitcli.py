"""What git says may come from a server that never ends: it is bounded, and whoever gives up is not kept waiting."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from dockc.runtime.cancel import Cancelled
from dockc.runtime.source import gitcli
from dockc.runtime.source.gitcli import Git, GitError


def git(folder: Path, script: str, cancelled: threading.Event | None = None) -> Git:
    """A program of that name that does what a script says."""
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Git((("PATH", f"{folder}:/usr/bin:/bin"),), cancelled=cancelled)


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_an_answer_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gitcli, "_MOST", 1 << 20)
    with pytest.raises(GitError, match="git said more than 1048576 bytes"):
        git(tmp_path, "exec yes").run("ls-remote")
    assert git(tmp_path, "head -c 1048576 /dev/zero").run("ls-remote") == bytes(1 << 20)


def test_of_errors_without_end_the_last_ones_are_told(tmp_path: Path) -> None:
    said: list[bytes] = []
    one = git(tmp_path, "head -c 9000000 /dev/zero >&2; echo fatal: no >&2; exit 3")
    with pytest.raises(GitError, match="exit status 3") as caught:
        Git(one.environ, log=said.append).run("fetch")
    assert caught.value.stderr.endswith("fatal: no\n")
    assert len(caught.value.stderr) == sum(map(len, said)) == gitcli._KEPT


@pytest.mark.parametrize("script", ["exec yes >&2", "exec sleep 1000", "exec >&- 2>&-; exec sleep 1000", "sleep 1000 & exec yes >&2"])
def test_who_gives_up_is_not_kept_waiting(tmp_path: Path, script: str) -> None:
    cancelled = threading.Event()
    timer = threading.Timer(0.5, cancelled.set)
    timer.start()
    with pytest.raises(Cancelled):
        git(tmp_path, script, cancelled).run("fetch")
    timer.join()


def test_both_channels_come_whole(tmp_path: Path) -> None:
    said: list[bytes] = []
    one = git(tmp_path, "head -c 300000 /dev/zero >&2 & head -c 300000 /dev/zero; wait")
    assert len(Git(one.environ, log=said.append).run("x")) == 300_000
    assert sum(map(len, said)) == 300_000
