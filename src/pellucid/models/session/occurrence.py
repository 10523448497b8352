"""One output of a layer in a pass, where the layer has several: that of a run, and of an entry of its batch.

A layer runs several times where a network passes two views, or an image and its mirror image, through it. It has
several entries for one input where the network passes the slices of a stack through it as a batch. Both are counted
from 1: ``encoder#2`` is the second run of ``encoder``, ``encoder[3]`` the third entry of its only run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WRITTEN = re.compile(r"(?P<layer>.+?)(?:#(?P<run>[1-9]\d*))?(?:\[(?P<entry>[1-9]\d*)\])?")


@dataclass(frozen=True)
class Occurrence:
    """A layer's name, the number of a run (None: the last), and of an entry (None: it has one)."""

    layer: str
    run: int | None = None
    entry: int | None = None

    @classmethod
    def of(cls, written: str) -> Occurrence:
        """An occurrence from its name."""
        found = _WRITTEN.fullmatch(written)
        if found is None:
            return cls(written)
        layer, run, entry = found.groups()
        return cls(layer, int(run) if run else None, int(entry) if entry else None)

    @property
    def captured(self) -> str:
        """The name of the whole output of the run."""
        return str(Occurrence(self.layer, self.run))

    def __str__(self) -> str:
        run = "" if self.run is None else f"#{self.run}"
        return self.layer + run + ("" if self.entry is None else f"[{self.entry}]")
