"""A destination in memory, whose server can be out of reach, refuse entries, or hang."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pellucid.errors import TransferError
from pellucid.tracking.destination import Destination, Stamp


@dataclass
class Service:
    """What a server has received: runs with their parents, and entries with the run that they belong to."""

    runs: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    received: list[tuple[str, ...]] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    is_down: bool = False
    refuses: str = ""
    gate: threading.Event | None = None
    """Until this is set, every call hangs."""

    def take(self, *entry: str) -> None:
        """Receive an entry."""
        self.threads.add(threading.get_ident())
        if self.gate is not None:
            self.gate.wait(60)
        if self.is_down:
            raise TransferError("memory: connection refused", retry=True)
        if self.refuses and entry[0] == self.refuses:
            raise TransferError("memory: no such thing", retry=False)
        self.received.append(entry)


@dataclass(frozen=True)
class Memory(Destination):
    """The service of this name in ``SERVICES``."""

    service: str

    name = "memory"

    @property
    def where(self) -> str:
        """Its name."""
        return f"memory {self.service}"

    def facts(self) -> Mapping[str, str]:
        """Its name."""
        return {"service": self.service}

    @classmethod
    def remade(cls, facts: Mapping[str, str]) -> Self:
        """The same."""
        return cls(facts["service"])

    def connect(self) -> Received:
        """A connection."""
        return Received(SERVICES[self.service])


SERVICES: dict[str, Service] = {}


class Received:
    """A ``Connection`` to a ``Service``."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def begin(self, at: Stamp, name: str, parent: str | None) -> str:
        self._service.take("begin", at.run, name)
        self._service.runs[f"id-{at.run}"] = name, parent
        return f"id-{at.run}"

    def parameters(self, run: str, values: Mapping[str, str | int | float | bool]) -> None:
        for name, value in values.items():
            self._service.take("parameter", run, name, str(value))

    def metrics(self, run: str, values: Mapping[str, float], step: int, at: Stamp) -> None:
        for name, value in values.items():
            self._service.take("metric", run, name, str(value), str(step))

    def image(self, run: str, key: str, path: Path, step: int, at: Stamp) -> None:
        assert path.read_bytes().startswith(b"\x89PNG")
        self._service.take("image", run, key, str(step))

    def file(self, run: str, path: Path, name: str, folder: str) -> None:
        self._service.take("file", run, name, folder, path.read_text())

    def end(self, run: str, status: str, at: Stamp) -> None:
        self._service.take("end", run, status)
