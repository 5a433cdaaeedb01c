"""Comma separated options, quoted as in CSV."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.grammar.options import BadOptions, options


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a", ["a"]),
        ("a=b,c", ["a=b", "c"]),
        (",", ["", ""]),
        ("a,,b,", ["a", "", "b", ""]),
        ('"a,b",c', ["a,b", "c"]),
        ('"a""b"', ['a"b']),
        ('""', [""]),
        ('"",""', ["", ""]),
        ("a\r\n", ["a"]),
        ("a, b", ["a", " b"]),
    ],
)
def test_fields(text: str, fields: list[str]) -> None:
    found = options(text)
    assert [option.text for option in found] == fields
    for option in found:
        assert text[option.start : option.end].strip('"').replace('""', '"') == option.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "EOF"),
        ("\n", "EOF"),
        ('a"b', 'parse error on line 1, column 2: bare " in non-quoted-field'),
        ('é,a"b', 'parse error on line 1, column 5: bare " in non-quoted-field'),
        ('"a', 'parse error on line 1, column 2: extraneous or missing " in quoted-field'),
        ('"a"b', 'parse error on line 1, column 3: extraneous or missing " in quoted-field'),
        ('x,"a""', 'parse error on line 1, column 7: extraneous or missing " in quoted-field'),
    ],
)
def test_errors(text: str, message: str) -> None:
    with pytest.raises(BadOptions) as caught:
        options(text)
    assert str(caught.value) == message


@given(st.lists(st.text('ab,"= é', max_size=6), min_size=1, max_size=5))
def test_what_a_csv_writer_writes_is_read(fields: list[str]) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields)
    assert [option.text for option in options(out.getvalue())] == fields


@given(st.lists(st.text("ab= é", max_size=4), min_size=1, max_size=5))
def test_without_quotes_the_tables_are_not_needed(fields: list[str]) -> None:
    text = ",".join(fields)
    if text:
        assert [option.text for option in options(text)] == fields
        quoted = options(text + ',"q"')  # goes through the tables
        assert quoted[:-1] == options(text)
