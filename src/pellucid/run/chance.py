"""Metrics of a prior whose maps are drawn at random: their expectation, or the mean over draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pellucid.core import catalogue
from pellucid.core.explanation import Explanation
from pellucid.core.method import Method
from pellucid.core.metric import Cases, Expectation, Metric, Takes, Values
from pellucid.core.prior import Drawn
from pellucid.core.space import heatmap
from pellucid.run.cases import Judged
from pellucid.run.explainer import Explainer


@dataclass(frozen=True)
class Chance:
    """A prior whose maps are drawn at random, and the seed of its draws."""

    prior: Drawn
    seed: int

    @classmethod
    def of(cls, explanation: object, seed: int) -> Chance | None:
        """That of an Explanation, with the seed that it was made with; None of anything else."""
        if not isinstance(explanation, Explanation):
            return None
        kind = catalogue.PRIORS.registered().get(explanation.method)
        if kind is None or not issubclass(kind, Drawn):
            return None
        options = explanation.provenance.get("options", {})
        prior = catalogue.build(explanation.method, {key: str(value) for key, value in options.items()})
        seed = explanation.provenance.get("runtime", {}).get("seed", seed)
        return cls(prior, seed) if isinstance(prior, Drawn) else None

    def values(self, judged: Judged, metric: Metric, measured: Callable[[Judged, Metric], Values]) -> Values:
        """A metric's expectation, or its mean over the draws. ``measured`` gives the values of one set of maps."""
        if isinstance(metric, Expectation):
            return measured(judged, _Expected(metric, self.prior.peaks(judged.inputs.images.shape[2:]), metric.takes))
        return _mean([measured(self._of_draw(judged, number), metric) for number in range(self.prior.many())])

    def _of_draw(self, judged: Judged, number: int) -> Judged:
        """What is judged, with the map of one draw for every image and class; where one was lost, it stays so."""
        drawn = self.prior.map_on(judged.inputs.images.shape[2:], self.seed, number)
        shown = heatmap(drawn[None, None], drawn.shape)
        maps: dict[Takes, Tensor] = {
            "heatmaps": _where_finite(judged.maps["heatmaps"], shown),
            "attributions": _where_finite(judged.maps["attributions"], drawn),
        }
        return replace(judged, maps=maps, explainer=_by(judged.explainer, self.prior.drawn(number)))


@dataclass(frozen=True)
class _Expected(Metric):
    """A metric of which the expectation is taken."""

    metric: Expectation
    peaks: Tensor
    takes: Takes  # type: ignore[misc]  # that of the metric, which its class has

    def update(self, cases: Cases) -> Values:
        return self.metric.expected(cases, self.peaks)


def _by(explainer: Callable[[], Explainer] | None, method: Method) -> Callable[[], Explainer] | None:
    """What makes maps, by another method."""
    return None if explainer is None else lambda: replace(explainer(), method=method)


def _where_finite(maps: Tensor, drawn: Tensor) -> Tensor:
    """One map in place of each of (B, K, *space) that is finite."""
    finite = maps.flatten(2).isfinite().all(-1)
    found = drawn.to(maps.device).expand(maps.shape)
    return found if bool(finite.all()) else found.where(finite.reshape(*finite.shape, *(1,) * drawn.ndim), torch.nan)


def _mean(each: Sequence[Values]) -> Values:
    """The mean over draws; a case that has no value in one draw has none, and a note on one draw is one on the mean."""
    return Values(
        torch.stack([one.values for one in each]).mean(0),
        _any([one.missing for one in each]),
        notes=_any([one.notes for one in each]),
        steps={step: torch.stack([one.steps[step] for one in each]).mean(0) for step in each[0].steps},
    )


def _any(each: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The cases of each statement in any of the draws."""
    found: dict[str, Tensor] = {}
    for one in each:
        for name, flags in one.items():
            found[name] = found[name] | flags if name in found else flags
    return found
