"""Building from Python: by a plain call, and many at once on one engine."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import dockc
from dockc.engine import apart
from dockc.engine.failure import FailedStep
from dockc.errors import DockcError, ExecError, SolveError, UsageError
from dockc.solver.progress import SolveStatus

ROOT = Path(__file__).parents[2]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as the store's layers are made by steps")


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY f /f\n")
    (folder / "f").write_text("content")
    return folder


@needs_root
def test_a_plain_call(context: Path, tmp_path: Path) -> None:
    told: list[SolveStatus] = []
    before = Path("/proc/self/ns/mnt").readlink()
    options = {"outputs": [f"type=local,dest={tmp_path / 'out'}"], "store": tmp_path / "store"}
    built = dockc.build(context, progress=told.append, **options)  # type: ignore[arg-type]
    assert (tmp_path / "out" / "f").read_text() == "content"
    assert (built.executed, built.cached) == (1, 0)
    names = [event.name for status in told for event in status.vertexes if event.completed]
    assert names[0] == "[internal] load build definition from Dockerfile"
    assert names[-1] == "exporting to client directory"
    again = dockc.build(context, **options)  # type: ignore[arg-type]
    assert (again.executed, again.cached) == (0, 1)
    assert Path("/proc/self/ns/mnt").readlink() == before, "the caller's namespaces are its own"


@needs_root
def test_what_goes_wrong_comes_as_what_it_is(context: Path, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY missing /f\n")
    with pytest.raises(FailedStep) as failed:
        dockc.build(context, store=tmp_path / "store")
    assert '"/missing": not found' in failed.value.message
    assert failed.value.places[0][0] == "Dockerfile"
    assert failed.value.places[0][2] == ((2, 2),)
    (context / "Dockerfile").write_text("FROM scratch\nCOPPY missing /f\n")
    with pytest.raises(DockcError, match="unknown instruction: COPPY"):
        dockc.build(context, store=tmp_path / "store")
    with pytest.raises(UsageError, match="does not exist"):
        dockc.build(tmp_path / "nowhere", store=tmp_path / "store")
    with pytest.raises(UsageError, match="unknown output type"):
        dockc.build(context, outputs=["type=strange"])


def test_errors_go_to_other_processes_whole() -> None:
    error = FailedStep(ExecError("it failed", exit_status=3, vertex="sha256:1", hint="look"), name="step", places=(("f", "text", ((1, 2),)),))
    error.context = "while building: "
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is FailedStep
    assert isinstance(copy, SolveError)
    assert vars(copy) == vars(error)
    assert str(copy) == str(error)


ENGINE = """
import asyncio, sys
import dockc

async def main() -> None:
    said = []
    async with dockc.Engine(dockc.EngineOptions(root=dockc_store)) as engine:
        asked = [dockc.request(sys.argv[1], attrs={"label:n": str(n)}, outputs=["type=cacheonly"]) for n in range(5)]
        built = await asyncio.gather(*(engine.build(request, session, said.append) for request, session in asked))
    print(len(built), sum(one.executed + one.cached for one in built), len(said) > 0)

from pathlib import Path
dockc_store = Path(sys.argv[2])
asyncio.run(main())
"""


@needs_root
def test_an_engine_builds_many_at_once(context: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", ENGINE, str(context), str(tmp_path / "store")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "5 5 True\n"


SLOW = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
import dockc

def show(status):
    for event in status.vertexes:
        if event.started and "RUN" in event.name:
            print("running", flush=True)

dockc.build(sys.argv[1], contexts={"base": "oci-layout://" + sys.argv[3]}, store=sys.argv[2], progress=show)
"""


@needs_root
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_caller_that_goes_takes_its_build_along(context: Path, tmp_path: Path, how: signal.Signals) -> None:
    layout = tmp_path / "base"
    subprocess.run([sys.executable, "-m", "dockc", "base", "sh", "sleep", "--output", str(layout)], check=True, capture_output=True, cwd=ROOT)
    mark = f"{os.getpid()}{1234567 + int(how)}"
    (context / "Dockerfile").write_text(f"FROM base\nRUN sleep {mark}\n")
    command = [sys.executable, "-c", SLOW, str(context), str(tmp_path / "store"), str(layout)]
    caller = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert caller.stdout is not None
    assert caller.stdout.readline() == "running\n"
    caller.send_signal(how)
    caller.communicate(timeout=60)
    left: list[Path] = []
    for _ in range(1200):
        left = [one for one in Path("/proc").glob("[0-9]*/cmdline") if _says(one, mark)]
        if not left:
            return
        time.sleep(0.05)
    raise AssertionError(f"still running: {left}")


def _says(path: Path, text: str) -> bool:
    try:
        return text.encode() in path.read_bytes()
    except OSError:
        return False


STRANGE = """
import os, signal, sys
result = os.open(sys.argv[3], os.O_WRONLY | os.O_CREAT, 0o600)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
os.umask(0o077)
for number in (0, 1, 2):
    os.close(number)
import dockc
built = dockc.build(sys.argv[1], store=sys.argv[2], outputs=["type=cacheonly"])
os.write(result, f"{built.executed} {built.cached} {os.umask(0):o}".encode())
"""


@needs_root
def test_a_caller_without_streams_gets_its_answer(context: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STRANGE, str(context), str(tmp_path / "store"), str(tmp_path / "result")]
    done = subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=120)
    assert (tmp_path / "result").read_text() == "1 0 77", done.stderr


def test_a_message_may_be_larger_than_a_pipe() -> None:
    """Secrets may have 500 KB each."""
    told, tell = apart._pipe()
    message = ("asked", {"id": os.urandom(400_000)})
    sending = threading.Thread(target=apart._write, args=(tell, message))
    sending.start()
    with os.fdopen(told, "rb", buffering=0) as stream:  # as the other process reads it
        assert apart._read(stream) == message
        sending.join()
        os.close(tell)
        assert apart._read(stream) is None
