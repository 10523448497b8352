"""Methods by name: registration, options as text, near names."""

from __future__ import annotations

import inspect
import math
import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pytest
import torch

from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.errors import MethodError, OptionError


def made(name: str) -> type[Method]:
    @catalogue.register_method(name)
    @dataclass(frozen=True)
    class Own(Method):
        steps: int = 5
        ratio: float = 0.5
        smooth: bool = False
        fuse: Literal["mean", "max"] = "mean"
        note: str = ""
        most: int | None = None

        def attribute(self, probe, targets):
            raise NotImplementedError

    return Own


def test_a_method_is_registered_and_forgotten() -> None:
    own = made("zz_own")
    with catalogue.forgetting(own):
        assert own.name == "zz_own"
        assert catalogue.find("zz_own") is own
        assert catalogue.names()[-1] == "zz_own"
        assert catalogue.names() == sorted(catalogue.names())
        assert catalogue.summary(own) == "Methods by name: registration, options as text, near names."
        assert catalogue.options(own) == {
            "steps": 5,
            "ratio": 0.5,
            "smooth": False,
            "fuse": "mean",
            "note": "",
            "most": None,
        }
    assert "zz_own" not in catalogue.names()


def test_a_name_belongs_to_one_class() -> None:
    own = made("zz_own")
    with catalogue.forgetting(own):
        again = made("zz_own")  # the same class, its module loaded again
        assert catalogue.find("zz_own") is again
        with pytest.raises(MethodError, match="registered twice"):

            @catalogue.register_method("zz_own")
            @dataclass(frozen=True)
            class Other(Method):
                pass


@pytest.mark.parametrize(
    ("option", "value", "kind"),
    [
        ("steps", "a", "int"),
        ("steps", "5", "int"),
        ("steps", 1.5, "int"),
        ("steps", math.nan, "int"),
        ("steps", True, "int"),
        ("steps", None, "int"),
        ("steps", [1], "int"),
        ("steps", np.array([1, 2]), "int"),
        ("ratio", "a", "float"),
        ("ratio", None, "float"),
        ("ratio", (1, 2), "float"),
        ("ratio", True, "float"),
        ("ratio", torch.ones(2), "float"),
        ("most", "a", r"int \| None"),
    ],
)
def test_an_option_that_is_no_number_is_refused_before_the_class_sees_it(option, value, kind) -> None:
    own, message = made("zz_own"), rf"^{option}=.* was set; it must be a number \({kind}\)$"
    with catalogue.forgetting(own), pytest.raises(OptionError, match=message) as raised:
        own(**{option: value})
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 120


def test_numbers_of_other_libraries_are_taken() -> None:
    own = made("zz_own")
    with catalogue.forgetting(own):
        for steps, ratio in ((np.int64(3), np.float32(0.5)), (torch.tensor(3), torch.tensor(0.5)), (3, 1)):
            assert (own(steps, ratio).steps, own(steps=steps, ratio=ratio, most=None).ratio) == (steps, ratio)
        assert replace(own(), most=4) == own(most=4)
        with pytest.raises(TypeError, match="nothing"):
            own(nothing=1)
        assert list(inspect.signature(own).parameters) == ["steps", "ratio", "smooth", "fuse", "note", "most"]


class Plain(Method):
    def attribute(self, probe, targets):
        raise NotImplementedError


@dataclass(frozen=True)
class Frozen(Plain):
    steps: int = 5


class Below(Frozen):
    pass


@pytest.mark.parametrize(
    ("cls", "found"),
    [
        (Plain, "no dataclass"),
        (dataclass(type("Thawed", (Plain,), {"__module__": __name__})), "a dataclass that is not frozen"),
        (Below, "no dataclass"),  # its parent is one
    ],
)
def test_a_class_that_is_no_frozen_dataclass_is_refused(cls: type[Method], found: str) -> None:
    with pytest.raises(MethodError) as caught:
        catalogue.register_method("zz_own")(cls)
    assert str(caught.value) == (
        f"method 'zz_own' was registered with tests.core.test_catalogue.{cls.__qualname__}, which is {found}: "
        "write @dataclass(frozen=True) between @register_method and the class"
    )
    assert "zz_own" not in catalogue.names()


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(MethodError) as caught:
        catalogue.find("gradcamm")
    assert "did you mean gradcam" in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [("GradCAM", "gradcam"), ("Grad-CAM++", "gradcam++"), ("GradCAMPlusPlus", "gradcam++"), ("Score CAM", "scorecam")],
)
def test_case_and_punctuation_do_not_hide_a_method(asked: str, meant: str) -> None:
    with pytest.raises(MethodError, match=rf"; did you mean {re.escape(meant)}\?$"):
        catalogue.find(asked)
    assert catalogue.find(meant).name == meant


def test_a_name_like_no_other_lists_all() -> None:
    with pytest.raises(MethodError) as caught:
        catalogue.find("zzz")
    assert str(caught.value).endswith(f"; there are {', '.join(catalogue.names())}")


def test_options_as_text() -> None:
    own = made("zz_own")
    with catalogue.forgetting(own):
        texts = {"steps": "7", "ratio": "0.25", "smooth": "True", "fuse": "max", "note": "a=b"}
        assert catalogue.build("zz_own", texts) == own(7, 0.25, True, "max", "a=b")
        assert catalogue.build("zz_own", {"smooth": "false"}) == own()


@pytest.mark.parametrize(
    ("texts", "part"),
    [
        ({"steps": "7.5"}, "must be a number (int)"),
        ({"ratio": "half"}, "must be a number (float)"),
        ({"smooth": "yes"}, "true or false"),
        ({"fuse": "median"}, "mean, max"),
        ({"step": "7"}, "steps, ratio, smooth, fuse, note"),
    ],
)
def test_options_that_cannot_be(texts: dict[str, str], part: str) -> None:
    own = made("zz_own")
    with catalogue.forgetting(own):
        with pytest.raises(OptionError) as caught:
            catalogue.build("zz_own", texts)
        assert part in str(caught.value)


def test_a_method_without_options() -> None:
    with pytest.raises(OptionError, match="has the options: none"):
        catalogue.build("gradcam", {"steps": "7"})


def test_a_module_without_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    own = made("zz_own")
    with catalogue.forgetting(own):
        monkeypatch.setattr(sys.modules[own.__module__], "__doc__", None)
        own.__doc__ = "Own."
        assert catalogue.summary(own) == "Own."
        own.__doc__ = ""
        assert catalogue.summary(own) == ""
