"""What can be said of methods beside priors, which never see the image: better, worse, as good, or not shown."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from numbers import Real

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import named, names_of, numbers
from pellucid.statistics.distributions import Array
from pellucid.statistics.equivalence import MARGIN, difference, equivalent
from pellucid.statistics.intervals import Interval
from pellucid.statistics.paired import compare
from pellucid.statistics.power import DIFFERENCE, LEVEL, cases_needed_by
from pellucid.statistics.samples import Patients, checked, checked_share, is_binary


class Claim(StrEnum):
    """What the data show of a method."""

    BETTER = "better than every prior"
    WORSE = "worse than the named prior"
    AS_GOOD = "as good as the named prior"
    NOT_SHOWN = "not shown"


@dataclass(frozen=True)
class Plan:
    """What is fixed before the scores are seen.

    ``named`` is the prior that "worse" and "as good" are about. ``margin`` is the difference that does not matter, and
    ``detectable`` the one for which the cases needed are stated, both in the units of the scores: of hits, shares, so
    that 0.1 is ten points. ``level`` is the one-sided level of each family of claims.

    Raises:
        OptionError: ``level`` is not between 0 and 1, or another number is not above 0 and finite.
    """

    named: str
    margin: float = MARGIN
    detectable: float = DIFFERENCE
    level: float = LEVEL

    def __post_init__(self) -> None:
        for name in ("margin", "detectable", "level"):
            value = getattr(self, name)
            is_number = isinstance(value, Real) and not isinstance(value, bool)
            if not is_number or (name != "level" and not 0 < value < math.inf):
                raise OptionError(f"{name}={value!r} was given; write a number above 0, as in {name}=0.1")
        checked_share("level", self.level)

    def check_shares(self) -> None:
        """Raise ``OptionError`` where a difference is none that shares can have."""
        for name in ("margin", "detectable"):
            if getattr(self, name) >= 1:
                raise OptionError(
                    f"{name}={getattr(self, name):g} was given, and the scores are hits; it is a share, below 1: write "
                    f"{name}=0.1 for 10 points"
                )


@dataclass(frozen=True)
class Verdict:
    """What is shown of one method, with the numbers that it rests on; ``str()`` says it in words.

    ``better``, ``worse`` and ``as_good`` are p-values, each adjusted over the methods (Holm). ``prior`` is the one that
    the words are about: the named one for "worse" and "as good", the one with the nearest mean for "better", else the
    one with the largest p-value. ``difference``
    is the method's mean minus that prior's, with a 95 % interval that is not adjusted. ``cases_needed`` is how many
    cases a true difference of ``plan.detectable`` to that prior needs; None with fewer than two patients.
    """

    method: str
    claim: Claim
    prior: str
    difference: Interval
    better: float
    worse: float
    as_good: float
    cases_needed: int | None
    plan: Plan

    def __str__(self) -> str:
        return f"{self.method}: {_WORDS[self.claim].format(self=self, by=self._by(), needed=self._needed())}"

    def _by(self) -> str:
        return str(self.difference) if self.difference.withheld is not None else f"by {self.difference}"

    def _needed(self) -> str:
        if self.cases_needed is None:
            return "fewer than two patients have a score"
        return f"a difference of {self.plan.detectable:g} needs about {self.cases_needed} cases"


_WORDS: Mapping[Claim, str] = {
    Claim.BETTER: "better than every prior (closest: {self.prior}, {by}; p = {self.better:.2g})",
    Claim.WORSE: "worse than {self.prior} ({by}; p = {self.worse:.2g})",
    Claim.AS_GOOD: "as good as {self.prior} within {self.plan.margin:g} ({self.difference}; p = {self.as_good:.2g})",
    Claim.NOT_SHOWN: "better than {self.prior} is not shown ({self.difference}; p = {self.better:.2g}); {needed}",
}


def holm(values: ArrayLike) -> Array:
    """p-values (K,), adjusted so that the chance of any false alarm is at most the level (Holm 1979).

    In increasing order, p₍ₖ₎ becomes max over j ≤ k of (K − j + 1) p₍ⱼ₎, at most 1. It holds whatever their dependence.

    >>> holm([0.01, 0.04, 0.03])
    array([0.03, 0.06, 0.06])

    Raises:
        OptionError: a value is not from 0 to 1.
        ShapeError: they are not (K,) numbers.
    """
    found = numbers("p-values", values)
    if not ((found >= 0) & (found <= 1)).all():
        raise OptionError(f"p-values must be from 0 to 1, got {found.tolist()}")
    order = np.argsort(found, kind="stable")
    raised = np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1))
    adjusted = np.empty_like(found)
    adjusted[order] = np.minimum(raised, 1.0)
    return adjusted


def verdicts(
    methods: Mapping[str, ArrayLike],
    priors: Mapping[str, ArrayLike],
    plan: Plan,
    *,
    generator: Generator,
    patients: Patients = None,
) -> tuple[Verdict, ...]:
    """What the scores (N,) of the same cases show of each method; larger is better.

    - **Better than every prior**: the largest of the one-sided p-values against the priors, so that no prior is chosen
      by its result (Berger 1982, doi:10.1080/00401706.1982.10487790); Holm over the methods.
    - **Worse than the named prior**: its one-sided p-value; Holm over the methods. Were the best of several priors
      taken from the same data, this would be found too often.
    - **As good as the named prior**: two one-sided tests with the margin (``equivalent``); Holm over the methods.
    - Else **not shown**, with the cases that a true difference of ``plan.detectable`` needs at the strictest step of
      Holm and a power of 0.8.

    Each of the three is a family of its own. The first that is shown, in this order, is the claim. ``compare`` says
    which test is used; a prior's scores may be expected hits.

    >>> rng = np.random.default_rng(0)
    >>> mask, method = rng.random(100) < 0.4, rng.random(100) < 0.8
    >>> for verdict in verdicts({"gradcam": method}, {"mean mask": mask}, Plan("mean mask"), generator=rng):
    ...     print(verdict)
    gradcam: better than every prior (closest: mean mask, by 0.380 (0.258 to 0.492); p = 9.2e-09)

    Raises:
        OptionError: the named prior is not among the priors, there are no methods, a number is out of its range, or
            the scores are hits and ``margin`` or ``detectable`` is 1 or more.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    if not isinstance(plan, Plan):
        raise OptionError(f"plan must be a Plan, such as Plan('mean mask'), got {plan!r}")
    if plan.named not in named("priors", priors) or not named("methods", methods):
        given = f"{len(methods)} methods, the priors {', '.join(priors) or 'none'}, and the named one {plan.named!r}"
        raise OptionError(f"at least one method, and a named prior among the priors, are needed; got {given}")
    whose = None if patients is None else names_of("patients", patients)
    kinds = {"the method": methods, "the prior": priors}
    checked({f"{kind} {name!r}": scores for kind, each in kinds.items() for name, scores in each.items()}, whose)
    if _are_hits(methods.values(), priors.values()):
        plan.check_shares()
    family = _Family(priors, plan, whose, generator, len(methods))
    found = [family.compared(scores) for scores in methods.values()]
    adjusted = np.stack([holm(column) for column in np.array([one.values for one in found]).T], axis=1)
    return tuple(
        family.verdict(method, scores, one, values.tolist())
        for (method, scores), one, values in zip(methods.items(), found, adjusted, strict=True)
    )


