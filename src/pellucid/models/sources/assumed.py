"""What of a model's preprocessing is known, what is assumed, and the warning that says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pellucid.models.checkpoints import Stated
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.base import ModelInfo

SIZE, VALUES, ORIENTATION = "input size", "mean and std", "orientation and spacing"


def parts(volumes: bool) -> tuple[str, ...]:
    """The parts of the preprocessing of a network, which takes ``volumes`` or images."""
    return (SIZE, VALUES, ORIENTATION) if volumes else (SIZE, VALUES)


def with_stated(info: ModelInfo, stated: Stated, channels: int, volumes: bool) -> ModelInfo:
    """The same with the preprocessing that a checkpoint states, and what is assumed of the rest.

    ``channels`` are those of the network, for which a mean of another number is left out; it takes ``volumes`` or
    images.
    """
    sized = stated.resize is not None or stated.crop is not None
    valued = stated.range is not None and len(stated.mean or (0,)) in (1, channels)
    placed = stated.orientation is not None
    if info.preprocessing is None and not sized and not valued and not placed:
        return info
    # Where the source knows no preprocessing, an input size is the network's own, such as that of MONAI's ViT.
    side = info.input_size[1:] if info.preprocessing is None and info.input_size is not None else None
    known = info.preprocessing or Preprocessing(side, channels=channels, source="the network's input size")
    found = {SIZE: sized or side is not None, VALUES: valued, ORIENTATION: placed}
    missing = tuple(part for part in parts(volumes) if not found[part])
    if sized or valued or placed:
        known = replace(known, source=f"{stated.source}, else {known.source}" if missing else stated.source)
    known = _sized(known, stated) if sized else known
    known = _valued(known, stated) if valued else known
    known = replace(known, orientation=stated.orientation, spacing=stated.spacing) if placed else known
    return replace(info, preprocessing=known, assumed=missing, input_size=known.input_size or info.input_size)


def _sized(known: Preprocessing, stated: Stated) -> Preprocessing:
    resize, crop = stated.resize, stated.crop
    if resize is None and crop is not None:
        if known.crop is not None and len(set(crop)) == len(set(known.crop)) == 1:
            return known.for_side(crop[0])
        resize, crop = crop, None  # no image is smaller than its crop then
    return replace(known, resize=resize, crop=crop)


def _valued(known: Preprocessing, stated: Stated) -> Preprocessing:
    mean, std = (values and values * (known.channels // len(values)) for values in (stated.mean, stated.std))
    return replace(known, mean=mean, std=std, range=stated.range or known.range)


def assumption(who: str, missing: Sequence[str], used: Preprocessing, cure: str) -> str:
    """The warning, of one sentence, that ``who`` does not state parts of the preprocessing."""
    described = {SIZE: _described_size(used), VALUES: _described_values(used), ORIENTATION: _described_axes(used)}
    what = ", ".join(described[part] for part in missing)
    return (
        f"{who} states no {', '.join(missing)}: images of {what} are assumed; if it was trained on others, the "
        f"maps are wrong: {cure}"
    )


def _described_size(used: Preprocessing) -> str:
    if used.crop is None:
        return "their own size" if used.resize is None else f"{_pixels(used.resize)} pixels"
    before = "" if used.resize in (None, used.crop) else f" from the middle of {_pixels(used.resize)}"
    return f"{_pixels(used.crop)} pixels{before}"


def _pixels(size: float | tuple[float, ...] | None) -> str:
    return " × ".join(f"{side:g}" for side in size) if isinstance(size, tuple) else str(size)


def _described_axes(used: Preprocessing) -> str:
    spaced = "as stored" if used.spacing is None else f"{_pixels(used.spacing)} mm"
    return f"axes as stored (slices, rows, columns) and spacing {spaced}"


def _described_values(used: Preprocessing) -> str:
    if used.mean is None and used.std is None:
        return "values in [{:g}, {:g}]".format(*used.range)
    mean, std = (
        ", ".join(f"{value:.4g}" for value in dict.fromkeys(values or (usual,)))
        for values, usual in ((used.mean, 0.0), (used.std, 1.0))
    )
    return f"mean {mean} and std {std}"
