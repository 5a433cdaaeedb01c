"""What people see of broken files: `tests/golden/errors/<case>/Dockerfile`, compiled for linux/amd64 with images made up, and `errors.txt`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation
from syrupy.types import SnapshotIndex

from dockc.compiler.blame import OTHER, diagnose, diagnose_all
from dockc.compiler.blame.table import ROWS
from dockc.compiler.compile import Front, compiling, read
from dockc.compiler.imagine import PLATFORM, made_up
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import converse
from dockc.errors import CompileError
from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.render import render_all
from dockc.grammar.source import Source
from dockc.oci.platform import normalize, parse
from tests.conftest import parameter

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "tests" / "golden" / "errors"
CASES = sorted(path.parent.name for path in FOLDER.glob("*/Dockerfile"))
OPTIONS = CompileOptions(build_platforms=(normalize(parse(PLATFORM)),))


class ErrorsFile(SingleFileSnapshotExtension):
    """Keeps a snapshot in `errors.txt` of the case's folder."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(FOLDER / parameter(test_location, "case"))

    @classmethod
    def get_file_basename(cls, *, test_location: PyTestLocation, index: SnapshotIndex) -> str:
        return "errors"

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        return snapshot_location == cls.get_location(test_location=test_location, index=0)

    def is_snapshot_location(self, *, location: str) -> bool:
        return Path(location).name == "errors.txt"


def failure(front: Front) -> CompileError | None:
    """The error of a file whose images are all there."""
    try:
        converse(compiling(front, OPTIONS), made_up)
    except CompileError as error:
        return error
    return None


def shown(data: bytes | str) -> tuple[Diagnostic, ...]:
    """All diagnostics of a broken file."""
    front = read(Source("Dockerfile", data if isinstance(data, bytes) else data.encode()))
    error = failure(front)
    assert error is not None
    return front.result.diagnostics or diagnose_all(error, front, failure)


@pytest.mark.parametrize("case", CASES)
def test_what_is_shown(case: str, snapshot: SnapshotAssertion) -> None:
    data = (FOLDER / case / "Dockerfile").read_bytes()
    source = Source("Dockerfile", data)
    found = shown(data)
    assert found
    for diagnostic in found:
        assert diagnostic.code != OTHER
        assert diagnostic.help or diagnostic.suggestion
        assert source.slice(diagnostic.span).strip() or not source.text.strip() or diagnostic.code == "no-instructions" or "^" in diagnostic.message
    assert render_all(found, source) == snapshot(extension_class=ErrorsFile)


def words(text: str) -> list[str]:
    """The words under the carets of all errors."""
    source = Source.from_text(text)
    return [source.slice(d.span) for d in shown(text)]


@pytest.mark.parametrize(
    ("text", "under"),
    [
        ("FROM a\nRUN --mount=type=cahce,target=/x b\n", ["cahce"]),
        ('FROM a\nRUN --mount="type=cahce,target=/x" b\n', ["cahce"]),
        ("FROM a\nRUN --mount=type=cache,target=/x --mount=type=tmpfs,target=/y,size=big \\\n b\n", ["big"]),
        ("FROM a\nRUN --mount=type=cache,\\\ntarget=/x,sharing=foo b\n", ["foo"]),
        ("FROM a\nENV A=x \\\n B=pre-${C:?}-post\n", ["${C:?}"]),
        ('FROM a\nLABEL k="a b ${C:z} d"\n', ["${C:z}"]),
        ("FROM a\nCOPY <<E /x\nok\n${C:z}\nE\n", ["${C:z}"]),
        ("FROM a\nEXPOSE 80 99999/tcp 81\n", ["99999"]),
        ("FROM a\nCOPY <<A <<B /x/\na\nA\n", ["<<B"]),
        ("FROM a\n# note\nCOPY --chmod=9 \\\n  # more\n  x /y\n", ["9"]),
        ("# escape=x\nFROM a\n", ["x"]),
        ("FROM a\nEXPOSE abc\nRUN --mount=type=x y\nSTOPSIGNAL foo\nRUN []\n", ["abc", "x", "foo", "RUN []"]),
        ("FROM a AS b\nCOPY --from=c x y\nFROM a AS c\nFROM b\n", ["c"]),
    ],
)
def test_carets_are_under_the_exact_words(text: str, under: list[str]) -> None:
    assert words(text) == under


