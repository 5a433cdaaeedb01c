"""Edits apply at once, never over each other, and places can be followed through them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.grammar.diagnostic import Edit
from dockc.grammar.edits import OverlapError, apply, apply_what_fits, with_line_ends
from dockc.grammar.source import Span

TEXT = "FROM alpine AS x\n"


def edit(start: int, end: int, text: str) -> Edit:
    return Edit(Span(start, end), text)


def test_replace_insert_delete() -> None:
    applied = apply(TEXT, [edit(12, 14, "as"), edit(0, 0, "# c\n"), edit(4, 5, "  "), edit(16, 16, "y")])
    assert applied.text == "# c\nFROM  alpine as xy\n"


def test_insertions_at_one_place_keep_their_order() -> None:
    assert apply(TEXT, [edit(0, 0, "a"), edit(0, 0, "b"), edit(0, 4, "from")]).text == "abfrom alpine AS x\n"


def test_new_lines_end_as_the_text_has_it() -> None:
    edits = [edit(0, 0, "a\nb\r\n")]
    assert [e.text for e in with_line_ends(edits, "x\r\ny\r\n")] == ["a\r\nb\r\n"]
    assert with_line_ends(edits, "x\ny\n") == edits
    assert with_line_ends(edits, "x\r\ny\n") == edits


def test_overlap() -> None:
    edits = [edit(0, 6, "a"), edit(5, 8, "b"), edit(8, 9, "c")]
    with pytest.raises(OverlapError, match="offset 5"):
        apply(TEXT, edits)
    applied = apply_what_fits(TEXT, edits)
    assert applied.text == "alpcne AS x\n"
    assert applied.skipped == (edits[1],)


def test_the_same_replacement_twice_counts_once() -> None:
    assert apply(TEXT, [edit(0, 4, "from"), edit(0, 4, "from")]).text == "from alpine AS x\n"


def test_outside() -> None:
    with pytest.raises(OverlapError, match="outside"):
        apply(TEXT, [edit(10, 100, "")])


def test_places_move() -> None:
    applied = apply(TEXT, [edit(0, 0, "# c\n"), edit(5, 11, "debian:12")])
    assert applied.span(Span(15, 16)) == Span(22, 23)
    assert applied.text[slice(*applied.span(Span(12, 14)))] == "AS"
    assert applied.text[slice(*applied.span(Span(0, 4)))] == "FROM"


cuts = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.text("xyz", max_size=4)), max_size=6)


@given(st.text("abc\n", max_size=30), cuts)
def test_untouched_characters_stay(text: str, cuts: list[tuple[int, int, str]]) -> None:
    edits = [edit(min(a, len(text)), min(a + n, len(text)), new) for a, n, new in cuts]
    applied = apply_what_fits(text, edits)
    touched = {at for e in applied.edits for at in range(*e.span)}
    for at, char in enumerate(text):
        if at not in touched:
            assert applied.text[applied.offset(at)] == char
    assert apply(text, applied.edits).text == applied.text
    assert len(applied.edits) + len(applied.skipped) <= len(edits)
