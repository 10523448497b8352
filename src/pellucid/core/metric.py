"""The base classes of metrics: frozen options, what they take, and one pure function of cases."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from pellucid.core.registry import Registry
from pellucid.errors import ShapeError

Takes = Literal["heatmaps", "attributions"]
Change = Literal["scale", "shift", "monotone"]
"""Changes of the maps: m → a·m with a > 0, m → m + b, and m → f(m) with f strictly increasing."""

Variant = Callable[[Tensor, Tensor], Tensor]
"""(numbers of cases (N,), numbers of steps (N,)) → images (N, C, *space): changed copies, made when they are needed."""

LayerOrder = Literal["top_down", "bottom_up", "independent", "all"]
"""How layers get random weights: one after the other from the output to the input, or the other way, and those before
stay random; one layer at a time, the others as trained; all at once, in one step."""

NO_MASK = "no mask"
EMPTY_MASK = "the mask is empty"
NOT_FINITE = "the map is not finite"
CONSTANT_MAP = "the map is constant"
EMPTY_MAP = "the map is empty"
NO_SCORE = "the model's score is not finite"


@dataclass(frozen=True, eq=False)
class Values:
    """A metric's value of each case, (P,) float64: NaN where there is none, and the reason why.

    ``missing`` maps a reason to the cases (P,) bool that it leaves without a value; the first that applies counts.
    ``notes`` maps a statement to the cases (P,) bool that it holds for: what a reader of a value has to know.
    ``steps``: where the values are means over steps, such as layers, the values (P,) of each by the step's name.
    """

    values: Tensor
    missing: Mapping[str, Tensor] = field(default_factory=dict)
    notes: Mapping[str, Tensor] = field(default_factory=dict)
    steps: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Put NaN where a value is missing."""
        object.__setattr__(self, "values", self._masked(self.values))  # frozen
        object.__setattr__(self, "steps", {name: self._masked(one) for name, one in self.steps.items()})

    def _masked(self, values: Tensor) -> Tensor:
        values = values.detach().double().cpu()
        for cases in self.missing.values():
            values = values.masked_fill(cases.cpu(), torch.nan)
        return values

    def reasons(self) -> tuple[str | None, ...]:
        """Why each case has no value; None for a case that has one."""
        flags = {reason: cases.tolist() for reason, cases in self.missing.items()}
        return tuple(
            next((reason for reason, cases in flags.items() if cases[case]), "undefined") if value != value else None
            for case, value in enumerate(self.values.tolist())
        )


@dataclass(frozen=True, eq=False)
class Remade:
    """A changed copy of each pair's image (P, C, *space), its map (P, *space), and all its logits (P, classes)."""

    images: Tensor
    maps: Tensor
    outputs: Tensor


