"""Methods of other packages: found by their entry points, and none of them breaks another."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import pellucid
from pellucid.cli.main import app
from pellucid.core import catalogue
from pellucid.errors import MethodError, PellucidWarning
from pellucid.methods.gradcam import GradCAM
from tests.core.packages import Install, installer
from tests.networks import TinyCNN, images, seeded

METHOD = '''"""Plain (a test): the activations' sum."""
from dataclasses import dataclass
from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method

@register_method("{name}")
@dataclass(frozen=True)
class {cls}(Method):
    factor: float = 1.0

    def attribute(self, probe, targets):
        return Attribution(self.factor * probe.activations().sum(dim=2))
'''


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    before = set(catalogue.registered())
    catalogue.METHODS.plugins.forget()
    yield installer("pellucid.methods", tmp_path, monkeypatch)
    for name in set(catalogue.registered()) - before:
        del catalogue.METHODS.classes[name]
    monkeypatch.undo()
    catalogue.METHODS.plugins.forget()


def test_a_method_of_another_package_is_found(install: Install) -> None:
    install("zz_plain", METHOD.format(name="plain", cls="Plain"), {"plain": "zz_plain:Plain"})
    install("zz_whole", METHOD.format(name="whole", cls="Whole"), {"whole": "zz_whole"})
    assert {"plain", "whole"} <= set(pellucid.available_methods())
    batch, model = images(2), seeded(TinyCNN)
    once = pellucid.explain(model, batch, "plain").attributions
    assert pellucid.methods.Plain is catalogue.find("plain")
    twice = pellucid.explain(model, batch, pellucid.methods.Plain(factor=2.0)).attributions
    assert once.abs().sum() > 0
    assert twice.equal(2 * once)


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("import no_such_module_at_all", "zz_bad", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("raise SystemExit('two\\nlines')", "zz_bad", "SystemExit: two lines"),
        ("", "zz_bad:Missing", "AttributeError: module 'zz_bad' has no attribute 'Missing'"),
        ("", "zz_bad", "MethodError: zz_bad registers no method 'bad': decorate its class with that name"),
        (
            METHOD.format(name="bad", cls="Bad").replace("@dataclass(frozen=True)\n", ""),
            "zz_bad",
            "MethodError: method 'bad' was registered with zz_bad.Bad, which is no dataclass: "
            "write @dataclass(frozen=True) between @register_method and the class",
        ),
        (METHOD.format(name="bad", cls="Bad") + "\n1 / 0", "zz_bad", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_broken_method_is_reported_when_it_is_asked_for(install: Install, text: str, value: str, reason: str) -> None:
    install("zz_bad", text, {"bad": value})
    install("zz_plain", METHOD.format(name="plain", cls="Plain"), {"plain": "zz_plain:Plain"})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert catalogue.find("plain").__name__ == "Plain"
        assert "bad" not in catalogue.names()
    with (
        pytest.warns(PellucidWarning) as caught,
        pytest.raises(MethodError, match="method 'bad' was asked for"),
    ):
        catalogue.find("bad")
    assert str(caught[0].message) == f"entry point 'bad' of zz_bad was left out: {reason}"


def test_a_wrong_entry_point_leaves_the_others_of_its_module(install: Install) -> None:
    install("zz_plain", METHOD.format(name="plain", cls="Plain"), {"bad": "zz_plain:Bad", "plain": "zz_plain:Plain"})
    broken = METHOD.format(name="half", cls="Half") + "\n1 / 0"
    install("zz_half", broken, {"half": "zz_half:Half", "other": "zz_half:Other"})
    assert "plain" in catalogue.names()
    assert "half" not in catalogue.names()


def test_names_that_collide_are_refused(install: Install) -> None:
    install("zz_again", METHOD.format(name="gradcam", cls="Again"), {"gradcam": "zz_again:Again"})
    install("zz_taken", "", {"hirescam": "zz_taken"})
    for name in ("zz_one", "zz_two"):
        install(name, METHOD.format(name="twice", cls="Twice"), {"twice": f"{name}:Twice"})
    with pytest.warns(PellucidWarning, match=r"'gradcam' of zz_again was left out: .* is registered twice, by \S+ and"):
        assert catalogue.find("gradcam") is GradCAM
    with pytest.warns(PellucidWarning, match="pellucid has a method 'hirescam' of its own: rename the other one"):
        assert catalogue.find("hirescam").__module__ == "pellucid.methods.hirescam"
    text = "entry point 'twice' of zz_one and zz_two was left out: 2 packages use this name, uninstall all but one"
    with pytest.warns(PellucidWarning) as caught, pytest.raises(MethodError):
        catalogue.find("twice")
    assert text in [str(one.message) for one in caught]


RENAMED = "MethodError: zz_rect:Rect registers no method 'rect', but 'rectgrad': give the entry point that name"


@pytest.mark.parametrize(
    ("point", "value", "reason"),
    [
        ("rect", "zz_rect:Rect", RENAMED),
        ("rectgrad", "zz_rect:RectGrad", "AttributeError: module 'zz_rect' has no attribute 'RectGrad'"),
    ],
)
def test_a_broken_method_is_reported_by_any_unknown_name_and_where_methods_are_listed(
    install: Install, point: str, value: str, reason: str
) -> None:
    """The registered name is the one that the plugin's author and users know."""
    install("zz_rect", METHOD.format(name="rectgrad", cls="Rect"), {point: value})
    install("zz_bad", "raise RuntimeError('no licence')", {"bad": "zz_bad"})
    expected = [
        "entry point 'bad' of zz_bad was left out: RuntimeError: no licence",
        f"entry point {point!r} of zz_rect was left out: {reason}",
    ]
    with pytest.warns(PellucidWarning) as caught, pytest.raises(MethodError, match="method 'rectgrad' was asked for"):
        catalogue.find("rectgrad")
    assert [str(one.message) for one in caught] == expected
    listed = CliRunner().invoke(app, ["methods"])
    assert (listed.exit_code, listed.stderr.splitlines()) == (0, [f"warning: {line}" for line in expected])
    assert "rectgrad" not in listed.stdout
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert catalogue.find("gradcam") is GradCAM


def test_a_package_may_ask_for_methods_while_it_is_imported(install: Install) -> None:
    text = METHOD.format(name="plain", cls="Plain") + "\nimport pellucid\nKNOWN = pellucid.available_methods()"
    install("zz_plain", text, {"plain": "zz_plain:Plain"})
    assert "plain" in catalogue.names()
    assert "gradcam" in sys.modules["zz_plain"].KNOWN


def test_a_name_that_no_method_has() -> None:
    with pytest.raises(AttributeError, match=r"module 'pellucid.methods' has no attribute 'GradCAMM'"):
        _ = pellucid.methods.GradCAMM
    assert "GradCAM" in dir(pellucid.methods)
