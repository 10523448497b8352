"""``Attribution``: what a method returns, maps on the layer's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pellucid.core.shapes import Activations, Maps, Scores, Weights
from pellucid.core.space import DEGENERATE, degenerate, weighted_sum

NOT_FINITE = "not finite"
NEGATIVE = "all evidence negative"
CONSTANT = "constant"
CANCELLED = "evidence cancels out"
_ROUNDING = 1e-5
"""Σ w_k A_k below this fraction of |w| |A| everywhere is what rounding leaves of a sum that is 0."""


@dataclass(frozen=True, eq=False)
class Attribution:
    """Maps on the layer's grid, unscaled and with their sign.

    ``values`` (B, K, *grid). A method that weights channels also gives its ``weights`` (B, K, C, *grid or
    ones) and ``activations`` (B, 1, C, *grid): wrappers work on them, and they explain why a map is empty.
    ``checks`` are figures (B, K) to judge the map by, such as how much its sum differs from the expected one.
    ``on_image`` says that a method that looks at a layer returns maps on the images' own grid, (B, K, *space).
    """

    values: Maps
    weights: Weights | None = None
    activations: Activations | None = None
    checks: Mapping[str, Scores] = field(default_factory=dict)
    on_image: bool = False

    def why_degenerate(self) -> tuple[tuple[str | None, ...], ...]:
        """The reason why each of the (B, K) maps shows nothing; None for a map that shows something."""
        flags = degenerate(self.values)
        if not flags.any():
            return tuple((None,) * flags.shape[1] for _ in range(flags.shape[0]))
        finite = self.values.flatten(2).isfinite().all(-1)
        signed = self._signed().flatten(2)
        cancels = self._cancels()
        negative = (signed.amin(-1) < 0) & (signed.amax(-1) <= -DEGENERATE * signed.amin(-1))
        # Read at once: a GPU is waited for at each reading.
        rows = torch.stack([flags, finite, cancels, negative], dim=-1).tolist()
        return tuple(tuple(self._reason(*cell) for cell in row) for row in rows)

    @staticmethod
    def _reason(flag: bool, finite: bool, cancels: bool, negative: bool) -> str | None:
        if not flag:
            return None
        if not finite:
            return NOT_FINITE
        if cancels:
            return CANCELLED
        return NEGATIVE if negative else CONSTANT

    def without_rounding(self) -> Attribution:
        """The same attribution, with 0 in each map that only holds what rounding leaves of weights × activations.

        Before a layer norm, for instance, the gradient is at a right angle to each token, and their product is 0.
        """
        if self.weights is None or self.activations is None:
            return self
        small = self.values.flatten(2).abs().amax(-1) <= _ROUNDING * self._lengths()
        small = small & self._cancels() if bool(small.any()) else small
        if not bool(small.any()):
            return self
        return replace(self, values=self.values.masked_fill(small.reshape(*small.shape, *_ones(self.values)), 0))

    def _cancels(self) -> Tensor:
        """Which maps (B, K) hold a sum over the channels that is 0 but for rounding, of products that are not."""
        lengths = self._lengths()
        return (lengths > 0) & (self._signed().flatten(2).abs().amax(-1) <= _ROUNDING * lengths)

    def _lengths(self) -> Tensor:
        """The largest product of the lengths |w| |A| over the channels, (B, K); 0 without weights."""
        if self.weights is None or self.activations is None:
            return torch.zeros(self.values.shape[:2], device=self.values.device)
        weights, activations = (torch.linalg.vector_norm(one, dim=2) for one in (self.weights, self.activations))
        found: Tensor = (weights * activations).flatten(2).amax(-1)
        return found

    def _signed(self) -> Tensor:
        """The evidence before the formula's last ReLU."""
        if self.weights is None or self.activations is None:
            return self.values
        return weighted_sum(self.weights, self.activations)


def _ones(values: Tensor) -> tuple[int, ...]:
    """A length of 1 for each axis of the grid."""
    return (1,) * (values.ndim - 2)
