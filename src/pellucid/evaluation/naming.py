"""Metrics, methods and tolerances as text, such as ``iou(threshold=0.3)`` and ``15 px``, and what it stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.metric import METRICS, Metric
from pellucid.errors import OptionError

_LABEL = re.compile(r"\s*(?P<name>[^\s()]+)\s*(?:\((?P<options>.*)\))?\s*")
_TOLERANCE = re.compile(r"\s*(?P<number>[0-9]{1,6}(?:\.[0-9]{1,6})?)\s*(?P<unit>px|%|mm)\s*")


def parts_of(label: str, noun: str = "metric") -> tuple[str, Mapping[str, str]]:
    """The name and the options of a label; ``noun`` is what a message calls it.

    >>> parts_of("iou(threshold=0.3)")
    ('iou', {'threshold': '0.3'})

    Raises:
        OptionError: it is not of this form.
    """
    found = _LABEL.fullmatch(label)
    pairs = [one.partition("=") for one in ((found["options"] or "").split(",") if found else ()) if one.strip()]
    if found is None or not all(key.strip() and sign and value.strip() for key, sign, value in pairs):
        raise OptionError(f"{noun} {label!r} was asked for; write its name, or as in name(option=0.3)")
    return found["name"], {key.strip(): value.strip() for key, _, value in pairs}


def metric_of(label: str) -> Metric:
    """The metric of a label, as ``core.scores.labelled`` writes them.

    >>> metric_of("iou(threshold=0.3)")
    IoU(threshold=0.3)

    Raises:
        OptionError: there is no such metric or option, or it compares two maps instead of judging one.
    """
    found = METRICS.build(*parts_of(label))
    if not isinstance(found, Metric):
        raise OptionError(f"metric {label!r} was asked for; it compares two maps: choose one that judges a map")
    return found


def method_of(label: str) -> Method:
    """The method or prior of a label.

    >>> method_of("smoothgrad(samples=8)").name
    'smoothgrad'

    Raises:
        OptionError: there is no such method, prior or option.
    """
    return catalogue.build(*parts_of(label, "method"))


def tolerance_of(text: str) -> tuple[float, str]:
    """A tolerance of the pointing game: its number, and its unit "px" (of the input), "%" (of its diagonal) or "mm".

    >>> tolerance_of("15 px"), tolerance_of("2.5%")
    ((15.0, 'px'), (2.5, '%'))

    Raises:
        OptionError: it is not of this form.
    """
    found = _TOLERANCE.fullmatch(text)
    if found is None:
        raise OptionError(f"the tolerance {text!r} was asked for; write it as 15 px, 2 % (of the diagonal) or 5 mm")
    return float(found["number"]), found["unit"]
