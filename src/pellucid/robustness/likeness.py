"""How much two maps of an image are alike, where both can be compared."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.core.metric import Comparison

Columns = dict[str, Tensor]
"""A value for each image (P,) by its name; NaN where there is none."""


def likeness(before: Tensor, after: Tensor, visible: Tensor, metrics: Mapping[str, Comparison]) -> Columns:
    """The comparisons of maps (P, *space) before and after a change, (P,) each; NaN where a map is not finite.

    Outside of what is ``visible`` (*space) both are 0.
    """
    finite = before.flatten(1).isfinite().all(1) & after.flatten(1).isfinite().all(1)
    pair = [one.nan_to_num(0.0, 0.0, 0.0) * visible for one in (before, after)]
    return {
        label: metric.update(pair[0], pair[1]).values.where(finite.cpu(), torch.nan)
        for label, metric in metrics.items()
    }


def is_empty(maps: Tensor) -> Tensor:
    """Whether maps (P, *space) have no value above 0, (P,) 1 or 0; NaN of a map that is not finite."""
    highest = maps.flatten(1).amax(1)
    return (highest <= 0).double().where(highest.isfinite(), torch.nan)


def moved(before: Tensor, after: Tensor, classes: Tensor, independent: bool) -> Tensor:
    """Whether answers moved, (P,) 1 or 0, by probabilities (P, C) before and after; NaN where there are none.

    Of ``independent`` classes the answer is whether the class (P,) is above .5, else which class is the most probable.
    """
    if independent:
        rows = classes[:, None]
        changed = ((before.gather(1, rows) > 0.5) != (after.gather(1, rows) > 0.5))[:, 0]
    else:
        changed = before.argmax(1) != after.argmax(1)
    known = (before + after).isfinite().all(1)
    return changed.double().where(known, torch.nan)
