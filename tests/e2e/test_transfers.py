"""What people see while bytes are on their way: base images, and images in and out of the store."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Dockc, MakeContext
from tests.runtime.registry_servers import real_registry


@pytest.fixture
def remote(root: Dockc, context: MakeContext, with_base: tuple[str, str]) -> Iterator[str]:
    """A registry with `app:1`, and a store that has none of it."""
    with real_registry(root.home) as address:
        folder = context("FROM base\nRUN head -c 3000000 /dev/urandom > /data\n")
        other = Dockc(root.home / "first", root.home)
        other.build(folder, *with_base, "-t", f"{address}/app:1", "--push")
        yield f"{address}/app:1"


def test_a_base_image_is_done_when_it_is_here(root: Dockc, context: MakeContext, remote: str) -> None:
    folder = context(f"FROM {remote}\nRUN echo hi > /x\n")
    said = root.build(folder)
    (step,) = set(re.findall(r"(?m)^#(\d+) \[1/2\] FROM ", said))
    lines = [line for line in said.splitlines() if line.startswith(f"#{step} ")]
    layers = re.findall(rf"(?m)^#{step} (sha256:\w+) [\d.kM]+B / [\d.kM]+B .*done$", said)
    assert len(set(layers)) == 2
    for layer in layers:
        assert any(re.match(rf"#{step} extracting {layer} .* done$", line) for line in lines)
    assert [line for line in lines if "DONE" in line] == [lines[-1]]
    assert said.index(lines[-1]) < said.index("[2/2] RUN")
    assert f"#{step} sha256" not in root.build(folder), "it is here now"


def test_a_base_image_that_is_only_handed_on(root: Dockc, context: MakeContext, remote: str) -> None:
    said = root.build(context(f"FROM {remote}\nLABEL a=b\n"), "-o", f"type=oci,dest={root.home}/out.tar")
    assert len(set(re.findall(r"(?m)^#\d+ (sha256:\w+) .*done$", said))) == 2
    assert "extracting" not in said
    assert said.count(" DONE ") == len(set(re.findall(r"(?m)^#(\d+) ", said)))


def test_images_in_and_out(root: Dockc, remote: str) -> None:
    other = Dockc(root.home / "other", root.home)

    def shown(dockc: Dockc, doing: str, *words: str) -> None:
        said = dockc.run(*words, "--progress=plain").stderr
        assert said.startswith(f"#1 {doing}\n")
        assert len(set(re.findall(r"(?m)^#1 (sha256:\w+) [\d.kM]+B / [\d.kM]+B(?: [\d.]+s)? done$", said))) >= 2
        assert dockc.run(*words, "-q").stderr == ""
        raw = dockc.run(*words, "--progress=rawjson").stderr.splitlines()
        assert raw
        assert all(isinstance(json.loads(line), dict) for line in raw)

    shown(root, f"pulling {remote}", "pull", remote)
    shown(root, f"pushing {remote}", "push", remote)
    root.run("save", remote, "-o", "app.tar")
    shown(other, "loading app.tar", "load", "-i", "app.tar")
    none = remote.replace("app:1", "none:1")
    said = root.run("pull", none, "--progress=plain", status=1).stderr
    assert said == f"#1 pulling {none}\n#1 ERROR\nerror: {none}: not found\n"


def test_a_lookup_that_fails_is_an_error_of_its_step(root: Dockc, context: MakeContext, remote: str) -> None:
    name = remote.replace("app:1", "none:1")
    folder = context(f"FROM {name}\nRUN true\n")
    said = root.build(folder, status=1)
    assert f"ERROR: {name}: not found\n" in said
    assert f"> [internal] load metadata for {name}:" in said
    assert f"1 | FROM {name}\n" in said
    assert said.splitlines()[-1].startswith(f"error: failed to solve: {name}: failed to resolve source metadata")
    assert said.count("failed to resolve") == 1, "said once"
    raw = root.run("build", folder, "--progress=rawjson", status=1).stderr.splitlines()
    events = [one for line in raw if line.startswith("{") for one in json.loads(line).get("vertexes", ())]
    assert events[-1]["error"] == f"{name}: not found"


def test_layers_of_an_imported_cache_are_seen_to_come(
    root: Dockc, context: MakeContext, with_base: tuple[str, str]
) -> None:
    first = "FROM base\nRUN head -c 3000000 /dev/urandom > /data\n"
    root.build(context(first), *with_base, "--cache-to", f"type=local,dest={root.home}/cache")
    other = Dockc(root.home / "other", root.home)
    folder = context(f"{first}RUN ls -l /data\n")
    said = other.build(folder, *with_base, "--cache-from", f"type=local,src={root.home}/cache")
    (step,) = set(re.findall(r"(?m)^#(\d+) \[\S+\] RUN ls ", said))
    lines = [line for line in said.splitlines() if line.startswith(f"#{step} ")]
    assert any(re.match(rf"#{step} sha256:\w+ .* done$", line) for line in lines), said
    assert any(re.match(rf"#{step} extracting sha256:\w+ .* done$", line) for line in lines)
    assert [line for line in lines if "DONE" in line] == [lines[-1]], "done once, at the end"
