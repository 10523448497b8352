"""How a heatmap is drawn over its image: the options of an overlay as one object."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.errors import OptionError

_DIVERGING = "bwr"
"""The colour map of matplotlib that shows signed maps on white: −1 is blue, 1 red."""


@dataclass(frozen=True)
class Style:
    """The options of an overlay.

    ``alpha`` is the opacity of the colours, 0 (only the image) to 1 (only the colours). ``colormap`` is the name of a
    colour map of matplotlib; whether it exists is checked where it is used. ``signed``: maps are drawn in red
    (evidence for the class) and blue (evidence against it), the more opaque the stronger it is.

    Raises:
        OptionError: ``alpha`` is not between 0 and 1, or a colour map was chosen for signed maps.

    >>> Style(alpha=0.3)
    Style(alpha=0.3, colormap='jet', signed=False)
    """

    alpha: float = 0.5
    colormap: str = "jet"
    signed: bool = False

    def __post_init__(self) -> None:
        """Refuse an opacity that no overlay can have, and a colour map that would not be used."""
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha {self.alpha} was given; it must be between 0 and 1")
        if self.signed and self.colormap != Style.colormap:
            raise OptionError(
                f"colour map {self.colormap!r} and signed maps were asked for; signed maps are drawn in red and blue: "
                "give one of the two"
            )

    @property
    def colours(self) -> str:
        """The colour map of the colour bar."""
        return _DIVERGING if self.signed else self.colormap

    @property
    def ticks(self) -> tuple[str, str, str]:
        """What the top, the middle and the bottom of the colour bar stand for."""
        return ("for", "0", "against") if self.signed else ("1", "0.5", "0")
