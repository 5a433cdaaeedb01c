"""Plans against real builds: what is said to run is what runs then."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.conftest import Dockc, base, root, tmp_path, user, with_base  # noqa: F401  fixtures

DOCKERFILE = """\
FROM base AS one
WORKDIR /one
COPY a.txt .
RUN cat a.txt > b.txt
FROM base
COPY c.txt /c
COPY --from=one /one/b.txt /b
RUN cat /b /c
"""


@pytest.fixture(params=["root", "user"])
def dockc(request: pytest.FixtureRequest) -> Dockc:
    """dockc as root and as an ordinary user."""
    found: Dockc = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "a.txt").write_text("a\n")
    (folder / "c.txt").write_text("c\n")
    return folder


def plan(dockc: Dockc, folder: Path, with_base: tuple[str, ...], *more: str) -> tuple[dict[int, str], str]:
    """What happens on each line, and the whole text."""
    text = dockc.run("explain", folder / "Dockerfile", "--plan", *with_base, *more).stdout
    words = {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word in {"MISS", "HIT", "UNKNOWN"} and "Dockerfile:" in rest:
            words[int(rest.split("Dockerfile:", 1)[1].split()[0])] = word
    return words, text


def test_a_plan_is_what_the_next_build_does(dockc: Dockc, context: Path, with_base: tuple[str, ...]) -> None:
    words, text = plan(dockc, context, with_base)
    assert set(words.values()) == {"MISS"}
    assert "new: no step like it was built here" in text
    assert not list(dockc.store.glob("snapshots/*/b.txt")), "nothing was run"
    dockc.build(context, *with_base)

    words, text = plan(dockc, context, with_base)
    assert set(words.values()) == {"HIT"}
    assert text.endswith(" cached, 0 to run\n")

    (context / "c.txt").write_text("changed\n")
    words, text = plan(dockc, context, with_base)
    assert words == {2: "HIT", 3: "HIT", 4: "HIT", 6: "MISS", 7: "MISS", 8: "MISS"}
    assert "file c.txt: content" in text
    assert re.search(r"it stands on \[stage-1 [0-9]/[0-9]\] COPY c.txt /c, which is another", text)
    built = dockc.build(context, *with_base)
    assert built.strip().splitlines()[-1].startswith("3 steps run")


def test_a_changed_step_says_what_has_changed(root: Dockc, context: Path, with_base: tuple[str, ...]) -> None:
    file = context / "Dockerfile"
    file.write_text("FROM base\nENV A=1\nRUN cat /dev/null\n")
    root.build(context, *with_base)
    file.write_text("FROM base\nENV A=2\nRUN cat /dev/null\n")
    words, text = plan(root, context, with_base)
    assert words == {3: "MISS"}
    assert "environment A: 1 -> 2" in text
    words, text = plan(root, context, with_base, "--no-cache")
    assert words == {3: "MISS"}
    assert "told: it runs" in text


def test_what_depends_on_a_step_that_must_run(root: Dockc, context: Path, with_base: tuple[str, ...]) -> None:
    root.build(context, *with_base)
    (context / "a.txt").write_text("other\n")
    words, text = plan(root, context, with_base)
    assert words == {2: "HIT", 3: "MISS", 4: "MISS", 6: "HIT", 7: "UNKNOWN", 8: "UNKNOWN"}
    assert re.search(r"depends on the result of \[one [0-9]/[0-9]\] RUN cat a.txt > b.txt", text)


def test_a_record_of_a_real_build_gives_times_and_sizes(root: Dockc, context: Path, with_base: tuple[str, ...], tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    root.build(context, *with_base, "--record", record)
    steps = {one["name"]: one for one in json.loads(record.read_text())["vertices"]}
    ran = next(one for name, one in steps.items() if name.endswith("RUN cat a.txt > b.txt"))
    assert ran["completed"] > ran["started"]
    assert ran["size"] > 0
    assert not ran["cached"]
    page = root.run("explain", context / "Dockerfile", "--graph", "--format=html", "--record", record, *with_base).stdout
    assert '<tr data-node="n' in page
    text = root.run("explain", context / "Dockerfile", "--graph", "--record", record, *with_base).stdout
    line = next(line for line in text.splitlines() if "RUN cat a.txt" in line)
    assert "s, " in line.rpartition("[")[2]


def test_a_failed_build_has_a_record(root: Dockc, context: Path, with_base: tuple[str, ...], tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    (context / "Dockerfile").write_text("FROM base\nRUN cat /nowhere\n")
    root.build(context, *with_base, "--record", record, status=1)
    failed = [one for one in json.loads(record.read_text())["vertices"] if one["error"]]
    assert [one["name"].partition("] ")[2] for one in failed] == ["RUN cat /nowhere"]
