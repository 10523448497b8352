"""What a tracker gets of a fixed batch: how it is explained, and after an epoch the figures and the drawn maps."""

from __future__ import annotations

from collections.abc import Mapping

from pellucid.core.explanation import Explanation
from pellucid.tracking.tracker import Parameter, Tracker
from pellucid.training.drawing import drawn
from pellucid.training.figures import Figures
from pellucid.training.plan import MonitoringPlan


def named(name: str, values: Mapping[str, float]) -> dict[str, float]:
    """Values under the keys that they are logged and monitored by, such as ``pellucid/drift``."""
    return {f"{name}/{key}": value for key, value in values.items()}


def log_plan(tracker: Tracker, name: str, plan: MonitoringPlan, explanation: Explanation) -> None:
    """Log how the batch is explained, with a digest of its images."""
    facts: dict[str, Parameter] = {
        "method": explanation.method,
        "layers": ", ".join(explanation.layers),
        "drift": plan.similarity.name,
        "every": plan.every,
        "batch": plan.digest(),
    }
    tracker.parameters({f"{name}/{key}": value for key, value in facts.items()})


def log_figures(tracker: Tracker, name: str, plan: MonitoringPlan, figures: Figures, step: int) -> None:
    """Log the figures of an epoch, and the maps drawn on their images."""
    tracker.metrics(named(name, figures.values()), step)
    if figures.explanation is not None:
        for key, image in drawn(figures.explanation, plan.images, plan.drawn):
            tracker.image(f"{name}/{key}", image, step)
