"""Writes what pycocotools and imagehash make of the same outlines and images: ``tests/evaluation/oracles.json``.

Run with ``python -m benchmarks.oracles_outlines`` where pycocotools 2.0.11 and imagehash 4.3.2 are installed. The tests
draw the same polygons and images, and compare.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imagehash  # type: ignore[import-not-found, unused-ignore]
import numpy as np
from PIL import Image as Pillow
from pycocotools import mask as coco

HEIGHT, WIDTH = 90, 120
FILE = Path(__file__).parents[1] / "tests" / "evaluation" / "oracles.json"


def polygon(seed: int) -> list[tuple[float, float]]:
    """The corners of a star around the middle of an image."""
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 12))
    radii = generator.uniform(15, 42, 12)
    return [(60 + float(r * np.cos(a)), 45 + float(r * np.sin(a))) for a, r in zip(angles, radii, strict=True)]


def noise(seed: int, height: int, width: int) -> Any:
    """An image of smooth noise, 0 to 255."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (7, 9)).astype(np.uint8)
    return np.asarray(Pillow.fromarray(coarse).resize((width, height), Pillow.Resampling.BICUBIC))


def _outline(seed: int) -> dict[str, Any]:
    corners = [value for point in polygon(seed) for value in point]
    encoded = coco.merge(coco.frPyObjects([corners], HEIGHT, WIDTH))
    columns = coco.decode(encoded).T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], columns, [0]]).astype(int)))
    pairs = [[int(start) + 1, int(stop - start)] for start, stop in changes.reshape(-1, 2)]
    return {"seed": seed, "text": encoded["counts"].decode(), "pairs": pairs}


def _hash(seed: int) -> dict[str, Any]:
    found = imagehash.phash(Pillow.fromarray(noise(seed, 200, 260)))
    return {"seed": seed, "bits": "".join("01"[int(bit)] for bit in found.hash.ravel())}


if __name__ == "__main__":
    made = {"outlines": [_outline(seed) for seed in range(8)], "hashes": [_hash(seed) for seed in range(8)]}
    FILE.write_text(json.dumps(made, separators=(",", ":")) + "\n")
