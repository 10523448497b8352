"""What is drawn of an explanation: its heatmaps, or its attributions with their sign."""

from __future__ import annotations

from torch import Tensor

from pellucid.core.attribution import CONSTANT, NEGATIVE
from pellucid.core.catalogue import signed_methods
from pellucid.core.explanation import LARGEST, Explanation
from pellucid.core.space import degenerate, signed_map
from pellucid.errors import OptionError

Reasons = tuple[tuple[str | None, ...], ...]


def shown_maps(explanation: Explanation, signed: bool) -> Tensor:
    """The maps to draw, (B, K, *space): heatmaps in [0, 1]; if signed, attributions in [−1, 1].

    Raises:
        OptionError: signed maps were asked for, and the method or the fusion of several layers leaves no sign.
    """
    if not signed:
        return explanation.heatmaps.detach().float()
    check_signed(explanation.method, explanation.provenance.get("signed") is not False)
    if len(explanation.layers) > 1 and explanation.provenance.get("fuse") != "sum":
        raise OptionError(
            f"signed maps were asked for; those of the layers {', '.join(explanation.layers)} are combined without "
            "their sign: take one layer, such as explanation.by_layer[name]"
        )
    largest = explanation.checks.get(LARGEST)
    return signed_map(explanation.attributions.detach().float(), explanation.heatmaps.shape[2:], largest=largest)


def why_empty(explanation: Explanation, signed: bool) -> Reasons:
    """The reason why each of the (B, K) drawn maps shows nothing. A signed map shows evidence against it, too."""
    if not signed:
        return explanation.why_degenerate
    flat = degenerate(-explanation.attributions).tolist()
    rows = zip(explanation.why_degenerate, flat, strict=True)
    return tuple(tuple(map(_reason, reasons, row)) for reasons, row in rows)


def _reason(reason: str | None, flat: bool) -> str | None:
    """The reason for a signed map; ``flat``: its negative part is, too."""
    if reason is None or not flat:
        return None
    return CONSTANT if reason == NEGATIVE else reason


def check_signed(method: str, signed: bool) -> None:
    """Refuse signed maps of a method whose maps have no sign."""
    if not signed:
        raise OptionError(
            f"signed maps were asked for; those of {method} show no evidence against a class: "
            f"take {', '.join(signed_methods())}"
        )
