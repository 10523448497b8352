"""``evaluate`` and ``compare``: whether maps deserve trust, measured by metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pellucid.core import catalogue
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.head import check_head
from pellucid.core.inputs import Inputs, chunks
from pellucid.core.masks import Masks, masks_of
from pellucid.core.method import Method
from pellucid.core.metric import METRICS, NO_SCORE, NOT_FINITE, Comparison, Metric, Takes, Values
from pellucid.core.runtime import AUTO, Runtime
from pellucid.core.scores import Reasons, Scores, labelled
from pellucid.core.target import Request
from pellucid.errors import OptionError, ShapeError, TargetError
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info
from pellucid.run.cases import ImageCases, Judged
from pellucid.run.chance import Chance
from pellucid.run.explain import explain
from pellucid.run.explainer import Explainer
from pellucid.run.given import Given, batch_of
from pellucid.run.judged_maps import maps_alone, maps_of, with_columns
from pellucid.run.opening import opened
from pellucid.run.pointing import check_model
from pellucid.run.targets import read_by, targets_of

M = TypeVar("M", Metric, Comparison)


@on_cpu_by_default
def evaluate(  # noqa: PLR0913  # the whole of a call's options, all but the first by keyword
    model: nn.Module,
    images: Given,
    explanation: Explanation | Tensor | str | Method,
    *,
    targets: Request | None = None,
    masks: Masks | None = None,
    metrics: Sequence[str | Metric] = ("deletion_auc", "insertion_auc"),
    method: str | Method | None = None,
    head: str = "auto",
    output: str | int | None = None,
    seed: int = 0,
    runtime: Runtime | None = None,
) -> Scores:
    """Measure whether maps deserve trust: a value for every image, class and metric.

    Args:
        model: the network that the maps explain. It comes back as it was.
        images: as for ``explain``: the images that the maps explain.
        explanation: an ``Explanation``, or maps of any origin, (B, K, *space) or (B, *space), at the images' size.
            Metrics of heatmaps take the positive part of maps, scaled to [0, 1] where they are not, metrics of
            attributions the maps as they are. Or a method or prior, by name or as a ``Method``, to explain the images
            by first. Of the prior "random" each value is the mean over its draws, or the exact expectation (of the
            pointing game, the probability of a hit).
        targets: the classes of the maps, as for ``explain``. None: those of the Explanation; of maps alone the
            predicted class, or all classes where there is a map for each.
        masks: where the findings are, for metrics of localisation, at the size of the model's input: (B, *space),
            (B, 1, *space) or (B, K, *space) of bool or 0 and 1; or a list with one entry an image, which is None for an
            image without one, a tensor or array, COCO's run-length encoding ``{"size": …, "counts": …}``, or
            ``{"boxes": [(x0, y0, x1, y1), …]}`` in pixels.
        metrics: names or metrics with their options, such as ``pellucid.metrics.PointingGame(tolerance=15)``.
        method: how maps of changed images are made, for the metrics that need them. None: as the Explanation was.
        head: as for ``explain``; an Explanation knows its own.
        output: as for ``explain``.
        seed: of all random numbers.
        runtime: device, precision and batch size.

    Raises:
        OptionError: there is no such metric, or it needs masks or a method that were not given.
        ShapeError, TargetError: maps, masks or targets do not fit the images.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images = resnet18(num_classes=3), torch.randn(2, 3, 64, 64)
    >>> explanation = pellucid.explain(model, images)
    >>> pellucid.evaluate(model, images, explanation, metrics=["deletion_auc"])["deletion_auc"].shape
    torch.Size([2, 1])
    """
    check_model(model)
    chosen: dict[str, Metric] = _chosen(metrics, Metric, "pellucid.evaluate")
    check_head(head)
    _check_masks(chosen, masks)
    info = model_info(model)
    asked_for = runtime or Runtime()
    # What was measured as fastest was so for a method's maps, not for scores: here "auto" is the model's own precision.
    making = replace(asked_for, precision=None) if asked_for.precision == AUTO else asked_for
    settings = replace(making, seed=seed)
    given = batch_of(model, images).inputs
    if isinstance(explanation, (str, Method, type)):  # the explainer says what to write for a class
        making = settings
        method = explanation if method is None else method
        asked: Request = "predicted" if targets is None else targets
        explanation = explain(model, images, explanation, asked, head=head, output=output, runtime=settings)
    if isinstance(explanation, Explanation):
        head = explanation.head if head == "auto" else head
    explainer = _explainer(model, explanation, method, making, head, output)
    request = targets_of(_request(explanation, targets), info.classes, given)

    chance = Chance.of(explanation, seed)

    def work() -> Scores:
        at = opened(model, given, settings, head, output)
        session, inputs, image = at.session, at.inputs, at.image
        clean = cache(partial(clean_logits, session, inputs))
        read = read_by(session, image, request)
        # Classes that are given by number need no passes: metrics that want no scores do without.
        logits = _like(session, image, len(inputs)) if read.is_of_numbers else clean()
        resolved = read.resolved(logits)
        indices = resolved.indices(logits)
        space = tuple(inputs.images.shape[2:])
        maps = maps_of(explanation, (len(inputs), indices.shape[1], *space))
        marked = masks_of(masks, len(inputs), indices.shape[1], space)
        judged = Judged(session, inputs, resolved, clean, indices, resolved.head, maps, *marked, explainer, seed)
        measured = _measured if chance is None else partial(chance.values, measured=_measured)
        values = {label: measured(judged, metric) for label, metric in chosen.items()}
        return _scores(values, chosen, indices.cpu())

    return kept(work)


@on_cpu_by_default
def compare(
    a: Explanation | Tensor,
    b: Explanation | Tensor,
    *,
    metrics: Sequence[str | Comparison] = ("spearman", "ssim"),
) -> Scores:
    """Measure how much two maps of the same images and classes are alike.

    Args:
        a: an Explanation, or maps (B, K, *space) or (B, *space).
        b: the other one, of the same shape.
        metrics: names or metrics with their options, such as ``pellucid.metrics.SSIM()``.

    Raises:
        OptionError: there is no such metric, or it is not one of two maps.
        ShapeError: the maps differ in shape.

    >>> import torch, pellucid
    >>> maps = torch.rand(2, 3, 32, 32)
    >>> pellucid.compare(maps, maps, metrics=["spearman"])["spearman"]
    tensor([[1., 1., 1.],
            [1., 1., 1.]], dtype=torch.float64)
    """
    chosen: dict[str, Comparison] = _chosen(metrics, Comparison, "pellucid.compare")
    first, second = maps_alone(a), maps_alone(b)
    if first["heatmaps"].shape != second["heatmaps"].shape:
        shapes = f"{tuple(first['heatmaps'].shape)} and {tuple(second['heatmaps'].shape)}"
        raise ShapeError(f"maps {shapes} were given; both must be (B, K, *space) of the same images and classes")
    values = {label: _compared(metric, first, second) for label, metric in chosen.items()}
    targets = a.targets if isinstance(a, Explanation) else torch.full(first["heatmaps"].shape[:2], -1)
    return _scores(values, chosen, targets.cpu())


def _compared(metric: Comparison, a: Mapping[Takes, Tensor], b: Mapping[Takes, Tensor]) -> Values:
    one, other = (maps[metric.takes].flatten(0, 1) for maps in (a, b))
    return without_infinite(metric.update(torch.nan_to_num(one), torch.nan_to_num(other)), one, other)


def _metric(asked: str | M, kind: Any, call: str) -> M:
    """A metric by its name, or as it was given."""
    found: Any = METRICS.find(asked)() if isinstance(asked, str) else asked
    if isinstance(found, type) and issubclass(found, (Metric, Comparison)):
        raise OptionError(f"metric {found.__name__} was given as a class; write {found.__name__}()")
    if not isinstance(found, kind):
        other = "pellucid.compare(a, b)" if isinstance(found, Comparison) else "pellucid.evaluate(model, images, …)"
        known = isinstance(found, (Metric, Comparison))
        hint = f"it is one for {other}" if known else "give a name or a metric of pellucid.metrics"
        raise OptionError(f"metric {found.name if known else found!r} was given to {call}; {hint}")
    metric: M = found
    return metric


def _chosen(metrics: Sequence[str | M], kind: Any, call: str) -> dict[str, M]:
    """The metrics by their labels."""
    if isinstance(metrics, (str, Metric, Comparison)) or not isinstance(metrics, Iterable):
        given = metrics.name if isinstance(metrics, (Metric, Comparison)) else metrics
        raise OptionError(f"metrics={given!r} was given; it must be a list of names or metrics: metrics=[…]")
    return _by_label([_metric(one, kind, call) for one in metrics])


def _by_label(chosen: Sequence[M]) -> dict[str, M]:
    if not chosen:
        raise OptionError(f"metrics=[] was given; name at least one of {', '.join(METRICS.names())}")
    found: dict[str, M] = {}
    for metric in chosen:
        label = labelled(metric)
        if found.setdefault(label, metric) != metric:
            raise OptionError(
                f"two metrics {label!r} were given, with other options; measure them in calls of their own"
            )
    return found


def _check_masks(chosen: Mapping[str, Metric], masks: object) -> None:
    wanting = [label for label, metric in chosen.items() if metric.needs_mask]
    if wanting and masks is None:
        raise OptionError(f"metric {wanting[0]!r} was asked for; it needs to know where the findings are: give masks=")


def _request(explanation: Explanation | Tensor, targets: Request | None) -> Request:
    """The classes of the maps."""
    if targets is not None:
        return targets
    if isinstance(explanation, Explanation):
        if (explanation.targets < 0).any():
            raise TargetError("the Explanation is of a callable target, which it does not keep: give targets= again")
        if explanation.provenance.get("region"):
            raise TargetError("the Explanation is of a Region, which it does not keep: give targets= again")
        return explanation.targets
    return "predicted" if with_columns(explanation).shape[1] == 1 else "all"


def _explainer(
    model: nn.Module,
    explanation: Explanation | Tensor,
    method: str | Method | None,
    runtime: Runtime,
    head: str,
    output: str | int | None,
) -> Callable[[], Explainer] | None:
    """How maps of changed images are made; None where only maps are known.

    A method draws the numbers that it drew for the maps: with the seed of the Explanation, or of the runtime.
    """
    known = explanation.provenance if isinstance(explanation, Explanation) else {}
    runtime = replace(runtime, seed=known.get("runtime", {}).get("seed", runtime.seed))
    if method is not None:
        given = Explainer(model, method, head=head, output=output, runtime=runtime)
        return lambda: given
    if not isinstance(explanation, Explanation):
        return None
    return lambda: Explainer(  # where it is needed: the method may be one that cannot be read back
        model,
        _same_method(explanation),
        layers=explanation.layers or None,
        fuse=explanation.provenance.get("fuse", "mean"),
        head=head,
        output=output,
        runtime=runtime,
    )


def _same_method(explanation: Explanation) -> Method:
    """The method that an Explanation was made by."""
    found = catalogue.remade(explanation.method, explanation.provenance.get("options", {}))
    if found is None:
        raise OptionError(
            f"maps are to be made again; the Explanation's method {explanation.method!r} cannot be built from what the "
            "Explanation says of its options: give method="
        )
    return found


def clean_logits(session: Session, inputs: Inputs) -> Tensor:
    """The raw outputs of the clean images."""
    found = []
    with torch.no_grad():
        for start, stop in chunks(len(inputs), session.runtime.batch_size):
            found.append(session.call(session.prepared(inputs[start:stop])))
    return torch.cat(found)


def _like(session: Session, image: Inputs, count: int) -> Tensor:
    """Raw outputs of the shape of those of several images: one image's again and again."""
    with torch.no_grad():
        one = session.call(image)
    return one.expand(count, *one.shape[1:])


