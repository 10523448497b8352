"""Evaluations as they may be: small, of 500 cases with images, and with everything missing."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from pellucid.evaluation.evaluation import (
    Calibration,
    ClassQuality,
    Control,
    Evaluation,
    Example,
    Flow,
    Row,
    Stratum,
    Tuned,
)
from pellucid.evaluation.measured import THRESHOLDS
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.statistics import Claim, Interval, Plan, Verdict

PRIORS = ("random", "centre", "edges", "darkest", "brightest", "mean_mask")
CLAIMS = (Claim.BETTER, Claim.NOT_SHOWN, Claim.WORSE, Claim.AS_GOOD)


def share(estimate: float, count: int = 99, patients: int = 75, excluded: int = 0) -> Interval:
    """A share with an interval of the width that so many patients give."""
    half = 1.96 * math.sqrt(estimate * (1 - estimate) / patients)
    return Interval(estimate, max(0.0, estimate - half), min(1.0, estimate + half), count, patients, excluded)


def withheld(count: int = 12, patients: int = 9, reason: str = "fewer than 20 patients") -> Interval:
    return Interval(math.nan, math.nan, math.nan, count, patients, withheld=reason)


def verdict(method: str, claim: Claim, difference: Interval, **more: object) -> Verdict:
    values = {
        Claim.BETTER: (0.0042, 1.0, 0.93),
        Claim.WORSE: (1.0, 0.00004, 0.87),
        Claim.AS_GOOD: (0.41, 0.72, 0.0217),
        Claim.NOT_SHOWN: (0.632, 0.55, 0.118),
    }[claim]
    made = Verdict(method, claim, "mean_mask", difference, *values, cases_needed=386, plan=Plan("mean_mask"))
    return replace(made, **more)


def curve(highest: float) -> list[float]:
    """Overlaps by threshold."""
    return [0.4 - 0.8 * (value - highest) ** 2 for value in THRESHOLDS]


def row(method: str, rate: float, claim: Claim | None, metrics: tuple[str, ...], is_prior: bool = False) -> Row:
    figures = {"pointing_game": share(rate), **{name: share(rate * 0.6) for name in metrics}}
    predicted = {name: share(found.estimate * 0.9, excluded=2) for name, found in figures.items()}
    advantage = rate - 0.616
    apart = Interval(advantage, advantage - 0.11, advantage + 0.11, 99, 75)
    judged = None if claim is None else verdict(method, claim, apart)
    return Row(method, is_prior, {"label": figures, "predicted": predicted}, judged)


def quality(name: str) -> ClassQuality:
    bins = Calibration((0.07, 0.31, 0.52, 0.74, 0.95), (0.1, 0.25, 0.6, 0.8, 0.9), (30, 12, 5, 10, 42), 0.1234, 0.0567)
    roc = ((0.0, 0.0), (0.1, 0.6), (0.3, 0.9), (1.0, 1.0))
    return ClassQuality(name, 48, 51, share(0.9123), bins, roc)


def small(folder: Path | None = None) -> Evaluation:
    """Four methods of which each claim is made once, six priors, 99 findings."""
    metrics = ("iou(threshold=0.3)", "relevance_mass")
    rates = (0.7576, 0.5758, 0.3939, 0.6061)
    methods = ("gradcam", "hirescam", "layercam", "saliency")
    rows = [row(name, rate, claim, metrics) for name, rate, claim in zip(methods, rates, CLAIMS, strict=True)]
    rows += [row(name, 0.12 + 0.099 * index, None, metrics, is_prior=True) for index, name in enumerate(PRIORS)]
    every = [one.method for one in rows]
    heat = {"area": share(0.11, 25, 25), "in the mean mask": share(0.31, 25, 25), "at the border": share(0.22, 25, 25)}
    flow = Flow(
        140, {"the mask is empty": ["a.png", "b.png"], "no such file": ["c.png"]}, 124, 99, 25, 100, {"choose": 12}
    )
    return Evaluation(
        plan=EvaluationPlan(methods=methods, metrics=metrics),
        planned=True,
        plan_digest="ab" * 32,
        flow=flow,
        quality=[quality("benign"), quality("malignant")],
        primary="pointing_game",
        rows=rows,
        tuned=[Tuned(name, share(0.31), (0.3, 0.35, 0.3, 0.4, 0.3)) for name in methods],
        curves={name: curve(0.3 + index / 20) for index, name in enumerate(every)},
        heat=dict.fromkeys(every, heat),
        controls=[
            Control("shuffled masks", "Other patients' masks.", "No method.", dict.fromkeys(every, share(0.3)), ()),
            Control("untrained network", "Random weights.", "No method.", {"gradcam": share(0.3)}, ("gradcam",)),
        ],
        gates={name: {"mprt": share(0.21, 20, 20), "random_logit": share(0.61, 20, 20)} for name in methods},
        strata=[
            *(Stratum("size", part, dict.fromkeys(every, share(0.5, 33, 30))) for part in ("small", "medium", "large")),
            Stratum("hospital", "North", dict.fromkeys(every, withheld())),
        ],
        ranks={name: (1.0 + index, 4.0) for index, name in enumerate(methods)},
        tau={"deletion_auc: zero, blurred": 0.3333},
        examples=examples(folder) if folder is not None else (),
        missing={"relevance_mass": {"the map is empty": 3}},
        notes=["Images of one patient were told by a column."],
        limits=["Only 25 images have no finding."],
        provenance={"model": {"name": "efficientnet_lite0", "layers": ["blocks.6"]}, "versions": {"torch": "2.6"}},
    )  # fmt: skip


def examples(folder: Path, count: int = 3) -> list[Example]:
    """Cases of all kinds, with their images in the folder."""
    (folder / "examples").mkdir(parents=True, exist_ok=True)
    found = []
    for kind in ("best", "worst", "random", "without a finding"):
        for index in range(count):
            file = f"examples/{kind.replace(' ', '-')}-{index}.png"
            radiograph(folder / file, index)
            value = None if kind == "without a finding" else float(kind == "best")
            text = "The outline is the annotated finding."
            found.append(Example(kind, f"{kind} {index}.png", "gradcam", "benign", value, text, file))
    return found


def radiograph(path: Path, seed: int) -> None:
    """A grey image with a map and an outline."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:224, 0:224] / 224
    grey = 90 + 60 * np.sin(6 * rows + seed) + 12 * rng.standard_normal((224, 224))
    heat = np.exp(-((rows - 0.4 - 0.05 * seed) ** 2 + (columns - 0.6) ** 2) / 0.02)
    colours = np.stack([grey + 130 * heat, grey, grey - 60 * heat], axis=2).clip(0, 255).astype(np.uint8)
    image = Pillow.fromarray(colours)
    ImageDraw.Draw(image).ellipse((110, 60, 170, 120), outline="white", width=2)
    image.save(path)


