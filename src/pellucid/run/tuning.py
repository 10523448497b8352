"""Measure runtimes on this machine: their speed, and whether their heatmaps agree with float32's."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Request
from pellucid.errors import PellucidError
from pellucid.models.engine.compiled import compiled_outputs
from pellucid.models.session.placement import device_of
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.run.explainer import Explainer
from pellucid.run.tuned import Trial

_REPEATS = 3
_COMPILED = 2
"""The number of the fastest runtimes that are also measured compiled."""


def trials(model: nn.Module, images: Tensor, method: Method, runtime: Runtime, seconds: float) -> Iterator[Trial]:
    """Measure all runtimes, float32 first; none is begun after ``seconds``.

    Compilation takes longest, so only the fastest runtimes are compiled, at the end.
    """
    end = time.monotonic() + seconds
    measure = _Measurement(model, images, method, runtime)
    yield measure.first
    done = [measure.first]
    device = device_of(model, runtime)
    precisions = ("float32", "bfloat16") if device.type == "cpu" else ("float32", "bfloat16", "float16")
    eager = [Trial(name, last, compile=False) for name, last in itertools.product(precisions, (False, True))]
    for trial in eager[1:]:
        if time.monotonic() < end:
            done.append(measure.measured(trial))
            yield done[-1]
    for trial in sorted((trial for trial in done if trial.agrees), key=_time)[:_COMPILED]:
        if time.monotonic() < end:
            yield measure.measured(replace(trial, compile=True))


def best(tried: Sequence[Trial]) -> Trial:
    """The fastest trial whose heatmaps agree with float32's."""
    return min((trial for trial in tried if trial.agrees), key=_time)


def _time(trial: Trial) -> float:
    return trial.time


class _Measurement:
    """Measures trials against uncompiled float32, for the classes that float32 predicts."""

    def __init__(self, model: nn.Module, images: Tensor, method: Method, runtime: Runtime) -> None:
        self._model, self._images, self._method, self._runtime = model, images, method, runtime
        self._head = "auto"
        plain = Trial("float32", channels_last=False, compile=False)
        self._reference = self._explainer(plain)(images)
        self._head = self._reference.head  # what was found or assumed is said once
        self._targets: Request = self._reference.targets[:, 0]
        self._baseline = self._times(plain)
        self.first = replace(plain, time=1.0, forward=1.0, agreement=1.0)

    def measured(self, trial: Trial) -> Trial:
        """The trial with its measurements, or with the error that prevented them."""
        try:
            found = self._explainer(trial)(self._images, self._targets)
            explaining, predicting = self._times(trial)
        except (PellucidError, RuntimeError) as error:
            return replace(trial, error=(str(error).splitlines() or [type(error).__name__])[0])
        return replace(
            trial,
            time=explaining / self._baseline[0],
            forward=predicting / self._baseline[1],
            agreement=agreement(found, self._reference),
        )

    def _explainer(self, trial: Trial) -> Explainer:
        return Explainer(self._model, self._method, head=self._head, runtime=trial.applied(self._runtime))

    def _times(self, trial: Trial) -> tuple[float, float]:
        """Seconds of an explanation and of a prediction, after a warm-up of each."""
        explainer = self._explainer(trial)
        predicting = kept(lambda: _median(_prediction(self._model, explainer.runtime, Inputs.of(self._images))))
        return _median(lambda: explainer(self._images, self._targets)), predicting


def _prediction(model: nn.Module, runtime: Runtime, inputs: Inputs) -> Callable[[], object]:
    """A prediction of the model as the runtime has it."""
    session = Session.of(model, runtime)
    prepared = session.prepared(inputs)
    if runtime.compile and not session.has_script:
        return lambda: compiled_outputs(session, prepared, (), False, runtime.batch_size)
    return lambda: session.call(prepared)


def _median(call: Callable[[], object]) -> float:
    """The median seconds of some calls, after one warm-up call."""
    call()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def agreement(found: Explanation, reference: Explanation) -> float:
    """The lowest correlation of a heatmap with its reference; where one is constant, 1 if they are equal, else 0."""
    return min(map(_correlation, found.heatmaps[:, 0], reference.heatmaps[:, 0]))


def _correlation(one: Tensor, other: Tensor) -> float:
    flat = torch.stack([one.flatten(), other.flatten()])
    if bool((flat.amax(dim=1) == flat.amin(dim=1)).any()):
        return float(torch.equal(one, other))
    return float(torch.corrcoef(flat)[0, 1])
