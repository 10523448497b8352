"""The options of commands that prepare images for a network, as one ``Preparation``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.core.axes import LONGEST, SHORTEST, checked_orientation, checked_spacing
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.models.preprocessing import Preprocessing

PREPARATION_PANEL = "Preprocessing"
MODES = {"rgb": 3, "grey": 1, "gray": 1}
"""The words for numbers of channels."""
_MOST_CHANNELS = 64
STORED = "stored"
"""The word for axes that stay as they are in the file."""
Size = Annotated[
    str | None,
    typer.Option(
        metavar="H,W",
        help="Size to resize images to, without a crop; one number for all sides (default: as the model states).",
        rich_help_panel=PREPARATION_PANEL,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        metavar="M,…", help="Mean to subtract: one a channel, or one for all.", rich_help_panel=PREPARATION_PANEL
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        metavar="S,…",
        help="Standard deviation to divide by: one a channel, or one for all.",
        rich_help_panel=PREPARATION_PANEL,
    ),
]
Range = Annotated[
    str | None,
    typer.Option(
        "--range",
        metavar="LOW,HIGH",
        help="Values of black and white before mean and std, such as 0,255; a stated mean and std are left out.",
        rich_help_panel=PREPARATION_PANEL,
    ),
]
Orientation = Annotated[
    str | None,
    typer.Option(
        metavar="CODES|stored",
        help="Directions that a volume's axes are turned to, such as RAS; a stated spacing is left out. stored: as "
        "they are in the file.",
        rich_help_panel=PREPARATION_PANEL,
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(
        metavar="MM,MM,MM",
        help="Spacing that a volume is resampled to, in the order of its axes after --orientation; one number for all.",
        rich_help_panel=PREPARATION_PANEL,
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="rgb|grey|N|FILE,…",
        help="Colour of the input, or its number of channels; or the files of each input folder that are its channels, "
        "by names or patterns, such as t1.nii,t2.nii.",
        rich_help_panel=PREPARATION_PANEL,
    ),
]


@dataclass(frozen=True)
class Preparation:
    """What the user states of how images are prepared; None leaves what the model states.

    ``channels`` is a number of channels, ``files`` are the names of the files of a study that are the channels.
    ``orientation`` is "stored" where the axes stay as they are in the file.
    """

    size: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: tuple[float, float] | None = None
    channels: int | None = None
    files: tuple[str, ...] = ()
    orientation: str | None = None
    spacing: tuple[float, ...] | None = None

    @property
    def stated(self) -> list[str]:
        """The options that change the preprocessing."""
        names = [each.name for each in fields(self) if each.name != "files"]
        return [f"--{name}" for name in names if getattr(self, name) is not None]

    @property
    def sized(self) -> bool:
        """Whether the input's size is stated."""
        return self.size is not None

    @property
    def valued(self) -> bool:
        """Whether the input's values are stated."""
        return any(each is not None for each in (self.mean, self.std, self.range))

    def applied(self, known: Preprocessing, rank: int) -> Preprocessing:
        """The same preprocessing with what is stated here; ``rank`` is the number of the input's dimensions, 2 or 3."""
        if not self.stated:
            return known
        made = known.for_channels(self.channels or known.channels)
        if self.size is not None:
            made = replace(made, resize=self.sides(rank), crop=None)
        if self.range is not None:  # a known mean and std are for values in another range
            made = replace(made, range=self.range, mean=None, std=None)
        made = self._placed(made, rank)
        return replace(
            made,
            mean=_for_each("mean", self.mean, made.channels) or made.mean,
            std=_for_each("std", self.std, made.channels) or made.std,
            source=f"{known.source}; given: {', '.join(self.stated)}",
        )

    def _placed(self, known: Preprocessing, rank: int) -> Preprocessing:
        """The same with the orientation and the spacing."""
        if self.orientation is None and self.spacing is None:
            return known
        if rank == 2:
            asked = (
                f"spacing {_text(self.spacing or ())}"
                if self.orientation is None
                else f"orientation {self.orientation}"
            )
            raise OptionError(f"--{asked} was given; the model takes 2-D images: leave out --orientation and --spacing")
        if self.orientation is None:
            return replace(known, spacing=self.spacing)
        # A known spacing is in the order of other axes.
        return replace(
            known, orientation=None if self.orientation == STORED else self.orientation, spacing=self.spacing
        )

    def sides(self, rank: int) -> tuple[int, ...] | None:
        """The size as one length for each axis; (H, W) for a volume leaves its slices as they are."""
        if self.size is None:
            return None
        sides = self.size * rank if len(self.size) == 1 else self.size
        if len(sides) > rank:
            raise OptionError(f"--size {_text(self.size)} was given; the model takes 2-D images: give H,W")
        if math.prod(sides) > MAX_PIXELS:
            raise OptionError(f"--size {_text(self.size)} was given; an input has at most {MAX_PIXELS:,} positions")
        return sides


