"""Folders as data sets: images, masks, classes, splits and patients by their names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pellucid.errors import DataError
from pellucid.evaluation.case import Data
from pellucid.evaluation.data import searching
from pellucid.evaluation.data.mask_file import MaskFile
from pellucid.evaluation.data.outlines import United
from pellucid.evaluation.data.reading import read_data
from tests.evaluation.made import files, named, reasons, refusal


def masks_of(data: Data, root: Path) -> dict[str, dict[str, list[str]]]:
    """The names of each case's masks, by label."""
    found: dict[str, dict[str, list[str]]] = {}
    for case in data.cases:
        found[case.name] = {}
        for label, outline in case.findings.items():
            parts = outline.outlines if isinstance(outline, United) else (outline,)
            found[case.name][label] = [part.path.relative_to(root).as_posix() for part in parts]  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    "mask",
    ["a.png", "a.tif", "A_mask.png", "a_Segmentation.png", "mask_a.png", "a-mask.png", "a_1.png", "a_mask (2).png"],
)
def test_masks_in_a_folder_of_their_own(tmp_path: Path, mask: str) -> None:
    files(tmp_path, "images/a.png", "images/ab.png", f"masks/{mask}", "masks/ab.png")
    data = read_data(tmp_path)
    assert data.form == "folder"
    assert masks_of(data, tmp_path) == {
        "images/a.png": {"": [f"masks/{mask}"]},
        "images/ab.png": {"": ["masks/ab.png"]},
    }
    assert data.notes == []


def test_several_masks_of_an_image_are_one_finding(tmp_path: Path) -> None:
    files(tmp_path, "images/a.png", "masks/a_mask_1.png", "masks/a_mask_2.png", "masks/a_mask_10.png")
    assert masks_of(read_data(tmp_path), tmp_path) == {
        "images/a.png": {"": ["masks/a_mask_1.png", "masks/a_mask_2.png", "masks/a_mask_10.png"]}
    }


def test_images_and_masks_side_by_side_in_folders_of_classes(tmp_path: Path) -> None:
    files(
        tmp_path,
        *("benign/benign (1).png", "benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"),
        *("benign/benign (10).png", "benign/benign (10)_mask.png", "benign/benign (2).png"),
        *("malignant/malignant (1).png", "malignant/malignant (1)_mask.png", "normal/normal (1).png"),
        *("normal/normal (2).png", "normal/normal (2)_mask.png", "lone_mask.png", "mask.png"),
    )
    (tmp_path / "benign" / "Thumbs.db").write_bytes(b"x")
    data = read_data(tmp_path)
    assert masks_of(data, tmp_path) == {
        "benign/benign (1).png": {"benign": ["benign/benign (1)_mask.png", "benign/benign (1)_mask_1.png"]},
        "benign/benign (10).png": {"benign": ["benign/benign (10)_mask.png"]},
        "malignant/malignant (1).png": {"malignant": ["malignant/malignant (1)_mask.png"]},
        "normal/normal (2).png": {"normal": ["normal/normal (2)_mask.png"]},
    }
    assert named(data)["benign/benign (1).png"].labels == ("benign",)
    assert set(reasons(data)) == {"benign/benign (2).png", "normal/normal (1).png", "lone_mask.png", "mask.png"}
    assert set(reasons(data).values()) == {"no mask"}


def test_classes_below_images_and_masks(tmp_path: Path) -> None:
    files(tmp_path, "images/benign/1.png", "images/normal/1.png", "masks/benign/1.png")
    data = read_data(tmp_path)
    assert masks_of(data, tmp_path) == {
        "images/benign/1.png": {"benign": ["masks/benign/1.png"]},
        "images/normal/1.png": {},
    }
    assert named(data)["images/normal/1.png"].labels == ("normal",)


def test_a_folder_of_masks_may_name_the_class(tmp_path: Path) -> None:
    files(
        tmp_path,
        "images/1.png",
        "masks/exudate/1_EX.png",
        "masks/exudate/1_mask.png",
        "masks/drusen/1.png",
        "masks/x2.png",
    )
    data = read_data(tmp_path)
    assert masks_of(data, tmp_path) == {
        "images/1.png": {
            "drusen": ["masks/drusen/1.png"],
            "exudate": ["masks/exudate/1_EX.png", "masks/exudate/1_mask.png"],
        }
    }
    assert data.cases[0].labels == ("drusen", "exudate")
    assert data.notes == ["1 mask without an image left out, such as masks/x2.png."]


def test_splits_and_patients(tmp_path: Path) -> None:
    files(
        tmp_path,
        *("train/images/patient1/a.png", "train/masks/patient1/a.png", "test/images/patient2/a.png"),
        *("test/masks/patient2/a.png", "test/images/patient2/b.png", "test/masks/patient2/b.png"),
    )
    data = read_data(tmp_path)
    assert [(case.split, case.patient, case.labels) for case in data.cases] == [
        ("test", "patient2", None),
        ("test", "patient2", None),
        ("train", "patient1", None),
    ]
    assert masks_of(data, tmp_path)["test/images/patient2/a.png"] == {"": ["test/masks/patient2/a.png"]}
    files(tmp_path, "train/images/patient2/a.png", "train/masks/patient2/a.png")
    assert "1 patient is in more than one split (patient2)" in refusal(tmp_path)


