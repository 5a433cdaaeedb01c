"""Path patterns against recorded answers of the reference, and laws that hold for all of them.

`tests/golden/grammar/recorded/patterns` was recorded from Go's filepath.Match and moby's patternmatcher and ignorefile.
Strings in it are bytes, one code point each.
"""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dockc.golang.regex import BadExpression, Expression
from dockc.grammar.globs import (
    NO_PARENT,
    BadPattern,
    PatternMatcher,
    clean,
    contains_wildcards,
    match,
    split_wildcards,
)
from tests.golden.collect import recorded
from tests.tools import calls

RECORDED = recorded("grammar/recorded", "patterns")

PATTERN = st.text(st.sampled_from("ab/*?[]^\\.!-|{}2"), max_size=10)
PATH = st.text(st.sampled_from("ab/.é"), min_size=1, max_size=12)


def text(recorded: str) -> str:
    return recorded.encode("latin1").decode("utf-8", "surrogateescape")


def name(case: list[object]) -> str:
    return ascii(case[:2])[:60]


@pytest.mark.parametrize("case", RECORDED["match"], ids=name)
def test_match_as_recorded(case: tuple[list[str], str, bool, str]) -> None:
    (pattern,), path, expected, error = case
    if error:
        with pytest.raises(BadPattern) as raised:
            match(text(pattern), text(path))
        assert raised.value.message == error
    else:
        assert match(text(pattern), text(path)) == expected


@pytest.mark.parametrize("case", RECORDED["list"], ids=name)
def test_pattern_lists_as_recorded(case: tuple[list[str], str, bool, str]) -> None:
    patterns, path, expected, error = case
    if error:
        with pytest.raises(BadPattern) as raised:
            PatternMatcher(map(text, patterns)).matches(text(path))
        assert raised.value.message == error
    else:
        assert PatternMatcher(map(text, patterns)).matches(text(path)) == expected


@pytest.mark.parametrize("case", RECORDED["clean"], ids=name)
def test_clean_as_recorded(case: tuple[str, str]) -> None:
    assert clean(case[0]) == case[1]


def walked(matcher: PatternMatcher, path: str) -> bool:
    """The answer for a path reached from the top, each directory passing on what it knows."""
    info = NO_PARENT
    selected = False
    parts = path.split("/")
    for length in range(1, len(parts) + 1):
        selected, info = matcher.matches_under("/".join(parts[:length]), info)
    return selected


@given(st.lists(PATTERN, max_size=3), PATH.map(clean).filter(lambda p: not p.startswith(("/", ".."))))
def test_a_walk_from_the_top_agrees_with_a_direct_question(patterns: list[str], path: str) -> None:
    positive = [p.replace("!", "") for p in patterns]
    try:
        direct = PatternMatcher(positive).matches(path)
        assert walked(PatternMatcher(positive), path) == direct
    except BadPattern:
        pass


@given(st.lists(PATTERN, max_size=4), PATH)
def test_no_other_error_than_a_bad_pattern(patterns: list[str], path: str) -> None:
    try:
        PatternMatcher(patterns).matches(path)
    except BadPattern:
        pass
    for pattern in patterns:
        try:
            match(pattern, path)
        except BadPattern:
            pass


@given(PATH)
def test_an_escaped_path_matches_itself_only(path: str) -> None:
    escaped = "".join("\\" + char if char in "*?[\\" else char for char in path)
    assert match(escaped, path)
    assert not match(escaped, path + "x")


@given(PATH)
def test_clean_is_idempotent(path: str) -> None:
    assert clean(clean(path)) == clean(path)


def test_negative_patterns_take_back_in_order() -> None:
    matcher = PatternMatcher(["*", "!keep", "keep/secret"])
    assert matcher.exclusions
    assert matcher.matches("other")
    assert not matcher.matches("keep/file")
    assert matcher.matches("keep/secret/deep")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", ("/a/b", "")),
        ("/a/*/c", ("/a", "*/c")),
        ("/*.txt", ("/", "*.txt")),
        ("*.txt", ("", "*.txt")),
        ("a/[b]/c", ("a", "[b]/c")),
        ("/a\\*/b?", ("/a\\*", "b?")),
        ("", ("", "")),
    ],
)
def test_split_wildcards(path: str, expected: tuple[str, str]) -> None:
    assert split_wildcards(path) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("a", False), ("a*", True), ("\\*", False), ("\\\\*", True), ("[", True), ("a?", True)]
)
def test_contains_wildcards(text: str, expected: bool) -> None:
    assert contains_wildcards(text) is expected


