"""COCO's JSON becomes cases: polygons, run lengths, boxes; and what is broken, hostile or missing is counted."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data import annotations
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.form import FORMS, Asked

HEIGHT, WIDTH = 12, 20
SIZE = [HEIGHT, WIDTH]
CATEGORIES = [{"id": 3, "name": "cyst"}, {"id": 7, "name": "nodule, groß"}]


def written(folder: Path, content: Any, *images: str) -> Path:
    for name in images:
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        Picture.new("L", (WIDTH, HEIGHT)).save(folder / name)
    path = folder / "annotations.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def image(number: int, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, **more}


def content(*annotations: Mapping[str, Any], images: Any = None) -> dict[str, Any]:
    every = [image(1, "a.png"), image(2, "b.png")] if images is None else images
    return {"info": {}, "images": every, "annotations": list(annotations), "categories": CATEGORIES}


def annotation(category: Any = 3, of: Any = 1, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": of, "category_id": category, **more}


def read(path: Path, **where: Path) -> Data:
    form, asked = FORMS.find("coco")(), Asked(str(path), **where)
    assert form.recognises(asked)
    return form.read(asked)


def masks_of(case: Case) -> dict[str, np.ndarray[Any, Any]]:
    opened = case.source.image()
    return {label: outline.mask(opened).numpy() for label, outline in case.findings.items()}


def rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray[Any, Any]:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def counts_of(mask: np.ndarray[Any, Any]) -> list[int]:
    """Run lengths by a loop: column after column, beginning with 0."""
    runs, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def text_of(runs: list[int]) -> str:
    """COCO's text of run lengths: digits of 5 bits, lowest first; from the fourth on differences to two before."""
    text = ""
    for number, run in enumerate(runs):
        rest = run - runs[number - 2] if number > 2 else run
        while True:
            digit, rest = rest & 31, rest >> 5
            done = (rest == 0 and not digit & 16) or (rest == -1 and bool(digit & 16))
            text += chr(48 + (digit if done else digit | 32))
            if done:
                break
    return text


MASK = rectangle(2, 3, 9, 11) ^ rectangle(4, 5, 6, 7)
FORMS_OF = {
    "polygon": ({"segmentation": [[3, 2, 11, 2, 11, 9, 3, 9]]}, rectangle(2, 3, 9, 11)),
    "two polygons": (
        {"segmentation": [[3, 2, 6, 2, 6, 4, 3, 4], [10, 6, 12, 6, 12, 8, 10, 8]]},
        rectangle(2, 3, 4, 6) | rectangle(6, 10, 8, 12),
    ),
    "box": ({"bbox": [3, 2, 8, 7]}, rectangle(2, 3, 9, 11)),
    "box beside an empty polygon": ({"segmentation": [], "bbox": [3, 2, 8, 7]}, rectangle(2, 3, 9, 11)),
    "run lengths of a crowd": (
        {"iscrowd": 1, "segmentation": {"size": [HEIGHT, WIDTH], "counts": counts_of(MASK)}},
        MASK,
    ),
    "compressed run lengths": ({"segmentation": {"size": [HEIGHT, WIDTH], "counts": text_of(counts_of(MASK))}}, MASK),
}


@pytest.mark.parametrize("form", sorted(FORMS_OF))
def test_each_form_of_an_outline_is_its_mask(form: str, tmp_path: Path) -> None:
    given, expected = FORMS_OF[form]
    path = written(tmp_path, content(annotation(**given)), "a.png", "b.png")
    found, other = read(path).cases
    np.testing.assert_array_equal(masks_of(found)["cyst"], expected)
    assert (found.labels, other.labels, other.findings) == (("cyst",), (), {})


