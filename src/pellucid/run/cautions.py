"""Warnings of what an explanation had to assume, or leaves out: the images' range, the layers, the head."""

from __future__ import annotations

from pellucid.core.catalogue import black_box_methods
from pellucid.core.explanation import Explanation
from pellucid.core.inputs import Inputs
from pellucid.errors import warn
from pellucid.models.discovery.layers import recommended, share_of
from pellucid.models.discovery.passage import ENOUGH, Group
from pellucid.models.session.session import Session
from pellucid.models.sources import ModelInfo

_NEAR = 1e-3
"""How far from 1 the sum of outputs may be that look like probabilities."""
_MANY_OUTPUTS = 6
"""So many outputs are hardly all from 0 to 1 by chance."""


def range_of(info: ModelInfo, inputs: Inputs) -> None:
    """Warn of images whose values are not what the model expects."""
    text = info.preprocessing.range_warning(inputs.images) if info.preprocessing and info.spec else None
    if text:
        warn(text)


def found_layers(layers: Group, share: float | None) -> None:
    """Warn where no layers were found through which the score passes."""
    if share is not None and share < ENOUGH:
        warn(f"{_part(layers, share)}: no layers were found that have at least {ENOUGH} of it; {_without_layers()}")


def named_layers(session: Session, image: Inputs, layers: Group, share: float | None) -> None:
    """Warn of layers with a part of the score only."""
    if share is not None and share < ENOUGH:
        better = recommended(session, image)
        is_better = (share_of(session, image, better) or 0.0) >= ENOUGH
        warn(f"{_part(layers, share)}: {f'take layers={list(better)}' if is_better else _without_layers()}")


def _part(layers: Group, share: float) -> str:
    return f"{share:.2f} of the score passes through {', '.join(layers)}, and the rest goes by other ways"


def _without_layers() -> str:
    return f"use a method that looks at no layer, such as {' or '.join(black_box_methods())}"


def head(session: Session, image: Inputs, info: ModelInfo, found: Explanation) -> None:
    """Warn where the head is a guess: of a checkpoint that does not say it, and of outputs like probabilities."""
    known = session.known(image)
    if session.head != "auto" or session.stated_head is not None or known.ending is not None:
        return
    if info.weights == "checkpoint" and known.classes > 1:
        warn(
            "the checkpoint does not say whether several classes can be present at once; one of many is assumed "
            "(head='softmax'): give head='sigmoid' if they can"
        )
    values = found.values
    within = bool(((values >= 0) & (values <= 1)).all())
    sums_to_one = values.shape[1] > 1 and bool(((values.sum(dim=1) - 1).abs() < _NEAR).all())
    if within and (sums_to_one or values.numel() >= _MANY_OUTPUTS):
        warn(
            f"the model's outputs are all from 0 to 1, and are read as logits (head {found.head!r}): if they are "
            "probabilities already, give head='probability'"
        )