def large(folder: Path) -> Evaluation:
    """500 cases, 15 methods, ten metrics, 12 classes, 60 images, long lists of exclusions."""
    metrics = (*(f"iou(threshold={value / 10:g})" for value in range(1, 10)), "relevance_mass")
    base = small(folder)
    methods = [f"method_{index}" for index in range(15)]
    rows = [row(name, 0.3 + 0.03 * index, Claim.NOT_SHOWN, metrics) for index, name in enumerate(methods)]
    rows += [row(name, 0.12 + 0.099 * index, None, metrics, is_prior=True) for index, name in enumerate(PRIORS)]
    every = [one.method for one in rows]
    excluded = {f"reason {index}": [f"case {index}-{number}.png" for number in range(40)] for index in range(12)}
    return replace(
        base,
        flow=replace(base.flow, given=1000, excluded=excluded, images=500, findings=700, patients=410),
        quality=[quality(f"class {index}") for index in range(12)],
        rows=rows,
        curves={name: curve(0.3) for name in every},
        examples=examples(folder, count=15),
        strata=[Stratum("size", part, dict.fromkeys(every, share(0.5, 200, 130))) for part in "abcdef"],
        gates={name: {f"mprt(layers={index})": share(0.21, 20, 20) for index in range(6)} for name in methods},
        heat=dict.fromkeys(every, base.heat["gradcam"]),
        ranks=dict.fromkeys(methods, (1.0, 15.0)),
    )


def bare() -> Evaluation:
    """One method, no plan, no model, no image without a finding, all intervals withheld."""
    figures = {"label": {"pointing_game": withheld()}}
    rows = [Row("mine", False, figures), Row("mean_mask", True, figures)]
    flow = Flow(12, {}, 12, 12, 0, 9)
    return Evaluation(EvaluationPlan(methods=["mine"]), False, "cd" * 32, flow, [], "pointing_game", rows)


HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"' onload='x",
    "Ärztin, größe; naïve.png",
    "شبكة عصبية",
    "\u202egnp.exe",
    "x" * 200,
    "$\\frac{1}$ {{ 7 * 7 }} {% raw %}",
    "x\ny\x00z\x1b[0m\udcff",
    "画像 🫁",
)


def named(text: str, folder: Path) -> Evaluation:
    """The small evaluation with a text wherever a name or a sentence stands."""
    base = small(folder)
    first = base.rows[0]
    figures = {target: {text: share(0.5), base.primary: share(0.7)} for target in ("label", "predicted")}
    judged = verdict(text, Claim.BETTER, share(0.1), prior=text)
    return replace(
        base,
        plan=replace(base.plan, methods=(text,)),
        plan_digest=text,
        flow=replace(base.flow, excluded={text: [text]}, other_splits={text: 1}),
        quality=[replace(base.quality[0], name=text)],
        rows=[
            replace(first, method=text, figures=figures, verdict=judged),
            Row(text + "3", False, figures, None, text, 2),
            replace(base.rows[-1], method=text + "2"),
        ],
        tuned=[replace(base.tuned[0], method=text)],
        curves={text: base.curves["gradcam"]},
        heat={text: {text: share(0.5)}},
        controls=[
            Control(text, text, text, {text: share(0.5)}, (text,), None, {text: share(0.5)}),
            Control(text, text, text, {}, (), text),
        ],
        gates={text: {text: share(0.5)}},
        strata=[Stratum(text, text, {text: share(0.5)}), Stratum(text, text, {text: withheld()})],
        ranks={text: (1.0, 2.0)},
        tau={text: 0.5},
        examples=[
            Example(text, text, text, text, 0.5, text, text),
            *(replace(one, name=text) for one in base.examples[::3]),
        ],
        missing={text: {text: 3}},
        notes=[text],
        limits=[text],
        provenance={text: {text: [text]}},
    )
