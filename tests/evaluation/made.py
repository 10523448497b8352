"""Data sets in a folder, for the tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data.reading import read_data


def files(folder: Path, *names: str) -> Path:
    """The folder, with small image files of these names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Pillow.new("L", (8, 6)).save(path)
    return folder


def table(folder: Path, text: str, name: str = "cases.csv", encoding: str = "utf-8") -> Path:
    """A table with this text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding=encoding)
    return folder / name


def named(data: Data) -> dict[str, Case]:
    return {case.name: case for case in data.cases}


def reasons(data: Data) -> dict[str, str]:
    return {one.name: one.reason for one in data.excluded}


def refusal(data: Path | str, **options: object) -> str:
    """The message with which a data set is refused."""
    with pytest.raises(DataError) as caught:
        read_data(data, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def noise(seed: int, *size: int) -> np.ndarray:
    """An image of smooth noise, 0 to 255."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (7, 9)).astype(np.uint8)
    return np.asarray(Pillow.fromarray(coarse).resize(size[::-1], Pillow.Resampling.BICUBIC))
