"""Draws the heatmaps of an explanation on the images that were explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.image import Image
from pellucid.core.shown import shown_maps, why_empty
from pellucid.core.style import Style
from pellucid.errors import OptionError, ShapeError
from pellucid.render.annotation import annotated as annotation
from pellucid.render.annotation import drawn_on
from pellucid.render.embed import data_uri

if TYPE_CHECKING:
    from pellucid.core.explanation import Explanation

ImageLike = Tensor | npt.NDArray[Any] | Pillow.Image | Image
_SHOWN, _SIDE = 32, 512
ImagesLike = ImageLike | Sequence[ImageLike]


class Overlays(list[Pillow.Image]):
    """A list of overlays that a notebook shows, and whose ``repr`` is one line."""

    def __repr__(self) -> str:
        """Their number and sizes."""
        sizes = sorted({"×".join(map(str, one.size)) for one in self})
        return f"<{len(self)} overlays of {', '.join(sizes)} pixels>" if self else "<no overlays>"

    def _repr_html_(self) -> str:
        """Up to 32 of them side by side; a longer side of more than 512 pixels is made smaller."""
        rest = f"<div>… and {len(self) - _SHOWN} more</div>" if len(self) > _SHOWN else ""
        return f"<div>{''.join(_element(one) for one in self[:_SHOWN])}{rest}</div>"


def _element(image: Pillow.Image) -> str:
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    return f'<img alt="overlay" style="max-width:100%;margin:0 8px 8px 0" src="{data_uri(small)}">'


@on_cpu_by_default
def overlay(
    explanation: Explanation,
    images: ImagesLike | None = None,
    alpha: float = 0.5,
    colormap: str = "jet",
    signed: bool = False,
    annotated: bool = False,
) -> Overlays:
    """Draw every heatmap on its image: image 0 with map 0, image 0 with map 1, …, image 1 with map 0, ….

    ``images`` are the B images that were explained: a tensor or array (B, C, H, W), or (C, H, W) for one; an
    array (B, H, W, 3), (H, W, 3) or (H, W); a PIL image; a ``pellucid.Image``; or a list of these. 8-bit
    integers are divided by 255; other values outside [0, 1], such as a network's normalised input, are scaled per
    image from their minimum to their maximum. On a ``pellucid.Image`` the map is mapped back through its geometry
    and drawn on the original image. None takes ``explanation.images``: those that were given to ``explain`` as
    ``pellucid.Image``, such as ``pellucid.prepare`` returns. An explanation of a tensor keeps no images.

    ``signed``: the attributions are drawn with their sign, red for the class and blue against it, each map on a
    symmetric scale of its own. ``annotated``: a colour bar and a caption are added beside and below, as in the files of
    ``pellucid.write``; else an overlay has exactly the image's size. A map that shows nothing leaves the image as is.

    Raises:
        ShapeError: the number, the channels or the size of the images do not fit; volumes are not drawn.
        OptionError: alpha is not between 0 and 1, there is no such colour map, the maps have no sign, something
            else is given, or no images are given and the explanation holds none.
    """
    style = Style(alpha, colormap, signed)
    if explanation.heatmaps.ndim != 4:
        cure = ": take explanation.member(number) of each image" if explanation.is_sequence else ""
        got = tuple(explanation.heatmaps.shape)
        raise ShapeError(f"overlays are drawn of 2-D heatmaps (B, K, H, W), got {got}{cure}")
    listed = _held(explanation) if images is None else listed_images(images)
    if len(listed) != len(explanation.heatmaps):
        raise ShapeError(f"{len(explanation.heatmaps)} images were explained, {len(listed)} were given to draw on")
    reasons = why_empty(explanation, signed)
    drawn = Overlays()
    for number, (image, maps) in enumerate(zip(listed, shown_maps(explanation, signed).cpu(), strict=True)):
        pixels, restored = _restored(image, maps)
        inside = image.geometry.inside() if isinstance(image, Image) else torch.ones_like(maps[0], dtype=torch.bool)
        empty = [reason is not None for reason in reasons[number]]
        plain = [drawn_on(pixels, shown, style, inside, empty[k]) for k, shown in enumerate(restored)]
        drawn += [annotation(one, explanation, number, k, style) for k, one in enumerate(plain)] if annotated else plain
    return drawn


def _held(explanation: Explanation) -> list[ImageLike]:
    """The images that an explanation holds."""
    if not explanation.images:
        raise OptionError(
            "overlays without images were asked for; an explanation of a tensor, or one that was saved, holds none: "
            "give pellucid.overlay(explanation, images), or explain what pellucid.prepare(model, …) returns"
        )
    return list(explanation.images)


def listed_images(images: ImagesLike) -> list[ImageLike]:
    """A batch as a list of single images."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        return list(images)
    return [images]  # type: ignore[list-item]  # pixels_of refuses a sequence of another kind


def _restored(image: ImageLike, maps: Tensor) -> tuple[Tensor, Tensor]:
    """The original image (C, H, W) in [0, 1], and its maps (K, H, W) on the same grid."""
    if isinstance(image, Image):
        _check_sizes(maps, image.size)
        return image.original.pixels.cpu(), image.geometry.restore(maps[None])[0]
    pixels = pixels_of(image)
    _check_sizes(maps, tuple(pixels.shape[1:]))
    return pixels, maps


def _check_sizes(maps: Tensor, size: tuple[int, ...]) -> None:
    """Refuse maps of another size than the image's."""
    if tuple(maps.shape[1:]) != size:
        heat, image = (" × ".join(map(str, numbers)) for numbers in (maps.shape[1:], size))
        cure = "give the images that were explained, or pellucid.Image objects"
        raise ShapeError(f"the heatmaps are {heat} pixels and the image is {image}; {cure}")


def pixels_of(image: ImageLike) -> Tensor:
    """An image of any type as (C, H, W) in [0, 1]."""
    if isinstance(image, Pillow.Image):
        image = _array(image)
    if isinstance(image, np.ndarray):
        image = _channels_first(image)
    if not isinstance(image, Tensor):
        kinds = "a tensor, an array, a PIL image or a pellucid.Image"
        raise OptionError(f"{kinds} was expected to draw on, got {type(image).__name__}")
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        shape = tuple(image.shape)
        raise ShapeError(f"an image of 1 or 3 channels, (C, H, W), was expected to draw on, got {shape}")
    return in_range(image.detach().cpu())


def _array(image: Pillow.Image) -> npt.NDArray[Any]:
    """A PIL image as an array: grey of any depth unchanged, all other modes as RGB."""
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.float32) / 65535
    return np.asarray(image if image.mode in ("L", "I", "F") else image.convert("RGB"))


def _channels_first(array: npt.NDArray[Any]) -> Tensor:
    """An array (H, W), (H, W, 3) or (C, H, W) as a tensor (C, H, W)."""
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[-1] == 3 and (array.dtype == np.uint8 or array.shape[0] not in (1, 3)):
        array = array.transpose(2, 0, 1)
    wide = array if array.dtype == np.uint8 else array.astype(np.float32)
    return torch.from_numpy(wide.copy())


def in_range(image: Tensor) -> Tensor:
    """Scale the levels of an image to [0, 1]; values that are not finite become black."""
    if image.dtype == torch.uint8:
        return image.float() / 255
    levels = image.float()
    finite = levels[levels.isfinite()]
    if finite.numel() and (finite.min() < 0 or finite.max() > 1):
        levels = (levels - finite.min()) / (finite.max() - finite.min()).clamp(min=torch.finfo(torch.float32).tiny)
    return levels.nan_to_num(0, 0, 0).clamp(0, 1)
