"""History and creation times, by the rules of the reference exporter."""

from __future__ import annotations

import json

import pytest

from dockc.golang.times import Time
from dockc.oci.config import History
from dockc.runtime.exporter.patch import (
    InvalidConfig,
    LayerInfo,
    history_of,
    normalize_history,
    parse_base,
    patch_config,
)

A, B, C, D = (Time(number) for number in (10, 20, 30, 40))


def test_every_layer_gets_an_entry() -> None:
    result = normalize_history([History(A, "base")], [LayerInfo(A), LayerInfo(B, "RUN x"), LayerInfo(C)])
    assert result == [
        History(A, "base"),
        History(B, "RUN x", comment="buildkit.exporter.image.v0"),
        History(C, "created by buildkit", comment="buildkit.exporter.image.v0"),
    ]


def test_entries_without_a_time_take_their_layers_or_the_next_new_layers() -> None:
    history = [History(None, "one"), History(None, "env", empty_layer=True), History(None, "two")]
    result = normalize_history(history, [LayerInfo(A), LayerInfo(B)])
    assert [item.created for item in result] == [A, B, B]


def test_metadata_before_the_first_new_layer_is_not_as_old_as_the_base() -> None:
    history = [
        History(A, "base"),
        History(None, "ENV", empty_layer=True),
        History(None, "RUN"),
        History(None, "CMD", empty_layer=True),
    ]
    result = normalize_history(history, [LayerInfo(A), LayerInfo(C)])
    assert [item.created for item in result] == [A, C, C, C]


def test_metadata_only() -> None:
    result = normalize_history([History(A, "base"), History(None, "ENV", empty_layer=True)], [LayerInfo(D)])
    assert [item.created for item in result] == [A, A]


def test_no_time_is_known() -> None:
    result = normalize_history([History(None, "ENV", empty_layer=True)], [])
    assert result == [History(None, "ENV", empty_layer=True)]


def test_more_entries_than_layers() -> None:
    result = normalize_history([History(A, "one"), History(B, "two"), History(C, "three")], [LayerInfo(A)])
    assert [item.empty_layer for item in result] == [False, True, True]


def config(**fields: object) -> bytes:
    return json.dumps({"os": "linux", "architecture": "amd64", **fields}).encode()


def test_patch() -> None:
    data = patch_config(config(config={"Z": 1, "A": "<"}, zzz=1), ["sha256:" + "a" * 64], [History(B, "x")])
    assert data == (
        b'{"architecture":"amd64","config":{"Z":1,"A":"\\u003c"},"created":"1970-01-01T00:00:20Z",'
        b'"history":[{"created":"1970-01-01T00:00:20Z","created_by":"x"}],"os":"linux",'
        b'"rootfs":{"type":"layers","diff_ids":["sha256:' + b"a" * 64 + b'"]},"zzz":1}'
    )


def test_patch_of_an_empty_image() -> None:
    document = json.loads(patch_config(config(), [], []))
    assert document["rootfs"] == {"type": "layers", "diff_ids": []}
    assert document["history"] == [] and "created" not in document


def test_epoch_clamps_all_but_the_base() -> None:
    base = parse_base(config(history=[{"created": str(D), "created_by": "base"}]))
    history = [History(D, "base"), History(D, "new"), History(None, "?"), History(A, "old")]
    document = json.loads(patch_config(config(created=str(D)), ["sha256:" + "a" * 64], history, epoch=20, base=base))
    assert [item["created"] for item in document["history"]] == [str(D), str(B), str(B), str(A)]
    assert document["created"] == str(B)
    older = json.loads(patch_config(config(created=str(A)), [], [], epoch=20))
    assert older["created"] == str(A)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"null", "invalid image config for export: image config: expected an object, got null"),
        (b'{"architecture":"x"}', "invalid image config for export: missing os"),
        (b'{"os":"x"}', "invalid image config for export: missing architecture"),
        (b"{", "invalid image config for export: image config: not valid JSON"),
    ],
)
def test_broken_configs(data: bytes, message: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        patch_config(data, [], [])
    assert caught.value.message.startswith(message)
    with pytest.raises(InvalidConfig):
        history_of(b"[]")
