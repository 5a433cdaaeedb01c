"""Listings for people, and paths."""

from __future__ import annotations

import pytest

from dockc import llb
from dockc.golang import paths
from dockc.golang.text import dump_strings
from dockc.llb import text


def sample() -> llb.Definition:
    place = llb.SourceMap("Dockerfile", b"FROM x\nRUN y\n", "Dockerfile")
    state = llb.image("alpine", name="base").env("A", "1").user("app")
    state = state.run(
        "make",
        mounts=[llb.cache("/c", "id"), llb.tmpfs("/t", size=5), llb.mount("/s", llb.local("l"), readonly=True)],
        secrets=[llb.Secret("k", target="/run/k"), llb.Secret("e", env="E")],
        ssh=[llb.Ssh()],
        name='[2/2] "RUN"',
        at=[llb.Location(place, ((2, 0, 2, 5),))],
    )
    return state.file(llb.copy(llb.local("ctx"), "/a", "/b"), llb.rm("/c")).marshal()


def test_tree() -> None:
    lines = text.tree(sample()).splitlines()
    assert lines[0].startswith("#0 sha256:")
    assert lines[0].endswith("  base")
    assert "    source docker-image://docker.io/library/alpine:latest" in lines
    assert "      mount /c = scratch cache id (shared)" in lines
    assert "      mount /t = tmpfs 5" in lines
    assert "      mount /s = #1 read-only" in lines
    assert "      mount /run/k = secret k" in lines
    assert "    at Dockerfile:2" in lines
    assert "      copy #3:/a -> /b" in lines
    assert lines[-1].startswith("result #4  sha256:")


def test_dot_is_quoted_and_labelled() -> None:
    out = text.dot(sample())
    assert out.startswith("digraph {\n")
    assert 'label="[2/2] \\"RUN\\""' in out
    assert 'label="/s"' in out
    assert out.endswith("}\n")


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("", "."),
        ("/", "/"),
        ("//a//b/", "/a/b"),
        ("a/../b", "b"),
        ("../a", "../a"),
        ("/../a", "/a"),
        ("a/..", "."),
        ("./a/./b", "a/b"),
        ("a/../../b", "../b"),
        ("..", ".."),
    ],
)
def test_clean(path: str, wanted: str) -> None:
    assert paths.clean(path) == wanted


def test_normalize_keeps_the_end_where_asked() -> None:
    assert paths.normalize("/w", "a/", keep_slash=True) == "/w/a/"
    assert paths.normalize("/w", "a/.", keep_slash=True) == "/w/a/."
    assert paths.normalize("/w", "/.", keep_slash=True) == "/."
    assert paths.normalize("/", ".", keep_slash=True) == "/"
    assert paths.normalize("/w", "a/") == "/w/a"
    assert paths.normalize("", "a") == "/a"


def test_go_json() -> None:
    assert dump_strings(["a", "<&>", "é", "\u2028", '"', "\n\x01", "\udcff"]) == (
        '["a","\\u003c\\u0026\\u003e","é","\\u2028","\\"","\\n\\u0001","\ufffd"]'
    )
