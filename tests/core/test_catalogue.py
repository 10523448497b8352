"""Methods by name: registration, options as text, near names."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import pytest

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
        assert catalogue.options(own) == {"steps": 5, "ratio": 0.5, "smooth": False, "fuse": "mean", "note": ""}
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
