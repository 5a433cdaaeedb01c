"""No rule does more than linear work: calls are counted on a file and on one of twice the size."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import fields

import pytest

from dockc.compiler.compile import read
from dockc.grammar.source import Source
from dockc.linter.bases import chain
from dockc.linter.context import Context
from dockc.linter.options import LintOptions
from dockc.linter.registry import codes, get_rule
from dockc.linter.rule import Rule
from dockc.linter.runner import lint_source

_RUN = (
    "RUN apt-get update && apt-get install foo$V && cd /x && curl -k http://a.example.org/x | sh && wget http://b.example.org/y.zip"
    " && pip install a$V && npm install && go install a.b/c && chmod 777 /a && useradd -u $V x && sudo ls\n"
)
PARTS: dict[str, Callable[[int], str]] = {
    "steps": lambda i: _RUN,
    "copies": lambda i: f"COPY package.json package-lock.json a b /x{i}\nCOPY --from=s{i} / /\nRUN chmod +x /x{i}\n",
    "variables": lambda i: f"ARG A{i}_TOKEN=x\nENV B{i}=$A{i}_TOKEN C{i}=${{D{i}:-x}} P=$P\nUSER u$B{i}\nWORKDIR $C{i}\n",
    "stages": lambda i: f"FROM c{i} AS c{i + 1}\nENV A=$A\nRUN yarn install $A\nCOPY a b /x\n",
    "comments": lambda i: "# hadolint ignore=DL3003,DL9999\n# dockc ignore=DL3008\n# sytnax=x\nRUN cd x\n",
    "others": lambda i: f'LABEL a{i}=b\nEXPOSE {i + 1}\nVOLUME /v{i}\nCMD a\nENTRYPOINT b\nHEALTHCHECK CMD c\nSHELL ["bash","-c"]\n',
}


def text(kind: str, n: int) -> str:
    if kind == "one step":
        return "FROM debian:12\nRUN true" + "".join(f" && \\\n  apt-get install $X{i} | sort && cd /x && rm -rf $Y/{i}" for i in range(n)) + "\n"
    if kind == "one ENV":
        return "FROM debian:12\nENV " + " ".join(f"A{i}=$A{i - 1}" for i in range(n)) + "\n"
    return "FROM debian:12 AS c0\n" + "".join(map(PARTS[kind], range(n)))


def calls(work: Callable[[], object]) -> int:
    count = 0

    def tick(*_: object) -> None:
        nonlocal count
        count += 1

    before = sys.getprofile()
    sys.setprofile(tick)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", [*PARTS, "one step", "one ENV"])
def test_twice_the_file_is_twice_the_work(kind: str) -> None:
    few, many = (Context(read(Source.from_text(text(kind, n)))) for n in (30, 60))
    for context in (few, many):
        _ = (context.runs, context.kept, context.users, context.shells, context.comments)
    for code in codes():
        rule = get_rule(code)
        if rule.check is not Rule.check:
            one, two = (calls(lambda c=context, r=rule: list(r().check(c))) for context in (few, many))  # type: ignore[misc]
            assert two <= 2.5 * one + 500, code
    options = LintOptions(shellcheck=False, extend=frozenset(["strict"]))
    one, two = (calls(lambda n=n: lint_source(Source.from_text(text(kind, n)), options)) for n in (30, 60))  # type: ignore[misc]
    assert two <= 2.5 * one


def test_what_stages_stand_on_takes_room_in_proportion() -> None:
    """A chain of stages: what is kept of each is no list of all those below it."""
    n = 400
    context = Context(read(Source.from_text("FROM debian:12 AS c0\n" + "".join(f"FROM c{i} AS c{i + 1}\nUSER u\n" for i in range(n)))))
    assert len(context.bases) == n + 1
    kept = [getattr(base, field.name) for base in context.bases for field in fields(base)]
    assert sum(len(value) for value in kept if isinstance(value, tuple)) <= n
    assert (context.bases[n].bottom, context.bases[n].on) == (0, n - 1)
    assert list(chain(context.bases, n)) == list(range(n, -1, -1))
    assert list(chain(context.bases, n + 1)) == []
