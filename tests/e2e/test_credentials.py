"""What a URL carries to log in is shown nowhere: not in progress, errors, histories, the store, lock files or command lines."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dockc.errors import DockcError, without_credentials
from tests.e2e.conftest import Dockc, MakeContext

PASSWORD, TOKEN = "hunter2-pw", "tok-5EcReT"
SECRETS = (PASSWORD.encode(), TOKEN.encode())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://u:p@h/x", "https://xxxxx:xxxxx@h/x"),
        ("https://u:p@ss@h/x", "https://xxxxx:xxxxx@h/x"),
        ("https://token@h:1/p", "https://xxxxx@h:1/p"),
        ("https://:p@h", "https://:xxxxx@h"),
        ("https://ghp_token:x-oauth-basic@h", "https://xxxxx:xxxxx@h"),
        ("HTTPS://token:@h", "HTTPS://xxxxx:xxxxx@h"),
        ("ssh://git@h/x", "ssh://git@h/x"),
        ("ssh://git:p@h/x", "ssh://git:xxxxx@h/x"),
        ("git@h:x", "git@h:x"),
        ("fatal: 'http://u:p@h/x' and \"http://v:q@i/y\"", "fatal: 'http://xxxxx:xxxxx@h/x' and \"http://xxxxx:xxxxx@i/y\""),
        ("https://h/x?a=1&access_token=abc&b=2#f", "https://h/x?a=1&access_token=xxxxx&b=2#f"),
        ("https://h/x?X-Amz-Signature=abc&sig=d", "https://h/x?X-Amz-Signature=xxxxx&sig=xxxxx"),
        ("https://h/a@b?monkey=1", "https://h/a@b?monkey=1"),
        ("docker-image://h/a@sha256:12", "docker-image://h/a@sha256:12"),
        ("a=b and c@d", "a=b and c@d"),
    ],
)
def test_texts_for_people(text: str, shown: str) -> None:
    assert without_credentials(text) == shown
    assert DockcError(text, hint=text).message == shown
    assert without_credentials(shown) == shown
    assert len(without_credentials(text, same_width=True)) == len(text)


def test_what_is_too_short_for_a_token_may_stay() -> None:
    text = "ADD https://h/q.zip?sig=a%20b&x=1 https://u:p@h/x?token=0123456789 /q/"
    shown = "ADD https://h/q.zip?sig=a%20b&x=1 https://xxxxx:xxxxx@h/x?token=xxxxx /q/"
    assert without_credentials(text, shortest=8) == shown


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server that wants a password, with a git repository and a file; gives its host and port."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    top = tmp_path / "served"
    work = tmp_path / "work"
    work.mkdir()
    (work / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /there\n")
    environ = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.example"}
    environ |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.example"}
    for command in (
        ["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "one"], ["clone", "-q", "--bare", ".", str(top / "r.git")],
        ["--git-dir", str(top / "r.git"), "update-server-info"],
    ):  # fmt: skip
        subprocess.run(["git", *command], cwd=work, env=environ, check=True)
    (top / "file").write_text("content")
    wanted = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(top))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != wanted and TOKEN not in self.path:
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="x"')
                self.end_headers()
                return
            super().do_GET()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            return

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever)
    thread.start()
    yield f"127.0.0.1:{listening.server_port}"
    listening.shutdown()
    thread.join()
    listening.server_close()


def _hidden(*places: Path | str) -> None:
    for place in places:
        if isinstance(place, str):
            assert not [one for one in SECRETS if one in place.encode()], place
            continue
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file() and not path.is_symlink():
                data = path.read_bytes()
                assert not [one for one in SECRETS if one in data], path


def test_a_build_tells_nobody(root: Dockc, context: MakeContext, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spy = tmp_path / "spy"
    spy.mkdir()
    (spy / "git").write_text(f'#!/bin/sh\necho "$@" >> {spy}/lines\nexec {shutil.which("git")} "$@"\n')
    (spy / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy}:{os.environ['PATH']}")
    with_password = f"http://user:{PASSWORD}@{server}"
    folder = context(
        "FROM scratch\n"
        f"ADD --keep-git-dir {with_password}/r.git#main /git\n"
        f"ADD http://{server}/file?token={TOKEN} /file\n"
    )
    for progress in ("plain", "rawjson"):
        done = root.run("build", folder, f"--progress={progress}", "--no-cache", "-t", "x", "-o", f"type=oci,dest={tmp_path}/out.tar")
        assert "xxxxx" in done.stderr + done.stdout
        _hidden(done.stdout, done.stderr)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-xf", tmp_path / "out.tar", "-C", tmp_path / "out"], check=True)
    _hidden(tmp_path / "out", root.store)
    for words in (["du", "--verbose"], ["explain", "--last"], ["lock", folder, "--output", str(tmp_path / "lock.json")]):
        done = root.run(*words, status=None)
        _hidden(done.stdout, done.stderr)
    done = root.run("build", with_password + "/r.git#main", "--progress=plain")
    _hidden(done.stdout, done.stderr)
    _hidden(spy / "lines", root.store)
    assert "ls-remote" in (spy / "lines").read_text()


def test_a_lock_file_does_not_tell_and_holds(root: Dockc, context: MakeContext, server: str, tmp_path: Path) -> None:
    folder = context(f"FROM scratch\nADD http://{server}/file?token={TOKEN} /file\nADD http://user:{PASSWORD}@{server}/r.git#main /git\n")
    lock, policy = tmp_path / "lock.json", tmp_path / "policy.json"
    root.run("lock", folder, "--output", lock)
    root.run("lock", folder, "--output", tmp_path / "lock.json", "--policy", policy)
    assert "xxxxx" in lock.read_text()
    _hidden(lock, policy)
    shown = root.build(folder, "--locked", lock)
    _hidden(shown)


@pytest.mark.parametrize(
    "line",
    [
        "ADD http://user:{PASSWORD}x@{server}/r.git#main /git",
        "ADD http://user:{PASSWORD}@{server}/r.git#nothing /git",
        "ADD http://user:{PASSWORD}@{server}/other.git /git",
        "ADD http://user:{PASSWORD}@{server}/missing /x",
        "ADD http://{server}/missing?token={TOKEN} /x",
        "ADD http://user:{PASSWORD}@127.0.0.1:1/r.git /x",
        "ADD --checksum=sha256:" + "0" * 64 + " http://{server}/file?token={TOKEN} /x",
        "ADD http://user:{PASSWORD}@[bad/r.git /x",
        "FROM http://user:{PASSWORD}@{server}/r.git",
        "COPY --from=http://user:{PASSWORD}@{server}/r.git . /x",
        "ADD --unknown http://user:{PASSWORD}@{server}/r.git /x",
    ],
)
def test_a_failure_tells_nobody(root: Dockc, context: MakeContext, server: str, line: str) -> None:
    line = line.format(PASSWORD=PASSWORD, TOKEN=TOKEN, server=server)
    words = ["--progress=plain"] if "r.git" in line else ["--progress=rawjson"]
    done = root.run("build", context(f"FROM scratch\n{line}\n"), *words, status=None)
    assert done.returncode, done
    _hidden(done.stdout, done.stderr)
    _hidden(root.store)


def test_a_check_tells_nobody(root: Dockc, context: MakeContext) -> None:
    done = root.run("build", context(f"FROM http://user:{PASSWORD}@host/r.git\n"), "--check", status=None)
    assert "xxxxx" in done.stdout
    _hidden(done.stdout, done.stderr)


@pytest.mark.parametrize(
    "words", [(":2",), (":2", "--format=json"), ("", "--plan"), ("", "--graph"), ("", "--graph", "--format=dot"), ("", "--graph", "--format=html")]
)
def test_an_explanation_tells_nobody(root: Dockc, context: MakeContext, words: tuple[str, ...]) -> None:
    folder = context(f"FROM scratch\nADD http://{TOKEN}:{PASSWORD}@127.0.0.1:1/x.tar /\n")
    done = root.run("explain", f"{folder}/Dockerfile{words[0]}", *words[1:])
    assert "xxxxx" in done.stdout
    _hidden(done.stdout, done.stderr)
