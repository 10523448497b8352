"""What is fixed before any score is seen: the primary endpoint, what it is compared with, and who is scored."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from pathlib import Path

from pellucid.core.catalogue import PRIORS
from pellucid.core.numbers import is_number, is_seed, shown
from pellucid.errors import OptionError
from pellucid.evaluation.naming import metric_of, tolerance_of
from pellucid.evaluation.plan_file import read_settings
from pellucid.statistics.equivalence import MARGIN
from pellucid.statistics.power import DIFFERENCE, LEVEL

TARGETS = ("label", "predicted")
"""The classes that are explained: the annotated one, which gives the verdict, and the predicted one."""


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the plan's authors state of the images, for the report; "" where they do not. Nothing depends on it."""

    modality: str = ""
    organ: str = ""


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """The plan of an evaluation. Its primary endpoint gives the verdicts; all else is exploratory.

    ``primary`` is a metric with its options, such as "pointing_game" or "iou(threshold=0.3)"; ``tolerance`` is of the
    pointing game: "15 px" of the model's input, "2 %" of its diagonal or "5 mm". ``target`` is the class whose maps
    give the verdict, one of ``TARGETS``. ``prior`` is the one that "worse" and "as good as" are about, ``margin`` the
    difference that does not matter, ``difference`` the one for which the cases needed are stated, both in the units of
    ``primary`` (of hits, shares: 0.1 is ten points), ``level`` the one-sided level of each family of claims.
    ``methods`` and ``metrics`` are those to measure, ``gates`` randomisation metrics of the first ``gated`` findings.
    ``choose``, ``test`` and ``calibrate`` name splits of the data set; without any, all cases are test. ``data`` says
    what the images are.

    As a file it is TOML with these names as keys; what is left out has the value that it has here::

        primary = "pointing_game"
        tolerance = "15 px"
        methods = ["gradcam", "integrated_gradients"]
        choose = ["val"]
        test = ["test"]

        [data]
        modality = "ultrasound"
        organ = "breast"

    Raises:
        OptionError: a value is out of its range, there is no such metric, prior or tolerance, or two splits are mixed
            up.

    >>> plan = EvaluationPlan(primary="iou(threshold=0.3)", margin=0.05)
    >>> plan.digest == EvaluationPlan(primary="iou(threshold=0.3)").digest
    False
    """

    primary: str = "pointing_game"
    tolerance: str = "0 px"
    target: str = "label"
    prior: str = "mean_mask"
    margin: float = MARGIN
    difference: float = DIFFERENCE
    level: float = LEVEL
    methods: Sequence[str] = ("gradcam",)
    metrics: Sequence[str] = ("iou", "auprc", "relevance_mass", "lesion_coverage")
    choose: Sequence[str] = ()
    test: Sequence[str] = ()
    calibrate: Sequence[str] = ()
    seed: int = 0
    gates: Sequence[str] = ("emprt", "random_logit")
    gated: int = 24
    data: DataFacts = DataFacts()
    file_digest: str | None = field(default=None, compare=False, repr=False)
    """The SHA-256 of the file that it was read from; None without one."""

    def __post_init__(self) -> None:
        """Refuse values that no evaluation can follow."""
        for name in ("methods", "metrics", "gates", "choose", "test", "calibrate"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))  # frozen
        self._check_numbers()
        self._check_names()
        self._check_shares()
        self._check_splits()

    @classmethod
    def of(cls, path: Path) -> EvaluationPlan:
        """The plan of a TOML file.

        Raises:
            OptionError: the file cannot be read, or says what no plan can: the message names the key.
        """
        settings, digest = read_settings(path, {one.name: one.default for one in fields(cls) if one.compare})
        try:
            return cls(**settings, file_digest=digest)
        except OptionError as error:
            raise OptionError(f"plan {path} was given; {error}") from None

    @property
    def digest(self) -> str:
        """The SHA-256 of the file that it was read from, else of its settings as JSON with sorted keys."""
        if self.file_digest is not None:
            return self.file_digest
        every = asdict(self)
        settings = {one.name: every[one.name] for one in fields(self) if one.compare}
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def _check_numbers(self) -> None:
        for name, most in (("margin", math.inf), ("difference", math.inf), ("level", 0.5)):
            value = getattr(self, name)
            if not is_number(value) or not 0 < value < most:
                above = "" if most == math.inf else f" and below {most:g}"
                raise OptionError(f"{name} = {shown(value)} was asked for; write a number above 0{above}")
        for name, number in (("seed", self.seed), ("gated", self.gated)):
            if not is_seed(number):
                raise OptionError(
                    f"{name} = {number} was asked for; write 0 or more, a whole number below 2 to the power of 63"
                )

    def _check_shares(self) -> None:
        """Refuse points, such as 10, where the mean of the primary endpoint is a share."""
        for name in ("margin", "difference"):
            if metric_of(self.primary).proportion and getattr(self, name) >= 1:
                raise OptionError(
                    f"{name} = {getattr(self, name):g} was asked for, and primary = {self.primary!r} gives hits; it is "
                    f"a share, below 1: write {name} = 0.1 for 10 points"
                )

    def _check_names(self) -> None:
        tolerance_of(self.tolerance)
        if self.target not in TARGETS:
            raise OptionError(f"target = {self.target!r} was asked for; it may be {' or '.join(TARGETS)}")
        PRIORS.find(self.prior)
        if metric_of(self.primary).better is None:
            raise OptionError(
                f"primary = {self.primary!r} was asked for; neither more nor less of it is better: choose another"
            )
        for label in (*self.metrics, *self.gates):
            metric_of(label)
        for name, values in (("methods", self.methods), ("metrics", self.metrics)):
            twice = [one for one in values if values.count(one) > 1]
            if twice:
                raise OptionError(f"{name} names {twice[0]!r} twice: name it once")
        if not self.methods:
            raise OptionError("methods = [] was asked for; name at least one method")

    def _check_splits(self) -> None:
        named = list(chain(self.choose, self.test, self.calibrate))
        twice = [one for one in named if named.count(one) > 1]
        if twice:
            raise OptionError(f"the split {twice[0]!r} is named twice: choose, test and calibrate share no case")
        if named and not self.test:
            raise OptionError(f'the split {named[0]!r} is named, but none to score: name it, as in test = ["test"]')
