"""One layer several times in a stack: equal `COPY --link`, and merges that share a layer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, MakeContext

FILES = {
    "twice": "COPY --link a /d/a\nCOPY --link a /d/a\n",
    "between": "COPY --link a /d/a\nCOPY --link b /d/a\nCOPY --link a /d/a\n",
    "added": "ADD --link a /d/\nCOPY --link b /e/\nADD --link a /d/\nCOPY --link b /e/\n",
}


@pytest.mark.parametrize("form", FILES)
def test_a_layer_that_comes_again(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path, form: str) -> None:
    folder = context(f"FROM base\n{FILES[form]}RUN ls -l /d > /list && cat /d/a >> /list\n", a="a", b="b")
    lists = []
    for snapshotter in ("overlay", "native"):
        out = tmp_path / snapshotter
        root.run("build", folder, "-q", "--no-cache", "--snapshotter", snapshotter, "-o", out, "--store", tmp_path / f"store-{snapshotter}", *with_base)
        assert (out / "d" / "a").read_text() == "a"
        lists.append((out / "list").read_text().replace("\n", " ").split()[-1])
    assert lists == ["a", "a"]


def test_a_file_that_was_removed_in_between_is_there_again(root: Dockc, context: MakeContext, with_base: tuple[str, str], tmp_path: Path) -> None:
    folder = context("FROM base\nCOPY --link a /d/a\nRUN rm -r /d\nCOPY --link a /d/a\nRUN cat /d/a\n", a="a")
    root.run("build", folder, "-q", "-o", tmp_path / "out", *with_base)
    assert (tmp_path / "out" / "d" / "a").read_text() == "a"
