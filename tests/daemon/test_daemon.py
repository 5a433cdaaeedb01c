"""The daemon and its clients, both ends ours: builds, what is lent to them, what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dockc.client.address import connect, parse
from dockc.client.control import BuildSpec, Remote, through_frontend
from dockc.client.session import Session
from dockc.protocol.errors import RemoteError
from dockc.rpc.calls import Channel
from dockc.rpc.pb import control_pb2
from dockc.rpc.status import RpcError
from tests.tools import shell_context

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


class Daemon:
    """A daemon in a folder."""

    def __init__(self, folder: Path, *more: str, before: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.address = f"unix://{folder}/s"
        self.log = (folder / "log").open("ab")
        command = [*before, sys.executable, "-m", "dockc", "daemon", "--root", str(folder / "root"), "--addr", self.address, *more]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        until(lambda: self.process.poll() is not None or ((folder / "s").exists() and answers(folder / "s")))

    def said(self) -> str:
        return (self.folder / "log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(30)
        self.log.close()
        return status


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come")


def answers(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    made = Daemon(tmp_path_factory.mktemp("d"))
    assert made.process.poll() is None, made.said()
    yield made
    assert made.stop() == 0
    said = made.said()
    assert "Traceback" not in said, said


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = shell_context(tmp_path / "context")
    (folder / "data.txt").write_text("data\n")
    (folder / "Dockerfile").write_text(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/cat\nCOPY data.txt /\n"
        "RUN --mount=type=secret,id=tok cat /run/secrets/tok > /got\nRUN echo built > /made\nCMD [\"/bin/sh\"]\n"
    )
    (tmp_path / "tok").write_text("s3cret")
    return folder


def dockc(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dockc", *arguments], capture_output=True, text=True, check=False, timeout=120)


def built(daemon: Daemon, context: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return dockc("build", str(context), "--addr", daemon.address, "--secret", f"id=tok,src={context.parent / 'tok'}", "--progress=plain", *more)


@pytest.mark.parametrize("frontend", ["", "dockerfile.v0"])
def test_outputs(daemon: Daemon, context: Path, tmp_path: Path, frontend: str) -> None:
    by = [f"--frontend={frontend}"] if frontend else []
    out = tmp_path / "out"
    done = built(daemon, context, *by, "-o", str(out))
    assert done.returncode == 0, done.stderr + daemon.said()
    assert (out / "got").read_text() == "s3cret"
    assert (out / "made").read_text() == "built\n"
    assert (out / "bin" / "sh").stat().st_mode & 0o777 == 0o755
    for kind in ("oci", "docker", "tar"):
        done = built(daemon, context, *by, "-o", f"type={kind},dest={tmp_path / kind}", "-t", "example.com/x:1", "--metadata-file", str(tmp_path / "meta"))
        assert done.returncode == 0, done.stderr
        with tarfile.open(tmp_path / kind) as archive:
            assert archive.getnames()
    done = built(daemon, context, *by, "-o", f"type=oci,dest={tmp_path / 'oci'}", "--metadata-file", str(tmp_path / "meta"))
    with tarfile.open(tmp_path / "oci") as archive:
        index = archive.extractfile("index.json")
        assert index is not None
        (entry,) = json.load(index)["manifests"]
    assert entry["digest"] == json.loads((tmp_path / "meta").read_text())["containerimage.digest"]


def test_image_layouts_come_and_go(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    done = built(daemon, context, "-o", f"type=oci,tar=false,dest={layout}", "-t", "example.com/x:1")
    assert done.returncode == 0, done.stderr
    (entry,) = json.loads((layout / "index.json").read_text())["manifests"]
    blobs = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
    assert entry["digest"].removeprefix("sha256:") in blobs
    assert not (layout / "ingest").exists()
    again = built(daemon, context, "-o", f"type=oci,tar=false,dest={layout}", "-t", "example.com/x:1")
    assert again.returncode == 0, again.stderr
    assert {path.name for path in (layout / "blobs" / "sha256").iterdir()} == blobs
    # And the other way: the layout is lent as a named context.
    (context / "Dockerfile").write_text("FROM base\nRUN cat /made > /again\n")
    done = built(daemon, context, "--build-context", f"base=oci-layout://{layout}:1", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "again").read_text() == "built\n"
    blob = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    blob.write_bytes(b"damaged" + blob.read_bytes()[7:])
    dockc("buildctl", "--addr", daemon.address, "prune", "--all")
    done = built(daemon, context, "--build-context", f"base=oci-layout://{layout}:1", "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert "unexpected digest" in done.stderr or "digest" in done.stderr


def test_a_second_build_runs_nothing_and_moves_what_has_changed(daemon: Daemon, context: Path) -> None:
    assert built(daemon, context).returncode == 0
    again = built(daemon, context)
    assert again.stderr.endswith("0 steps run, 5 cached\n"), again.stderr
    (context / "data.txt").write_text("other\n")
    changed = built(daemon, context)
    assert changed.returncode == 0
    assert "3 steps run, 2 cached" in changed.stderr
    assert re.search(r"transferring \d+B( |$)", changed.stderr, re.MULTILINE), changed.stderr  # names and one small file


@pytest.mark.parametrize("frontend", ["", "dockerfile.v0"])
def test_caches_of_a_registry(daemon: Daemon, context: Path, registry: str, frontend: str) -> None:
    by = [f"--frontend={frontend}"] if frontend else []
    (context / "data.txt").write_text(f"once more {frontend}\n")
    cache = f"type=registry,ref={registry}/cache{len(frontend)}:1"
    written = built(daemon, context, *by, "--cache-to", f"{cache},mode=max")
    assert written.returncode == 0, written.stderr
    assert dockc("buildctl", "--addr", daemon.address, "prune", "--all").returncode == 0
    again = built(daemon, context, *by, "--cache-from", cache, "--cache-to", "type=inline")
    assert again.returncode == 0, again.stderr
    assert again.stderr.endswith("0 steps run, 5 cached\n"), again.stderr


def test_errors_show_their_lines(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nRUN exit 7\n")
    for by in ([], ["--frontend=dockerfile.v0"]):
        done = built(daemon, context, *by)
        assert done.returncode == 1
        assert "   3 | >>> RUN exit 7" in done.stderr
        assert 'failed to solve: process "/bin/sh -c exit 7" did not complete successfully: exit code: 7' in done.stderr
    (context / "Dockerfile").write_text("FROM scratch\nCPY a b\n")
    done = built(daemon, context, "--frontend=dockerfile.v0")
    assert "   2 | >>> CPY a b" in done.stderr
    assert "unknown instruction: CPY" in done.stderr


@pytest.mark.parametrize("frontend", ["", "dockerfile.v0"])
def test_caches_in_a_directory_of_the_client(daemon: Daemon, context: Path, tmp_path: Path, frontend: str) -> None:
    by = [f"--frontend={frontend}"] if frontend else []
    for number in range(2):
        done = built(daemon, context, *by, "--cache-to", f"type=local,dest={tmp_path}/cache,mode=max,ignore-error=false")
        assert done.returncode == 0, done.stderr + daemon.said()
        assert len(json.loads((tmp_path / "cache/index.json").read_text())["manifests"]) == 1, number
    assert dockc("builder", "prune", "--all", "--addr", daemon.address).returncode == 0
    done = built(daemon, context, *by, "--cache-from", f"type=local,src={tmp_path}/cache", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr + daemon.said()
    assert "importing cache manifest" in done.stderr
    assert re.search(r"RUN .*\n#\d+ CACHED", done.stderr), done.stderr
    assert (tmp_path / "out" / "made").read_text() == "built\n"


@pytest.mark.parametrize("word", ["gc", "reset"])
def test_caches_in_a_directory_of_the_client_do_not_grow(daemon: Daemon, context: Path, tmp_path: Path, word: str) -> None:
    sizes = []
    for number in range(3):
        (context / "data.txt").write_text(f"{number}\n" * 10)
        done = built(daemon, context, "--cache-to", f"type=local,dest={tmp_path}/cache,mode=max,ignore-error=false,{word}=true")
        assert done.returncode == 0, done.stderr + daemon.said()
        sizes.append(len(list((tmp_path / "cache/blobs/sha256").iterdir())))
    assert sizes[0] == sizes[1] == sizes[2]
    assert dockc("builder", "prune", "--all", "--addr", daemon.address).returncode == 0
    done = built(daemon, context, "--cache-from", f"type=local,src={tmp_path}/cache")
    assert done.stderr.endswith("0 steps run, 5 cached\n"), done.stderr


def test_several_caches_in_directories_of_the_client(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    """The answer of a builder names one manifest; each directory's index names its own all the same, by its own tag."""
    seen: list[dict[str, str]] = []
    kinds = {"min": "mode=min", "max": "mode=max,tag=all,compression=zstd,force-compression=true"}
    for text in ("first\n", "second\n"):
        (context / "data.txt").write_text(text)
        to = [f"--cache-to=type=local,dest={tmp_path}/{name},{attrs},ignore-error=false" for name, attrs in kinds.items()]
        done = built(daemon, context, *to)
        assert done.returncode == 0, done.stderr + daemon.said()
        named = {}
        for name in kinds:
            (entry,) = json.loads((tmp_path / name / "index.json").read_text())["manifests"]
            named[name] = (tmp_path / name / "blobs" / entry["digest"].replace(":", "/")).read_text()
            assert entry["annotations"]["org.opencontainers.image.ref.name"] == ("all" if name == "max" else "latest")
        assert "zstd" in named["max"] and "zstd" not in named["min"]
        seen.append(named)
    assert all(seen[0][name] != seen[1][name] for name in kinds)
    assert dockc("builder", "prune", "--all", "--addr", daemon.address).returncode == 0
    done = built(daemon, context, "--cache-from", f"type=local,src={tmp_path}/max,tag=all")
    assert done.stderr.endswith("0 steps run, 5 cached\n"), done.stderr


