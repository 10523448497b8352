"""CheXlocalize's JSON files become cases, with the layout of the published samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from pellucid.evaluation.case import Data
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.form import FORMS, Asked
from tests.evaluation.test_coco import HEIGHT, MASK, WIDTH, counts_of, masks_of, rectangle, text_of

ID = "patient64541_study1_view1_frontal"
LATERAL = "patient64542_study1_view2_lateral"
EMPTY = {"size": [HEIGHT, WIDTH], "counts": text_of([HEIGHT * WIDTH])}
RUNS = {"size": [HEIGHT, WIDTH], "counts": text_of(counts_of(MASK))}
POLYGON = [[3.2, 2.1], [11.4, 2.1], [11.4, 9.0], [3.2, 9.0]]


def written(folder: Path, content: Any, *images: str) -> Path:
    for name in images:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Picture.new("L", (WIDTH, HEIGHT)).save(folder / name)
    path = folder / "gt_segmentations_val.json"
    path.write_text(json.dumps(content))
    return path


def read(path: Path, **where: Path) -> Data:
    form, asked = FORMS.find("chexlocalize")(), Asked(str(path), **where)
    assert form.recognises(asked)
    return form.read(asked)


@pytest.mark.parametrize("above", ["", "valid", "CheXpert-v1.0/valid", "CheXpert/test"])
def test_masks_by_run_lengths(above: str, tmp_path: Path) -> None:
    content = {ID: {"Edema": EMPTY, "Airspace Opacity": RUNS}, LATERAL: {"Edema": EMPTY, "Airspace Opacity": EMPTY}}
    names = ["patient64541/study1/view1_frontal.jpg", "patient64542/study1/view2_lateral.jpg"]
    written(tmp_path / "images" / above, {}, *names)
    data = read(written(tmp_path, content), images=tmp_path / "images")
    first, second = data.cases
    assert (first.name, first.patient, first.labels) == (ID, "patient64541", ("Airspace Opacity",))
    assert (second.patient, second.labels, second.findings) == ("patient64542", (), {})
    np.testing.assert_array_equal(masks_of(first)["Airspace Opacity"], MASK)
    assert "Lung Opacity" in data.notes[0]


def test_radiologists_polygons(tmp_path: Path) -> None:
    content = {ID: {"img_size": [HEIGHT, WIDTH], "Edema": [POLYGON, [[0, 0], [2, 0], [2, 2], [0, 2]]], "Fracture": []}}
    (found,) = read(written(tmp_path, content, f"{ID}.png")).cases
    assert found.labels == ("Edema",)
    np.testing.assert_array_equal(masks_of(found)["Edema"], rectangle(2, 3, 9, 11) | rectangle(0, 0, 2, 2))
    assert read_data(tmp_path / "gt_segmentations_val.json").form == "chexlocalize"


def test_the_published_text_of_an_empty_mask_is_empty(tmp_path: Path) -> None:
    content = {ID: {"Pneumothorax": {"size": [2320, 2828], "counts": "PVWX6"}}}
    (found,) = read(written(tmp_path, content, f"{ID}.png")).cases
    assert found.labels == ()


@pytest.mark.parametrize(
    "stated",
    [
        [],
        {"Edema": 3},
        {"img_size": [3], "Edema": [POLYGON]},
        {"img_size": [True, 4], "Edema": [POLYGON]},
        {"img_size": [HEIGHT, WIDTH], "Edema": [[[1, 2], [3, 4]]]},
        {"img_size": [HEIGHT, WIDTH], "Edema": [[[1, 2], [3, 4], [5]]]},
        {"img_size": [HEIGHT, WIDTH], "Edema": {"size": 3}},
        {"Edema": {"size": [HEIGHT, WIDTH], "counts": None}},
        {"": RUNS},
    ],
    ids=lambda one: json.dumps(one)[:40],
)
def test_what_is_broken_excludes_its_image(stated: Any, tmp_path: Path) -> None:
    good = {"patient1_study1_view1_frontal": {"Edema": RUNS}}
    path = written(tmp_path, {**good, ID: stated}, f"{ID}.png", "patient1/study1/view1_frontal.png")
    data = read(path)
    assert [case.name for case in data.cases] == list(good)
    assert [(one.name, one.reason) for one in data.excluded] == [(ID, "its annotation is broken")]


def test_broken_run_lengths_are_not_an_empty_mask(tmp_path: Path) -> None:
    content = {ID: {"Edema": {"size": [HEIGHT, WIDTH], "counts": "~"}}}
    (found,) = read(written(tmp_path, content, f"{ID}.png")).cases
    assert found.labels == ("Edema",)


def test_images_outside_or_missing_are_counted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Picture.new("L", (3, 3)).save(tmp_path / "secret.png")
    content = {"patient1_study1_view1_frontal": {"Edema": RUNS}, "../secret": {"Edema": RUNS}}
    data = read(written(tmp_path / "data", content))
    assert {(one.name, one.reason) for one in data.excluded} == {
        ("patient1_study1_view1_frontal", "its image is missing"),
        ("../secret", "its image is outside the folders of the data set"),
    }
