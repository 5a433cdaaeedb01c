"""RUN steps on real file systems of the store."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dockc.errors import DockcError, ExecError
from dockc.runtime.executor.base import ExecCancelled
from dockc.runtime.session import secrets

if TYPE_CHECKING:
    from dockc.runtime.refs.ref import ImmutableRef
    from tests.runtime.exec.conftest import Steps

Read = Callable[["ImmutableRef", str], str]
BIND, SECRET, SSH, CACHE, TMPFS = range(5)


def _exec(op: Any) -> Any:
    return op.exec


def _changes(steps: Steps, ref: ImmutableRef) -> list[str]:
    """Names in the file system that the base does not have."""

    def names(of: ImmutableRef) -> set[str]:
        with of.mount() as path:
            return {str(p.relative_to(path)) for p in path.rglob("*")}

    return sorted(names(ref) - names(steps.base))


def test_output_is_what_the_step_wrote(steps: Steps, read: Read) -> None:
    (made,) = steps.run(steps.op("echo hello > /made; echo said"))
    assert read(made, "made") == "hello\n"
    assert steps.log == "said\n"
    assert _changes(steps, made) == ["made"]


def test_steps_build_on_each_other(steps: Steps, read: Read) -> None:
    (first,) = steps.run(steps.op("echo 1 > /a"))
    (second,) = steps.run(steps.op("cat /a > /b; rm /a"), [first])
    assert read(first, "a") == "1\n"
    assert _changes(steps, second) == ["b"]


def test_failure_names_the_command_and_the_status(steps: Steps) -> None:
    with pytest.raises(ExecError) as caught:
        steps.run(steps.op('echo "no luck" >&2; exit 3'))
    message = r'process "/bin/sh -c echo \"no luck\" >&2; exit 3" did not complete successfully: exit code: 3'
    assert caught.value.message == message
    assert caught.value.exit_status == 3
    assert steps.log == "no luck\n"


def test_failed_step_leaves_nothing_in_the_store(steps: Steps) -> None:
    before = {record.id for record in steps.worker.refs.usage()}
    with pytest.raises(ExecError):
        steps.run(steps.op("echo x > /made; exit 1"))
    assert {record.id for record in steps.worker.refs.usage()} == before


def test_missing_program_is_status_1_and_says_so_in_the_log(steps: Steps) -> None:
    with pytest.raises(ExecError, match=r'process "nosuch a" did not complete successfully: exit code: 1$'):
        steps.run(steps.op(args=["nosuch", "a"]))
    assert steps.log == 'unable to start container process: exec: "nosuch": executable file not found in $PATH\n'


def test_a_step_for_another_machine_says_what_is_missing(steps: Steps) -> None:
    op = steps.op(args=["nosuch"])
    op.platform.Architecture = "s390x"
    with pytest.raises(ExecError) as caught:
        steps.run(op)
    assert "The step is for s390x" in caught.value.hint
    assert "binfmt_misc" in caught.value.hint


def test_unknown_user(steps: Steps) -> None:
    op = steps.op()
    _exec(op).meta.user = "bob"
    with pytest.raises(ExecError) as caught:
        steps.run(op)
    assert caught.value.message == (
        'process "/bin/sh -c true" did not complete successfully: '
        "unable to find user bob: no matching entries in passwd file"
    )


def test_valid_exit_codes_replace_zero(steps: Steps) -> None:
    op = steps.op("exit 3")
    _exec(op).meta.validExitCodes.extend([3, 4])
    assert len(steps.run(op)) == 1
    op = steps.op("exit 0")
    _exec(op).meta.validExitCodes.extend([3, 4])
    with pytest.raises(ExecError, match="exit code: 0"):
        steps.run(op)


def test_environment_has_path_and_proxies(steps: Steps) -> None:
    op = steps.op(args=["env"])
    _exec(op).meta.env.append("A=b")
    _exec(op).meta.proxy_env.http_proxy = "http://p:1"
    _exec(op).meta.proxy_env.no_proxy = "localhost"
    steps.run(op)
    assert sorted(steps.log.splitlines()) == [
        "A=b",
        "HOME=/root",
        "HTTP_PROXY=http://p:1",
        "NO_PROXY=localhost",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "http_proxy=http://p:1",
        "no_proxy=localhost",
    ]


def test_extra_hosts(steps: Steps) -> None:
    op = steps.op("head -n 3 /etc/hosts")
    _exec(op).meta.extraHosts.add(Host="db", IP="10.0.0.1")
    steps.run(op)
    assert steps.log.splitlines()[2] == "10.0.0.1\tdb"
    _exec(op).meta.extraHosts.add(Host="bad", IP="nonsense")
    with pytest.raises(DockcError, match="failed to parse IP nonsense"):
        steps.run(op)


# Mounts


def test_readonly_bind_from_another_input(steps: Steps) -> None:
    other = steps.files({"dir/file": "content\n", "top": "x"})
    op = steps.op("cat /mnt/file; touch /mnt/new")
    _exec(op).mounts.add(dest="/mnt", input=1, output=-1, selector="/dir", readonly=True)
    with pytest.raises(ExecError, match="exit code: 1"):
        steps.run(op, [steps.base, other])
    assert steps.log.startswith("content\n")
    assert "Read-only file system" in steps.log


def test_writable_bind_without_output_is_thrown_away(steps: Steps, read: Read) -> None:
    other = steps.files({"file": "old\n"})
    op = steps.op("echo new > /mnt/file; cat /mnt/file")
    _exec(op).mounts.add(dest="/mnt", input=1, output=-1)
    (made,) = steps.run(op, [steps.base, other])
    assert steps.log == "new\n"
    assert read(other, "file") == "old\n"
    assert _changes(steps, made) == []


def test_bind_with_output_is_a_second_result(steps: Steps, read: Read) -> None:
    other = steps.files({"file": "old\n"})
    op = steps.op("echo new > /out/file; echo r > /root-file")
    _exec(op).mounts.add(dest="/out", input=1, output=1)
    root, out = steps.run(op, [steps.base, other])
    assert read(root, "root-file") == "r\n"
    assert read(out, "file") == "new\n"
    assert _changes(steps, root) == ["root-file"]


def test_readonly_bind_with_output_gives_its_input(steps: Steps) -> None:
    other = steps.files({"file": "old\n"})
    op = steps.op()
    _exec(op).mounts.add(dest="/out", input=1, output=1, readonly=True)
    _, out = steps.run(op, [steps.base, other])
    assert out.id == other.id


def test_scratch_output(steps: Steps, read: Read) -> None:
    op = steps.op("echo x > /out/made")
    _exec(op).mounts.add(dest="/out", input=-1, output=1)
    _, out = steps.run(op)
    assert read(out, "made") == "x\n"


def test_relative_destination_is_below_the_working_directory(steps: Steps) -> None:
    other = steps.files({"file": "here\n"})
    op = steps.op("cat /srv/app/in/file; ls")
    _exec(op).meta.cwd = "/srv/app"
    _exec(op).mounts.add(dest="in", input=1, output=-1, readonly=True)
    steps.run(op, [steps.base, other])
    assert steps.log == "here\nin\n"


def test_readonly_root(steps: Steps) -> None:
    op = steps.op("touch /x", root=False)
    _exec(op).mounts.add(dest="/", input=0, output=-1, readonly=True)
    with pytest.raises(ExecError, match="exit code: 1"):
        steps.run(op)
    assert "Read-only file system" in steps.log


def test_tmpfs_is_not_in_the_result(steps: Steps) -> None:
    op = steps.op("echo x > /scratch/made; cat /scratch/made")
    mount = _exec(op).mounts.add(dest="/scratch", input=-1, output=-1, mountType=TMPFS)
    mount.TmpfsOpt.size = 1 << 20
    (made,) = steps.run(op)
    assert steps.log == "x\n"
    assert _changes(steps, made) == []


def _cache(op: Any, dest: str, cache_id: str = "", sharing: int = 0, source: int = -1) -> None:
    mount = _exec(op).mounts.add(dest=dest, input=source, output=-1, mountType=CACHE)
    mount.cacheOpt.ID = cache_id or dest
    mount.cacheOpt.sharing = sharing


@pytest.mark.parametrize("sharing", [0, 1, 2])
def test_cache_mount_survives_the_step(steps: Steps, sharing: int) -> None:
    name = f"cache-{sharing}"
    op = steps.op("echo one >> /cache/log")
    _cache(op, "/cache", name, sharing)
    (made,) = steps.run(op)
    assert _changes(steps, made) == []
    op = steps.op("echo two >> /elsewhere/log; cat /elsewhere/log")
    _cache(op, "/elsewhere", name, sharing)
    steps.run(op)
    assert steps.log == "one\ntwo\n"


def test_cache_mount_begins_with_its_base(steps: Steps) -> None:
    other = steps.files({"seed": "s\n"})
    op = steps.op("cat /cache/seed; echo more > /cache/more")
    _cache(op, "/cache", "seeded", source=1)
    steps.run(op, [steps.base, other])
    assert steps.log == "s\n"


@pytest.mark.parametrize("sharing", [0, 1, 2])
def test_one_cache_twice_in_a_step(steps: Steps, sharing: int) -> None:
    op = steps.op("echo x > /a/file; cat /b/file")
    _cache(op, "/a", f"twice-{sharing}", sharing)
    _cache(op, "/b", f"twice-{sharing}", sharing)
    steps.run(op)
    assert steps.log == "x\n"


def test_bad_mounts(steps: Steps) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"dest": "/", "input": 0, "output": 0, "mountType": TMPFS}, "invalid mount type TMPFS for /"),
        ({"dest": "/m", "input": 7, "output": -1}, "missing input 7"),
        ({"dest": "/m", "input": -1, "output": -1, "mountType": CACHE}, "missing cache mount options"),
        ({"dest": "/m", "input": -1, "output": -1, "mountType": SECRET}, "invalid secret mount options"),
    ]
    for fields, message in cases:
        op = steps.op()
        _exec(op).mounts.add(**fields)
        with pytest.raises(DockcError) as caught:
            steps.run(op)
        assert caught.value.message == message
    with pytest.raises(DockcError, match="no root mount"):
        steps.run(steps.op(root=False))


# Secrets


class Store:
    def __init__(self, **values: bytes) -> None:
        self._values = values

    def get(self, secret_id: str) -> bytes | None:
        return self._values.get(secret_id)


def _secret(op: Any, secret_id: str, *, optional: bool = False, mode: int = 0o400, uid: int = 0) -> None:
    mount = _exec(op).mounts.add(dest=f"/run/secrets/{secret_id}", input=-1, output=-1, mountType=SECRET)
    mount.secretOpt.ID = secret_id
    mount.secretOpt.optional = optional
    mount.secretOpt.mode = mode
    mount.secretOpt.uid = uid


def test_secret_is_seen_and_leaves_no_trace(steps: Steps, tmp_path: Path) -> None:
    op = steps.op("cat /run/secrets/token; stat -c '%a %u' /run/secrets/token; echo x > /run/secrets/token")
    _secret(op, "token", mode=0o440, uid=1000)
    with pytest.raises(ExecError, match="exit code"):
        steps.run(op, secrets=Store(token=b"s3cr3t-value\n"))
    assert steps.log.startswith("s3cr3t-value\n440 1000\n")
    op = steps.op("cat /run/secrets/token > /dev/null")
    _secret(op, "token")
    (made,) = steps.run(op, secrets=Store(token=b"s3cr3t-value\n"))
    assert _changes(steps, made) == []
    for path in steps.worker.refs.root.rglob("*"):
        if path.is_file():
            assert b"s3cr3t-value" not in path.read_bytes(), path


def test_missing_secret(steps: Steps) -> None:
    op = steps.op()
    _secret(op, "token")
    given: tuple[dict[str, Any], ...] = ({}, {"secrets": Store()})
    for values in given:
        with pytest.raises(DockcError) as caught:
            steps.run(op, **values)
        assert caught.value.message == "secret token: not found"


def test_missing_optional_secret(steps: Steps) -> None:
    op = steps.op("ls /run 2>/dev/null; true")
    _secret(op, "token", optional=True)
    steps.run(op)
    assert steps.log == ""


def test_secret_in_the_environment(steps: Steps) -> None:
    op = steps.op("echo $TOKEN-$NONE")
    _exec(op).secretenv.add(ID="token", name="TOKEN")
    _exec(op).secretenv.add(ID="none", name="NONE", optional=True)
    steps.run(op, secrets=Store(token=b"abc"))
    assert steps.log == "abc-\n"
    with pytest.raises(DockcError, match="secret token: not found"):
        steps.run(op)


# SSH


class Agent:
    """An agent that knows one key and counts what it is asked."""

    def __init__(self, path: Path) -> None:
        self.asked: list[int] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                conn, _ = self._listener.accept()
            except OSError:
                return
            with conn:
                while head := conn.recv(4):
                    body = conn.recv(struct.unpack(">I", head)[0])
                    self.asked.append(body[0])
                    conn.sendall(struct.pack(">IB", 5, 12) + struct.pack(">I", 0))

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[tuple[Agent, Path]]:
    made = Agent(tmp_path / "agent.sock")
    yield made, tmp_path / "agent.sock"
    made.close()


# Sends one message of the given type to $SSH_AUTH_SOCK and prints the type of the answer; without modules.
ASK = r"""
socket(S, 1, 1, 0) or die $!; connect(S, pack("S Z*", 1, $ENV{SSH_AUTH_SOCK})) or die $!;
syswrite(S, pack("NC", 1, $ARGV[0])); sysread(S, $r, 5); print unpack("x4C", $r), "\n";
"""


def _ssh(steps: Steps, number: int) -> Any:
    op = steps.op(args=["perl", "-e", ASK, str(number)])
    _exec(op).meta.env.append("SSH_AUTH_SOCK=/run/agent")
    mount = _exec(op).mounts.add(dest="/run/agent", input=-1, output=-1, mountType=SSH)
    mount.SSHOpt.ID = "default"
    mount.SSHOpt.mode = 0o600
    return op


def test_agent_answers_and_cannot_be_changed(steps: Steps, agent: tuple[Agent, Path]) -> None:
    server, path = agent
    forwarded = secrets.ClientSsh([f"default={path}"])
    (made,) = steps.run(_ssh(steps, 11), ssh=forwarded)
    assert steps.log == "12\n"
    assert _changes(steps, made) == []
    steps.run(_ssh(steps, 17), ssh=forwarded)  # add a key
    assert steps.log == "5\n"
    steps.run(_ssh(steps, 19), ssh=forwarded)  # remove all
    assert steps.log == "5\n"
    assert server.asked == [11]


def test_raw_forwarding_passes_everything(steps: Steps, agent: tuple[Agent, Path]) -> None:
    server, path = agent
    steps.run(_ssh(steps, 17), ssh=secrets.ClientSsh([f"default={path},raw=true"]))
    assert steps.log == "12\n"
    assert server.asked == [17]


def test_keys_get_an_agent_of_their_own(steps: Steps, tmp_path: Path) -> None:
    if shutil.which("ssh-agent") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no OpenSSH on this machine")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    steps.run(_ssh(steps, 11), ssh=secrets.ClientSsh([f"default={key}"]))
    assert steps.log == "12\n"
    key.write_text("nonsense")
    with pytest.raises(DockcError, match="failed to parse"):
        steps.run(_ssh(steps, 11), ssh=secrets.ClientSsh([f"default={key}"]))


def test_nothing_forwarded(steps: Steps, agent: tuple[Agent, Path]) -> None:
    with pytest.raises(DockcError) as caught:
        steps.run(_ssh(steps, 11))
    assert caught.value.message == 'no SSH key "default" forwarded from the client'
    with pytest.raises(DockcError, match="no SSH key"):
        steps.run(_ssh(steps, 11), ssh=secrets.ClientSsh([]))
    with pytest.raises(DockcError) as caught:
        steps.run(_ssh(steps, 11), ssh=secrets.ClientSsh([f"other={agent[1]}"]))
    assert caught.value.message == "unset ssh forward key default"
    op = _ssh(steps, 11)
    _exec(op).meta.args[:] = ["true"]
    _exec(op).mounts[1].SSHOpt.optional = True
    steps.run(op)


# Permissions, limits, ends


def test_entitlements(steps: Steps) -> None:
    host = steps.op()
    _exec(host).network = 1
    with pytest.raises(DockcError, match=r"^network\.host is not allowed$"):
        steps.cache_map(host)
    insecure = steps.op()
    _exec(insecure).security = 1
    with pytest.raises(DockcError, match=r"^security\.insecure is not allowed$"):
        steps.cache_map(insecure)
    steps.cache_map(insecure, entitlements=frozenset({"security.insecure"}))


def test_devices(steps: Steps) -> None:
    op = steps.op()
    _exec(op).cdiDevices.add(name="vendor.com/gpu=0", optional=True)
    steps.run(op)
    assert steps.log == "optional CDI device vendor.com/gpu=0 is not available\n"
    _exec(op).cdiDevices[0].optional = False
    with pytest.raises(DockcError, match=r"CDI device vendor\.com/gpu=0 is not available"):
        steps.run(op)


def test_a_log_is_passed_on_whole(steps: Steps) -> None:
    steps.run(steps.op("seq 1 500000"))
    assert steps.log.startswith("1\n2\n") and steps.log.endswith("499999\n500000\n")
    assert len(steps.log) == sum(len(str(number)) + 1 for number in range(1, 500001))


def test_a_log_is_bounded_where_that_is_asked_for(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDKIT_STEP_LOG_MAX_SIZE", str(2 << 20))
    with pytest.raises(ExecError):
        steps.run(steps.op("seq 1 1000000; exit 1"))
    log = steps.log
    assert len(log) < 3 << 20
    assert "\n[output clipped, log limit 2MiB reached]\n" in log
    assert log.endswith("999999\n1000000\n")


def test_cancel(steps: Steps) -> None:
    before = {record.id for record in steps.worker.refs.usage()}
    with pytest.raises(ExecCancelled):
        steps.run(steps.op("sleep 60"), cancel_after=0.3)
    assert {record.id for record in steps.worker.refs.usage()} == before


def test_no_mount_is_left(steps: Steps) -> None:
    def mounts() -> set[str]:
        return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}

    before = mounts()
    op = steps.op("exit 1")
    _secret(op, "token")
    _cache(op, "/cache")
    with pytest.raises(ExecError):
        steps.run(op, secrets=Store(token=b"x"))
    assert mounts() == before
    assert not list((steps.worker.refs.staging / "executor").iterdir())
