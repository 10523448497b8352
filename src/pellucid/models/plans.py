"""``Plans``: the preprocessing in nnU-Net's plans.json (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z)."""

from __future__ import annotations

import json
import operator
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.core.axes import checked_spacing
from pellucid.errors import OptionError

LARGEST = 2**24
"""The most bytes of a file that is read."""
FULL, FLAT = "3d_fullres", "2d"
READERS = {"SimpleITKIO": None, "NibabelIO": None, "NibabelIOWithReorient": "SAR", "NaturalImage2DIO": None}
"""nnU-Net's readers, and the directions to which the axes of their volumes run; None: as stored."""
PHOTOGRAPHS = "NaturalImage2DIO"
_SCHEMES = (
    "ZScoreNormalization",
    "CTNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
    "NoNormalization",
)
_MEASURED = ("CTNormalization", "NoNormalization")
"""Those that need values in the file's own unit, which photographs do not have."""
_RESAMPLING = "resample_data_or_seg_to_shape"
_SETTINGS = {"is_seg", "order", "order_z", "force_separate_z"}
_HIGHEST = 5
"""The highest order of splines."""
_LARGEST = 1e30
"""The bound of values; a network's input has single precision."""


@dataclass(frozen=True)
class Scheme:
    """How a channel is normalised; ``low``, ``high``, ``mean`` and ``std`` are of CTNormalization alone."""

    name: str
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    std: float = 1.0


@dataclass(frozen=True)
class Plans:
    """The preprocessing of one configuration.

    ``axes`` of the stored volume come in this order; ``spacing`` is in mm, in the order after that, or None where no
    image is resampled. ``orientation``: the codes to which the axes are turned before that. ``order`` is that of the
    splines, ``order_z`` along an axis of its own; ``separate``: whether there is one (None: by the spacings).
    """

    configuration: str
    schemes: tuple[Scheme, ...]
    axes: tuple[int, ...]
    spacing: tuple[float, ...] | None
    orientation: str | None = None
    order: int = 3
    order_z: int = 0
    separate: bool | None = None


def read_plans(path: str | os.PathLike[str], configuration: str = FULL) -> Plans:
    """Read the preprocessing of a configuration: "3d_fullres", "3d_lowres", or "2d" of photographs.

    Raises:
        OptionError: the file is no plans.json of nnU-Net 2, has no such configuration, or states what is not computed
            here: ``use_mask_for_norm``, a cascade, a reader, preprocessor, normalisation or resampling of its own.
    """
    try:
        found = _json(Path(path))
        return _plans(found, configuration)
    except OptionError as error:
        raise OptionError(f"plans {os.fspath(path)} were given; {error}") from None
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise OptionError(
            f"plans {os.fspath(path)} were given; they are no plans.json of nnU-Net 2 ({_reason(error)}): give the one "
            "in the folder of the trained network"
        ) from None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise OptionError(f"they cannot be read ({error.strerror})") from None
    if len(content) > LARGEST:
        raise OptionError(f"they have more than {LARGEST:,} bytes: give a plans.json of nnU-Net 2")
    try:
        found = json.loads(content)
    except RecursionError:
        raise ValueError("nested too deep") from None
    if not isinstance(found, dict) or not isinstance(found.get("configurations"), dict):
        raise KeyError("configurations")
    return found


def _plans(found: Mapping[str, Any], configuration: str) -> Plans:
    stated = _configuration(found["configurations"], configuration)
    reader = found["image_reader_writer"]
    if reader not in READERS:
        raise OptionError(f"image_reader_writer {_shown(reader)} is not read here: {_CURE}")
    _check(stated, reader, configuration)
    schemes = tuple(_scheme(found, name, index) for index, name in enumerate(stated["normalization_schemes"]))
    kwargs = stated["resampling_fn_data_kwargs"]
    if kwargs.keys() != _SETTINGS or kwargs["is_seg"]:
        raise OptionError(f"configuration {configuration} has resampling_fn_data_kwargs of its own: {_CURE}")
    orders, separate = (int(kwargs["order"]), int(kwargs["order_z"])), kwargs["force_separate_z"]
    if not all(0 <= order <= _HIGHEST for order in orders) or not isinstance(separate, bool | None):
        raise ValueError("resampling_fn_data_kwargs")
    if reader == PHOTOGRAPHS:
        return Plans(configuration, schemes, (0, 1), None)
    axes, spacing = tuple(map(operator.index, found["transpose_forward"])), _spacing(stated)
    if sorted(axes) != [0, 1, 2]:
        raise ValueError("transpose_forward")
    return Plans(configuration, schemes, axes, spacing, READERS[reader], *orders, separate)


