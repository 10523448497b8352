"""Weights & Biases: runs with their configuration, figures, images and files. Its package keeps a copy of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from PIL import Image

from pellucid.core.optional import OptionalPackage
from pellucid.errors import PellucidError, TransferError, message_of
from pellucid.tracking.destination import Destination, Stamp, is_logger, register_destination

WANDB = OptionalPackage("wandb")
STEP = "pellucid/step"
"""The figure along which W&B draws ours: its own step only grows, and is the trainer's."""


@register_destination("wandb")
@dataclass(frozen=True)
class WeightsAndBiases(Destination):
    """A project of W&B, or the run of a logger, which goes on."""

    project: str = ""
    entity: str = ""
    folder: str = ""
    logger: Any = field(default=None, repr=False, compare=False)

    @property
    def where(self) -> str:
        """The service."""
        return "Weights & Biases"

    def facts(self) -> Mapping[str, str]:
        """The project and whose it is."""
        return {"project": self.project, "entity": self.entity, "folder": self.folder}

    @classmethod
    def remade(cls, facts: Mapping[str, str]) -> Self:
        """The same project."""
        return cls(facts["project"], facts["entity"], facts["folder"])

    @classmethod
    def takes(cls, logger: object) -> Self | None:
        """Go on with the run of Lightning's ``WandbLogger``."""
        return cls(logger=logger) if is_logger(logger, "WandbLogger") else None

    def connect(self) -> WandbRuns:
        """Import W&B's package."""
        return WandbRuns(WANDB.load("a run in Weights & Biases"), self)


class WandbRuns:
    """One run of W&B. A run within it has its name before its keys; ids of runs are these beginnings."""

    def __init__(self, wandb: Any, destination: WeightsAndBiases) -> None:
        self._wandb, self._to = wandb, destination
        self._run: Any = None
        self._defined: set[str] = set()

    def begin(self, at: Stamp, name: str, parent: str | None) -> str:
        """Create the outermost run, whose id is ours, so that it is found again."""
        if parent is not None:
            return f"{parent}{name}/"
        try:
            self._run = self._to.logger.experiment if self._to.logger is not None else self._begun(at, name)
        except PellucidError:
            raise
        except Exception as error:
            raise TransferError(f"{self._to.where}: {message_of(error)}", True) from None
        return ""

    def parameters(self, run: str, values: Mapping[str, str | int | float | bool]) -> None:
        """Add to the configuration."""
        self._run.config.update({f"{run}{name}": value for name, value in values.items()}, allow_val_change=True)

    def metrics(self, run: str, values: Mapping[str, float], step: int, at: Stamp) -> None:  # noqa: ARG002
        """Add figures."""
        self._log({f"{run}{name}": value for name, value in values.items()}, step)

    def image(self, run: str, key: str, path: Path, step: int, at: Stamp) -> None:  # noqa: ARG002
        """Add an image."""
        with Image.open(path) as image:
            self._log({f"{run}{key}": self._wandb.Image(image.convert("RGB"))}, step)

    def file(self, run: str, path: Path, name: str, folder: str) -> None:
        """Add a file, as an artifact of its own."""
        made = self._wandb.Artifact(f"{self._run.id}-{path.stem}", type="pellucid")
        made.add_file(str(path), name="/".join(part for part in (run.rstrip("/"), folder, name) if part))
        self._run.log_artifact(made)

    def end(self, run: str, status: str, at: Stamp) -> None:  # noqa: ARG002
        """End the outermost run, unless it is a logger's."""
        if not run and self._to.logger is None:
            self._run.finish(exit_code=0 if status == "FINISHED" else 1)

    def _begun(self, at: Stamp, name: str) -> Any:
        return self._wandb.init(
            project=self._to.project or "pellucid",
            entity=self._to.entity or None,
            dir=self._to.folder or None,
            name=name,
            id=at.run[:12],
            resume="allow",
        )

    def _log(self, values: Mapping[str, object], step: int) -> None:
        for name in set(values) - self._defined:
            self._run.define_metric(name, step_metric=STEP)
            self._defined.add(name)
        self._run.log({**values, STEP: step})
