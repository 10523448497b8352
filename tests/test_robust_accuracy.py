"""``benchmarks.robust_accuracy``: what is counted, kept and tabulated, on a few images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from benchmarks import results, robust_accuracy
from benchmarks.robust_accuracy import L2, LINF, Subject, cells, measure, page

import pellucid
from pellucid import phantom
from pellucid.phantom.training import normalised

COUNT = 6


@pytest.fixture
def subject(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Subject:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(robust_accuracy, "GRADIENTS", 8)
    made = phantom.radiographs(COUNT, 64, 5, exclusive=True)
    labels = made.classes.tolist()
    labels[0] = (labels[0] + 1) % 4  # one answer is wrong from the start
    return Subject(phantom.exclusive_cnn_64, lambda: (normalised(made.images), labels), (0.001, 8))


def test_answers_that_are_right_and_hold_are_counted(subject: Subject) -> None:
    stored: robust_accuracy.Counts = {}
    measure("net", subject, stored)
    assert set(stored) == {f"net/{budget}/{attack}" for budget in ("0.001", "8") for attack in (*LINF, L2)}
    right = {key: counts[1:] for key, counts in stored.items()}
    with torch.no_grad():
        images, labels = subject.images()
        expected = int((phantom.exclusive_cnn_64()(images).argmax(1) == torch.tensor(labels)).sum())
    assert set(map(tuple, right.values())) == {(expected, COUNT)}
    assert expected < COUNT
    assert all(stored[f"net/0.001/{attack}"][0] == expected for attack in LINF)
    assert stored["net/8/PGD"][0] < expected
    assert results.read("robust_accuracy") == stored


def test_what_was_measured_is_not_measured_again(subject: Subject) -> None:
    stored = {f"net/{budget}/{attack}": [1, 2, 3] for budget in ("0.001", "8") for attack in (*LINF, L2)}
    before = dict(stored)
    measure("net", subject, stored)
    assert stored == before


def test_budgets_are_those_of_pixels(subject: Subject) -> None:
    made = {(name, budget): attack for name, budget, attack in cells(subject, 400)}
    assert made["PGD", 8] == pellucid.attacks.PGD(8 / 255, steps=8)
    assert made["APGD-DLR", 8] == pellucid.attacks.APGDDLR(8 / 255, steps=7)
    assert made[L2, 8] == pellucid.attacks.PGDL2(8 / 255 * 10, steps=8)


def test_rows_are_by_network_and_budget() -> None:
    stored = {"net/10/FGSM": [1, 9, 10], "net/2/FGSM": [5, 9, 10], "net/2/PGD": [4, 9, 10]}
    first, second = page(stored).splitlines()[2:]
    assert first == "| net | 2 | 10 | 0.90 | 0.50 | 0.40 |  |  |  |"
    assert second == "| net | 10 | 10 | 0.90 | 0.10 |  |  |  |  |"
