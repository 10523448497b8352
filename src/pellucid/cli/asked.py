"""What a run of ``pellucid explain`` is asked for, and what of it the settings of a version stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.cli.preparing import Preparation
from pellucid.core.style import Style
from pellucid.export.deidentify import Deidentifier

METHOD, TARGET, FUSE, HEAD = "gradcam", "predicted", "mean", "auto"
"""What is taken where neither the command nor the settings of a version name anything else."""
_OPTIONS = {
    "methods": ("method", "--method"),
    "options": ("options", "--set"),
    "layers": ("layers", "--layer"),
    "fuse": ("fuse", "--fuse"),
    "targets": ("target", "--target"),
    "head": ("head", "--head"),
}
"""By field of a request: the field of ``ExplanationSettings``, and the option."""


@dataclass(frozen=True)
class Taken:
    """The fields of a request that were taken from the settings of the version ``registered``."""

    registered: str
    fields: tuple[str, ...]

    def facts(self) -> Mapping[str, Any]:
        """What the metadata says of it."""
        return {"settings_from": self.registered, "settings_taken": [_OPTIONS[name][0] for name in self.fields]}

    def __str__(self) -> str:
        """A line for the user."""
        return f"{', '.join(_OPTIONS[name][1] for name in self.fields)} as kept with {self.registered}"


@dataclass(frozen=True)
class Request:
    """The options of a run, as given on the command line; ``taken`` are those that a registry's version states."""

    output: Path
    model: str | None
    checkpoint: Path | None
    weights_key: str | None
    activation: str | None
    weights: str
    methods: Sequence[str]
    choice: Path | None
    options: Sequence[str]
    targets: Sequence[str]
    layers: Sequence[str] | None
    fuse: str | None
    checks: Sequence[str]
    classes: Path | None
    head: str | None
    model_output: str | None
    formats: Sequence[str]
    style: Style
    precision: str | None
    fast: bool
    device: str
    batch_size: int | None
    overwrite: bool
    window: str | None
    frame: int | None
    select: Sequence[str]
    keep_identity: bool
    allow_seg_without_geometry: bool
    preparation: Preparation
    hidden: Path | None
    deidentifier: Deidentifier | None
    taken: Taken | None = None
