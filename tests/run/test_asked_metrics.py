"""The metrics of a call: by name or as they are."""

from __future__ import annotations

import pytest

from pellucid import metrics as m
from pellucid.core.metric import METRICS
from pellucid.errors import OptionError
from tests.run.judged import evaluated


def test_names_and_metrics_may_be_mixed() -> None:
    found = evaluated(metrics=("deletion_auc", m.Deletion(2), m.Deletion(2), "insertion_auc"))
    assert list(found) == ["deletion_auc", "deletion_auc(steps=2)", "insertion_auc"]
    assert METRICS.build("deletion_auc", {"steps": "2", "baseline": "blur"}) == m.Deletion(2, "blur")
    with pytest.raises(OptionError, match="baseline='noise' was set"):
        METRICS.build("deletion_auc", {"baseline": "noise"})
