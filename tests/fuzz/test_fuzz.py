"""A bounded fuzz: the same mutations on every machine. `python -m tests.fuzz --seconds N` runs longer."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from dockc.compiler.compile import read
from dockc.compiler.format import format_file
from dockc.errors import DockcError
from dockc.grammar import ignore
from dockc.grammar.parser import parse
from dockc.grammar.source import Source
from dockc.linter.runner import lint_source
from tests.fuzz import targets
from tests.fuzz.mutate import mutate, seeds

RUNS = 150


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", targets.TARGETS)
def test_any_bytes_give_a_result_or_a_diagnostic(name: str, seed: int) -> None:
    run, first = targets.TARGETS[name]
    random_ = targets.random_source(seed)
    pool = first()
    succeeded = 0
    for _ in range(RUNS):
        data = mutate(random_, random_.choice(pool), pool)
        try:
            run(data)
            succeeded += 1
        except DockcError as error:
            assert error.message
        except Exception as error:
            raise AssertionError(f"{name} fails on {data!r}") from error
    assert succeeded, "no input was accepted: the seeds are out of date"


@pytest.mark.parametrize("name", targets.TARGETS)
def test_noise(name: str) -> None:
    """Bytes that were never a file of any kind."""
    random_ = targets.random_source(3)
    for size in (0, 1, 2, 7, 64, 1000):
        for _ in range(10):
            try:
                targets.TARGETS[name][0](random_.randbytes(size))
            except DockcError as error:
                assert error.message


# --- growth ---------------------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """Calls of functions, written in Python or C, that some work takes."""
    count = 0

    def tick(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    except DockcError:
        pass
    finally:
        sys.setprofile(before)
    return count


def _lines() -> list[bytes]:
    """Lines of the seeds and mutations of them, to be repeated."""
    random_ = targets.random_source(4)
    lines = [line + b"\n" for data in seeds() for line in data.split(b"\n") if line.strip()]
    return [*random_.sample(lines, 12), *(mutate(random_, line, lines, 300) for line in random_.sample(lines, 12))]


WORK: dict[str, Callable[[Source], object]] = {
    "compile": lambda source: targets._compiled(read(source)),
    "lint": lint_source,
    "format": lambda source: format_file(parse(source).file),
}


@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("number", range(24))
def test_twice_the_input_is_not_much_more_than_twice_the_work(name: str, number: int) -> None:
    line = _lines()[number]
    work = WORK[name]
    calls(lambda: work(Source("Dockerfile", b"FROM a AS s\n" + line * 5)))  # what is compiled at first use
    few, more, many = (calls(lambda times=times: work(Source("Dockerfile", b"FROM a AS s\n" + line * times))) for times in (20, 60, 120))  # type: ignore[misc]
    # The fixed part goes with the differences. Linear work gives a ratio of 60 to 40, quadratic work one of 10,800 to 3,200.
    assert many - more < 2.3 * (more - few) + 3000, (line, few, more, many)


def test_patterns_without_blow_up() -> None:
    """Patterns of ignore files that would keep a backtracking matcher busy for ages."""
    for pattern in (b"*a" * 40, b"**/" * 60 + b"b", b"a*" * 40 + b"b", b"[a-z]*" * 30 + b"!"):
        ignore.matcher(pattern + b"\n").matches("a" * 200 + "/" + "a/" * 50 + "c")


FOUND = [
    ("format", b"\n# escape=`\nFROM a\nRUN b `\n  c\n"),  # without the blank line the comment became a directive
    ("lint", b"FROM ,scratch AS a\nFROM a AS b\nCOPY --from=1 /x /z\n"),  # an error at a step that the file does not hold
    ("format", b"FORM a\nRUN <<EOF\nnever ends\nFROM b\n"),  # a gap before FROM went into the heredoc
]


@pytest.mark.parametrize(("name", "data"), FOUND)
def test_what_was_found_stays_mended(name: str, data: bytes) -> None:
    targets.TARGETS[name][0](data)
