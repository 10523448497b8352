"""``Explanation``: the heatmaps of a batch of images, with the evidence that they rest on."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

import torch
from torch import Tensor

from pellucid.core import display
from pellucid.core import head as heads
from pellucid.core.head import DIRECTIONS
from pellucid.core.image import Image
from pellucid.core.reading import Reading
from pellucid.core.shapes import Figures, Flags, Heatmaps, Indices, LayerMaps, Logits
from pellucid.errors import ImageIndexError, OptionError, ShapeError, counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ARRAYS = ("heatmaps", "attributions", "logits", "targets", "degenerate")
"""The fields that are tensors."""
SEQUENCE = "sequence of images"
"""What the provenance says of an input that is a sequence."""
_MEMBER = "image "
LARGEST = "largest_in_sequence"
"""The check of an image of a sequence that says how large the attributions are in all of it."""
_SHARED = ("method", "layers", "head", "classes")
"""The fields that must be equal in explanations that are concatenated."""

Selection: TypeAlias = "int | slice | Sequence[int] | Sequence[bool] | Tensor | npt.NDArray[np.integer[Any] | np.bool_]"
"""Which images of an explanation: a number, a slice, numbers, or a mask with one flag for each image."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """Which pixels the model's output rests on, for B images and K classes each.

    | field | shape | |
    | --- | --- | --- |
    | ``heatmaps`` | (B, K, *space) float32 | in [0, 1], at the input's size; 1 is the strongest evidence; |
    | | | of sequences of S images (B, K, S, H, W), 1 being the strongest in all of them |
    | ``attributions`` | (B, K, *grid) float32 | on the layer's grid, unscaled: comparable between images |
    | | | (with several layers: the last one's in network order; of a sum, and of a layer that sees the |
    | | | image cropped, mirrored or several times: on the image's grid) |
    | ``logits`` | (B, C) float32 | of the same forward pass |
    | ``targets`` | (B, K) int64 | the class that each map explains; −1 for a callable |
    | ``degenerate`` | (B, K) bool | the map shows nothing: its heatmap is zeros, ``why_degenerate`` gives the reason |
    | ``method``, ``layers`` | | the method's name; the layers' names in network order |
    | ``head``, ``classes`` | | how the logits are read (``explain``); the classes' names, where known |
    | ``checks`` | (B, K) each | figures to judge a map by, by name: ``completeness_gap`` (in logits) is how much the |
    | | | map's sum differs from the sum that the method promises |
    | ``by_layer`` | | each layer's own explanation, from the same pass |
    | ``provenance`` | | the method's parameters, versions, precision, seed |
    | ``images`` | B or 0 | the images that were given as such, for display: without their DICOM headers, and neither |
    | | | saved nor pickled |

    ``explanation[i]`` is the explanation of one image; slices, lists of numbers and masks select several, and iteration
    gives one image at a time. Every selection keeps the axis of the images.
    """

    heatmaps: Heatmaps
    attributions: LayerMaps
    logits: Logits
    targets: Indices
    degenerate: Flags
    why_degenerate: tuple[tuple[str | None, ...], ...]
    method: str
    layers: tuple[str, ...]
    head: str = "softmax"
    classes: tuple[str, ...] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    checks: Mapping[str, Figures] = field(default_factory=dict)
    by_layer: Mapping[str, Explanation] = field(default_factory=dict)
    images: tuple[Image, ...] = ()

    @property
    def probabilities(self) -> Logits:
        """The classes' probabilities, (B, C): softmax of the logits, or the sigmoid of each.

        Raises:
            OptionError: the head is regression; ``values`` are what the model returns.
        """
        found = heads.HEADS[self.head].probabilities
        if found is None:
            raise OptionError(f"probabilities were asked for; the head is {self.head!r}, which has values: use .values")
        return found(self.logits)

    @property
    def values(self) -> Logits:
        """The model's outputs (B, M), before a sigmoid or softmax of its own: of a regression head, the values."""
        return heads.HEADS[self.head].raw(self.logits)

    @property
    def has_probabilities(self) -> bool:
        """Whether the head's outputs are probabilities of classes."""
        return heads.HEADS[self.head].probabilities is not None

    def prediction(self, image: int) -> Reading:
        """What the model predicts for an image: its most probable class, or the value of a regression head."""
        if self.has_probabilities:
            return self.reading(image, int(self.probabilities[image].argmax()))
        return Reading(self.value_name(0), value=self.reading(image, 0).value)

    def reading(self, image: int, index: int) -> Reading:
        """The probability of a class for an image; of a regression head the value that a score belongs to."""
        if self.has_probabilities:
            return Reading(self.class_name(index), index, probability=float(self.probabilities[image, index]))
        return Reading(self.class_name(index), index, value=float(self.values[image, index // len(DIRECTIONS)]))

    def value_name(self, number: int) -> str:
        """The name of a value of a regression head."""
        name = "" if self.classes is None else self.classes[len(DIRECTIONS) * number].removeprefix(DIRECTIONS[0])
        return name.strip() or ("value" if self.values.shape[1] == 1 else f"value {number}")

    def label(self, image: int, column: int = 0) -> str:
        """The name of the class that a map explains, else its number; "callable" for a callable target."""
        index = int(self.targets[image, column])
        return "callable" if index < 0 else self.class_name(index)

    def class_name(self, index: int) -> str:
        """The name of a class, else its number."""
        return self.classes[index] if self.classes is not None else str(index)

    def one(self, image: int, column: int | None = None) -> Explanation:
        """The explanation of one image, with one of its maps or all of them; both axes stay, with size 1."""
        chosen = self[image]
        return chosen if column is None else chosen._columns(slice(column, column + 1 or None))

    @property
    def is_sequence(self) -> bool:
        """Whether each input is a sequence or set of S images: maps are (B, K, S, H, W)."""
        return self.provenance.get("input") == SEQUENCE

    @property
    def of_sequence(self) -> str | None:
        """Which image of a sequence this explains, such as "image 2 of 4"; None of any other input."""
        text = str(self.provenance.get("input", ""))
        return text if text.startswith(_MEMBER) else None

    def member(self, number: int) -> Explanation:
        """The explanation of one image of a sequence, from 0: maps (B, K, H, W), on the scale of the whole sequence.

        ``checks["largest_in_sequence"]`` is the largest magnitude of the attributions in the sequence, which signed
        maps are divided by.

        Raises:
            OptionError: the input is no sequence.
            ImageIndexError: there is no such image in it.
        """
        if not self.is_sequence:
            raise OptionError(
                f"an image of a sequence was asked for; these are maps {tuple(self.heatmaps.shape)} of single images "
                "or volumes: take explanation[i]"
            )
        chosen = _number(number, self.heatmaps.shape[2])
        return replace(
            self,
            heatmaps=self.heatmaps[:, :, chosen],
            attributions=self.attributions[:, :, chosen],
            checks={**self.checks, LARGEST: self.attributions.abs().flatten(2).amax(dim=2)},
            by_layer={layer: own.member(chosen) for layer, own in self.by_layer.items()},
            provenance={**self.provenance, "input": f"{_MEMBER}{chosen + 1} of {self.heatmaps.shape[2]}"},
            images=(),  # those of sequences
        )

    def __getitem__(self, images: Selection) -> Explanation:
        """The explanation of one image (a number) or several (a slice, numbers, a mask); the axis stays.

        Raises:
            ImageIndexError: there is no such image, or a mask has another length.
        """
        rows = _rows(images, len(self))
        numbers = list(range(len(self)))[rows] if isinstance(rows, slice) else rows
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in ARRAYS},
            why_degenerate=tuple(self.why_degenerate[number] for number in numbers),
            checks={name: values[rows] for name, values in self.checks.items()},
            by_layer={layer: own[images] for layer, own in self.by_layer.items()},
            images=tuple(self.images[number] for number in numbers) if self.images else (),
        )

    def _columns(self, columns: slice) -> Explanation:
        """The same images with some of their maps."""
        return replace(
            self,
            **{name: getattr(self, name)[:, columns] for name in ARRAYS if name != "logits"},
            why_degenerate=tuple(row[columns] for row in self.why_degenerate),
            checks={name: values[:, columns] for name, values in self.checks.items()},
            by_layer={layer: own._columns(columns) for layer, own in self.by_layer.items()},
        )

    def __iter__(self) -> Iterator[Explanation]:
        """One image's explanation after the other."""
        return (self[image] for image in range(len(self)))

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.logits)

    def to(self, device: str | torch.device) -> Explanation:
        """The same explanation with its tensors on ``device``."""
        return replace(
            self,
            **{name: getattr(self, name).to(device) for name in ARRAYS},
            checks={name: values.to(device) for name, values in self.checks.items()},
            by_layer={layer: own.to(device) for layer, own in self.by_layer.items()},
        )

    def with_images(self, images: Sequence[Image]) -> Explanation:
        """The same explanation with the B prepared images that it is displayed on, as ``explain`` keeps those it got.

        Their DICOM headers, which name the patient, are left out.

        Raises:
            ShapeError: there are more or fewer images than were explained, or they are of another size.
        """
        sizes = {image.size for image in images} - {tuple(self.heatmaps.shape[2:])}
        if images and (len(images) != len(self) or sizes):
            got = f"{len(images)} of {' or '.join(map(str, {image.size for image in images}))}"
            raise ShapeError(
                f"{counted(len(self), 'image')} of {tuple(self.heatmaps.shape[2:])} were explained, got {got}: give "
                "the prepared images, in their order"
            )
        return replace(
            self,
            images=tuple(image.without_headers() for image in images),
            by_layer={layer: own.with_images(images) for layer, own in self.by_layer.items()},
        )

    @staticmethod
    def cat(parts: Sequence[Explanation]) -> Explanation:
        """The explanations of several batches as one, in their order.

        The provenance keeps what all parts agree on.

        Raises:
            OptionError: there are no parts, or their methods, options, layers, heads, classes or checks differ.
            ShapeError: their maps or logits differ in size or device.
        """
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        _check_fitting(parts)
        first = parts[0]
        arrays: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in ARRAYS}
        return replace(
            first,
            **arrays,
            why_degenerate=tuple(row for part in parts for row in part.why_degenerate),
            provenance=_common([part.provenance for part in parts]),
            checks={name: torch.cat([part.checks[name] for part in parts]) for name in first.checks},
            by_layer={layer: Explanation.cat([part.by_layer[layer] for part in parts]) for layer in first.by_layer},
            images=tuple(image for part in parts for image in part.images)
            if all(part.images for part in parts)
            else (),
        )

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: all but the images.

        A tensor that is a part of a larger one is copied: pickle would write the larger one.
        """
        state: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)} | {"images": ()}
        state["checks"] = {name: _own_memory(values) for name, values in self.checks.items()}
        return state | {name: _own_memory(state[name]) for name in ARRAYS}

    def __repr__(self) -> str:
        """One line, without the numbers."""
        images, columns, *size = self.heatmaps.shape
        where = f" at {', '.join(self.layers)}" if self.layers else ""
        counts = f"{counted(images, 'image')} × {counted(columns, 'map')}"
        return f"Explanation({self.method}{where}: {counts}, {'×'.join(map(str, size))})"

    def _repr_html_(self) -> str | None:
        """The HTML that a notebook displays."""
        return display.html(self)

    def save(self, file: str | os.PathLike[str] | BinaryIO) -> None:
        """Write everything to one compressed .npz file, without pickle. A path appears only when it is complete."""
        from pellucid.core.archive import save_explanation

        save_explanation(self, file)


def _rows(images: Selection, count: int) -> slice | list[int]:
    """The numbers of the selected images of ``count``; a slice where they follow one another, which copies nothing."""
    if isinstance(images, slice):
        # A tensor takes no negative step.
        return images if images.step is None or images.step > 0 else list(range(count))[images]
    chosen: Any = images.tolist() if hasattr(images, "tolist") else images
    if not isinstance(chosen, (list, tuple)):
        number = _number(chosen, count)
        return slice(number, number + 1)
    if chosen and all(isinstance(flag, bool) for flag in chosen):
        if len(chosen) != count:
            raise ImageIndexError(f"a mask of {len(chosen)} flags was given; there are {counted(count, 'image')}")
        return [number for number, flag in enumerate(chosen) if flag]
    return [_number(one, count) for one in chosen]


def _number(image: Any, count: int) -> int:
    """An image's number, from 0; negative ones count from the end."""
    if isinstance(image, bool) or not hasattr(image, "__index__"):
        raise ImageIndexError(
            f"image {image!r} was asked for; give a number, a slice, a list of numbers or a mask with one flag an image"
        )
    number = operator.index(image)
    if not -count <= number < count:
        raise ImageIndexError(f"image {number} was asked for; there are {counted(count, 'image')}, from 0")
    return number % count


