"""Git sources against a real git daemon and a web server with authorization."""

from __future__ import annotations

import base64
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.errors import DockcError, SolveError
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.session.secrets import SECRETS
from dockc.runtime.source.found import FoundGit
from dockc.runtime.source.git import GitSource, find_commit
from dockc.runtime.source.gitid import GitOptions, parse_options
from dockc.runtime.source.memory import Memory
from dockc.runtime.source.seen import Seen as AlreadySeen
from tests.runtime.registry_servers import Answer, Script, Seen, free_port, need
from tests.runtime.source.conftest import Context, Secrets, files_of

ENV = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@b",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@b",
    "GIT_COMMITTER_DATE": "1700000000 +0000",
    "GIT_AUTHOR_DATE": "1700000000 +0000",
}


class Repository:
    """A repository being written by the test."""

    def __init__(self, path: Path, *init: str) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("-c", "init.defaultBranch=main", "init", "-q", *init)

    def git(self, *args: str) -> str:
        run = subprocess.run(
            ["git", *args], cwd=self.path, env={**os.environ, **ENV}, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        return run.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, text in files.items():
            path = self.path / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "change")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """Serves all repositories below `tmp_path/repos`; yields `git://host:port`."""
    git = need("git")
    base = tmp_path / "repos"
    base.mkdir()
    port = free_port()
    process = subprocess.Popen(
        [
            *(git, "daemon", "--reuseaddr", "--export-all", f"--base-path={base}", "--listen=127.0.0.1"),
            *(f"--port={port}", str(base)),
        ],
        stderr=subprocess.PIPE,
        env={**os.environ, "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"},
    )
    try:
        from tests.runtime.registry_servers import wait_for_port

        try:
            wait_for_port(port, process)
        except RuntimeError:
            pytest.skip("git daemon is not installed")
        yield f"git://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()
        time.sleep(0.05)


