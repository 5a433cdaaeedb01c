"""Golden files: one shape for all, `tests/golden/<room>/<topic>/<case>/`.

A case is a folder. What goes in lies there under its own name (`Dockerfile`, `in.ir`), what must come out in one file
for each thing that does (`errors.txt`, `out.ir`). `TOPICS` says for each topic which is which; a test of a topic takes
its `cases` and compares with the fixture `golden`:

    @pytest.mark.parametrize("case", cases("compiler/errors"), ids=str)
    def test_errors(case: Case, golden: Golden) -> None:
        assert shown(case.read("Dockerfile")) == golden(case, "errors.txt")

`pytest --snapshot-update` writes what came out; then read the difference. `docs/how-to/add-a-case.md` tells the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from dockc.base.record import Record

FOLDER = Path(__file__).resolve().parent
RECORDED = "recorded.json"


class Topic(Record):
    """What lies in the folders of a topic.

    Attributes:
        given: files that go in; the first is there in every case.
        expected: patterns of the names of what comes out.
    """

    given: tuple[str, ...]
    expected: tuple[str, ...]


TOPICS = {
    "grammar/files": Topic(("Dockerfile",), ("cst.txt", "tree.txt", "diagnostics.txt")),
    "grammar/recorded": Topic((RECORDED,), ()),
    "compiler/errors": Topic(("Dockerfile",), ("errors.txt",)),
    "compiler/forms": Topic(("Dockerfile",), ("out.*",)),
    "compiler/passes": Topic(("in.ir",), ("out.ir",)),
    "explain/tour": Topic(("Dockerfile",), ("line-*.txt", "graph.*")),
    "linter/rules": Topic((), ("report.txt",)),
    "golang/recorded": Topic((RECORDED,), ()),
    "llb/recorded": Topic((RECORDED,), ()),
    "oci/recorded": Topic((RECORDED,), ()),
    "runtime/files": Topic((RECORDED,), ()),
    "runtime/steps": Topic((), ("table.tsv",)),
    "solver/traces": Topic((), ("core.trace",)),
}
"""All there is. Where nothing is given the test makes its own input: rules bring their examples, scenarios are code."""


class Case(Record):
    """One folder: its topic, and its name below it (of passes, `<pass>/<case>`)."""

    topic: str
    name: str

    def __str__(self) -> str:
        return self.name

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return FOLDER / self.topic / self.name

    def read(self, name: str) -> bytes:
        """What a file of it holds."""
        return (self.folder / name).read_bytes()


def cases(topic: str) -> tuple[Case, ...]:
    """All cases of a topic, by name."""
    top = FOLDER / topic
    mark = (*TOPICS[topic].given, *TOPICS[topic].expected)[0]
    return tuple(Case(topic, path.parent.relative_to(top).as_posix()) for path in sorted(top.rglob(mark)))


def recorded(topic: str, name: str) -> Any:
    """What another program answered: the value of `cases` in a `recorded.json`, whose `recorded` says which it was."""
    document = json.loads((FOLDER / topic / name / RECORDED).read_text())
    assert next(iter(document)) == "recorded", f"{topic}/{name} does not say by what it was recorded"
    return document["cases"]


class _GoldenFile(SingleFileSnapshotExtension):
    """Keeps one text in one file, whose place the class knows."""

    _write_mode = WriteMode.TEXT
    place = ""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(Path(cls.place).parent)

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return cls.place

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return snapshot_location == cls.place

    def is_snapshot_location(self, *, location: str) -> bool:
        return location == self.place


Golden = Callable[[Case, str], SnapshotAssertion]
"""`golden(case, name)`: what is to be equal to the text that came out; `name` is one that the topic expects."""


def golden_with(snapshot: SnapshotAssertion) -> Golden:
    """The fixture `golden`, made of syrupy's."""

    def golden(case: Case, name: str) -> SnapshotAssertion:
        assert any(fnmatchcase(name, pattern) for pattern in TOPICS[case.topic].expected), name
        kind = type("GoldenFile", (_GoldenFile,), {"place": str(case.folder / name)})
        return snapshot(extension_class=kind)

    return golden
