"""``compare``: how much two maps of the same images and classes are alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.metric import Comparison, Takes, Values
from pellucid.core.scores import Scores
from pellucid.errors import ShapeError, TargetError
from pellucid.run.asked_metrics import metrics_of
from pellucid.run.judged_maps import maps_alone
from pellucid.run.measuring import scores_of, without_infinite
from pellucid.run.origin import other_classes


@on_cpu_by_default
def compare(
    a: Explanation | Tensor,
    b: Explanation | Tensor,
    *,
    metrics: Sequence[str | Comparison] = ("spearman", "ssim"),
) -> Scores:
    """Measure how much two maps of the same images and classes are alike.

    Args:
        a: an Explanation, or maps (B, K, *space). Maps (B, H, W) are of one class; of volumes write (B, 1, D, H, W), as
            (B, D, H, W) would be D classes.
        b: the other one, of the same shape.
        metrics: names or metrics with their options, such as ``pellucid.metrics.SSIM()``.

    Raises:
        OptionError: there is no such metric, or it is not one of two maps.
        ShapeError: the maps differ in shape.
        TargetError: both are Explanations, of different classes.

    >>> import torch, pellucid
    >>> maps = torch.rand(2, 3, 32, 32)
    >>> pellucid.compare(maps, maps, metrics=["spearman"])["spearman"]
    tensor([[1., 1., 1.],
            [1., 1., 1.]], dtype=torch.float64)
    """
    chosen: dict[str, Comparison] = metrics_of(metrics, Comparison, "pellucid.compare")
    first, second = maps_alone(a), maps_alone(b)
    if first["heatmaps"].shape != second["heatmaps"].shape:
        shapes = f"{tuple(first['heatmaps'].shape)} and {tuple(second['heatmaps'].shape)}"
        raise ShapeError(f"maps {shapes} were given; both must be (B, K, *space) of the same images and classes")
    _check_same_classes(a, b)
    values = {label: _compared(metric, first, second) for label, metric in chosen.items()}
    targets = a.targets if isinstance(a, Explanation) else torch.full(first["heatmaps"].shape[:2], -1)
    return scores_of(values, chosen, targets.cpu())


def _check_same_classes(a: Explanation | Tensor, b: Explanation | Tensor) -> None:
    """Refuse to compare Explanations of different classes as if they were of the same."""
    if not (isinstance(a, Explanation) and isinstance(b, Explanation)):
        return
    differs = other_classes(a.targets, b.targets)
    if differs is not None:
        image, column = differs
        raise TargetError(
            f"Explanations of classes {int(a.targets[image, column])} and {int(b.targets[image, column])} of image "
            f"{image} were given; both must be of the same classes: give a.heatmaps and b.heatmaps to compare them "
            "all the same"
        )


def _compared(metric: Comparison, a: Mapping[Takes, Tensor], b: Mapping[Takes, Tensor]) -> Values:
    one, other = (maps[metric.takes].flatten(0, 1) for maps in (a, b))
    return without_infinite(metric.update(torch.nan_to_num(one), torch.nan_to_num(other)), one, other)
