"""``Monitor``: explains a fixed batch while a network is trained, in any loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.metric import Comparison, Metric
from pellucid.errors import message_of, warn
from pellucid.run.again import explained_again
from pellucid.tracking.tracker import Tracker
from pellucid.training.drift import Reference, changed, drift
from pellucid.training.figures import Figures, failed, lost, measured
from pellucid.training.localisation import METRICS, located
from pellucid.training.logged import log_figures, log_plan, named
from pellucid.training.plan import MonitoringPlan
from pellucid.training.state import State

T = TypeVar("T")
BEFORE = -1
"""The epoch of the figures that ``Monitor.begin`` returns."""


class Monitor:
    """Explains the batch of a plan after an epoch: call it with the network and the epoch, in any training loop.

    The network comes back as it was, with its modes, gradients, hooks and buffers, and no random number of the process
    is drawn: a training with a monitor ends with the same weights as one without. Beside the passes that the method
    needs for the batch it makes none.

    ``begin`` checks before the training that everything works, and makes the maps that the first drift starts from;
    without it, the first call does, and has no drift. From then on an error of the explanation is a warning, once, and
    the figures are NaN: a night's training must not end by it.

    ``tracker``: where figures and drawn maps are logged, under ``name``.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> network = resnet18(num_classes=3)
    >>> plan = pellucid.training.MonitoringPlan(torch.randn(2, 3, 64, 64), [0, 1], method="saliency")
    >>> monitor = pellucid.training.Monitor(plan)
    >>> figures = monitor.begin(network)
    >>> for epoch in range(2):  # train for an epoch, and then
    ...     figures = monitor(network, epoch)
    >>> figures.epoch, figures.drift.count, round(figures.drift.estimate, 4)
    (1, 2, 0.0)
    """

    def __init__(self, plan: MonitoringPlan, tracker: Tracker | None = None, name: str = "pellucid") -> None:
        self.plan = plan
        self.tracker = tracker
        self.name = name
        self.figures: Figures | None = None
        """Those of the last epoch after which the batch was explained; before the first one, those of ``begin``."""
        self._state = State()
        self._loaded: State | None = None
        self._has_begun = False
        self._warned: set[str] = set()

    @property
    def values(self) -> dict[str, float]:
        """The last finite value of each figure by its key, such as ``pellucid/drift``: what a training is stopped by.

        An epoch without a figure, because it is not due or because the maps show nothing, leaves it as it was.
        """
        return named(self.name, self._state.values)

    def is_due(self, epoch: int) -> bool:
        """Whether a call after this epoch explains the batch."""
        return self.plan.is_due(epoch, first=self._state.epoch in (None, epoch))

    @on_cpu_by_default
    def begin(self, model: nn.Module) -> Figures:
        """Explain the batch before the training, with all checks and warnings of ``explain``; no figure is logged.

        What is known of an earlier training is forgotten, unless it was loaded since.

        Raises:
            PellucidError: the model cannot be explained so, or targets or masks do not fit.
        """
        before = self._state = self._loaded or State()
        self._loaded = None
        self._warned.clear()
        self.figures = figures = self._first(model, BEFORE)
        kept = before.reference or self._state.reference  # that of a checkpoint is what the next drift starts from
        values = {**self._state.values, **before.values}
        self._state = replace(self._state, reference=kept, values=values, epoch=before.epoch)
        return figures

    @on_cpu_by_default
    def __call__(self, model: nn.Module, epoch: int, step: int | None = None) -> Figures:
        """The figures after an epoch, counted from 0; after one that is not due, those of the last one that was.

        ``step``: what they are logged at; None: the epoch.
        """
        if self.figures is not None and not self.is_due(epoch):
            return self.figures
        self._loaded = None
        self.figures = figures = self._again(model, epoch) if self._has_begun else self._first(model, epoch)
        at = epoch if step is None else step
        self._guarded(epoch, "its figures could not be logged", lambda: self._log(figures, at))
        return figures

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs for the same figures, in plain values and tensors: the last maps, mostly."""
        return {"plan": self.plan.digest(), **self._state.plain()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, before ``begin``; the maps of another batch, method or comparison are left out."""
        loaded = State.of(state)
        if state["plan"] != self.plan.digest():
            warn("the checkpoint has maps of another batch, method or comparison; the drift starts anew")
            loaded = State(epoch=loaded.epoch)
        self._state = self._loaded = loaded

    def shared(self) -> tuple[int | None, dict[str, float]]:
        """The epoch and the values, for another process that trains the same network."""
        return self._state.epoch, dict(self._state.values)

    def adopt(self, shared: tuple[int | None, dict[str, float]]) -> None:
        """Take the epoch and the values that ``shared`` returned in the process that explained the batch."""
        epoch, values = shared
        self._state = replace(self._state, epoch=epoch, values=values)

    def _first(self, model: nn.Module, epoch: int) -> Figures:
        """The figures with all checks, and the layers for all later maps."""
        explainer = self.plan.explainer(model, self._state.layers, self._state.fuse)
        with torch.inference_mode(False), torch.no_grad():
            found = explainer(self.plan.images, self.plan.targets)
            self._state = replace(self._state, layers=found.layers, fuse=found.provenance["fuse"])
            figures = self._measured(epoch, found)
        self._has_begun = True
        if self.tracker is not None:
            log_plan(self.tracker, self.name, self.plan, found)
        return figures

    def _again(self, model: nn.Module, epoch: int) -> Figures:
        """The figures without another pass than the method's; NaN where there is an error."""
        figures = self._guarded(epoch, "the batch could not be explained", lambda: self._explained(model, epoch))
        return figures or failed(epoch, with_masks=self.plan.masks is not None)

    def _explained(self, model: nn.Module, epoch: int) -> Figures:
        explainer = self.plan.explainer(model, self._state.layers, self._state.fuse)
        with torch.inference_mode(False), torch.no_grad():
            return self._measured(epoch, explained_again(explainer, self.plan.images, self.plan.targets))

    def _measured(self, epoch: int, found: Explanation) -> Figures:
        """The figures of an explanation, which the next drift starts from."""
        before, after = self._state.reference, Reference.of(found, self.plan.similarity.takes)
        values = {"drift": drift(before, after, self.plan.similarity), **located(found, self.plan.masks)}
        metrics: dict[str, Metric | Comparison] = {"drift": self.plan.similarity, **METRICS}
        figures = measured(epoch, found, values, metrics, self.plan.patients, changed(before, after))
        finite = {name: value for name, value in figures.values().items() if math.isfinite(value)}
        self._state = replace(self._state, reference=after, values={**self._state.values, **finite}, epoch=epoch)
        self._warn_of_lost(epoch, found)
        return figures

    def _warn_of_lost(self, epoch: int, found: Explanation) -> None:
        count = int(lost(found).sum())
        if count:
            self._warn("maps", f"{count} of {found.targets.numel()} maps are not finite", epoch)

    def _log(self, figures: Figures, step: int) -> None:
        if self.tracker is not None:
            log_figures(self.tracker, self.name, self.plan, figures, step)

    def _guarded(self, epoch: int, what: str, work: Callable[[], T]) -> T | None:
        """The result of ``work``; None where it fails, which is warned of once."""
        try:
            return work()
        except Exception as error:  # whatever it is, the training is worth more than the figure
            self._warn(what, f"{what} ({type(error).__name__}: {message_of(error)})", epoch)
            return None

    def _warn(self, kind: str, what: str, epoch: int) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            when = "before the training" if epoch == BEFORE else f"epoch {epoch}"
            warn(f"{self.name}, {when}: {what}; the training goes on, and later epochs are not warned of")
