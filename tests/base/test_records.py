"""Records compare and hash alike before and after their classes have got methods of their own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dockc.base.record import Record, fields_of, made, replace


class Parent(Record):
    x: int
    y: str = "b"


class Child(Parent):
    z: int = 0


class Odd(Parent):
    z: int = 0

    def __hash__(self) -> int:
        return 7


def test_equality_and_hash() -> None:
    for _ in range(100):
        assert Parent(1) == Parent(1)
        assert Parent(1) != Parent(2)
        assert hash(Parent(1)) == hash(Parent(1, "b"))
        assert Child(1, "b", 2) != Child(1, "b", 3)
        assert Parent(1) != Child(1)
        assert Child(1) != Parent(1)
        assert Odd(1, "b", 2) != Odd(1, "b", 3)
        assert hash(Odd(1)) == 7
    assert Parent.__eq__ is not Record.__eq__


def test_a_class_made_late_compares_its_own_fields() -> None:
    for _ in range(100):
        assert Parent(1) == Parent(1)

    class Late(Parent):
        z: int = 0

    for _ in range(100):
        assert Late(1, "b", 1) != Late(1, "b", 2)
        assert len({Late(1, "b", 1), Late(1, "b", 2), Late(1, "b", 1)}) == 2


class Holder(Record):
    name: str
    values: dict[str, int] = made(dict)


def test_made_defaults_are_each_record_s_own() -> None:
    """Before and after the class has a constructor of its own."""
    for _ in range(100):
        one, other = Holder("a"), Holder(name="b")
        one.values["x"] = 1
        assert other.values == {}
        assert Holder("c", {"y": 2}).values == {"y": 2}


class Vertex(Record, identity=True, kw_only=True):
    """A node of a graph."""

    name: str = ""


class Read(Vertex):
    """A node that reads another."""

    __slots__ = ("memo",)

    what: Vertex
    times: int = 1


def test_nodes_are_themselves() -> None:
    one, two = Vertex(name="a"), Vertex(name="a")
    assert one != two
    assert len({one, two, one}) == 2
    assert Read(one) != Read(one)
    assert "name" not in repr(Read(one))


def test_fields_by_name_stay_by_name_below() -> None:
    inner = Vertex(name="a")
    read = Read(inner)
    for _ in range(50):  # before and after the class has a constructor of its own
        read = Read(inner, 2, name="b")
        assert (read.name, read.what, read.times) == ("b", inner, 2)
        with pytest.raises(TypeError):
            Read(inner, 2, "b")  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            Vertex("a")  # type: ignore[call-arg]
    assert replace(read, name="c").what is inner
    assert fields_of(Read) == ("name", "what", "times")
    assert Read.__match_args__ == ("what", "times")


def test_a_slot_beside_the_fields_holds_what_is_worked_out() -> None:
    read = Read(Vertex())
    object.__setattr__(read, "memo", 3)
    assert read.memo == 3  # type: ignore[attr-defined]
    assert not hasattr(replace(read), "memo")


def test_the_standard_library_knows_defaults() -> None:
    assert {field.name: field.default for field in dataclasses.fields(Read)}["times"] == 1


def test_no_data_class_in_the_pure_rooms() -> None:
    rooms = ("golang", "grammar", "oci", "llb", "compiler", "linter")
    for room in rooms:
        for file in sorted((Path(__file__).parents[2] / "dockc" / room).rglob("*.py")):
            assert "@dataclass" not in file.read_text(), file
