"""Reads the measured hit rates of each method, which the benchmarks write to ``docs/results``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).parents[1] / "results"
NEEDED = 0.95
"""The share of hits on mosaics from which on a method counts as able to separate objects."""


def rows(name: str) -> list[str]:
    """The rows with a method's hit rates, for the table on its page."""
    found = [f"{_percent(*counts)} on the {network}" for network, counts in _phantoms(name)]
    rows = [f"| hits on [drawn findings](../trust.md#on-drawn-radiographs) | {', '.join(found)} |"] if found else []
    mosaic = _read("mosaic").get(name)
    if mosaic:
        verdict = "" if mosaic[0] >= NEEDED * mosaic[1] else ": **not suited to separating objects**"
        rows.append(f"| hits on [mosaics](../trust.md#on-mosaics) | {mosaic[0]} of {mosaic[1]}{verdict} |")
    return rows


def _phantoms(name: str) -> list[tuple[str, list[int]]]:
    """A method's counts on each network, without those that the best method was selected by, which have longer keys."""
    keys = {key: key.split("/") for key in _read("phantoms")}
    return [(parts[0], _read("phantoms")[key]) for key, parts in keys.items() if parts[1:] == [name]]


def _percent(hits: int, count: int) -> str:
    return f"{100 * hits / count:.0f} %"


@cache
def _read(name: str) -> dict[str, list[int]]:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}
