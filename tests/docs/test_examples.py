"""Manifests in `examples/`: what Kubernetes' and Compose's schemas say, and what the daemon says to their arguments."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

import dockc
from dockc.daemon import config

EXAMPLES = Path(__file__).parents[2] / "examples"
MANIFESTS = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
#: The oldest version that the rootless ones name, and a newer one.
VERSIONS = ("1.33", "1.35")
needs_schemas = pytest.mark.skipif(importlib.util.find_spec("kubernetes_validate") is None, reason="needs kubernetes-validate")


def documents(path: Path) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(path.read_text()) if one is not None]


@needs_schemas
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_them(path: Path, version: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the validator's own
        import kubernetes_validate

        for one in documents(path):
            assert kubernetes_validate.validate(one, version, strict=True) == version


@needs_schemas
def test_the_schemas_see_a_mistake() -> None:
    import kubernetes_validate

    (*_, wrong) = documents(EXAMPLES / "kubernetes" / "statefulset.yaml")
    wrong["spec"]["replica"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[0], strict=True)


def test_there_is_one_of_each_kind() -> None:
    kinds = {path.name: [one["kind"] for one in documents(path)] for path in MANIFESTS}
    assert kinds == {
        f"{name}{suffix}.yaml": found
        for name, found in (("deployment", ["Service", "Deployment"]), ("job", ["Job"]), ("statefulset", ["Service", "StatefulSet"]))
        for suffix in ("", ".rootless")
    }
    service, _ = documents(EXAMPLES / "kubernetes" / "statefulset.yaml")
    assert service["spec"]["clusterIP"] == "None"


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_they_hang_together(path: Path) -> None:
    """Arguments are the daemon's, mounts have volumes, selectors find their pods, and rootless is rootless."""
    for one in documents(path):
        if one["kind"] == "Service":
            continue
        spec = one["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        if one["kind"] != "Job":
            read = config.read(container["args"])
            assert [listener.scheme for listener in read.listeners] == ["unix", "tcp"]
            assert read.tls is not None
            assert read.grace < spec["terminationGracePeriodSeconds"]
            assert one["spec"]["selector"]["matchLabels"].items() <= one["spec"]["template"]["metadata"]["labels"].items()
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", ())}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes
        rootless = ".rootless" in path.name
        assert container["securityContext"].get("privileged", False) is not rootless
        assert (container["securityContext"].get("runAsUser") == 1000) is rootless


@pytest.mark.skipif(importlib.util.find_spec("compose_pydantic") is None, reason="needs compose-pydantic")
def test_compose_takes_it() -> None:
    from compose_pydantic import ComposeSpecification
    from pydantic import ValidationError

    found = yaml.safe_load((EXAMPLES / "compose" / "compose.yaml").read_text())
    del found["x-builder"]  # the specification lets such names through; this package does not
    ComposeSpecification(**found)
    for service in found["services"].values():
        assert config.read(service["command"]).grace < 60
        assert (EXAMPLES / "compose" / service["build"]["context"] / "Dockerfile").is_file()
    found["services"]["one"]["hearthcheck"] = {}
    with pytest.raises(ValidationError):
        ComposeSpecification(**found)


RECIPES = [
    (path, target)
    for path in sorted(EXAMPLES.rglob("Dockerfile"))
    for target in ("", "rootless")
    if not target or " AS rootless" in path.read_text()
]


@pytest.mark.parametrize(("path", "target"), RECIPES, ids=lambda one: one.parent.name if isinstance(one, Path) else one)
def test_recipes_compile(path: Path, target: str) -> None:
    dockc.compile(path.read_text(), attrs={"target": target} if target else {}, answers="made-up")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(("dockerfile", "status"), [("FROM scratch\nCOPY Dockerfile /d\n", 0), ("FROM scratch\nCOPY none /d\n", 1)])
def test_a_build_with_a_daemon_of_its_own(request: pytest.FixtureRequest, tmp_path: Path, dockerfile: str, status: int) -> None:
    """The recipe's script: the status is the build's, and nothing of the daemon is left."""
    scripts, programs = EXAMPLES / "daemon", tmp_path / "bin"
    programs.mkdir()
    (programs / "dockc").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dockc "$@"\n')
    (programs / "dockc").chmod(0o755)
    (tmp_path / "Dockerfile").write_text(dockerfile)
    short = Path(tempfile.mkdtemp(prefix="dockc-"))  # a socket's path holds 107 bytes
    request.addfinalizer(short.rmdir)
    environment = {
        **os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(short), "DOCKC_DAEMON_FLAGS": f"--root {tmp_path}/root",
    }  # fmt: skip
    words = ["build", "--frontend=dockerfile.v0", f"--local=context={tmp_path}", f"--local=dockerfile={tmp_path}", f"--output=type=local,dest={tmp_path}/out"]
    done = subprocess.run([scripts / "dockc-build-once", *words], env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == status, done.stderr
    assert (tmp_path / "out" / "d").exists() is (status == 0)
    assert list(short.iterdir()) == []
    assert str(short) not in Path("/proc/net/unix").read_text()
