"""Caches that BuildKit exported, as dockc uses them: as many steps are found as BuildKit finds itself.

The folders of `tests/data/buildkit-caches` are OCI layouts written by buildctl's `--export-cache` (mode min and max) and images with an
inline cache; `cases.json` has the Dockerfiles, the context, and how many steps BuildKit took from its own export. The base image's
shell is a program that makes one file, whatever it is told. `variants` are exports of mode max in other forms.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Dockc
from tests.runtime.registry_servers import need, real_registry

DATA = Path(__file__).resolve().parents[1] / "data" / "buildkit-caches"
TOLD: dict[str, Any] = json.loads((DATA / "cases.json").read_text())


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with real_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


def _context(folder: Path, case: dict[str, Any]) -> Path:
    for name, text in TOLD["files"].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "Dockerfile").write_text(case["dockerfile"])
    return folder


def _args(case: dict[str, Any]) -> list[str]:
    return ["--build-context", f"base=oci-layout://{DATA / 'base'}", *([f"--platform={case['platform']}"] if case["platform"] else [])]


def _counts(shown: str) -> tuple[int, int]:
    match = re.search(r"(\d+) steps? run, (\d+) cached", shown)
    assert match is not None, shown
    return int(match[1]), int(match[2])


@pytest.mark.parametrize("mode", ["min", "max", "inline"])
@pytest.mark.parametrize("name", sorted(TOLD["cases"]))
def test_as_many_steps_as_buildkit(root: Dockc, registry: str, tmp_path: Path, name: str, mode: str) -> None:
    case = TOLD["cases"][name]
    cached, steps = case["cached"][mode]
    source = f"type=local,src={DATA / f'{name}-{mode}'}"
    if mode == "inline":
        source = f"{registry}/{name}:inline"
        command = [need("skopeo"), "--insecure-policy", "copy", "--all", "--dest-tls-verify=false"]
        subprocess.run([*command, f"oci:{DATA / f'{name}-{mode}'}:latest", f"docker://{source}"], check=True, capture_output=True)
    context = _context(tmp_path / "context", case)
    output = [f"--output=type=oci,dest={tmp_path}/image.tar"] if mode == "max" else ["--output=type=cacheonly"]
    assert _counts(root.build(context, *_args(case), f"--cache-from={source}", *output)) == (steps - cached, cached)


@pytest.mark.parametrize("name", sorted(TOLD["variants"]))
def test_other_forms_and_several_sources(root: Dockc, tmp_path: Path, name: str) -> None:
    """Layers packed otherwise, lists of Docker's, a half of the steps in each of two caches, another platform's, a secret's step."""
    case = TOLD["variants"][name]
    cached, steps = case["cached"]
    sources = [f"--cache-from=type=local,src={DATA / source}" for source in case["sources"]]
    shown = root.build(_context(tmp_path / "context", case), *_args(case), *sources, f"--output=type=oci,dest={tmp_path}/image.tar")
    assert _counts(shown) == (steps - cached, cached)


@pytest.mark.parametrize("name", sorted(TOLD["cases"]))
def test_what_is_written_again_says_the_same(root: Dockc, tmp_path: Path, name: str) -> None:
    """A cache that is read and written has BuildKit's records and layers, though no step ran."""
    case = TOLD["cases"][name]
    context = _context(tmp_path / "context", case)
    root.build(
        context, *_args(case), f"--cache-from=type=local,src={DATA / f'{name}-max'}", f"--cache-to=type=local,dest={tmp_path}/again,mode=max", "--output=type=cacheonly"
    )
    before, after = (_records(place) for place in (DATA / f"{name}-max", tmp_path / "again"))
    assert before <= after


@pytest.mark.parametrize("packed", ["as it was", "anew"])
@pytest.mark.parametrize("name", sorted(TOLD["cases"]))
def test_a_base_under_another_manifest(root: Dockc, tmp_path: Path, name: str, packed: str) -> None:
    """BuildKit knows an image by its chain of diff ids, too: steps are found, and nothing is fetched to prove it."""
    case = TOLD["cases"][name]
    cached, steps = case["cached"]["max"]
    base = _made_again(tmp_path / "base", packed)
    args = ["--build-context", f"base=oci-layout://{base}", *([f"--platform={case['platform']}"] if case["platform"] else [])]
    shown = root.build(_context(tmp_path / "context", case), *args, f"--cache-from=type=local,src={DATA / f'{name}-max'}", "--output=type=cacheonly")
    assert _counts(shown) == (steps - cached, cached)
    layers = {layer["digest"] for manifest in _manifests(base) for layer in manifest["layers"]}
    assert not any((root.store / "content" / "blobs" / digest.replace(":", "/")).exists() for digest in layers)


def _made_again(place: Path, packed: str) -> Path:
    """The base image, made at another time, and compressed otherwise."""
    shutil.copytree(DATA / "base", place)

    def put(document: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(document).hexdigest()
        (place / "blobs" / "sha256" / digest).write_bytes(document)
        return {"digest": f"sha256:{digest}", "size": len(document)}

    def layer(old: dict[str, Any]) -> dict[str, Any]:
        data = (place / "blobs" / old["digest"].replace(":", "/")).read_bytes()
        return old | put(gzip.compress(gzip.decompress(data), 1, mtime=1)) if packed == "anew" else old

    def image(old: dict[str, Any]) -> dict[str, Any]:
        manifest = _read(place, old["digest"])
        if "manifests" in manifest:
            return old | put(json.dumps(manifest | {"manifests": [image(one) for one in manifest["manifests"]]}).encode())
        config = _read(place, manifest["config"]["digest"]) | {"created": "2001-02-03T04:05:06Z"}
        made = {"config": manifest["config"] | put(json.dumps(config).encode()), "layers": [layer(one) for one in manifest["layers"]]}
        return old | put(json.dumps(manifest | made).encode())

    index = json.loads((place / "index.json").read_text())
    (place / "index.json").write_text(json.dumps(index | {"manifests": [image(one) for one in index["manifests"]]}))
    return place


def _manifests(place: Path) -> Iterator[dict[str, Any]]:
    waiting = [one["digest"] for one in json.loads((place / "index.json").read_text())["manifests"]]
    while waiting:
        found = _read(place, waiting.pop())
        waiting += [one["digest"] for one in found.get("manifests", [])]
        if "layers" in found:
            yield found


def _records(place: Path) -> set[tuple[str, tuple[str, ...]]]:
    """Digests of records, each with the topmost layers of its results."""
    manifest = _read(place, json.loads((place / "index.json").read_text())["manifests"][0]["digest"])
    config = _read(place, manifest["config"]["digest"])
    return {
        (record["digest"], tuple(sorted(config["layers"][one.get("layer", 0)]["blob"] for one in record.get("layers", []))))
        for record in config["records"]
    }


def _read(place: Path, digest: str) -> Any:
    return json.loads((place / "blobs" / digest.replace(":", "/")).read_bytes())
