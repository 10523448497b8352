"""From attributions to an ``Explanation``: heatmaps, and the fusion of several layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.core import catalogue
from pellucid.core.attribution import Attribution
from pellucid.core.explanation import SEQUENCE, Explanation
from pellucid.core.inputs import Form
from pellucid.core.method import Method
from pellucid.core.prior import STATEMENTS
from pellucid.core.provenance import versions
from pellucid.core.runtime import Runtime
from pellucid.core.space import degenerate, heatmap, upsample
from pellucid.core.view import WHOLE
from pellucid.errors import ShapeError
from pellucid.models.discovery.profile import Place
from pellucid.run.occurrences import Column, on_image
from pellucid.run.tuned import Trial


@dataclass(frozen=True)
class Facts:
    """What is the same for all batches of one call."""

    method: Method
    places: Mapping[str, tuple[Place, ...]]
    """The layers, in the order in which the network runs them, and where their outputs lie on the image."""
    fuse: str
    classes: tuple[str, ...] | None
    runtime: Runtime
    trial: Trial | None = None
    """The measurement that the runtime was chosen by, if it was."""
    share: float | None = None
    """How much of the score passes through the layers, on generated images; None where it was not measured."""
    form: Form = "images"
    """Whether the input is a sequence or set of images."""
    why: str | None = None
    """Why this method and these layers, where they were asked for as "auto"."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' names."""
        return tuple(self.places)

    @property
    def occurrences(self) -> tuple[str, ...]:
        """The layers' occurrences by name, one layer's after the other's."""
        return tuple(str(place.occurrence) for places in self.places.values() for place in places)

    def _views(self) -> dict[str, str]:
        """What of the image each occurrence sees, where that is not all of it, or of several images."""
        places = [place for own in self.places.values() for place in own if place.view.member is None]
        several = {place.occurrence.layer for place in places if place.occurrence.run or place.occurrence.entry}
        shown = [place for place in places if place.view != WHOLE or place.occurrence.layer in several]
        return {str(place.occurrence): str(place.view) for place in shown}

    def provenance(self) -> dict[str, Any]:
        """How the explanation was computed, as plain values."""
        runtime = asdict(self.runtime) | {"device": str(self.runtime.device)}
        return {
            "method": self.method.name,
            "options": catalogue.settings(self.method),
            "prior": STATEMENTS[self.method.made_from],
            "signed": self.method.signed,
            "concept": None if self.method.concept is None else self.method.concept.code,
            "layers": list(self.layers),
            "fuse": self.fuse,
            "chosen": self.why,
            "share": self.share,
            "views": self._views(),
            "input": "images" if self.form == "images" else SEQUENCE,
            "runtime": runtime,
            "agreement_with_float32": None if self.trial is None else self.trial.agreement,
            "versions": versions(),
        }


def assembled(
    facts: Facts,
    head: str,
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
        return _of_layer(facts, head, (), [next(columns)], logits, indices, size)
    own = [
        _of_layer(facts, head, places, [next(columns) for _ in places], logits, indices, size)
        for places in facts.places.values()
    ]
    if len(own) == 1:
        layer = own[0]
        return replace(layer, by_layer=dict(zip(facts.layers, own, strict=False)))
    each = [replace(one, layers=(name,)) for name, one in zip(facts.layers, own, strict=True)]
    if facts.fuse == SUM:
        return _summed(facts, each, size)
    return replace(
        each[-1],
        heatmaps=HEATMAP_FUSIONS[facts.fuse](torch.stack([one.heatmaps for one in each])),
        degenerate=torch.stack([one.degenerate for one in each]).all(dim=0),
        why_degenerate=_why_all(each),
        layers=facts.layers,
        by_layer=dict(zip(facts.layers, each, strict=True)),
    )


def _summed(facts: Facts, each: Sequence[Explanation], size: tuple[int, ...]) -> Explanation:
    """The sum of the layers' unscaled attributions on the image's grid: each has a part of the score."""
    values = torch.stack([upsample(one.attributions, size) for one in each]).sum(dim=0)
    why = Attribution(values).why_degenerate()
    return replace(
        each[-1],
        heatmaps=heatmap(values, size),
        attributions=values,
        degenerate=degenerate(values),
        why_degenerate=why,
        layers=facts.layers,
        by_layer=dict(zip(facts.layers, each, strict=True)),
    )


def _of_layer(
    facts: Facts,
    head: str,
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
        head=head,
        classes=facts.classes,
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


def _why_all(each: Sequence[Explanation]) -> tuple[tuple[str | None, ...], ...]:
    """The reason why a fused map shows nothing: the last layer's, where all layers show nothing."""
    flags = torch.stack([one.degenerate for one in each]).all(dim=0)
    last = each[-1].why_degenerate
    return tuple(tuple(reason if flags[b, k] else None for k, reason in enumerate(row)) for b, row in enumerate(last))


def _weighted(maps: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1, len(maps), dtype=maps.dtype, device=maps.device)
    return torch.einsum("l,l...->...", weights / weights.sum(), maps)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=0)


def _max(maps: Tensor) -> Tensor:
    return maps.amax(dim=0)


SUM = "sum"
"""The sum of unscaled attributions, not of heatmaps."""
HEATMAP_FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": _mean, "max": _max, "weighted": _weighted}
"""How the heatmaps (L, B, K, *space) of several layers, first to last, are combined."""
FUSIONS = ("mean", "max", "weighted", "sum")
"""The ways to combine several layers."""
