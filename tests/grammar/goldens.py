"""One collector for tests/golden/grammar: a folder is a case, its Dockerfile the input, the text files what came out."""

from __future__ import annotations

from pathlib import Path

from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from tests.conftest import parameter

FOLDER = Path(__file__).parents[1] / "golden" / "grammar"
CASES = sorted(path.parent.name for path in FOLDER.glob("*/Dockerfile"))


class GoldenFile(SingleFileSnapshotExtension):
    """Keeps a snapshot in `<stem>.txt` of the folder that the parameter `case` names."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"
    stem = ""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(FOLDER / parameter(test_location, "case"))

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return cls.stem

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return snapshot_location == cls.get_location(test_location=test_location, index=0)

    def is_snapshot_location(self, *, location: str) -> bool:
        return Path(location).name == f"{self.stem}.txt"


class CstFile(GoldenFile):
    stem = "cst"


class TreeFile(GoldenFile):
    stem = "tree"


class DiagnosticsFile(GoldenFile):
    stem = "diagnostics"
