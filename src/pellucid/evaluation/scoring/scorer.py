"""The scores of a batch of findings by every method and prior, and where the heat goes on images without one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from pellucid.core.metric import Metric
from pellucid.core.prior import Drawn
from pellucid.errors import OptionError
from pellucid.evaluation.measured import THRESHOLDS
from pellucid.evaluation.scoring.by_masks import by_masks, of_random
from pellucid.evaluation.scoring.heat import even_shares, shares
from pellucid.evaluation.scoring.maps import Batch, Made, explained, made, of_mean_masks
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.request import Requested, fewer_draws
from pellucid.evaluation.scoring.shuffled import Shuffled, on_others
from pellucid.run.evaluate import evaluate

Rows = list[dict[str, Any]]
"""A record for each image of a batch, in values that JSON can hold."""


_KINDS = ("values", "overlaps", "shuffled", "reshuffled", "untrained", "gates")


@dataclass(frozen=True, eq=False)
class Wanted:
    """What findings of a batch are scored on: their masks, the widened ones of the primary metric, those of partners.

    Those of ``shuffles`` are widened, too. ``partner_mean_masks`` are made without the masks of the patients of the
    first one: else that prior alone would know what it is scored on. ``predicted`` (P,) are the
    predicted classes, ``gated`` (P,) says which findings the gates measure.
    """

    masks: Tensor
    widened: Tensor
    shuffles: Shuffled
    partner_mean_masks: Tensor
    predicted: Tensor
    gated: Tensor


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores batches. ``untrained``: also the maps of the network with random weights, as a negative control."""

    asked: Requested
    network: Network | None
    seed: int
    untrained: bool = True
    layers: dict[str, Sequence[str]] = field(default_factory=dict)
    """The layers of each method, as they are found."""

    @cached_property
    def _primary(self) -> Metric:
        return self.asked.metrics[self.asked.primary]

    def findings(self, batch: Batch, wanted: Wanted) -> Rows:
        """A record for each finding of a batch."""
        rows: Rows = [{kind: {} for kind in _KINDS} for _ in batch.files]
        reasons: Counter[tuple[str, str]] = Counter()
        for name in self.asked.names:
            found = made(name, self.asked, self.network, batch, self.seed)
            self._note(name, found, reasons)
            self._put(rows, "values", "label", name, self._values(name, found, batch, wanted.masks, wanted.widened))
            self._put_overlaps(rows, name, found, wanted.masks)
            self._put_shuffled(rows, name, found, wanted)
            self._put_predicted(rows, name, batch, wanted)
            self._put_controls(rows, name, found, batch, wanted)
        rows[0]["reasons"] = {f"{reason} ({name})": count for (name, reason), count in reasons.items()}
        return rows

    def overlaps(self, batch: Batch, masks: Tensor) -> Rows:
        """The overlaps of each map with its mask (P, *space) alone, a record for each finding."""
        rows: Rows = [{"overlaps": {}} for _ in batch.files]
        for name in self.asked.names:
            self._put_overlaps(rows, name, made(name, self.asked, self.network, batch, self.seed), masks)
        return rows

    def lesion_free(self, batch: Batch) -> Rows:
        """Where the heat goes on images without a finding, a record for each."""
        rows: Rows = [{"heat": {}, "even": even} for even in even_shares(batch.mean_masks)]
        for name in self.asked.names:
            heat = made(name, self.asked, self.network, batch, self.seed).maps["heatmaps"]
            for row, own in zip(rows, shares(heat, batch.mean_masks), strict=True):
                row["heat"][name] = own
        return rows

    def _note(self, name: str, found: Made, reasons: Counter[tuple[str, str]]) -> None:
        if found.explanation is not None:
            self.layers[name] = list(found.explanation.layers)
        for reason, count in (found.missing or {}).items():
            reasons[name, reason] += count

    def _values(
        self, name: str, found: Made, batch: Batch, masks: Tensor, widened: Tensor
    ) -> Mapping[str, Sequence[float]]:
        values = {
            label: self._on(label, name, found, widened if label == self.asked.primary else masks).tolist()
            for label in self.asked.on_masks
        }
        return {**values, **self._on_scores(self.asked.on_scores, name, found, batch)}

    def _on(self, label: str, name: str, found: Made, masks: Tensor) -> Tensor:
        """The values (P,) of a metric that needs masks; of a random prior the expectation."""
        metric, prior = self.asked.metrics[label], self.asked.prior_for(label, name)
        if isinstance(prior, Drawn):
            return of_random(metric, prior, masks, self.seed)
        return by_masks(metric, found.maps, masks)

    def _on_scores(
        self, metrics: Mapping[str, Metric], name: str, found: Made, batch: Batch
    ) -> Mapping[str, Sequence[float]]:
        """The values of metrics that ask the model, all in one call.

        Of maps alone, such as those made before, each metric is asked for by itself: what makes maps of changed images
        again cannot be measured of them, and has no value.
        """
        if not metrics or self.network is None:
            return {}
        prior = self.asked.priors.get(name)
        given: Any = found.explanation if prior is None else fewer_draws(prior)
        if given is not None:
            return self._evaluated(metrics, given, batch)
        each: dict[str, Sequence[float]] = {}
        for label, metric in metrics.items():
            try:
                each |= self._evaluated({label: metric}, found.maps["heatmaps"][:, None], batch)
            except OptionError:
                each[label] = [math.nan] * len(batch.files)
        return each

    def _evaluated(self, metrics: Mapping[str, Metric], given: Any, batch: Batch) -> dict[str, Sequence[float]]:
        """The values of metrics for an Explanation, a prior or maps (P, 1, *space)."""
        if self.network is None:
            return {}
        scores = evaluate(
            self.network.model,
            batch.values,
            given,
            targets=batch.classes[:, None],
            metrics=list(metrics.values()),
            head=self.network.head,
            output=self.network.output,
            seed=self.seed,
            runtime=self.network.runtime,
        )
        return {label: scores[label][:, 0].tolist() for label in metrics}

    def _put_overlaps(self, rows: Rows, name: str, found: Made, masks: Tensor) -> None:
        for row, overlaps in zip(rows, self._overlaps(name, found, masks), strict=True):
            row["overlaps"][name] = [_number(one) for one in overlaps]

    def _overlaps(self, name: str, found: Made, masks: Tensor) -> Sequence[Sequence[float]]:
        """The IoU (P, thresholds) of each map with its mask."""
        if isinstance(self.asked.priors.get(name), Drawn):
            return [[math.nan] * len(THRESHOLDS) for _ in masks]
        heat, mask = found.maps["heatmaps"].flatten(1), masks.flatten(1)
        columns = []
        for threshold in THRESHOLDS:
            high = heat >= threshold
            columns.append((high & mask).sum(1) / (high | mask).sum(1).clamp(min=1))
        overlaps = torch.stack(columns, 1).double()
        return overlaps.masked_fill(~heat.isfinite().all(1, keepdim=True), torch.nan).tolist()

    def _put_predicted(self, rows: Rows, name: str, batch: Batch, wanted: Wanted) -> None:
        """The values of the predicted class, measured where it is another one than the annotated class."""
        if self.network is None:
            return
        for row in rows:
            row["values"].setdefault("predicted", {})[name] = row["values"]["label"][name]
        other = (wanted.predicted != batch.classes).nonzero()[:, 0].tolist()
        is_class_blind = name not in self.asked.of_methods and not self.asked.on_scores
        if not other or is_class_blind:  # a prior's map is the same for every class
            return
        part = batch.part(other, wanted.predicted)
        again = made(name, self.asked, self.network, part, self.seed)
        values = self._values(name, again, part, wanted.masks[other], wanted.widened[other])
        self._put([rows[index] for index in other], "values", "predicted", name, values)

    def _put_shuffled(self, rows: Rows, name: str, found: Made, wanted: Wanted) -> None:
        """The maps on masks of other patients: of methods in every shuffle, of priors in the first one."""
        if name in self.asked.of_methods:
            each = on_others(self._primary, found.maps, wanted.shuffles).tolist()
            for row, values in zip(rows, each, strict=True):
                row["shuffled"][name], row["reshuffled"][name] = _number(values[0]), list(map(_number, values))
            return
        first = wanted.shuffles.shuffle(0)
        control = of_mean_masks(wanted.partner_mean_masks) if name in self.asked.from_masks else found
        for row, value, there in zip(
            rows, self._on(self.asked.primary, name, control, first.masks).tolist(), first.there.tolist(), strict=True
        ):
            row["shuffled"][name] = _number(value) if there else None

    def _put_controls(self, rows: Rows, name: str, found: Made, batch: Batch, wanted: Wanted) -> None:
        """The network with random weights, and the gates, of methods that can be run again."""
        if self.network is None or name not in self.asked.methods:
            return
        method = self.asked.methods[name]
        if self.untrained:
            network = self.network
            random = explained(batch, lambda part: network.untrained(method, part.values, part.classes[:, None]))
            for row, value in zip(rows, by_masks(self._primary, random.maps, wanted.widened).tolist(), strict=True):
                row["untrained"][name] = _number(value)
        gated = wanted.gated.nonzero()[:, 0].tolist()
        if gated and self.asked.gates:
            values = self._on_scores(self.asked.gates, name, found.part(gated), batch.part(gated, batch.classes))
            for index, number in enumerate(gated):
                rows[number]["gates"][name] = {label: _number(own[index]) for label, own in values.items()}

    @staticmethod
    def _put(rows: Rows, what: str, target: str, name: str, values: Mapping[str, Sequence[float]]) -> None:
        for index, row in enumerate(rows):
            row[what].setdefault(target, {})[name] = {label: _number(own[index]) for label, own in values.items()}


def _number(value: float) -> float | None:
    """A value as it is kept: seven digits, None where there is none."""
    return float(f"{value:.7g}") if math.isfinite(value) else None
