"""Images from registries and OCI layouts: platform, laziness, keys, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from dockc.errors import DockcError, RegistryError, StoreError
from dockc.llb.pb import ops_pb2
from dockc.oci import digest as digests
from dockc.oci import mediatypes as mt
from dockc.oci.descriptor import Descriptor
from dockc.oci.manifest import Index
from dockc.oci.platform import Platform
from dockc.oci.reference import parse_normalized
from dockc.runtime.cancel import Cancelled
from dockc.runtime.content.store import ContentStore
from dockc.runtime.ops.source import SourceOp
from dockc.runtime.refs.manager import RefManager
from dockc.runtime.refs.result import ref_of
from dockc.runtime.registry.client import Client, NotFound
from dockc.runtime.source import image, ocilayout
from dockc.runtime.source.base import OCI_STORES, REGISTRY
from dockc.runtime.source.found import FoundFiles, FoundImage
from dockc.runtime.source.registry import LocalNames, RegistryOrigin, provider_for
from dockc.runtime.source.resolve import Resolver
from dockc.solver.vertex import Vertex
from tests.runtime.registry_servers import (
    AMD64,
    Answer,
    Image,
    Script,
    Seen,
    free_port,
    make_image,
    make_index,
    serve_image,
    write_layout,
)
from tests.runtime.source.conftest import Context, files_of
from tests.runtime.waiting import awaited

ARM = Platform("linux", "arm64", "v8")


class Worker:
    """The two things of a worker that sources use."""

    def __init__(self, refs: RefManager) -> None:
        self.refs = refs
        self.content = refs.content


def source_op(refs: RefManager, identifier: str, platform: Platform | None = AMD64, /, **attributes: str) -> SourceOp:
    op = ops_pb2.Op()
    op.source.identifier = identifier
    for key, value in attributes.items():
        op.source.attrs[key.replace("_", ".")] = value
    if platform is not None:
        op.platform.OS, op.platform.Architecture = platform.os, platform.architecture
        op.platform.Variant = platform.variant
    worker: Any = Worker(refs)
    return SourceOp(Vertex("sha256:x", op), worker)


def blobs_asked(server: Script, image_: Image) -> list[str]:
    layers = {layer.digest for layer in image_.layers}
    return [path for path in server.paths() if path.rpartition("/")[2] in layers]


def test_layers_are_fetched_when_somebody_looks(refs: RefManager, source: ContentStore, ctx: Context) -> None:
    made = make_image(source, [{"a": b"1"}, {"b": b"2"}])
    with Script(serve_image(source, made)) as server:
        op = source_op(refs, f"docker-image://{server.address}/x/y:latest")
        key = asyncio.run(op.cache_map(ctx))
        (result,) = asyncio.run(op.exec(ctx, ()))
        assert result is not None and not blobs_asked(server, made)
        assert files_of(refs, result.value) == {"a": b"1", "b": b"2"}
        assert len(blobs_asked(server, made)) == 2
        result.release()
    assert key.digest.startswith("sha256:") and key.preimage["pin"] == made.root.digest


def test_what_comes_later_shows_as_the_work_of_the_step(refs: RefManager, source: ContentStore, ctx: Context) -> None:
    made = make_image(source, [{"a": b"1"}, {"b": b"2"}])
    layers = [layer.digest for layer in made.layers]
    with Script(serve_image(source, made)) as server:
        name = f"docker-image://{server.address}/x/y:latest"
        op = source_op(refs, name)
        asyncio.run(op.cache_map(ctx))
        (result,) = asyncio.run(op.exec(ctx, ()))
        (later,) = ctx.laters
        assert (later.waiting, later.said) == (True, [])
        assert result is not None
        ref_of(result).prefetch()
        assert (later.said[0], later.said[-1]) == (("begin",), ("end", ""))
        said, downloaded = later.said[1:-1], [("downloading", digest) for digest in layers]
        unpacked = [("extracting", f"extracting {digest}") for digest in layers]
        assert sorted(said) == sorted(downloaded + unpacked)
        # The first may be unpacked while the second still comes.
        assert all(said.index(first) < said.index(then) for first, then in zip(downloaded, unpacked, strict=True))
        assert [one for one in said if one in unpacked] == unpacked
        asyncio.run(source_op(refs, name).cache_map(ctx))
        assert not ctx.laters[1].waiting, "all is here"
        result.release()


def test_layers_that_do_not_come_are_an_error_of_the_step(refs: RefManager, source: ContentStore, ctx: Context) -> None:
    made = make_image(source, [{"a": b"1"}])
    source.remove(made.layers[0].digest)
    with Script(serve_image(source, made)) as server:
        op = source_op(refs, f"docker-image://{server.address}/x/y:latest")
        asyncio.run(op.cache_map(ctx))
        (result,) = asyncio.run(op.exec(ctx, ()))
        assert result is not None
        with pytest.raises(RegistryError) as failed:
            ref_of(result).prefetch()
    assert failed.value.vertex == "sha256:step"
    assert ctx.laters[0].said == [("begin",), ("end", str(failed.value))]
    result.release()


def test_cache_keys(refs: RefManager, source: ContentStore, ctx: Context) -> None:
    """Equal images under two names share their keys; the layers are a second name."""
    made = make_image(source, [{"a": b"1"}])
    with Script(serve_image(source, made)) as server:
        maps = [
            asyncio.run(source_op(refs, f"docker-image://{server.address}/{name}").cache_map(ctx))
            for name in ("x:latest", f"y@{made.root.digest}")
        ]
        other = asyncio.run(source_op(refs, f"docker-image://{server.address}/x:latest", ARM).cache_map(ctx))
        assert maps[0].digest == maps[1].digest != other.digest
        assert maps[0].more is not None and other.more is not None
        blobs = asyncio.run(awaited(maps[0].more(ctx)))
        assert blobs.digest == asyncio.run(awaited(other.more(ctx))).digest
        assert blobs.more is not None and blobs.proven is None
        claimed = asyncio.run(awaited(blobs.more(ctx)))
        assert claimed.proven is not None
        assert not claimed.proven(), "nobody has looked yet whether the blobs are what the diff ids say"
        op = source_op(refs, f"docker-image://{server.address}/x:latest")
        (result,) = asyncio.run(op.exec(ctx, ()))
        assert result is not None and files_of(refs, result.value) == {"a": b"1"}
        result.release()
        again = asyncio.run(source_op(refs, f"docker-image://{server.address}/x:latest").cache_map(ctx))
        assert again.more is not None
        same = asyncio.run(awaited(again.more(ctx)))
        assert same.digest == blobs.digest and same.more is not None
        chain = asyncio.run(awaited(same.more(ctx)))
        assert chain.digest == claimed.digest == digests.from_bytes(f"buildkit.source.v0:{made.diff_ids[0]}".encode())
        assert claimed.proven() and chain.proven is not None and chain.proven()


def test_platform_of_an_index(source: ContentStore, refs: RefManager, tmp_path: Path) -> None:
    one = make_image(source, [{"a": b"1"}])
    two = make_image(source, [{"a": b"2"}], platform=ARM)
    index = make_index(source, one, two)
    layout = ocilayout.open_layout(write_layout(source, index))
    ref = parse_normalized("x").with_digest(index.digest)
    found = image.load(layout, ref, Platform("linux", "arm64"), refs.content)
    assert found.root.digest == index.digest and found.layers[0].diff_id == two.diff_ids[0]
    with pytest.raises(NotFound) as caught:
        image.load(layout, ref, Platform("linux", "s390x"), refs.content)
    assert caught.value.message == f"{ref}: no match for platform in manifest {index.digest}: not found"
    assert caught.value.hint == "the image is made for linux/amd64, linux/arm64/v8"


def test_single_manifest_serves_any_platform(source: ContentStore, refs: RefManager) -> None:
    made = make_image(source, [{"a": b"1"}])
    layout = ocilayout.open_layout(write_layout(source, made.root))
    ref = parse_normalized("x").with_digest(made.root.digest)
    assert image.load(layout, ref, ARM, refs.content).layers[0].diff_id == made.diff_ids[0]


@pytest.mark.parametrize("archived", [False, True])
def test_oci_layout(refs: RefManager, source: ContentStore, ctx: Context, tmp_path: Path, archived: bool) -> None:
    made = make_image(source, [{"l": b"layout"}])
    path = write_layout(source, made.root, "v1")
    if archived:
        with tarfile.open(tmp_path / "layout.tar", "w") as archive:
            for name in ("oci-layout", "index.json", "blobs"):
                archive.add(path / name, f"./{name}")
        path = tmp_path / "layout.tar"
    assert ocilayout.resolve_context(f"{path}:v1") == (path, made.root.digest)
    assert ocilayout.resolve_context(f"{path}@{made.root.digest}") == (path, made.root.digest)
    ctx.values[OCI_STORES] = {"mine": path}
    op = source_op(refs, f"oci-layout://docker.io/library/base@{made.root.digest}", oci_store="mine")
    asyncio.run(op.cache_map(ctx))
    (result,) = asyncio.run(op.exec(ctx, ()))
    assert result is not None
    origin = result.value.layers()[0].origin  # type: ignore[attr-defined]
    assert origin == f"oci-layout://{path}@{made.root.digest}"
    client: Any = ctx.values[REGISTRY]
    assert provider_for(client, origin) is not None
    assert files_of(refs, result.value) == {"l": b"layout"}
    result.release()


def test_unknown_store(refs: RefManager, ctx: Context) -> None:
    op = source_op(refs, f"oci-layout://docker.io/library/base@sha256:{'0' * 64}", oci_store="mine")
    with pytest.raises(NotFound, match="no OCI layout store named 'mine'"):
        asyncio.run(op.cache_map(ctx))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "not an OCI layout: oci-layout"),
        ({"oci-layout": b"{}"}, "OCI layout version '' is not supported"),
        ({"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'}, "OCI layout version '2.0.0'"),
        ({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}, "not an OCI layout: index.json"),
        ({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b"["}, "not valid JSON"),
    ],
)
def test_broken_layouts(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(RegistryError) as caught:
        ocilayout.open_layout(tmp_path)
    assert message in caught.value.message


def test_not_a_layout_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.tar.gz").write_bytes(b"\x1f\x8b" + b"\0" * 600)
    for path in (tmp_path / "x.tar.gz", tmp_path / "missing"):
        with pytest.raises(RegistryError):
            ocilayout.open_layout(path)


def test_layout_with_a_damaged_blob(refs: RefManager, source: ContentStore, ctx: Context) -> None:
    made = make_image(source, [{"l": b"layout"}])
    path = write_layout(source, made.root)
    blob = source.path(made.layers[0].digest)
    blob.chmod(0o644)
    blob.write_bytes(b"\0" * made.layers[0].size)
    ctx.values[OCI_STORES] = {"mine": path}
    op = source_op(refs, f"oci-layout://docker.io/library/base@{made.root.digest}", oci_store="mine")
    (result,) = asyncio.run(op.exec(ctx, ()))
    assert result is not None
    with pytest.raises(StoreError), result.value.mount():  # type: ignore[attr-defined]
        pass
    result.release()


def test_layer_limit_and_checksum(refs: RefManager, source: ContentStore, ctx: Context) -> None:
    made = make_image(source, [{"a": b"1"}, {"b": b"2"}])
    with Script(serve_image(source, made)) as server:
        name = f"docker-image://{server.address}/x:latest"
        op = source_op(refs, name, image_layerlimit="1", image_checksum=made.root.digest)
        asyncio.run(op.cache_map(ctx))
        (result,) = asyncio.run(op.exec(ctx, ()))
        assert result is not None and files_of(refs, result.value) == {"a": b"1"}
        result.release()
        zero = "sha256:" + "0" * 64
        wrong = f"image digest {made.root.digest} for {server.address}/x:latest"
        wrong += f" does not match expected checksum {zero}"
        for attributes, message in (
            ({"image_layerlimit": "3"}, "layer limit 3 is greater than the number of layers in the image 2"),
            ({"image_checksum": zero}, wrong),
        ):
            with pytest.raises(RegistryError) as caught:
                asyncio.run(source_op(refs, name, **attributes).cache_map(ctx))
            assert caught.value.message == message


@pytest.mark.parametrize(
    ("identifier", "attributes", "message"),
    [
        ("docker-image://docker.io/library/x", {}, "object required"),
        ("docker-image://X", {}, "invalid reference format: repository name (library/X) must be lowercase"),
        ("docker-image://x:1", {"image_resolvemode": "maybe"}, "invalid resolvemode: maybe"),
        ("docker-image://x:1", {"image_layerlimit": "0"}, "invalid layer limit 0"),
        ("docker-image://x:1", {"image_recordtype": "odd"}, "invalid record type odd"),
        ("docker-image://x:1", {"image_checksum": "x"}, "invalid image checksum x: invalid checksum digest format"),
        ("gopher://x", {}, "source 'gopher://x': scheme 'gopher' is not supported"),
    ],
)
def test_senseless_operations(refs: RefManager, identifier: str, attributes: dict[str, str], message: str) -> None:
    with pytest.raises(DockcError) as caught:
        source_op(refs, identifier, **attributes)
    assert caught.value.message == message


@pytest.mark.parametrize("kind", ["extra layer", "not an image", "odd layer", "attestation only"])
def test_documents_that_make_no_image(refs: RefManager, source: ContentStore, ctx: Context, kind: str) -> None:
    made = make_image(source, [{"a": b"1"}])
    document = json.loads(made.manifest)
    if kind == "extra layer":
        document["layers"] *= 2
    elif kind == "not an image":
        document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    elif kind == "odd layer":
        document["layers"][0]["mediaType"] = "application/x"
    data = json.dumps(document).encode()
    root = Descriptor(mt.OCI_MANIFEST, source.put(data), len(data))
    if kind == "attestation only":
        entry = Descriptor(mt.OCI_MANIFEST, root.digest, root.size, platform=Platform("unknown", "unknown"))
        data = Index(mt.OCI_INDEX, (entry,)).marshal()
        root = Descriptor(mt.OCI_INDEX, source.put(data), len(data))
    layout = ocilayout.open_layout(write_layout(source, root))
    with pytest.raises(RegistryError):
        image.load(layout, parse_normalized("x").with_digest(root.digest), AMD64, refs.content)


def test_index_that_contains_itself_many_times(refs: RefManager, source: ContentStore) -> None:
    made = make_image(source, [{"a": b"1"}])
    root = made.root
    for _ in range(6):
        data = Index(mt.OCI_INDEX, (Descriptor(root.media_type, root.digest, root.size, platform=AMD64),)).marshal()
        root = Descriptor(mt.OCI_INDEX, source.put(data), len(data))
    layout = ocilayout.open_layout(write_layout(source, root))
    with pytest.raises(RegistryError, match="indexes inside each other"):
        image.load(layout, parse_normalized("x").with_digest(root.digest), AMD64, refs.content)


# --- resolve modes and questions ------------------------------------------------------------------------


def test_resolve_modes(refs: RefManager, source: ContentStore, client: Client) -> None:
    first, second = make_image(source, [{"a": b"1"}]), make_image(source, [{"a": b"2"}])
    with Script(serve_image(source, first)) as server:
        ref = parse_normalized(f"{server.address}/x:latest")

        def root(mode: str) -> str:
            origin = RegistryOrigin(client, refs.content, ref, mode)
            return image.load(origin, ref, AMD64, refs.content).root.digest

        assert root("default") == first.root.digest
        server.answer = serve_image(source, second)
        assert root("local") == first.root.digest
        assert root("pull") == second.root.digest
        assert root("local") == second.root.digest
        server.answer = lambda _: Answer(500)
        assert root("default") == second.root.digest
        with pytest.raises(RegistryError):
            root("pull")


def test_what_was_built_is_found_by_name(refs: RefManager, source: ContentStore) -> None:
    made = make_image(refs.content, [{"a": b"1"}])
    names = LocalNames(refs.content)
    ref = parse_normalized("mine:1")
    names.put(ref, made.root)
    assert (names.get(ref) or pytest.fail("lost")).digest == made.root.digest
    assert names.get(parse_normalized("mine:2")) is None
    assert names.get(ref.with_digest("sha256:" + "0" * 64)) is None
    refs.content.remove(made.root.digest)
    assert names.get(ref) is None


class Wanted:
    """An image request, as the compiler's."""

    def __init__(self, ref: str, platform: Platform = AMD64, store: str = "") -> None:
        self.ref, self.platform, self.resolve_mode, self.store = ref, platform, "default", store