def test_no_directory_of_the_daemon_is_read(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    """Whatever path a client names is one of its own."""
    (tmp_path / "its/blobs/sha256").mkdir(parents=True)
    (tmp_path / "its/index.json").write_text('{"schemaVersion":2,"manifests":[]}')
    for attrs, words in (({"src": f"{tmp_path}/its"}, "requires explicit digest"), ({"src": f"{tmp_path}/its", "digest": "sha256:" + "0" * 64}, "containerd.services.content.v1.Content")):
        done = built(daemon, context, "--frontend=dockerfile.v0", "--opt", "cache-imports=" + json.dumps([{"Type": "local", "Attrs": attrs}]))
        assert done.returncode == 0, done.stderr + daemon.said()
        assert "is not used" in done.stderr
        assert words in done.stderr, done.stderr


def test_what_is_not_there_is_refused_by_name(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    for options, words in (
        (["--cache-from", "type=nonsense"], "unknown cache importer"),
        (["--frontend=gateway.v0"], "gateway.v0 needs the option source"),
        (["--frontend=nonsense"], "frontend nonsense not found"),
        (["--allow", "network.host"], "granting entitlement network.host is not allowed by build daemon configuration"),
        (["--provenance=mode=max"], "attestations are not supported yet"),
    ):
        done = built(daemon, context, *options)
        assert done.returncode == 1, options
        assert words in done.stderr, done.stderr


def test_questions(daemon: Daemon, context: Path) -> None:
    assert built(daemon, context).returncode == 0

    def ask(*words: str) -> str:
        done = dockc("buildctl", "--addr", daemon.address, *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "linux/" in ask("debug", "workers")
    assert "dockc v0.33" in ask("debug", "info")
    assert "Total:" in ask("du")
    assert "mount / from exec" in ask("du", "-v")
    refs = [row.split("\t")[1] for row in ask("debug", "histories").splitlines()[1:]]
    assert refs
    record = json.loads(ask("debug", "histories", "--format={{json .}}").splitlines()[-1])
    assert record["type"] == 1
    assert record["record"]["Ref"] == refs[-1]
    assert record["record"]["CreatedAt"]["seconds"] > 0
    assert record["record"]["logs"]["digest"].startswith("sha256:")
    assert ask("debug", "histories", "--format", "{{.Type}} {{.Record.Ref}} {{.Record.Pinned}} {{.Record.Error}}").splitlines()[-1] == f"COMPLETE {refs[-1]} false <nil>"
    assert ask("debug", "info", "-format", "{{.BuildkitVersion.Package}}") == "dockc\n"
    assert json.loads(ask("debug", "info", "--format=json"))["buildkitVersion"]["package"] == "dockc"
    assert ask("debug", "--addr", daemon.address, "workers") == ask("debug", "workers") == ask("debug", "workers", "--verbose=false")
    ask("debug", "ctl", "--pin", refs[-1])
    ask("prune-histories")
    left = ask("debug", "histories").splitlines()[1:]
    assert [row.split("\t")[1] for row in left] == [refs[-1]]
    assert "built" in dockc("buildctl", "--addr", daemon.address, "debug", "logs", refs[-1], "--progress=plain").stderr
    ask("debug", "ctl", "--delete", refs[-1])
    assert ask("prune", "--all").splitlines()[-1].startswith("Total:")
    assert ask("du").splitlines()[-1] == "Total:\t\t0B"


def test_what_buildctl_writes_beside_a_build(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nARG A=none\nARG B=none\nENV A=$A B=$B\nCOPY busybox /\n")
    words = ["buildctl", "--addr", daemon.address, "build", "--frontend=dockerfile.v0", f"--local=context={context}", f"--local=dockerfile={context}"]
    env = {**os.environ, "A": "of the environment", "SOURCE_DATE_EPOCH": "5"}
    env.pop("B", None)

    def build(*more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "dockc", *words, *more], env=env, capture_output=True, text=True, check=False, timeout=120)
        assert "Traceback" not in done.stderr
        return done

    said = json.loads(build("--no-cache", "--debug-json-cache-metrics=stdout").stdout.splitlines()[-1])
    assert said["total"] == said["completed"] > said["user_total"] == said["miss"] == 1
    done = build("--trace", str(tmp_path / "trace"), "--debug-json-cache-metrics", str(tmp_path / "metrics"))
    assert done.returncode == 0, done.stderr
    assert any("COPY busybox" in line for line in (tmp_path / "trace").read_text().splitlines() if json.loads(line))
    said = json.loads((tmp_path / "metrics").read_text())
    assert (said["user_cached"], said["miss"]) == (1, 0)
    assert build("--trace", str(tmp_path)).returncode == 2
    assert build("--allow=device").returncode == 0
    assert build("--opt=build-arg:A", "--opt=build-arg:B", f"--output=type=oci,tar=false,dest={tmp_path}/oci").returncode == 0
    config = next(data for path in (tmp_path / "oci/blobs/sha256").iterdir() if b'"rootfs"' in (data := path.read_bytes()))
    assert {"A=of the environment", "B=none"} <= set(json.loads(config)["config"]["Env"])
    assert json.loads(config)["created"].startswith("1970-01-01T00:00:05")
    for words_of_it, told in (
        (("--proxy-network",), "the proxy network is not supported"),
        (("-o", "nowhere"), "invalid value nowhere"),
        (("--nope",), "there is no option --nope"),
    ):
        done = build(*words_of_it)
        assert done.returncode in {1, 2}
        assert told in done.stderr
    assert not Path("nowhere").exists()
    done = subprocess.run(
        [sys.executable, "-m", "dockc", "buildctl", "--addr", daemon.address, "build", "--no-cache"],
        input="no LLB", capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_many_builds_at_once_with_some_that_are_cancelled(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nARG N\nRUN echo $N\nRUN sleep 0.2\nRUN case $N in 3) exit 3;; 4) sleep 60;; esac\n"
    )

    async def one(number: int) -> str:
        link = await connect(parse(daemon.address))
        try:
            session = Session(shared_key="many")
            session.lend_directories({"context": context, "dockerfile": context})
            attrs = {"build-arg:N": str(number % 5)}
            spec = BuildSpec(session=session, frontend="dockerfile.v0", frontend_attrs=attrs)
            work = Remote(link).build(spec, lambda bridge: through_frontend(bridge, spec), lambda status: None)
            if number % 5 == 4:
                async with asyncio.timeout(1.5):
                    await work
            else:
                await work
        except TimeoutError:
            return "cancelled"
        except RemoteError as exc:
            return exc.message
        finally:
            await link.close()
        return "done"

    async def all_of_them() -> list[str]:
        async with asyncio.timeout(100):
            return list(await asyncio.gather(*(one(number) for number in range(25))))

    results = asyncio.run(all_of_them())
    assert results.count("done") == 15, results
    assert results.count("cancelled") == 5, results
    assert sum("exit code: 3" in one for one in results) == 5, results
    until(lambda: b"sleep\x0060" not in b"".join(_command_lines()))
    assert built(daemon, context).returncode == 0


def _command_lines() -> list[bytes]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes())
        except OSError:
            continue
    return found


def test_hostile_bytes_do_the_daemon_no_harm(daemon: Daemon, context: Path) -> None:
    import socket

    for data in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 5000, b""):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(daemon.folder / "s"))
            sock.sendall(data)
    assert dockc("buildctl", "--addr", daemon.address, "debug", "info").returncode == 0


