"""The matrix of what a viewer shows, as a part of a page of the documentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tests.viewer.studies import MODALITIES, OBJECTS


@dataclass
class Report:
    """What was seen of each object, by modality and kind, and the programs' versions."""

    versions: dict[str, str] = field(default_factory=dict)
    cells: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, modality: str, kind: str, seen: str) -> None:
        """Record what was seen of a kind of object."""
        self.cells[modality, kind] = seen

    def write(self, path: Path) -> None:
        """Write the matrix; a run of some cells alone changes nothing."""
        if len(self.cells) < len(MODALITIES) * len(OBJECTS):
            return
        lines = [", ".join(f"{name} {version}" for name, version in self.versions.items()) + ".", ""]
        lines += [f"| | {' | '.join(kind.upper() for kind in OBJECTS)} |", "| --- |" + " --- |" * len(OBJECTS)]
        lines += [
            f"| {modality} | {' | '.join(self.cells[modality, kind] for kind in OBJECTS)} |" for modality in MODALITIES
        ]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
