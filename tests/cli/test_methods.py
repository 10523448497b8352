"""``pellucid methods``: every registered method, its paper, its options."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from typer.testing import Result

import pellucid as library
from pellucid.core import gates
from pellucid.core.catalogue import PRIORS

Run = Callable[..., Result]


def test_the_table_has_every_method(pellucid: Run) -> None:
    result = pellucid("methods")
    assert (result.exit_code, result.stderr) == (0, "")
    for name in library.available_methods():
        assert name in result.stdout
    assert "arXiv:1610.02391" in result.stdout
    assert "discard_ratio=0.0" in result.stdout


def test_json(pellucid: Run) -> None:
    found = json.loads(pellucid("methods", "--json").stdout)
    priors = found.pop("priors")
    assert sorted(priors) == PRIORS.names()
    assert priors["random"]["options"] == {"cells": 7, "draws": 100, "draw": 0}
    assert sorted(found) == library.available_methods()
    assert found["rollout"]["options"] == {"head_fusion": "mean", "discard_ratio": 0.0}
    assert found["vargrad"]["options"] == {"method": "saliency", "samples": 16, "noise": 0.15}
    assert all(about["summary"].endswith(".") for about in [*found.values(), *priors.values()])


def test_priors_have_a_table_of_their_own(pellucid: Run) -> None:
    methods, heading, priors = pellucid("methods").stdout.partition("prior (never asks")
    assert heading
    for name in PRIORS.names():
        assert name in priors
        assert f"│ {name} " not in methods


def test_a_method_that_fails_against_random_weights_is_marked(pellucid: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"net": {"gradcam": {"found": "passes", "early": "fails"}, "saliency": {"as it is": "fails"}}}
    monkeypatch.setattr(gates, "_all", lambda: known)
    assert gates.failures("gradcam") == ("early in net",)
    assert (gates.fails_by_default("gradcam"), gates.fails_by_default("saliency")) == (False, True)
    listed = pellucid("methods").stdout
    assert listed.count("FAILS the test against random") == 2
    facts = json.loads(pellucid("methods", "--json").stdout)
    assert facts["gradcam"]["random_weights"] == {"net": {"found": "passes", "early": "fails"}}
    assert facts["rise"]["random_weights"] == {}
    assert "random_weights" not in facts["priors"]["edges"]