def _check_fitting(parts: Sequence[Explanation]) -> None:
    """Raise unless the parts can become one explanation."""
    if not parts:
        raise OptionError("Explanation.cat got no explanations; give at least one")
    first = _comparable(parts[0])
    for part in parts[1:]:
        for name, value in _comparable(part).items():
            if value != first[name]:
                kind = ShapeError if name.startswith("the ") else OptionError
                raise kind(
                    f"explanations with different {name.removeprefix('the ')} were given, {first[name]} and {value}; "
                    "Explanation.cat takes batches of one Explainer"
                )


def _comparable(part: Explanation) -> dict[str, object]:
    """The values that must be equal in explanations that are concatenated, by their names in messages."""
    facts: dict[str, object] = {name: getattr(part, name) for name in _SHARED}
    facts["options"] = part.provenance.get("options")
    facts["fuse"] = part.provenance.get("fuse")
    facts["checks"] = sorted(part.checks)
    facts |= {f"the shapes of {name}": tuple(getattr(part, name).shape[1:]) for name in ARRAYS}
    facts["the devices"] = str(part.heatmaps.device)
    return facts


def _common(provenances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that are equal in all of them."""
    first, *rest = provenances
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in rest)}


def _own_memory(values: Tensor) -> Tensor:
    """The tensor, or a copy where it is a view of a part of another, or of one that is repeated."""
    whole = values.untyped_storage().nbytes() == values.numel() * values.element_size()
    return values if whole else values.clone(memory_format=torch.contiguous_format)
