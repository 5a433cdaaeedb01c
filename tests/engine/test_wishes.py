"""What frontends and outputs may wish for, seen from a build: names, annotations, platforms, renewed caches, waiting."""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dockc import llb
from dockc.compiler.checks import RULES
from dockc.engine.bridge import Bridge, Result
from dockc.engine.engine import Engine, EngineOptions
from dockc.engine.failure import FailedStep
from dockc.engine.request import BuildRequest
from dockc.errors import CompileError, DockcError, SolveError
from dockc.llb.definition import Definition, Location, SourceInfo
from dockc.oci.keys import PLATFORMS
from dockc.protocol.errors import SOURCE, to_rpc
from dockc.runtime.exporter.options import make_output
from dockc.runtime.session.base import Session
from dockc.runtime.session.files import HeldFiles
from dockc.solver.progress import SolveStatus
from tests.tools import busybox, need_root


@pytest.fixture(autouse=True)
def _as_root() -> None:
    need_root()



def build(
    store: Path,
    frontend: Callable[[Bridge], Awaitable[Result]],
    request: BuildRequest | None = None,
    session: Session | None = None,
) -> list[SolveStatus]:
    seen: list[SolveStatus] = []

    async def main() -> None:
        async with asyncio.timeout(100), Engine(EngineOptions(root=store)) as engine:
            await engine.run(frontend, request or BuildRequest(), session or Session(), seen.append)

    asyncio.run(main())
    return seen


def warned(seen: list[SolveStatus]) -> list[str]:
    return [warning.short for status in seen for warning in status.warnings]


def of(definition: Definition, metadata: dict[str, bytes] | None = None) -> Callable[[Bridge], Awaitable[Result]]:
    async def frontend(bridge: Bridge) -> Result:
        result = await bridge.solve(definition)
        return Result(result.refs, metadata or {})

    return frontend


def file(name: str) -> Definition:
    return llb.scratch().file(llb.mkfile(name, b"x")).marshal()


def test_a_frontend_names_and_annotates_the_image(tmp_path: Path) -> None:
    metadata = {
        "image.name": b"example.com/told:1",
        "annotation-manifest.told": b"by the frontend",
        "annotationless": b"is none",
    }
    for number, (name, shown) in enumerate((("*", "example.com/told:1"), ("example.com/own:2", "example.com/own:2"))):
        out = tmp_path / f"{number}.tar"
        output = make_output("oci", str(out), {"name": name, "annotation.typed": "by hand"})
        build(tmp_path / "store", of(file("/a"), metadata), BuildRequest(outputs=(output,)))
        with tarfile.open(out) as archive:

            def read(digest: str, archive: tarfile.TarFile = archive) -> dict[str, object]:
                found = archive.extractfile(digest)
                assert found is not None
                loaded: dict[str, object] = json.loads(found.read())
                return loaded

            entry = read("index.json")["manifests"][0]  # type: ignore[index]
            assert entry["annotations"]["io.containerd.image.name"] == shown
            manifest = read("blobs/sha256/" + entry["digest"].removeprefix("sha256:"))
            told = {key: value for key, value in manifest["annotations"].items() if "." not in key}  # type: ignore[attr-defined]
            assert told == {"told": "by the frontend", "typed": "by hand"}


def test_an_output_brings_its_own_config(tmp_path: Path) -> None:
    config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"given": "1"}}, "rootfs": {"type": "layers"}}
    output = make_output("oci", str(tmp_path / "o.tar"), {"containerimage.config": json.dumps(config)})
    build(tmp_path / "store", of(file("/a")), BuildRequest(outputs=(output,)))
    with tarfile.open(tmp_path / "o.tar") as archive:
        blobs = [archive.extractfile(one) for one in archive if "blobs/sha256/" in one.name and one.isfile()]
        texts = [blob.read() for blob in blobs if blob is not None]
    assert any(b'"Labels":{"given":"1"}' in text for text in texts)


@pytest.mark.parametrize(
    ("platform", "metadata", "words"),
    [
        (None, {}, []),
        ("linux/amd64,linux/arm64", {}, ["Multiple platforms requested but result is not multi-platform"]),
        ("linux/arm64", {PLATFORMS: b""}, []),
        ("a/b/c/d", {}, ["Invalid platform result requested"]),
        ("linux/arm64,linux/arm64", {}, ["Duplicate platform result requested"]),
        ("linux/s390x", {}, ['Requested platform "linux/s390x" does not match result platform']),
    ],
)
def test_platforms_that_were_not_asked_for(
    tmp_path: Path, platform: str | None, metadata: dict[str, bytes], words: list[str]
) -> None:
    if metadata:
        told = {"Platforms": [{"ID": "linux/arm64", "Platform": {"os": "linux", "architecture": "arm64"}}]}
        metadata = {PLATFORMS: json.dumps(told).encode()}
    output = make_output("cacheonly", "", {})
    request = BuildRequest(attrs={} if platform is None else {"platform": platform}, outputs=(output,))
    found = warned(build(tmp_path, of(file("/a"), metadata), request))
    assert [word in short for word, short in zip(words, found, strict=True)] == [True] * len(words)


