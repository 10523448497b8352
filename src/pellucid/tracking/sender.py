"""``Sender``: the thread that sends a run's journal to one destination, while the run goes on.

The queue is the journal on the local disk: the thread that logs appends to it, and only wakes the sender. So what is
held in memory is bounded, nothing is dropped, and no lock is held while the network is waited for. What a destination
does not accept in time stays in the journal, for a later turn or for ``pellucid mlflow sync``.
"""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event, Thread

from pellucid.errors import PellucidError, TransferError, message_of
from pellucid.tracking.delivery import Delivery
from pellucid.tracking.destination import Destination
from pellucid.tracking.ledger import Ledger

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
"""Seconds between two attempts: each pause is twice as long as the one before."""


class Sender:
    """Sends a journal in a thread of its own, which does not keep the process from ending."""

    def __init__(self, folder: Path, destination: Destination) -> None:
        self.destination = destination
        self.problem: str | None = None
        self.refused: dict[int, str] = {}
        self.is_done = False
        self._folder = folder
        self._woken, self._closing, self._over = Event(), Event(), Event()
        self._thread = Thread(target=self._run, name=f"pellucid-{destination.name}", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something to send."""
        self._woken.set()

    def close(self) -> None:
        """The journal has its last entry: end once it is sent."""
        self._closing.set()
        self._woken.set()

    def wait(self, end: float) -> None:
        """Wait until everything is sent, or until ``end`` (of ``time.monotonic``); nothing more is sent afterwards."""
        self._thread.join(max(0.0, end - time.monotonic()))
        self._over.set()
        self._woken.set()

    def _run(self) -> None:
        try:
            with Ledger(self._folder, self.destination) as ledger:
                self._deliver(Delivery(self._folder, self.destination, ledger))
        except Exception as error:  # whatever a service's package raises must not be printed by the thread
            self.problem = message_of(error)

    def _deliver(self, delivery: Delivery) -> None:
        pause = FIRST_PAUSE
        while not self._over.is_set():
            is_last = self._closing.is_set()  # read before the turn: an entry may come while it ends
            try:
                delivery.turn(self._over.is_set)
            except PellucidError as error:
                self.problem = str(error)
                if not (isinstance(error, TransferError) and error.retry):
                    return
                (self._over if is_last else self._closing).wait(min(pause, 1.0) if is_last else pause)
                pause = min(2 * pause, LONGEST_PAUSE)
                continue
            self.problem, pause = None, FIRST_PAUSE
            self.refused = dict(delivery.ledger.refused)
            if is_last:
                self.is_done = not self._over.is_set()
                return
            self._woken.wait()
            self._woken.clear()
