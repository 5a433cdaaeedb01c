"""Caches that BuildKit exported, as dockc uses them: as many steps are found as BuildKit finds itself.

The folders of `tests/data/buildkit-caches` are OCI layouts written by buildctl's `--export-cache` (mode min and max) and images with an
inline cache; `cases.json` has the Dockerfiles, the context, and how many steps BuildKit took from its own export. The base image's
shell is a program that makes one file, whatever it is told.
"""

from __future__ import annotations

import json
import re
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