def test_warnings_of_a_file_that_fails_its_checks(tmp_path: Path) -> None:
    text = b"#check=error=true\nFROM scratch as base\nCOPY Dockerfile .\n"
    seen: list[SolveStatus] = []

    async def main() -> None:
        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path)) as engine:
            files = HeldFiles({"Dockerfile": text})
            request = BuildRequest(outputs=(make_output("cacheonly", "", {}),))
            session = Session(directories={"dockerfile": files, "context": files})
            with pytest.raises(CompileError, match="lint violation found for rules: FromAsCasing"):
                await engine.build(request, session, seen.append)

    asyncio.run(main())
    assert "FromAsCasing" in RULES
    assert any("FromAsCasing" in short for short in warned(seen))


def test_a_step_without_cache_renews_its_cache_mounts(tmp_path: Path) -> None:
    root = llb.scratch().file(llb.mkdir("/bin")).file(llb.mkfile("/bin/sh", busybox().read_bytes(), 0o755))

    def step(script: str, **said: bool) -> Callable[[Bridge], Awaitable[Result]]:
        mounts = [llb.cache(f"/{name}", id=name) for name in ("one", "two")][: 1 if said else 2]
        ran = root.run("/bin/sh", "-c", script, mounts=mounts, **said)  # type: ignore[arg-type]
        return of(ran.marshal())

    request = BuildRequest(outputs=(make_output("cacheonly", "", {}),))
    build(tmp_path, step("echo > /one/kept; echo > /two/kept"), request)
    build(tmp_path, step("test -e /one/kept && test -e /two/kept"), request)
    build(tmp_path, step("test ! -e /one/kept; echo > /one/new", ignore_cache=True), request)
    build(tmp_path, step("test -e /one/new && test -e /two/kept"), request)


def test_an_operation_that_only_waits(tmp_path: Path) -> None:
    root = llb.scratch().file(llb.mkdir("/bin")).file(llb.mkfile("/bin/sh", busybox().read_bytes(), 0o755))
    kept = llb.scratch().file(llb.mkfile("/kept", b"x"))
    request = BuildRequest(outputs=(make_output("local", str(tmp_path / "out"), {}),))
    seen = build(tmp_path / "store", of(kept.requires("why", root.run("/bin/sh", "-c", "echo ran")).marshal()), request)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["kept"]
    assert b"ran\n" in [log.data for status in seen for log in status.logs]
    with pytest.raises(DockcError, match="exit code: 3"):
        build(tmp_path / "store", of(kept.requires("why", root.run("/bin/sh", "-c", "exit 3")).marshal()), request)


def test_where_a_step_is_written_as_its_author_says() -> None:
    graph = llb.scratch().file(llb.mkfile("/source", b"x")).marshal()
    error = FailedStep(SolveError("broken"), name="n")
    info = SourceInfo("bar", b"text\nmore\n", "mylang", graph)
    plain = SourceInfo("foo", b"data")
    error.sources = ((info, Location(0, ((3, 1, 3, 9),))), (plain, Location(1, ((7, 0, 7, 0),))))
    first, second = (json.loads(value) for url, value in to_rpc(error).details if url == SOURCE)
    assert first["ranges"] == [{"start": {"line": 3, "character": 1}, "end": {"line": 3, "character": 9}}]
    assert (first["info"]["filename"], first["info"]["language"]) == ("bar", "mylang")
    assert len(first["info"]["definition"]["def"]) == len(graph.ops)
    assert second == {
        "info": {"filename": "foo", "data": "ZGF0YQ=="},
        "ranges": [{"start": {"line": 7}, "end": {"line": 7}}],
    }


def test_capabilities_that_are_not_known(tmp_path: Path) -> None:
    async def main(wanted: str) -> None:
        files = HeldFiles({"Dockerfile": b"FROM scratch\nCOPY Dockerfile .\n"})
        session = Session(directories={"dockerfile": files, "context": files})
        request = BuildRequest(attrs={"frontend.caps": wanted}, outputs=(make_output("cacheonly", "", {}),))
        async with asyncio.timeout(100), Engine(EngineOptions(root=tmp_path)) as engine:
            await engine.build(request, session, lambda status: None)

    asyncio.run(main("moby.buildkit.frontend.contexts+forward,moby.buildkit.frontend.inputs,"))
    with pytest.raises(DockcError, match=r"unsupported frontend capability moby\.buildkit\.frontend\.other") as caught:
        asyncio.run(main("moby.buildkit.frontend.contexts,moby.buildkit.frontend.other"))
    told = to_rpc(caught.value)
    url, value = told.details[0]
    assert (url.rpartition("/")[2], json.loads(value)) == (
        "errdefs.FrontendCap+json",
        {"name": "moby.buildkit.frontend.other"},
    )


@pytest.mark.parametrize(("attrs", "told"), [({}, "1445412480"), ({"source-date-epoch": ""}, None)])
def test_an_output_that_wants_no_time_of_the_build(tmp_path: Path, attrs: dict[str, str], told: str | None) -> None:
    output = make_output("oci", str(tmp_path / "o.tar"), {"rewrite-timestamp": "true", **attrs})
    frontend = of(file("/a"), {"source.date.epoch": b"1445412480"})
    build(tmp_path / "store", frontend, BuildRequest(outputs=(output,)))
    with tarfile.open(tmp_path / "o.tar") as archive:
        blobs = [archive.extractfile(one) for one in archive if "blobs/sha256/" in one.name and one.isfile()]
        texts = [blob.read() for blob in blobs if blob is not None]
    (manifest,) = (json.loads(text) for text in texts if b'"layers":' in text.replace(b" ", b"") and b"diff_ids" not in text)
    assert manifest["layers"][0].get("annotations", {}).get("buildkit/rewritten-timestamp") == told
