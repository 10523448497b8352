"""The options of commands that prepare images for a network, as one ``Preparation``."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli import values
from pellucid.cli.values import STORED, text_of
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.models.preprocessing import Preprocessing

PREPARATION_PANEL = "Preprocessing"
Size = Annotated[
    str | None,
    typer.Option(
        metavar="H,W",
        help="Size to resize images to; one number for all sides, or with --crop for an image's shorter side (default: "
        "as the model states).",
        rich_help_panel=PREPARATION_PANEL,
    ),
]
Crop = Annotated[
    str | None,
    typer.Option(
        metavar="H,W",
        help="Size of the crop from the middle of the resized image; one number for all sides (default: none with "
        "--size, else as the model states).",
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
NnUNetPlans = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="nnU-Net's plans.json: its axes, spacing and normalisation in place of these options, but for --crop.",
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
    crop: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    range: tuple[float, float] | None = None
    channels: int | None = None
    files: tuple[str, ...] = ()
    orientation: str | None = None
    spacing: tuple[float, ...] | None = None
    nnunet_plans: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what the plans state already. ``OptionError``."""
        others = [name for name in self.stated if name not in ("--nnunet-plans", "--crop")]
        if self.files and "--channels" in others:
            others.remove("--channels")
        if self.nnunet_plans is not None and others:
            raise OptionError(
                f"--nnunet-plans {self.nnunet_plans} and {others[0]} were given; the plans state it: leave one out"
            )

    @property
    def stated(self) -> list[str]:
        """The options that change the preprocessing."""
        names = [each.name for each in fields(self) if each.name != "files"]
        return [f"--{name.replace('_', '-')}" for name in names if getattr(self, name) is not None]

    @property
    def sized(self) -> bool:
        """Whether the input's size is stated."""
        return self.size is not None or self.crop is not None

    @property
    def valued(self) -> bool:
        """Whether the input's values are stated."""
        return any(each is not None for each in (self.mean, self.std, self.range))

    def applied(self, known: Preprocessing, rank: int) -> Preprocessing:
        """The same preprocessing with what is stated here; ``rank`` is the number of the input's dimensions, 2 or 3."""
        if self.nnunet_plans is not None:
            return self._planned(self.nnunet_plans, rank)
        if not self.stated:
            return known
        made = known.for_channels(self.channels or known.channels)
        if self.sized:
            made = replace(made, resize=self._resize(made.resize, rank), crop=self._sides("crop", self.crop, rank))
        if self.range is not None:  # a known mean and std are for values in another range
            made = replace(made, range=self.range, mean=None, std=None)
        made = self._placed(made, rank)
        return replace(
            made,
            mean=_for_each("mean", self.mean, made.channels) or made.mean,
            std=_for_each("std", self.std, made.channels) or made.std,
            source=f"{known.source}; given: {', '.join(self.stated)}",
        )

    def _planned(self, plans: Path, rank: int) -> Preprocessing:
        """What nnU-Net states for a network of volumes, or of images."""
        from pellucid.models.plans import FLAT, FULL
        from pellucid.models.preprocessing import Preprocessing

        made = Preprocessing.from_plans(plans, FLAT if rank == 2 else FULL)
        return replace(made, crop=self._sides("crop", self.crop, rank))

    def _placed(self, known: Preprocessing, rank: int) -> Preprocessing:
        """The same with the orientation and the spacing."""
        if self.orientation is None and self.spacing is None:
            return known
        if rank == 2:
            asked = (
                f"spacing {text_of(self.spacing or ())}"
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
        """The input's size as one length for each axis; (H, W) for a volume leaves its slices as they are."""
        return self._sides("size", self.size, rank) if self.crop is None else self._sides("crop", self.crop, rank)

    def _resize(self, known: int | tuple[int, ...] | None, rank: int) -> int | tuple[int, ...] | None:
        """The size before a crop: of one number, the shorter side of an image, as torchvision's ``Resize`` has it."""
        if self.size is None:
            return known
        sides = self._sides("size", self.size, rank)
        return self.size[0] if self.crop is not None and rank == 2 and len(self.size) == 1 else sides

    def _sides(self, name: str, stated: tuple[int, ...] | None, rank: int) -> tuple[int, ...] | None:
        if stated is None:
            return None
        sides = stated * rank if len(stated) == 1 else stated
        if len(sides) > rank:
            raise OptionError(f"--{name} {text_of(stated)} was given; the model takes 2-D images: give H,W")
        if math.prod(sides) > MAX_PIXELS:
            raise OptionError(f"--{name} {text_of(stated)} was given; an input has at most {MAX_PIXELS:,} positions")
        return sides


def preparation(
    size: str | None,
    crop: str | None,
    mean: str | None,
    std: str | None,
    range_: str | None,
    channels: str | None,
    orientation: str | None,
    spacing: str | None,
    plans: Path | None = None,
) -> Preparation:
    """Combine the options. ``OptionError``: a value that an option does not allow."""
    count, files = values.channels(channels)
    return Preparation(
        values.lengths("--size", size),
        values.lengths("--crop", crop),
        values.numbers("--mean", mean, "numbers, as in 0.485,0.456,0.406"),
        values.deviations(std),
        values.limits(range_),
        count,
        files,
        values.orientation(orientation),
        values.spacing(spacing),
        plans,
    )


def _for_each(name: str, given: tuple[float, ...] | None, channels: int) -> tuple[float, ...] | None:
    if given is None or len(given) == channels:
        return given
    if len(given) == 1:
        return given * channels
    raise OptionError(
        f"--{name} {text_of(given)} was given; the model takes {channels} channels: give {channels} numbers, or one"
    )
