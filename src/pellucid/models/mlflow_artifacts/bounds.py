"""What is read at most, and for how long: servers, and the files that they list, are not trusted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Bounds:
    """Limits of one model's download. Times are in seconds, sizes in bytes."""

    connecting: float = 5.0
    """To connect to a server."""
    answering: float = 15.0
    """For one answer of it, as a whole; for a file, until it begins and between its parts."""
    slowest: int = 2**18
    """Bytes per second: a file gets the time that it takes at this rate, and that of an answer."""
    answer: int = 2**22
    """Of one answer that is no file."""
    description: int = 2**20
    """Of the file that describes a model, ``MLmodel``, and of a record in a folder."""
    weights: int = 2**33
    """Of a file of weights."""
    entries: int = 5_000
    """Of all folders of a model, or of a run."""
    folders: int = 200
    """That are looked into."""
    depth: int = 8
    """Of folders in one another."""


DEFAULT = Bounds()
