"""The caption of a map: one text for files and displays."""

from __future__ import annotations

import dataclasses

import torch

import pellucid
from pellucid.core.caption import caption
from pellucid.core.explanation import Explanation
from tests.networks import TinyCNN, images, seeded

NAMES = ["well", "mass", "nodule", "scar"]
WARNING = "AI explanation, not for diagnosis"


def explained(**more: object) -> Explanation:
    found = pellucid.explain(seeded(TinyCNN), images(1), **{"targets": "all", "classes": NAMES, **more})
    return dataclasses.replace(found, logits=torch.tensor([[1.0, 2, 3, 4]]).log())  # probabilities 0.1, 0.2, 0.3, 0.4


def test_the_probability_is_that_of_the_explained_class() -> None:
    found = explained()
    assert caption(found, 0, 1) == f"mass (1) · p = 0.200 · gradcam at features.4 · {WARNING}"
    assert caption(found, 0, 2) == f"nodule (2) · p = 0.300 · gradcam at features.4 · {WARNING}"


def test_each_finding_has_a_probability_of_its_own() -> None:
    """Of a sigmoid: 3 / (1 + 3) for a logit of log 3."""
    found = dataclasses.replace(explained(), head="sigmoid")
    assert caption(found, 0, 2) == f"nodule (2) · p = 0.750 · gradcam at features.4 · {WARNING}"


def test_classes_without_names_and_methods_without_layers() -> None:
    found = explained(classes=None, method="saliency")
    assert caption(found, 0, 3) == f"class 3 · p = 0.400 · saliency · {WARNING}"


def test_a_callable_target_has_no_probability() -> None:
    found = explained(targets=lambda logits: logits[:, 0] - logits[:, 1])
    assert caption(found) == f"callable target · gradcam at features.4 · {WARNING}"


def test_an_empty_map_states_its_reason() -> None:
    found = explained()
    assert caption(found, reason="constant") == (
        f"well (0) · p = 0.100 · gradcam at features.4 · shows nothing: constant · {WARNING}"
    )


def test_a_name_of_any_length_leaves_room_for_the_rest() -> None:
    found = dataclasses.replace(explained(), classes=("x" * 10_000, *NAMES[1:]), layers=("y" * 10_000,))
    text = caption(found)
    assert text == f"{'x' * 99}… (0) · p = 0.100 · {('gradcam at ' + 'y' * 99)[:99]}… · {WARNING}"
