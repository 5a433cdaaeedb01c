"""A build is the same whoever calls: signals, umask, descriptors, limits, personality, directories and variables of the caller."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.tools import need

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGALRM)
ADDR_NO_RANDOMIZE = 0x0040000
FILE = """FROM base
COPY a /copied/a
WORKDIR /made/here
RUN --mount=type=cache,target=/new/cache --mount=type=bind,target=/new/bound --mount=type=secret,id=s,target=/new/secret/s \
  (ulimit -S -n; ulimit -S -s; ulimit -S -c; ulimit -H -c; cat /proc/self/personality; umask; grep -E '^Sig(Blk|Ign)' /proc/self/status; \
  pwd; stat -c '%a %n' /new /new/cache /new/bound /new/secret /new/secret/s /copied /copied/a /made /made/here; env | sort) > /state
"""


def _ignored() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _umask(mask: int) -> Callable[[], None]:
    return lambda: (os.umask(mask), None)[1]


def _closed(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


def _full(*numbers: int) -> Callable[[], None]:
    def fill() -> None:
        full = os.open("/dev/full", os.O_WRONLY)
        for number in numbers:
            os.dup2(full, number)

    return fill


def _limits_and_personality() -> None:
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    ctypes.CDLL(None).personality(ctypes.c_ulong(ADDR_NO_RANDOMIZE))


def _machine_of_32_bits() -> None:
    ctypes.CDLL(None).personality(ctypes.c_ulong(0x0008))  # PER_LINUX32: the kernel calls the machine i686


CALLERS: dict[str, Callable[[], None]] = {
    "signals ignored": _ignored,
    "signals blocked": _blocked,
    "umask 000": _umask(0),
    "umask 077": _umask(0o077),
    "umask 777": _umask(0o777),
    "no standard input": _closed(0),
    "no outputs": _closed(1, 2),
    "no standard streams": _closed(0, 1, 2),
    "full outputs": _full(1, 2),
    "limits and personality": _limits_and_personality,
    "a machine of 32 bits": _machine_of_32_bits,
}


def _build(dockc: Dockc, folder: Path, out: Path, options: tuple[str, ...], caller: Callable[[], None] | None = None, **environ: str | None) -> subprocess.CompletedProcess[bytes]:
    variables = {name: value for name, value in (dockc.environ() | environ).items() if value is not None}
    command = [*dockc.prefix, "-m", "dockc", "build", str(folder), "--no-cache", "--progress=plain", "-o", str(out), *options]
    return subprocess.run(command, env=variables, cwd=dockc.home, capture_output=True, preexec_fn=caller, stdin=subprocess.DEVNULL, check=False, timeout=250)


@pytest.fixture
def options(tmp_path: Path, with_base: tuple[str, str]) -> tuple[str, ...]:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    return (*with_base, "--secret", f"id=s,src={secret}")


def test_steps_see_nothing_of_the_caller(dockc: Dockc, context: MakeContext, options: tuple[str, ...], tmp_path: Path) -> None:
    folder = context(FILE, a="a")
    plain = _build(dockc, folder, tmp_path / "plain", options)
    assert plain.returncode == 0, plain.stderr
    expected = (tmp_path / "plain" / "state").read_text()
    assert "755 /new/secret\n" in expected
    for name, caller in CALLERS.items():
        out = tmp_path / name.replace(" ", "-")
        done = _build(dockc, folder, out, options, caller)
        assert done.returncode == 0, (name, done.stderr)
        assert (out / "state").read_text() == expected, name


@pytest.mark.parametrize("executor", ["embedded", "crun", "runc"])
def test_a_failure_stays_one(dockc: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path, executor: str) -> None:
    if executor != "embedded":
        need(executor)
    folder = context("FROM base\nRUN echo before > /f; exit 7\nRUN echo after > /f\n")
    for name in ("signals ignored", "signals blocked", "full outputs"):
        done = _build(dockc, folder, tmp_path / "out", (*with_base, "--executor", executor), CALLERS[name])
        assert done.returncode == 1, (name, done.stderr)
        assert not (tmp_path / "out").exists()
        if name != "full outputs":
            assert b"exit 7\" did not complete successfully: exit code: 7" in done.stderr


def test_odd_directories_and_variables(user: Dockc, context: MakeContext, options: tuple[str, ...], tmp_path: Path) -> None:
    folder = context(FILE, a="a")
    gone, closed, fixed = tmp_path / "gone", tmp_path / "closed", tmp_path / "fixed"
    for one in (gone, closed, fixed):
        one.mkdir()
    fixed.chmod(0o555)

    def in_gone() -> None:
        os.chdir(gone)
        gone.rmdir()

    def in_closed() -> None:
        os.chdir(closed)
        closed.chmod(0)

    texts = set()
    callers: list[tuple[Callable[[], None] | None, dict[str, str | None]]] = [
        (None, {}),
        (in_gone, {}),
        (in_closed, {}),
        (None, {"HOME": None, "PATH": None}),
        (None, {"HOME": "/nonexistent/home"}),
        (None, {"HOME": str(fixed), "XDG_CACHE_HOME": None, "DOCKER_CONFIG": None}),
    ]
    for number, (caller, environ) in enumerate(callers):
        out = tmp_path / f"out{number}"
        done = _build(user, folder, out, options, caller, **environ)
        assert done.returncode == 0, (environ, done.stderr)
        texts.add((out / "state").read_text())
    assert len(texts) == 1


def test_a_limit_that_cannot_be_had_is_said(user: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    def low() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    folder = context("FROM base\nRUN ulimit -Hn > /n\n")
    done = _build(user, folder, tmp_path / "out", (*with_base, "--ulimit", "nofile=100:600"), low)
    assert done.returncode == 1
    assert b": ulimit nofile=100:600 cannot be had: who builds may have 512 at most\n" in done.stderr
    assert b"help: Raise the hard limit of the shell that builds, or build as root.\n" in done.stderr
    assert _build(user, folder, tmp_path / "out", (*with_base, "--ulimit", "nofile=100:400"), low).returncode == 0
    assert (tmp_path / "out" / "n").read_text() == "400\n"


def test_lower_limits_than_elsewhere_are_told_once(user: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    def low() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))

    folder = context("FROM base\nRUN ulimit -Hn > /n\nRUN ulimit -Hn > /m\n")
    done = _build(user, folder, tmp_path / "out", with_base, low)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "m").read_text() == "512\n"
    assert done.stderr.count(b"steps have lower limits than elsewhere, as who builds may have no more: nofile 512. ") == 1
    told = _build(user, folder, tmp_path / "asked", (*with_base, "--ulimit", "nofile=100:400"), low)
    assert b"lower limits" not in told.stderr, "what was asked for is there"


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("passes",), ("build", "--help"), ("lint", "Dockerfile"), ("images",), ("build", "-q", "empty")])
def test_a_full_output_is_one_line_of_error(root: Dockc, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "Dockerfile").write_text("from scratch\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    with Path("/dev/full").open("wb", buffering=0) as full:
        done = subprocess.run(root.argv(*arguments), env=root.environ(), cwd=tmp_path, stderr=subprocess.PIPE, stdout=full, check=False)
    assert (done.returncode, done.stderr) == (1, b"error: cannot write the output: No space left on device\n")


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("passes",), ("build", "--help"), ("lint", "Dockerfile"), ("images",)])
def test_a_reader_that_is_gone_is_no_error(root: Dockc, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "Dockerfile").write_text("from scratch\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(root.argv(*arguments), env=root.environ(), cwd=tmp_path, stderr=subprocess.PIPE, stdout=writer, check=False)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_the_library_leaves_its_caller_alone_and_is_right(root: Dockc, context: MakeContext, base: Path, tmp_path: Path) -> None:
    """SIGCHLD ignored, a narrow umask and no standard streams in a process that calls the library's parts."""
    folder = context("FROM base\nRUN --mount=type=cache,target=/new/cache stat -c %a /new > /state\nRUN exit 7\n")
    code = f"""
import os, signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.umask(0o077)
result = os.open({str(tmp_path / "result")!r}, os.O_WRONLY | os.O_CREAT, 0o600)
from dockc.commands.build import build
from dockc.engine.request import Asked, CompileRequest
from dockc.errors import DockcError
from pathlib import Path
for number in (0, 1, 2):
    os.close(number)
request = CompileRequest({str(folder)!r}, contexts={{"base": "oci-layout://{base}"}}, store=Path({str(tmp_path / "store")!r}), attrs={{}})
try:
    build(Asked(compile=request), lambda status: None)
    said = "done"
except DockcError as error:
    said = error.message
except BaseException as error:
    said = repr(error)
said += f" {{signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN}} {{os.umask(0o077):o}}"
os.write(result, said.encode())
"""
    done = subprocess.run([root.prefix[0], "-c", code], env=root.environ(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (tmp_path / "result").read_text() == 'process "/bin/sh -c exit 7" did not complete successfully: exit code: 7 True 77', done.stderr


def test_a_user_whose_home_is_not_said(user: Dockc, context: MakeContext) -> None:
    """Inside the builder's namespace everybody is root, whose home is closed to others; the current directory is anybody's."""
    folder = context("FROM scratch\nARG HTTP_PROXY\nCOPY Dockerfile /\n")
    (folder / ".docker").mkdir(mode=0o755)
    (folder / ".docker/config.json").write_text("not for you")
    env = {name: value for name, value in user.environ().items() if name not in ("HOME", "DOCKER_CONFIG")}
    done = subprocess.run(user.argv("build", ".", "-o", "type=cacheonly"), env=env, cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
