"""The images that maps are drawn on in a notebook, at the size of a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.explanation import Explanation
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.style import Style
from pellucid.errors import ShapeError
from pellucid.render.annotation import drawn_on
from pellucid.render.overlay import ImagesLike, in_range, listed_images, pixels_of
from pellucid.render.volume import Drawing, drawing

SIDE = 256
"""Pixels of a page that the longer side of an image takes."""
_DRAWN = 2 * SIDE
"""The longest side in pixels at which an image is drawn: screens have up to two for a pixel of a page."""


@dataclass(frozen=True)
class Canvas:
    """An image or volume, and how maps are drawn on it."""

    image: Image

    @property
    def slices(self) -> int:
        """The number of slices of a volume; 0 of an image."""
        size = self.image.original.size
        return size[0] if len(size) == 3 else 0

    def volume(self, heat: Tensor, style: Style) -> Drawing:
        """A volume with a map (D, H, W) on the grid of its heatmaps."""
        return drawing(self.image, self.image.geometry.restore(heat[None, None])[0, 0], style)

    def flat(self, heat: Tensor, style: Style, empty: bool) -> Pillow.Image:
        """An image with a map (H, W) on the grid of its heatmaps; alone where the map is empty."""
        pixels, geometry = self.image.original.pixels.cpu(), self.image.geometry
        share = _DRAWN / max(self.image.original.size)
        if share < 1:
            size = [max(1, round(share * side)) for side in self.image.original.size]
            smaller = Geometry.identity(self.image.original.size).resize(size).inverse()
            geometry = smaller.then(geometry.matrix, geometry.offset, geometry.target)
            pixels = F.interpolate(pixels[None].float(), size, mode="bilinear", antialias=True)[0].clamp(0, 1)
        return drawn_on(pixels, geometry.restore(heat[None, None])[0, 0], style, geometry.inside(), empty)


def canvases(explanation: Explanation, images: ImagesLike | None) -> list[list[Canvas]] | None:
    """What each image of an explanation is drawn on: one canvas, or one for each member of a sequence.

    ``images`` are those that were explained; None takes those that the explanation has, and is None where it has none.

    Raises:
        ShapeError: their number, channels or size do not fit.
    """
    if images is None:
        return [[Canvas(image)] for image in explanation.images] or None
    listed = _batch(images, explanation)
    if len(listed) != len(explanation):
        raise ShapeError(f"{len(explanation)} images were explained, {len(listed)} were given to draw on")
    size = tuple(explanation.heatmaps.shape[2:])
    return [[Canvas(one) for one in _images(image, size, explanation.is_sequence)] for image in listed]


def _batch(images: ImagesLike, explanation: Explanation) -> Sequence[object]:
    """Images as a list, one entry for each that was explained."""
    axes = explanation.heatmaps.ndim
    if not isinstance(images, Tensor) or images.ndim not in (axes, axes - 1):
        return listed_images(images)
    if explanation.is_sequence and images.ndim < axes:
        return list(images.unsqueeze(2))  # a stack (B, S, H, W)
    return list(images) if images.ndim == axes else [images]


def _images(given: object, size: Sequence[int], is_sequence: bool) -> list[Image]:
    """One image, or the members of a sequence, that maps of a size fit."""
    if is_sequence:
        members = list(given) if isinstance(given, Tensor | list | tuple) else [given]
        if len(members) != size[0]:
            raise ShapeError(f"a sequence of {size[0]} images was explained, {len(members)} were given to draw on")
        return [image for one in members for image in _images(one, size[1:], False)]
    image = given if isinstance(given, Image) else _unplaced(given)
    if image.size != tuple(size):
        heat, own = (" × ".join(map(str, sides)) for sides in (size, image.size))
        raise ShapeError(
            f"the heatmaps are {heat} pixels and the image is {own}; give the images that were explained, or "
            "pellucid.Image objects"
        )
    return [image]


def _unplaced(given: object) -> Image:
    """A tensor, array or PIL image as an image on the grid of the heatmaps."""
    if isinstance(given, Tensor) and given.ndim == 4 and given.shape[0] in (1, 3):  # a volume (C, D, H, W)
        pixels = in_range(given.detach().cpu())
    else:
        pixels = pixels_of(given)  # type: ignore[arg-type]  # it refuses what is no image
    return Image(pixels, pixels, Geometry.identity(pixels.shape[1:]))
