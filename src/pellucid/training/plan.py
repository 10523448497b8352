"""``MonitoringPlan``: which batch is explained while a network is trained, how, and how often."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from torch import nn

from pellucid.core.image import Image
from pellucid.core.masks import Masks
from pellucid.core.method import Method
from pellucid.core.metric import METRICS, Comparison
from pellucid.core.provenance import described
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.errors import OptionError
from pellucid.run.explainer import Explainer, at_found
from pellucid.run.given import Given


@dataclass(frozen=True, eq=False)
class MonitoringPlan:
    """A fixed batch that is explained again and again while a network learns, and the figures that are made of it.

    ``images`` and ``targets`` as for ``pellucid.explain``. Give the classes by number or name, such as the labels of
    the images: the predicted class may change from one epoch to the next, and a map that moves because it is of
    another class has not drifted. With ``targets="predicted"`` such maps are counted, and are left out of the drift.

    ``method``, ``layers``, ``classes``, ``head``, ``output`` and ``runtime`` as for ``explain``. Layers that are not
    named are found once, with the weights that the training starts with, and kept: maps at other layers cannot be
    compared.

    ``masks``: where the findings are, in any form that ``pellucid.evaluate`` takes; hit rate and relevance mass are
    measured by them. ``patients``: whose each image is, (B,), for the intervals; None: each is a patient's own.

    ``every``: the batch is explained after the first epoch, and after epochs n, 2n, …, as Lightning's
    ``ModelCheckpoint(every_n_epochs=n)`` counts. ``drift``: a comparison by name or with its options, 1 at equality
    and lower for maps that are less alike, such as "ssim" or "spearman". ``drawn``: the number of
    images, from the first, whose maps are drawn and logged; the figures are of all.

    Raises:
        OptionError: there is no such comparison, or a number is below what is possible.

    >>> import torch
    >>> plan = MonitoringPlan(torch.randn(2, 3, 64, 64), [0, 1], method="hirescam", every=2)
    >>> [epoch for epoch in range(6) if plan.is_due(epoch, first=epoch == 0)]
    [0, 1, 3, 5]
    """

    images: Given
    targets: Request
    _: KW_ONLY
    method: str | Method = "gradcam"
    layers: Sequence[str] | None = None
    masks: Masks | None = None
    patients: Sequence[Hashable] | None = None
    every: int = 1
    drift: str | Comparison = "ssim"
    drawn: int = 8
    classes: Sequence[str] | None = None
    head: str = "auto"
    output: str | int | None = None
    runtime: Runtime = field(default_factory=Runtime)

    def __post_init__(self) -> None:
        """Refuse what is not possible, before any work."""
        for name, least in (("every", 1), ("drawn", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise OptionError(f"{name} must be a whole number of at least {least}, got {value!r}")
        object.__setattr__(self, "drift", _similarity(self.drift))  # frozen

    @property
    def similarity(self) -> Comparison:
        """The comparison s of which the drift is 1 − s."""
        return _similarity(self.drift)

    def explainer(self, model: nn.Module, layers: Sequence[str] | None = None, fuse: str = "mean") -> Explainer:
        """What explains the batch by a model; ``layers`` and ``fuse``: where it was before.

        Raises:
            LayerError, OptionError: a method, layer or head is not possible.
        """
        at = (layers or None) if layers is not None else self.layers
        settings = {"classes": self.classes, "head": self.head, "output": self.output, "runtime": self.runtime}
        made = Explainer(model, self.method, layers=at, fuse=fuse, **settings)  # type: ignore[arg-type]  # as they are
        return made if self.layers is not None else at_found(made)

    def is_due(self, epoch: int, *, first: bool) -> bool:
        """Whether the batch is explained after an epoch, counted from 0; ``first``: it was after no epoch yet."""
        return first or (epoch + 1) % self.every == 0

    def digest(self) -> str:
        """What the maps of two trainings must share to be compared: images, targets, method and comparison."""
        images = [one.values if isinstance(one, Image) else one for one in _entries(self.images)]
        chosen = self.method if isinstance(self.method, str) else repr(self.method)
        layers = None if self.layers is None else list(self.layers)
        targets = type(self.targets).__name__ if callable(self.targets) else described(self.targets)
        return "; ".join((described(images), targets, chosen, repr(self.similarity), repr(layers)))


def _entries(images: Given) -> list[object]:
    """The tensors, arrays or images that a batch is given as."""
    if isinstance(images, Mapping):
        return list(images.values())
    return list(images) if isinstance(images, list | tuple) else [images]


def _similarity(asked: str | Comparison) -> Comparison:
    found = METRICS.find(asked)() if isinstance(asked, str) else asked
    if not isinstance(found, Comparison) or found.better != "higher":
        names = [name for name, cls in METRICS.registered().items() if issubclass(cls, Comparison)]
        alike = ", ".join(name for name in names if METRICS.find(name).better == "higher")
        raise OptionError(f"drift={asked!r} was given; a comparison that is 1 for equal maps is needed: {alike}")
    return found
