"""Builds on a builder elsewhere leave a record here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dockc.engine import history
from tests.daemon.test_daemon import Daemon
from tests.e2e.conftest import Dockc, MakeContext, context, root, tmp_path, with_base  # noqa: F401  fixtures

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def test_a_build_elsewhere_is_in_the_history_here_and_there(root: Dockc, context: MakeContext, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    daemon = Daemon(tmp_path / "there")
    try:
        folder = context("FROM scratch\nCOPY a /a\n", a="1")
        page = tmp_path / "page.html"
        cache = "type=s3,bucket=b,region=r,secret_access_key=hunter2"
        root.run("build", folder, "--addr", daemon.address, "--report", page)
        root.run("build", folder, "--addr", daemon.address, "--opt", "build-arg:A_TOKEN=hunter2hunter2", "--cache-from", cache, status=None)
        (folder / "a").unlink()
        root.run("build", folder, "--addr", daemon.address, status=1)
    finally:
        daemon.stop()
    failed, other, done = history.records(root.store)
    assert (done.status, done.executed, done.options["builder"]) == ("completed", 1, daemon.address)
    assert "COPY a /a" in page.read_text()
    assert history.dockerfile(done) == "FROM scratch\nCOPY a /a\n"
    assert any(one.step.name.endswith("COPY a /a") for one in history.steps_of(done))
    assert failed.status == "failed"
    assert '"/a": not found' in failed.error
    assert other.options["cache_from"] == [{"type": "s3", "bucket": "b", "region": "r", "secret_access_key": "xxxxx"}]
    assert all(b"hunter2" not in path.read_bytes() for path in (root.store / "history").iterdir())
    assert "made by another builder" in root.run("explain", "--miss", status=2).stderr
    there = history.records(tmp_path / "there/root/store")
    assert [one.status for one in there] == ["failed", "completed", "completed"]
    assert there[-1].keys_at