class Files:
    """A request for files, as the compiler's."""

    def __init__(self, name: str, *files: str) -> None:
        self.name, self.files = name, files


def test_resolver(refs: RefManager, source: ContentStore, client: Client, tmp_path: Path) -> None:
    made = make_image(source, [{"a": b"1"}])
    layout = write_layout(source, made.root)
    context = tmp_path / "context"
    (context / "sub").mkdir(parents=True)
    (context / ".dockerignore").write_text("*.log\n")
    (context / "out").symlink_to("/etc/passwd")
    with Script(serve_image(source, made)) as server:
        resolver = Resolver(refs.content, client, locals={"context": context}, stores={"s": layout})
        dead = f"127.0.0.1:{free_port()}/x"
        answers = asyncio.run(
            resolver.answer(
                [
                    Wanted(f"{server.address}/x:latest"),
                    Wanted(f"docker.io/library/x@{made.root.digest}", store="s"),
                    Wanted(dead),
                    Files("context", ".dockerignore", "none", "out"),
                    Files("elsewhere", "x"),
                    Files("context", "sub"),
                ]
            )
        )
    config = source.read(made.config.digest)
    assert answers[0] == FoundImage(f"{server.address}/x:latest", made.root.digest, config)
    assert answers[1] == FoundImage(f"docker.io/library/x@{made.root.digest}", made.root.digest, config)
    assert isinstance(answers[2], RegistryError) and "cannot reach the registry" in answers[2].message
    assert answers[3] == FoundFiles({".dockerignore": b"*.log\n", "none": None, "out": None})
    assert isinstance(answers[4], DockcError) and "no local source named 'elsewhere'" in answers[4].message
    assert isinstance(answers[5], DockcError) and answers[5].message == "sub: not a regular file"
    with pytest.raises(TypeError):
        resolver.find(object())


