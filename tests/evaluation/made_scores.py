"""Scores of findings as they are measured, made without images: the hit rate of each method is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pellucid.evaluation.case import Exclusion
from pellucid.evaluation.measured import THRESHOLDS, Finding, Measured, MetricFacts, Seen

FACTS = {
    "pointing_game": MetricFacts("higher", proportion=True, needs_mask=True),
    "iou": MetricFacts("higher", proportion=False, needs_mask=True),
    "deletion_auc": MetricFacts("lower", proportion=False, needs_mask=False),
    "deletion_auc(baseline=blur)": MetricFacts("lower", proportion=False, needs_mask=False),
    "entropy": MetricFacts(None, proportion=False, needs_mask=False),
}
RATES = {"good": 0.9, "equal": 0.5, "poor": 0.15}
PRIORS = {"mean_mask": 0.5, "centre": 0.4, "random": None}


def made(patients=40, per=1, methods=RATES, priors=PRIORS, seed=0, **changes):
    """Scores of ``patients`` with ``per`` findings each; a prior of rate None has probabilities of a hit."""
    rng = np.random.default_rng(seed)
    whose = [f"P{one:03}" for one in range(patients) for _ in range(per)]
    images = [_seen(f"P{one:03}", index, rng) for index, one in enumerate(range(patients))]
    healthy = [replace(_seen(f"H{one}", one, rng), labels=("none",)) for one in range(25)]
    number = {image.patient: index for index, image in enumerate(images)}
    findings = [_finding(number[patient], images, rng) for patient in whose]
    rates = {**methods, **priors}
    count = len(findings)
    found = Measured(
        images=[*images, *healthy],
        findings=findings,
        methods=tuple(methods),
        priors=tuple(priors),
        metrics=FACTS,
        primary="pointing_game",
        values={target: {name: _columns(rate, count, rng) for name, rate in rates.items()} for target in TARGETS},
        overlaps={name: rng.random((count, len(THRESHOLDS))) for name in rates},
        partners=_partners(whose, rng)[:, None],
        shuffled={name: _hits(0.3, count, rng) for name in rates},
        untrained={name: _hits(0.3, count, rng) for name in methods},
        without=tuple(range(patients, patients + 25)),
        lesion_free={name: {"area": rng.random(25), "at the border": rng.random(25)} for name in rates},
        gates={name: {"smprt": rng.random(7)} for name in methods},
        reasons={"iou": {"the map is constant": 3}},
        excluded=(Exclusion("x.png", "no mask"), Exclusion("y.png", "no mask"), Exclusion("z.png", "cannot be read")),
        given=patients + 28,
        classes=("lesion", "nodule", "none", "never seen"),
        notes=("Patients are those of the column.",),
        provenance={"model": "made", "layers": {"good": ("layer4",)}},
    )
    return replace(found, **changes)


TARGETS = ("label", "predicted")


def _seen(patient, index, rng):
    label = "lesion" if rng.random() < 0.6 else "nodule"
    values = rng.dirichlet([3, 2, 2])
    classes = ("lesion", "nodule", "none")
    probabilities = dict(zip(classes, values.tolist(), strict=True))
    return Seen(
        name=f"{patient}.png",
        patient=patient,
        labels=(label,),
        groups={"scanner": "A" if index % 3 else "B"},
        probabilities=probabilities,
        predicted=max(probabilities, key=probabilities.get),
    )


def _finding(index, images, rng):
    image = images[index]
    label = image.labels[0]
    area = float(rng.beta(1, 15))
    return Finding(index, label, area, image.probabilities[label], image.predicted == label)


def _hits(rate, count, rng):
    return rng.beta(1, 9, count) if rate is None else (rng.random(count) < rate).astype(float)


def _columns(rate, count, rng):
    return {
        "pointing_game": _hits(rate, count, rng),
        "iou": rng.beta(2, 5, count) * (rate or 0.1),
        "deletion_auc": rng.beta(2, 5, count),
        "deletion_auc(baseline=blur)": rng.beta(2, 5, count),
        "entropy": rng.random(count),
    }


def _partners(whose, rng):
    """For each finding one of another patient; −1 where there is none."""
    found = []
    for patient in whose:
        others = [index for index, one in enumerate(whose) if one != patient]
        found.append(int(rng.choice(others)) if others else -1)
    return np.array(found, dtype=np.int64)


def with_primary(measured, method, values, target="label"):
    """The same scores with other values of the primary metric for a method."""
    columns = {name: dict(one) for name, one in measured.values[target].items()}
    columns[method][measured.primary] = np.asarray(values, dtype=float)
    return replace(measured, values={**measured.values, target: columns})
