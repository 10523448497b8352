"""Sends a journal's entries to a destination, in order, each once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pellucid.errors import TransferError
from pellucid.tracking.contents import Begun
from pellucid.tracking.destination import Connection, Destination, Stamp
from pellucid.tracking.journal import Entry, Reader
from pellucid.tracking.ledger import Ledger


class Delivery:
    """The way of one journal to one destination; at most one entry is in memory at a time."""

    def __init__(self, folder: Path, destination: Destination, ledger: Ledger) -> None:
        self.ledger = ledger
        self.sent = 0
        self._folder, self._destination = folder, destination
        self._reader = Reader(folder)
        self._connection: Connection | None = None

    def turn(self, is_over: Callable[[], bool] = lambda: False) -> None:
        """Send what the journal holds and was not sent yet, until ``is_over`` returns true.

        Raises:
            TransferError: the destination cannot be used now; the next turn begins with the entry that failed.
        """
        for entry in self._reader.entries():
            if is_over():
                return
            if not self.ledger.has(entry.number):
                self._send(entry)

    def _send(self, entry: Entry) -> None:
        if self._connection is None:
            self._connection = self._destination.connect()
        if not entry.has_file(self._folder):
            self.ledger.refuse(entry.number, "its file is no longer in the folder")
            return
        try:
            self._send_through(self._connection, entry)
        except TransferError as error:
            if error.retry or isinstance(entry.content, Begun):  # without its run, no entry can be sent
                raise
            self.ledger.refuse(entry.number, str(error))
            return
        self.ledger.accept(entry.number)
        self.sent += 1

    def _send_through(self, connection: Connection, entry: Entry) -> None:
        at, content, ids = Stamp(entry.run, entry.number, entry.time, self._folder), entry.content, self.ledger.ids
        if not isinstance(content, Begun):
            content.send(connection, ids.get(entry.run, ""), at)
        elif entry.run not in ids:
            self.ledger.name(entry.run, connection.begin(at, content.name, ids.get(content.parent)))
