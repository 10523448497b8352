"""Find what a checkpoint, or a settings file beside it, states of the preprocessing of its images.

Nothing of it is trusted: a value that no network's preprocessing can have counts as not stated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.core.axes import checked_orientation, checked_spacing
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import OptionError

PARTS = (
    *("preprocessing", "config", "cfg", "hyper_parameters", "hparams", "args", "model", "data", "dataset"),
    *("transform", "transforms", "normalize", "normalise", "normalization", "img_norm_cfg"),
    *("pretrained_cfg", "default_cfg"),  # last: they are of the weights before they were fine-tuned
)
"""The entries in which settings are looked for, in this order, in one another too."""
DEPTH = 3
SIZES = ("image_size", "img_size", "input_size")
RESIZES = ("resize", "resize_size", "val_resize_size")
CROPS = ("crop", "crop_size", "center_crop", "val_crop_size")
MEANS = ("mean", "image_mean", "img_mean", "pixel_mean")
STDS = ("std", "image_std", "img_std", "pixel_std")
ORIENTATIONS = ("orientation", "axcodes")
SPACINGS = ("spacing", "pixdim")
LARGEST_SIDE = 8192
SMALLEST_STD = 1e-6
LEVELS = 255.0
LARGEST_FILE = 2**20
UNIT = (0.0, 1.0)

Side = int | tuple[int, ...]


@dataclass(frozen=True)
class Stated:
    """What a file states of the preprocessing: the size, the values, the orientation, some or nothing of it.

    ``resize`` and ``crop`` are those of ``Preprocessing``, None where no size is stated; a crop alone is one after a
    resize that is not known. ``mean`` and ``std`` are None, and ``range`` too, where the values are not stated.
    ``spacing`` is only of a stated ``orientation``, since it is in the order of its axes.
    """

    resize: Side | None = None
    crop: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: tuple[float, float] | None = None
    source: str = ""
    orientation: str | None = None
    spacing: tuple[float, ...] | None = None


def find_preprocessing(content: Any, path: Path, rank: int) -> Stated:
    """Return what a checkpoint's content states of the preprocessing, or else the settings files beside it.

    ``rank`` is the number of an image's dimensions, 2 or 3.
    """
    return stated_in(((content, path.name), *_beside(path)), rank)


def stated_in(given: Iterable[tuple[Any, str]], rank: int) -> Stated:
    """Return what settings, each with the name of where they are, state of the preprocessing: the first that do."""
    found: list[Stated] = []
    for settings, source in given:
        for mapping in _mappings(settings, DEPTH):
            resize, crop = _size(mapping, rank)
            axes = _axes(mapping) if rank == 3 else (None, None)
            found.append(Stated(resize, crop, *_values(mapping), source, *axes))
    sized = next((one for one in found if one.resize or one.crop), Stated())
    valued = next((one for one in found if one.range), Stated())
    placed = next((one for one in found if one.orientation), Stated())
    sources = " and ".join(dict.fromkeys(one.source for one in (sized, valued, placed) if one.source))
    values = valued.mean, valued.std, valued.range
    return Stated(sized.resize, sized.crop, *values, sources, placed.orientation, placed.spacing)


def _mappings(content: Any, depth: int) -> Iterator[Mapping[Any, Any]]:
    if not isinstance(content, Mapping):
        return
    yield content
    for name in PARTS if depth else ():
        yield from _mappings(content.get(name), depth - 1)


def _size(settings: Mapping[Any, Any], rank: int) -> tuple[Side | None, tuple[int, ...] | None]:
    """Return the resize and the crop that settings state."""
    whole, resize, crop = (
        next((side for key in keys if (side := _side(settings.get(key), rank)) is not None), None)
        for keys in (SIZES, RESIZES, CROPS)
    )
    share = settings.get("crop_pct")
    if (
        whole is not None and isinstance(share, float | int) and 0.1 <= share <= 1
    ):  # timm: the crop is this share of the image
        return _before(_sides(whole, rank), share, settings.get("crop_mode")), _sides(whole, rank)
    if resize is not None and (crop is not None or whole not in (None, resize)):
        return resize, _sides(crop or whole or 0, rank)
    if crop is not None and whole is None:
        return None, _sides(crop, rank)
    only = whole if whole is not None else resize
    # A batch in training has one size, so that one number alone is that of every side.
    return (None if only is None else _sides(only, rank)), None


def _before(sides: tuple[int, ...], share: float, mode: Any) -> Side:
    """Return timm's size before its crop."""
    if mode == "border":
        return sides
    scaled = tuple(math.floor(side / share) for side in sides)
    return scaled if mode == "squash" or len(set(sides)) > 1 or len(sides) > 2 else scaled[0]


