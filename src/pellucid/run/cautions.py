"""Warnings of what an explanation had to assume, or leaves out: the images' range, the layers, the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pellucid.core.catalogue import black_box_methods
from pellucid.core.explanation import Explanation
from pellucid.core.head import AS_RETURNED, has_logits
from pellucid.core.inputs import Inputs
from pellucid.errors import warn
from pellucid.models.discovery.bounds import leaves_range
from pellucid.models.discovery.choice import dependent
from pellucid.models.discovery.layers import recommended, share_of
from pellucid.models.discovery.mixing import mixing
from pellucid.models.discovery.passage import ENOUGH, Group
from pellucid.models.discovery.profile import Place
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.several_inputs import joined, other_images
from pellucid.models.session.session import CallFacts, Session
from pellucid.models.sources import ModelInfo

_EITHER = "does not say whether several classes can be present at once; one of many is assumed (head='softmax')"
_LARGE = 1000
"""So many classes are hardly findings: data sets of that many state one class an image."""
_MATTERS = 0.1
"""So much another probability of a class is more than a matter of rounding or taste."""


def _matters(found: Explanation) -> bool:
    """Whether a sigmoid would give an explained or predicted class a probability that is not the softmax's."""
    scores = found.logits
    gap = (scores.softmax(dim=1) - scores.sigmoid()).abs()
    shown = torch.cat([scores.argmax(dim=1, keepdim=True), found.targets.clamp(min=0)], dim=1)  # -1: a callable's
    return bool((gap.gather(1, shown) > _MATTERS).any())


def range_of(info: ModelInfo, inputs: Inputs) -> None:
    """Warn of images whose values are not what the model expects."""
    text = info.preprocessing.range_warning(inputs.images) if info.preprocessing and info.spec else None
    if text:
        warn(text)


def mixed_batch(session: Session, images: Inputs) -> None:
    """Warn of a network that mixes the images of a batch: each changes the scores and the maps of the others."""
    found = mixing(session, images)
    if found:
        warn(
            f"the model's scores of an image depend on the other images of its batch (another one beside it moves them "
            f"by {found:.2f} of what another image in its place does): with batch_size=1 each image, and each changed "
            "copy of it, is passed alone"
        )


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


def summed_layers(session: Session, image: Inputs, places: Mapping[str, Sequence[Place]]) -> None:
    """Warn of layers that are added though one depends on another: what passes through both counts twice."""
    found = dependent(session, image, places) if len(places) > 1 else None
    if found is not None:
        first, second = found
        warn(
            f"layers {first!r} and {second!r} are added, and {second!r} depends on {first!r}, so that the same "
            "evidence counts twice: give one of them, or fuse='mean'"
        )


def joined_layers(session: Session, image: Inputs, layers: Group) -> None:
    """Warn of layers that depend on other images beside the explained one."""
    if not layers or not other_images(image):
        return
    shared = joined(session, image, profile_of(session, image[:1]))
    first = next((layer for layer in layers if layer in shared), None)
    if first is not None:
        better = recommended(session, image)
        take = _without_layers() if shared & set(better) else f"take layers={list(better)}"
        others = " and ".join(map(repr, other_images(image)))
        warn(f"layer {first!r} depends on {others}, too, so that its map may show evidence of other images: {take}")


def _part(layers: Group, share: float) -> str:
    return f"{share:.2f} of the score passes through {', '.join(layers)}, and the rest goes by other ways"


def _without_layers() -> str:
    return f"use a method that looks at no layer, such as {' or '.join(black_box_methods())}"


def head(session: Session, image: Inputs, known: CallFacts, info: ModelInfo, found: Explanation) -> None:
    """Warn where the head is a guess that nothing proves, and where outputs look like probabilities.

    A checkpoint that does not state its head is always warned of. A network that the caller made is where the guess
    matters: it has several classes, but fewer than the 1,000 of ImageNet, whose images are of one class, and the
    probability of an explained or predicted class would differ by more than 0.1 if the classes were findings of their
    own. Drawn weights mean nothing by any head, and a source's own weights are those of its own classes.
    """
    if session.head == "auto" and session.stated_head is None and known.ending is None:
        _assumed(known, info, found)
    if not has_logits(known.ending) and not known.is_linear and found.head not in AS_RETURNED:
        _in_range(session, image, found)


def _assumed(known: CallFacts, info: ModelInfo, found: Explanation) -> None:
    if info.weights == "checkpoint" and known.classes > 1:
        warn(f"the checkpoint {_EITHER}: give head='sigmoid' if they can")
    if info.weights is None and 1 < known.classes < _LARGE and _matters(found):
        warn(f"the model {_EITHER}: give head='sigmoid' if they can, and head='softmax' if not")


def _in_range(session: Session, image: Inputs, found: Explanation) -> None:
    """Warn of outputs from 0 to 1 that are read as logits, unless other images' outputs leave that range."""
    if bool(((found.values >= 0) & (found.values <= 1)).all()) and not leaves_range(session, image):
        warn(
            f"the model's outputs are all from 0 to 1, and are read as logits (head {found.head!r}): if they are "
            "probabilities already, give head='probability'"
        )
