"""The examples in all docstrings run and are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import pellucid
import pellucid.methods

MODULES = [
    module.name
    for module in pkgutil.walk_packages(pellucid.__path__, "pellucid.")
    if not module.name.endswith("__main__")  # importing it runs the command line
]


@pytest.mark.parametrize("name", ["pellucid", *MODULES])
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(pellucid.methods.__path__)])
def test_every_method_has_an_example(name: str) -> None:
    module = importlib.import_module(f"pellucid.methods.{name}")
    assert any(found.examples for found in doctest.DocTestFinder().find(module))
    assert any(source in module.__doc__ for source in ("arXiv", "doi:", "pytorch-grad-cam"))
