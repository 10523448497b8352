"""Which layers depend on which of several inputs: on the explained one, and on other images beside it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import nn

from pellucid.core.inputs import Inputs
from pellucid.models.discovery.noise import noise_like
from pellucid.models.discovery.profile import ModelProfile, Run
from pellucid.models.session.cache import remembered_while
from pellucid.models.session.hooks import first_tensor, watched
from pellucid.models.session.session import Session

_IMAGE_AXES = 4
"""An input with fewer axes than (B, C, H, W) is no image."""


def dependent(session: Session, image: Inputs, other: Inputs, profile: ModelProfile, layers: list[str]) -> list[str]:
    """The layers whose output changes with the explained input; all of them if the network has one input.

    Of a layer with several runs, those that depend on the explained input are known.
    """
    if len(image.tensors) == 1:
        return layers
    one = _sums(session, image)
    with suppress(Exception):  # of a network that does not take noise
        two = _sums(session, other)
        return [layer for layer in layers if one[layer] != two[layer] or _follows(profile.runs[layer])]
    return layers


def other_images(image: Inputs) -> list[str]:
    """The names of the images beside the explained one, such as a prior examination or another view."""
    return [
        name
        for name, tensor in image.tensors.items()
        if name != image.name and name not in image.shared and tensor.ndim >= _IMAGE_AXES and tensor.is_floating_point()
    ]


def joined(session: Session, image: Inputs, profile: ModelProfile) -> frozenset[str]:
    """The modules whose output depends on the other images, too, and so may show evidence of theirs.

    Modules with several runs, or an entry of the batch for each image, are left out: each occurrence is one image's.
    It takes two passes, once for a model, its parameters and an input shape; none where there is one image.
    """
    names = other_images(image)
    if not names:
        return frozenset()
    key = ("joined", session.key(image))
    return remembered_while(session.model, key, session.weights, lambda: _joined(session, image[:1], profile, names))


def _joined(session: Session, image: Inputs, profile: ModelProfile, names: Collection[str]) -> frozenset[str]:
    noise = {name: noise_like(tensor) if name in names else tensor for name, tensor in image.tensors.items()}
    with suppress(Exception):  # of a network that does not take noise
        one, two = _sums(session, image), _sums(session, replace(image, tensors=noise))
        return frozenset(name for name in one if one[name] != two.get(name) and _is_of_one_image(profile, name))
    return frozenset()


def _is_of_one_image(profile: ModelProfile, name: str) -> bool:
    """Whether a module runs once, with one entry for each image."""
    runs = profile.runs.get(name, ())
    entries = {len(profile.sights[look - 1].views) for run in runs for look in run.looks}
    return len(runs) == 1 and entries <= {1}


def _follows(runs: Sequence[Run]) -> bool:
    """Whether one of several runs is made of the explained input."""
    return len(runs) > 1 and any(run.marks for run in runs)


def _sums(session: Session, image: Inputs) -> dict[str, float]:
    """The sum of each module's output: it differs between two images if the output depends on the image."""
    sums: dict[str, float] = {}

    def note(name: str, _module: nn.Module, output: object) -> None:
        tensor = first_tensor(output)
        sums[name] = 0.0 if tensor is None else float(tensor.sum(dtype=torch.float64))

    with torch.no_grad(), watched(session.network, note):
        session.call(image)
    return sums
