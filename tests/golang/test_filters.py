"""Filters of BuildKit's calls: what is written comes back, and anything else is refused."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dockc.golang.durations import DurationError, parse_duration
from dockc.golang.filters import FilterError, match, parse
from dockc.golang.strings import quote

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
PLAIN = st.text(st.sampled_from("abz019_"), min_size=1, max_size=5)
SPACE = st.sampled_from(["", " ", "\t "])
FIELDS = st.one_of(PLAIN.map(lambda text: (text, text)), TEXTS.map(lambda text: (text, quote(text))))
VALUES = st.one_of(FIELDS, st.sampled_from([("a/b", "a/b"), ("[x]", "[x]"), ("a=b", "a=b"), ("-", "-")]))
CONDITIONS = st.tuples(st.lists(FIELDS, min_size=1, max_size=3), st.sampled_from(["", "==", "!="]), VALUES, SPACE)


@given(st.lists(CONDITIONS, min_size=1, max_size=3))
def test_what_is_written_is_read(conditions: list[tuple[list[tuple[str, str]], str, tuple[str, str], str]]) -> None:
    text = ",".join(
        space + ".".join(written for _, written in path) + (space + operator + space + value[1] if operator else "") for path, operator, value, space in conditions
    )
    found = parse(text)
    assert [(one.path, one.operator, one.value) for one in found] == [
        (tuple(field for field, _ in path), operator, value[0] if operator else "") for path, operator, value, _ in conditions
    ]
    assert match((found,), lambda path: None) == all(operator == "!=" and value[0] != "" for _, operator, value, _ in conditions)


@given(st.lists(st.sampled_from(["a", ".", ",", "==", "!=", "~=", '"', "\\", "/", "|", " ", "=", "!", "~", "[x]", "\n", "\xe9", "\\x41", "\\u0041", "\\400"]), max_size=9).map("".join))
@example("a== ==")  # after an operator and a space no other may stand
@example("a==\t~b")
def test_any_text_is_refused_or_read_as_its_quoted_form_is(text: str) -> None:
    try:
        found = parse(text)
    except FilterError:
        return
    written = ",".join(".".join(map(quote, one.path)) + (one.operator + quote(one.value) if one.operator else "") for one in found)
    assert [(one.path, one.operator, one.value) for one in parse(written)] == [(one.path, one.operator, one.value) for one in found]


@pytest.mark.parametrize("text", ["a== ==", "a==\t~b", "a!= !b", "a~= =b"])
def test_no_value_begins_like_an_operator(text: str) -> None:
    with pytest.raises(FilterError, match="expected a value"):
        parse(text)


@given(st.lists(st.tuples(st.integers(0, 999), st.from_regex(r"[0-9]{0,9}", fullmatch=True), st.sampled_from(["ns", "us", "\xb5s", "ms", "s", "m", "h"])), min_size=1, max_size=4))
def test_durations_are_the_sum_of_their_parts(parts: list[tuple[int, str, str]]) -> None:
    """Fractions are Go's to a nanosecond each: it works with floating point numbers there."""
    units = {"ns": 1, "us": 10**3, "\xb5s": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
    text = "".join(f"{whole}{'.' * bool(fraction)}{fraction}{unit}" for whole, fraction, unit in parts)
    exact = sum(int(f"{whole}{fraction}") * units[unit] // 10 ** len(fraction) for whole, fraction, unit in parts)
    assert abs(parse_duration(text) - exact) <= len(parts)
    assert parse_duration(f"-{text}") == -parse_duration(text)
    with pytest.raises(DurationError):
        parse_duration(text + "1")
