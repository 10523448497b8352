"""Prefetching: process items in threads ahead of their use, in order, within a memory bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Bounds:
    """How far ahead to work.

    ``waiting``: results that nobody has taken yet. ``working``: items that are processed at a time. ``weight``: the
    total weight of all results that were not released, beyond which no item is begun.
    """

    waiting: int
    working: int
    weight: int


class Prefetcher(Generic[Item, Result]):
    """Iterates over ``work(item)`` for each of ``items``, in order, computed ahead of time.

    ``next`` begins an item whatever the weight of the results that are held, so that it never waits forever. The
    results that exist at a time therefore weigh at most ``bounds.weight``, plus those in work, plus those that the
    consumer holds.
    """

    def __init__(
        self,
        pool: Executor,
        work: Callable[[Item], Result],
        items: Iterable[Item],
        weigh: Callable[[Result], int],
        bounds: Bounds,
    ) -> None:
        self._pool, self._work, self._items, self._weigh, self._bounds = pool, work, iter(items), weigh, bounds
        self._waiting: deque[Future[Result]] = deque()
        self._working = self._weight = 0
        self._lock = threading.RLock()

    def __iter__(self) -> Prefetcher[Item, Result]:
        """The prefetcher itself."""
        return self

    def __next__(self) -> Result:
        """The next result; an error that ``work`` raised for it is raised here."""
        with self._lock:
            if not self._waiting and not self._begin():
                raise StopIteration
            first = self._waiting.popleft()
            self._fill()
        return first.result()

    def release(self, result: Result) -> None:
        """Release a result that is no longer needed; from any thread."""
        with self._lock:
            self._weight -= self._weigh(result)
            self._fill()

    def _fill(self) -> None:
        """Begin items until a bound is reached."""
        bounds = self._bounds
        while len(self._waiting) < bounds.waiting and self._working < bounds.working and self._weight < bounds.weight:
            if not self._begin():
                return

    def _begin(self) -> bool:
        """Begin the next item, and return whether there was one."""
        for item in self._items:
            self._working += 1
            self._waiting.append(self._pool.submit(self._run, item))
            return True
        return False

    def _run(self, item: Item) -> Result:
        weight = 0
        try:
            result = self._work(item)
            weight = self._weigh(result)
        finally:
            with self._lock:
                self._working -= 1
                self._weight += weight
                self._fill()
        return result