def _spacing(stated: Mapping[str, Any]) -> tuple[float, ...]:
    try:
        return checked_spacing(stated["spacing"])
    except OptionError:
        raise ValueError(f"spacing {_shown(stated['spacing'])}") from None


def _configuration(known: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    if name not in known:
        raise OptionError(f"they have no configuration {name}: give those of such a network; {_few(known)} is there")
    stated: dict[str, Any] = {}
    for _ in known:
        stated = {**known[name], **stated}
        if known[name].get("inherits_from") is None:
            return stated
        name = known[name]["inherits_from"]
    raise ValueError("inherits_from")


_CURE = "prepare the images as in training, and give them to explain as arrays"


def _check(stated: Mapping[str, Any], reader: str, name: str) -> None:
    """Refuse what is not computed here, by its name."""
    if stated.get("previous_stage") is not None:
        raise OptionError(f"configuration {name} is a cascade's, whose input holds another network's output: {_CURE}")
    if any(stated["use_mask_for_norm"]):
        raise OptionError(f"configuration {name} has use_mask_for_norm, a normalisation within the body alone: {_CURE}")
    for key, usual in (("preprocessor_name", "DefaultPreprocessor"), ("resampling_fn_data", _RESAMPLING)):
        if stated[key] != usual:
            raise OptionError(f"configuration {name} has the {key} {_shown(stated[key])}: {_CURE}")
    flat = len(stated["spacing"]) == 2
    if flat and (reader != PHOTOGRAPHS or set(map(float, stated["spacing"])) != {1.0}):
        raise OptionError(
            f"configuration {name} takes slices of volumes that are normalised as a whole, which are not made here: "
            f"{_CURE}"
        )
    if not flat and reader == PHOTOGRAPHS:
        raise ValueError("spacing")
    names = stated["normalization_schemes"]
    unknown = [one for one in names if one not in _SCHEMES or (flat and one in _MEASURED)]
    if unknown or not names:
        what = unknown[0] if unknown else "none"
        raise OptionError(
            f"configuration {name} has the normalisation {_shown(what)}, which is not computed here: {_CURE}"
        )


def _scheme(found: Mapping[str, Any], name: str, index: int) -> Scheme:
    if name != "CTNormalization":
        return Scheme(name)
    known = found["foreground_intensity_properties_per_channel"][str(index)]
    low, high, mean, std = (float(known[key]) for key in ("percentile_00_5", "percentile_99_5", "mean", "std"))
    if not all(abs(one) < _LARGEST for one in (low, high, mean, std)) or low >= high or std < 0:
        raise ValueError("foreground_intensity_properties_per_channel")
    return Scheme(name, low, high, mean, std)


def _few(names: Iterable[object]) -> str:
    return ", ".join(_shown(name, 40).strip("'") for name in islice(names, 8)) or "none"


def _shown(value: object, most: int = 60) -> str:
    """A value of the file as one short line, of letters that every terminal has."""
    return ascii(value)[:most]


def _reason(error: Exception) -> str:
    text = " ".join(str(error).encode("ascii", "backslashreplace").decode().split())[:80]
    return f"{text} is missing" if isinstance(error, KeyError) else text


def new_size(size: Sequence[int], spacing: Sequence[float], wanted: Sequence[float]) -> tuple[int, ...]:
    """The size after resampling: each side round(n · spacing / wanted)."""
    return tuple(round(own / new * side) for side, own, new in zip(size, spacing, wanted, strict=True))
