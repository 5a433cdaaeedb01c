"""What is wrong with broken JSON, in Go's words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dockc.golang.jsonfault import json_fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "unexpected end of JSON input"),
        (" [1, ", "unexpected end of JSON input"),
        ('"a', "unexpected end of JSON input"),
        ('{"a":', "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("é", "invalid character 'Ã' looking for beginning of value"),
        ("'", r"invalid character '\'' looking for beginning of value"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ("NaN", "invalid character 'N' looking for beginning of value"),
        ("[] []", "invalid character '[' after top-level value"),
        ("01", "invalid character '1' after top-level value"),
        ("[1 2]", "invalid character '2' after array element"),
        ("{1}", "invalid character '1' looking for beginning of object key string"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":1 "b"}', "invalid character '\"' after object key:value pair"),
        ('"a\nb"', r"invalid character '\n' in string literal"),
        (r'"\x"', "invalid character 'x' in string escape code"),
        (r'"\u00g0"', r"invalid character 'g' in \u hexadecimal character escape"),
        ("nul", "invalid character ' ' in literal null (expecting 'l')"),
        ("[trux]", "invalid character 'x' in literal true (expecting 'e')"),
        ("-", "invalid character ' ' in numeric literal"),
        ("1.", "invalid character ' ' after decimal point in numeric literal"),
        ("1e+x", "invalid character 'x' in exponent of numeric literal"),
        ("[" * 10001, "exceeded max depth"),
    ],
)
def test_faults(text: str, message: str) -> None:
    assert json_fault(text.encode()) == message


@given(st.text(alphabet='[]{}",:0123.eE+-truefalsn \\\n', max_size=12))
def test_there_is_a_fault_exactly_where_a_reader_finds_one(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        assert json_fault(text.encode())
    else:
        assert json_fault(text.encode()) == ""


_scalars = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@given(st.recursive(_scalars, lambda some: st.lists(some) | st.dictionaries(st.text(), some)))
def test_what_a_writer_writes_has_none(value: object) -> None:
    assert json_fault(json.dumps(value).encode()) == ""
