"""The images that a caller gives, as the batch of a network: tensors as they are, images and arrays prepared.

What cannot be taken without guessing is refused, in one line that says what to write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pellucid.core.dense import dense
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.inputs import Images, Inputs
from pellucid.errors import ShapeError
from pellucid.models.preprocessing import takes_volumes
from pellucid.run.pointing import instead_of_images
from pellucid.run.prepare import prepare

Array = npt.NDArray[Any]
Given = Images | Image | Array | Sequence[Image | Array]
"""What ``explain`` takes as images."""
_COLOURS = (1, 3)
"""The numbers of channels of an image in pixels."""
_FEW = 4
"""The most that an array's last axis is as channels, not as columns."""


@dataclass(frozen=True)
class Batch:
    """What the network gets, and the images that it was made of; none where tensors were given."""

    inputs: Inputs
    images: tuple[Image, ...] = ()


def batch_of(model: nn.Module, given: Given) -> Batch:
    """The batch that a caller's images are.

    Raises:
        ShapeError: they are no images, or it is not certain how they are meant.
        SourceError: the model states no preprocessing, and they are not prepared.
    """
    if isinstance(given, Image | np.ndarray):
        return _batch(model, [given])
    if isinstance(given, list | tuple) and given and all(isinstance(one, Image | np.ndarray) for one in given):
        return _batch(model, given)
    _check_tensors(given)
    return Batch(Inputs.of(given))  # type: ignore[arg-type]  # checked


def _batch(model: nn.Module, given: Sequence[Image | Array]) -> Batch:
    """The batch of images and arrays, one each."""
    made = [_input(model, one) for one in given]
    values = [one.values if isinstance(one, Image) else one for one in made]
    sizes = sorted({tuple(one.shape) for one in values})
    if len(sizes) > 1:
        raise ShapeError(
            f"images: {len(values)} of one size were expected, got sizes {sizes[0]} and {sizes[-1]}: explain each "
            "alone, or prepare them with pellucid.Preprocessing(resize=(H, W))"
        )
    images = tuple(one for one in made if isinstance(one, Image))
    return Batch(Inputs.of(torch.stack(values)), images if len(images) == len(made) else ())


def _input(model: nn.Module, given: Image | Array) -> Image | Tensor:
    """One image, prepared; of an array of floats, the network's input (C, H, W)."""
    if isinstance(given, Image):
        return given if given.source is not None else prepare(model, given)
    if given.dtype == np.uint8:
        return prepare(model, _pixels(given))
    if np.issubdtype(given.dtype, np.floating):
        return _values(model, given)
    raise ShapeError(
        f"images: an array of uint8 (pixels) or of floats (the model's input) was expected, got {given.dtype} "
        f"{given.shape}: read files with pellucid.read_image, or give the model's input as floats (C, H, W)"
    )


def _pixels(array: Array) -> Image:
    """An image of uint8 (H, W) or (H, W, C)."""
    asked = f"images: an array (H, W), (H, W, 1) or (H, W, 3) of uint8 was expected, got {array.shape}"
    if array.ndim == 4:
        raise ShapeError(f"{asked}: of a batch of images (B, H, W, C) give list(images)")
    if array.ndim == 3 and array.shape[-1] == _FEW and array.shape[0] > _FEW:
        raise ShapeError(f"{asked}: leave out the fourth channel, as in image[..., :3]")
    if array.ndim == 3 and array.shape[0] <= _FEW:  # also (3, H, 3): which axis are the channels?
        raise ShapeError(f"{asked}: of channels in front write image.transpose(1, 2, 0), of a wider image give floats")
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[-1] not in _COLOURS):
        raise ShapeError(f"{asked}: of a volume give the model's input as a tensor (B, C, D, H, W)")
    deep = array[..., None] if array.ndim == 2 else array
    pixels = torch.tensor(np.ascontiguousarray(deep.transpose(2, 0, 1))).float() / 255
    return Image(pixels, pixels, Geometry.identity(pixels.shape[1:]))


def _values(model: nn.Module, array: Array) -> Tensor:
    """The network's input (C, H, W) as a tensor of float32."""
    asked = f"images: an array (C, H, W) of floats was expected, got {array.shape}"
    if array.ndim == 3 and array.shape[-1] <= _FEW:
        raise ShapeError(
            f"{asked}: of the model's input with the channels last write image.transpose(2, 0, 1); of pixels in [0, 1] "
            "(255 * image).round().astype('uint8')"
        )
    if array.ndim == 2:
        raise ShapeError(f"{asked}: of the model's input with one channel write image[None]")
    if array.ndim in (4, 5) or takes_volumes(model):
        raise ShapeError(f"{asked}: give a tensor, (B, C, H, W) or of volumes (B, C, D, H, W): torch.tensor(images)")
    if array.ndim != 3 or 0 in array.shape:
        raise ShapeError(f"{asked}: give the model's input, or pixels (H, W, C) of uint8")
    return torch.tensor(np.ascontiguousarray(array), dtype=torch.float32)


def _check_tensors(given: object) -> None:
    """Raise unless this is a batch, or a mapping whose first tensor is one."""
    tensors: Mapping[str, Any] = given if isinstance(given, Mapping) else {"images": given}
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            raise ShapeError(
                f"{name}: a tensor (B, C, *space) was expected, got {type(tensor).__name__}{instead_of_images(tensor)}"
            )
        dense(tensor, name or "images")
    first = next(iter(tensors), None)
    if first is None:
        raise ShapeError("images were given as an empty mapping; map names to tensors")
    tensor = tensors[first]
    if tensor.ndim not in (4, 5) or not tensor.is_floating_point():
        raise ShapeError(
            f"{first}: a floating tensor (B, C, H, W) or (B, C, D, H, W) was expected, got {tuple(tensor.shape)} "
            f"{tensor.dtype}{_batched(tensor)}{'; name the images first' if len(tensors) > 1 else ''}"
        )
    if len(tensor) == 0:
        raise ShapeError(f"{first}: at least one image was expected, got {tuple(tensor.shape)}")


def _batched(tensor: Tensor) -> str:
    """What to write for a tensor without the axis of the batch, as the end of a message."""
    return ": write images[None]" if tensor.ndim == 3 and tensor.is_floating_point() else ""
