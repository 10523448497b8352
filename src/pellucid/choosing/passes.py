"""What a pair costs: the images that go through the network forward to explain one; and which pairs apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from pellucid.choosing.maps import Maps
from pellucid.choosing.pairs import Pair, gradient_methods, layers_to_try, pairs_of, perturbing_methods
from pellucid.choosing.subjects import Subjects
from pellucid.core.method import Method
from pellucid.errors import OptionError, PellucidError
from pellucid.models.discovery.layers import recommended

MOST = 512
"""The most passes of an image by a method that was not named."""


def passes_of(subjects: Subjects, pairs: Sequence[Pair], draws: Sequence[int], variants: int) -> int:
    """The images that go through the network to explain and to score all images by pairs, with ``variants`` of each.

    ``draws`` are those of each replacement. Pairs of gradients or attention share one pass of an image.
    """
    alone = sum(pair.passes - 1 for pair in pairs)
    return len(subjects) * (1 + alone + len(pairs) * variants * sum(draws))


def pairs_to_try(
    subjects: Subjects, candidates: Sequence[str | Method] | None, layers: Sequence[str]
) -> tuple[list[Pair], list[Pair], str]:
    """The pairs that are graded first, those of the second stage alone, and the deepest layer.

    Raises:
        PellucidError: a candidate that was named cannot explain this network.
    """
    groups = layers_to_try(subjects, layers)
    deepest = recommended(subjects.session, subjects.prepared_one())[-1]
    if candidates is not None:
        return costed(subjects, pairs_of(candidates, groups)), [], deepest
    first = those_that_apply(subjects, pairs_of(gradient_methods(), groups))
    return first, pairs_of(perturbing_methods(), groups), deepest


def costed(subjects: Subjects, pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs with what they cost. ``PellucidError``: one cannot explain this network."""
    return [replace(pair, passes=_passes(subjects, pair, None)) for pair in pairs]


def those_that_apply(subjects: Subjects, pairs: Sequence[Pair]) -> list[Pair]:
    """Those that can explain this network in at most ``MOST`` passes, with what they cost."""
    found = []
    for pair in pairs:
        try:
            found.append(replace(pair, passes=_passes(subjects, pair, MOST)))
        except PellucidError:
            continue
    return found


def _passes(subjects: Subjects, pair: Pair, most: int | None) -> int:
    """Explain the first image, and count. ``OptionError``: it takes more than ``most``, and was ended there."""
    count = 0

    def add(_module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        nonlocal count
        first = next((one for one in (*args, *kwargs.values()) if isinstance(one, Tensor)), None)
        count += 1 if first is None else len(first)
        if most is not None and count > most:
            raise OptionError(f"{pair.method.name} was tried; it takes more than {most} passes of an image: name it")

    # The session's network is a copy that belongs to it.
    handle = subjects.session.network.register_forward_pre_hook(add, with_kwargs=True)
    try:
        for _ in Maps.of([pair], subjects).each(subjects, subjects.prepared_one(), subjects.targets.images(0, 1)):
            pass
    finally:
        handle.remove()
    return count
