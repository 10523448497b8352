"""Work that is done before it is asked for: in threads, in order, as far ahead as memory allows."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Bounds:
    """How far ahead: answers that wait, pieces in work at a time, and what all that were not released may weigh."""

    waiting: int
    working: int
    weight: int


class Prefetcher(Generic[Item, Answer]):
    """What ``work`` makes of each of ``items``, in their order, worked out before it is asked for.

    For whoever asks, a piece is begun whatever the others weigh: nobody waits for what will never come. So all that
    are held weigh at most ``bounds.weight``, what is in work, and what the asker holds.
    """

    def __init__(
        self,
        pool: Executor,
        work: Callable[[Item], Answer],
        items: Iterable[Item],
        weigh: Callable[[Answer], int],
        bounds: Bounds,
    ) -> None:
        self._pool, self._work, self._items, self._weigh, self._bounds = pool, work, iter(items), weigh, bounds
        self._waiting: deque[Future[Answer]] = deque()
        self._working = self._weight = 0
        self._lock = threading.RLock()

    def __iter__(self) -> Prefetcher[Item, Answer]:
        """Itself."""
        return self

    def __next__(self) -> Answer:
        """The next answer; what ``work`` raised for it is raised here."""
        with self._lock:
            if not self._waiting and not self._begin():
                raise StopIteration
            first = self._waiting.popleft()
            self._fill()
        return first.result()

    def release(self, answer: Answer) -> None:
        """Say that an answer is of no more use; from any thread."""
        with self._lock:
            self._weight -= self._weigh(answer)
            self._fill()

    def _fill(self) -> None:
        """Begin what may be begun."""
        bounds = self._bounds
        while len(self._waiting) < bounds.waiting and self._working < bounds.working and self._weight < bounds.weight:
            if not self._begin():
                return

    def _begin(self) -> bool:
        """Begin the next piece, if one is left."""
        for item in self._items:
            self._working += 1
            self._waiting.append(self._pool.submit(self._worked, item))
            return True
        return False

    def _worked(self, item: Item) -> Answer:
        weight = 0
        try:
            answer = self._work(item)
            weight = self._weigh(answer)
        finally:
            with self._lock:
                self._working -= 1
                self._weight += weight
                self._fill()
        return answer
