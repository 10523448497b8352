"""The probe has no member that serves one method only, except derivatives of general use."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pellucid.methods
from pellucid.core.probe import Probe

GENERAL = {
    "hvp": "second derivatives",
    "forward_from_layer": "the network from a layer on",
    "differentiable": "metrics",
}
"""Members of use beyond the methods that come with the package, and what for."""


def test_every_member_serves_several_methods_or_everybody() -> None:
    members = [name for name in vars(Probe) if not name.startswith("_")]
    files = [file.read_text(encoding="utf-8") for file in Path(pellucid.methods.__file__).parent.glob("*.py")]
    shared = (Path(inspect.getfile(Probe)).parent / "perturbation.py").read_text(encoding="utf-8")
    uses = {name: sum(bool(re.search(rf"\.{name}\b", text)) for text in files) for name in members}
    several = {name for name in members if uses[name] > 1 or re.search(rf"\.{name}\b", shared)}
    assert set(members) - several <= set(GENERAL)
    assert len(members) <= 14
