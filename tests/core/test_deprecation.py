"""Calls by position that still work for one version, and the warning that they give."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import KW_ONLY, dataclass

import pytest

from pellucid.core.deprecation import positional_deprecated, positional_fields_deprecated


@positional_deprecated
def area(width: int, height: int = 1, *, scale: int = 1, unit: str = "px") -> str:
    return f"{width * height * scale} {unit}"


@positional_fields_deprecated
@dataclass(frozen=True)
class Box:
    width: int
    _: KW_ONLY
    scale: int = 1
    unit: str = "px"


def test_by_keyword_there_is_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert area(2, 3, scale=4, unit="mm") == "24 mm"
        assert Box(2, unit="mm") == Box(width=2, scale=1, unit="mm")


def test_by_position_the_keywords_are_named() -> None:
    with pytest.warns(DeprecationWarning, match="area takes scale=, unit= by keyword") as caught:
        assert area(2, 3, 4, "mm") == "24 mm"
    assert caught[0].filename == __file__
    with pytest.warns(DeprecationWarning, match="area takes scale= by keyword"):
        assert area(2, 3, 4, unit="mm") == "24 mm"
    with pytest.warns(DeprecationWarning, match="Box takes scale= by keyword") as caught:
        assert Box(2, 3) == Box(2, scale=3)
    assert caught[0].filename == __file__


def test_what_cannot_be_stays_an_error() -> None:
    with pytest.raises(TypeError, match="positional arguments but 5"):
        area(1, 2, 3, "mm", 5)
    with pytest.raises(TypeError, match="but 3 positional"):
        area(1, 2, 3, scale=3)
    with pytest.raises(TypeError, match="width"):
        Box()


def test_the_signature_is_keyword_only() -> None:
    kinds = {name: parameter.kind for name, parameter in inspect.signature(area).parameters.items()}
    assert kinds["scale"] is inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(Box).parameters["unit"].kind is inspect.Parameter.KEYWORD_ONLY
