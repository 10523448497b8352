"""Prefetching: the order of the results, its bounds, and errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from pellucid.run.prefetch import Bounds, Prefetcher


class ByHand(Executor):
    """An executor that runs what was submitted when ``work`` is called."""

    def __init__(self) -> None:
        self.queue: deque[tuple[Future, Callable, tuple]] = deque()

    def submit(self, function, /, *arguments):
        future: Future = Future()
        self.queue.append((future, function, arguments))
        return future

    def work(self) -> None:
        """Work until nothing is left that may be begun."""
        while self.queue:
            future, function, arguments = self.queue.popleft()
            try:
                future.set_result(function(*arguments))
            except ValueError as error:
                future.set_exception(error)


def ahead(pool: Executor, items, begun: list, bounds: Bounds) -> Prefetcher:
    return Prefetcher(pool, lambda item: begun.append(item) or item, items, lambda item: item, bounds)


def taken(pool: ByHand, results: Prefetcher) -> int:
    """Take the next result, then run all that may be begun."""
    if not results._waiting:
        results._begin()
    pool.work()
    result = next(results)
    pool.work()
    return result


def test_results_come_in_order() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(ahead(pool, range(200), [], Bounds(8, 4, 10**6))) == list(range(200))


def test_waiting_results_are_bounded() -> None:
    pool, begun = ByHand(), []
    results = ahead(pool, [0] * 20, begun, Bounds(waiting=3, working=2, weight=1))
    first = taken(pool, results)
    assert first == 0
    assert len(begun) == 1 + 3
    taken(pool, results)
    assert len(begun) == 2 + 3


def test_items_in_work_are_bounded() -> None:
    pool = ByHand()
    results = ahead(pool, [0] * 20, [], Bounds(waiting=10, working=2, weight=1))
    results._fill()
    assert len(pool.queue) == 2


def test_nothing_is_begun_beyond_the_weight_until_something_is_released() -> None:
    pool, begun = ByHand(), []
    results = ahead(pool, [5] * 20, begun, Bounds(waiting=10, working=1, weight=12))
    one = taken(pool, results)
    assert len(begun) == 3  # 5, 10, and 15, which is not less than 12
    results.release(one)
    pool.work()
    assert len(begun) == 4


def test_next_never_waits_forever() -> None:
    pool, begun = ByHand(), []
    results = ahead(pool, [100] * 5, begun, Bounds(waiting=10, working=1, weight=1))
    assert [taken(pool, results) for _ in range(5)] == [100] * 5  # none released
    with pytest.raises(StopIteration):
        next(results)


def test_an_error_is_raised_in_its_place() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    with ThreadPoolExecutor(2) as pool:
        results = Prefetcher(pool, work, range(4), lambda item: item, Bounds(2, 2, 100))
        assert [next(results), next(results)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(results)
        assert next(results) == 3
