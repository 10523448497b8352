"""Reads the measured hit rates of each method, which the benchmarks write to ``docs/results``."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"
NEEDED = 0.95
"""The share of hits on mosaics from which on a method counts as able to separate objects."""


NETWORKS = {"cnn": "CNN", "vit": "ViT", "swin": "Swin"}
TOLERANCE = "half a cell"


def rows(name: str) -> list[str]:
    """The rows with a method's hit rates, for the table on its page: first those that learnt from labels alone."""
    unguided, guided = _phantoms(name, "unguided", "unguided_"), _phantoms(name, "guided", "")
    link = "hits on [drawn findings](../trust.md#on-drawn-radiographs)"
    rows = [f"| {link} | {unguided}{f'; on networks taught where findings are: {guided}' if guided else ''} |"]
    rows = rows if unguided else []
    mosaic = _read("mosaic").get(name)
    if mosaic:
        verdict = "" if mosaic[0] >= NEEDED * mosaic[1] else ": **not suited to separating objects**"
        rows.append(f"| hits on [mosaics](../trust.md#on-mosaics) | {mosaic[0]} of {mosaic[1]}{verdict} |")
    return rows


def _phantoms(name: str, group: str, prefix: str) -> str:
    """A method's hit rates on each network of a group."""
    stored = _read("phantoms")
    found = {title: stored.get(f"{group}/{prefix}{network}/{name}") for network, title in NETWORKS.items()}
    return ", ".join(f"{_percent(flags[TOLERANCE])} ({title})" for title, flags in found.items() if flags)


def _percent(flags: str) -> str:
    return f"{100 * flags.count('1') / len(flags):.0f} %"


@cache
def _read(name: str) -> dict[str, Any]:
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found
