"""Records behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from dockc.base.record import Record


class Point(Record):
    """A place."""

    x: int
    y: int = 0


class Named(Point, kw_only=True):
    """A place with a name."""

    name: str


def test_fields_and_defaults() -> None:
    assert (Point(1).x, Point(1).y, Point(1, y=2).y, Point(x=1, y=3).y) == (1, 0, 2, 3)
    assert repr(Named(x=1, name="a")) == "Named(x=1, y=0, name='a')"


@pytest.mark.parametrize(("args", "values"), [((), {}), ((1, 2, 3), {}), ((1,), {"z": 1}), ((1,), {"x": 1})])
def test_wrong_arguments(args: tuple[int, ...], values: dict[str, int]) -> None:
    with pytest.raises(TypeError):
        Point(*args, **values)


def test_equal_by_value_and_class() -> None:
    assert Point(1) == Point(1, 0)
    assert hash(Point(1)) == hash(Point(1, 0))
    assert Point(1) != Point(2)
    assert Named(x=1, name="a") != Point(1)


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="frozen"):
        point.x = 2  # type: ignore[misc]  # the type says so too
    with pytest.raises(AttributeError, match="frozen"):
        del point.x
    with pytest.raises(AttributeError):
        point.other = 2


def test_works_with_the_standard_library() -> None:
    named = Named(x=1, name="a")
    assert dataclasses.is_dataclass(named)
    assert [field.name for field in dataclasses.fields(named)] == ["x", "y", "name"]
    assert dataclasses.replace(named, y=5) == Named(x=1, y=5, name="a")
    assert pickle.loads(pickle.dumps(named)) == named
    assert copy.deepcopy(named) == named


def test_classes_made_often_stay_the_same() -> None:
    class Often(Record):
        name: str
        number: int = 7

    class More(Often):
        extra: str = "e"

    for count in range(200):
        assert Often("a") == Often(name="a", number=7) == Often("a", 7), count
        assert More("a", extra="x") == More("a", 7, "x"), count
    for wrong in ({"nope": 1}, {}):
        with pytest.raises(TypeError):
            Often(**wrong)  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        Often("a").name = "b"  # type: ignore[misc]

    class Later(Often):
        late: int = 1

    assert Later("a", late=2).late == 2
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)
