"""The table of ``benchmarks.gates``, and the outcomes that the package ships, from what was stored."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import results
from benchmarks.gates_decided import RESEMBLANCES, Side, decided, outcome, pair
from pellucid.phantom.models import NETWORKS

HEADER = ("method", "layer", "outcome", *RESEMBLANCES, "without a value", "`mprt`", "`emprt`")


def outcome_of(cell: Mapping[str, Any]) -> str:
    """Whether a pair of method and layer passes."""
    return outcome([decided(*sides) for sides in pair(cell).values()])


def outcomes(stored: Mapping[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    """By network, method and place, whether the pair passes."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for network, own in sorted(stored.items()):
        for key, cell in sorted(own["cells"].items()):
            method, place = key.split("/")
            found.setdefault(network, {}).setdefault(method, {})[place] = outcome_of(cell)
    return found


def page(stored: Mapping[str, Any]) -> str:
    """A section for each network."""
    return "\n".join(_section(name, own) for name, own in stored.items())


def _section(name: str, own: Mapping[str, Any]) -> str:
    title = NETWORKS[name].title
    areas = "; ".join(f"seed {seed}: {', '.join(f'{one:.3f}' for one in each)}" for seed, each in own["areas"].items())
    tested = [outcome_of(cell) for cell in own["cells"].values()]
    counts = ", ".join(f"{tested.count(one)} {words}" for one, words in _WORDS.items())
    return (
        f"**{title[0].upper()}{title[1:]}** (`{name}`). AUC of each class of the other seeds: {areas}. Of "
        f"{len(tested)} pairs of method and layer: {counts}. By the worst randomisation alone these would fail: "
        f"{', '.join(_by_the_worst(own['cells'])) or 'none'}.\n\n{results.table(HEADER, _rows(own['cells']))}"
    )


def _by_the_worst(cells: Mapping[str, Any]) -> Iterator[str]:
    """The pairs of which one randomisation's mean is not below the lower limit of other seeds, in a resemblance."""
    for key, cell in sorted(cells.items()):
        method, place = key.split("/")
        if any(_worst(cell, name) >= seeds.low for name, (_, seeds) in pair(cell).items()):
            yield f"`{method}` ({place})"


def _worst(cell: Mapping[str, Any], name: str) -> float:
    """The largest mean over images of a randomisation; NaN where none has a value."""
    return max((float(one) for one in cell["random"][name]["each"] if one is not None), default=math.nan)


_WORDS = {"passes": "pass", "fails": "fail", "undecided": "are undecided"}


def _rows(cells: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, cell in sorted(cells.items()):
        method, place = key.split("/")
        layers = ", ".join(f"`{layer}`" for layer in cell["layers"])
        found = outcome_of(cell)
        yield (
            f"`{method}`",
            f"{place}: {layers}" if layers else place,
            f"**{found}**" if found != "passes" else found,
            *(_compared(name, cell, *sides) for name, sides in pair(cell).items()),
            str(_missing(cell)),
            _figure(cell.get("mprt")),
            _figure(cell["emprt"]),
        )


def _compared(name: str, cell: Mapping[str, Any], random: Side, seeds: Side) -> str:
    """The upper limit of random maps and the worst randomisation; the lower limit of other seeds."""
    text = f"{random.high:.2f} ({_figure(_worst(cell, name))}) / {seeds.low:.2f}"
    return text if decided(random, seeds) == "passes" else f"**{text}**"


def _missing(cell: Mapping[str, Any]) -> int:
    """Comparisons without a value, of both sides and all resemblances."""
    seeds = sum(value is None for own in cell["seeds"].values() for values in own.values() for value in values)
    return seeds + sum(int(one["missing"]) for one in cell["random"].values())


def _figure(value: float | None) -> str:
    return "—" if value is None or math.isnan(value) else f"{value:.2f}"
