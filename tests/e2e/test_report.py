"""`dockc build --report` and `dockc history open` on real builds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext

SECRET = "hunter2-hunter2"


def test_a_page_about_a_build_without_a_secret(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "NPM_TOKEN", "MINE"):
        monkeypatch.setenv(name, SECRET)
    folder = context(
        "FROM base AS one\nARG NPM_TOKEN\nRUN --mount=type=secret,id=mine cat /run/secrets/mine >/dev/null; echo said\n"
        f"FROM base\nARG URL=https://u:{SECRET}@host/x\nCOPY --from=one /bin/sh /sh\nRUN echo $URL > /url\nCOPY a /a\n",
        a="1",
    )  # fmt: skip
    options = (*with_base, "--secret", "id=mine,env=MINE", "--build-arg", f"NPM_TOKEN={SECRET}")
    page = tmp_path / "build.html"
    root.build(folder, *options)
    (folder / "a").write_text("2")
    root.build(folder, *options, "--report", page)
    text = page.read_text()
    for words in ("file a: content", "What the build waited for", "COPY --from=one /bin/sh /sh", "HIT", 'id="graph"', "line 8", "kB"):
        assert words in text, words
    assert SECRET not in text
    written = b"".join(path.read_bytes() for path in (root.store / "history").rglob("*") if path.is_file())
    assert SECRET.encode() not in written

    (folder / "a").unlink()
    failed = tmp_path / "failed.html"
    assert root.run("build", folder, *options, "--report", failed, status=None).returncode == 1
    assert "failed" in failed.read_text()


def test_the_page_of_a_build_that_was(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context("FROM base\nRUN for i in $(env) a b; do echo line-$i; done\n")
    root.build(folder, *with_base)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(name, None)
    path = Path(root.run("history", "open", "last").stdout.strip())
    assert "line-a" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    root.run("history", "open", "last", "-o", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == path.read_text()
    root.run("history", "rm", "--all")
    assert not path.exists(), "it goes with the record"
    assert "no build last" in root.run("history", "open", "last", status=2).stderr
