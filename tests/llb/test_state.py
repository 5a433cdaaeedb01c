"""The authoring API gives the bytes that BuildKit's Go client gives for the same calls.

`tests/golden/llb/recorded/state` holds what the client gave, by name of the case, in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from dockc import llb
from dockc.errors import UsageError
from dockc.llb import caps, ops, text
from dockc.llb.author.state import from_definition
from dockc.oci.platform import Platform
from tests.golden.collect import recorded

GOLDEN = recorded("llb/recorded", "state")
HASH = "sha256:" + "a" * 64
NANOS = 1_700_000_000_000_000_005


def alpine(**said: Any) -> llb.State:
    return llb.image("alpine", **said)


def full() -> llb.State:
    state = alpine().env("A", "1").env("B", "2").env("A", "3").dir("/x").dir("y").user("u:g").hostname("h")
    state = state.network(ops.Network.HOST).security(ops.Security.INSECURE).extra_host("db", "10.0.0.1")
    return (
        state.ulimit("nofile", 1, 2)
        .cgroup_parent("/cg")
        .run(
            "a",
            "",
            "b",
            mounts=[
                llb.mount("/z", llb.image("busybox"), readonly=True, selector="/sel"),
                llb.cache("/c", "id", sharing=ops.Sharing.LOCKED),
                llb.tmpfs("/t", size=99),
                llb.mount("/n", alpine(), no_output=True),
                llb.mount("/cc", alpine(), content_cache=ops.ContentCache.OFF),
            ],
            secrets=[
                llb.Secret("sid", target="/run/s", optional=True, uid=1, gid=2, mode=0o600),
                llb.Secret("e", env="ENVS"),
            ],
            ssh=[llb.Ssh("default"), llb.Ssh(target="/s2", uid=5, gid=6, mode=0o640, optional=True)],
            devices=[llb.Device("v/c=d", True)],
            proxy=llb.ProxyEnv(http_proxy="p", no_proxy="n", all_proxy="a"),
            exit_codes=[0, 3, -1],
            ignore_cache=True,
            name="nm",
            description={"k": "v"},
            export_cache=False,
            progress_group=llb.ProgressGroup("pgid", "pgname", weak=True),
            platform="linux/arm64",
            resources=llb.LinuxResources(memory=5),
        )
    )


def files() -> llb.State:
    source = llb.local("l").dir("/src")
    return (
        alpine()
        .dir("/w")
        .file(
            llb.mkdir("d", 0o700, parents=True, owner="app:5", timestamp=NANOS),
            llb.mkfile("/f", b"\0\xff", 0o640, owner=(7, 8)),
            llb.copy(
                source,
                "a/../b",
                "dest/",
                follow_symlinks=True,
                dir_contents=True,
                unpack=True,
                create_dest=True,
                wildcard=True,
                empty_wildcard=True,
                include=["i"],
                exclude=["e", "f"],
                required=["r"],
                replace_existing=True,
                mode="u+x",
            ),
            llb.copy(llb.image("busybox"), "/b", "dest/.", mode=0o755, owner="root"),
            llb.rm("/r*", allow_missing=True, wildcard=True),
            llb.symlink("old", "/new", owner=":g", timestamp=NANOS),
            name="files",
        )
    )


def mount_output() -> llb.State:
    return alpine().run("x", mounts=[llb.mount("/out"), llb.mount("/a", llb.local("l"))]).mount("/out")


def readonly_output() -> llb.State:
    return alpine().run("x", readonly_root=True, mounts=[llb.mount("/out")]).mount("/out")


def part(name: str) -> llb.State:
    return llb.scratch().file(llb.mkfile(f"/{name}", name))


def places() -> tuple[llb.State, llb.State]:
    first = llb.SourceMap("f", b"abc\ndef", "Dockerfile")
    second = llb.SourceMap("g", b"x", "Lang", llb.local("dockerfile", session="s"))

    def at(file: llb.SourceMap, line: int) -> llb.Location:
        return llb.Location(file, ((line, 0, line + 1, 3),))

    one = alpine(name="one", at=[at(first, 1)]).run("x", at=[at(second, 4)])
    two = alpine(name="two", ignore_cache=True, at=[at(first, 2), at(second, 9)]).run("x", export_cache=True)
    return one, two


def equal_twice() -> llb.State:
    one, two = places()
    return two.file(llb.copy(one, "/a", "/b"), llb.copy(alpine(name="three"), "/c", "/d"))


def image_config() -> llb.State:
    config = '{"architecture":"arm64","os":"linux","config":{"Env":["A=b","NOEQ","=x","P=1=2"],"WorkingDir":"/wd"}}'
    return alpine().with_image_config(config).run("x")


def merged() -> llb.State:
    a = part("a")
    return llb.merge(alpine(), a, llb.scratch(), part("b"), a, name="m")


def from_made() -> llb.State:
    return from_definition(places()[0].marshal()).run("more")


CASES: dict[str, Callable[[], llb.State]] = {
    "scratch": llb.scratch,
    "image": alpine,
    "image-options": lambda: llb.image(
        f"busybox:1@{HASH}",
        resolve_mode="pull",
        platform="linux/arm64",
        record_type="internal",
        name="x",
        filters=["a==b"],
    ),
    "image-local-mode": lambda: llb.image("ghcr.io/a/b:c", resolve_mode="local"),
    "local": lambda: llb.local(
        "ctx",
        include=["a", "b<c>&"],
        exclude=["*.x"],
        follow=["é"],
        shared_key_hint="h",
        differ="none",
        differ_required=True,
    ),
    "local-session": lambda: llb.local("ctx", session="s", differ="metadata"),
    "git": lambda: llb.git(
        "https://user:pw@github.com/a/b.git",
        ref="main",
        subdir="x/y",
        keep_git_dir=True,
        checksum="abc",
        skip_submodules=True,
        mtime="commit",
        fetch_by_commit=True,
    ),
    "git-plain": lambda: llb.git("github.com/a/b"),
    "git-auth": lambda: llb.git("https://h/a.git", auth_token_secret="tok"),
    "git-ssh": lambda: llb.git("git@localhost.invalid:a/b.git", known_ssh_hosts="k1\n", mount_ssh_sock="sock", ref="r"),
    "http": lambda: llb.http(
        "https://h/x",
        filename="f",
        perm=0o644,
        uid=3,
        gid=4,
        checksum=HASH,
        accept="a",
        user_agent="u",
        auth_header_secret="sec",
    ),
    "oci": lambda: llb.oci_layout(f"n@{HASH}", session="sess", store="store", layer_limit=2),
    "run": lambda: alpine().run("echo 'a b' c"),
    "run-full": full,
    "run-mount-output": mount_output,
    "run-readonly": readonly_output,
    "platform-flow": lambda: alpine(platform="linux/arm64").run("x").run("y"),
    "state-platform": lambda: llb.scratch().platform(Platform("linux", "arm", "v7")).run("y"),
    "file": files,
    "file-scratch": lambda: llb.scratch().file(llb.mkfile("x", "data")),
    "copy-scratch": lambda: llb.scratch().file(llb.copy(llb.scratch(), "/x", "/y")),
    "merge": merged,
    "merge-one": lambda: llb.merge(llb.scratch(), part("a")),
    "diff": lambda: llb.diff(alpine(), alpine().run("x")),
    "diff-upper-scratch": lambda: llb.diff(alpine(), llb.scratch()),
    "diff-lower-scratch": lambda: llb.diff(llb.scratch(), part("a")),
    "requires": lambda: alpine().requires("id", part("a"), part("b")),
    "equal-twice": equal_twice,
    "caps": lambda: alpine().run("x", ssh=[llb.Ssh()]),
    "caps-no-path": lambda: alpine().env("Z", "z").run("x", ssh=[llb.Ssh()]),
    "from-definition": from_made,
    "image-config": image_config,
}
KNOWN_CAPS = {"caps": caps.ALL, "caps-no-path": caps.ALL - {caps.EXEC_META_SETS_DEFAULT_PATH}}


def test_every_case_is_here() -> None:
    assert CASES.keys() == GOLDEN.keys()


@pytest.mark.parametrize("name", sorted(CASES))
def test_bytes(name: str) -> None:
    made = CASES[name]().marshal(caps=KNOWN_CAPS.get(name), unique_id="uniq")
    wanted = llb.Definition.parse(base64.b64decode(GOLDEN[name]))
    assert text.json_lines(made) == text.json_lines(wanted)
    assert made.to_bytes() == base64.b64decode(GOLDEN[name])


def test_states_do_not_change() -> None:
    base = alpine()
    base.env("A", "1").dir("/x").run("y")
    assert base.environment == ()
    assert base.directory == "/"


def test_deep_chains_need_no_recursion() -> None:
    state = alpine()
    for n in range(3000):
        state = state.run("true", str(n))
    assert len(state.marshal().ops) == 3002


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: alpine().run(), "arguments are required"),
        (lambda: alpine().file(), "action is required"),
        (lambda: alpine().run("x").mount("/nowhere"), "the mount at /nowhere has no output"),
        (lambda: alpine().run("x", mounts=[llb.tmpfs("/t")]).mount("/t"), "the mount at /t has no output"),
    ],
)
def test_misuse(call: Callable[[], object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        call()


def test_shell_form() -> None:
    definition = alpine().run("a && b", shell=True).marshal()
    (op,) = [o.op for _, data in definition.ops if isinstance((o := ops.parse(data)).op, ops.ExecOp)]
    assert op.meta is not None
    assert op.meta.args == ("/bin/sh", "-c", "a && b")
