"""Digests, descriptors, manifests, configs, times and the JSON they are written in."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.errors import DigestMismatch
from dockc.golang import text as gotext
from dockc.golang.times import InvalidTime, Time
from dockc.oci import config, digest, manifest, mediatypes
from dockc.oci.descriptor import Descriptor
from dockc.oci.fields import InvalidDocument, decode
from dockc.oci.manifest import Index, Manifest
from dockc.oci.platform import Platform

SHA = "sha256:" + "ab" * 32
DESC = {"mediaType": mediatypes.OCI_CONFIG, "digest": SHA, "size": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid checksum digest format"),
        ("sha256", "invalid checksum digest format"),
        ("sha256:", "invalid checksum digest format"),
        ("sha256:ab", "invalid checksum digest length"),
        ("sha256:" + "AB" * 32, "invalid checksum digest format"),
        ("md5:" + "ab" * 16, "unsupported digest algorithm"),
        ("a/b:cd", "invalid checksum digest format"),
        ("sha256:" + "a" * 63 + "\n", "invalid checksum digest format"),
    ],
)
def test_bad_digests(text: str, message: str) -> None:
    with pytest.raises(digest.InvalidDigest) as caught:
        digest.validate(text)
    assert caught.value.message == message


@given(st.binary(max_size=3000), st.sampled_from(["sha256", "sha384", "sha512"]))
def test_verifying_reader_accepts_only_the_promised_bytes(data: bytes, algorithm: str) -> None:
    good = digest.from_bytes(data, algorithm)
    assert b"".join(digest.VerifyingReader(io.BytesIO(data), good, len(data))) == data
    for wrong in (data + b"x", data[:-1] if data else b"y"):
        with pytest.raises(DigestMismatch):
            list(digest.VerifyingReader(io.BytesIO(wrong), good, len(data)))
        with pytest.raises(DigestMismatch):
            list(digest.VerifyingReader(io.BytesIO(wrong), good))
        with pytest.raises(DigestMismatch):
            digest.check(wrong, good)


def test_endless_stream_stops_at_the_promised_size() -> None:
    class Endless:
        def read(self, size: int = -1) -> bytes:
            return b"\0" * size

    reader = digest.VerifyingReader(Endless(), SHA, 5000)
    with pytest.raises(DigestMismatch, match="more than the expected 5000 bytes"):
        for _ in range(100):
            reader.read(1024)


def test_quote() -> None:
    assert gotext.quote('a"b\\\n\x00\x7f\u00e9\u200b\U000e0001\udcff') == (
        '"a\\"b\\\\\\n\\x00\\x7f\u00e9\\u200b\\U000e0001\\xff"'
    )


def test_json_is_html_safe() -> None:
    assert gotext.dump_json({"a": "<&>\u2028\ud800"}) == b'{"a":"\\u003c\\u0026\\u003e\\u2028\\ufffd"}'


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2024-02-29T01:02:03Z", "2024-02-29T01:02:03Z"),
        ("2024-02-29T01:02:03.120000000Z", "2024-02-29T01:02:03.12Z"),
        ("2024-02-29T01:02:03.123456789+02:30", "2024-02-29T01:02:03.123456789+02:30"),
        ("2024-02-29T01:02:03-00:00", "2024-02-29T01:02:03Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    ],
)
def test_times(text: str, printed: str) -> None:
    assert str(Time.parse(text)) == printed


def test_time_order_ignores_the_zone() -> None:
    assert Time.parse("2024-01-01T02:00:00+02:00") == Time.parse("2024-01-01T00:00:00Z")
    assert Time.parse("2024-01-01T00:00:00.5Z") > Time.parse("2024-01-01T00:00:00Z")
    assert str(Time.from_ns(1_500_000_000)) == "1970-01-01T00:00:01.5Z"
    for bad in ("", "2024-13-01T00:00:00Z", "2024-01-01 00:00:00", "2024-01-01T00:00:00"):
        with pytest.raises(InvalidTime):
            Time.parse(bad)


def test_manifest_round_trip() -> None:
    image = Manifest(
        mediatypes.OCI_MANIFEST,
        Descriptor(mediatypes.OCI_CONFIG, SHA, 2),
        (Descriptor(mediatypes.OCI_LAYER_GZIP, SHA, 9, annotations={"b": "1", "a": "<"}),),
        {"x": "y"},
    )
    data = image.marshal()
    assert manifest.parse(data) == image
    assert b'"a": "\\u003c",\n        "b": "1"' in data
    index = Index(
        mediatypes.OCI_INDEX,
        (Descriptor(mediatypes.OCI_MANIFEST, SHA, 9, platform=Platform("linux", "arm", "v7", "1", ("f",))),),
    )
    assert manifest.parse(index.marshal()) == index


def test_an_empty_image_has_a_list_of_no_layers() -> None:
    image = Manifest(mediatypes.OCI_MANIFEST, Descriptor(mediatypes.OCI_CONFIG, SHA, 2), ())
    assert json.loads(image.marshal())["layers"] == []
    assert manifest.parse(image.marshal()) == image


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "manifest: not valid JSON"),
        (b"[]", "manifest: expected an object, got a list"),
        (b"[" * 100_000, "manifest: nested too deeply"),
        (b'{"schemaVersion":1}', "manifest: schema 1 images are not supported"),
        (b'{"schemaVersion":2}', "manifest: unknown media type ''"),
        (
            json.dumps({"config": DESC, "manifests": []}).encode(),
            "manifest: both an index and an image manifest",
        ),
        (
            json.dumps({"mediaType": mediatypes.OCI_INDEX, "config": DESC}).encode(),
            "manifest: an index with image fields",
        ),
        (
            json.dumps({"config": DESC | {"digest": "x"}, "layers": []}).encode(),
            "manifest: config: digest: invalid checksum digest format",
        ),
        (
            json.dumps({"config": DESC, "layers": [DESC | {"size": -1}]}).encode(),
            "manifest: layers[0]: size: negative",
        ),
        (
            json.dumps({"config": DESC, "layers": [DESC | {"size": "1"}]}).encode(),
            "manifest: layers[0]: size: expected an integer, got a string",
        ),
        (
            json.dumps({"config": DESC, "layers": [DESC | {"size": 2**70}]}).encode(),
            "manifest: layers[0]: size: more than 64 bits",
        ),
        (
            json.dumps({"config": DESC, "layers": [7]}).encode(),
            "manifest: layers[0]: expected an object, got an integer",
        ),
        (b"{}" + b" " * (5 << 20), "manifest: larger than 4194304 bytes"),
    ],
)
def test_bad_manifests(document: bytes, message: str) -> None:
    with pytest.raises(InvalidDocument) as caught:
        manifest.parse(document)
    assert caught.value.message.startswith(message)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["mediaType", "config", "layers", "manifests", "digest", "size", "platform"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_gives_a_document_or_a_clear_error(value: object) -> None:
    data = json.dumps(value).encode()
    for read in (manifest.parse, config.ImageConfig.parse):
        try:
            read(data)
        except InvalidDocument:
            pass


def test_config() -> None:
    document = {
        "architecture": "arm64",
        "os": "linux",
        "variant": "v8",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Env": ["A=b"],
            "Cmd": [],
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["NONE"], "Interval": 5},
            "OnBuild": ["RUN x"],
        },
        "rootfs": {"type": "layers", "diff_ids": [SHA]},
        "history": [{"created_by": "x"}, {"empty_layer": True, "created": "2024-01-01T00:00:00.1Z"}],
        "unknown": 1,
    }
    image = config.ImageConfig.parse(json.dumps(document).encode())
    assert image.platform == Platform("linux", "arm64", "v8")
    assert image.config.cmd == () and image.config.entrypoint is None
    assert image.config.healthcheck == config.Healthcheck(("NONE",), 5)
    assert image.history[1].to_json() == {"created": "2024-01-01T00:00:00.1Z", "empty_layer": True}
    assert image.raw["unknown"] == 1
    with pytest.raises(InvalidDocument, match="history: created"):
        decode(b'{"created": 1}', "history").text("created")


def test_default_config() -> None:
    assert config.default_config(Platform("linux", "amd64")) == (
        b'{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:'
        b'/usr/bin:/sbin:/bin"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":null}}'
    )


def test_chain_ids() -> None:
    # The example of the specification: ChainID(A, B) hashes "A B", and a chain starts with its first diff id.
    one, two, three = (digest.from_bytes(text) for text in (b"1", b"2", b"3"))
    both = digest.from_bytes(f"{one} {two}".encode())
    assert config.chain_id([]) == ""
    assert config.chain_ids([one, two, three]) == (one, both, digest.from_bytes(f"{both} {three}".encode()))
    assert config.chain_id([one, two, three]) == config.chain_ids([one, two, three])[-1]


def test_media_types() -> None:
    assert mediatypes.layer_type("estargz", oci=False) == mediatypes.DOCKER_LAYER_GZIP
    assert mediatypes.convert_layer(mediatypes.DOCKER_LAYER_GZIP, oci=True) == mediatypes.OCI_LAYER_GZIP
    assert mediatypes.convert_layer("application/x", oci=True) == "application/x"
    assert mediatypes.distributable(mediatypes.DOCKER_LAYER_FOREIGN_GZIP) == mediatypes.DOCKER_LAYER_GZIP
