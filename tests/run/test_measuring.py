"""A metric's values: what is counted as missing, and that neither batches nor other images matter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import pellucid
from pellucid import metrics as m
from pellucid.core.metric import NO_SCORE, NOT_FINITE, Metric, Values
from pellucid.core.replacement import NOT_LOWERED
from tests.networks import images
from tests.run.judged import QUICK, evaluated, maps


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_maps_that_are_not_finite_are_counted_and_touch_no_other(value: float) -> None:
    broken = maps()
    broken[1, 0, 3, 4] = value
    clean, found = evaluated(metrics=QUICK), evaluated(explanation=broken, metrics=QUICK)
    for name in clean:
        assert found.reasons[name] == ((None,), (NOT_FINITE,), (None,))
        assert found.missing(name) == {NOT_FINITE: 1}
        assert torch.equal(found[name][::2], clean[name][::2])
    assert f"1: {NOT_FINITE}" in found.table()


def test_images_whose_score_is_not_finite_are_counted() -> None:
    batch = images()
    batch[2, 0, 1, 1] = math.nan
    found = evaluated(images=batch, metrics=QUICK, targets=0)
    for name in found:
        assert found.reasons[name] == ((None,), (None,), (NO_SCORE,)), name


@pytest.mark.parametrize("size", [1, 2, 5, 7, 13])
def test_values_do_not_depend_on_the_batch_size(size: int) -> None:
    def values(batch_size: int) -> pellucid.Scores:
        return evaluated(
            explanation=maps(3, 2),
            targets=torch.tensor([[0, 1], [2, 0], [3, 1]]),
            metrics=(*QUICK, m.ReplacementDrop(0.1, m.References(images(6)[3:], draws=2))),
            runtime=pellucid.Runtime(batch_size=batch_size),
        )

    whole, split = values(64), values(size)
    for name in whole:
        scale = 1e-6 if "correlation" not in name and "sensitivity" not in name else 2e-4  # of tiny falls
        torch.testing.assert_close(split[name], whole[name], rtol=0, atol=scale)
        assert split.reasons[name] == whole.reasons[name]
    some = whole.notes["deletion_auc(steps=3)"]
    assert all(torch.equal(split.notes["deletion_auc(steps=3)"][note], cases) for note, cases in some.items())
    assert tuple(some[NOT_LOWERED].shape) == (3, 2)


def test_values_of_one_image_do_not_depend_on_the_others() -> None:
    whole = evaluated(metrics=QUICK)
    alone = evaluated(images=images()[1:2], explanation=maps()[1:2], metrics=QUICK)
    for name in whole:
        torch.testing.assert_close(alone[name][0], whole[name][1], rtol=1e-4, atol=1e-6)


def test_notes_are_counted_in_the_table() -> None:
    @dataclass(frozen=True)
    class Noted(Metric):
        name = "noted"

        def update(self, cases: Any) -> Values:
            values = torch.arange(float(len(cases.maps)))
            return Values(values, {"odd": values % 2 == 1}, notes={"small": values < 2, "huge": values > 9})

    found = evaluated(metrics=[Noted()])
    assert found.notes["noted"]["small"].tolist() == [[True], [False], [False]], "not of a case without a value"
    header, row = found.table().splitlines()
    assert header.split("  ")[0] == "metric"
    cells = [part.strip() for part in row.split("  ") if part.strip()]
    assert cells == ["noted", "1", "fewer than 20 patients", "2", "1: odd", "1: small"]
    assert evaluated().table().splitlines()[1].split()[:2] == ["deletion_auc(steps=2)", row_of(evaluated())[0]]


def row_of(scores: pellucid.Scores) -> list[str]:
    return [f"{scores.figure('deletion_auc(steps=2)'):.4g}", "3"]
