"""From attributions to an ``Explanation``: of each layer, its occurrences put together, and its heatmaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.explanation import Explanation
from pellucid.core.method import Method
from pellucid.core.space import degenerate, heatmap
from pellucid.core.target import Targets
from pellucid.core.view import WHOLE
from pellucid.errors import ShapeError
from pellucid.models.discovery.profile import Place
from pellucid.run.facts import Facts
from pellucid.run.fusing import fused
from pellucid.run.occurrences import Column, on_image


def assembled(
    facts: Facts,
    targets: Targets,
    chunks: Sequence[Sequence[Attribution]],
    logits: Tensor,
    indices: Tensor,
    size: tuple[int, ...],
) -> Explanation:
    """The explanation of one batch from its attributions.

    They are a list for each chunk of classes, with an entry for each occurrence of a layer.
    """
    columns = iter(zip(*chunks, strict=True))
    if not facts.places:
        return _of_layer(facts, targets, (), [next(columns)], logits, indices, size)
    own = [
        _of_layer(facts, targets, places, [next(columns) for _ in places], logits, indices, size)
        for places in facts.places.values()
    ]
    if len(own) == 1:
        layer = own[0]
        return replace(layer, by_layer=dict(zip(facts.layers, own, strict=False)))
    each = [replace(one, layers=(name,)) for name, one in zip(facts.layers, own, strict=True)]
    return fused(facts.fuse, each, size)


def _of_layer(
    facts: Facts,
    targets: Targets,
    places: Sequence[Place],
    columns: Sequence[Sequence[Attribution]],
    logits: Tensor,
    indices: Tensor,
    size: tuple[int, ...],
) -> Explanation:
    """A layer's explanation from a column of attributions for each of its occurrences, of a chunk of classes each.

    Of a method without layers there is one column, of maps on the image.
    """
    count = indices.shape[1]
    expected = (len(logits), count if facts.method.class_specific else 1)
    # A score that is NaN explains nothing, whatever its gradient is (a ReLU's at NaN is 0).
    lost = logits.isnan().any(dim=1)
    ranks = [len(place.layout.grid) for place in places] or [len(size)]
    each = [
        _column(facts.method, column, expected, len(size) if _is_on_image(column) else rank, lost)
        for column, rank in zip(columns, ranks, strict=True)
    ]
    is_plain = len(each) == 1 and all(place.view == WHOLE for place in places)
    whole = each[0] if is_plain else on_image(places, each, size)
    values, why = whole.values, whole.why
    maps = heatmap(values, size)
    if not facts.method.class_specific:
        values, maps = (t.expand(-1, count, *t.shape[2:]) for t in (values, maps))
        why = tuple(row * count for row in why)
    return Explanation(
        heatmaps=maps,
        attributions=values,
        logits=logits.detach().float().clone(),  # a model may keep its output, and change it
        targets=indices,
        degenerate=degenerate(values),
        why_degenerate=why,
        method=facts.method.name,
        layers=facts.layers,
        head=targets.head,
        classes=targets.classes,
        provenance=facts.provenance(),
        checks=whole.checks,
    )


def _is_on_image(column: Sequence[Attribution]) -> bool:
    """Whether a method gave maps on the images' grid; what is no attribution is refused later."""
    return isinstance(column[0], Attribution) and column[0].on_image


def _column(
    method: Method, chunks: Sequence[Attribution], expected: tuple[int, int], rank: int, lost: Tensor
) -> Column:
    """The maps of all classes from those of chunks of them."""
    _check_types(method, chunks)
    chunks = [chunk.without_rounding() for chunk in chunks]
    values = torch.cat([chunk.values for chunk in chunks], dim=1).detach().float()
    _check_shape(method, values, expected, rank)
    chunks = [replace(chunk, values=_lost(chunk.values, lost)) for chunk in chunks]
    why = tuple(sum(rows, ()) for rows in zip(*(chunk.why_degenerate() for chunk in chunks), strict=True))
    names = chunks[0].checks
    checks = {name: torch.cat([chunk.checks[name] for chunk in chunks], dim=1).detach().float() for name in names}
    return Column(_lost(values, lost), why, checks, chunks[0].on_image)


def _check_types(method: Method, found: Sequence[object]) -> None:
    """Raise unless a method returned attributions of tensors."""
    for one in found:
        wrong = one.values if isinstance(one, Attribution) else one
        if isinstance(one, Attribution) and isinstance(wrong, Tensor):
            continue
        what = f"an Attribution of {type(wrong).__name__}" if isinstance(one, Attribution) else type(wrong).__name__
        raise ShapeError(
            f"method {method.name!r} returned {what}; an Attribution of a tensor (images, classes, *grid) was "
            "expected: return Attribution(maps), computed in torch"
        )


def _check_shape(method: Method, values: Tensor, expected: tuple[int, int], rank: int) -> None:
    """Raise unless a method's maps are one an image and class: channels would be taken for classes."""
    if tuple(values.shape[:2]) != expected or values.ndim != 2 + rank:
        raise ShapeError(
            f"method {method.name!r} returned maps {tuple(values.shape)}; (images, classes, *grid) with "
            f"{expected[0]} images and {expected[1]} classes, on a grid of {rank} axes, was expected: sum over the "
            "channels, dim=2"
        )


def _lost(values: Tensor, images: Tensor) -> Tensor:
    """Maps (B, K, *grid) with those of some images (B,) set to NaN."""
    return values.masked_fill(images.reshape(-1, *(1,) * (values.ndim - 1)), torch.nan)
