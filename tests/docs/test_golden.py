"""Golden files have one shape, and none is left over."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest

from tests.conftest import REPO
from tests.golden.collect import FOLDER, TOPICS, cases


@pytest.mark.parametrize("topic", sorted(TOPICS))
def test_cases_hold_what_their_topic_says(topic: str) -> None:
    known = (*TOPICS[topic].given, *TOPICS[topic].expected)
    found = cases(topic)
    assert found
    for case in found:
        names = sorted(path.name for path in case.folder.iterdir())
        assert [name for name in names if not any(fnmatchcase(name, pattern) for pattern in known)] == [], case
        for pattern in (*TOPICS[topic].given[:1], *TOPICS[topic].expected):
            assert any(fnmatchcase(name, pattern) for name in names), f"{case} lacks {pattern}"


def test_every_file_belongs_to_a_case() -> None:
    folders = {case.folder for topic in TOPICS for case in cases(topic)}
    files = [path for path in FOLDER.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert [path.relative_to(FOLDER).as_posix() for path in files if path.parent not in folders] == ["collect.py"]


def test_the_page_names_every_topic() -> None:
    page = (REPO / "docs/how-to/add-a-case.md").read_text()
    assert [topic for topic in TOPICS if f"`{topic}`" not in page] == []
