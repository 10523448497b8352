"""Writes tests/statistics/oracles.json: what statsmodels and scikit-learn compute, which the tests do not install.

``python -m scripts.statistics_oracles`` needs statsmodels >= 0.14 and scikit-learn >= 1.5.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import statsmodels
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

PATH = Path(__file__).parents[1] / "tests" / "statistics" / "oracles.json"
COUNTS = ((9, 10), (61, 99), (49, 50), (0, 25), (200, 200))
DISCORDANT = ((12, 3), (7, 7), (1, 9), (25, 14), (4, 0))


def main() -> None:
    """Compute the values and write them."""
    rng = np.random.default_rng(7)
    p_values = rng.random(15) ** 4
    hits = rng.random(60) < 0.6
    scores = np.round(rng.normal(size=60) + hits, 1)  # with ties
    found: dict[str, Any] = {
        "versions": {"statsmodels": statsmodels.__version__, "scikit-learn": sklearn.__version__},
        "clopper_pearson": [[*pair, *map(float, proportion_confint(*pair, 0.05, method="beta"))] for pair in COUNTS],
        "exact_mcnemar": [[b, c, float(mcnemar([[0, b], [c, 0]], exact=True).pvalue)] for b, c in DISCORDANT],
        "holm": {"p": p_values.tolist(), "adjusted": multipletests(p_values, method="holm")[1].tolist()},
        "auroc": {"scores": scores.tolist(), "hits": hits.tolist(), "area": float(roc_auc_score(hits, scores))},
    }
    PATH.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
