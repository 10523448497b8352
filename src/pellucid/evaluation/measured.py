"""What was measured of a data set, before any statistics: a value for each finding, method and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.evaluation.case import Exclusion

Column = npt.NDArray[np.float64]
"""A value for each finding (N,), or for each image without one (M,); NaN where there is none."""
THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""The thresholds .05 … .95 at which the overlap of maps with findings is measured, to tune one on other patients."""


@dataclass(frozen=True)
class Seen:
    """An image that was analysed. ``probabilities`` are the model's, by class; None without a model.

    ``labels`` and ``predicted`` are names of the model's classes; without a model those of the data set.
    """

    name: str
    patient: str
    labels: tuple[str, ...] | None = None
    split: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    probabilities: Mapping[str, float] | None = None
    predicted: str | None = None


@dataclass(frozen=True)
class Finding:
    """A finding that maps are scored on. ``image`` is the index into ``Measured.images``.

    ``label`` is its annotated class, ``area`` the share of the model's input that it covers. ``probability`` is that of
    the annotated class, ``is_called`` whether the model detects it: it is the predicted class, or above .5 where
    classes are independent; None without a model.
    """

    image: int
    label: str
    area: float
    probability: float | None = None
    is_called: bool | None = None


@dataclass(frozen=True)
class MetricFacts:
    """What has to be known of a metric: ``better`` is "higher", "lower" or None."""

    better: str | None
    proportion: bool
    needs_mask: bool


@dataclass(frozen=True, eq=False)
class Measured:
    """The values of all findings and images, by method. N findings, M images without a finding.

    ``values[target][method][metric]`` is (N,), where ``target`` is "label" (the maps explain the annotated class) or
    "predicted"; methods here include the priors. ``primary`` is the name of the primary metric among them; of the mean
    mask every map is made from other patients' masks. ``overlaps[method]`` (N, thresholds) is the IoU at each of
    ``THRESHOLDS``, of the maps of the annotated class; ``chosen[method]`` (C, thresholds) is the same of the C findings
    of the plan's choose split, of which nothing else is measured.

    Negative controls, of the primary metric and maps of the annotated class: ``shuffled[method]`` (N,) scores each map
    on the mask of a finding of another patient, whose index is in ``partner`` (N,) (−1: there is none), the first of
    ``partners`` (N, shuffles); ``reshuffled[method]`` (N, shuffles) does so for each of them, of methods alone, with
    the first among them; ``untrained`` scores the maps of the same network with random weights.

    ``lesion_free[method][what]`` (M,) says where the heat goes on images without a finding, whose indices are in
    ``without`` (M,): "area" is the share of the image at .5 or above, "in the mean mask" the share of the heat where
    findings usually are, "at the border" the share in the outer tenth of each side. ``even[what]`` (M,) is the
    same of heat that is spread evenly over the image. ``gates[method][metric]`` holds the values of randomisation
    metrics, of a few findings.
    """

    images: Sequence[Seen]
    findings: Sequence[Finding]
    methods: Sequence[str]
    priors: Sequence[str]
    metrics: Mapping[str, MetricFacts]
    primary: str
    values: Mapping[str, Mapping[str, Mapping[str, Column]]]
    overlaps: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    chosen: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    partners: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 1), dtype=np.int64))
    shuffled: Mapping[str, Column] = field(default_factory=dict)
    reshuffled: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    untrained: Mapping[str, Column] = field(default_factory=dict)
    without: Sequence[int] = ()
    lesion_free: Mapping[str, Mapping[str, Column]] = field(default_factory=dict)
    even: Mapping[str, Column] = field(default_factory=dict)
    gates: Mapping[str, Mapping[str, Column]] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By metric, why values are missing, and how often, over all methods and targets."""
    excluded: Sequence[Exclusion] = ()
    given: int = 0
    """The cases that the data set names."""
    classes: Sequence[str] | None = None
    multilabel: bool = False
    patients_stated: bool = True
    """Whether the patient of every image is stated; else ``Seen.patient`` may be a group of images that are alike."""
    notes: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Model, layers by method, head, preprocessing, versions, data set: what the report states at its end."""

    @property
    def partner(self) -> npt.NDArray[np.int64]:
        """The partner (N,) of each finding in the first shuffle."""
        return self.partners[:, 0]
