"""What the options of `dockc build` do, seen in what comes out."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import http.server
import io
import json
import os
import pty
import re
import struct
import subprocess
import tarfile
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import member
from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import need, real_registry


def steps(shown: str) -> str:
    return shown.strip().splitlines()[-1]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server on loopback and its directory."""
    root = tmp_path / "web"
    root.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", root
    server.shutdown()
    thread.join()
    server.server_close()


def read_oci(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Index and blobs of an OCI archive."""
    with tarfile.open(path) as archive:
        blobs = {
            "sha256:" + m.name.rpartition("/")[2]: member(archive, m) for m in archive if m.isreg() and m.name.startswith("blobs/")
        }
        return json.loads(member(archive, "index.json")), blobs


# --- platforms and outputs ------------------------------------------------------------------------------


def test_several_platforms_make_an_index(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    folder = context("FROM scratch\nARG TARGETARCH\nCOPY <<EOF /arch\n$TARGETARCH\nEOF\n")
    archive = tmp_path / "two.tar"
    root.build(folder, "--platform=linux/amd64,linux/arm64", "-t", "two:1", "-o", f"type=oci,dest={archive}", "-o", "type=image")
    index, blobs = read_oci(archive)
    inner = json.loads(blobs[index["manifests"][0]["digest"]])
    assert [one["platform"]["architecture"] for one in inner["manifests"]] == ["amd64", "arm64"]
    for one in inner["manifests"]:
        manifest = json.loads(blobs[one["digest"]])
        with tarfile.open(fileobj=io.BytesIO(blobs[manifest["layers"][0]["digest"]])) as layer:
            assert member(layer, "arch").decode().strip() == one["platform"]["architecture"]
    listed = json.loads(root.run("images", "--json").stdout)
    assert listed["platforms"] == ["linux/amd64", "linux/arm64"]
    root.build(folder, "--platform=linux/amd64,linux/arm64", "-o", f"type=local,dest={tmp_path / 'out'}")
    assert (tmp_path / "out" / "linux_arm64" / "arch").read_text() == "arm64\n"


def test_output_to_standard_output_and_to_a_directory(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY a /d/a\n", a="text")
    argv = root.argv("build", folder, "-o", "-", "--progress=quiet")
    piped = subprocess.run(argv, env=root.environ(), cwd=root.home, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(piped.stdout)) as archive:
        assert member(archive, "d/a") == b"text"
    root.build(folder, "-o", tmp_path / "plain")
    assert (tmp_path / "plain" / "d" / "a").read_text() == "text"
    argv = root.argv("build", folder, "-o", "type=oci", "--quiet")
    piped = subprocess.run(argv, env=root.environ(), cwd=root.home, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(piped.stdout)) as archive:
        assert "index.json" in archive.getnames()
    assert piped.stdout.endswith(b"\0"), "nothing follows the archive"


def test_wrong_options_are_refused_before_anything_runs(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM localhost:1/never-asked\n")
    for args, message in [
        (("--executor=foo",), "unknown executor foo\n  help: Choose one of auto, embedded"),
        (("--snapshotter=foo",), "unknown snapshotter 'foo'"),
        (("--secret=foo",), "invalid field 'foo' must be a key=value pair"),
        (("--secret=id=a,src=/none/such",), "/none/such"),
        (("--ssh=a=/none/such",), "/none/such"),
        (("--allow=everything",), "unknown entitlement everything\n  help: Known are network.host, security.insecure and device."),
        (("-o", "type=oci,dest=/"), "destination file / is a directory"),
        (("-t", "Bad Name"), "invalid reference format"),
        (("--push",), "name"),
    ]:
        ended = root.run("build", folder, "--progress=quiet", *args, status=None)
        assert ended.returncode in {1, 2}, args
        assert message in ended.stderr, (args, ended.stderr)
        assert "localhost:1" not in ended.stderr, args
    ended = root.run("build", context("FROM scratch\n"), "--progress=quiet", "--iidfile", "/none/such", status=2)
    assert "cannot write /none/such: no such directory" in ended.stderr


def test_source_date_epoch_makes_images_reproducible(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context("FROM base\nCOPY a /a\nRUN echo b > /b && mkdir /c\nLABEL d=e\n", a="text")
    digests, archives = [], []
    for number in (1, 2):
        other = type(root)(tmp_path / f"store{number}", root.home, root.prefix)
        (folder / "a").touch()
        archive = tmp_path / f"{number}.tar"
        shown = other.run(
            "build", folder, *with_base, "--quiet", "--build-arg", "SOURCE_DATE_EPOCH=1700000000",
            "-o", f"type=oci,rewrite-timestamp=true,dest={archive}",
        ).stdout  # fmt: skip
        digests.append(shown.strip())
        archives.append(archive.read_bytes())
        time.sleep(1.1 * (2 - number))
    assert digests[0] == digests[1]
    assert archives[0] == archives[1]
    index, blobs = read_oci(tmp_path / "1.tar")
    config = json.loads(blobs[json.loads(blobs[index["manifests"][0]["digest"]])["config"]["digest"]])
    assert config["created"] == "2023-11-14T22:13:20Z"


def test_push_to_a_registry_and_build_on_it(root: Dockc, context: MakeContext, with_base: tuple[str, str], registry: str, tmp_path: Path) -> None:
    folder = context("FROM base\nENV FROM_BASE=1\nONBUILD COPY a /triggered\nONBUILD RUN echo $FROM_BASE > /ran\n", a="text")
    root.build(folder, *with_base, "-t", f"{registry}/parent:1", "--push")
    (folder / "Dockerfile").write_text(f"FROM {registry}/parent:1\nRUN cat /triggered /ran > /both\n")
    root.build(folder, "-o", tmp_path / "out", "-t", "child")
    assert (tmp_path / "out" / "both").read_text() == "text1\n"
    # Locked to what the registry holds now, the build needs nobody: everything is in the store.
    root.run("lock", folder)
    assert "0 steps run" in root.build(folder, "--locked", folder / "Dockerfile.lock")
    (folder / "Dockerfile").write_text(f"FROM {registry}/other:1\n")
    shown = root.build(folder, "--locked", folder / "Dockerfile.lock", status=1)
    assert f"Dockerfile.lock has no entry for image {registry}/other:1" in shown
    assert "help: Bring the lock file up to date with `dockc lock`." in shown


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on loopback."""
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def test_a_locked_build_needs_no_network(
    root: Dockc,
    context: MakeContext,
    with_base: tuple[str, str],
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """The registry that the image came from is gone; what is in the store is enough."""
    make = registry.__wrapped__ if hasattr(registry, "__wrapped__") else registry._get_wrapped_function()
    serving = make(tmp_path_factory)
    address = next(serving)
    folder = context("FROM base\nRUN echo hi > /hi\n")
    root.build(folder, *with_base, "-t", f"{address}/app:1", "--push")
    (folder / "Dockerfile").write_text(f"FROM {address}/app:1\nRUN echo more > /more\n")
    root.run("lock", folder)
    root.build(folder, "--locked", folder / "Dockerfile.lock", "-o", "type=cacheonly")
    next(serving, None)  # ends the registry
    shown = root.build(folder, "--locked", folder / "Dockerfile.lock", "--no-cache", "-o", tmp_path / "out")
    assert "1 step run" in shown
    assert (tmp_path / "out" / "more").read_text() == "more\n"


def test_offline_is_what_this_machine_has(
    root: Dockc,
    context: MakeContext,
    with_base: tuple[str, str],
    web: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, served = web
    (served / "f").write_text("f")
    make_repository(served / "r.git", tmp_path / "work", file="one")
    root.build(context("FROM base\nRUN echo hi > /hi\n"), *with_base, "--offline", "-t", "made:1")
    folder = context("FROM made:1\nRUN cat /hi > /more\n")
    root.build(folder, "--offline", "-o", tmp_path / "out")
    assert (tmp_path / "out" / "more").read_text() == "hi\n"
    assert "RUN cat" in root.run("compile", folder, "--offline", "--emit=llb").stdout
    shown = root.build(context("FROM other:1\nRUN true\n"), "--offline", status=1)
    assert "registry-1.docker.io/v2/library/other/manifests/1: not asked, because of --offline" in shown
    for source, message in [(f"{url}/f", "/f: not asked, because of --offline"), (f"{url}/r.git#main", "/r.git: not asked, because of --offline")]:
        folder = context(f"FROM scratch\nADD {source} /x\n")
        assert message in root.build(folder, "--offline", status=1)
    root.run("build", "-", "--offline", "-o", tmp_path / "stdin", input="FROM scratch\nCOPY <<EOF /a\nhi\nEOF\n")
    assert (tmp_path / "stdin" / "a").read_text() == "hi\n"


# --- what steps get -------------------------------------------------------------------------------------


def test_secrets(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_ENV", "from env")
    (tmp_path / "s").write_text("from file")
    (tmp_path / "s").chmod(0o644)
    folder = context(
        "FROM base\n"
        "RUN --mount=type=secret,id=f cat /run/secrets/f > /f && stat -c '%a %u %g' /run/secrets/f > /mode\n"
        "RUN --mount=type=secret,id=OF_ENV,env=SEEN echo $SEEN > /e\n"
        "RUN --mount=type=secret,id=none cat /run/secrets/none 2> /dev/null || echo absent > /n\n"
    )
    shown = dockc.build(folder, *with_base, "--secret", f"id=f,src={tmp_path / 's'}", "--secret", "id=OF_ENV", "-o", tmp_path / "out")
    out = tmp_path / "out"
    assert [(out / name).read_text() for name in ("f", "e", "n", "mode")] == ["from file", "from env\n", "absent\n", "400 0 0\n"]
    assert not (out / "run" / "secrets" / "f").exists()
    assert "from file" not in shown
    (folder / "Dockerfile").write_text("FROM base\nRUN --mount=type=secret,id=x,required cat /run/secrets/x\n")
    assert "secret x: not found" in dockc.build(folder, *with_base, status=1)
    assert "error:" in dockc.build(folder, *with_base, "--secret", f"id=f,src={tmp_path / 'none'}", status=None)


def test_ssh(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context("FROM base\nRUN --mount=type=ssh,required echo $SSH_AUTH_SOCK\n")
    shown = root.build(folder, *with_base, status=1)
    assert 'no SSH key "" forwarded from the client' in shown
    agent = need("ssh-agent")
    process = subprocess.Popen([agent, "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "agent").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        shown = root.build(folder, *with_base, "--ssh", f"default={tmp_path / 'agent'}")
        assert "/run/buildkit/ssh_agent.0" in shown
    finally:
        process.terminate()
        process.wait(60)


def test_network_and_hosts(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context("FROM base\nRUN cat /etc/hosts > /hosts && ls /sys/class/net > /net\n")
    dockc.build(folder, *with_base, "--network=none", "--add-host", "one:10.0.0.1", "--add-host", "two=10.0.0.2", "-o", tmp_path / "out")
    hosts = (tmp_path / "out" / "hosts").read_text()
    assert re.search(r"^10\.0\.0\.1\s+one$", hosts, re.M)
    assert re.search(r"^10\.0\.0\.2\s+two$", hosts, re.M)
    assert (tmp_path / "out" / "net").read_text().split() == ["lo"]
    (folder / "Dockerfile").write_text("FROM base\nRUN --network=host true\n")
    refused = dockc.build(folder, *with_base, status=None)
    assert "network.host is not allowed" in refused
    dockc.build(folder, *with_base, "--allow", "network.host", "-o", "type=cacheonly")
    assert "invalid" in dockc.build(folder, *with_base, "--network=strange", status=None)


def test_cache_mounts_are_shared_between_builds(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    text = "FROM base\nARG N\nRUN --mount=type=cache,target=/c touch /c/$N && ls /c > /seen\n"
    folder = context(text)
    for number in ("1", "2"):
        dockc.build(folder, *with_base, "--build-arg", f"N={number}", "-o", tmp_path / number)
    assert (tmp_path / "2" / "seen").read_text() == "1\n2\n"
    assert not any((tmp_path / "2" / "c").iterdir()) if (tmp_path / "2" / "c").exists() else True
    assert "exec.cachemount" in dockc.run("du", "--filter", "type==exec.cachemount").stdout


def test_no_cache_and_its_filter(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context(
        "FROM base AS one\nRUN cat /proc/sys/kernel/random/uuid > /u\nFROM base AS two\nRUN cat  /proc/sys/kernel/random/uuid > /v\n"
        "FROM scratch\nCOPY --from=one /u /u\nCOPY --from=two /v /v\n"
    )

    def ran(*args: object) -> set[str]:
        """The stages whose RUN was run."""
        shown = root.build(folder, *with_base, *args, "-o", root.home / "out").splitlines()
        numbers = {line.split()[0]: line.split("[")[1].split()[0] for line in shown if "RUN cat" in line}
        return {name for number, name in numbers.items() if f"{number} CACHED" not in shown}

    def ids() -> tuple[str, str]:
        return (root.home / "out" / "u").read_text(), (root.home / "out" / "v").read_text()

    assert ran() == {"one", "two"}
    first = ids()
    assert ran() == set()
    assert ran("--no-cache-filter=one") == {"one"}
    assert ran("--no-cache-filter", "TWO", "--no-cache-filter", "one") == {"one", "two"}
    assert ran("--no-cache") == {"one", "two"}
    assert not set(ids()) & set(first)


# --- contexts -------------------------------------------------------------------------------------------


def test_the_dockerfiles_own_ignore_file_wins(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY . /\n", a="a", b="b", c="c")
    (folder / ".dockerignore").write_text("a\nDockerfile*\n.docker*\n")
    root.build(folder, "-o", tmp_path / "one")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["b", "c"]
    (folder / "Dockerfile.dockerignore").write_text("b\nDockerfile*\n.docker*\n")
    root.build(folder, "-o", tmp_path / "two")
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["a", "c"]
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY b /\n")
    assert '"/b": not found' in root.build(folder, status=1)


def test_named_directories_lower_case_dockerfile_and_standard_input(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    folder = context("FROM scratch\nCOPY --from=more x /x\nCOPY a /a\n", a="a")
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "x").write_text("x")
    (folder / "Dockerfile").rename(folder / "dockerfile")
    root.build(folder, "--build-context", f"more={tmp_path / 'more'}", "-o", tmp_path / "out")
    assert ((tmp_path / "out" / "x").read_text(), (tmp_path / "out" / "a").read_text()) == ("x", "a")
    root.run("build", folder, "-f", "-", "-o", tmp_path / "stdin", input="FROM scratch\nCOPY a /b\n")
    assert (tmp_path / "stdin" / "b").read_text() == "a"


def make_repository(root: Path, work: Path, **files: str) -> str:
    """A bare repository that a plain web server can serve; its commit."""
    git = need("git")
    environ = os.environ | dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "a")

    def call(*args: object) -> str:
        return subprocess.run([git, *map(str, args)], check=True, capture_output=True, text=True, env=environ).stdout.strip()

    call("init", "-q", "-b", "main", work)
    for name, text in files.items():
        path = work / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    call("-C", work, "add", ".")
    call("-C", work, "commit", "-q", "-m", "all")
    call("clone", "-q", "--bare", work, root)
    call("-C", root, "update-server-info")
    return call("-C", work, "rev-parse", "HEAD")


def test_git_and_urls_as_sources(root: Dockc, context: MakeContext, web: tuple[str, Path], tmp_path: Path) -> None:
    url, served = web
    sha = make_repository(served / "r.git", tmp_path / "work", file="one", sub__f="two")
    (served / "plain").write_bytes(b"plain\n")
    with tarfile.open(served / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("inside")
        info.size = 2
        archive.addfile(info, io.BytesIO(b"hi"))
    good = hashlib.sha256(b"plain\n").hexdigest()
    folder = context(
        f"FROM scratch\nADD {url}/r.git#main /repo\nADD {url}/r.git#main:sub /sub\nADD --keep-git-dir {url}/r.git#{sha} /kept\n"
        f"ADD --checksum=sha256:{good} {url}/plain /plain\nADD --unpack {url}/a.tar.gz /un/\n"
    )
    root.build(folder, "-o", tmp_path / "out")
    out = tmp_path / "out"
    assert (out / "repo" / "file").read_text() == "one"
    assert (out / "sub" / "f").read_text() == "two"
    assert (out / "kept" / ".git").is_dir()
    assert not (out / "repo" / ".git").exists()
    assert (out / "plain").read_bytes() == b"plain\n"
    assert (out / "un" / "inside").read_text() == "hi"
    (folder / "Dockerfile").write_text(f"FROM scratch\nADD --checksum=sha256:{'0' * 64} {url}/plain /plain\n")
    shown = root.build(folder, status=1)
    assert f"digest mismatch sha256:{good}: sha256:{'0' * 64}" in shown
    (folder / "Dockerfile").write_text(f"FROM scratch\nADD {url}/none /plain\n")
    assert "404" in root.build(folder, status=1)


def test_a_repository_as_the_context(root: Dockc, context: MakeContext, web: tuple[str, Path], tmp_path: Path) -> None:
    url, served = web
    make_repository(served / "r.git", tmp_path / "work", Dockerfile="FROM scratch\nCOPY file /f\n", file="one", sub__file="two", other__My_dockerfile="FROM scratch\nCOPY file /h\n")
    local = context("FROM scratch\nCOPY file /g\n")
    root.build(f"{url}/r.git#main:sub", "-f", local / "Dockerfile", "-o", tmp_path / "local")
    assert (tmp_path / "local" / "g").read_text() == "two"
    root.build(f"{url}/r.git#main", "-o", tmp_path / "remote")
    assert (tmp_path / "remote" / "f").read_text() == "one"
    root.build(f"{url}/r.git#main", "-f", "other/My.dockerfile", "-o", tmp_path / "named")
    assert (tmp_path / "named" / "h").read_text() == "one"
    shown = root.build(f"{url}/r.git#main:sub", status=1)
    assert "failed to read dockerfile: open Dockerfile: no such file or directory" in shown
    assert "error: " in root.build(f"{url}/r.git#main", "-f", "none", status=1)
    (served / "Dockerfile").write_text("FROM scratch\nCOPY <<EOF /inline\nhi\nEOF\n")
    root.build(f"{url}/Dockerfile", "-o", tmp_path / "single")
    assert (tmp_path / "single" / "inline").read_text() == "hi\n"


# --- progress -------------------------------------------------------------------------------------------


def on_a_terminal(dockc: Dockc, *args: object) -> tuple[int, str]:
    """Run on a terminal of 100 columns; exit status, and what was written."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen(
        dockc.argv(*args), env=dockc.environ() | {"TERM": "xterm-256color"}, cwd=dockc.home, stdin=slave, stdout=slave, stderr=slave, close_fds=True
    )
    os.close(slave)
    shown = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        shown += data
    os.close(master)
    return process.wait(60), shown.decode("utf-8", "replace")


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", shown).replace("\r\n", "\n")


def test_a_terminal_shows_steps_times_and_logs(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> None:
    folder = context("FROM base\nRUN echo first line && sleep 1\nRUN echo second > /b\n")
    status, shown = on_a_terminal(root, "build", folder, *with_base)
    assert status == 0
    text = plain(shown)
    assert "\x1b[" in shown
    assert re.search(r"\[1/3\] RUN echo first line && sleep 1 +\d+\.\ds", text)
    assert "first line" in text
    assert "2 steps run, 0 cached" in text
    status, shown = on_a_terminal(root, "build", folder, *with_base, "--progress=tty")
    assert "CACHED [1/3] RUN echo first line" in plain(shown)
    (folder / "Dockerfile").write_text("FROM base\nRUN for i in 1 2 3; do echo line $i; done; exit 7\n")
    status, shown = on_a_terminal(root, "build", folder, *with_base)
    assert status == 1
    end = plain(shown).rpartition("------\n > ")[2]
    assert "line 1" in end
    assert "line 3" in end
    assert "2 | >>> RUN for i in" in end
    assert end.rstrip().endswith("exit code: 7")


def test_a_terminal_is_asked_for_where_there_is_none(root: Dockc, context: MakeContext) -> None:
    result = root.run("build", context("FROM scratch\n"), "--progress=tty", status=2)
    assert result.stderr == "error: progress mode tty needs a terminal\n  help: Use --progress=plain.\n"


def test_compile_on_a_terminal_is_text(root: Dockc, context: MakeContext) -> None:
    status, shown = on_a_terminal(root, "compile", context("FROM scratch\nCOPY a /a\n"))
    assert status == 0
    assert "[1/1] COPY a /a" in plain(shown)


