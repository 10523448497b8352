"""Figures (B, K) that a map can be judged by, measured on request with passes of their own.

``share``: how much of the score passes through the explained layers, the image against its own blurs; 13 passes of each
image. ``blur_fall``: how far the score falls where the map is highest and the image is blurred there; 1 + K passes.
``grade``: what part that is of what blurring the whole image does; 2 + K passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.grade import GRADE, TOP
from pellucid.core.head import HEADS, probabilities
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.ranking import highest
from pellucid.core.replacement import LEAST_FALL, blurred
from pellucid.core.target import Targets
from pellucid.errors import OptionError
from pellucid.models.discovery.passage import share_of_image
from pellucid.models.discovery.profile import Place
from pellucid.models.session.session import Session


@dataclass(frozen=True)
class Checked:
    """One image's explanation, and what made it."""

    session: Session
    image: Inputs
    targets: Targets
    """Resolved: the classes of the image itself, whatever changed images show."""
    places: Sequence[Place]
    explanation: Explanation
    logits: Tensor
    """What the network returns for the image itself, (1, C) or (1, C, *space)."""

    @property
    def before(self) -> Tensor:
        """The explained scores of the image itself, (K,)."""
        return self.scores(self.logits)[0]

    def scores(self, logits: Tensor) -> Tensor:
        """The explained scores (N, K) of what the network gives for N variants of the image."""
        return self.targets.repeated(len(logits)).scores(logits)

    def probabilities(self, logits: Tensor) -> Tensor:
        """The probabilities (N, K) of the explained classes, for N variants of the image."""
        return self.scores(probabilities(logits, self.targets.head))

    def called(self, images: Tensor) -> Tensor:
        """What the network returns for N variants of the image, one after the other: N passes."""
        with torch.no_grad():
            each = [self.session.call(self.image.with_images(one)) for one in torch.split(images, 1)]
        return torch.cat(each)

    def without_marked(self) -> Tensor:
        """The image for each of its maps, (K, C, *space), blurred where the map has its highest 2 % above 0."""
        images = self.image.images
        ties = torch.Generator().manual_seed(self.session.runtime.seed)
        where = highest(self.explanation.heatmaps[0].to(images.device), TOP, ties)
        return torch.where(where[:, None], blurred(images), images)


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
    return one.before - one.scores(one.called(one.without_marked())).diagonal()


def grade(one: Checked) -> Tensor:
    """How much of what blurring the whole image takes away the blur of the marked pixels takes away, (K,).

    ::

        (p(x) − p(x, blurred where the map's highest 2 % above 0 lie)) / (p(x) − p(x, blurred as a whole))

    p is the probability of the explained class, and the blur that of ``blur_fall``. NaN where the blur of the whole
    image lowers p by less than .1, so that it says nothing of the evidence, and where the map marks nothing.
    """
    before = one.probabilities(one.logits)[0]
    marked = before - one.probabilities(one.called(one.without_marked())).diagonal()
    whole = before - one.probabilities(one.called(blurred(one.image.images)))[0]
    unknown = (whole < LEAST_FALL) | one.explanation.degenerate[0].to(whole.device)
    return (marked / whole).masked_fill(unknown, torch.nan)


CHECKS: Mapping[str, Callable[[Checked], Tensor]] = {"share": share, "blur_fall": blur_fall, "grade": grade}
"""The checks by name."""


def check_checks(names: Sequence[str], method: Method) -> None:
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


def check_head_of(names: Sequence[str], head: str | None) -> None:
    """Raise ``OptionError`` where a check needs probabilities, and a head, where it is known, has none."""
    found = HEADS.get(head or "")
    if GRADE in names and found is not None and found.probabilities is None:
        raise OptionError(f"check 'grade' was asked for; head {head!r} has no probabilities: take blur_fall")


def check_target_of(names: Sequence[str], targets: Targets) -> None:
    """Raise ``OptionError`` where a check needs a class's probability, and something else is explained."""
    if GRADE in names and (callable(targets.request) or targets.within is not None):
        what = "a callable" if callable(targets.request) else "a Region"
        raise OptionError(f"check 'grade' was asked for; {what} has no probability: name a class, or take blur_fall")


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
        one = Checked(session, image, own, places, found[number], logits)
        for name in names:
            rows[name].append(CHECKS[name](one).detach().float())
    return {name: torch.stack(each) for name, each in rows.items()}
