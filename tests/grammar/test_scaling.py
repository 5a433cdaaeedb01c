"""Work grows with the size of the input and no faster: counted in calls, so that no clock is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import pytest

from dockc.compiler.syntax.build_ast import build_ast
from dockc.grammar.parser import parse
from dockc.grammar.pattern import compile_pattern, match_prefix, replace
from dockc.grammar.source import Source
from dockc.grammar.word import Lex, WordError


def calls(work: Callable[[], object]) -> int:
    """How many calls of functions, written in Python or C, some work takes."""
    count = 0

    def tick(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def compile_text(text: str) -> None:
    build_ast(parse(Source.from_text(text)))


FILES: dict[str, Callable[[int], str]] = {
    "many instructions": lambda n: "FROM a\n" + "RUN echo $x ${y:-z}\nENV A=b C='d'\nCOPY --chown=1 a b\n" * n,
    "many stages": lambda n: "FROM a AS b\n" * n,
    "one continued line": lambda n: "FROM a\nRUN " + "a \\\n" * n,
    "comments in a line": lambda n: "FROM a\nRUN a \\\n" + "# c\n" * n + "b",
    "long words": lambda n: "FROM a\nENV A=" + "x" * n + "\\\n" + "y" * n,
    "quotes": lambda n: "FROM a\nENV A=" + "'a'\"b\"\\ \\\n" * n,
    "flags": lambda n: "FROM a\nCOPY " + "--exclude=a \\\n" * n + "a b",
    "flags beyond ASCII": lambda n: "FROM a\nCOPY " + "--exclude=é \\\n" * n + "a b",
    "exec form": lambda n: "FROM a\nCMD [" + '"a",\\\n' * n + '"b"]',
    "nested JSON": lambda n: "FROM a\nCMD " + "[\\\n" * n + "]" * n,
    "open brackets": lambda n: "FROM a\nCMD " + "[\\\n" * n,
    "ONBUILD chain": lambda n: "FROM a\n" + "ONBUILD \\\n" * n + "RUN x",
    "ONBUILD chain with flags": lambda n: "FROM a\n" + "ONBUILD --x=à \\\n" * (n + 200) + "RUN x",
    "heredocs": lambda n: "FROM a\n" + "RUN <<A <<B\n1\nA\n2\nB\n" * n,
    "heredoc without end": lambda n: "FROM a\nRUN <<A\n" + "x\n" * n,
    "errors": lambda n: "FROM a\n" + "COPPY a\nENV A\nCMD [1]\n" * n,
    "comments": lambda n: "# x\n" * n,
    "directives": lambda n: "# syntax=x\n" * n,
}


@pytest.mark.parametrize("name", FILES)
def test_reading_is_linear(name: str) -> None:
    make, size = FILES[name], 60
    compile_text(make(size))  # lexers are built at first use
    small, large = (calls(partial(compile_text, make(n))) for n in (size * 10, size * 20))
    assert large < 2.2 * small + 1000


WORDS: dict[str, Callable[[int], str]] = {
    "defaults": lambda n: "${a:-x" * n + "}" * n,
    "patterns": lambda n: "${a/x/" * n + "}" * n,
    "quotes": lambda n: '"${a:-' * n + '}"' * n,
    "unfinished": lambda n: "${a:-" * n,
    "unfinished patterns": lambda n: "${a/" * n,
    "dollars": lambda n: "$" * n,
    "angles": lambda n: "<" * n,
    "escapes": lambda n: "\\" * n,
    "variables": lambda n: "$a" * n,
}


@pytest.mark.parametrize("name", WORDS)
def test_expansion_is_linear(name: str) -> None:
    make, lex = WORDS[name], Lex()

    def work(n: int) -> None:
        try:
            lex.word(make(n), {"v": "w"})
        except WordError:
            pass

    work(10)
    small, large = (calls(partial(work, n)) for n in (3000, 6000))
    assert large < 2.2 * small + 1000


@pytest.mark.parametrize("pattern", ["*a*a*a*a*a*a*b", "?*?*?*?*x", "*" * 50 + "b", "a*b"])
def test_matching_is_linear(pattern: str) -> None:
    compiled = compile_pattern(pattern)

    def work(n: int) -> None:
        value = "a" * n
        match_prefix(compiled, value, False)
        match_prefix(compiled, value, True)
        replace(compiled, value, "x", True, 1 << 20)
        replace(compiled, value + "\n" + value, "x", True, 1 << 20)

    small, large = (calls(partial(work, n)) for n in (500, 1000))
    assert large < 2.2 * small + 1000


def test_depth_needs_no_recursion() -> None:
    depth = 5 * sys.getrecursionlimit()
    assert Lex().word("${a:-" * depth + "x" + "}" * depth, {}) == "x"
    compile_text("FROM a\n" + "ONBUILD \\\n" * depth + "RUN x")
    compile_text("FROM a\nCMD " + "[" * depth + "]" * depth)