def preparation(
    size: str | None,
    mean: str | None,
    std: str | None,
    range_: str | None,
    channels: str | None,
    orientation: str | None,
    spacing: str | None,
) -> Preparation:
    """Combine the options. ``OptionError``: a value that an option does not allow."""
    count, files = _channels(channels)
    limits = _numbers("--range", range_, "a lower and a higher number, as in 0,255")
    if limits is not None and (len(limits) != 2 or not limits[0] < limits[1]):
        raise OptionError(f"--range {range_} was given; write a lower and a higher number, as in 0,255")
    means = _numbers("--mean", mean, "numbers, as in 0.485,0.456,0.406")
    stds = _numbers("--std", std, "numbers above 0, as in 0.229,0.224,0.225")
    if stds is not None and min(stds) <= 0:
        raise OptionError(f"--std {std} was given; write numbers above 0, as in 0.229,0.224,0.225")
    return Preparation(
        _lengths(size),
        means,
        stds,
        None if limits is None else (limits[0], limits[1]),
        count,
        files,
        _orientation(orientation),
        _spacing(spacing),
    )


def _for_each(name: str, values: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    if values is None or len(values) == channels:
        return values
    if len(values) == 1:
        return values * channels
    raise OptionError(
        f"--{name} {_text(values)} was given; the model takes {channels} channels: give {channels} numbers, or one"
    )


def _lengths(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 3 or not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise OptionError(f"--size {text} was given; write whole numbers above 0: one, H,W, or D,H,W of a volume")
    return tuple(map(int, parts))


def _orientation(text: str | None) -> str | None:
    if text is None or text.lower() == STORED:
        return None if text is None else STORED
    try:
        return checked_orientation(text)
    except OptionError as error:
        raise OptionError(f"--{error}; or {STORED}") from None


def _spacing(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    wanted = f"three numbers of mm from {SHORTEST:f} to {LONGEST:,.0f}, or one for all, as in 1.5,1.5,2"
    found = _numbers("--spacing", text, wanted) or ()
    try:
        return checked_spacing(found * 3 if len(found) == 1 else found)
    except OptionError:
        raise OptionError(f"--spacing {text} was given; write {wanted}") from None


def _numbers(option: str, text: str | None, wanted: str) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = (math.nan,)
    if not all(math.isfinite(number) for number in numbers):
        raise OptionError(f"{option} {text} was given; write {wanted}")
    return numbers


def _channels(text: str | None) -> tuple[int | None, tuple[str, ...]]:
    """The number of channels that an option states, and the names of files."""
    if text is None or text.lower() in MODES:
        return None if text is None else MODES[text.lower()], ()
    if text.isdecimal() and len(text) < 10 and 1 <= int(text) <= _MOST_CHANNELS:
        return int(text), ()
    names = tuple(name.strip() for name in text.split(","))
    is_list = len(names) > 1 or any(sign in text for sign in ".*")
    if not is_list or len(names) > _MOST_CHANNELS or not all(names) or any("/" in name for name in names):
        raise OptionError(
            f"--channels {text} was given; it is rgb, grey, a number from 1 to {_MOST_CHANNELS}, or names of files in "
            "each input folder, as in t1.nii,t2.nii"
        )
    if len(set(names)) < len(names):
        raise OptionError(f"--channels {text} was given; a name is there twice: name each file once")
    return len(names) if len(names) > 1 else None, names


def _text(values: Sequence[float]) -> str:
    return ",".join(str(value) if isinstance(value, int) else f"{value:g}" for value in values)
