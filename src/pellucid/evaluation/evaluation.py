"""``Evaluation``: what a data set shows of maps, as plain values that files and pages are written from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.evaluation.case import Exclusion
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.protocols.chexlocalize import Protocol
from pellucid.evaluation.unit import Unit, unit_of
from pellucid.statistics import Interval, Verdict


@dataclass(frozen=True)
class Flow:
    """The flow of cases: given, excluded, analysed. ``excluded`` maps a reason to the names that it is true of."""

    given: int
    excluded: Mapping[str, Sequence[str]]
    images: int
    findings: int
    lesion_free: int
    patients: int
    other_splits: Mapping[str, int] = field(default_factory=dict)
    """Images of the splits that are not scored, by the split's use: "choose", "calibrate", "none"."""


@dataclass(frozen=True)
class Calibration:
    """A class's calibration: of each bin of predicted probability the mean, the share that has the class, and how many.

    ``brier`` is the mean of (probability − label)², ``error`` the mean distance of the bins' means from their shares,
    weighted by the number of images.
    """

    predicted: Sequence[float]
    observed: Sequence[float]
    counts: Sequence[int]
    brier: float
    error: float


@dataclass(frozen=True)
class Called:
    """The images with and without a class, by whether the model calls it: its probability is above .5."""

    present_called: int
    present_missed: int
    absent_called: int
    absent_not_called: int


@dataclass(frozen=True)
class Confusion:
    """How often images of each annotated class have each predicted one: ``counts[annotated][predicted]``."""

    annotated: Sequence[str]
    predicted: Sequence[str]
    counts: Sequence[Sequence[int]]


@dataclass(frozen=True)
class ClassQuality:
    """How good the model is for one class against all others: the area under its ROC curve, and its calibration.

    ``roc`` holds points (1 − specificity, sensitivity). ``auc`` is None where all or no images have the class.
    ``called`` is stated where classes do not exclude one another.
    """

    name: str
    positive: int
    negative: int
    auc: Interval | None
    calibration: Calibration | None
    roc: Sequence[tuple[float, float]] = ()
    called: Called | None = None


@dataclass(frozen=True)
class Row:
    """A method or prior: a figure of each metric by target ("label", "predicted"), and its verdict.

    ``figures[target][metric]``; of the primary metric on "label" it is what the verdict rests on. A prior has none.
    ``no_verdict`` says why a method has none. ``failed`` is the number of findings on which a method has no value of
    the primary metric, which counts as a miss.
    """

    method: str
    is_prior: bool
    figures: Mapping[str, Mapping[str, Interval]]
    verdict: Verdict | None = None
    no_verdict: str | None = None
    failed: int = 0


@dataclass(frozen=True)
class Spread:
    """The mean of several shuffles' means, with the lowest and the highest of them."""

    mean: float
    lowest: float
    highest: float
    shuffles: int


@dataclass(frozen=True)
class Control:
    """A negative control: figures of the primary metric by method, where no method can know anything.

    ``shown`` are the methods that come out better than, or as good as, priors there; ``expected`` says in a sentence
    what is expected. ``differences`` are of each method on the findings themselves and under the control, finding by
    finding, positive where the method is better than its control. ``spreads`` are of several shuffles, where
    ``figures`` and ``shown`` are of the first.
    """

    name: str
    what: str
    expected: str
    figures: Mapping[str, Interval]
    shown: Sequence[str]
    no_claim: str | None = None
    differences: Mapping[str, Interval] = field(default_factory=dict)
    spreads: Mapping[str, Spread] = field(default_factory=dict)


@dataclass(frozen=True)
class Stratum:
    """A part of the findings, by size, confidence or a column of the data set; figures of the primary by method.

    Parts with fewer than 20 patients have their count only.
    """

    kind: str
    name: str
    figures: Mapping[str, Interval]


@dataclass(frozen=True)
class Example:
    """A case that is shown as an image. ``kind`` is "best", "worst", "random" or "without a finding".

    ``file`` is relative to the report's folder; ``value`` is that of the primary metric.
    """

    kind: str
    name: str
    method: str
    label: str
    value: float | None
    text: str
    file: str | None = None


@dataclass(frozen=True)
class Tuned:
    """A threshold that was tuned on other patients: the overlap with it, and the thresholds of the folds.

    ``chosen_on`` is the number of findings of the plan's choose split that the one threshold was chosen on; 0 where
    there were folds.
    """

    method: str
    overlap: Interval
    thresholds: Sequence[float]
    chosen_on: int = 0


@dataclass(frozen=True)
class Evaluation:
    """All that a report states, in its order. ``write`` makes files of it.

    ``plan_digest`` is the SHA-256 of the plan's file, or of the settings where none was given (``planned`` is False).
    ``confusion`` is of classes that exclude one another. ``curves[method]`` is the mean overlap at each of
    ``measured.THRESHOLDS``. ``heat[method]`` says where the heat goes on images without a finding, ``even`` where it
    would go if it were spread evenly. ``tau`` is Kendall's between faithfulness under two baselines, by the names of
    the two; ``ranks`` the best and worst rank of each method among the metrics. ``limits`` are sentences on what these
    cases cannot answer.
    """

    plan: EvaluationPlan
    planned: bool
    plan_digest: str
    flow: Flow
    quality: Sequence[ClassQuality]
    primary: str
    rows: Sequence[Row]
    tuned: Sequence[Tuned] = ()
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    heat: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    even: Mapping[str, float] = field(default_factory=dict)
    controls: Sequence[Control] = ()
    gates: Mapping[str, Mapping[str, Interval]] = field(default_factory=dict)
    strata: Sequence[Stratum] = ()
    ranks: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tau: Mapping[str, float] = field(default_factory=dict)
    examples: Sequence[Example] = ()
    patients_stated: bool = True
    """As in ``Measured``."""
    confusion: Confusion | None = None
    missing: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    limits: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """As in ``Measured``."""
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    """The figures of a published recipe by method, where it was asked for."""
    scores: Sequence[Mapping[str, Any]] = ()
    """The rows of scores.csv: one a finding, target and method, with the metrics as columns."""
    failures: Sequence[Exclusion] = field(default=(), compare=False, repr=False)
    """The images and masks that are broken or do not fit, with paths: no file has them."""

    @property
    def unit(self) -> Unit:
        """What the units of all statistics are called."""
        return unit_of(self.patients_stated)
