"""Which node builds what: laws of the choice, and what makes a context the same."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.client import builders, joining, nodes
from dockc.client.builders import Node
from dockc.client.nodes import Health
from dockc.commands.remote import chosen
from dockc.errors import DockcError, UsageError
from dockc.oci import manifest as manifests
from dockc.oci.descriptor import Descriptor
from dockc.oci.manifest import Index
from dockc.oci.platform import parse
from dockc.runtime.exporter.options import make_output

AMD, ARM = parse("linux/amd64"), parse("linux/arm64")
NODES = tuple(Node(f"tcp://n{number}:1") for number in range(5))
WELL = Health((AMD,))
CONTEXTS = [f"context {number}" for number in range(3000)]


def best(members: tuple[Node, ...], identity: str, **health: Health) -> Node:
    return nodes.ranked(members, {node: health.get(node.name, WELL) for node in members}, AMD, identity)[0]


@given(st.text(), st.permutations(NODES))
def test_the_order_of_the_nodes_does_not_matter(identity: str, members: list[Node]) -> None:
    assert best(tuple(members), identity) == best(NODES, identity)


def test_a_node_that_goes_moves_its_own_contexts_only() -> None:
    before = {one: best(NODES, one) for one in CONTEXTS}
    after = {one: best(NODES[:-1], one) for one in CONTEXTS}
    moved = [one for one in CONTEXTS if before[one] != after[one]]
    assert moved == [one for one in CONTEXTS if before[one] == NODES[-1]]
    shares = Counter(before.values())
    assert all(450 < shares[node] < 750 for node in NODES), shares


def test_weights_are_shares() -> None:
    members = (Node("tcp://a:1", weight=3), Node("tcp://b:1"), Node("tcp://c:1", weight=0))
    shares = Counter(best(members, one).addr for one in CONTEXTS)
    assert set(shares) == {"tcp://a:1", "tcp://b:1"}
    assert 2.5 < shares["tcp://a:1"] / shares["tcp://b:1"] < 3.6
    assert best(members[2:], "x").addr == "tcp://c:1"


@given(st.text())
def test_platforms_come_before_the_context(identity: str) -> None:
    given_, own, able, other = (
        Node("tcp://1:1", name="given", platforms=("linux/amd64",)),
        Node("tcp://2:1", name="own"),
        Node("tcp://3:1", name="able"),
        Node("tcp://4:1", name="other"),
    )
    health = {
        given_: Health((ARM,)),
        own: Health((AMD, ARM)),
        able: Health((ARM, AMD)),
        other: Health((ARM,)),
    }
    assert nodes.ranked([other, able, own, given_], health, AMD, identity) == (given_, own, able, other)
    health[given_] = Health((ARM,), full=True)
    health[own] = Health(problem="gone")
    assert nodes.ranked([other, able, own, given_], health, AMD, identity) == (able, other, given_)


def test_a_node_that_was_given_other_platforms_is_no_choice_by_its_own() -> None:
    kept, free = Node("tcp://1:1", name="kept", platforms=("linux/arm64",)), Node("tcp://2:1", name="free")
    assert best((kept, free), "x") is free


def test_what_makes_a_context_the_same(tmp_path: Path) -> None:
    def clone(name: str) -> Path:
        folder = tmp_path / name
        (folder / "sub").mkdir(parents=True)
        subprocess.run(["git", "init", "-q", folder], check=True)
        subprocess.run(
            ["git", "-C", folder, "remote", "add", "origin", "https://u:secret@example.com/x.git"], check=True
        )
        return folder / "sub"

    one, two = clone("one"), clone("two")
    assert nodes.identity_of(str(one)) == nodes.identity_of(str(two))
    assert "secret" not in nodes.identity_of(str(one))
    assert nodes.identity_of(str(one)) != nodes.identity_of(str(one.parent))
    work = tmp_path / "three"
    run = ["git", "-C", str(one.parent), "-c", "user.name=x", "-c", "user.email=x@example.com"]
    subprocess.run([*run, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    subprocess.run([*run, "worktree", "add", "-q", str(work)], check=True, capture_output=True)
    assert nodes.identity_of(str(work)) == nodes.identity_of(str(one.parent))
    plain = tmp_path / "plain"
    plain.mkdir()
    (tmp_path / "link").symlink_to(plain)
    assert (
        nodes.identity_of(str(plain)) == nodes.identity_of(str(tmp_path / "link")) != nodes.identity_of(str(tmp_path))
    )
    remote = "https://example.com/x.git"
    assert nodes.identity_of(f"{remote}#main:sub") == nodes.identity_of(f"{remote}#v1") == nodes.identity_of(remote)


@pytest.mark.parametrize("text", ["[remote", '[remote "origin"]\nurl', "\x00\xff", "", '[remote "origin"]\n'])
def test_a_broken_clone_is_a_directory(tmp_path: Path, text: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text(text)
    assert nodes.identity_of(str(tmp_path)).endswith(str(tmp_path))
    other = tmp_path / "w"
    other.mkdir()
    (other / ".git").write_text("gitdir: /nowhere\x00")
    assert nodes.identity_of(str(other)).endswith(str(other))


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_nodes_are_kept() -> None:
    builders.create("b", Node("tcp://h:1"), use=True)
    builders.append("b", Node("tcp://h:2", name="two", platforms=("linux/arm64",), weight=2))
    assert builders.append("b", Node("tcp://h:3")).name == "b2"
    builders.append("b", Node("tcp://h:4", name="two"))
    assert [one.shown for one in builders.find("b")] == ["tcp://h:1", "two", "b2"]
    assert builders.find("b")[1] == Node("tcp://h:4", name="two")
    builders.leave("b", "two")
    builders.leave("b", "tcp://h:1")
    assert builders.find("b") == (Node("tcp://h:3", name="b2"),)
    for wrong in (
        lambda: builders.leave("b", "b2"),
        lambda: builders.leave("b", "none"),
        lambda: builders.append("none", Node("tcp://h:1")),
        lambda: builders.append("b", Node("tcp://h:3", name="again")),
        lambda: builders.append("b", Node("tcp://h:9", name="a/b")),
        lambda: builders.append("b", Node("tcp://h:9", platforms=("linux/",))),
    ):
        with pytest.raises(UsageError):
            wrong()


@pytest.mark.parametrize(
    ("name", "addr", "builder", "host", "expected"),
    [
        ("", "", "", "", "here"),
        ("mine", "", "", "", "tcp://mine:1"),
        ("", "tcp://a:1", "", "", "tcp://a:1"),
        # What the options have from the environment is handed over like what is typed.
        ("mine", "tcp://h:1", "mine", "tcp://h:1", "tcp://mine:1"),
        ("mine", "tcp://h:1", "", "tcp://h:1", "tcp://mine:1"),
        ("mine", "tcp://typed:1", "mine", "", "tcp://typed:1"),
        ("default", "tcp://h:1", "", "tcp://h:1", "here"),
        ("mine", "tcp://typed:1", "", "", "error"),
        ("none", "", "none", "", "error"),
    ],
)
def test_who_builds(
    monkeypatch: pytest.MonkeyPatch, name: str, addr: str, builder: str, host: str, expected: str
) -> None:
    builders.create("mine", Node("tcp://mine:1"))
    monkeypatch.setenv("BUILDX_BUILDER", builder)
    monkeypatch.setenv("BUILDKIT_HOST", host)
    if expected == "error":
        with pytest.raises(UsageError):
            chosen(name, addr)
    else:
        found = chosen(name, addr)
        assert (found.nodes[0].addr if found is not None else "here") == expected


def test_a_file_of_before_is_read() -> None:
    builders.path().parent.mkdir(parents=True)
    builders.path().write_text(
        json.dumps({"builders": {"a": {"addr": "tcp://h:1", "tls": {"ca": "/c"}}}, "current": "a"})
    )
    (node,) = builders.find("a")
    assert (node.addr, node.tls.ca, node.weight) == ("tcp://h:1", "/c", 1)
    builders.path().write_text(json.dumps({"builders": {"a": {"nodes": []}}}))
    with pytest.raises(DockcError, match="no list of builders"):
        builders.load()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("type=tar,dest=x", "type tar"),
        ("type=docker,dest=x", "type docker"),
        ("type=local,dest=x,mode=delete", "mode=delete"),
        ("type=local,dest=x,platform-split=false", "platform-split"),
        ("type=image,push=true", "tag is needed"),
        ("type=image,name=x,push=true,push-by-digest=true", "push-by-digest"),
    ],
)
def test_what_one_node_alone_can_make(text: str, word: str) -> None:
    attrs = dict(part.partition("=")[::2] for part in text.split(","))
    output = make_output(attrs.pop("type"), attrs.pop("dest", ""), attrs)
    with pytest.raises(UsageError, match=word):
        joining.check([output], [], [])


def test_indexes_are_joined() -> None:
    def part(*names: str, **notes: str) -> tuple[Descriptor, bytes]:
        entries = tuple(
            Descriptor("application/vnd.oci.image.manifest.v1+json", f"sha256:{name * 64}", 1) for name in names
        )
        data = Index("application/vnd.oci.image.index.v1+json", entries, annotations=notes).marshal()
        return Descriptor("application/vnd.oci.image.index.v1+json", manifests_digest(data), len(data)), data

    parts = [part("a", "b", k="1"), part("b", "c", k="2", more="x")]
    root, data = joining.merged([(root, lambda _, data=data: data) for root, data in parts])  # type: ignore[misc]
    found = manifests.parse(data, root.media_type)
    assert isinstance(found, Index)
    assert [one.digest[7] for one in found.manifests] == ["a", "b", "c"]
    assert found.annotations == {"k": "1", "more": "x"}
    with pytest.raises(DockcError, match="where an index was asked for"):
        joining.merged(
            [(Descriptor("application/vnd.oci.image.manifest.v1+json", "sha256:" + "a" * 64, 1), lambda _: _manifest())]
        )


def manifests_digest(data: bytes) -> str:
    from dockc.oci import digest

    return digest.from_bytes(data)


def _manifest() -> bytes:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": "sha256:" + "b" * 64, "size": 1}
    return json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
