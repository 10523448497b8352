"""``Explanation``: the heatmaps of a batch of images, with the evidence that they rest on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, BinaryIO

import torch
from torch import Tensor

from pellucid.core import display
from pellucid.core.concatenation import check_alike, common_entries
from pellucid.core.image import Image
from pellucid.core.predictions import Predictions
from pellucid.core.selection import Selection, number_of, rows_of
from pellucid.core.shapes import Figures, Flags, Heatmaps, Indices, LayerMaps, Logits
from pellucid.errors import OptionError, ShapeError, counted

ARRAYS = ("heatmaps", "attributions", "logits", "targets", "degenerate")
"""The fields that are tensors."""
SEQUENCE = "sequence of images"
"""What the provenance says of an input that is a sequence."""
_MEMBER = "image "
LARGEST = "largest_in_sequence"
"""The check of an image of a sequence that says how large the attributions are in all of it."""
_SHARED = ("method", "layers", "head", "classes")
"""The fields that must be equal in explanations that are concatenated."""


@dataclass(frozen=True, eq=False)
class Explanation(Predictions):
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

    def label(self, image: int, column: int = 0) -> str:
        """The name of the class that a map explains, else its number; "callable" for a callable target."""
        index = int(self.targets[image, column])
        return "callable" if index < 0 else self.class_name(index)

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
        chosen = number_of(number, self.heatmaps.shape[2])
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
        rows = rows_of(images, len(self))
        numbers = list(range(len(self)))[rows] if isinstance(rows, slice) else rows
        return replace(
            self._changed(lambda values: values[rows], lambda own: own[images]),
            why_degenerate=tuple(self.why_degenerate[number] for number in numbers),
            images=tuple(self.images[number] for number in numbers) if self.images else (),
        )

    def _columns(self, columns: slice) -> Explanation:
        """The same images with some of their maps."""
        return replace(
            self._changed(lambda values: values[:, columns], lambda own: own._columns(columns)),
            logits=self.logits,
            why_degenerate=tuple(row[columns] for row in self.why_degenerate),
        )

    def __iter__(self) -> Iterator[Explanation]:
        """One image's explanation after the other."""
        return (self[image] for image in range(len(self)))

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.logits)

    def to(self, device: str | torch.device) -> Explanation:
        """The same explanation with its tensors on ``device``."""
        return self._changed(lambda values: values.to(device), lambda own: own.to(device))

    def _changed(self, change: Callable[[Tensor], Tensor], own: Callable[[Explanation], Explanation]) -> Explanation:
        """The same explanation with every tensor changed; ``own`` changes those of the layers alike."""
        arrays: dict[str, Any] = {name: change(getattr(self, name)) for name in ARRAYS}
        return replace(
            self,
            **arrays,
            checks={name: change(values) for name, values in self.checks.items()},
            by_layer={layer: own(one) for layer, one in self.by_layer.items()},
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
        check_alike([part._comparable() for part in parts])
        first = parts[0]
        arrays: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in ARRAYS}
        return replace(
            first,
            **arrays,
            why_degenerate=tuple(row for part in parts for row in part.why_degenerate),
            provenance=common_entries([part.provenance for part in parts]),
            checks={name: torch.cat([part.checks[name] for part in parts]) for name in first.checks},
            by_layer={layer: Explanation.cat([part.by_layer[layer] for part in parts]) for layer in first.by_layer},
            images=tuple(image for part in parts for image in part.images)
            if all(part.images for part in parts)
            else (),
        )

    def _comparable(self) -> dict[str, object]:
        """The values that must be equal in explanations that are concatenated, by their names in messages."""
        facts: dict[str, object] = {name: getattr(self, name) for name in _SHARED}
        facts["options"] = self.provenance.get("options")
        facts["fuse"] = self.provenance.get("fuse")
        facts["checks"] = sorted(self.checks)
        facts |= {f"the shapes of {name}": tuple(getattr(self, name).shape[1:]) for name in ARRAYS}
        facts["the devices"] = str(self.heatmaps.device)
        return facts

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


def _own_memory(values: Tensor) -> Tensor:
    """The tensor, or a copy where it is a view of a part of another, or of one that is repeated."""
    whole = values.untyped_storage().nbytes() == values.numel() * values.element_size()
    return values if whole else values.clone(memory_format=torch.contiguous_format)
