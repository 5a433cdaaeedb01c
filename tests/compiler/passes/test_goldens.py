"""Every pass on every `tests/golden/passes/<pass>/<case>/in.ir`; the result is `out.ir` beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from dockc.compiler.ir.parser import parse_module
from dockc.compiler.ir.printer import print_module
from dockc.compiler.ir.verifier import verify
from dockc.compiler.passes import PASSES, pipeline
from dockc.compiler.passes.pipeline import PassContext, PassPipeline
from tests.conftest import parameter

GOLDEN = Path(__file__).parents[2] / "golden" / "passes"
CASES = sorted(path.parent for path in GOLDEN.glob("*/*/in.ir"))


class OutFile(SingleFileSnapshotExtension):
    """Keeps a snapshot in `out.ir` of the case's folder."""

    _write_mode = WriteMode.TEXT
    file_extension = "ir"

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(GOLDEN / parameter(test_location, "case").relative_to(GOLDEN))

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return "out"

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return snapshot_location == cls.get_location(test_location=test_location, index=0)

    def is_snapshot_location(self, *, location: str) -> bool:
        return Path(location).name == "out.ir"


def read(case: Path) -> tuple[str, PassPipeline, PassContext]:
    """The module's text, the passes that its first comment names, and its pins."""
    text = (case / "in.ir").read_text()
    comments = [line[1:].strip() for line in text.splitlines() if line.startswith("#")]
    passes = next(c.removeprefix("passes: ") for c in comments if c.startswith("passes: "))
    pins = dict(c.removeprefix("pin: ").split() for c in comments if c.startswith("pin: "))
    return text, pipeline(passes=passes), PassContext(pins=pins)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.parent.name}/{c.name}")
def test_pass(case: Path, snapshot: SnapshotAssertion) -> None:
    text, passes, context = read(case)
    module = parse_module(text)
    verify(module)
    result = passes.run(module, context)
    verify(result)
    printed = print_module(result)
    assert printed == snapshot(extension_class=OutFile)
    assert print_module(passes.run(result, context)) == printed, "the pass is not idempotent"
    assert print_module(module) == print_module(parse_module(text)), "the pass changed its input"
    assert bool(context.trace) == (printed != print_module(module)) or case.parent.name == "prune"


def test_every_pass_has_a_case() -> None:
    assert {case.parent.name for case in CASES} == set(PASSES)