def test_cancelled_question(refs: RefManager, client: Client) -> None:
    async def ask() -> None:
        task = asyncio.create_task(Resolver(refs.content, client).answer([Wanted(f"{server.address}/x")]))
        while not server.seen:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    def answer(seen: Seen) -> Answer:
        return Answer(503, delay=0.1, headers={"Retry-After": "1"})

    with Script(answer) as server:
        asyncio.run(ask())
        assert len(server.seen) <= 2


def test_a_layout_with_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "oci-layout")
    with pytest.raises(RegistryError, match="not an OCI layout: oci-layout: not a regular file"):
        ocilayout.open_layout(tmp_path)
    os.mkfifo(tmp_path / "fifo.tar")
    with pytest.raises(RegistryError, match="not a regular file"):
        ocilayout.open_layout(tmp_path / "fifo.tar")


def test_hostile_archives_are_read_by_our_own_reader(
    tmp_path: Path, source: ContentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header of 200,000 digits, which some readers search in quadratic time; data is passed over, not read."""
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 200_000
    (tmp_path / "r.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + b"1" * 200_000 + bytes(-200_000 % 512))
    monkeypatch.setattr(tarfile, "open", None)
    with pytest.raises(RegistryError, match="not an uncompressed tar archive: invalid extended header"):
        ocilayout.open_layout(tmp_path / "r.tar")
    big = tarfile.TarInfo("big")
    big.size = 1 << 40
    with (tmp_path / "big.tar").open("wb") as file:
        file.write(big.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + (1 << 34))
    with pytest.raises(RegistryError, match="unexpected end of archive inside a file"):
        ocilayout.open_layout(tmp_path / "big.tar")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled):
        ocilayout.open_layout(tmp_path / "big.tar", stop)


def test_a_digest_is_asked_for_where_it_was_not_seen(refs: RefManager, client: Client, source: ContentStore) -> None:
    """What one repository holds, another need not: an image by digest is not taken because it came from elsewhere."""
    made = make_image(source, [{"a": b"1"}])
    honest = serve_image(source, made)

    def answer(seen: Seen) -> Answer:
        return Answer(404) if "/second/" in seen.path else honest(seen)

    with Script(answer) as server:

        def find(name: str) -> str:
            ref = parse_normalized(f"{server.address}/{name}@{made.root.digest}")
            return image.load(RegistryOrigin(client, refs.content, ref), ref, AMD64, refs.content).root.digest

        assert find("first") == made.root.digest
        asked = len(server.seen)
        assert find("first") == made.root.digest
        assert len(server.seen) == asked
        with pytest.raises(RegistryError):
            find("second")
        # What was built or loaded under the name is the store's own.
        LocalNames(refs.content).put(parse_normalized(f"{server.address}/second:x"), made.root, built=True)
        asked = len(server.seen)
        assert find("second") == made.root.digest
        assert len(server.seen) == asked
