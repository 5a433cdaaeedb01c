"""Builders as root and as ordinary users, with each executor, in processes of their own."""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dockc.golang.ospaths import DEFAULT_PATH
from dockc.runtime.baseimage import build as basefs
from dockc.runtime.executor.rootless import subordinate_ids
from tests.readable import readable_python

HERE = Path(__file__).resolve().parent
REPO = HERE.parents[2]
# One user for each test process: they are made and removed independently.
USER = "dockctest" + os.environ.get("PYTEST_XDIST_WORKER", "")
PROGRAMS = (
    "sh", "cat", "ls", "id", "sleep", "touch", "env", "uname", "stat", "mkdir", "head", "grep", "mount", "mknod",
    "unshare", "perl", "readlink", "true", "ln", "rm", "seq", "cp", "chmod", "echo",
)  # fmt: skip
DRIVER = (HERE / "driver.py").read_text()  # as text: other users may not be able to read the file
EXECUTORS = ("embedded", "crun", "runc")
IDENTITIES = ("root", "user", "single")


@dataclass(frozen=True)
class Answer:
    status: int | None
    out: str
    err: str
    error: str
    cancelled: bool


class Builder:
    """Talks to one driver process."""

    def __init__(self, executor: str, identity: str, base: Path, command: list[str]) -> None:
        self.executor = executor
        self.identity = identity
        self.process = subprocess.Popen(
            [*command, "-B", "-c", DRIVER, executor, str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPO), "LC_ALL": "C.UTF-8"},
            cwd="/",
        )
        self.hello = self._read()

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.send(op, **fields)
        return self._read()

    def send(self, op: str, **fields: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps({"op": op, **fields}) + "\n").encode())
        self.process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the driver died"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(
        self,
        script: str | None = None,
        *,
        mounts: Any = (),
        cancel_after: float | None = None,
        cancel_at: str = "",
        **spec: Any,
    ) -> Answer:
        """What a step does; it is cancelled after some seconds, or when it has written `cancel_at`."""
        fields: dict[str, Any] = {"spec": spec, "mounts": list(mounts)}
        if script is not None:
            fields["script"] = script
        if cancel_after is not None:
            fields["cancel_after"] = cancel_after
        if cancel_at:
            fields["cancel_at"] = cancel_at
        raw = self.ask("run", **fields)
        return Answer(
            status=raw.get("status"),
            out=base64.b64decode(raw["out"]).decode(errors="surrogateescape"),
            err=base64.b64decode(raw["err"]).decode(errors="surrogateescape"),
            error=raw.get("error", ""),
            cancelled=raw.get("cancelled", False),
        )

    def sh(self, script: str) -> None:
        assert self.ask("sh", script=f"set -e; cd {self.top}; {script}")["status"] == 0

    def fresh(self) -> None:
        self.ask("fresh")

    def tree(self, path: str = "") -> list[str]:
        names: list[str] = self.ask("tree", path=path)["names"]
        return names

    @property
    def top(self) -> Path:
        return Path(self.hello["top"])

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="session")
def base_tar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small root file system from this machine's programs, as a tar that everyone may read."""
    for program in PROGRAMS:
        if shutil.which(program, path=DEFAULT_PATH) is None:
            pytest.skip(f"no {program} on this machine")
    directory = tmp_path_factory.mktemp("base")
    path = directory / "base.tar"
    with path.open("wb") as stream:
        basefs.write_layer(basefs.collect(PROGRAMS), stream)
    readable = Path("/tmp") / f"dockc-test-base-{os.getpid()}.tar"
    shutil.copy(path, readable)
    readable.chmod(0o644)
    return readable


@pytest.fixture(scope="session", autouse=True)
def _clean_base_tar() -> Iterator[None]:
    yield
    (Path("/tmp") / f"dockc-test-base-{os.getpid()}.tar").unlink(missing_ok=True)


def _add_user() -> bool:
    """Make the test user with its subordinate ids; another test process may hold the lock for a moment."""
    for options in (["--system", "--add-subids-for-system"], ["--no-create-home"]) * 10:
        if subprocess.run(["useradd", *options, USER], capture_output=True, check=False).returncode == 0:
            return True
        time.sleep(0.2)
    return False


