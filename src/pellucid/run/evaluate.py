"""``evaluate``: whether maps deserve trust, measured by metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial

from torch import Tensor, nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.head import check_head
from pellucid.core.masks import Masks, masks_of
from pellucid.core.method import Method
from pellucid.core.metric import Metric
from pellucid.core.runtime import Runtime
from pellucid.core.scores import Scores
from pellucid.core.target import Request
from pellucid.models.session.thread_state import kept
from pellucid.models.sources import model_info
from pellucid.run.asked_metrics import check_masks, metrics_of
from pellucid.run.cases import Judged
from pellucid.run.chance import Chance
from pellucid.run.explain import explain
from pellucid.run.from_others import maps_of_others, not_made_again
from pellucid.run.given import Given, batch_of
from pellucid.run.judged_maps import maps_of
from pellucid.run.logits import clean_logits, like_logits
from pellucid.run.measuring import measured, scores_of
from pellucid.run.opening import opened
from pellucid.run.origin import check_classes, explainer_of, request_of
from pellucid.run.pointing import check_model
from pellucid.run.targets import targets_of
from pellucid.run.tuned import for_scores


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
            Metrics of heatmaps take the positive part of maps, scaled to [0, 1]; a map that lies within it already and
            reaches 0.5 is taken as it is. Metrics of attributions take the maps as they are. Or a method or prior, by
            name or as a ``Method``, to explain the images by first. Of the prior "random" each value is the mean over
            its draws, or the exact expectation (of the pointing game, the probability of a hit). Of "mean_mask" each
            image's map is made from the ``masks`` of the other images; where a patient has several images, give
            ``priors.mean_mask_maps`` instead.
        targets: the classes of the maps, as for ``explain``. None: those of the Explanation; of maps alone the
            predicted class, or all classes where there is a map for each. An Explanation is not judged by other classes
            than its own.
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
        ShapeError, TargetError: maps, masks or targets do not fit the images, or targets the Explanation.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images = resnet18(num_classes=3), torch.randn(2, 3, 64, 64)
    >>> explanation = pellucid.explain(model, images)
    >>> pellucid.evaluate(model, images, explanation, metrics=["deletion_auc"])["deletion_auc"].shape
    torch.Size([2, 1])
    """
    check_model(model)
    chosen: dict[str, Metric] = metrics_of(metrics, Metric, "pellucid.evaluate")
    check_head(head)
    check_masks(chosen, masks)
    making = for_scores(runtime or Runtime())
    settings = replace(making, seed=seed)
    given = batch_of(model, images).inputs
    others = maps_of_others(explanation, masks, given)
    if others is not None:
        explanation = others
    elif isinstance(explanation, (str, Method, type)):  # the explainer says what to write for a class
        making = settings
        method = explanation if method is None else method
        asked: Request = "predicted" if targets is None else targets
        explanation = explain(model, images, explanation, asked, head=head, output=output, runtime=settings)
    if isinstance(explanation, Explanation):
        head = explanation.head if head == "auto" else head
    never = others is not None and method is None
    explainer = not_made_again if never else explainer_of(model, explanation, method, making, head, output)
    asked_for = request_of(explanation, targets, given.images.ndim)
    request = targets_of(asked_for, model_info(model).classes, given)
    chance = Chance.of(explanation, seed)

    def work() -> Scores:
        at = opened(model, given, settings, head, output)
        session, inputs, image = at.session, at.inputs, at.image
        clean = cache(partial(clean_logits, session, inputs))
        read = at.read(request)
        # Classes that are given by number need no passes: metrics that want no scores do without.
        logits = like_logits(session, image, len(inputs)) if read.is_of_numbers else clean()
        resolved = read.resolved(logits)
        indices = resolved.indices(logits)
        space = tuple(inputs.images.shape[2:])
        columns = indices.shape[1]
        judged = explanation if others is None else others.expand(-1, columns, *space)
        maps = maps_of(judged, (len(inputs), columns, *space))
        check_classes(explanation, indices)
        marked = masks_of(masks, len(inputs), columns, space)
        cases = Judged(session, inputs, resolved, clean, indices, resolved.head, maps, *marked, explainer, seed)
        value_of = measured if chance is None else partial(chance.values, measured=measured)
        values = {label: value_of(cases, metric) for label, metric in chosen.items()}
        return scores_of(values, chosen, indices.cpu())

    return kept(work)
