"""Registered classes as attributes of their package: the same for every kind of them."""

from __future__ import annotations

import importlib
import sys

import pytest

from pellucid.core.members import Members

PACKAGES = {
    "attacks": ("PGD", "PDG"),
    "changes": ("Noise", "Noize"),
    "methods": ("GradCAM", "GradCAMM"),
    "metrics": ("Deletion", "Deletions"),
    "priors": ("Edges", "Edge"),
}


class First:
    pass


class Other:
    pass


SECOND = type("First", (), {})


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_has_its_classes_and_hints_at_them(name: str) -> None:
    package = importlib.import_module(f"pellucid.{name}")
    right, wrong = PACKAGES[name]
    found = getattr(package, right)
    assert found.__name__ == right
    assert found.__module__.startswith(f"pellucid.{name}.")
    assert {right, "sys"} < set(dir(package))
    assert dir(package) == sorted(set(dir(package)))
    with pytest.raises(AttributeError, match=rf"module 'pellucid.{name}' has no attribute '{wrong}'.*{right}"):
        getattr(package, wrong)
    with pytest.raises(AttributeError, match="has no attribute '_private'"):
        _ = package._private


def test_of_two_classes_of_a_name_the_first_is_the_package_s() -> None:
    members = Members("made", lambda: {"a": First, "b": SECOND, "c": Other})
    assert members.classes() == {"First": First, "Other": Other}
    assert members.find("First", sys._getframe()) is First
    assert members.names(["own", "Other"]) == ["First", "Other", "own"]


def test_a_private_name_is_not_looked_up() -> None:
    members = Members("made", lambda: pytest.fail("the classes were imported"))
    with pytest.raises(AttributeError, match="'made' has no attribute '__wrapped__'"):
        members.find("__wrapped__", sys._getframe())
