"""Frontends from images: what they are given, what they may ask, and how they end."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dockc.rpc.calls import Call, Channel
from dockc.rpc.pb import gateway_pb2
from tests.tools import busybox, shell_context

REGISTRY = shutil.which("docker-registry")
SOLVE = "/moby.buildkit.v1.frontend.LLBBridge/Solve"
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(REGISTRY is None, reason="docker-registry is not installed"),
]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKC_STORE", str(tmp_path / "store"))
    return tmp_path


def dockc(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dockc", *arguments], input=stdin, capture_output=True, text=True, check=False, timeout=120)


def frontend(registry: str, folder: Path, name: str, script: str, *more: str, said: bytes = b"") -> str:
    """Push a frontend that is a shell script, with a file beside it."""
    context = shell_context(folder / name)
    (context / "said").write_bytes(said)
    (context / "run").write_text("#!/bin/sh\n" + script)
    (context / "run").chmod(0o755)
    links = "".join(f"COPY busybox /bin/{one}\n" for one in ("sh", "cat", "env", "grep", "head"))
    (context / "Dockerfile").write_text(f"FROM scratch\n{links}COPY run /frontend\nENTRYPOINT [\"/frontend\"]\n" + "".join(f"{line}\n" for line in more))
    image = f"{registry}/{name}:1"
    done = dockc("build", str(context), "-o", f"type=image,name={image},push=true", "--progress=none")
    assert done.returncode == 0, done.stderr
    return image


def calling(image: str, times: int) -> tuple[bytes, int]:
    """What a frontend says that calls frontends, itself for one, and how many bytes it is told before it is answered."""

    async def go() -> tuple[bytes, int]:
        there, back = bytearray(), bytearray()
        asked = 0

        async def silent(call: Call) -> None:
            nonlocal asked
            asked += 1
            await asyncio.sleep(3600)

        client = Channel(there.extend)
        server = Channel(back.extend, handlers={SOLVE: silent})
        request = gateway_pb2.SolveRequest(Frontend="gateway.v0", FrontendOpt={"source": image, "cmdline": image}, allowResultReturn=True)
        for _ in range(times):
            call = client.call(SOLVE)
            await call.send(request.SerializeToString())
            call.end()
        await asyncio.sleep(0.1)
        server.feed(bytes(there))
        await asyncio.sleep(0.1)
        assert asked == times
        client.shut()
        server.shut()
        await asyncio.sleep(0)
        return bytes(there), len(back)

    return asyncio.run(go())


@pytest.mark.parametrize("times", [1, 3])
def test_a_frontend_that_calls_itself_without_end(registry: str, store: Path, times: int) -> None:
    name = f"mirror{times}"
    said, told = calling(f"{registry}/{name}:1", times)
    script = f"cat /said\nhead -c {told + 40} > /dev/null\nexit 5\n"
    mine = f"--of={store}"  # other tests on this machine run frontends, too
    image = frontend(registry, store, name, script, "COPY said /said", f'ENTRYPOINT ["/frontend", "{mine}"]', said=said)
    done = asked(image, store)
    assert done.returncode == 1
    assert "the frontend ended with exit code 5" in done.stderr
    assert "Traceback" not in done.stderr
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert mine not in running


def asked(image: str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "c").mkdir(exist_ok=True)
    (folder / "c" / "Dockerfile").write_text(f"# syntax={image}\nFROM scratch\n")
    return dockc("build", str(folder / "c"), "--progress=none", *more)


def test_a_frontend_finds_its_options_and_its_own_graph(registry: str, store: Path) -> None:
    script = "env | grep BUILDKIT_ >&2; head -c 8 /run/config/buildkit/metadata/frontend.bin | grep -q sha && echo graph >&2; exit 3\n"
    image = frontend(registry, store, "options", script)
    done = asked(image, store, "--target", "some")
    assert done.returncode == 1
    assert "the frontend ended with exit code 3" in done.stderr
    assert "=target=some" in done.stderr
    assert f"=source={image}" in done.stderr
    assert f"=cmdline={image}" in done.stderr
    assert 'BUILDKIT_WORKERS=[{"ID"' in done.stderr
    assert "BUILDKIT_EXPORTEDPRODUCT=buildkit" in done.stderr
    # The file shows who asked for it.
    assert f"   1 | >>> # syntax={image}" in done.stderr


@pytest.mark.parametrize("name", ["frontends.invalid/x:1", "docker/dockerfile:1", "docker.io/docker/dockerfile"])
def test_a_named_context_stands_for_a_frontends_image(registry: str, store: Path, name: str) -> None:
    image = frontend(registry, store, "instead", "env | grep _OPT_ >&2; exit 3\n")
    short = name.removeprefix("docker.io/")
    done = asked(name, store, "--build-context", f"{short}=docker-image://{image}")
    assert done.returncode == 1
    assert "the frontend ended with exit code 3" in done.stderr, done.stderr
    assert f"=source={name}" in done.stderr


def test_a_layout_stands_for_a_frontends_image(registry: str, store: Path) -> None:
    frontend(registry, store, "layout", "exit 4\n")
    layout = store / "oci"
    done = dockc("build", str(store / "layout"), "-o", f"type=oci,tar=false,dest={layout}", "--progress=none")
    assert done.returncode == 0, done.stderr
    done = asked("frontends.invalid/x:1", store, "--build-context", f"frontends.invalid/x:1=oci-layout://{layout}")
    assert done.returncode == 1
    assert "the frontend ended with exit code 4" in done.stderr, done.stderr


def test_the_development_gateway_is_gone_as_in_buildkit(registry: str, store: Path) -> None:
    done = asked(f"{registry}/none:1", store, "--opt", "gateway-devel=true")
    assert done.returncode == 1
    assert "development gateway is no longer supported" in done.stderr


def test_a_frontend_that_says_nothing(registry: str, store: Path) -> None:
    done = asked(frontend(registry, store, "silent", "exit 0\n"), store)
    assert done.returncode == 1
    assert "ended without a result" in done.stderr


def test_a_frontend_that_talks_nonsense(registry: str, store: Path) -> None:
    done = asked(frontend(registry, store, "nonsense", "echo 'GET / HTTP/1.1'; echo; cat > /dev/null\n"), store)
    assert done.returncode == 1
    assert "the frontend" in done.stderr


def test_a_frontend_that_cannot_do_what_is_asked(registry: str, store: Path) -> None:
    image = frontend(registry, store, "poor", "exit 1\n", 'LABEL moby.buildkit.frontend.caps="moby.buildkit.frontend.inputs"')
    done = asked(image, store, "--opt", "frontend.caps=moby.buildkit.frontend.subrequests")
    assert done.returncode == 1
    assert "unsupported frontend capability moby.buildkit.frontend.subrequests" in done.stderr


def test_an_image_that_is_not_there(registry: str, store: Path) -> None:
    done = asked(f"{registry}/none:1", store)
    assert done.returncode == 1
    assert f"   1 | >>> # syntax={registry}/none:1" in done.stderr


def test_other_commands_say_that_only_builds_run_frontends(store: Path) -> None:
    done = dockc("compile", "-", stdin="# syntax=example.com/other\nFROM scratch\n")
    assert done.returncode == 1
    assert "the frontend example.com/other is not supported" in done.stderr
    assert "Only builds run other frontends" in done.stderr


def test_the_reference_frontend(registry: str, store: Path) -> None:
    program = shutil.which("dockerfile-frontend")
    if program is None:
        pytest.skip("dockerfile-frontend of buildkitd is not installed")
    context = store / "reference"
    context.mkdir()
    shutil.copy(program, context / "frontend")
    shutil.copy(busybox(), context / "busybox")
    (context / "Dockerfile").write_text(
        "FROM scratch\nCOPY frontend /frontend\nENTRYPOINT [\"/frontend\"]\nLABEL moby.buildkit.frontend.network.none=true\n"
        'LABEL moby.buildkit.frontend.caps="moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"\n'
    )
    image = f"{registry}/reference:1"
    assert dockc("build", str(context), "-o", f"type=image,name={image},push=true", "--progress=none").returncode == 0
    (context / "Dockerfile").write_text(f"# syntax={image}\nFROM scratch\nCOPY busybox /bin/sh\nRUN echo hi > /hi\n")
    done = dockc("build", str(context), "-o", str(store / "out"), "--progress=none")
    assert done.returncode == 0, done.stderr
    assert (store / "out" / "hi").read_text() == "hi\n"
    (context / "Dockerfile").write_text(f"# syntax={image}\nFROM scratch\nCPY a b\n")
    done = dockc("build", str(context), "--progress=none")
    assert "   3 | >>> CPY a b" in done.stderr
