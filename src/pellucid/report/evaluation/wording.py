"""Names and nouns in the page's sentences: isolated, escaped, and with what is known of them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from markupsafe import Markup

from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.metric import METRICS, Comparison, Metric
from pellucid.core.prior import STATEMENTS
from pellucid.core.registry import summary
from pellucid.errors import OptionError
from pellucid.report.values import MAX_PATH, text

TARGET_WORDS = {"label": "Maps of the annotated class", "predicted": "Maps of the predicted class"}


def name(value: str) -> Markup:
    """A name from outside, as it may stand in a sentence: its own direction of writing does not leave it."""
    return Markup("<bdi>{}</bdi>").format(text(value))


def listed(each: Iterable[str | Markup], most: int | None = None) -> Markup:
    """Names or phrases in a sentence, the first ``most`` of them.

    >>> str(listed(["a", "b & c", "d"]))
    'a, b &amp; c and d'
    >>> str(listed("abcd", 2))
    'a, b and 2 more'
    """
    parts = list(each)
    if most is not None and len(parts) > most:
        parts = [*parts[:most], f"{len(parts) - most} more"]
    if len(parts) < 2:
        return Markup("").join(parts)
    return Markup("{} and {}").format(Markup(", ").join(parts[:-1]), parts[-1])


def sentence(form: str, *values: object) -> Markup:
    """A sentence of the page's own words with ``{}`` for values, which are escaped, and without control characters.

    >>> str(sentence("{} of {}", "<1>", 2))
    '&lt;1&gt; of 2'
    """
    shown = [text(value, MAX_PATH) if type(value) is str else value for value in values]
    return Markup(form).format(*shown)  # noqa: S704  # the form is the page's own


def metric_class(label: str) -> type[Metric | Comparison] | None:
    """The metric of a label such as "iou(threshold=0.3)"; None of one that is not installed."""
    try:
        return METRICS.find(label.partition("(")[0])
    except OptionError:
        return None


def about_metric(label: str) -> str:
    """What a metric measures, and which values speak for a map."""
    found = metric_class(label)
    if found is None:
        return ""
    return f"{summary(found)} {_direction(found)}"


def in_short(label: str) -> str:
    """What a metric measures, and which values speak for a map, without the paper."""
    return re.sub(r" \([^()]*\)", "", about_metric(label))


def _direction(found: type[Metric | Comparison]) -> str:
    if found.better is None:
        return "Neither high nor low is better by itself."
    return f"{found.better.capitalize()} is better."


def is_share(label: str) -> bool:
    """Whether the figure of a metric is the share of findings for which something holds."""
    return bool(getattr(metric_class(label), "proportion", False))


def about_prior(label: str) -> str:
    """What a prior's maps are made from."""
    found = _prior(label)
    if found is None:
        return ""
    made_from = (STATEMENTS[found.made_from] or "").removeprefix("a prior: it ")
    return f"{summary(found)} It {made_from}."


def sees_images(label: str) -> bool:
    """Whether a method's or prior's map depends on the image: those of some priors are the same, or nearly so."""
    found = _prior(label)
    return found is None or found.made_from not in ("nothing", "masks")


def _prior(label: str) -> type[Method] | None:
    try:
        return catalogue.PRIORS.find(label.partition("(")[0])
    except OptionError:
        return None