def _call(daemon: Daemon, path: str, data: bytes) -> RpcError:
    async def call() -> RpcError:
        link = await connect(parse(daemon.address))
        try:
            channel: Channel = link.channel
            with pytest.raises(RpcError) as caught:
                await channel.unary(path, data, limit=20)
            return caught.value
        finally:
            await link.close()

    return asyncio.run(call())


def test_calls_that_make_no_sense(daemon: Daemon) -> None:
    control, bridge = "/moby.buildkit.v1.Control/", "/moby.buildkit.v1.frontend.LLBBridge/"
    assert "needs a name" in _call(daemon, control + "Solve", b"").message
    assert "needs a session" in _call(daemon, control + "Solve", control_pb2.SolveRequest(Ref="x").SerializeToString()).message
    assert "no active session" in _call(daemon, control + "Solve", control_pb2.SolveRequest(Ref="x", Session="none").SerializeToString()).message
    assert "broken SolveRequest" in _call(daemon, control + "Solve", b"\xff\xff").message
    assert "no such job" in _call(daemon, control + "Status", control_pb2.StatusRequest(Ref="none").SerializeToString()).message
    assert "no buildid" in _call(daemon, bridge + "Ping", b"").message
    assert "no buildid" in _call(daemon, bridge + "ReadFileContainer", b"").message
    assert "session without an id" in _call(daemon, control + "Session", b"").message
    assert "unknown method" in _call(daemon, "/no.such.Service/Call", b"").message


