"""What commands print as JSON has the fields that the reference page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.e2e.conftest import REPO, Dockc, MakeContext

PAGE = REPO / "docs/reference/json.md"


def _documented() -> dict[str, set[str]]:
    found = {}
    for line in PAGE.read_text().splitlines():
        if line.startswith("| `dockc"):
            command, _, fields = (cell.strip() for cell in line.strip("| ").split("|"))
            if re.fullmatch(r"(`\w+` ?)+", fields):
                found[command.strip("`")] = set(re.findall(r"`(\w+)`", fields))
    return found


def _objects(text: str) -> list[dict[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.splitlines()]
    return whole if isinstance(whole, list) else [whole]


def test_fields_are_those_of_the_page(
    root: Dockc, context: MakeContext, with_base: tuple[str, str], base: Path
) -> None:
    folder = context("FROM base\nRUN echo x > /f\n")
    root.build(folder, *with_base, "-t", "app")
    scratch = context("FROM scratch\nCOPY f /\n", f="x")
    places = {"FILE:LINE": f"{scratch}/Dockerfile:2", "FILE": f"{scratch}/Dockerfile", "NAME": "app", "TOPIC": "ADD"}
    seen = 0
    for command, fields in _documented().items():
        words = [places.get(word, word) for word in command.split()[1:]]
        words += [str(scratch)] if words[0] == "lock" else []
        objects = _objects(root.run(*words).stdout)
        assert objects, command
        for one in objects:
            assert set(one) == fields, command
        seen += 1
    assert seen >= 15
    (doctor,) = _objects(root.run("doctor", "--json").stdout)
    assert doctor["healthy"] and doctor["findings"] == []


def test_a_lock_file_that_is_out_of_date(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY f /\n", f="x")
    root.run("lock", folder)
    path = folder / "Dockerfile.lock"
    whole = json.loads(path.read_text())
    whole["images"] = [{"ref": "docker.io/library/a:1", "platform": "linux/amd64", "digest": "sha256:" + "0" * 64}]
    path.write_text(json.dumps(whole))
    found = root.run("lock", "--check", "--json", folder, status=1)
    (one,) = _objects(found.stdout)
    assert one["file"] == str(path) and one["current"] is False
    assert one["changes"] == ["image docker.io/library/a:1 for linux/amd64: not used any more"]


def test_json_is_short_for_its_format(root: Dockc, context: MakeContext) -> None:
    folder = context("FROM scratch\nCOPY f /\n", f="x")
    place = f"{folder}/Dockerfile"
    for line in (["config"], ["explain", f"{place}:2"], ["explain", "ADD"], ["explain", "--plan", place], ["builder", "ls"], ["lint", place]):
        assert root.run(*line, "--json").stdout == root.run(*line, "--format=json").stdout, line
    assert "--json and --format=html" in root.run("explain", "--graph", place, "--json", "--format=html", status=2).stderr


def test_what_is_missing_has_one_status(root: Dockc) -> None:
    for words in (["build"], ["compile"], ["lock"], ["explain", "--plan"], ["explain", "--graph"], ["lint"], ["fmt"]):
        assert "none" in root.run(*words, "none", status=2).stderr
    assert "a Dockerfile is named by `-f`" in root.run("compile", REPO / "examples/hello/Dockerfile", status=2).stderr
