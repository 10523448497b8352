"""``Destination``: a service to which runs are sent, such as MLflow; each is a file in ``tracking/destinations``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self, TypeVar

from pellucid.core.registry import Registry


@dataclass(frozen=True)
class Stamp:
    """What distinguishes an entry: its run, its number, when it was logged (ms since 1970), the folder of its files."""

    run: str
    number: int
    time: int
    folder: Path


class Connection(Protocol):
    """An open destination. Only the thread that sends calls it: every call may wait.

    Sending an entry again, as after a crash, must not add it twice where the service allows that.

    Raises:
        TransferError: ``retry`` is true where the service cannot be reached or is not usable now, false where it
            refuses this entry for good.
    """

    def begin(self, at: Stamp, name: str, parent: str | None) -> str:
        """Create the run of ``at``, or find it, if it was created before; its id at the service."""

    def parameters(self, run: str, values: Mapping[str, str | int | float | bool]) -> None:
        """Add parameters to a run."""

    def metrics(self, run: str, values: Mapping[str, float], step: int, at: Stamp) -> None:
        """Add figures at a step."""

    def image(self, run: str, key: str, path: Path, step: int, at: Stamp) -> None:
        """Add an image (PNG)."""

    def file(self, run: str, path: Path, name: str, folder: str) -> None:
        """Add a file, under a name, in a folder of the run."""

    def end(self, run: str, status: str, at: Stamp) -> None:
        """End a run."""


class Destination(ABC):
    """A service, and what is to be known to reach it.

    Subclasses are frozen dataclasses, registered by ``register_destination``.
    """

    name: ClassVar[str] = ""

    @property
    @abstractmethod
    def where(self) -> str:
        """The service as messages name it."""

    @abstractmethod
    def facts(self) -> Mapping[str, str]:
        """What ``remade`` makes this destination from. It is kept on disk, so it holds no secret."""

    @classmethod
    @abstractmethod
    def remade(cls, facts: Mapping[str, str]) -> Self:
        """The destination that ``facts`` describes. ``KeyError``: they do not."""

    @classmethod
    def takes(cls, logger: object) -> Self | None:  # noqa: ARG003  # for those that take one
        """The destination that goes on with the run of a trainer's logger; None of a logger of another service."""
        return None

    @abstractmethod
    def connect(self) -> Connection:
        """Open it; called in the thread that sends. It raises as a ``Connection`` does."""


DESTINATIONS: Registry[Destination] = Registry("pellucid.tracking.destinations", "destination")
D = TypeVar("D", bound=type[Destination])


def register_destination(name: str) -> Callable[[D], D]:
    """Register a destination's class, a frozen dataclass, under a name."""
    return DESTINATIONS.register(name)


def is_logger(logger: object, name: str) -> bool:
    """Whether a logger's class, or one that it derives from, is Lightning's of this name. Nothing is imported."""
    packages = ("lightning", "pytorch_lightning")
    return any(cls.__name__ == name and cls.__module__.partition(".")[0] in packages for cls in type(logger).__mro__)