@pytest.mark.parametrize(
    "pattern", ["*a" * 30 + "b", "**/a" * 20 + "b", "(a|a)*" * 10, "[a*]" * 30, "a{1,500}" * 8 + "b"]
)
@pytest.mark.timeout(60)
def test_hostile_patterns_come_to_an_end(pattern: str) -> None:
    path = "a" * 4000
    PatternMatcher([pattern]).matches(path)
    match(pattern.replace("{", "").replace("(", ""), path)


def test_oversized_repetitions_are_refused() -> None:
    with pytest.raises(BadExpression):
        Expression("^" + "a{1000}" * 30 + "$")


def test_the_table_of_an_automaton_stays_bounded() -> None:
    automaton = Expression("^[^/]*x[^/]*$")
    for start in range(0x100, 0x20000, 0x400):
        automaton.match("".join(map(chr, range(start, start + 0x400))).encode("utf-8", "replace").decode())
    assert automaton.match("abxc")
    assert not automaton.match("ab/xc/")


def held_against_each(matcher: PatternMatcher, path: str, parent: frozenset[int] | None) -> tuple[bool, frozenset[int]]:
    """What the patterns of a list say one after the other."""
    parts = path.split("/")
    above = ["/".join(parts[:n]) for n in range(1, len(parts))]
    selected, hits = False, set()
    for number, pattern in enumerate(matcher.patterns):
        hit = parent is not None and number in parent
        if not hit and pattern.exclusion == selected:
            hit = pattern.match(path) or (parent is None and any(map(pattern.match, above)))
        if hit:
            hits.add(number)
            selected = not pattern.exclusion
    return selected, frozenset(hits)


ALIKE = st.text(alphabet="ab*?/.!", max_size=8) | st.text(alphabet="ab*?/.![]\\|^{}\ufeff\ufffdé", max_size=8)
PLACE = st.lists(st.text(alphabet="ab.é\ufffd", min_size=1, max_size=3), min_size=1, max_size=4).map("/".join)


@settings(max_examples=1000)
@given(st.lists(ALIKE, max_size=8), st.lists(PLACE, min_size=1, max_size=4))
def test_a_list_says_what_its_patterns_say(patterns: list[str], paths: list[str]) -> None:
    try:
        matcher = PatternMatcher(patterns)
    except BadPattern:
        return
    for path in filter(lambda path: clean(path) == path and not path.startswith(".."), paths):
        info: frozenset[int] | None = None
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            at = "/".join(parts[:length])
            answers: list[object] = []
            for ask in (matcher.matches_under, partial(held_against_each, matcher)):
                for parent in (info, None):
                    try:
                        answers.append(ask(at, parent))
                    except BadPattern as error:
                        answers.append(error.message)
            assert answers[:2] == answers[2:]
            if isinstance(answers[0], str):
                return
            info = matcher.matches_under(at, info)[1]


def test_many_patterns_for_many_paths() -> None:
    """Time grows with the patterns and with the paths, not with their product."""

    def ask(n: int) -> int:
        forms = ("d{}/f", "**/g{}", "*.s{}", "d{}/*.x", "d{}/**", "src/*.t{}", "src/u{}*")
        matcher = PatternMatcher(form.format(i) for i in range(n) for form in forms)
        paths = [f"d{i}/{name}" for i in range(n) for name in ("f", "a/g3", f"a.s{i}", "b.x")]
        paths += [f"{folder}/{name}" for i in range(n) for folder in ("src", "e") for name in (f"a.t{i}", f"u{i}.y")]
        found: list[bool] = []
        spent = calls(lambda: found.extend(map(matcher.matches, paths)))
        assert sum(found) == 6 * n
        return spent

    few, many = ask(50), ask(200)
    assert many <= 4.2 * few
