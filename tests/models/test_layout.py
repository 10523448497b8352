"""Tests of the models package stand where one looks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

import pellucid

SOURCE = Path(pellucid.__file__).parent / "models"
TESTS = Path(__file__).parent


@pytest.mark.parametrize("package", ["session", "discovery", "engine"])
def test_every_module_has_a_test_file_of_its_name_and_every_test_file_a_module(package: str) -> None:
    modules = {path.stem for path in (SOURCE / package).glob("*.py")} - {"__init__"}
    tests = {path.stem.removeprefix("test_") for path in (TESTS / package).glob("test_*.py")}
    assert modules, "the package has moved"
    assert modules - tests == set(), "modules without a test file"
    assert tests - modules == set(), "test files without a module"
