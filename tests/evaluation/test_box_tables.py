"""NIH's and VinDr-CXR's tables of boxes become cases, with the headers of the published files."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from pellucid.errors import DataError
from pellucid.evaluation.case import Data
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.form import FORMS, Asked
from tests.evaluation.test_coco import masks_of

NIH = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
VINDR = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
TEST = "image_id,class_name,x_min,y_min,x_max,y_max"


def written(folder: Path, lines: Sequence[str], name: str = "table.csv") -> Path:
    path = folder / name
    content = "\n".join([*lines, ""]).encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


def drawn(folder: Path, *names: str, side: int = 1024) -> Path:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Picture.new("L", (side, side)).save(folder / name)
    return folder


def read(form: str, path: Path, images: Path | None = None) -> Data:
    asked = Asked(str(path), images)
    assert [name for name, cls in FORMS.registered().items() if not cls.is_general and cls().recognises(asked)] == [
        form
    ]
    return FORMS.find(form)().read(asked)


@pytest.mark.parametrize("name", ["BBox_List_2017.csv", "BBox_List_2017.csv.gz"])
def test_nih(name: str, tmp_path: Path) -> None:
    rows = [
        "00013118_008.png,Atelectasis,225.08,547.02,86.78,79.19,,,",
        "00013118_008.png,Atelectasis,10,20,30,40",
        "00013118_008.png,Mass,500,600,10,20",
        "00014716_007.png,Infiltrate,686.1,131.5,185.5,313.5,,,",
    ]
    images = drawn(tmp_path / "data", "images_001/images/00013118_008.png", "images_002/images/00014716_007.png")
    data = read("nih", written(tmp_path, [NIH, *rows], name), images)
    first, second = data.cases
    assert (first.name, first.patient, first.labels) == ("00013118_008.png", "00013118", ("Atelectasis", "Mass"))
    assert (second.patient, second.labels) == ("00014716", ("Infiltrate",))
    expected = np.zeros((1024, 1024), dtype=bool)
    for row in range(1024):
        for column in range(1024):
            x, y = column + 0.5, row + 0.5
            expected[row, column] = (225.08 <= x < 311.86 and 547.02 <= y < 626.21) or (10 <= x < 40 and 20 <= y < 60)
    np.testing.assert_array_equal(masks_of(first)["Atelectasis"], expected)
    assert "a box only" in data.notes[0]


def test_boxes_of_nih_fit_images_of_1024_only(tmp_path: Path) -> None:
    path = written(tmp_path, [NIH, "00000001_000.png,Mass,5,6,10,20"])
    (found,) = read("nih", path, drawn(tmp_path, "00000001_000.png", side=224)).cases
    with pytest.raises(DataError, match="an image of another size"):
        masks_of(found)


@pytest.mark.parametrize(
    "row",
    [
        "Mass,5,6,10",
        "Mass,5,6,10,-20",
        "Mass,5,6,ten,20",
        "Mass,nan,6,10,20",
        "Mass,5,6,inf,20",
        ",5,6,10,20",
        "Mass,1,2,3,4,5",
    ],
)
def test_a_broken_row_of_nih_excludes_its_image(row: str, tmp_path: Path) -> None:
    images = drawn(tmp_path / "images", "00000001_000.png", "00000002_000.png", side=16)
    rows = ["00000001_000.png,Mass,5,6,10,20", f"00000001_000.png,{row}", "00000002_000.png,Mass,5,6,10,20"]
    data = read("nih", written(tmp_path, [NIH, *rows]), images)
    assert [case.name for case in data.cases] == ["00000002_000.png"]
    assert [(one.name, one.reason) for one in data.excluded] == [("00000001_000.png", "its annotation is broken")]


def test_images_that_are_missing_or_there_twice_are_counted(tmp_path: Path) -> None:
    images = drawn(tmp_path / "images", "a/00000001_000.png", "b/00000001_000.png", "ok.png", side=8)
    (images / "00000003_000.png").symlink_to(images / "ok.png")
    rows = [f"0000000{number}_000.png,Mass,5,6,10,20" for number in (1, 2, 3)]
    data = read("nih", written(tmp_path, [NIH, *rows, "ok.png,Mass,1,1,2,2"]), images)
    assert [(case.name, case.patient) for case in data.cases] == [("ok.png", None)]
    assert Counter(one.reason for one in data.excluded) == {
        "its image is missing": 2,
        "several images have its name": 1,
    }


def test_vindr_unites_what_radiologists_outlined(tmp_path: Path) -> None:
    rows = [
        "50a4,Cardiomegaly,3,R10,5.0,6.0,9.0,8.0",
        "50a4,Cardiomegaly,3,R8,7,6,12,9",
        "50a4,Nodule/Mass,8,R8,1,1,3,3",
        "21a1,No finding,14,R11,,,,",
        "21a1,No finding,14,R7,,,,",
    ]
    images = drawn(tmp_path / "train", "50a4.png", "21a1.png", side=16)
    data = read("vindr", written(tmp_path, [VINDR, *rows], "annotations_train.csv"), images)
    first, second = data.cases
    assert (first.name, first.labels, first.patient) == ("50a4", ("Cardiomegaly", "Nodule/Mass"), None)
    assert (second.name, second.labels, second.findings) == ("21a1", (), {})
    expected = np.zeros((16, 16), dtype=bool)
    expected[6:8, 5:9] = expected[6:9, 7:12] = True
    np.testing.assert_array_equal(masks_of(first)["Cardiomegaly"], expected)
    assert "2 of 2 images" in data.notes[1]
    assert read_data(tmp_path / "annotations_train.csv", images=images).form == "vindr"


def test_vindrs_test_set_has_one_reading_and_images_without_a_suffix_in_the_table(tmp_path: Path) -> None:
    images = drawn(tmp_path / "deep", "test/50a4.jpg", side=16)
    data = read("vindr", written(tmp_path, [TEST, "50a4,Cardiomegaly,5,6,9,8"], "annotations_test.csv.gz"), images)
    assert [case.name for case in data.cases] == ["50a4"]
    assert len(data.notes) == 1


@pytest.mark.parametrize(
    "row",
    ["x,Cardiomegaly,,,,", "x,No finding,1,2,3,4", "x,Cardiomegaly,5,6,5,8", "x,Cardiomegaly,5,6,9", "x,,5,6,9,8"],
    ids=["no box", "a box of nothing", "no width", "short", "no class"],
)
def test_a_broken_row_of_vindr_excludes_its_image(row: str, tmp_path: Path) -> None:
    images = drawn(tmp_path / "images", "x.png", "y.png", side=16)
    data = read("vindr", written(tmp_path, [TEST, "x,Cardiomegaly,1,2,3,4", row, "y,No finding,,,,"]), images)
    assert [case.name for case in data.cases] == ["y"]
    assert [(one.name, one.reason) for one in data.excluded] == [("x", "its annotation is broken")]


def test_a_box_beyond_the_image_is_of_an_image_that_was_not_made_smaller(tmp_path: Path) -> None:
    images = drawn(tmp_path / "images", "x.png", side=512)
    (found,) = read("vindr", written(tmp_path, [TEST, "x,Cardiomegaly,691,1375,1653,1831"]), images).cases
    with pytest.raises(DataError, match="beyond the image"):
        masks_of(found)


@pytest.mark.parametrize("form", ["nih", "vindr"])
def test_other_tables_are_not_recognised(form: str, tmp_path: Path) -> None:
    lines = "Image Index,Finding Labels,Follow-up #,Patient ID", "path,label", "image_id,class_name,x_min", ""
    for line in lines:
        assert not FORMS.find(form)().recognises(Asked(str(written(tmp_path, [line]))))


@pytest.mark.parametrize("form", ["nih", "vindr"])
def test_a_broken_table_is_one_line(form: str, tmp_path: Path) -> None:
    for content in (b"a\xff\n", b'a,"b\n', gzip.compress(b"x" * 99)[:-9]):
        path = tmp_path / "broken.csv"
        path.write_bytes(content)
        with pytest.raises(DataError) as caught:
            FORMS.find(form)().read(Asked(str(path)))
        assert "\n" not in str(caught.value)
