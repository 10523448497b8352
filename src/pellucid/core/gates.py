"""What was measured of each method against random weights (docs/gates.md): the file ``gates.json`` beside this one.

``python -m benchmarks.gates`` writes it. It says nothing of methods of other packages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_suffix(".json")
FOUND, EARLY, MIDDLE, WHOLE = "found", "early", "middle", "as it is"
"""The layers that are found if none is named, the first stage, a stage between, and a method that looks at no layer."""
FAILS = "fails"
_CONVOLUTIONAL = "cnn"
"""What the names of the networks without attention have in them."""
Outcomes = Mapping[str, Mapping[str, str]]
"""By network and place ("found", "early", "middle", "as it is"): "passes", "fails" or "undecided"."""


def outcomes(name: str) -> Outcomes:
    """The outcomes of a method; none of one that was not tested.

    >>> outcomes("no such method")
    {}
    """
    return {network: methods[name] for network, methods in _all().items() if name in methods}


def failures(name: str) -> tuple[str, ...]:
    """Where a method fails, as "place in network".

    >>> failures("no such method")
    ()
    """
    return tuple(f"{place} in {network}" for place, network in _failed(name))


def failures_like(name: str, place: str, attends: bool) -> tuple[str, ...]:
    """Where a method fails at such a place of a network of the same kind: one that attends, or one that does not.

    >>> failures_like("no such method", FOUND, attends=False)
    ()
    """
    like = [
        (at, network) for at, network in _failed(name) if at == place and (_CONVOLUTIONAL not in network) == attends
    ]
    return tuple(f"{at} in {network}" for at, network in like)


def _failed(name: str) -> list[tuple[str, str]]:
    each = outcomes(name).items()
    return [(place, network) for network, own in each for place, one in own.items() if one == FAILS]


def fails_by_default(name: str) -> bool:
    """Whether a method fails where it is used without naming a layer, in one network at least."""
    return any(own.get(place) == FAILS for own in outcomes(name).values() for place in (FOUND, WHOLE))


@cache
def _all() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found
