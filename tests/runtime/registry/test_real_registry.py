"""Pulls and pushes against Debian's docker-registry; skopeo looks from the other side."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from dockc.oci import mediatypes as mt
from dockc.oci.platform import Platform
from dockc.oci.reference import parse_normalized
from dockc.runtime.content.store import ContentStore
from dockc.runtime.refs.types import LayerDescriptor
from dockc.runtime.registry.client import AccessDenied, Client, NotFound
from dockc.runtime.registry.credentials import DockerConfig
from dockc.runtime.registry.fetch import RegistryProvider
from dockc.runtime.registry.push import Push
from dockc.runtime.session.auth import Credentials
from tests.runtime.registry_servers import PASSWORD, USER, make_image, make_index, need

pytestmark = pytest.mark.peer


def test_push_then_pull(registry: str, client: Client, source: ContentStore, store: ContentStore) -> None:
    image = make_image(source, [{"a": b"1"}, {"b": b"2" * 70_000}])
    ref = parse_normalized(f"{registry}/round/trip:1")
    Push(client, source).run(ref, image.root)

    assert client.resolve(ref).digest == image.root.digest
    descriptor, data = client.manifest(ref)
    assert (descriptor.media_type, data) == (mt.OCI_MANIFEST, image.manifest)
    provider = RegistryProvider(client, ref)
    for blob in (*image.layers, image.config):
        provider.fetch(blob, store)
        assert store.verify(blob.digest) == blob.size


def test_skopeo_sees_what_was_pushed(registry: str, client: Client, source: ContentStore) -> None:
    skopeo = need("skopeo")
    one = make_image(source, [{"a": b"1"}])
    two = make_image(source, [{"a": b"2"}], platform=Platform("linux", "arm64", "v8"))
    index = make_index(source, one, two)
    Push(client, source).run(parse_normalized(f"{registry}/multi:x"), index)
    run = subprocess.run(
        [skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{registry}/multi:x"],
        capture_output=True,
        check=True,
    )
    assert [m["digest"] for m in json.loads(run.stdout)["manifests"]] == [one.root.digest, two.root.digest]


def test_pull_what_skopeo_pushed(
    registry: str, client: Client, source: ContentStore, store: ContentStore, tmp_path: Path
) -> None:
    from tests.runtime.registry_servers import write_layout

    skopeo = need("skopeo")
    image = make_image(source, [{"x": b"y" * 1000}])
    layout = write_layout(source, image.root, "t")
    subprocess.run(
        [skopeo, "copy", "--dest-tls-verify=false", "--format=v2s2", f"oci:{layout}:t", f"docker://{registry}/sk:t"],
        check=True,
        capture_output=True,
    )
    descriptor, data = client.manifest(parse_normalized(f"{registry}/sk:t"))
    assert descriptor.media_type == mt.DOCKER_MANIFEST
    layer = json.loads(data)["layers"][0]
    assert layer["mediaType"] == mt.DOCKER_LAYER_GZIP


def test_chunked_upload(registry: str, client: Client, source: ContentStore, store: ContentStore) -> None:
    import os

    image = make_image(source, [{"noise": os.urandom(100_000)}])
    ref = parse_normalized(f"{registry}/chunks:1")
    sent: list[tuple[int, bool]] = []
    Push(client, source, chunk=30_000, progress=lambda d, now, total, done: sent.append((now, done))).run(
        ref, image.root
    )
    RegistryProvider(client, ref).fetch(image.layers[0], store)
    assert store.verify(image.layers[0].digest) == image.layers[0].size
    assert (30_000, False) in sent and (image.layers[0].size, True) in sent


def test_push_by_digest_leaves_no_tag(registry: str, client: Client, source: ContentStore) -> None:
    image = make_image(source, [{"d": b"digest"}])
    ref = parse_normalized(f"{registry}/bydigest:nope")
    Push(client, source).run(ref, image.root, by_digest=True)
    with pytest.raises(NotFound):
        client.resolve(ref)
    assert client.resolve(ref.trim().with_digest(image.root.digest)).size == image.root.size


def test_blob_is_mounted_from_the_repository_it_came_from(
    registry: str, client: Client, source: ContentStore, tmp_path: Path
) -> None:
    """The target store does not even hold the layer: only a mount can bring it there."""
    image = make_image(source, [{"m": b"mount me"}])
    Push(client, source).run(parse_normalized(f"{registry}/from/here:1"), image.root)
    poor = ContentStore(tmp_path / "poor")
    poor.put(image.manifest)
    poor.put(source.read(image.config.digest))
    layer = LayerDescriptor(
        image.diff_ids[0], image.layers[0], origin=f"docker-image://{registry}/from/here@{image.root.digest}"
    )
    Push(client, poor, {layer.descriptor.digest: layer}).run(parse_normalized(f"{registry}/to/there:1"), image.root)
    assert client.has_blob(parse_normalized(f"{registry}/to/there"), layer.descriptor.digest)


def test_unknown_image(registry: str, client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.resolve(parse_normalized(f"{registry}/nobody/made:this"))
    assert caught.value.message == f"{registry}/nobody/made:this: not found"
    with pytest.raises(NotFound):
        client.manifest(parse_normalized(f"{registry}/nobody/made@sha256:" + "0" * 64))


def test_basic_authentication(locked_registry: str, source: ContentStore) -> None:
    image = make_image(source, [{"s": b"secret"}])
    ref = parse_normalized(f"{locked_registry}/private:1")
    anonymous = Client()
    with pytest.raises(AccessDenied) as caught:
        Push(anonymous, source).run(ref, image.root)
    assert "push access denied" in caught.value.message
    anonymous.close()

    wrong = Client(config=DockerConfig({locked_registry: Credentials(USER, "guess")}))
    with pytest.raises(AccessDenied) as caught:
        wrong.resolve(ref)
    assert caught.value.message.startswith(
        f"{ref}: pull access denied, repository does not exist or may require authorization"
    )
    assert caught.value.hint == f"log in to {locked_registry} first: docker login {locked_registry}"
    wrong.close()

    right = Client(config=DockerConfig({locked_registry: Credentials(USER, PASSWORD)}))
    Push(right, source).run(ref, image.root)
    assert right.resolve(ref).digest == image.root.digest
    right.close()
