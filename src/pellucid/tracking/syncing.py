"""``sync``: sends what the runs below a folder have logged, and what their destinations have not accepted yet."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pellucid.errors import DataError, TransferError, message_of
from pellucid.tracking.delivery import Delivery
from pellucid.tracking.destination import DESTINATIONS, Destination
from pellucid.tracking.destinations.mlflow import MLflow
from pellucid.tracking.journal import JOURNAL, header_of
from pellucid.tracking.ledger import Ledger

_MOST = 100_000
"""The most folders that are looked into."""


@dataclass(frozen=True)
class Synced:
    """A run's journal and a destination: the entries ``sent`` now, those ``refused`` for good, or an ``error``."""

    folder: Path
    where: str
    sent: int = 0
    refused: int = 0
    error: str = ""


def sync(folder: Path, uri: str | None = None) -> Iterator[Synced]:
    """Send the rest of every run below a folder, each entry once.

    ``uri`` is the address of MLflow in place of the one that the run was logged for: with the password, which is never
    kept, or where the server has moved. What was sent before is known by the address that the run was logged for.

    Raises:
        DataError: there is no run below the folder.
    """
    found = journals(folder)
    if not found:
        raise DataError(f"{folder}: no run was logged there (no {JOURNAL}): give the folder of results, or of runs")
    for one in found:
        for destination in destinations_of(one):
            yield _synced(one, destination, uri)


def journals(folder: Path) -> list[Path]:
    """The folders with a journal at or below a folder, without following links, in order."""
    found = []
    for number, (place, folders, files) in enumerate(os.walk(folder)):
        folders.sort()
        if JOURNAL in files:
            found.append(Path(place))
        if number >= _MOST:
            break
    return found


def destinations_of(folder: Path) -> list[Destination]:
    """Where a journal's entries are to be sent. ``DataError``: it does not say that in a way that is known here."""
    known = DESTINATIONS.registered()
    try:
        return [known[name].remade(facts) for name, facts in header_of(folder)["destinations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{folder / JOURNAL}: its destination is not known here ({message_of(error)}): install what logged it"
        ) from None


def _synced(folder: Path, destination: Destination, uri: str | None) -> Synced:
    to = replace(destination, uri=uri) if uri is not None and isinstance(destination, MLflow) else destination
    try:
        with Ledger(folder, destination) as ledger:
            before = len(ledger.refused)
            delivery = Delivery(folder, to, ledger)
            try:
                delivery.turn()
            except TransferError as error:
                return Synced(folder, to.where, delivery.sent, len(ledger.refused) - before, str(error))
            return Synced(folder, to.where, delivery.sent, len(ledger.refused) - before)
    except BlockingIOError:
        return Synced(folder, to.where, error="another process is sending this run: wait until it has ended")
    except OSError as error:
        return Synced(folder, to.where, error=f"{folder}: {error.strerror or error}")