def test_a_client_that_dies_takes_its_build_with_it(daemon: Daemon, context: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nRUN sleep 61\n")
    client = subprocess.Popen(
        [sys.executable, "-m", "dockc", "build", str(context), "--addr", daemon.address, "--progress=none"], stderr=subprocess.DEVNULL
    )
    until(lambda: b"sleep\x0061" in b"".join(_command_lines()))
    client.kill()
    client.wait()
    until(lambda: b"sleep\x0061" not in b"".join(_command_lines()))


def test_one_daemon_a_root(tmp_path: Path) -> None:
    made = Daemon(tmp_path)
    another = ("daemon", "--root", str(tmp_path / "root"), "--addr", f"unix://{tmp_path}/other")
    for _ in range(2):
        done = dockc(*another)
        assert done.returncode == 1
        assert "another instance running?" in done.stderr
        (tmp_path / "root" / "dockcd.lock").unlink()  # somebody tidies up
    made.stop(signal.SIGKILL)
    made = Daemon(tmp_path)
    assert made.stop() == 0, made.said()


def test_low_limits_are_told_to_who_runs_the_daemon_and_to_no_client(tmp_path: Path, context: Path) -> None:
    less = ("prlimit", "--nofile=2048:2048", "setpriv", "--bounding-set=-sys_resource", "--inh-caps=-sys_resource")
    made = Daemon(tmp_path, before=less)
    done = built(made, context)
    assert done.returncode == 0, done.stderr + made.said()
    assert "lower limits" not in done.stderr
    assert made.stop() == 0
    assert made.said().count("steps have lower limits than elsewhere, as who builds may have no more: nofile 2048") == 1


def test_the_end(tmp_path: Path, context: Path) -> None:
    made = Daemon(tmp_path)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    (context / "Dockerfile").write_text("FROM scratch\nCOPY busybox /bin/sh\nCOPY busybox /bin/sleep\nRUN sleep 62\n")
    client = subprocess.Popen(
        [sys.executable, "-m", "dockc", "build", str(context), "--addr", made.address, "--progress=none"], stderr=subprocess.PIPE
    )
    until(lambda: b"sleep\x0062" in b"".join(_command_lines()))
    assert made.stop() == 0
    _, said = client.communicate(timeout=120)
    assert client.returncode == 1
    assert b"error" in said
    assert not (tmp_path / "s").exists()
    assert b"sleep\x0062" not in b"".join(_command_lines())
    assert f"{tmp_path}/root" not in Path("/proc/self/mountinfo").read_text()


def test_buildctl_and_buildx(daemon: Daemon, context: Path, tmp_path: Path) -> None:
    buildctl, buildx = shutil.which("buildctl"), shutil.which("buildx")
    if buildctl is None or buildx is None:
        pytest.skip("buildctl and buildx are not installed")
    secret = f"id=tok,src={tmp_path / 'tok'}"
    env = {**os.environ, "BUILDKIT_HOST": daemon.address, "HOME": str(tmp_path), "DOCKER_CONFIG": str(tmp_path / "docker")}
    words = ["build", "--frontend=dockerfile.v0", f"--local=context={context}", f"--local=dockerfile={context}", "--secret", secret]
    done = subprocess.run([buildctl, *words, f"--output=type=local,dest={tmp_path / 'a'}"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    subprocess.run([buildx, "create", "--name=d", "--driver=remote", daemon.address], env=env, check=True, capture_output=True)
    words = [buildx, "--builder=d", "build", str(context), "--secret", secret, "-o", f"type=local,dest={tmp_path / 'b'}"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "made").read_text() == (tmp_path / "b" / "made").read_text() == "built\n"
