"""What a pair costs: the images that go through the network forward to explain one; and which pairs apply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from pellucid.choosing.maps import Maps
from pellucid.choosing.pairs import Pair
from pellucid.choosing.subjects import Subjects
from pellucid.errors import OptionError, PellucidError

MOST = 512
"""The most passes of an image by a method that was not named."""


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