def test_errors_behind_a_lost_variable_are_not_made_up() -> None:
    assert [d.code for d in shown("FROM a\nARG P=${X:?}\nEXPOSE ${P:?}\n")] == ["unset-variable"]


def test_a_long_file_is_not_read_again_and_again() -> None:
    tries = 0

    def counted(front: Front) -> CompileError | None:
        nonlocal tries
        tries += 1
        return failure(front)

    front = read(Source.from_text("FROM a\n" + "LABEL a=b\n" * 9000 + "EXPOSE x\n" * 10))
    error = failure(front)
    assert error is not None
    assert len(diagnose_all(error, front, counted)) == tries == 3


def test_the_last_line_stays_the_references() -> None:
    error = failure(read(Source.from_text("FROM a\nRUN --mount=type=cahce,target=/x b\n")))
    assert error is not None
    assert error.message == 'unsupported mount type "cahce" (did you mean cache?)'


def test_an_error_of_no_place() -> None:
    front = read(Source.from_text("FROM a\n"))
    assert diagnose(CompileError("failed to parse ulimit: x"), front) is None
    found = diagnose(CompileError("something new", locations=(((1, 1),),)), front)
    assert found is not None
    assert (found.code, front.source.slice(found.span)) == (OTHER, "a")


# --- every message of lowering has its row --------------------------------------------------------------

#: Messages about options, contexts and base images: no words of the file are wrong.
NOT_OF_THE_FILE = re.compile(
    r"invalid context|unsupported context|invalid input|could not parse oci-layout|oci-layout reference|invalid git context|failed parsing|"
    r"failed to parse ref|failed to parse image config|failed to marshal image config|invalid x object|not a commit object|target stage|x$|xx$|x: x$|"
    r"failed to process arguments|unsupported x|x \(|invalid boolean|UNC paths|No relative path|The specified path"
)


def _literal(node: ast.expr) -> str | None:
    """A message with every value in it written as x."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = []
        for value in node.values:
            if isinstance(value, ast.Constant):
                parts.append(str(value.value))
            else:
                quoted = isinstance(value, ast.FormattedValue) and "quote(" in ast.unparse(value.value)
                parts.append('"x"' if quoted else "1" if "index" in ast.unparse(value) or "_MOST" in ast.unparse(value) else "x")
        return "".join(parts)
    return None


def _messages() -> list[tuple[str, str]]:
    compiler = ROOT / "dockc" / "compiler"
    files = [*sorted((compiler / "lower").glob("*.py")), compiler / "syntax" / "mounts.py", compiler / "urls.py", ROOT / "dockc" / "golang" / "ospaths.py"]
    found = []
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"CompileError", "suggested"} and node.args:
                text = _literal(node.args[0])
                if text is not None and not NOT_OF_THE_FILE.match(text):
                    found.append((file.name, text))
    return found


@pytest.mark.parametrize(("file", "message"), _messages(), ids=lambda v: v[:60])
def test_every_message_has_a_row(file: str, message: str) -> None:
    assert any(re.fullmatch(row.pattern, message, re.DOTALL) for row in ROWS), file


@pytest.mark.parametrize("row", ROWS, ids=lambda r: f"{r.code}: {r.pattern[:40]}")
def test_rows_read_well(row: object) -> None:
    pattern = re.compile(row.pattern)  # type: ignore[attr-defined]
    row.help.format(*["x"] * pattern.groups)  # type: ignore[attr-defined]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", row.code)  # type: ignore[attr-defined]
    assert not row.help.endswith(".")  # type: ignore[attr-defined]
