"""The options of an overlay: defaults equal to ``overlay``'s, and refused values."""

from __future__ import annotations

import inspect

import pytest

import pellucid
from pellucid.core.style import Style
from pellucid.errors import OptionError


def test_the_defaults_are_those_of_overlay() -> None:
    parameters = inspect.signature(pellucid.overlay).parameters
    assert (Style().alpha, Style().colormap) == (parameters["alpha"].default, parameters["colormap"].default)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_other_opacities_are_refused(alpha: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        Style(alpha)