class Cases(Protocol):
    """P pairs of an image and a class with the maps that explain them, and what a metric can ask the model.

    A metric gets a few images at a time, whose tensors are on the model's device. ``images`` repeats an image for each
    of its classes. Scores are those of a pair's own class: of the clean image's where a target was "predicted".
    """

    @property
    def images(self) -> Tensor:
        """The model's input, (P, C, *space)."""

    @property
    def maps(self) -> Tensor:
        """The maps (P, *space) float32: heatmaps or attributions, whichever the metric takes."""

    @property
    def masks(self) -> Tensor:
        """Where the finding is, (P, *space) bool; all False for a case without a mask."""

    @property
    def has_mask(self) -> Tensor:
        """Which cases have a mask, (P,) bool; a mask may be empty."""

    @property
    def numbers(self) -> Tensor:
        """Each pair's number (P,) int64 of all that are evaluated, from 0.

        Random numbers for each pair that are picked by it do not depend on how many pairs a metric gets at a time.
        """

    @property
    def classes(self) -> Tensor:
        """Each pair's class (P,) int64; −1 where a callable was explained."""

    @property
    def probabilities(self) -> Tensor:
        """The probability of each pair's class, (P,), of the image as it is."""

    @property
    def logits(self) -> Tensor:
        """The explained score of each pair, (P,), before the head's function."""

    @property
    def outputs(self) -> Tensor:
        """All logits of the image of each pair, (P, classes)."""

    @property
    def directions(self) -> bool:
        """Whether classes are the two directions of values, lower and higher, as of a regression head."""

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by ``evaluate``: the same for every metric and every image."""

    def scores(self, count: int, variant: Variant, *, logits: bool = False) -> Tensor:
        """The scores (P, count) of ``count`` changed copies of each image, in passes of many cases and steps at once.

        Probabilities, or the scores before the head's function.
        """

    def remade(self, count: int, variant: Variant) -> Iterator[Remade]:
        """``count`` changed copies of each image, explained by the method that made ``maps``, one step at a time.

        Their further inputs, layers and classes are those of the image as it is.

        Raises:
            OptionError: the method is not known, as only maps were given.
        """

    def maps_of(self, count: int, variant: Variant) -> Iterator[Tensor]:
        """The maps (P, *space) alone of changed copies of the images, one step at a time; as ``remade``."""

    def maps_of_class(self, classes: Tensor) -> Tensor:
        """The maps (P, *space) of other classes (P,) of the same images, by the method that made ``maps``."""

    def maps_randomised(
        self, order: LayerOrder, count: int = 1, variant: Variant | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """The maps (P, *space) after the weights of layer after layer were replaced by random ones, with their names.

        With a ``variant``, the mean of the maps of ``count`` changed copies of each image. The weights are drawn as
        each layer's type initialises them, in networks that share all other tensors with the model; the model's own
        are left alone. Those of a layer are the same in every order.
        """


class Metric(ABC):
    """A metric of maps: how good they are, one value a case. Subclasses are frozen dataclasses of its options.

    ``takes``: heatmaps (positive part, in [0, 1]) or signed attributions, both at the image's size. ``unchanged_by``:
    the changes of the maps that leave the values as they are. ``better``: whether a higher or a lower value speaks for
    the map; None where neither does. ``needs_mask``: cases without a mask have no value.
    """

    name: ClassVar[str] = ""
    takes: ClassVar[Takes] = "heatmaps"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset()
    better: ClassVar[Literal["higher", "lower"] | None] = None
    needs_mask: ClassVar[bool] = False
    proportion: ClassVar[bool] = False
    """Whether each value is 0 or 1, so that the mean is a proportion."""

    @abstractmethod
    def update(self, cases: Cases) -> Values:
        """The values of P cases. Maps that are not finite get none before they come here."""

    def compute(self, values: Tensor) -> float:
        """One figure of the values (N,) of all cases: the mean of those that there are; NaN if there are none."""
        return _mean(values)


def _mean(values: Tensor) -> float:
    """The mean of the values that there are; NaN if there are none."""
    return float(values[~values.isnan()].double().mean())


@runtime_checkable
class Expectation(Protocol):
    """What a metric has that random maps' peaks determine; of any other the mean is taken over draws."""

    def expected(self, cases: Cases, peaks: Tensor) -> Values:
        """The mean values of P cases over random maps whose peaks are equally often at each of ``peaks`` (N, axes)."""


class Comparison(ABC):
    """A metric of two maps of the same image: how much they are alike. Subclasses are frozen dataclasses.

    ``takes``, ``unchanged_by`` (of a change of one of the maps) and ``better`` as for ``Metric``.
    """

    name: ClassVar[str] = ""
    takes: ClassVar[Takes] = "heatmaps"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset()
    better: ClassVar[Literal["higher", "lower"] | None] = None

    @abstractmethod
    def update(self, a: Tensor, b: Tensor) -> Values:
        """The values of P pairs of maps (P, *space)."""

    def against(self, a: Tensor) -> Callable[[Tensor], Values]:
        """The comparison of maps with one other map each after the other: ``update`` with ``a`` prepared once."""
        return partial(self.update, a)

    def compute(self, values: Tensor) -> float:
        """One figure of the values (N,) of all pairs: the mean of those that there are; NaN if there are none."""
        return _mean(values)


METRICS: Registry[Metric | Comparison] = Registry("pellucid.metrics", "metric")
M = TypeVar("M", bound=type[Metric] | type[Comparison])


def register_metric(name: str) -> Callable[[M], M]:
    """Register a metric under ``name``: the decorator of a metric's class.

    Raises:
        OptionError: another class has this name, or the class is no frozen dataclass.
    """
    return METRICS.register(name)


def check_same_shape(a: Tensor, b: Tensor) -> None:
    """Raise ``ShapeError`` unless two batches of maps or masks (P, *space) have the same shape."""
    if a.shape != b.shape:
        raise ShapeError(f"{tuple(a.shape)} and {tuple(b.shape)} were given; both must be (P, *space)")
