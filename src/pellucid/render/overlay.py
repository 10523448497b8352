"""The explanation on the picture that was explained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.image import Image
from pellucid.errors import OptionError, ShapeError
from pellucid.render.colour import blend

if TYPE_CHECKING:
    from pellucid.core.explanation import Explanation

Picture = Tensor | npt.NDArray[Any] | Pillow.Image | Image
Pictures = Picture | Sequence[Picture]


def overlay(
    explanation: Explanation, images: Pictures, alpha: float = 0.5, colormap: str = "jet"
) -> list[Pillow.Image]:
    """Draw every heatmap on its picture: image 0 with map 0, image 0 with map 1, …, image 1 with map 0, ….

    ``images`` are what was explained, B of them: a tensor or array (B, C, H, W), or (C, H, W) for one; an
    array (B, H, W, 3), (H, W, 3) or (H, W); a PIL image; a ``pellucid.Image``; or a list of these. Whole
    numbers of 8 bits are divided by 255; other values that leave [0, 1], as a network's normalised input
    does, are stretched per image from their minimum to their maximum. On a ``pellucid.Image`` the map is
    brought back through its geometry and drawn on the original picture.

    Raises:
        ShapeError: the number, the channels or the size of the pictures do not fit; volumes are not drawn.
        OptionError: alpha is not between 0 and 1, there is no such colour map, or something else is given.
    """
    heatmaps = explanation.heatmaps
    if heatmaps.ndim != 4:
        raise ShapeError(f"overlays are drawn of 2-D heatmaps (B, K, H, W) so far, got {tuple(heatmaps.shape)}")
    pictures = _listed(images)
    if len(pictures) != heatmaps.shape[0]:
        raise ShapeError(f"{heatmaps.shape[0]} images were explained, {len(pictures)} were given to draw on")
    drawn: list[Pillow.Image] = []
    for picture, maps in zip(pictures, heatmaps.detach().float().cpu(), strict=True):
        pixels, fitted = _fitted(picture, maps)
        seen = picture.geometry.seen() if isinstance(picture, Image) else None
        drawn += [blend(pixels, heat, alpha, colormap, seen) for heat in fitted]
    return drawn


def _listed(images: Pictures) -> list[Picture]:
    """Take a batch apart into single pictures."""
    if isinstance(images, list | tuple):
        return list(images)
    if isinstance(images, np.ndarray | Tensor) and images.ndim == 4:
        return list(images)
    return [images]  # type: ignore[list-item]  # a sequence of another kind is refused by _pixels


def _fitted(picture: Picture, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return a picture (C, H, W) in [0, 1] and its maps (K, H, W) on the same grid."""
    if isinstance(picture, Image):
        _check_sizes(maps, picture.size)
        return picture.original.pixels.cpu(), picture.geometry.restore(maps[None])[0]
    pixels = _pixels(picture)
    _check_sizes(maps, tuple(pixels.shape[1:]))
    return pixels, maps


def _check_sizes(maps: Tensor, size: tuple[int, ...]) -> None:
    """Refuse maps of another size than the picture's."""
    if tuple(maps.shape[1:]) != size:
        heat, picture = (" × ".join(map(str, numbers)) for numbers in (maps.shape[1:], size))
        cure = "give the images that were explained, or pellucid.Image objects"
        raise ShapeError(f"the heatmaps are {heat} pixels and the picture is {picture}; {cure}")


def _pixels(picture: Picture) -> Tensor:
    """Return one picture of any kind as (C, H, W) in [0, 1]."""
    if isinstance(picture, Pillow.Image):
        picture = _array(picture)
    if isinstance(picture, np.ndarray):
        picture = _channels_first(picture)
    if not isinstance(picture, Tensor):
        kinds = "a tensor, an array, a PIL image or a pellucid.Image"
        raise OptionError(f"{kinds} was expected to draw on, got {type(picture).__name__}")
    if picture.ndim != 3 or picture.shape[0] not in (1, 3):
        shape = tuple(picture.shape)
        raise ShapeError(f"a picture of 1 or 3 channels, (C, H, W), was expected to draw on, got {shape}")
    return _in_range(picture.detach().cpu())


def _array(picture: Pillow.Image) -> npt.NDArray[Any]:
    """Return a PIL image as an array: grey of any depth as it is, all else as RGB."""
    if picture.mode.startswith("I;16"):
        return np.asarray(picture).astype(np.float32) / 65535
    return np.asarray(picture if picture.mode in ("L", "I", "F") else picture.convert("RGB"))


def _channels_first(array: npt.NDArray[Any]) -> Tensor:
    """Return an array (H, W), (H, W, 3) or (C, H, W) as a tensor (C, H, W)."""
    if array.ndim == 2:
        array = array[None]
    elif array.ndim == 3 and array.shape[-1] == 3 and (array.dtype == np.uint8 or array.shape[0] not in (1, 3)):
        array = array.transpose(2, 0, 1)
    wide = array if array.dtype == np.uint8 else array.astype(np.float32)
    return torch.from_numpy(wide.copy())


def _in_range(picture: Tensor) -> Tensor:
    """Bring a picture's levels to [0, 1]; what is not finite becomes black."""
    if picture.dtype == torch.uint8:
        return picture.float() / 255
    levels = picture.float()
    seen = levels[levels.isfinite()]
    if seen.numel() and (seen.min() < 0 or seen.max() > 1):
        levels = (levels - seen.min()) / (seen.max() - seen.min()).clamp(min=torch.finfo(torch.float32).tiny)
    return levels.nan_to_num(0, 0, 0).clamp(0, 1)
