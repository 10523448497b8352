"""Maps of a prior that is made from masks: each image's from the masks of the other images that are judged."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from pellucid.core import catalogue
from pellucid.core.inputs import Inputs
from pellucid.core.masks import Masks
from pellucid.core.prior import FromMasks
from pellucid.errors import OptionError, ShapeError


def maps_of_others(asked: object, masks: Masks | None, inputs: Inputs) -> Tensor | None:
    """The maps (B, 1, *space) of a prior that is asked for by its name; None of anything else, or without masks.

    Raises:
        OptionError: the masks of too few images were given.
        ShapeError: they are of more or fewer images than there are.
    """
    kind = catalogue.find(asked) if isinstance(asked, str) and masks is not None else None
    if kind is None or masks is None or not issubclass(kind, FromMasks):
        return None
    maps = kind.of_others(masks, inputs.images.shape[2:])
    if len(maps) != len(inputs):
        raise ShapeError(f"masks of {len(maps)} images were given; there are {len(inputs)}: give None for one without")
    return maps[:, None]


def not_made_again() -> NoReturn:
    """What a metric gets that asks for maps of changed images, classes or weights."""
    raise OptionError(
        "this metric makes maps again, of changed images, other classes or random weights; a prior from masks depends "
        "on none of them: leave the metric out"
    )
