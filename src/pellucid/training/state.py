"""``State``: what a resumed training needs for the same figures as one that was not interrupted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pellucid.training.drift import Reference


@dataclass(frozen=True, eq=False)
class State:
    """What is known of a fixed batch between two epochs.

    ``layers`` and ``fuse``: where the maps are made, once it is settled; ``reference``: the last maps; ``values``: the
    last value of each figure; ``epoch``: the last one after which the batch was explained.
    """

    layers: tuple[str, ...] | None = None
    fuse: str = "mean"
    reference: Reference | None = None
    values: Mapping[str, float] = field(default_factory=dict)
    epoch: int | None = None

    def plain(self) -> dict[str, Any]:
        """The same as texts, numbers, lists and tensors, which ``torch.load(weights_only=True)`` reads."""
        return {
            "layers": None if self.layers is None else list(self.layers),
            "fuse": self.fuse,
            "reference": None if self.reference is None else self.reference.state(),
            "values": dict(self.values),
            "epoch": self.epoch,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> State:
        """The state that ``plain`` returned."""
        layers, reference = plain["layers"], plain["reference"]
        return cls(
            None if layers is None else tuple(layers),
            plain["fuse"],
            None if reference is None else Reference.of_state(reference),
            dict(plain["values"]),
            plain["epoch"],
        )
