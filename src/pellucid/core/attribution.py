"""``Attribution``: what a method returns, maps on the layer's own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from pellucid.core.shapes import Activations, Maps, Scores, Weights
from pellucid.core.space import DEGENERATE, degenerate, weighted_sum

NOT_FINITE = "not finite"
NEGATIVE = "all evidence negative"
CONSTANT = "constant"


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
        negative = (signed.amin(-1) < 0) & (signed.amax(-1) <= -DEGENERATE * signed.amin(-1))
        return tuple(
            tuple(self._reason(*(bool(x[b, k]) for x in (flags, finite, negative))) for k in range(flags.shape[1]))
            for b in range(flags.shape[0])
        )

    @staticmethod
    def _reason(flag: bool, finite: bool, negative: bool) -> str | None:
        if not flag:
            return None
        if not finite:
            return NOT_FINITE
        return NEGATIVE if negative else CONSTANT

    def _signed(self) -> Tensor:
        """The evidence before the formula's last ReLU."""
        if self.weights is None or self.activations is None:
            return self.values
        return weighted_sum(self.weights, self.activations)
