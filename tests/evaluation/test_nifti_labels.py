"""Label maps in NIfTI become findings: nnU-Net's folders, and pairs of files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data.findings import settled
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.form import FORMS, Asked

nibabel = pytest.importorskip("nibabel")
SHAPE = (5, 6, 4)
"""Columns, rows, slices, as NIfTI has them."""
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def saved(path: Path, values: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


def numbers(seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(0, 4, SHAPE).astype(np.uint8)


def nnunet(root: Path, settings: Any, suffix: str = "_0000", case: str = "liver_01") -> Path:
    saved(root / "imagesTr" / f"{case}{suffix}.nii.gz", np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    saved(root / "labelsTr" / f"{case}.nii.gz", numbers())
    if settings is not None:
        (root / "dataset.json").write_text(settings if isinstance(settings, str) else json.dumps(settings))
    return root


def read(root: Path) -> Data:
    form, asked = FORMS.find("nifti")(), Asked(str(root))
    assert form.recognises(asked)
    return form.read(asked)


def masks_of(case: Case) -> Mapping[str, np.ndarray[Any, Any]]:
    image = case.source.image()
    return {label: outline.mask(image).numpy() for label, outline in case.findings.items()}


@pytest.mark.parametrize(
    ("labels", "suffix"),
    [
        ({"background": 0, "liver": 1, "tumour": 2, "either": [2, 3]}, "_0000"),
        ({"0": "background", "1": "liver", "2": "tumour"}, ""),
        ({"background": 0, "liver": 1, "tumour": 2, "ignore": 3}, "_0000"),
    ],
    ids=["nnunet", "decathlon", "ignored"],
)
def test_labels_are_those_of_the_settings(labels: Mapping[str, Any], suffix: str, tmp_path: Path) -> None:
    data = read(nnunet(tmp_path, {"labels": labels, "file_ending": ".nii.gz"}, suffix))
    (found,) = data.cases
    assert (found.name, found.split, found.labels) == ("imagesTr/liver_01", "train", None)
    masks, levels = masks_of(found), numbers().T  # rows and slices last in NIfTI
    np.testing.assert_array_equal(masks["liver"], levels == 1)
    np.testing.assert_array_equal(masks["tumour"], levels == 2)
    assert set(masks) == set(labels if suffix else ["liver", "tumour"]) - {"background", "ignore"}
    if "either" in masks:
        np.testing.assert_array_equal(masks["either"], levels >= 2)
    assert any("first channel" in note for note in data.notes) == bool(suffix)


def test_without_settings_everything_is_one_finding(tmp_path: Path) -> None:
    data = read(nnunet(tmp_path, None))
    np.testing.assert_array_equal(masks_of(data.cases[0])[""], numbers().T > 0)
    assert any("unknown class" in note for note in data.notes)


@pytest.mark.parametrize("suffix", ["_seg", "-label", "_labels", "_mask", "_Segmentation"])
def test_label_maps_beside_their_images(suffix: str, tmp_path: Path) -> None:
    saved(tmp_path / "a.nii.gz", np.zeros(SHAPE, dtype=np.float32))
    saved(tmp_path / f"a{suffix}.nii", numbers())
    (found,) = read(tmp_path).cases
    assert found.name == "a"
    np.testing.assert_array_equal(masks_of(found)[""], numbers().T > 0)


def test_slices_as_png_by_the_ending_of_the_settings(tmp_path: Path) -> None:
    levels = np.array([[0, 1, 2], [2, 2, 0]], dtype=np.uint8)
    for folder, values in (("imagesTr/a_0000.png", levels * 50), ("labelsTr/a.png", levels)):
        (tmp_path / folder).parent.mkdir(exist_ok=True)
        Picture.fromarray(values).save(tmp_path / folder)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "x": 2}, "file_ending": ".png"}))
    (found,) = read(tmp_path).cases
    np.testing.assert_array_equal(masks_of(found)["x"], levels == 2)


def test_an_image_whose_label_map_has_no_label_has_no_finding(tmp_path: Path) -> None:
    nnunet(tmp_path, {"labels": {"background": 0, "tumour": 9, "liver": 1}})
    data = read_data(tmp_path)
    assert data.form == "nifti"
    (found,) = data.cases
    assert not masks_of(found)["tumour"].any()
    other = Case("b", found.source, None, found.findings)
    with_findings, without, excluded = settled([found, other], {found.name: ["tumour"], "b": ["tumour", "liver"]})
    assert ([case.name for case in with_findings], [case.name for case in without]) == ([found.name], ["b"])
    assert (set(with_findings[0].findings), excluded) == ({"liver"}, [])


@pytest.mark.parametrize(
    ("values", "affine", "reason"),
    [
        (numbers()[:4], AFFINE, "another size"),
        (numbers(), np.diag([2.0, 2.0, 3.5, 1.0]), "lies elsewhere"),
        (None, AFFINE, "cannot be read"),
    ],
    ids=["size", "elsewhere", "broken"],
)
def test_a_label_map_that_does_not_fit_is_a_reason(
    values: np.ndarray[Any, Any] | None, affine: np.ndarray[Any, Any], reason: str, tmp_path: Path
) -> None:
    (found,) = read(nnunet(tmp_path, {"labels": {"background": 0, "liver": 1}})).cases
    path = tmp_path / "labelsTr" / "liver_01.nii.gz"
    if values is None:
        path.write_bytes(b"broken")
    else:
        saved(path, values, affine)
    with pytest.raises(DataError, match=reason):
        masks_of(found)


def test_a_label_map_that_changed_is_read_again(tmp_path: Path) -> None:
    (found,) = read(nnunet(tmp_path, {"labels": {"background": 0, "liver": 1}})).cases
    first = masks_of(found)["liver"]
    saved(tmp_path / "labelsTr" / "liver_01.nii.gz", numbers(5))
    assert not np.array_equal(first, masks_of(found)["liver"])


def test_label_maps_without_an_image_or_outside_are_counted(tmp_path: Path) -> None:
    root = nnunet(tmp_path / "data", {"labels": {"background": 0, "liver": 1}})
    saved(root / "labelsTr" / "gone.nii.gz", numbers())
    saved(root / "imagesTr" / "linked.nii.gz", numbers())
    saved(tmp_path / "secret.nii.gz", numbers())
    (root / "labelsTr" / "linked.nii.gz").symlink_to(tmp_path / "secret.nii.gz")
    (root / "labelsTr" / "notes.txt").write_text("")
    data = read(root)
    assert [case.name for case in data.cases] == ["imagesTr/liver_01"]
    assert {(one.name, one.reason) for one in data.excluded} == {
        ("imagesTr/gone", "its image is missing"),
        ("imagesTr/linked", "its label map is outside the folders of the data set"),
    }


@pytest.mark.parametrize(
    "settings",
    [
        *("{", "[]", {"labels": []}, {"labels": {}}, {"labels": {"a": -1}}, {"labels": {"a": True}}),
        *({"labels": {"a": "b"}}, {"labels": {"background": 0}}, {"labels": {"": 3}}, {"labels": {"a": [1, "2"]}}),
        {"labels": {"a": 2**40}},
    ],
    ids=str,
)
def test_broken_settings_are_one_line(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset\.json") as caught:
        read(nnunet(tmp_path, settings))
    assert "\n" not in str(caught.value)


def test_other_folders_are_not_recognised(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Picture.new("L", (3, 3)).save(tmp_path / "labels" / "a.png")
    for name in (tmp_path, tmp_path / "images", tmp_path / "gone", tmp_path / "labels" / "a.png"):
        assert not FORMS.find("nifti")().recognises(Asked(str(name)))