def _measured(judged: Judged, metric: Metric) -> Values:
    """A metric's values of all cases, a few images at a time."""
    columns = judged.has_mask.shape[1]
    step = max(1, judged.session.runtime.batch_size // columns)
    parts = []
    for start, stop in chunks(len(judged.inputs), step):
        cases = judged.cases(start, stop, metric.takes)
        parts.append(_without_lost(without_infinite(metric.update(cases), cases.maps), cases))
    return _joined(parts)


def _joined(parts: Sequence[Values]) -> Values:
    """The values of all cases from those of a few at a time."""
    sizes = [len(part.values) for part in parts]
    return Values(
        torch.cat([part.values for part in parts]),
        _flags([part.missing for part in parts], sizes),
        notes=_flags([part.notes for part in parts], sizes),
        steps={step: torch.cat([part.steps[step] for part in parts]) for step in parts[0].steps},
    )


def _flags(parts: Sequence[Mapping[str, Tensor]], sizes: Sequence[int]) -> dict[str, Tensor]:
    """The cases of each statement in all parts; a part without the statement has none."""
    names = dict.fromkeys(name for part in parts for name in part)
    none = [torch.zeros(size, dtype=torch.bool) for size in sizes]
    return {name: torch.cat([part.get(name, no).cpu() for part, no in zip(parts, none, strict=True)]) for name in names}


def without_infinite(found: Values, *maps: Tensor) -> Values:
    """The values, but none of cases whose maps (P, *space) are not finite."""
    broken = torch.stack([~one.flatten(1).isfinite().all(1) for one in maps]).any(0)
    return replace(found, missing={NOT_FINITE: broken, **found.missing}) if bool(broken.any()) else found


def _without_lost(found: Values, cases: ImageCases) -> Values:
    """The values, with the reason of those that there are not because the model gives the image no number."""
    if not bool(found.values.isnan().any()):
        return found
    lost = found.values.isnan() & ~cases.logits.isfinite().cpu()
    return replace(found, missing={**found.missing, NO_SCORE: lost})


def _scores(values: Mapping[str, Values], chosen: Mapping[str, M], targets: Tensor) -> Scores:
    shape = tuple(targets.shape)
    steps = {label: one.steps for label, one in values.items() if one.steps}
    return Scores(
        {label: one.values.reshape(shape) for label, one in values.items()},
        {label: _in_rows(one.reasons(), shape[1]) for label, one in values.items()},
        dict(chosen),
        targets,
        notes={label: _noted(one, shape) for label, one in values.items()},
        steps={label: {step: one.reshape(shape) for step, one in each.items()} for label, each in steps.items()},
    )


def _noted(found: Values, shape: tuple[int, ...]) -> dict[str, Tensor]:
    """Where a value has a note, (B, K) bool."""
    known = ~found.values.isnan()
    return {note: (cases.cpu() & known).reshape(shape) for note, cases in found.notes.items()}


def _in_rows(reasons: Sequence[str | None], columns: int) -> Reasons:
    return tuple(tuple(reasons[start : start + columns]) for start in range(0, len(reasons), columns))