def test_folders_that_are_named(tmp_path: Path) -> None:
    files(tmp_path, "scans/a.png", "scans/sub/b.png", "drawn/a.png", "drawn/sub/b_mask.png")
    expected = {"a.png": {"": ["drawn/a.png"]}, "sub/b.png": {"sub": ["drawn/sub/b_mask.png"]}}
    assert masks_of(read_data(tmp_path / "scans", masks=tmp_path / "drawn"), tmp_path) == expected
    assert masks_of(read_data(tmp_path / "drawn", images=tmp_path / "scans"), tmp_path) == expected
    below = {f"scans/{name}": value for name, value in expected.items()}
    found = masks_of(read_data(tmp_path, masks=tmp_path / "drawn"), tmp_path)
    assert set(found) == set(below)


def test_names_with_umlauts_in_both_forms(tmp_path: Path) -> None:
    files(tmp_path, "images/Bru\u0308ste, links.png", "masks/Br\u00fcste, links_mask.png")
    assert len(read_data(tmp_path).cases[0].findings) == 1


def test_many_folders_are_no_classes(tmp_path: Path) -> None:
    files(tmp_path, *(f"{kind}/{number:03}x/a.png" for kind in ("images", "masks") for number in range(21)))
    data = read_data(tmp_path)
    assert {case.labels for case in data.cases} == {None}
    assert data.notes == ["The names of 21 folders were not taken for classes: they are too many."]


def test_links_do_not_lead_out(tmp_path: Path) -> None:
    files(tmp_path, "in/images/a.png", "in/masks/a.png", "out/b.png")
    (tmp_path / "in/images/b.png").symlink_to(tmp_path / "out/b.png")
    (tmp_path / "in/images/c.png").symlink_to(tmp_path / "in/images/a.png")
    (tmp_path / "in/more").symlink_to(tmp_path / "out")
    (tmp_path / "in/images/.hidden.png").write_bytes(b"")
    files(tmp_path, "in/__MACOSX/a.png", "in/masks/c.png")
    data = read_data(tmp_path / "in")
    assert [case.name for case in data.cases] == ["images/a.png", "images/c.png"]
    assert reasons(data) == {"images/b.png": "its file is outside the folders of the data set"}


def test_files_without_a_suffix_are_known_by_their_first_bytes(tmp_path: Path) -> None:
    files(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "images/a.png").rename(tmp_path / "images/a")
    (tmp_path / "images/README").write_text("no image")
    assert masks_of(read_data(tmp_path), tmp_path) == {"images/a": {"": ["masks/a.png"]}}


def test_folders_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no case in it can be used: it names none" in refusal(files(tmp_path))
    assert refusal(tmp_path).endswith("check its paths and images=")
    files(tmp_path, "a.png", "b.png")
    assert refusal(tmp_path).endswith("no case in it can be used: no mask (2); give masks=, the folder of the masks")
    others = files(tmp_path / "of others", "x.png")
    assert refusal(tmp_path, masks=others).endswith("name the masks in masks= as their images")
    assert "masks" in refusal(tmp_path, masks=tmp_path / "gone")
    assert "it is no folder: give the folder of images and masks" in refusal(tmp_path / "a.png", form="folder")
    monkeypatch.setattr(searching, "MOST_FILES", 1)
    assert "it holds more than 1 files" in refusal(tmp_path)


def test_masks_are_opened_by_their_cases(tmp_path: Path) -> None:
    files(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "masks/a.png").write_bytes(b"\x89PNG broken")
    case = read_data(tmp_path).cases[0]
    assert case.findings == {"": MaskFile(tmp_path / "masks/a.png")}
    with pytest.raises(DataError, match="its mask cannot be read"):
        case.findings[""].mask(case.source.image())


def test_names_that_are_no_text_are_excluded(tmp_path: Path) -> None:
    files(tmp_path, "images/a.png", "masks/a.png")
    os.link(tmp_path / "images/a.png", os.fsencode(tmp_path / "images") + b"/\xff.png")
    assert reasons(read_data(tmp_path)) == {"images/\\udcff.png": "its name is no text in UTF-8"}


def test_masks_are_those_of_their_split(tmp_path: Path) -> None:
    names = [f"{split}/{kind}/a.png" for split in ("train", "test") for kind in ("images", "masks")]
    files(tmp_path, *names)
    assert masks_of(read_data(tmp_path), tmp_path) == {
        "test/images/a.png": {"": ["test/masks/a.png"]},
        "train/images/a.png": {"": ["train/masks/a.png"]},
    }


def test_a_mask_of_two_images_belongs_to_none(tmp_path: Path) -> None:
    files(tmp_path, "images/x/a.png", "images/y/a.png", "images/y/b.png", "masks/a.png", "masks/b.png")
    data = read_data(tmp_path)
    assert masks_of(data, tmp_path) == {
        "images/x/a.png": {},
        "images/y/b.png": {"y": ["masks/b.png"]},
    }
    assert reasons(data) == {"images/y/a.png": "no mask"}
    assert data.notes == ["1 mask without an image left out, such as masks/a.png."]


def test_earlier_results_are_no_images(tmp_path: Path) -> None:
    files(tmp_path, "images/a.png", "masks/a.png", "out/a_overlay.png")
    facts = {
        "image": "a.png",
        "image_sha256": "0",
        "provenance": {},
        "overlay": "a_overlay.png",
        "files": ["a_overlay.png"],
    }
    (tmp_path / "out" / "a_metadata.json").write_text(json.dumps(facts))
    data = read_data(tmp_path)
    assert ([case.name for case in data.cases], data.excluded) == (["images/a.png"], [])
