"""Draws simulated studies: hits and other scores of methods on cases of patients, whose correlations are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """How many patients a study has, the most cases of one (1 to ``most``, all equally likely), and the correlations.

    ``within`` is the correlation of two cases of a patient, ``between`` that of two methods on a case.
    """

    patients: int
    most: int = 1
    within: float = 0.0
    between: float = 0.0

    def cases(self, rng: Generator) -> NDArray[np.intp]:
        """The patient of each case, (N,)."""
        return np.repeat(np.arange(self.patients), rng.integers(1, self.most + 1, size=self.patients))

    def __str__(self) -> str:
        return "1" if self.most == 1 else f"1–{self.most}, correlation {self.within:g}"


def beta_hits(rate: float, patient: NDArray[np.intp], within: float, rng: Generator) -> Array:
    """Hits (N,) whose rate differs between patients, by a beta distribution: two cases correlate by ``within``."""
    rates = np.full(patient.max() + 1, rate)
    if within:
        together = (1 - within) / within
        rates = rng.beta(rate * together, (1 - rate) * together, size=len(rates))
    return (rng.random(len(patient)) < rates[patient]).astype(np.float64)


def uniforms(patient: NDArray[np.intp], count: int, design: Design, rng: Generator) -> Array:
    """Uniform numbers (N, count), of which two of a patient, and two of a case, are equal with given probabilities.

    A number is copied from one of the patient with probability √within, and from one of all methods with probability
    √between: two copies are equal, so U < rate hits with correlation within, and between.
    """
    common = _within(patient, 1, design.within, rng)
    own = _within(patient, count, design.within, rng)
    shared = rng.random((patient.max() + 1, count))[patient] < np.sqrt(design.between)
    return np.where(shared, common, own)


def _within(patient: NDArray[np.intp], count: int, within: float, rng: Generator) -> Array:
    of_patient = rng.random((patient.max() + 1, count))[patient]
    copied = rng.random((len(patient), count)) < np.sqrt(within)
    return np.where(copied, of_patient, rng.random((len(patient), count)))


def joint_hits(rates: Sequence[float], patient: NDArray[np.intp], design: Design, rng: Generator) -> Array:
    """Hits (N, K) of methods with these rates (K,) on the same cases."""
    return (uniforms(patient, len(rates), design, rng) < np.asarray(rates)).astype(np.float64)


def scores(patient: NDArray[np.intp], within: float, rng: Generator) -> Array:
    """Standard normal scores (N,), two of a patient with correlation ``within``."""
    of_patient = rng.normal(size=patient.max() + 1)[patient]
    found: Array = np.sqrt(within) * of_patient + np.sqrt(1 - within) * rng.normal(size=len(patient))
    return found


def skewed(normal: Array, power: float) -> Array:
    """Scores in (0, 1) from standard normal ones: Φ(z)^power, whose mean is 1 / (1 + power)."""
    cumulative: Array = np.asarray(special.ndtr(normal), dtype=np.float64)
    powers: Array = cumulative**power
    return powers


def half_zero(normal: Array) -> Array:
    """Scores of which half are 0 and the others uniform in (0, 1), of mean ¼."""
    cumulative: Array = np.asarray(special.ndtr(normal), dtype=np.float64)
    return np.maximum(0.0, 2 * cumulative - 1)
