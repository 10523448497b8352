"""What is measured of each finding: the methods, priors and metrics of a plan, built once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.metric import Metric
from pellucid.core.prior import Drawn
from pellucid.core.registry import options
from pellucid.core.scores import labelled
from pellucid.errors import OptionError
from pellucid.evaluation.naming import method_of, metric_of
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.tolerance import Tolerance

MEAN_MASK = "mean_mask"
"""The prior that is made from the data set's own masks."""
FEWER = 10
"""The draws of a random prior for exploratory metrics, whose mean is taken: each costs as much as a method's map."""


@dataclass(frozen=True)
class Requested:
    """The methods and priors by name, the metrics by label, and the tolerance of the primary one.

    ``made_before`` are methods whose maps are taken from files. ``primary`` is the label of the primary metric, which
    is scored on masks that are widened by ``tolerance``. ``gates`` are metrics of the first ``gated`` findings alone.
    """

    methods: Mapping[str, Method]
    made_before: Sequence[str]
    priors: Mapping[str, Method]
    primary: str
    metrics: Mapping[str, Metric]
    tolerance: Tolerance
    gates: Mapping[str, Metric]
    gated: int

    @property
    def names(self) -> list[str]:
        """The methods, then the priors."""
        return [*self.of_methods, *self.priors, *self.from_masks]

    @property
    def from_masks(self) -> list[str]:
        """The priors that are made from the data set's own masks."""
        return [MEAN_MASK]

    @property
    def of_methods(self) -> list[str]:
        """The methods, those with maps made before among them."""
        return list(dict.fromkeys([*self.made_before, *self.methods]))

    def prior_for(self, label: str, name: str) -> Method | None:
        """A prior as a metric takes it: exploratory ones with fewer draws; None of a method."""
        prior = self.priors.get(name)
        return prior if prior is None or label == self.primary else fewer_draws(prior)

    @property
    def on_masks(self) -> dict[str, Metric]:
        """The metrics that need nothing but maps and masks."""
        return {label: metric for label, metric in self.metrics.items() if metric.needs_mask}

    @property
    def on_scores(self) -> dict[str, Metric]:
        """The metrics that ask the model."""
        return {label: metric for label, metric in self.metrics.items() if not metric.needs_mask}


def requested(plan: EvaluationPlan, methods: Sequence[str], made_before: Sequence[str], has_model: bool) -> Requested:
    """Build what a plan names; ``methods`` are those that its methods stand for.

    Raises:
        OptionError: it names what there is not, or what needs a model where there is none.
    """
    known = catalogue.PRIORS.registered()
    if taken := [name for name in (*made_before, *methods) if name in known]:
        raise OptionError(
            f"method {taken[0]!r} was asked for; that is a prior, with which each method is compared: give maps "
            "another name, or leave it out"
        )
    made = {name: method_of(name) for name in dict.fromkeys(methods) if name not in made_before}
    if made and not has_model:
        raise OptionError(
            f"method {next(iter(made))!r} was asked for; neither a model nor maps of it were given: give a "
            "model, or the folder of its maps"
        )
    if plan.target == "predicted" and not has_model:
        raise OptionError(
            "target='predicted' was asked for; the predicted class is not known without a model: give a model"
        )
    tolerance, primary = _primary(plan)
    metrics = {label: metric for label, metric in map(_labelled, (plan.primary, *plan.metrics)) if metric != primary}
    metrics = {labelled(primary): primary, **metrics}
    asking = [label for label, metric in metrics.items() if not metric.needs_mask]
    if asking and not has_model:
        raise OptionError(f"metric {asking[0]!r} was asked for; it asks the model, and none was given: give a model")
    gates = dict(map(_labelled, plan.gates)) if has_model else {}
    priors = {name: cls() for name, cls in sorted(known.items()) if name != MEAN_MASK}
    return Requested(made, tuple(made_before), priors, labelled(primary), metrics, tolerance, gates, plan.gated)


def fewer_draws(prior: Method) -> Method:
    """A prior for exploratory metrics: of one that is drawn at random, a mean over at most 10 draws."""
    if not isinstance(prior, Drawn) or "draws" not in options(type(prior)):
        return prior
    return replace(prior, draws=min(FEWER, prior.many()))  # type: ignore[type-var]  # a frozen dataclass


def _primary(plan: EvaluationPlan) -> tuple[Tolerance, Metric]:
    """The tolerance and the primary metric; a tolerance is of metrics that look at a position."""
    metric, tolerance = metric_of(plan.primary), Tolerance.of(plan.tolerance)
    if "tolerance" in options(type(metric)):
        own = getattr(metric, "tolerance", 0)
        return (Tolerance(own, "px") if own else tolerance), replace(metric, tolerance=0)  # type: ignore[type-var]  # a dataclass
    if tolerance.value:
        raise OptionError(f"tolerance {plan.tolerance!r} was given; the primary metric {plan.primary!r} has none")
    return tolerance, metric


def _labelled(text: str) -> tuple[str, Metric]:
    metric = metric_of(text)
    return labelled(metric), metric
