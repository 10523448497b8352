"""Tuning: what is tried, what is kept, and when "auto" uses it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid.core.catalogue import find
from pellucid.errors import OptionError, PellucidError, WriteError
from pellucid.run import tuned
from pellucid.run.tuned import Trial, remember, remembered
from pellucid.run.tuning import agreement, best, trials
from tests.networks import TinyCNN, images, seeded

GRADCAM = find("gradcam")()
PLAIN = pellucid.Runtime()
FAST = Trial("bfloat16", channels_last=True, compile=False, time=0.5, forward=0.4, agreement=0.9995)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own for what is kept."""
    monkeypatch.setattr(tuned.platformdirs, "user_cache_path", lambda name: tmp_path / name)
    return tmp_path / "pellucid" / "tuned"


def auto(**options: object) -> pellucid.Runtime:
    return pellucid.Runtime(precision="auto", **options)


def test_everything_is_tried_and_float32_first() -> None:
    model = seeded(TinyCNN).eval()
    tried = list(trials(model, images(2), GRADCAM, PLAIN, seconds=math.inf))
    assert tried[0] == Trial("float32", channels_last=False, compile=False, time=1.0, forward=1.0, agreement=1.0)
    ways = [(trial.precision, trial.channels_last, trial.compile) for trial in tried]
    assert len(set(ways)) == len(ways)
    assert set(ways[:4]) == {(name, last, False) for name in ("float32", "bfloat16") for last in (False, True)}
    assert all(trial.compile for trial in tried[4:])
    assert tried[1].agreement > 0.9999  # float32, channels last
    assert all(trial.time > 0 and trial.forward > 0 for trial in tried if not trial.error)


def test_nothing_is_begun_when_the_time_is_over() -> None:
    assert len(list(trials(seeded(TinyCNN).eval(), images(1), GRADCAM, PLAIN, seconds=0))) == 1


def test_what_fails_is_told_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    explain = pellucid.Explainer.__call__

    def failing(explainer: pellucid.Explainer, *arguments: object) -> pellucid.Explanation:
        if explainer.runtime.precision == "bfloat16" or explainer.runtime.compile:
            raise RuntimeError("no such kernel\nmore")
        return explain(explainer, *arguments)

    monkeypatch.setattr(pellucid.Explainer, "__call__", failing)
    tried = list(trials(seeded(TinyCNN).eval(), images(1), GRADCAM, PLAIN, seconds=math.inf))
    assert {trial.error for trial in tried if trial.precision == "bfloat16"} == {"no such kernel"}
    assert best(tried).precision == "float32"


def test_the_fastest_that_agrees_is_best() -> None:
    slow, wrong = Trial("float32", False, False, 1.0, 1.0, 1.0), Trial("float16", False, False, 0.1, 0.1, 0.99)
    assert best([slow, wrong, FAST]) is FAST
    assert best([slow, wrong]) is slow


def test_agreement_is_that_of_the_worst_image() -> None:
    model = seeded(TinyCNN).eval()
    one = pellucid.explain(model, images(3), targets=1)
    assert agreement(one, one) == pytest.approx(1)
    other = pellucid.explain(model, torch.cat([images(2), images(3)[2:].flip(-1)]), targets=1)
    flat = torch.stack([one.heatmaps[2, 0].flatten(), other.heatmaps[2, 0].flatten()])
    assert agreement(other, one) == pytest.approx(float(torch.corrcoef(flat)[0, 1]), abs=1e-5)


def test_empty_maps_agree_with_empty_maps_alone() -> None:
    model = seeded(TinyCNN).eval()
    with torch.no_grad():
        model.fc.weight.zero_()
    empty = pellucid.explain(model, images(2), targets=1)
    assert empty.degenerate.all()
    assert agreement(empty, empty) == 1
    assert agreement(pellucid.explain(seeded(TinyCNN).eval(), images(2), targets="all"), empty) == 0


def test_auto_is_float32_where_nothing_was_measured() -> None:
    found = pellucid.explain(seeded(TinyCNN).eval(), images(1), runtime=auto())
    assert found.provenance["runtime"]["precision"] == "float32"
    assert found.provenance["agreement_with_float32"] is None


def test_auto_is_what_was_kept() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    remember(model, GRADCAM, PLAIN, FAST)
    found = pellucid.explain(model, batch, targets=1, runtime=auto(batch_size=5))
    runtime = found.provenance["runtime"]
    assert (runtime["precision"], runtime["channels_last"], runtime["batch_size"]) == ("bfloat16", True, 5)
    assert found.provenance["agreement_with_float32"] == 0.9995
    same = pellucid.explain(model, batch, targets=1, runtime=pellucid.Runtime(precision="bfloat16", channels_last=True))
    assert torch.equal(found.heatmaps, same.heatmaps)


def test_auto_is_for_this_model_and_method_and_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(TinyCNN).eval()
    remember(model, GRADCAM, PLAIN, FAST)
    assert remembered(seeded(TinyCNN).eval(), GRADCAM, PLAIN) == FAST  # the same weights
    assert remembered(torch.nn.DataParallel(model), GRADCAM, PLAIN) == FAST
    assert remembered(seeded(TinyCNN, 2, 5).eval(), GRADCAM, PLAIN) is None
    assert remembered(model, find("gradcam++")(), PLAIN) is None
    with torch.no_grad():
        model.fc.weight.mul_(1.5)
    assert remembered(model, GRADCAM, PLAIN) is None
    with torch.no_grad():
        model.fc.weight.copy_(seeded(TinyCNN).fc.weight)
    assert remembered(model, GRADCAM, PLAIN) == FAST
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    assert remembered(model, GRADCAM, PLAIN) is None


@pytest.mark.parametrize(
    "change",
    [{"agreement": 0.9}, {"agreement": "much"}, {"agreement": None}, {"precision": "float8"}, {"precision": ["x"]}],
)
def test_a_file_that_does_not_fit_is_as_good_as_none(kept: Path, change: dict[str, object]) -> None:
    model = seeded(TinyCNN).eval()
    path = remember(model, GRADCAM, PLAIN, FAST)
    assert path.parent == kept
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert remembered(model, GRADCAM, PLAIN) is None
    for text in ("", "[]", "{}", "null", "\x00"):
        path.write_text(text)
        assert remembered(model, GRADCAM, PLAIN) is None


def test_where_nothing_can_be_kept(kept: Path) -> None:
    kept.parent.mkdir(parents=True)
    kept.write_text("a file")
    with pytest.raises(WriteError, match="cannot be written to"):
        remember(seeded(TinyCNN).eval(), GRADCAM, PLAIN, FAST)


def test_other_precisions_are_refused() -> None:
    with pytest.raises(OptionError, match="auto"):
        pellucid.Runtime(precision="automatic")
    assert issubclass(OptionError, PellucidError)