def test_annotations_of_a_category_are_one_finding_and_images_are_below_the_folder(tmp_path: Path) -> None:
    every = [image("x", "deep/ä, b.png", patient_id=17, split="val"), image(2, "b.png")]
    given = [
        annotation(3, "x", bbox=[0, 0, 2, 2]),
        annotation(3, "x", bbox=[5, 5, 2, 2]),
        annotation(7, "x", bbox=[9, 9, 1, 1]),
    ]
    written(tmp_path / "images", "{}", "deep/ä, b.png", "b.png")
    path = tmp_path / "table.json.gz"
    path.write_bytes(gzip.compress(json.dumps(content(*given, images=every)).encode()))
    found = read(path, images=tmp_path / "images").cases[0]
    assert (found.name, found.patient, found.split) == ("deep/ä, b.png", "17", "val")
    assert found.labels == ("cyst", "nodule, groß")
    masks = masks_of(found)
    np.testing.assert_array_equal(masks["cyst"], rectangle(0, 0, 2, 2) | rectangle(5, 5, 7, 7))
    np.testing.assert_array_equal(masks["nodule, groß"], rectangle(9, 9, 10, 10))
    assert read_data(path, images=tmp_path / "images").form == "coco"


def test_a_label_without_an_outline_is_stated(tmp_path: Path) -> None:
    found, _ = read(written(tmp_path, content(annotation()), "a.png", "b.png")).cases
    assert (found.labels, found.findings) == (("cyst",), {})


