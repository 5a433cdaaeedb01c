"""Regular expressions as Go reads them: what it said of each text is recorded; hostile ones take few steps."""

from __future__ import annotations

import pytest

from dockc.golang.regex import BadExpression, Expression, Finder
from tests.golden.collect import recorded

RECORDED = recorded("golang/recorded", "expressions")


@pytest.mark.parametrize("expression", sorted(RECORDED["valid"]))
def test_what_matches_in_go_matches(expression: str) -> None:
    found = Expression(expression)
    assert [text for text in RECORDED["texts"] if found.match(text)] == RECORDED["valid"][expression]


@pytest.mark.parametrize("expression", RECORDED["invalid"])
def test_what_go_refuses_is_refused(expression: str) -> None:
    with pytest.raises(BadExpression):
        Expression(expression)


class Counting(Expression):
    """Counts how often a set of states had to be found, and the states looked at meanwhile."""

    steps = looked = 0

    def _reached(self, begun: frozenset[int], before: str, after: str) -> set[int]:
        found = super()._reached(begun, before, after)
        self.steps += 1
        self.looked += len(found)
        return found


@pytest.mark.parametrize(
    "expression", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "((a+)+)+b", "(.*)*(.*)*b", "(a?){50}a{50}b", "(([a-z])+.)+[A-Z]", "(a|b)*a(a|b){12}c"]
)
def test_hostile_expressions_take_a_number_of_steps_that_grows_with_the_text(expression: str) -> None:
    counts = []
    for length in (1_000, 2_000, 4_000):
        found = Counting(expression)
        assert not found.match(("ab" * length)[:length] if "|b" in expression else "a" * length)
        assert found.steps <= length + 1
        counts.append(found.looked)
    assert counts[2] <= 4.1 * counts[0] + 100


def test_large_expressions_are_refused() -> None:
    with pytest.raises(BadExpression, match="too large"):
        Expression("((a{100}){100}){100}")
    with pytest.raises(BadExpression, match="too large"):
        Expression("a" * 101, most=100)
    with pytest.raises(BadExpression, match="too deeply"):
        Expression("(" * 2000 + ")" * 2000)
    assert Expression("(" * 900 + "a" + ")" * 900).match("ba")


def test_the_table_of_rows_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dockc.golang.regex._MAX_CELLS", 100)
    found = Expression("x[^y]*z$")
    text = "x" + "".join(map(chr, range(0x100, 0x900))) + "z"
    assert found.match(text)
    assert not found.match(text + "y")
    assert sum(map(len, found._rows.values())) <= 101


@pytest.mark.parametrize(
    ("expression", "text", "by", "becomes"),
    [
        ("(a*)(a*)", "xaay", "[{1}|{2}]", "[|]x[aa|]y[|]"),
        ("(a|ab)(c|bcd)", "abcd", "{2}{1}", "bcda"),
        ("(a+?)(a*)", "aaa", "{1}-{2}", "a-aa"),
        ("^(?:(x)|(y))", "yz", "<{1},{2}>", "<,y>z"),
        ("a*", "baac", "-", "-b-c-"),
        ("(?P<n>[^/]+)/([^:]+)", "docker.io/library/x:1", "{1}.{2}", "docker.io.library/x:1"),
        ("(a?)*?b", "aab", "{1}", "a"),
        ("(?i)BUSY(box)", "xBusyBOX1", "{1}", "xBOX1"),
        ("\\b(\\w)", "ab cd", "<{1}>", "<a>b <c>d"),
        ("(a{2,3}?)(a*)", "aaaa", "{1},{2}", "aa,aa"),
        ("(x(y)?)+", "xyx", "{1}{2}", "xy"),
        ("$", "ab", "!", "ab!"),
        ("(é|ü)", "aéb", "[{1}]", "a[é]b"),
        ("(|a)+", "aa", "<{1}>", "<>a<>a<>"),
        ("(a|b)*c|d", "abacd", "{{{1}}}", "{a}{}"),
    ],
)  # fmt: skip
def test_what_is_replaced_is_what_go_replaces(expression: str, text: str, by: str, becomes: str) -> None:
    """`Regexp.ReplaceAllString`, recorded; `{1}` is Go's `${1}`."""
    assert Finder(expression).replaced(text, lambda groups: by.format(*groups)) == becomes


def test_finding_takes_a_number_of_steps_that_grows_with_the_text() -> None:
    assert Finder("(a|a|aa)*(a+)+$(a*)*!").find("a" * 2000) is None
