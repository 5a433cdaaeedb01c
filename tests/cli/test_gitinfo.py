"""Labels and facts out of the repository that a context lies in."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dockc.commands.gitinfo import git_attrs

REVISION, SOURCE = "label:org.opencontainers.image.revision", "label:org.opencontainers.image.source"
ENTRYPOINT = "label:com.docker.image.source.entrypoint"


def git(folder: Path, *words: str) -> str:
    named = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *named, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    folder = tmp_path / "repo"
    (folder / "app").mkdir(parents=True)
    (folder / "app" / "Dockerfile").write_text("FROM scratch\n")
    git(folder, "init", "-q")
    return folder


@pytest.fixture
def ask(repo: Path) -> Callable[..., dict[str, str]]:
    said: list[str] = []

    def told(context: Path = repo / "app", file: str = "", *, facts: bool = False, **variables: str) -> dict[str, str]:
        environ = {"PATH": os.environ["PATH"], "HOME": str(repo), **{f"BUILDX_GIT_{k}": v for k, v in variables.items()}}
        found = git_attrs(str(context), file, environ, said.append, facts=facts)
        assert said == []
        return found

    return told


def test_labels(repo: Path, ask: Callable[..., dict[str, str]]) -> None:
    assert ask() == ask(LABELS="0") == ask(LABELS="nonsense") == {}
    assert ask(LABELS="1") == {ENTRYPOINT: "app/Dockerfile"}, "no commit yet, and no remote"
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "1")
    commit = git(repo, "rev-parse", "HEAD")
    assert ask(LABELS="full") == {REVISION: commit, ENTRYPOINT: "app/Dockerfile"}
    git(repo, "remote", "add", "upstream", "https://u:secret@example.org/up.git")
    assert ask(LABELS="true")[SOURCE] == "https://xxxxx:xxxxx@example.org/up.git"
    git(repo, "remote", "add", "origin", "git@example.org:a/b.git")
    assert ask(LABELS="true")[SOURCE] == "git@example.org:a/b.git"
    (repo / "new").touch()
    assert ask(LABELS="1")[REVISION] == commit
    assert ask(LABELS="1", CHECK_DIRTY="1")[REVISION] == f"{commit}-dirty"
    assert ask(repo, str(repo / "app/Dockerfile"), LABELS="1")[ENTRYPOINT] == "app/Dockerfile"
    assert ENTRYPOINT not in ask(repo, "/etc/passwd", LABELS="1"), "outside of the repository"
    assert ENTRYPOINT not in ask(repo, "-", LABELS="1")


def test_facts(repo: Path, ask: Callable[..., dict[str, str]]) -> None:
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "1")
    commit = git(repo, "rev-parse", "HEAD")
    assert ask(facts=True) == {"vcs:revision": commit, "vcs:localdir:context": "app", "vcs:localdir:dockerfile": "app"}
    assert ask(facts=True, INFO="false") == {}
    assert set(ask(facts=True, LABELS="1")) == {*ask(facts=True), *ask(LABELS="1")}


def test_no_repository_and_a_broken_one(tmp_path: Path, repo: Path) -> None:
    said: list[str] = []
    environ = {"PATH": os.environ["PATH"], "BUILDX_GIT_LABELS": "1"}
    assert git_attrs(str(tmp_path), "", environ, said.append, facts=False) == {}
    assert git_attrs("https://example.org/x.git", "", environ, said.append, facts=False) == {}
    assert said == []
    (repo / ".git" / "HEAD").unlink()
    assert git_attrs(str(repo), "", environ, said.append, facts=False) == {}
    assert git_attrs(str(repo), "", environ | {"PATH": str(tmp_path)}, said.append, facts=False) == {}
    assert [one.startswith("warning: what git knows of the context is not in the build: ") for one in said] == [True, True]
    assert "git is not installed" in said[1]


def test_nothing_that_a_repository_names_is_run(repo: Path, ask: Callable[..., dict[str, str]]) -> None:
    spy = repo / "spy"
    spy.write_text(f"#!/bin/sh\ntouch {repo}/ran\n")
    spy.chmod(0o755)
    git(repo, "add", ".")
    git(repo, "commit", "-qm", "1")
    git(repo, "config", "core.fsmonitor", str(spy))
    git(repo, "config", "log.showSignature", "true")
    assert REVISION in ask(LABELS="1", CHECK_DIRTY="1")
    assert not (repo / "ran").exists()
