"""The benchmarks of metrics, on small calls; no test depends on how long a call takes."""

from __future__ import annotations

import math

import pytest
from benchmarks import evaluation, oracles, results
from benchmarks.evaluation import Case, Pair, Row
from benchmarks.measuring import Ratio

from pellucid import metrics as m
from tests.networks import TinyCNN, seeded


def test_rows_are_written_read_and_kept(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(evaluation, "FOLDER", tmp_path)
    monkeypatch.setattr(evaluation, "in_new_process", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(evaluation, "ratio", lambda base, call, pairs: Ratio(float(base()), float(call()), pairs))
    slow = Case("slow", "passes", 1.15, lambda: Pair(lambda: 1.2, lambda: 1.1))
    like = Case("like", "a library", 0.6, lambda: Pair(lambda: 0.5, lambda: 0.4, 1e-6))
    absent = Case("absent", "no library", 0.6, lambda: pytest.fail("it was measured"), "no_such_library")
    monkeypatch.setattr(evaluation, "CASES", (absent, slow, like))
    evaluation.main(pairs=3, only="like")
    assert set(evaluation._read()) == {"like"}
    evaluation.main(pairs=3)
    assert set(evaluation._read()) == {"slow", "like"}
    rows = evaluation._read()
    assert rows["slow"] == Row("slow", "passes", 1.15, Ratio(1.2, 1.1, 3.0), None)
    assert rows["like"] == Row("like", "a library", 0.6, Ratio(0.5, 0.4, 3.0), 1e-6)
    page = (tmp_path / "evaluation.md").read_text()
    assert "| slow | passes | 1.20 (1.10–3.00) **!** | 1.15 |  |" in page
    assert "| like | a library | 0.50 (0.40–3.00) | 0.60 | 1.0e-06 |" in page


def test_a_metric_is_compared_with_the_passes_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(TinyCNN).eval()
    seen: list[int] = []
    model.features[0].register_forward_hook(lambda _module, _inputs, output: seen.append(len(output)))
    monkeypatch.setattr(evaluation, "network", lambda: model)
    monkeypatch.setattr(evaluation, "SIDE", 32)
    monkeypatch.setattr(evaluation, "IMAGES", 4)
    pair = evaluation.passes(m.Deletion(3), 4)
    pair.base()
    assert seen == [4] * 4
    pair.call()
    seen.clear()
    pair.call()
    assert sum(seen) <= 4 * 4 + 1


def test_every_call_of_the_table_has_its_own_name() -> None:
    assert len({case.call for case in evaluation.CASES}) == len(evaluation.CASES)
    assert evaluation.maps(2).shape == (2, 224, 224)


def test_the_table_of_oracles(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    row = oracles.Compared("iou", "another", 100, 2e-7)
    monkeypatch.setattr(oracles, "families", lambda: ["some"])
    monkeypatch.setattr(
        oracles, "import_module", lambda name: {"benchmarks.some": type("", (), {"rows": lambda: [row]})}[name]
    )
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    oracles.main(write=True)
    assert (tmp_path / "oracles.md").read_text().splitlines()[-1] == "| iou | another | 100 | 2.0e-07 | equal |"


def test_differences() -> None:
    assert oracles.largest([1.0, math.nan], [1.5, math.nan]) == 0.5
    assert oracles.largest([0.0, math.nan], [0.0, 0.0]) == math.inf
    assert "oracles_faithfulness" in oracles.families()