def _are_hits(methods: Iterable[ArrayLike], priors: Iterable[ArrayLike]) -> bool:
    """Whether scores are hits: those of methods 0 and 1, and those of priors, which may be expected, within these."""
    own, other = (np.concatenate([np.ravel(np.asarray(one, np.float64)) for one in each]) for each in (methods, priors))
    known, expected = own[~np.isnan(own)], other[~np.isnan(other)]
    return bool((known == 1).any()) and is_binary(known) and bool(((expected >= 0) & (expected <= 1)).all())


@dataclass(frozen=True)
class _Found:
    """The prior with the largest p-value, the one with the nearest mean, and the p-values of better, worse, as good."""

    hardest: str
    closest: str
    values: tuple[float, float, float]


@dataclass(frozen=True)
class _Family:
    """How the methods of a family are compared with the priors."""

    priors: Mapping[str, ArrayLike]
    plan: Plan
    patients: Sequence[Hashable] | None
    generator: Generator
    methods: int

    def compared(self, scores: ArrayLike) -> _Found:
        found = {
            name: compare(scores, prior, self.patients, generator=self.generator) for name, prior in self.priors.items()
        }
        named = self.priors[self.plan.named]
        alike = equivalent(scores, named, self.patients, generator=self.generator, margin=self.plan.margin)
        hardest = max(found, key=lambda name: found[name].better)
        # With many cases several p-values are as small as they can be: the words name the prior with the nearest mean.
        closest = min(found, key=lambda name: found[name].difference)
        return _Found(hardest, closest, (found[hardest].better, found[self.plan.named].worse, alike.p))

    def verdict(self, method: str, scores: ArrayLike, found: _Found, values: Sequence[float]) -> Verdict:
        shown = [claim for claim, value in zip(Claim, values, strict=False) if value <= self.plan.level]
        claim = shown[0] if shown else Claim.NOT_SHOWN
        about = {Claim.BETTER: found.closest, Claim.NOT_SHOWN: found.hardest}
        prior = about.get(claim, self.plan.named)
        pair, strictest = (scores, self.priors[prior], self.patients), self.plan.level / self.methods
        apart = difference(*pair, generator=self.generator)
        needed = cases_needed_by(*pair, difference=self.plan.detectable, level=strictest)
        better, worse, as_good = values
        return Verdict(method, claim, prior, apart, better, worse, as_good, needed, self.plan)
