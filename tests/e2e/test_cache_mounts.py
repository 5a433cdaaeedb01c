"""Cache mounts that travel with a cache: to another store, into every kind of place, and by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import cache_servers
from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import real_registry

DOCKERFILE = """\
FROM base
ARG N
RUN --mount=type=cache,id=one,target=/cache echo $N > /cache/$N && ls /cache > /one
RUN --mount=type=cache,target=/other,mode=0750 echo $N > /other/$N && ls /other > /two
"""


@pytest.fixture
def files(context: MakeContext) -> Path:
    return context(DOCKERFILE)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def _other(dockc: Dockc, number: int = 2) -> Dockc:
    return Dockc(dockc.home / f"store{number}", dockc.home, dockc.prefix, dockc.python_path)


def _build(dockc: Dockc, files: Path, base: Path, number: int, *args: str) -> str:
    return dockc.build(
        files, "--build-context", f"base=oci-layout://{base}", f"--build-arg=N={number}", "--output=type=local,dest=out", *args
    )


def _listed(dockc: Dockc) -> tuple[list[str], list[str]]:
    return (dockc.home / "out/one").read_text().split(), (dockc.home / "out/two").read_text().split()


@pytest.mark.parametrize("kind", ["registry", "local"])
def test_mounts_come_along(root: Dockc, files: Path, base: Path, registry: str, tmp_path: Path, kind: str) -> None:
    to, source = f"type=local,dest={tmp_path}/cache,gc=true", f"type=local,src={tmp_path}/cache"
    if kind == "registry":
        to = source = f"type=registry,ref={registry}/app/mounts:{kind}"
    _come_along(root, files, base, to, source)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", cache_servers.KINDS)
def test_mounts_come_along_in_object_stores(root: Dockc, files: Path, base: Path, tmp_path: Path, kind: str) -> None:
    with cache_servers.store(kind, tmp_path) as entry:
        _come_along(root, files, base, entry, entry)
        root.run("cache", "mounts", "export", "one", "--to", entry)
        fifth = _other(root, 5)
        assert "one: imported" in fifth.run("cache", "mounts", "import", "one", "--from", entry, status=None).stdout
        assert fifth.run("cache", "mounts", "shell", "one", "ls").stdout.split() == ["1"]


def _come_along(root: Dockc, files: Path, base: Path, to: str, source: str) -> None:
    shown = _build(root, files, base, 1, f"--cache-to={to},mounts=one;/other;never")
    assert "there is no cache mount never to write" in shown
    other = _other(root)
    _build(other, files, base, 2, f"--cache-from={source}", f"--cache-to={to},mounts=one;/other")
    assert _listed(other) == (["1", "2"], ["1", "2"])
    third = _other(root, 3)
    shown = _build(third, files, base, 2, f"--cache-from={source}", f"--cache-to={to},mounts=one;/other")
    assert "0 steps run, 2 cached" in shown
    assert "restoring" not in shown, "a mount that no step asks for is not fetched"
    shown = _build(_other(root, 4), files, base, 3, f"--cache-from={source},mounts=one")
    assert _listed(root) == (["1", "2", "3"], ["3"]), "those that were not here stayed in the cache; one was not wanted"
    assert third.run("cache", "mounts", "ls", "--json").stdout == ""


def test_one_that_is_here_stays(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    _build(root, files, base, 1, f"--cache-to=type=local,dest={tmp_path}/cache,mounts=one")
    other = _other(root)
    _build(other, files, base, 5)
    _build(other, files, base, 6, f"--cache-from=type=local,src={tmp_path}/cache")
    assert _listed(other)[0] == ["5", "6"]
    _build(other, files, base, 7, f"--cache-from=type=local,src={tmp_path}/cache,replace-mounts=true")
    assert _listed(other)[0] == ["1", "7"]


def test_what_is_damaged_is_not_used(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    _build(root, files, base, 1, f"--cache-to=type=local,dest={cache},mounts=one")
    manifest = json.loads((cache / "index.json").read_text())["manifests"][0]["digest"]
    blobs = json.loads((cache / "blobs" / manifest.replace(":", "/")).read_text())["layers"]
    packs = [one["digest"] for one in blobs if one["mediaType"] == "application/vnd.dockc.cachemounts.pack.v1"]
    assert len(packs) == 1
    path = cache / "blobs" / packs[0].replace(":", "/")
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    other = _other(root)
    shown = _build(other, files, base, 2, f"--cache-from=type=local,src={cache}")
    assert "cache mount one begins empty" in shown
    assert _listed(other)[0] == ["2"]
    done = other.run("cache", "mounts", "import", "--replace", "--from", f"type=local,src={cache}", status=1)
    assert "Traceback" not in done.stderr
    assert other.run("doctor").stdout.strip().endswith("healthy")


def test_by_hand(dockc: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    """As root, and as an ordinary user."""
    _build(dockc, files, base, 1)
    mounts = [json.loads(line) for line in dockc.run("cache", "mounts", "ls", "--json").stdout.splitlines()]
    assert {(one["id"], one["based"]) for one in mounts} == {("one", False), ("/other", True)}
    assert dockc.run("cache", "mounts", "shell", "one", "cat", "1").stdout == "1\n"
    assert dockc.run("cache", "mounts", "shell", "one", "sh", "-c", "echo by hand > hand; exit 3", status=3).stdout == ""
    place = f"type=local,dest={dockc.home}/place"
    dockc.run("cache", "mounts", "export", "one", "/other", "--to", place)
    dockc.run("cache", "mounts", "export", "one", "-o", "one.tar")
    other = _other(dockc)
    said = other.run("cache", "mounts", "import", "--from", f"type=local,src={dockc.home}/place", status=1).stdout
    assert said == "/other: based on files of a build, which brings it by --cache-from\none: imported\n"
    said = other.run("cache", "mounts", "import", "one", "--from", f"type=local,src={dockc.home}/place", status=1).stdout
    assert said == "one: is here already; --replace takes it away first\n"
    other.run("cache", "mounts", "import", "two", "-i", "one.tar")
    assert other.run("cache", "mounts", "shell", "two", "cat", "hand").stdout == "by hand\n"
    _build(other, files, base, 2, f"--cache-from=type=local,src={dockc.home}/place")
    assert _listed(other) == (["1", "2", "hand"], ["1", "2"])
    assert "there is no cache mount nope" in other.run("cache", "mounts", "rm", "one", "nope", status=2).stderr
    assert other.run("cache", "mounts", "rm", "one", "two").stdout == "one: removed\ntwo: removed\n"
    assert "has no cache mount x" in other.run("cache", "mounts", "import", "x", "--from", f"type=local,src={dockc.home}/place", status=2).stderr


def test_one_in_use_stays(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    _build(root, files, base, 1)
    with root.start("cache", "mounts", "shell", "one", "sh", "-c", "echo here; read x", stdin=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "here\n"
        assert root.run("cache", "mounts", "rm", "one", status=1).stdout == "one: is in use\n"
        root.run("cache", "mounts", "export", "one", "-o", "one.tar")
        holder.communicate("\n", timeout=60)
    assert holder.returncode == 0
    assert root.run("cache", "mounts", "rm", "one").stdout == "one: removed\n"


def test_a_cache_of_steps_keeps_them(root: Dockc, files: Path, base: Path, tmp_path: Path) -> None:
    place = f"{tmp_path}/cache"
    _build(root, files, base, 1, f"--cache-to=type=local,dest={place},mode=max")
    root.run("cache", "mounts", "export", "one", "--to", f"type=local,dest={place}")
    other = _other(root)
    assert "0 steps run, 2 cached" in _build(other, files, base, 1, f"--cache-from=type=local,src={place}")
    other.run("cache", "mounts", "import", "--from", f"type=local,src={place}")


def test_an_inline_cache_carries_none(root: Dockc, files: Path) -> None:
    done = root.run("build", files, "--cache-to=type=inline,mounts=one", status=2)
    assert "carries no cache mounts" in done.stderr


ODD = ("../../etc", "\u65e5\u672c/\u00fc", "--all", "with space", "a&b", "x" * 200)


def test_mounts_of_any_name(root: Dockc, context: MakeContext, base: Path, tmp_path: Path) -> None:
    """Ids with slashes, in any script, with spaces, like options: every command takes them as they are written in the Dockerfile."""
    steps = "".join(f'RUN --mount=type=cache,"id={name}",target=/c echo {number} > /c/{number}\n' for number, name in enumerate(ODD))
    folder = context(f"FROM base\n{steps}")
    root.build(folder, "--build-context", f"base=oci-layout://{base}", "-o", "type=cacheonly", f"--cache-to=type=local,dest={tmp_path}/cache,mounts={';'.join(ODD)}")
    assert {json.loads(line)["id"] for line in root.run("cache", "mounts", "ls", "--json").stdout.splitlines()} == set(ODD)
    other, again = _other(root), _other(root, 3)
    other.run("cache", "mounts", "import", "--from", f"type=local,src={tmp_path}/cache")
    for number, name in enumerate(ODD):
        assert root.run("cache", "mounts", "shell", "--", name, "ls").stdout == other.run("cache", "mounts", "shell", "--", name, "ls").stdout == f"{number}\n"
    other.run("cache", "mounts", "export", "--to", f"type=local,dest={tmp_path}/again", "--", *ODD)
    text = (folder / "Dockerfile").read_text()
    (folder / "Dockerfile").write_text("".join(f"{line} && ls /c && test -e /c/{number - 1}\n" if number else f"{line}\n" for number, line in enumerate(text.splitlines())))
    again.build(folder, "--build-context", f"base=oci-layout://{base}", "-o", "type=cacheonly", f"--cache-from=type=local,src={tmp_path}/again")
    for name in ODD:
        assert root.run("cache", "mounts", "rm", "--", name).stdout == f"{name}: removed\n"
    assert root.run("cache", "mounts", "ls", "--json").stdout == ""