def _side(value: Any, rank: int) -> Side | None:
    """Return a size: one number, or one for each axis. A number of channels in front is left out."""
    if isinstance(value, Mapping):  # transformers
        edge = value.get("shortest_edge")
        value = edge if edge is not None else [value.get("height"), value.get("width")]
    if isinstance(value, list | tuple):
        sides = [_whole(side) for side in value][-rank:] if len(value) in (rank, rank + 1) else [None]
        known = tuple(side for side in sides if side is not None)
        return known if len(known) == len(sides) and math.prod(known) <= MAX_PIXELS else None
    side = _whole(value)
    return side if side is not None and side**rank <= MAX_PIXELS else None


def _whole(value: Any) -> int | None:
    if not _is_number(value) or not 1 <= value <= LARGEST_SIDE or value != int(value):
        return None
    return int(value)


def _sides(side: Side, rank: int) -> tuple[int, ...]:
    return (side,) * rank if isinstance(side, int) else side


def _values(
    settings: Mapping[Any, Any],
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, tuple[float, float] | None]:
    """Return the mean, the std and the range that they apply to; nothing unless all of it makes sense."""
    mean, std = (next((settings[key] for key in keys if key in settings), None) for keys in (MEANS, STDS))
    pair = settings.get("normalize", settings.get("normalise"))
    if mean is None and std is None and isinstance(pair, list | tuple) and len(pair) == 2:
        mean, std = pair
    means, stds = _numbers(mean), _numbers(std)
    if not means or not stds or len(means) != len(stds):
        limits = _numbers(settings.get("value_range"))  # MONAI
        return None, None, (limits[0], limits[1]) if len(limits) == 2 and limits[0] < limits[1] else None
    limit = LEVELS if max(*means, *stds) > 1 else 1.0
    if min(means) < 0 or max(*means, *stds) > limit or min(stds) < SMALLEST_STD:
        return None, None, None
    return means, stds, (0.0, limit)


def _axes(settings: Mapping[Any, Any]) -> tuple[str | None, tuple[float, ...] | None]:
    """Return the axis codes and the spacing; nothing unless both make sense, or only codes are there."""
    codes, spacing = (
        next((settings[key] for key in keys if key in settings), None) for keys in (ORIENTATIONS, SPACINGS)
    )
    letters = codes if isinstance(codes, list | tuple | str) and len(codes) <= 3 else ()
    lengths = None if spacing is None else _numbers(spacing)
    try:
        # Only what is short and plain: the error's message would print a value of any depth.
        known = checked_orientation("".join(each for each in letters if isinstance(each, str) and len(each) == 1))
        return known, None if lengths is None else checked_spacing(lengths)
    except OptionError:
        return None, None


def _numbers(value: Any) -> tuple[float, ...]:
    """Return up to 16 finite numbers; none where there is anything else."""
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) > 16 or not all(_is_number(each) for each in values):
        return ()
    return tuple(float(each) for each in values)


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number of a sane size; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e9 < value < 1e9


def _beside(path: Path) -> Iterator[tuple[Any, str]]:
    """Yield the settings that libraries save beside weights, and the file that they are in."""
    processor, config = json_object(path.parent / "preprocessor_config.json"), json_object(path.parent / "config.json")
    yield _of_transformers(processor), "preprocessor_config.json"
    yield {key: config.get(key) for key in ("pretrained_cfg", "default_cfg")}, "config.json"  # timm
    if path.parent.name == "models":
        configs = path.parent.parent / "configs"
        yield _of_monai(json_object(configs / "metadata.json")), "metadata.json"
        yield _of_transforms(json_object(configs / "inference.json")), "inference.json"


def _of_transformers(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an image processor's settings, without those of steps that it leaves out."""
    cropped = found.get("do_center_crop") is True
    steps = {"resize": found.get("size"), "crop": found.get("crop_size") if cropped else None}
    if found.get("do_normalize") is False:
        return steps | {"value_range": UNIT if found.get("do_rescale", True) else (0, LEVELS)}
    return steps | {key: found.get(key) for key in ("image_mean", "image_std")}


def _of_monai(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a bundle's metadata state of the images."""
    for key in ("network_data_format", "inputs", "image"):
        inner = found.get(key)
        found = inner if isinstance(inner, Mapping) else {}
    return {"image_size": found.get("spatial_shape"), "value_range": found.get("value_range")}


def _of_transforms(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the orientation and the spacing of a bundle's transforms, if the spacing comes second."""
    whole = found.get("preprocessing")
    steps = whole.get("transforms") if isinstance(whole, Mapping) else None
    stated: dict[str, Any] = {}
    for step in steps if isinstance(steps, list) else ():
        if isinstance(step, Mapping) and not step.get("_disabled_"):
            kind = str(step.get("_target_")).rpartition(".")[2].lower().removesuffix("ict").removesuffix("d")
            stated |= {key: step.get(key) for name, key in _TRANSFORMS.items() if name == kind}
    return stated if list(stated) in (["axcodes"], ["axcodes", "pixdim"]) else {}


_TRANSFORMS = {"orientation": "axcodes", "spacing": "pixdim"}
"""What is read of which transform, in lower case and without the ending of those of dictionaries."""


def json_object(path: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file; an empty one for any other file."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_FILE:
            return {}
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}
