"""What a run's journal holds: the start and the end of runs, parameters, metrics, images and files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from pellucid.tracking.destination import Connection, Stamp


@dataclass(frozen=True)
class Begun:
    """A run begins; ``parent`` is the run that it is within ("" for none)."""

    kind: ClassVar[str] = "begun"
    name: str
    parent: str


@dataclass(frozen=True)
class Parameters:
    """What was chosen."""

    kind: ClassVar[str] = "parameters"
    values: Mapping[str, str | int | float | bool]

    def send(self, connection: Connection, run: str, at: Stamp) -> None:  # noqa: ARG002  # as in the others
        """Send them to a run."""
        connection.parameters(run, self.values)


@dataclass(frozen=True)
class Metrics:
    """Figures at a step."""

    kind: ClassVar[str] = "metrics"
    values: Mapping[str, float]
    step: int

    def send(self, connection: Connection, run: str, at: Stamp) -> None:
        """Send them to a run."""
        connection.metrics(run, self.values, self.step, at)


@dataclass(frozen=True)
class LoggedImage:
    """An image (PNG) in the journal's folder, under a key, at a step."""

    kind: ClassVar[str] = "image"
    key: str
    step: int
    file: str

    def send(self, connection: Connection, run: str, at: Stamp) -> None:
        """Send it to a run."""
        connection.image(run, self.key, at.folder / self.file, self.step, at)


@dataclass(frozen=True)
class LoggedFile:
    """A copy of a file in the journal's folder, with the name and the folder that it gets in the run."""

    kind: ClassVar[str] = "file"
    name: str
    folder: str
    file: str

    def send(self, connection: Connection, run: str, at: Stamp) -> None:
        """Send it to a run."""
        connection.file(run, at.folder / self.file, self.name, self.folder)


@dataclass(frozen=True)
class Ended:
    """A run ends; ``status`` is FINISHED, or KILLED where its process did not end it."""

    kind: ClassVar[str] = "ended"
    status: str

    def send(self, connection: Connection, run: str, at: Stamp) -> None:
        """End a run."""
        connection.end(run, self.status, at)


Sendable = Parameters | Metrics | LoggedImage | LoggedFile | Ended
Content = Begun | Sendable
KINDS: Mapping[str, type[Content]] = {
    cls.kind: cls for cls in (Begun, Parameters, Metrics, LoggedImage, LoggedFile, Ended)
}


def facts(content: Content) -> dict[str, Any]:
    """A content as JSON."""
    values = {field.name: getattr(content, field.name) for field in fields(content)}
    return {"kind": content.kind} | {
        name: dict(one) if isinstance(one, Mapping) else one for name, one in values.items()
    }


def content_of(found: Mapping[str, Any]) -> Content:
    """The content that JSON holds. ``ValueError``, ``KeyError`` or ``TypeError``: it holds none."""
    cls = KINDS[found["kind"]]
    values = {field.name: found[field.name] for field in fields(cls)}
    for field in fields(cls):
        if not isinstance(values[field.name], _TYPES[str(field.type).partition("[")[0]]):
            raise ValueError(field.name)
    return cls(**values)


_TYPES: Mapping[str, type] = {"str": str, "int": int, "Mapping": dict}
