"""What people see of broken files: `tests/golden/compiler/errors/<case>/Dockerfile`, compiled for linux/amd64 with images made up, and `errors.txt`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from dockc.compiler.compile import Front, compiling, read
from dockc.compiler.diagnose import diagnose, diagnose_all
from dockc.compiler.faults import ROWS, help_of
from dockc.compiler.imagine import PLATFORM, made_up
from dockc.compiler.options import CompileOptions
from dockc.compiler.questions import converse
from dockc.errors import CompileError, Fault
from dockc.grammar.diagnostic import Diagnostic
from dockc.grammar.render import render_all
from dockc.grammar.source import Source
from dockc.grammar.word import BRACE, EMPTY, MODIFIER, PATTERN, QUOTE, SLASH, TOO_LARGE, UNSET
from dockc.oci.platform import normalize, parse
from tests.golden.collect import Case, Golden, cases

ROOT = Path(__file__).parents[2]
WORD_KINDS = (UNSET, QUOTE, TOO_LARGE, MODIFIER, EMPTY, SLASH, BRACE, PATTERN)
OPTIONS = CompileOptions(build_platforms=(normalize(parse(PLATFORM)),))


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


@pytest.mark.parametrize("case", cases("compiler/errors"), ids=str)
def test_what_is_shown(case: Case, golden: Golden) -> None:
    data = case.read("Dockerfile")
    source = Source("Dockerfile", data)
    found = shown(data)
    assert found
    for diagnostic in found:
        assert diagnostic.help or diagnostic.suggestion
        assert (
            source.slice(diagnostic.span).strip()
            or not source.text.strip()
            or diagnostic.code == "no-instructions"
            or "^" in diagnostic.message
        )
    assert render_all(found, source) == golden(case, "errors.txt")


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
    assert diagnose(CompileError("failed to parse ulimit: x", fault=Fault("bad-option")), front) is None
    found = diagnose(CompileError("lines", fault=Fault("bad-image"), locations=(((1, 1),),)), front)
    assert found is not None
    assert (found.code, front.source.slice(found.span)) == ("bad-image", "a")


# --- every error has a row ------------------------------------------------------------------------------


def _calls() -> list[tuple[str, ast.Call]]:
    found = []
    for file in sorted((ROOT / "dockc").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            found += [(f"{file.relative_to(ROOT)}:{node.lineno}", node)] if isinstance(node, ast.Call) else []
    return found


def _name(call: ast.Call) -> str:
    return getattr(call.func, "id", "") or getattr(call.func, "attr", "")


def test_every_compile_error_says_what_kind_of_mistake_it_is() -> None:
    for where, call in _calls():
        if _name(call) in {"CompileError", "SyntaxFailure"}:
            assert any(keyword.arg == "fault" for keyword in call.keywords), where


def test_every_kind_has_a_row() -> None:
    kinds = set()
    for where, call in _calls():
        if where.startswith("dockc/grammar/"):
            continue  # what does not parse has a diagnostic of its own
        if _name(call) == "Fault" and call.args and isinstance(call.args[0], ast.Constant):
            assert call.args[0].value in ROWS, where
            kinds.add(call.args[0].value)
    assert len(kinds) > 50
    assert set(WORD_KINDS) <= set(ROWS)


def test_every_row_is_the_kind_of_some_error() -> None:
    text = "".join(file.read_text() for file in sorted((ROOT / "dockc").rglob("*.py")) if file.name != "faults.py")
    for kind in ROWS:
        way = kind.partition("/")[2]
        assert f'"{kind}"' in text or kind in WORD_KINDS or f'"{way}"' in text, kind


@pytest.mark.parametrize("kind", ROWS)
def test_rows_read_well(kind: str) -> None:
    fault = Fault(kind, values=("x", "y"))
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.code)
    assert not help_of(fault).endswith(".")


def test_nobody_reads_a_message_to_know_what_happened() -> None:
    rooms = ("base", "golang", "grammar", "oci", "llb", "compiler", "linter", "engine", "commands", "lsp", "console")
    for room in rooms:
        for file in sorted((ROOT / "dockc" / room).rglob("*.py")):
            assert ".message.startswith(" not in file.read_text(), file


# --- places ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM a\nONBUILD COPY --from=9 a b\nFROM a AS b\nCOPY --from=7 a b\n", "7"),
        ("FROM a AS x\nONBUILD COPY --chmod=x a b\nFROM x\n", "x"),
        ("FROM a\nRUN --mount=type=cache,target=/x,sharing=shard y\n", "shard"),
        ('FROM a\nRUN --mount=type=cache,target=/x,"sharing=shard" y\n', "shard"),
        ("FROM a\nRUN --mount=target=${x:?no} y\n", "${x:?no}"),
        ("FROM a\nLABEL a=b c=${d:e}\n", "${d:e}"),
        ("FROM a\nEXPOSE 80 99999/tcp\n", "99999"),
        ("FROM a\nVOLUME /a $b\n", "$b"),
        ("FROM a\nADD https://x/y.git?q=1 git@h:r /z\n", "https://x/y.git?q=1"),
        ("FROM a\nCOPY a https://x/y /z\n", "https://x/y"),
        ('FROM a\nRUN ["a"]\nRUN []\n', "RUN []"),
        ("FROM a AS x\nRUN --mount=from=x,target=/y z\n", "x"),
        ("# check=skip=a;error=x\nFROM a\n", "x"),
        ("FROM a\nCOPY <<e /x\nb ${c:?d}\ne\n", "${c:?d}"),
    ],
)
def test_words(text: str, words: str) -> None:
    found = shown(text)[0]
    assert text[found.span.start : found.span.end] == words
