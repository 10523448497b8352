"""Writes what pycocotools makes of the same outlines: ``tests/evaluation/oracles.json``.

Run with ``python -m benchmarks.published_outlines`` where pycocotools 2.0.11 is installed. The tests draw the same
polygons and compare.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco

HEIGHT, WIDTH = 90, 120
FILE = Path(__file__).parents[1] / "tests" / "evaluation" / "oracles.json"


def polygon(seed: int) -> list[tuple[float, float]]:
    """The corners of a star around the middle of an image."""
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 12))
    radii = generator.uniform(15, 42, 12)
    return [(60 + float(r * np.cos(a)), 45 + float(r * np.sin(a))) for a, r in zip(angles, radii, strict=True)]


def _outline(seed: int) -> dict[str, Any]:
    corners = [value for point in polygon(seed) for value in point]
    encoded = coco.merge(coco.frPyObjects([corners], HEIGHT, WIDTH))
    columns = coco.decode(encoded).T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], columns, [0]]).astype(int)))
    pairs = [[int(start) + 1, int(stop - start)] for start, stop in changes.reshape(-1, 2)]
    return {"seed": seed, "text": encoded["counts"].decode(), "pairs": pairs}


if __name__ == "__main__":
    made = [_outline(seed) for seed in range(8)]
    FILE.write_text(json.dumps(made, separators=(",", ":")) + "\n")
