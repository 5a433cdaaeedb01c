"""Addresses, certificates and builders by name."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

from dockc.client import address, builders, caches
from dockc.errors import DockcError, UsageError
from dockc.rpc.transports import connect_command
from dockc.runtime.remotecache.base import CacheEntry

DIAL = ("buildctl", "dial-stdio")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("docker-container://buildkitd", ("docker", "exec", "-i", "buildkitd", *DIAL)),
        ("docker-container://BuildKit_1?context=far", ("docker", "--context=far", "exec", "-i", "BuildKit_1", *DIAL)),
        ("podman-container://b", ("podman", "exec", "-i", "b", *DIAL)),
        (
            "kube-pod://p?namespace=n&container=c&context=x",
            ("kubectl", "--context=x", "--namespace=n", "exec", "--container=c", "-i", "p", "--", *DIAL),
        ),
        (
            "ssh://me@host:2222/run/b.sock",
            ("ssh", "-l", "me", "-p", "2222", "--", "host", "buildctl", "--addr", "unix:///run/b.sock", "dial-stdio"),
        ),
        ("ssh://host", ("ssh", "--", "host", *DIAL)),
    ],
)
def test_helper_commands(text: str, command: tuple[str, ...]) -> None:
    assert address.parse(text).command == command


def test_a_helper_that_does_not_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the end of its input nor a friendly word ends it."""
    monkeypatch.setattr(address, "_PATIENCE", 0.05)

    async def close(*, cancelled: bool) -> int:
        ready = tmp_path / f"{cancelled}"
        channel, process = await connect_command(["sh", "-c", f"trap '' TERM; : > {ready}; exec sleep 1000"])
        while not ready.exists():
            await asyncio.sleep(0.001)
        closing = asyncio.ensure_future(address.Link(channel, process).close())
        if cancelled:
            await asyncio.sleep(0.01)
            closing.cancel()
            await asyncio.wait((closing,))
        else:
            await closing
        return await process.wait()

    assert asyncio.run(close(cancelled=False)) == -signal.SIGKILL
    assert asyncio.run(close(cancelled=True)) == -signal.SIGKILL


def test_sockets() -> None:
    assert address.parse("unix:///run/b.sock").path == "/run/b.sock"
    found = address.parse("tcp://[::1]:1234")
    assert (found.host, found.port) == ("::1", 1234)


@pytest.mark.parametrize(
    "text",
    [
        "", "host", "http://x", "unix://", "tcp://host", "tcp://:1", "tcp://host:x", "tcp://host:99999999", "docker-container://", "ssh://",
        "ssh://a:secret@host", "ssh://host/x?y", "ssh://host/x#y", "kube-pod://p?namespace=a;b", "kube-pod://-x", "docker-container://--privileged",
        "ssh://-oProxyCommand=x", "kube-pod://p?container=UPPER", "ssh://%2DoProxyCommand=x", "ssh://-lroot@host", "docker-container://u@-x", "docker-container://a b",
        "docker-container://a/b", "docker-container://a:5", "docker-container://x;id", "docker-container://.a", "podman-container://%2dx", "podman-container://a#b",
        "kube-pod://p/x", "kube-pod://p:1", "kube-pod://u@p", "tcp://h:1/x", "tcp://h:1?x", "tcp://h:1#x", "tcp://me:secret@h:1",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError):
        address.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ssh://u@[::1]:22/run/x.sock", "-l u -p 22 -- ::1 buildctl --addr unix:///run/x.sock dial-stdio"),
        ("ssh://[fe80::1%25eth0]", "-- fe80::1%eth0 buildctl dial-stdio"),
        ("ssh://u%40realm@h/", "-l u@realm -- h buildctl dial-stdio"),
        ("ssh://Host:/a%20b", "-- Host buildctl --addr 'unix:///a b' dial-stdio"),
    ],
)
def test_what_urls_spell_in_their_own_way(text: str, words: str) -> None:
    assert " ".join(address.parse(text).command) == f"ssh {words}"


def test_hosts_of_tcp() -> None:
    assert (address.parse("tcp://[::1]:7").host, address.parse("tcp://[fe80::1%25lo]:7/").host) == ("::1", "fe80::1%lo")


