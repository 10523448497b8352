"""How a heatmap is drawn over its image: the options of an overlay as one object."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.errors import OptionError


@dataclass(frozen=True)
class Style:
    """The options of an overlay.

    ``alpha`` is the opacity of the colours, 0 (only the image) to 1 (only the colours). ``colormap`` is the name of a
    colour map of matplotlib; whether it exists is checked where it is used.

    Raises:
        OptionError: ``alpha`` is not between 0 and 1.

    >>> Style(alpha=0.3)
    Style(alpha=0.3, colormap='jet')
    """

    alpha: float = 0.5
    colormap: str = "jet"

    def __post_init__(self) -> None:
        """Refuse an opacity that no overlay can have."""
        if not 0 <= self.alpha <= 1:
            raise OptionError(f"alpha {self.alpha} was given; it must be between 0 and 1")
