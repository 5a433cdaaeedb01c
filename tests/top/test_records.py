"""Records compare and hash alike before and after their classes have got methods of their own."""

from __future__ import annotations

from dockc.base.record import Record, made


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
