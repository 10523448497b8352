"""The grade of a map in words, and what it is worth: one text for captions, metadata, reports and pages."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch

import pellucid
from pellucid import phantom
from pellucid.core import grade
from pellucid.core.caption import caption
from pellucid.core.explanation import Explanation
from pellucid.core.grade import Worth, caption_text, grade_text, measured_worth, sentence, worth_text
from tests.networks import TinyCNN, images, seeded

ROW = {"auroc": 0.714, "low": 0.68, "high": 0.75, "maps": 900, "misses": 300}
WARNING = "AI explanation, not for diagnosis"


def graded(value: float, worth: object = None) -> Explanation:
    found = pellucid.explain(seeded(TinyCNN).eval(), images(1), targets=1, classes=["a", "mass", "c", "d"])
    more = {**found.provenance, "grade_worth": worth}
    return dataclasses.replace(found, checks={"grade": torch.tensor([[value]])}, provenance=more)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.944, "blurring the marked 2 % takes away 94 % of what blurring the whole image does"),
        (1.3, "blurring the marked 2 % takes away 130 % of what blurring the whole image does"),
        (-0.003, "blurring the marked 2 % takes away 0 % of what blurring the whole image does"),
        (-0.12, "blurring the marked 2 % adds 12 % of what blurring the whole image takes away"),
        (math.nan, "blurring the whole image does not lower the probability by 0.1: no grade"),
    ],
)
def test_a_grade_in_words(value: float, text: str) -> None:
    assert sentence(value, empty=False) == text
    assert grade_text(graded(value)) == text
    assert sentence(value, empty=True) == "the map marks nothing: no grade"


@pytest.mark.parametrize(
    ("limits", "beginning"),
    [
        (
            (0.68, 0.75),
            "on drawn radiographs, a lower grade tells maps whose peak misses with AUROC 0.71 (0.68 to 0.75)",
        ),
        (
            (0.49, 0.75),
            "on drawn radiographs, the grade does not tell maps whose peak misses: AUROC 0.71 (0.49 to 0.75)",
        ),
        ((0.31, 0.4), "on drawn radiographs, maps whose peak misses have higher grades: AUROC 0.71 (0.31 to 0.40)"),
    ],
)
def test_what_a_grade_is_worth_in_words(limits: tuple[float, float], beginning: str) -> None:
    assert Worth(0.714, *limits, 900, 300).text == beginning


def test_a_caption_has_the_grade_and_its_worth() -> None:
    def part(value: float, worth: object = None) -> str:
        (found,) = caption(graded(value, worth)).split(" · ")[3:-1]
        return found

    assert part(0.944) == "blur of the marked 2 %: 94 % of the whole image's (worth not measured here)"
    assert part(0.944, ROW) == "blur of the marked 2 %: 94 % of the whole image's (AUROC for a missed peak 0.71)"
    assert part(math.nan, ROW) == "blurring the whole image does not lower the probability by 0.1: no grade"
    assert caption(graded(0.5)).endswith(WARNING)


def test_what_was_not_asked_for_is_not_said() -> None:
    found = dataclasses.replace(graded(0.5), checks={})
    assert grade_text(found) is caption_text(found) is grade.grade_of(found) is worth_text(found) is None
    assert worth_text(graded(math.nan, ROW)) is None
    assert "blur" not in caption(found)


@pytest.mark.parametrize("stored", [None, "text", {"auroc": 0.7}, {**ROW, "low": "0.6"}, [0.7]])
def test_a_provenance_that_states_no_figures_states_no_worth(stored: object) -> None:
    assert worth_text(graded(0.5, stored)) == "its worth is not measured here"


def test_what_is_stated_is_what_the_file_has(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {**ROW, "auroc": 0.8}
    rows = {"unguided_cnn/gradcam": own, "gradcam": ROW}
    monkeypatch.setattr(grade, "_rows", lambda: rows)
    assert measured_worth("gradcam", "pellucid.phantom:unguided_cnn") == own
    assert measured_worth("gradcam", "pellucid.phantom:cnn") == ROW
    assert measured_worth("rise", "pellucid.phantom:unguided_cnn") is None
    assert measured_worth("gradcam", "torchvision:resnet18") is measured_worth("gradcam", None) is None


def made_sure(found: Explanation) -> Explanation:
    """The same with a grade, whatever the network makes of the image."""
    return dataclasses.replace(found, checks={"grade": torch.full_like(found.checks["grade"], 0.5)})


def test_the_worth_of_both_kinds_of_network() -> None:
    drawn = phantom.exclusive_cnn_64()
    shown = phantom.radiographs(2, 64, seed=1, exclusive=True).images
    values = pellucid.model_info(drawn).preprocessing.normalise(shown)
    own = made_sure(pellucid.explain(drawn, values, targets=0, checks=["grade"]))
    row = json.loads(grade.FILE.read_text(encoding="utf-8"))["gradcam"]
    assert f"AUROC {row['auroc']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in worth_text(own)
    assert "on drawn radiographs" in worth_text(own)
    other = made_sure(pellucid.explain(seeded(TinyCNN).eval(), images(1), checks=["grade"]))
    assert worth_text(other) == "its worth is not measured here"
    assert "grade_worth" not in pellucid.explain(seeded(TinyCNN).eval(), images(1)).provenance


def test_the_worth_is_kept_in_a_file_and_by_selection(tmp_path: object) -> None:
    found = graded(0.5, ROW)
    found.save(f"{tmp_path}/a.npz")
    again = pellucid.load_explanation(f"{tmp_path}/a.npz")
    assert worth_text(again) == worth_text(found) == worth_text(found[0]) == Worth(**ROW).text
    assert grade_text(again) == grade_text(found)