BROKEN = "its annotation is broken"
UNKNOWN_CATEGORY = "its annotation names a category that the file does not list"
WRONG = {
    "odd polygon": (annotation(segmentation=[[1, 2, 3]]), BROKEN),
    "line": (annotation(segmentation=[[1, 2, 3, 4]]), BROKEN),
    "text as a coordinate": (annotation(segmentation=[[1, 2, 3, 4, 5, "6"]]), BROKEN),
    "true as a coordinate": (annotation(bbox=[1, 2, True, 4]), BROKEN),
    "far away": (annotation(bbox=[1, 2, 1e300, 4]), BROKEN),
    "no width": (annotation(bbox=[1, 2, 0, 4]), BROKEN),
    "negative": (annotation(bbox=[1, 2, 3, -4]), BROKEN),
    "three sides": (annotation(bbox=[1, 2, 3]), BROKEN),
    "polygon as text": (annotation(segmentation="1 2 3 4"), BROKEN),
    "fractional counts": (annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": [1.5]}), BROKEN),
    "no size": (annotation(segmentation={"counts": [1]}), BROKEN),
    "negative size": (annotation(segmentation={"size": [-2, 3], "counts": [1]}), BROKEN),
    "unknown category": (
        annotation(8, bbox=[1, 1, 2, 2]),
        "its annotation names a category that the file does not list",
    ),
    "a list as category": (
        annotation([3], bbox=[1, 1, 2, 2]),
        "its annotation names a category that the file does not list",
    ),
}


@pytest.mark.parametrize("what", sorted(WRONG))
def test_an_image_with_a_broken_annotation_is_excluded_as_a_whole(what: str, tmp_path: Path) -> None:
    given, reason = WRONG[what]
    path = written(tmp_path, content(annotation(bbox=[1, 1, 2, 2]), given), "a.png", "b.png")
    data = read(path)
    assert [case.name for case in data.cases] == ["b.png"]
    assert [(one.name, one.reason) for one in data.excluded] == [("a.png", reason)]


@pytest.mark.parametrize(
    "counts",
    [[-1, 300], [10**9], [1] * 3, "0" * 5000, "~~", [2**70], counts_of(MASK)[:-1]],
    ids=lambda one: str(one)[:12],
)
def test_run_lengths_that_do_not_fit_are_a_reason_when_they_are_opened(counts: Any, tmp_path: Path) -> None:
    given = annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": counts})
    found, _ = read(written(tmp_path, content(given), "a.png", "b.png")).cases
    with pytest.raises(DataError, match="run lengths"):
        masks_of(found)


def test_a_size_that_is_not_the_images_is_a_reason(tmp_path: Path) -> None:
    huge = annotation(segmentation={"size": [10**9, 10**9], "counts": [10**18]})
    found, other = read(written(tmp_path, content(huge, annotation(of=2, bbox=[1, 1, 2, 2])), "a.png", "b.png")).cases
    with pytest.raises(DataError, match="another size"):
        masks_of(found)
    Picture.new("L", (5, 5)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="another size"):
        masks_of(other)


def test_unknown_missing_repeated_and_outside_images_are_counted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    written(tmp_path, "{}", "secret.png")
    (tmp_path / "data" / "link.png").symlink_to(tmp_path / "secret.png")
    names = [
        "a.png",
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "gone.png",
        "a.png",
        "nul\0.png",
        5,
        "",
    ]
    every = [image(number, name) for number, name in enumerate(names)]  # type: ignore[arg-type]
    every.append({"file_name": "b.png"})
    given = [annotation(of=99, bbox=[1, 1, 2, 2]), annotation(of=[1], bbox=[1, 1, 2, 2]), 7]
    data = read(written(tmp_path / "data", content(*given, images=every), "a.png", "b.png"))
    reasons = Counter(one.reason for one in data.excluded)
    assert not data.cases
    assert reasons == {
        "its annotation names an image that the file does not list": 3,
        "its image is outside the folders of the data set": 3,
        "its image is missing": 2,
        "its image is listed twice": 1,
        BROKEN: 3,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [{"id": ' + "[" * 100_000, "nested too deep|no JSON"),
        ('{"images": [{"id": 1}], "annotations": [', "no JSON"),
        ('{"images": [{"id": NaN}]}', "NaN is no number"),
        ('{"images": [{"id": 1}], "annotations": {}}', "no list 'annotations'"),
        ('{"images": [{"id": 1}], "annotations": []}', "no list 'categories'"),
        ('{"images": [{"id": ' + "9" * 5000 + "}]}", "no JSON"),
    ],
    ids=["deep", "cut", "nan", "object", "missing", "long number"],
)
def test_a_file_that_cannot_be_read_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_files_and_values_are_bounded_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, content())
    monkeypatch.setattr(annotations, "MAX_VALUES", 5)
    with pytest.raises(DataError, match="at most 5 are read"):
        read(path)
    bomb = tmp_path / "bomb.json.gz"
    bomb.write_bytes(gzip.compress(json.dumps(content()).encode() + b" " * 2**20))
    monkeypatch.setattr(annotations, "MAX_BYTES", 2**19)
    with pytest.raises(DataError, match="more than 524,288 bytes"):
        read(bomb)
    (tmp_path / "cut.json.gz").write_bytes(bomb.read_bytes()[:-20])
    monkeypatch.undo()
    with pytest.raises(DataError, match="it is broken"):
        FORMS.find("coco")().read(Asked(str(tmp_path / "cut.json.gz")))


def test_too_many_corners_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.evaluation.data.annotated._MOST_CORNERS", 10)
    given = annotation(segmentation=[[1, 2] * 11])
    data = read(written(tmp_path, content(given), "a.png", "b.png"))
    assert [(one.reason, one.detail) for one in data.excluded] == [(BROKEN, "a polygon of 11 corners")]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"a": 1}', '{"images": 3}', "a,b\n1,2", '{"images', "\0\0"])
def test_other_files_are_not_recognised(text: str, tmp_path: Path) -> None:
    path = written(tmp_path, text)
    assert not FORMS.find("coco")().recognises(Asked(str(path)))
    assert not FORMS.find("coco")().recognises(Asked(str(tmp_path)))
    assert not FORMS.find("coco")().recognises(Asked(str(tmp_path / "gone")))


def test_the_beginning_of_a_file_is_looked_through_in_linear_time() -> None:
    hostile = '{"' + '\\"' * 30_000
    assert annotations.keys_of(hostile) == []
    assert annotations.keys_of('{"a\\"b": [{"c": "d: {"}], "e"') == [(1, 'a\\"b'), (3, "c")]


def test_an_image_without_an_outline_is_healthy_tissue(tmp_path: Path) -> None:
    data = read_data(written(tmp_path, content(annotation(bbox=[1, 1, 2, 2])), "a.png", "b.png"))
    assert [(case.name, bool(case.findings)) for case in data.cases] == [("a.png", True), ("b.png", False)]


def test_two_images_of_one_id_are_not_told_apart(tmp_path: Path) -> None:
    every = [image(1, "a.png"), image(1, "b.png"), image(2, "c.png")]
    data = read(written(tmp_path, content(annotation(bbox=[1, 1, 2, 2]), images=every), "a.png", "b.png", "c.png"))
    assert [case.name for case in data.cases] == ["c.png"]
    assert {(one.name, one.reason) for one in data.excluded} == {
        ("a.png", "its image is listed twice"),
        ("b.png", "its image is listed twice"),
    }
