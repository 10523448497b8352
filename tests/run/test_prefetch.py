"""Work ahead of time: its order, how far ahead it goes, and what comes of errors."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor

import pytest

from pellucid.run.prefetch import Bounds, Prefetcher


class ByHand(Executor):
    """Works on what was submitted when it is told to."""

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


def taken(pool: ByHand, pictures: Prefetcher) -> int:
    """The next answer, and then all that may be begun."""
    if not pictures._waiting:
        pictures._begin()
    pool.work()
    answer = next(pictures)
    pool.work()
    return answer


def test_answers_come_in_order() -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(ahead(pool, range(200), [], Bounds(8, 4, 10**6))) == list(range(200))


def test_so_many_wait_and_no_more() -> None:
    pool, begun = ByHand(), []
    pictures = ahead(pool, [0] * 20, begun, Bounds(waiting=3, working=2, weight=1))
    first = taken(pool, pictures)
    assert first == 0
    assert len(begun) == 1 + 3
    taken(pool, pictures)
    assert len(begun) == 2 + 3


def test_so_many_are_worked_on_at_a_time() -> None:
    pool = ByHand()
    pictures = ahead(pool, [0] * 20, [], Bounds(waiting=10, working=2, weight=1))
    pictures._fill()
    assert len(pool.queue) == 2


def test_nothing_is_begun_beyond_the_weight_until_something_is_released() -> None:
    pool, begun = ByHand(), []
    pictures = ahead(pool, [5] * 20, begun, Bounds(waiting=10, working=1, weight=12))
    one = taken(pool, pictures)
    assert len(begun) == 3  # 5, 10, and 15, which is not less than 12
    pictures.release(one)
    pool.work()
    assert len(begun) == 4


def test_who_asks_is_never_left_waiting() -> None:
    pool, begun = ByHand(), []
    pictures = ahead(pool, [100] * 5, begun, Bounds(waiting=10, working=1, weight=1))
    assert [taken(pool, pictures) for _ in range(5)] == [100] * 5  # none released
    with pytest.raises(StopIteration):
        next(pictures)


def test_an_error_is_raised_in_its_place() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    with ThreadPoolExecutor(2) as pool:
        answers = Prefetcher(pool, work, range(4), lambda item: item, Bounds(2, 2, 100))
        assert [next(answers), next(answers)] == [0, 1]
        with pytest.raises(ValueError, match="two"):
            next(answers)
        assert next(answers) == 3
