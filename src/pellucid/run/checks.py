"""Figures (B, K) that a map can be judged by, measured on request with passes of their own.

``share``: how much of the score passes through the explained layers, the image against its own blurs; 13 passes of each
image. ``blur_fall``: how far the score falls where the map is highest and the image is blurred there; 1 + K passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.ranking import highest
from pellucid.core.replacement import blurred
from pellucid.core.target import Targets
from pellucid.errors import OptionError
from pellucid.models.discovery.passage import share_of_image
from pellucid.models.discovery.profile import Place
from pellucid.models.session.session import Session

TOP = 0.02
"""The fraction of the pixels that are blurred."""


@dataclass(frozen=True)
class Checked:
    """One image's explanation, and what made it."""

    session: Session
    image: Inputs
    targets: Targets
    """Resolved: the classes of the image itself, whatever changed images show."""
    places: Sequence[Place]
    explanation: Explanation
    before: Tensor
    """The explained scores of the image itself, (K,)."""

    def scores(self, logits: Tensor) -> Tensor:
        """The explained scores (N, K) of what the network gives for N variants of the image."""
        return self.targets.repeated(len(logits)).scores(logits)


def share(one: Checked) -> Tensor:
    """How much of each score passes through the layers, (K,): 1 − Σ (s(x | A(blur)) − s(blur))² / Σ (s(x) − s(blur))².

    It is summed over six blurs of the image. A(blur): the layers' outputs held at the blurred image's. NaN where the
    score hardly differs between the image and its blurs.
    """
    return share_of_image(one.session, one.image, one.places, one.scores, one.before)


def blur_fall(one: Checked) -> Tensor:
    """How far each score falls, (K,), where the pixels with the map's highest 2 % of values above 0 are blurred.

    Of a callable's score in its own unit, else in logits. The blur is a Gaussian's, with an eighth of each side as its
    standard deviation.
    """
    images = one.image.images
    ties = torch.Generator().manual_seed(one.session.runtime.seed)
    where = highest(one.explanation.heatmaps[0].to(images.device), TOP, ties)
    changed = torch.where(where[:, None], blurred(images), images)  # (K, C, *space)
    with torch.no_grad():
        after = [one.scores(one.session.call(one.image.with_images(each))) for each in torch.split(changed, 1)]
    return one.before - torch.cat(after).diagonal()


CHECKS: Mapping[str, Callable[[Checked], Tensor]] = {"share": share, "blur_fall": blur_fall}
"""The checks by name."""


def check_names(names: Sequence[str], method: Method) -> None:
    """Raise ``OptionError`` where a name is no check's, or a check is of layers and the method looks at none."""
    for name in names:
        if name not in CHECKS:
            raise OptionError(f"check {name!r} was asked for; there are {', '.join(CHECKS)}")
    if share.__name__ in names and not method.uses_layers:
        others = ", ".join(name for name in CHECKS if name != share.__name__)
        raise OptionError(
            f"check 'share' was asked for; method {method.name!r} looks at no layer: take {others}, or a method that "
            "looks at a layer, such as gradcam"
        )


def measured(
    names: Sequence[str],
    session: Session,
    inputs: Inputs,
    targets: Targets,
    places: Sequence[Place],
    found: Explanation,
) -> dict[str, Tensor]:
    """The figures of some checks, (B, K) each, for images one after the other."""
    columns = targets.columns(0, found.targets.shape[1])
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    for number in range(len(inputs) if names else 0):
        image = session.prepared(inputs[number : number + 1])
        with torch.no_grad():
            logits = session.call(image)
        own = columns.images(number, number + 1).resolved(logits)
        one = Checked(session, image, own, places, found[number], own.scores(logits)[0])
        for name in names:
            rows[name].append(CHECKS[name](one).detach().float())
    return {name: torch.stack(each) for name, each in rows.items()}
