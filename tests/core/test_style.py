"""The options of an overlay: defaults equal to ``overlay``'s, and refused values."""

from __future__ import annotations

import dataclasses
import inspect

import pytest

import pellucid
from pellucid.core.style import Style
from pellucid.errors import OptionError


def test_the_defaults_are_those_of_overlay() -> None:
    parameters = inspect.signature(pellucid.overlay).parameters
    for field in dataclasses.fields(Style):
        assert getattr(Style(), field.name) == parameters[field.name].default


def test_a_colour_map_that_signed_maps_would_not_use_is_refused() -> None:
    assert (Style(signed=True).colours, Style(signed=True).ticks) == ("bwr", ("for", "0", "against"))
    assert (Style(colormap="magma").colours, Style().ticks) == ("magma", ("1", "0.5", "0"))
    with pytest.raises(OptionError, match="'magma' and signed maps were asked for"):
        Style(colormap="magma", signed=True)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_other_opacities_are_refused(alpha: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        Style(alpha)
