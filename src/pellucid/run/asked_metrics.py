"""The metrics of a call: by name or as they are given, each under its label, and what is refused of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pellucid.core.metric import METRICS, Comparison, Metric
from pellucid.core.scores import labelled
from pellucid.errors import OptionError

M = TypeVar("M", Metric, Comparison)


def _metric(asked: str | M, kind: Any, call: str) -> M:
    """A metric by its name, or as it was given."""
    found: Any = METRICS.find(asked)() if isinstance(asked, str) else asked
    if isinstance(found, type) and issubclass(found, (Metric, Comparison)):
        raise OptionError(f"metric {found.__name__} was given as a class; write {found.__name__}()")
    if not isinstance(found, kind):
        other = "pellucid.compare(a, b)" if isinstance(found, Comparison) else "pellucid.evaluate(model, images, …)"
        known = isinstance(found, (Metric, Comparison))
        hint = f"it is one for {other}" if known else "give a name or a metric of pellucid.metrics"
        raise OptionError(f"metric {found.name if known else found!r} was given to {call}; {hint}")
    metric: M = found
    return metric


def metrics_of(metrics: Sequence[str | M], kind: Any, call: str) -> dict[str, M]:
    """The metrics by their labels; ``kind`` is what the ``call`` takes, metrics of a model or of two maps."""
    if isinstance(metrics, (str, Metric, Comparison)) or not isinstance(metrics, Iterable):
        given = metrics.name if isinstance(metrics, (Metric, Comparison)) else metrics
        raise OptionError(f"metrics={given!r} was given; it must be a list of names or metrics: metrics=[…]")
    return _by_label([_metric(one, kind, call) for one in metrics])


def _by_label(chosen: Sequence[M]) -> dict[str, M]:
    if not chosen:
        raise OptionError(f"metrics=[] was given; name at least one of {', '.join(METRICS.names())}")
    found: dict[str, M] = {}
    for metric in chosen:
        label = labelled(metric)
        if found.setdefault(label, metric) != metric:
            raise OptionError(
                f"two metrics {label!r} were given, with other options; measure them in calls of their own"
            )
    return found


def check_masks(chosen: Mapping[str, Metric], masks: object) -> None:
    """Raise ``OptionError`` where a metric needs masks, and there are none."""
    wanting = [label for label, metric in chosen.items() if metric.needs_mask]
    if wanting and masks is None:
        raise OptionError(f"metric {wanting[0]!r} was asked for; it needs to know where the findings are: give masks=")