def test_a_query_that_means_nothing_is_refused_by_name() -> None:
    """A word that is spelt wrongly would lead to another place than is meant."""
    for text, told in (
        ("kube-pod://p?namspace=n", "there is no 'namspace' of a kube-pod"),
        ("kube-pod://p?namespace=a&namespace=b", "namespace is said more than once"),
        ("docker-container://c?Context=x", "there is no 'Context' of a docker-container"),
        ("podman-container://c?context=x", "there is no 'context' of a podman-container"),
        ("docker-container://c?context=a%00b", "no name has a zero byte"),
        ("ssh://a%00b", "no name has a zero byte"),
        ("ssh://u%00@b", "no name has a zero byte"),
        ("tcp://a%00b:1", "no name has a zero byte"),
        ("tcp://ho\nst:1", "it has characters that cannot be seen"),
        ("unix:///a\0b", "it has characters that cannot be seen"),
    ):
        with pytest.raises(UsageError, match=re.escape(told)):
            address.parse(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        address.parse("ssh://me:topsecret@host")
    assert "topsecret" not in caught.value.message
    with pytest.raises(UsageError) as caught:
        address.parse("tcp://me:topsecret@host:1")
    assert "topsecret" not in caught.value.message


@pytest.mark.parametrize("path", ["/a b", "/$(id)", "/a;id", "/`id`", "/a'b", "/a&b|c"])
def test_the_shell_of_the_other_machine_reads_a_path_as_it_is(path: str) -> None:
    command = address.parse(f"ssh://host{path}").command
    line = " ".join(command[command.index("host") + 1 :])  # as ssh hands it over
    done = subprocess.run(
        ["sh", "-c", line.replace("buildctl", "printf '%s\\n'", 1)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["--addr", f"unix://{path}", "dial-stdio"]


def test_directories_of_certificates(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no certificates"):
        address.Tls.of_directory(str(tmp_path))
    for name in ("ca.crt", "tls.crt", "tls.key"):
        (tmp_path / name).touch()
    found = address.Tls.of_directory(str(tmp_path), "name")
    assert (found.ca, found.key, found.server_name) == (str(tmp_path / "ca.crt"), str(tmp_path / "tls.key"), "name")
    with pytest.raises(UsageError, match="cannot load"):
        found.context()
    with pytest.raises(UsageError, match="needs its key"):
        address.Tls(cert="x").context()


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_builders_are_kept() -> None:
    assert builders.load().nodes == {}
    tls = address.Tls("/ca", "/cert", "/key", "name")
    builders.create("a", builders.Node("unix:///x"), use=True)
    builders.create("b", builders.Node("tcp://h:1", tls))
    known = builders.load()
    assert known.current == "a"
    assert known.nodes == {"a": (builders.Node("unix:///x"),), "b": (builders.Node("tcp://h:1", tls),)}
    assert builders.path().parent.stat().st_mode & 0o777 == 0o700
    builders.use("b")
    builders.remove("b")
    assert builders.load().current == ""
    assert set(builders.load().nodes) == {"a"}


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a b", "x" * 65, ".."])
def test_names_of_builders(name: str) -> None:
    with pytest.raises(UsageError, match="invalid name"):
        builders.create(name, builders.Node("unix:///x"))


def test_what_cannot_be_kept() -> None:
    builders.create("a", builders.Node("unix:///x"))
    with pytest.raises(UsageError, match="already"):
        builders.create("a", builders.Node("unix:///y"))
    with pytest.raises(UsageError, match="no builder none"):
        builders.use("none")
    with pytest.raises(UsageError):
        builders.create("c", builders.Node("nonsense"))
    for node, told in (
        (builders.Node("unix:///x", address.Tls(server_name="n")), "unix:///x has no TLS"),
        (builders.Node("ssh://h", address.Tls(ca="/ca")), "ssh://h has no TLS"),
        (builders.Node("tcp://h:1", address.Tls(cert="/c")), "a client certificate needs its key"),
    ):
        with pytest.raises(UsageError, match=told):
            builders.create("c", node)
        with pytest.raises(UsageError, match=told):
            builders.append("a", node)
    assert set(builders.load().nodes) == {"a"}


@pytest.mark.parametrize(
    ("node", "told"),
    [
        ('{"addr": 7}', "it does not have the form"),
        ('{"addr": "unix:///x", "platforms": "linux/amd64"}', "it does not have the form"),
        ('{"addr": "unix:///x", "platforms": ["a/b/c/d"]}', "a node of the builder 'far' has a platform that is none"),
        ('{"addr": "unix:///x", "weight": null}', "it does not have the form"),
        ('{"addr": "unix:///x", "tls": []}', "it does not have the form"),
    ],
)
def test_a_node_that_somebody_has_damaged_is_told(node: str, told: str) -> None:
    builders.path().parent.mkdir(parents=True)
    builders.path().write_text(f'{{"builders": {{"far": {{"nodes": [{node}]}}}}}}')
    with pytest.raises(DockcError, match=told):
        builders.load()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"builders": {"a": {}}}', '{"builders": {"a": 3}}', "\xff"])
def test_a_damaged_list_is_told(text: str) -> None:
    builders.path().parent.mkdir(parents=True)
    builders.path().write_text(text, "latin-1")
    with pytest.raises(DockcError, match="no list of builders"):
        builders.load()


def test_caches() -> None:
    assert caches.parse("example.com/a:1") == CacheEntry("registry", {"ref": "example.com/a:1"})
    assert caches.parse("type=registry,ref=x,mode=max") == CacheEntry("registry", {"ref": "x", "mode": "max"})
    for text in ("type=local", "type=registry,oops", "ref=x"):
        with pytest.raises(UsageError):
            caches.imports([text])


def test_local_caches_are_lent(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert caches.imports([f"type=local,src={folder}"]) == ([], {})
    folder.mkdir()
    entry = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": "sha256:" + "a" * 64, "size": 1}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (found,), stores = caches.imports([f"type=local,src={folder}"])
    assert found.attrs["digest"] == entry["digest"]
    assert stores == {f"local:{folder}": folder}
    (made,), places = caches.exports([f"type=local,dest={tmp_path / 'new'}"])
    assert made.type == "local"
    assert places == {f"local:{tmp_path / 'new'}": tmp_path / "new"}
    assert (tmp_path / "new").is_dir()
