"""Enumerations of words behave as those of `enum`."""

from __future__ import annotations

import copy
import pickle
from enum import Enum
from typing import Any

import pytest

from dockc.grammar.diagnostic import Severity


class Reference(Enum):
    """What the standard library makes of the same words."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    STYLE = "style"


def test_as_the_standard_library() -> None:
    for ours, theirs in zip(Severity, Reference, strict=True):
        assert (ours.name, ours.value) == (theirs.name, theirs.value)
        assert repr(ours).partition(".")[2] == repr(theirs).partition(".")[2]
        assert str(ours).partition(".")[2] == str(theirs).partition(".")[2]
        assert Severity(ours.value) is Severity[ours.name] is Severity(ours) is ours
    assert len(Severity) == len(Reference)
    assert list(Severity.__members__) == list(Reference.__members__)


def test_single_objects() -> None:
    for member in Severity:
        assert pickle.loads(pickle.dumps(member)) is member
        assert copy.copy(member) is member
        assert copy.deepcopy([member])[0] is member
        assert isinstance(member, Severity)
        assert {member: 1}[Severity(member.value)] == 1
    assert [member.rank for member in Severity] == [0, 1, 2, 3]


@pytest.mark.parametrize("value", ["Error", "", None, 3, [], "__class__"])
def test_what_is_none(value: Any) -> None:
    with pytest.raises(ValueError, match="is not a valid Severity"):
        Severity(value)


def test_nothing_changes_them() -> None:
    changed: Any = Severity.ERROR
    with pytest.raises(AttributeError):
        changed.value = "warning"
    kind: Any = Severity
    with pytest.raises(AttributeError):
        kind.ERROR = Severity.STYLE
    with pytest.raises(AttributeError):
        del kind.ERROR


def test_matches() -> None:
    match Severity("info"):
        case Severity.INFO:
            found = "info"
        case _:
            found = ""
    assert found == "info"
