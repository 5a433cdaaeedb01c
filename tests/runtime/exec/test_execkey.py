"""Cache keys of exec operations; the digests are those that the reference builder computes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.errors import DockcError
from dockc.golang.text import dump_json
from dockc.llb.pb import ops_pb2
from dockc.runtime.ops import execkey


def _op(**platform: str) -> tuple[ops_pb2.Op, Any]:
    op = ops_pb2.Op()
    op.platform.OS, op.platform.Architecture = "linux", "amd64"
    process = op.exec
    process.meta.args.extend(["/bin/sh", "-c", "true"])
    process.mounts.add(dest="/", input=0, output=0)
    return op, process


def test_plain_step() -> None:
    op, _ = _op()
    assert dump_json(execkey.preimage(op)) == (
        b'{"Type":"buildkit.exec.v0","Exec":{"meta":{"args":["/bin/sh","-c","true"]}},"OS":"linux","Arch":"amd64"}'
    )


def test_every_field() -> None:
    op = ops_pb2.Op()
    op.platform.OS, op.platform.Architecture, op.platform.Variant = "linux", "arm", "v7"
    op.platform.OSFeatures.append("x")
    process = op.exec
    process.meta.args.extend(["sh", "-c", "a <b> & \u2028 \x01"])
    process.meta.validExitCodes.extend([0, 3])
    process.meta.ulimit.add(Name="nofile", Soft=-1, Hard=5)
    process.meta.extraHosts.add(Host="h", IP="1.2.3.4")
    process.meta.removeMountStubsRecursive = True
    process.meta.proxy_env.http_proxy = "x"
    process.mounts.add(dest="/", input=0, output=0)
    cache = process.mounts.add(dest="/c", input=-1, output=-1, mountType=3)
    cache.cacheOpt.ID, cache.cacheOpt.sharing = "other", ops_pb2.LOCKED
    process.mounts.add(dest="/c2", input=-1, output=-1, mountType=3).cacheOpt.ID = "ns//c2"
    process.mounts.add(dest="/t", input=-1, output=-1, mountType=4).TmpfsOpt.SetInParent()
    secret = process.mounts.add(dest="/s", input=-1, output=-1, mountType=1)
    secret.secretOpt.ID, secret.secretOpt.mode = "s", 0o400
    ssh = process.mounts.add(dest="/ssh", input=-1, output=-1, mountType=2)
    ssh.SSHOpt.ID, ssh.SSHOpt.optional = "s", True
    process.network, process.security = ops_pb2.NONE, ops_pb2.INSECURE
    process.secretenv.add(ID="a", name="B", optional=True)
    process.cdiDevices.add(name="v/d=1")
    # Recorded from the reference's own encoder for the same operation.
    assert execkey.digest(op) == "sha256:270f92d013f3791ee1b2a0f9ce6206fb90d00291081fe2207c9045989baadc55"


def test_what_does_not_count() -> None:
    op, process = _op()
    plain = execkey.digest(op)
    process.meta.proxy_env.http_proxy = "http://proxy"
    process.mounts[0].selector = "part"
    assert execkey.digest(op) == plain
    process.meta.extraHosts.add(Host="h", IP="1.1.1.1")
    with_host = execkey.digest(op)
    assert with_host != plain
    process.meta.extraHosts[0].IP = "2.2.2.2"
    assert execkey.digest(op) == with_host


def test_unusual_cache_ids_do_not_count() -> None:
    op, process = _op()
    mount = process.mounts.add(dest="/c", input=-1, output=-1, mountType=3)
    mount.cacheOpt.ID = "one"
    first = execkey.digest(op)
    mount.cacheOpt.ID, mount.cacheOpt.sharing = "two", 2
    assert execkey.digest(op) == first
    mount.cacheOpt.ID, mount.cacheOpt.sharing = "/c", 0
    assert execkey.digest(op) != first


@pytest.mark.parametrize(
    ("fields", "by_content"),
    [
        ({"dest": "/m", "output": -1}, True),
        ({"dest": "/m", "output": -1, "readonly": True}, True),
        ({"dest": "/m", "output": 1, "readonly": True, "selector": "part"}, True),
        ({"dest": "/m", "output": 1}, True),
        ({"dest": "/m", "output": 1, "selector": "part"}, False),
        ({"dest": "/", "output": -1, "readonly": True}, False),
        ({"dest": "/", "output": 0}, False),
        ({"dest": "/", "output": 0, "contentCache": 1}, True),
        ({"dest": "/m", "output": -1, "contentCache": 2}, False),
    ],
)
def test_when_content_counts(fields: dict[str, Any], by_content: bool) -> None:
    process = ops_pb2.ExecOp()
    process.mounts.add(input=0, **fields)
    (key,) = execkey.input_keys(process, 1)
    assert key.by_content is by_content


def test_content_where_it_is_unsafe() -> None:
    process = ops_pb2.ExecOp()
    process.mounts.add(input=0, dest="/m", output=1, selector="part", contentCache=1)
    with pytest.raises(DockcError, match="invalid mount cache content"):
        execkey.input_keys(process, 1)


def test_selectors() -> None:
    process = ops_pb2.ExecOp()
    process.mounts.add(input=0, dest="/a", output=-1, selector="x/y")
    process.mounts.add(input=0, dest="/b", output=-1, selector="/x")
    process.mounts.add(input=0, dest="/s", output=-1, mountType=1)
    unused, used = execkey.input_keys(process, 2)[1], execkey.input_keys(process, 2)[0]
    assert used.selectors == ("/x/y", "/x")
    assert used.selector_digest == "sha256:" + hashlib.sha256(b"/x/y\0/x").hexdigest()
    assert used.content_paths == ("/x",)
    assert (unused.selector_digest, unused.by_content) == ("", False)


def test_missing_input() -> None:
    process = ops_pb2.ExecOp()
    process.mounts.add(input=3, dest="/a")
    with pytest.raises(DockcError, match="invalid mountinput 3"):
        execkey.input_keys(process, 1)


_paths = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(_paths, max_size=8))
def test_outermost_paths_cover_all_and_overlap_nowhere(paths: list[str]) -> None:
    kept = execkey.outermost(paths)
    assert set(kept) <= set(paths)
    for path in paths:
        assert any(path == k or path.startswith(k + "/") for k in kept)
    for one in set(kept):
        assert not any(other != one and one.startswith(other + "/") for other in kept)
