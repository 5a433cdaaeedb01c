"""Several things at once: results in order, the first error ends all, and whoever asked can end it, too."""

from __future__ import annotations

import threading

import pytest

from dockc.runtime.cancel import Cancelled
from dockc.runtime.several import one_by_one, several


def test_results_are_in_the_order_of_the_items_whoever_is_done_first() -> None:
    second = threading.Event()

    def work(item: int, _stop: threading.Event) -> int:
        if item == 0:
            assert second.wait(30), "the second item is worked at meanwhile"
        if item == 1:
            second.set()
        return item * item

    assert several(work, range(5), 3) == [0, 1, 4, 9, 16]


def test_the_first_error_ends_the_others() -> None:
    begun, ended = threading.Event(), []

    def work(item: str, stop: threading.Event) -> None:
        if item == "waits":
            begun.set()
            assert stop.wait(30)
            ended.append(item)
        elif item == "fails":
            assert begun.wait(30)
            raise ValueError(item)
        else:
            ended.append(item)

    with pytest.raises(ValueError, match="fails"):
        several(work, ["waits", "fails", *(f"late {number}" for number in range(50))], 2)
    assert "waits" in ended
    assert len(ended) < 51, "not all of the others were begun"


@pytest.mark.parametrize("count", [1, 4])
def test_nothing_is_begun_once_it_is_cancelled(count: int) -> None:
    cancelled = threading.Event()
    cancelled.set()
    begun: list[int] = []
    with pytest.raises(Cancelled):
        several(lambda item, _stop: begun.append(item), range(count), 2, cancelled=cancelled)
    assert begun == []


def test_whoever_cancels_reaches_the_work() -> None:
    cancelled = threading.Event()

    def work(item: int, stop: threading.Event) -> None:
        cancelled.set()
        assert stop.wait(30)
        raise Cancelled

    with pytest.raises(Cancelled):
        several(work, range(2), 2, cancelled=cancelled)


def test_a_single_item_needs_no_thread() -> None:
    assert several(lambda _item, _stop: threading.current_thread(), [1], 4) == [threading.current_thread()]
    assert several(lambda _item, _stop: 1, [], 4) == []


def test_first_results_are_used_while_later_items_are_worked_at() -> None:
    used = threading.Event()

    def work(item: int, _stop: threading.Event) -> int:
        assert item == 0 or used.wait(30), "the first result is used meanwhile"
        return item

    with one_by_one(work, range(5), 2) as results:
        assert next(results) == 0
        used.set()
        assert list(results) == [1, 2, 3, 4]


def test_an_error_of_a_later_item_is_the_one_that_is_told() -> None:
    begun = threading.Event()

    def work(item: int, stop: threading.Event) -> None:
        if item == 0:
            begun.set()
            assert stop.wait(30)
            raise Cancelled
        assert begun.wait(30)
        raise ValueError(item)

    with pytest.raises(ValueError, match="1"), one_by_one(work, range(9), 2) as results:
        next(results)


def test_who_leaves_ends_what_is_under_way() -> None:
    ended: list[int] = []

    def work(item: int, stop: threading.Event) -> None:
        if item:
            assert stop.wait(30)
        ended.append(item)

    with pytest.raises(KeyError), one_by_one(work, range(9), 2) as results:
        next(results)
        raise KeyError
    assert len(ended) < 9