@pytest.fixture
def repo(daemon: str, tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repos" / "app")


def make(refs: RefManager, remote: str, fragment: str = "", **attributes: str) -> GitSource:
    named = {f"git.{key}": value for key, value in attributes.items()}
    identifier = f"git://{remote.partition('://')[2]}{fragment}"
    return GitSource(parse_options(identifier, {"git.fullurl": remote, **named}), refs, Memory(refs.root))


def checkout(refs: RefManager, ctx: Context, source: GitSource) -> dict[str, bytes]:
    source.key(ctx)
    with source.snapshot(ctx) as ref:
        return {name: data for name, data in files_of(refs, ref).items() if not name.startswith(".git/")}


def test_branches_tags_and_commits(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    first = repo.commit(a="1")
    repo.git("tag", "-a", "v1", "-m", "release")
    repo.git("tag", "light")
    second = repo.commit(a="2")
    repo.git("branch", "feature/x", first)
    url = f"{daemon}/app"
    assert checkout(refs, ctx, make(refs, url)) == {"a": b"2"}
    for fragment, text in (
        ("#main", b"2"),
        ("#refs/heads/main", b"2"),
        ("#v1", b"1"),
        ("#refs/tags/v1", b"1"),
        ("#light", b"1"),
        ("#feature/x", b"1"),
        (f"#{first}", b"1"),
        (f"#{second}", b"2"),
    ):
        assert checkout(refs, ctx, make(refs, url, fragment)) == {"a": text}, fragment
    tagged = make(refs, url, "#v1").key(ctx)
    assert tagged.key == first and tagged.pin == repo.git("rev-parse", "v1")
    assert make(refs, url, "#main").key(ctx).key == second


def test_moving_branch_and_tag(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    repo.commit(a="1")
    repo.git("tag", "t")
    url = f"{daemon}/app"
    assert checkout(refs, ctx, make(refs, url, "#main")) == {"a": b"1"}
    assert checkout(refs, ctx, make(refs, url, "#t")) == {"a": b"1"}
    repo.commit(a="2")
    repo.git("tag", "-f", "t")
    assert checkout(refs, ctx, make(refs, url, "#main")) == {"a": b"2"}
    assert checkout(refs, ctx, make(refs, url, "#t")) == {"a": b"2"}
    repo.git("branch", "dir")
    assert checkout(refs, ctx, make(refs, url, "#dir")) == {"a": b"2"}
    repo.git("branch", "-D", "dir")
    repo.git("branch", "dir/inner")
    assert checkout(refs, ctx, make(refs, url, "#dir/inner")) == {"a": b"2"}


def test_branch_that_moves_between_key_and_checkout(
    refs: RefManager, ctx: Context, daemon: str, repo: Repository
) -> None:
    repo.commit(a="1")
    source = make(refs, f"{daemon}/app", "#main")
    key = source.key(ctx)
    repo.commit(a="2")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    with source.snapshot(ctx) as ref:
        assert files_of(refs, ref) == {"a": b"1"}
    assert make(refs, f"{daemon}/app", "#main").key(ctx).key != key.key


def test_subdirectory(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    repo.commit(sub__inner__f="x", sub__g="y", top="z")
    (repo.path / "link").symlink_to("sub")
    repo.commit()
    url = f"{daemon}/app"
    assert checkout(refs, ctx, make(refs, url, "#main:sub")) == {"inner/f": b"x", "g": b"y"}
    assert checkout(refs, ctx, make(refs, url, "#:sub/inner")) == {"f": b"x"}
    for fragment, message in (
        ("#main:link/inner", 'invalid subdir link/inner: git subpath "link/inner" contains non-directory "link"'),
        ("#main:none", 'invalid subdir none: failed to lstat "none": statat none: no such file or directory'),
        ("#main:top", 'invalid subdir top: git subpath "top" contains non-directory "top"'),
    ):
        source = make(refs, url, fragment)
        with pytest.raises(SolveError) as caught:
            source.snapshot(ctx)
        assert caught.value.message == message
    assert make(refs, url, "#main:../../sub").options.subdir == "sub"


def test_git_directory(refs: RefManager, ctx: Context, daemon: str, repo: Repository, tmp_path: Path) -> None:
    commit = repo.commit(a="1")
    repo.git("tag", "-a", "v1", "-m", "release")
    url = f"{daemon}/app"
    for fragment in ("", "#main", "#v1", f"#{commit}"):
        plain = make(refs, url, fragment).key(ctx)
        source = make(refs, url, fragment, keepgitdir="true")
        assert source.key(ctx).key != plain.key
        with source.snapshot(ctx) as ref, ref.mount() as root:
            run = ["git", "-c", "safe.directory=*", "-C", str(root)]
            head = subprocess.run([*run, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
            assert head.stdout.strip() == commit
            origin = subprocess.run([*run, "remote", "get-url", "origin"], capture_output=True, text=True, check=True)
            assert origin.stdout.strip() == url
            tags = subprocess.run([*run, "tag"], capture_output=True, text=True, check=True).stdout
            assert ("v1" in tags.split()) == (fragment == "#v1")


def test_commit_times(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    repo.commit(a="1", d__b="2")
    with make(refs, f"{daemon}/app", mtime="commit").snapshot(ctx) as ref, ref.mount() as root:
        assert {path.stat().st_mtime for path in root.rglob("*")} == {1700000000.0}


def test_checksums(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    first = repo.commit(a="1")
    repo.git("tag", "-a", "v1", "-m", "release")
    repo.commit(a="2")
    url = f"{daemon}/app"
    tag = repo.git("rev-parse", "v1")
    for fragment, checksum in (("#v1", first[:12]), ("#v1", tag), (f"#{first}", first[:8])):
        assert checkout(refs, ctx, make(refs, url, fragment, checksum=checksum)) == {"a": b"1"}
    source = make(refs, url, "#main", checksum=first)
    with pytest.raises(SolveError, match=f"expected checksum to match {first}, got "):
        source.key(ctx)
    for fragment, checksum, message in (
        ("#main", "xyz", "invalid checksum xyz for Git URL, expected hex commit hash"),
        ("#-x", "", 'invalid git ref "-x"'),
    ):
        with pytest.raises(DockcError) as caught:
            make(refs, url, fragment, checksum=checksum)
        assert caught.value.message == message


def test_fetch_by_commit(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    first = repo.commit(a="1")
    repo.commit(a="2")
    repo.git("config", "uploadpack.allowAnySHA1InWant", "true")
    url = f"{daemon}/app"
    source = make(refs, url, "#main", checksum=first, fetchbycommit="true")
    assert checkout(refs, ctx, source) == {"a": b"1"}
    with pytest.raises(SolveError, match="fetch-by-commit requires a checksum or a commit SHA ref"):
        make(refs, url, "#main", fetchbycommit="true")


def test_submodules(refs: RefManager, ctx: Context, daemon: str, repo: Repository, tmp_path: Path) -> None:
    inner = Repository(tmp_path / "repos" / "lib")
    inner.commit(lib="inside")
    repo.commit(a="1")
    repo.git("submodule", "--quiet", "add", f"{daemon}/lib", "vendor")
    repo.commit()
    url = f"{daemon}/app"
    assert sorted(checkout(refs, ctx, make(refs, url))) == [".gitmodules", "a", "vendor/lib"]  # no file that names a path of the store
    kept = checkout(refs, ctx, make(refs, url, keepgitdir="true"))
    assert (kept["vendor/lib"], kept["vendor/.git"]) == (b"inside", b"gitdir: ../.git/modules/vendor\n")
    skipped = checkout(refs, ctx, make(refs, url, skipsubmodules="true"))
    assert "vendor/lib" not in skipped and skipped["a"] == b"1"


def _with_submodule(repo: Repository, path: str, url: str, commit: str) -> None:
    (repo.path / ".gitmodules").write_bytes(f'[submodule "sub"]\n\tpath = "{path}"\n\turl = {url}\n'.encode())
    repo.git("add", ".gitmodules")
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")


@pytest.mark.parametrize("nested", [False, True])
def test_a_submodule_s_path_that_ends_in_a_carriage_return_is_refused(
    refs: RefManager, ctx: Context, daemon: str, repo: Repository, tmp_path: Path, nested: bool
) -> None:
    """Old versions of git check one path for links and write to another (CVE-2025-48384)."""
    victim, ran = tmp_path / "victim", tmp_path / "ran"
    library = Repository(tmp_path / "repos" / "lib")
    (library.path / "post-checkout").write_text(f"#!/bin/sh\ntouch {ran}\n")
    (library.path / "post-checkout").chmod(0o755)
    inner = library.commit(x="1")
    evil = Repository(tmp_path / "repos" / "evil")
    evil.commit(y="2")
    (evil.path / "sub").symlink_to(victim)
    evil.git("add", "sub")
    _with_submodule(evil, "sub\r", f"{daemon}/lib", inner)
    evil.git("commit", "-qm", "evil")
    remote = f"{daemon}/evil"
    if nested:
        repo.commit(a="1")
        _with_submodule(repo, "vendor", f"{daemon}/evil", evil.git("rev-parse", "HEAD"))
        repo.git("commit", "-qm", "outer")
        remote = f"{daemon}/app"
    for keep in ("false", "true"):
        with pytest.raises(SolveError, match=r"control characters in \"submodule.sub.path\" = \"sub\\r\""):
            checkout(refs, ctx, make(refs, remote, "#main", keepgitdir=keep))
    assert not victim.exists()
    assert not ran.exists()


def test_submodules_of_submodules(refs: RefManager, ctx: Context, daemon: str, repo: Repository, tmp_path: Path) -> None:
    inner = Repository(tmp_path / "repos" / "inner")
    library = Repository(tmp_path / "repos" / "lib")
    library.commit(x="1")
    _with_submodule(library, "in ner", f"{daemon}/inner", inner.commit(deep="3"))
    library.git("commit", "-qm", "with")
    repo.commit(a="1")
    _with_submodule(repo, "lib", f"{daemon}/lib", library.git("rev-parse", "HEAD"))
    repo.git("commit", "-qm", "outer")
    for keep in ("false", "true"):
        found = checkout(refs, ctx, make(refs, f"{daemon}/app", "#main", keepgitdir=keep))
        assert found["lib/x"] == b"1"
        assert found["lib/in ner/deep"] == b"3"


def test_submodule_of_this_machine_is_refused(
    refs: RefManager, ctx: Context, daemon: str, repo: Repository, tmp_path: Path
) -> None:
    secret = Repository(tmp_path / "secret")
    secret.commit(key="private")
    repo.commit(a="1")
    repo.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f"file://{secret.path}", "stolen")
    repo.commit()
    source = make(refs, f"{daemon}/app")
    with pytest.raises(SolveError, match="failed to update submodules"):
        source.snapshot(ctx)


def test_sha256_repository(refs: RefManager, ctx: Context, daemon: str, tmp_path: Path) -> None:
    commit = Repository(tmp_path / "repos" / "big", "--object-format=sha256").commit(a="256")
    assert len(commit) == 64
    for attributes in ({}, {"keepgitdir": "true"}):
        assert checkout(refs, ctx, make(refs, f"{daemon}/big", **attributes)) == {"a": b"256"}


def test_failures(refs: RefManager, ctx: Context, daemon: str, repo: Repository) -> None:
    repo.commit(a="1")
    source = make(refs, f"{daemon}/app", "#nope")
    with pytest.raises(SolveError) as caught:
        source.key(ctx)
    assert caught.value.message == 'repository does not contain ref nope, output: ""'
    source = make(refs, f"{daemon}/none", "#x")
    with pytest.raises(SolveError, match=r"failed to fetch remote git://.*/none: git stderr:"):
        source.key(ctx)
    ctx.cancelled.set()
    with pytest.raises(SolveError, match="no place of a blob"):
        make(refs, f"{daemon}/app", bundle="x")


def test_authorization_header(refs: RefManager, ctx: Context, tmp_path: Path) -> None:
    """A plain web server with a bare repository, as git's dumb protocol reads it."""
    need("git")
    repo = Repository(tmp_path / "work")
    repo.commit(a="1")
    bare = tmp_path / "bare"
    repo.git("clone", "-q", "--bare", str(repo.path), str(bare))
    subprocess.run(["git", "--git-dir", str(bare), "update-server-info"], check=True)
    token = "basic " + base64.b64encode(b"x-access-token:s3cret").decode()

    def answer(seen: Seen) -> Answer:
        if seen.headers.get("authorization") != token:
            return Answer(401)
        path = bare / seen.path.removeprefix("/r/")
        return Answer(200, path.read_bytes()) if path.is_file() else Answer(404)

    with Script(answer) as server:
        url = f"{server.url}/r"
        source = make(refs, url, "#main", authtokensecret="GIT_AUTH_TOKEN")
        with pytest.raises(SolveError):
            source.key(ctx)
        ctx.values[SECRETS] = Secrets(**{f"GIT_AUTH_TOKEN.{server.address}": b"s3cret"})
        assert checkout(refs, ctx, make(refs, url, "#main", authtokensecret="GIT_AUTH_TOKEN")) == {"a": b"1"}
    assert not any(b"s3cret" in line for line in ctx.logs)


def test_passwords_are_not_shown() -> None:
    assert GitOptions("https://u:pw@h/p").shown == "https://xxxxx:xxxxx@h/p"
    assert GitOptions("https://token@h:1/p").shown == "https://xxxxx@h:1/p"
    assert GitOptions("git@h:p").shown == "git@h:p"


def test_the_compilers_question(daemon: str, repo: Repository) -> None:
    commit = repo.commit(a="1")
    url = f"{daemon}/app"
    found = find_commit(f"git://{url.partition('://')[2]}#main", {"git.fullurl": url}, Memory(repo.path))
    assert isinstance(found, FoundGit)
    assert found.commit == commit
    assert found.commit_object.startswith(b"tree ") and b"1700000000 +0000" in found.commit_object
    assert (found.ref, found.peeled, found.tag_object) == ("refs/heads/main", "", b"")
    repo.git("tag", "-a", "v1", "-m", "release")
    told = AlreadySeen()
    attributes = {"git.fullurl": url}
    found = find_commit(f"git://{url.partition('://')[2]}#v1", attributes, Memory(repo.path), seen=told)
    assert (found.ref, found.peeled) == ("refs/tags/v1", commit)
    assert found.commit != commit
    assert found.tag_object.startswith(b"object " + commit.encode())
    # Moved meanwhile, it is the same for the rest of the build.
    repo.commit(a="2")
    repo.git("tag", "-f", "-a", "v1", "-m", "again")
    again = find_commit(f"git://{url.partition('://')[2]}#v1", attributes, Memory(repo.path), seen=told)
    assert again.commit == found.commit
    keep = {**attributes, "git.keepgitdir": "true"}
    assert find_commit(f"git://{url.partition('://')[2]}#v1", keep, Memory(repo.path)).peeled == ""
