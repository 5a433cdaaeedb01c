"""Golden files of explanations: `tests/golden/explain/<name>`, one for each answer about the Dockerfile there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from dockc.engine.plan import Looked
from dockc.oci.platform import normalize, parse

REPO = Path(__file__).resolve().parents[2]
FOLDER = REPO / "tests" / "golden" / "explain"


class GoldenFile(SingleFileSnapshotExtension):
    """Keeps one answer in a file of its own, named by the test's parameter."""

    _write_mode = WriteMode.TEXT

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return str(FOLDER / test_location.testname.partition("[")[2].rstrip("]"))

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(FOLDER)

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return snapshot_location == cls.get_location(test_location=test_location, index=0)

    def is_snapshot_location(self, *, location: str) -> bool:
        return location.startswith(str(FOLDER)) and not location.endswith(("Dockerfile", "record.json"))


def on_amd64(looked: Looked) -> Looked:
    """The same on a machine that is the same everywhere."""
    return replace(looked, options=replace(looked.options, build_platforms=(normalize(parse("linux/amd64")),)))
