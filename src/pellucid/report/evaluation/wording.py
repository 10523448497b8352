"""Names and nouns in the page's sentences: isolated, escaped, and with what is known of them."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from pellucid.core import catalogue
from pellucid.core.metric import METRICS, Comparison, Metric
from pellucid.core.prior import STATEMENTS
from pellucid.core.registry import summary
from pellucid.errors import OptionError
from pellucid.report.values import text


def name(value: str) -> Markup:
    """A name from outside, as it may stand in a sentence: its own direction of writing does not leave it."""
    return Markup("<bdi>{}</bdi>").format(text(value))


def listed(each: Iterable[str | Markup]) -> Markup:
    """Names or phrases in a sentence.

    >>> str(listed(["a", "b & c", "d"]))
    'a, b &amp; c and d'
    """
    parts = list(each)
    if len(parts) < 2:
        return Markup("").join(parts)
    return Markup("{} and {}").format(Markup(", ").join(parts[:-1]), parts[-1])


def sentence(form: str, *values: object) -> Markup:
    """A sentence of the page's own words with ``{}`` for values, which are escaped.

    >>> str(sentence("{} of {}", "<1>", 2))
    '&lt;1&gt; of 2'
    """
    return Markup(form).format(*values)  # noqa: S704  # the form is the page's own


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
    better = {"higher": "Higher is better.", "lower": "Lower is better."}
    return f"{summary(found)} {better.get(found.better or '', 'Neither high nor low is better by itself.')}"


def better(label: str) -> str:
    """Which values of a metric speak for a map: "higher", "lower", or "" where neither does or it is not known."""
    found = metric_class(label)
    return (found.better or "") if found is not None else ""


def is_share(label: str) -> bool:
    """Whether the figure of a metric is the share of findings for which something holds."""
    return bool(getattr(metric_class(label), "proportion", False))


def about_prior(label: str) -> str:
    """What a prior's maps are made from."""
    try:
        found = catalogue.PRIORS.find(label.partition("(")[0])
    except OptionError:
        return ""
    made_from = (STATEMENTS[found.made_from] or "").removeprefix("a prior: it ")
    return f"{summary(found)} It {made_from}."