@pytest.fixture(scope="session")
def identities() -> Iterator[dict[str, list[str] | str]]:
    """From identity to the command line of its Python, or to the reason why there is none."""
    found: dict[str, list[str] | str] = {}
    created = False
    if os.geteuid() != 0:
        mapped = subordinate_ids("/etc/subuid", os.geteuid()) and all(map(shutil.which, ("newuidmap", "newgidmap")))
        mine = "user" if mapped else "single"
        found = dict.fromkeys(IDENTITIES, "not root, so no other user can be tried")
        found[mine] = [sys.executable]
    else:
        found["root"] = [sys.executable]
        if shutil.which("setpriv") is None:
            found["user"] = found["single"] = "no setpriv on this machine"
        else:
            try:
                pwd.getpwnam(USER)
            except KeyError:
                made = _add_user()
                created = made
            for identity in ("user", "single"):
                try:
                    uid = gid = 54321
                    if identity == "user":
                        uid, gid = pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid
                except KeyError:
                    found[identity] = "no user could be made"
                    continue
                if identity == "user" and not (subordinate_ids("/etc/subuid", uid) and shutil.which("newuidmap")):
                    found[identity] = "no subordinate ids or no newuidmap"
                    continue
                become = ["setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups", "env"]
                able = readable_python(become, imports="dockc.runtime.executor.rootless")
                if able is None:
                    found[identity] = "no Python that an ordinary user may run"
                    continue
                python, path = able
                found[identity] = [*become, f"PYTHONPATH={path}", python]
    yield found
    if created:
        subprocess.run(["userdel", USER], capture_output=True, check=False)


class Builders:
    def __init__(self, identities: dict[str, list[str] | str], base: Path) -> None:
        self._identities = identities
        self._base = base
        self._running: dict[tuple[str, str], Builder] = {}

    def start(self, executor: str, identity: str, *, prefix: Sequence[str] = ()) -> Builder:
        if executor != "embedded" and shutil.which(executor, path=DEFAULT_PATH) is None:
            pytest.skip(f"no {executor} on this machine")
        command = self._identities[identity]
        if isinstance(command, str):
            pytest.skip(command)
        builder = Builder(executor, identity, self._base, [*prefix, *command])
        if "refused" in builder.hello:
            pytest.skip(builder.hello["refused"])
        if identity == "user":
            assert not builder.hello["single"], builder.hello["reason"]
        return builder

    def get(self, executor: str, identity: str) -> Builder:
        key = (executor, identity)
        if key not in self._running:
            self._running[key] = self.start(executor, identity)
        return self._running[key]

    def close(self) -> None:
        for builder in self._running.values():
            builder.close()


@pytest.fixture(scope="session")
def builders(identities: dict[str, list[str] | str], base_tar: Path) -> Iterator[Builders]:
    made = Builders(identities, base_tar)
    yield made
    made.close()


MAPPED = [f"{executor}-{identity}" for executor in EXECUTORS for identity in ("root", "user")]


@pytest.fixture(params=[*MAPPED, "embedded-single"])
def builder(request: pytest.FixtureRequest, builders: Builders) -> Builder:
    """Every executor as every kind of user."""
    executor, identity = request.param.split("-")
    return builders.get(executor, identity)


@pytest.fixture(params=MAPPED)
def mapped(request: pytest.FixtureRequest, builders: Builders) -> Builder:
    """Every executor where the usual ids exist."""
    executor, identity = request.param.split("-")
    return builders.get(executor, identity)


@pytest.fixture(params=IDENTITIES)
def embedded(request: pytest.FixtureRequest, builders: Builders) -> Builder:
    """The embedded executor as every kind of user, for what only it promises."""
    return builders.get("embedded", request.param)


@pytest.fixture
def hidden_proc() -> list[str]:
    """A command prefix under which parts of /proc are hidden, as in a container of a container engine."""
    if os.geteuid() != 0:
        pytest.skip("hiding parts of /proc needs root")
    hide = 'mount -t tmpfs -o ro none /proc/fs; mount --bind /dev/null /proc/keys; exec "$@"'
    return ["unshare", "--mount", "sh", "-c", hide, "sh"]
