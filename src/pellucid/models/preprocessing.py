"""``Preprocessing``: how an image becomes a network's input."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.axes import checked_orientation, checked_spacing
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.image import Image
from pellucid.errors import OptionError, ShapeError, counted
from pellucid.models.orientation import placed
from pellucid.models.planned import planned
from pellucid.models.plans import FULL, Plans, read_plans
from pellucid.models.resizing import Interpolation, cropped, resized

RGB = 3
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
_PLANNED = ("resize", "mean", "std", "interpolation", "range", "orientation", "spacing")
"""What plans state."""
ONLY_WHOLE = "nnU-Net's plans normalise the values of a whole file: prepare the file's image, or state mean and std"


@dataclass(frozen=True)
class Preprocessing:
    """The steps to a network's input: orientation, spacing, colour, resize, crop, ``range``, ``(x − mean) / std``.

    ``resize`` is the shortest side's new length, or (H, W), or None; ``crop`` is (H, W) or None. For volumes both
    are (D, H, W); with one or two numbers, each slice is prepared as an image. ``mean`` and ``std`` have one value for
    each channel; None: not normalised. They apply to values in ``range``, to which the image's [0, 1] is mapped.
    ``channels`` is the network's number; only 1 and 3 are made from an image of another number. ``source`` names the
    origin of these settings.

    Only for volumes that state where they lie in the patient: ``orientation`` are the codes of the directions to which
    the input's axes run, such as "RAS" (right, anterior, superior); (D, H, W) then stand for the axes in this order.
    ``spacing`` between voxels is in mm, in the same order. None leaves either as the file has it. The result equals
    that of MONAI's ``Orientation`` and ``Spacing``.

    ``plans``: all but ``crop`` is as nnU-Net states it; see ``from_plans``. What a crop adds around is 0.
    """

    resize: int | tuple[int, ...] | None = None
    crop: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation = "bilinear"
    channels: int = 3
    source: str = "given"
    range: tuple[float, float] = (0.0, 1.0)
    orientation: str | None = None
    spacing: tuple[float, ...] | None = None
    plans: Plans | None = None

    @classmethod
    def from_plans(cls, path: str | os.PathLike[str], configuration: str = FULL) -> Preprocessing:
        """The preprocessing of a network of nnU-Net 2, from the plans.json in its folder.

        A volume's axes are put in the order of ``transpose_forward``, it is cut to the box of values other than 0,
        each channel is normalised by its ``normalization_schemes``, and the result is resampled to the ``spacing`` by
        splines, in numbers as nnU-Net does. What it states of patches is left out: the input is the whole volume.

        Raises:
            OptionError: the file is no plans.json, or states what is not computed here, which the message names.
        """
        plans = read_plans(path, configuration)
        return cls(channels=len(plans.schemes), source=f"nnU-Net's plans, {plans.configuration}", plans=plans)

    def __repr__(self) -> str:
        """The settings that are not the defaults, as they are written."""
        stated = {each.name: getattr(self, each.name) for each in fields(self)}
        listed = [f"{name}={value!r}" for name, value in stated.items() if value != getattr(Preprocessing, name)]
        return f"Preprocessing({', '.join(listed)})"

    def __post_init__(self) -> None:
        """Check orientation and spacing. ``OptionError``: no axis codes, no lengths, or what plans state otherwise."""
        if self.plans is not None:
            self._check_planned(len(self.plans.schemes))
        if self.orientation is not None:
            object.__setattr__(self, "orientation", checked_orientation(self.orientation))
        if self.spacing is not None:
            object.__setattr__(self, "spacing", checked_spacing(self.spacing))

    def _check_planned(self, channels: int) -> None:
        """Refuse what is stated beside plans that state it, too; they are of this number of channels."""
        if other := [name for name in _PLANNED if getattr(self, name) != getattr(Preprocessing, name)]:
            raise OptionError(f"plans= and {other[0]}= were given; the plans state it: leave one out")
        if self.channels != channels:
            own = f"plans= of {counted(channels, 'channel')} was given, and channels is {self.channels}"
            raise OptionError(f"{own}: give channels={channels}, or take Preprocessing.from_plans")

    @on_cpu_by_default
    def __call__(self, image: Image) -> Image:
        """Prepare an image (C, H, W) or a volume (C, D, H, W). ``values`` of the result is the network's input.

        ``ShapeError``: an image where (D, H, W), an orientation or a spacing was stated; a volume that does not state
        where it lies; channels from which the expected ones cannot be made; or a resized image that is too large, such
        as of sides of very different lengths.
        """
        space = image.pixels.ndim - 1
        stated = max((len(size) for size in (self.resize, self.crop) if isinstance(size, tuple)), default=2)
        if stated > space:
            raise ShapeError(f"a volume (C, D, H, W) was expected, got {tuple(image.pixels.shape)}")
        if self.plans is not None:
            return self._planned(image, self.plans)
        pixels, geometry = image.pixels.float(), image.geometry
        if self.orientation is not None or self.spacing is not None:
            pixels, geometry = placed(pixels, image, self.orientation, self.spacing)
        pixels, colour = self._colour(pixels)
        pixels, geometry = resized(pixels, geometry, self.resize, self.interpolation)
        pixels, geometry = cropped(pixels, geometry, self.crop)
        values = self.normalise(pixels.movedim(0, -3)).movedim(-3, 0)  # channels in the axis where an image has them
        return Image(pixels, values, geometry, self._provenance(image, colour), image.original)

    def _planned(self, image: Image, plans: Plans) -> Image:
        pixels, values, before = planned(image, plans)
        values, geometry = cropped(values, before, self.crop)
        return Image(
            cropped(pixels, before, self.crop)[0], values, geometry, self._provenance(image, "as it is"), image.original
        )

    def _provenance(self, image: Image, colour: str) -> dict[str, Any]:
        done = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(self).items()}
        if self.plans is None:
            del done["plans"]
        return {**image.provenance, "preprocessing": {**done, "colour": colour}}

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """The size (C, *space) of every input; None where it depends on the image."""
        sides = self.crop or (self.resize if isinstance(self.resize, tuple) else None)
        return None if sides is None else (self.channels, *sides)

    @on_cpu_by_default
    def normalise(self, pixels: Tensor) -> Tensor:
        """``(x − mean) / std`` of pixels (..., C, H, W) in [0, 1] that were mapped to ``range``.

        ``OptionError``: plans normalise by what an image holds, which pixels do not show.
        """
        if self.plans is not None:
            raise OptionError(f"pixels were to be normalised by {self.source}; {ONLY_WHOLE}")
        low, high = self.range
        if self.range != (0, 1):
            pixels = low + (high - low) * pixels
        if self.mean is None and self.std is None:
            return pixels
        mean, std = pixels.new_tensor(self.mean or (0.0,)), pixels.new_tensor(self.std or (1.0,))
        return (pixels - mean[:, None, None]) / std[:, None, None]

    def for_side(self, side: int) -> Preprocessing:
        """The same for a network that takes ``side`` × ``side``: resized and cropped in the same proportion."""
        if self.crop is None or self.crop == (side, side):
            return self
        resize = self.resize
        if isinstance(resize, int):
            resize = round(resize * side / self.crop[0])
        elif resize is not None:
            resize = (round(resize[0] * side / self.crop[0]), round(resize[1] * side / self.crop[1]))
        return replace(self, resize=resize, crop=(side, side))

    def for_channels(self, channels: int) -> Preprocessing:
        """The same for a network with another number of channels: mean and std averaged."""
        if channels == self.channels or self.plans is not None:
            return self
        mean, std = (_spread(values, channels) for values in (self.mean, self.std))
        return replace(self, mean=mean, std=std, channels=channels)

    @on_cpu_by_default
    def range_warning(self, images: Tensor) -> str | None:
        """A warning of one line if a batch's values (B, C, *space) are not what the network expects, else None."""
        finite = images[torch.isfinite(images)]
        if self.plans is not None:
            return None
        if finite.numel() == 0:
            return None
        low, high = float(finite.min()), float(finite.max())
        span = f"values from {low:.4g} to {high:.4g}"
        if self.mean is None and self.std is None:
            return self._outside(low, high, span)
        limits = self._limits()
        limit = max(abs(value) for value in limits)
        alike = min(limits) > -0.5 and max(limits) < 1.5  # such as those of mean 0 and std 1
        if low >= 0 and high <= 1 and high - low > 0.5 and not alike:
            return f"normalised input was expected, got {span}, which look unnormalised; apply mean and std"
        if max(-low, high) > 2 * limit:
            return (
                f"normalised input within ±{limit:.3g} was expected, got {span}, which look like 0…255 or "
                "Hounsfield units; scale to [0, 1], then apply mean and std"
            )
        return None

    def _outside(self, low: float, high: float, span: str) -> str | None:
        """A warning of values that are not in ``range``, or that still are in [0, 1] where it is wider."""
        start, end = self.range
        slack = 0.1 * (end - start)
        unscaled = end - start > 4 and low >= 0 and high <= 1 and high - low > 0.5
        if not unscaled and start - slack <= low and high <= end + slack:
            return None
        return f"pixels in [{start:g}, {end:g}] were expected, got {span}; scale them first"

    def _limits(self) -> list[float]:
        black_and_white = torch.tensor([0.0, 1.0]).expand(self.channels, 1, 2)
        return [float(value) for value in self.normalise(black_and_white).flatten()]

    def _colour(self, pixels: Tensor) -> tuple[Tensor, str]:
        have = pixels.shape[0]
        if have == self.channels:
            return pixels, "as it is"
        if have == 1 and self.channels == RGB:
            return pixels.expand(self.channels, *pixels.shape[1:]), "grey repeated"
        if have == RGB and self.channels == 1:
            return torch.einsum("c...,c->...", pixels, pixels.new_tensor(LUMINANCE))[None], "luminance"
        cure = "a grey or an RGB image" if self.channels in (1, RGB) else "an image of that many channels"
        raise ShapeError(f"{self.channels} channels were expected, got {have}; give {cure}")


def takes_volumes(model: nn.Module) -> bool:
    """Whether a network takes volumes: its convolutions are three-dimensional."""
    return any(tensor.ndim == 5 for tensor in (*model.parameters(), *model.buffers()))


def _spread(values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    return values and (sum(values) / len(values),) * channels
