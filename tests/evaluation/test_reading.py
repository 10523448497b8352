"""``read_data``: which form, which cases, which labels, which maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from pellucid.errors import DataError, OptionError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data.findings import matched, settled
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.outlines import Boxes
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.form import FORMS, Asked, Form, register_form
from tests.evaluation.made import files, refusal, table

BOX = Boxes(((0, 0, 5, 5),))


def case(name: str, labels: tuple[str, ...] | None, *findings: str) -> Case:
    return Case(name, ImageFile(Path(name)), labels, dict.fromkeys(findings, BOX))


def parts(
    cases: list[Case], empty: dict[str, set[str]] | None = None
) -> tuple[dict[str, list[str]], list[str], dict[str, str]]:
    with_findings, without, excluded = settled(cases, empty)
    found = {one.name: list(one.findings) for one in with_findings}
    return found, [one.name for one in without], {one.name: one.reason for one in excluded}


def test_before_masks_are_opened() -> None:
    cases = [
        case("outlined", ("cyst",), "cyst"),
        case("other spelling", ("CYST ",)),
        case("normal", ("normal",)),
        case("stated none", ()),
        case("nothing stated", None),
        case("one of two", ("normal", "cyst")),
        case("unknown class", None, ""),
    ]
    assert parts(cases) == (
        {"outlined": ["cyst"], "unknown class": [""]},
        ["normal", "stated none"],
        {"other spelling": "no mask", "nothing stated": "no mask", "one of two": "no mask"},
    )
    assert parts(cases[2:4]) == ({}, ["normal", "stated none"], {})


def test_once_masks_were_opened() -> None:
    cases = [
        case("lesion", ("cyst", "calcification"), "cyst", "calcification"),
        case("black lesion", ("cyst",), "cyst"),
        case("black normal", ("normal",), "normal"),
        case("normal", ("normal",)),
        case("black, nothing stated", None, ""),
        case("unknown class", None, ""),
        case("only calcification", ("calcification",), "calcification"),
    ]
    empty = {
        "lesion": {"calcification"},
        "black lesion": {"cyst"},
        "black normal": {"normal"},
        "black, nothing stated": {""},
        "only calcification": {"calcification"},
    }
    assert parts(cases, empty) == (
        {"lesion": ["cyst"], "unknown class": [""]},
        ["black normal", "normal", "black, nothing stated", "only calcification"],
        {"black lesion": "the mask is empty"},
    )


@pytest.mark.parametrize(
    ("label", "found"),
    [
        ("Pleural_Effusion", "pleural effusion"),
        ("pleural-effusion", "pleural effusion"),
        ("  PLEURALEFFUSION", "pleural effusion"),
        ("Größe", "Gro\u0308ße"),
        ("er+", "ER+"),
        ("er-", "ER-"),
        ("nodule", "nodule"),
        ("Nodule", "nodule"),
        ("0", "pleural effusion"),
        ("9", None),
        ("²", None),
        ("mass", None),
        ("", None),
        ("Erguss", "pleural effusion"),
        ("ERGUSS ", "pleural effusion"),
        ("Rundherd", None),
    ],
)
def test_labels_name_classes(label: str, found: str | None) -> None:
    classes = ["pleural effusion", "nodule", "Nodule 2", "ER-", "ER+", "Gro\u0308ße"]
    assert matched(label, classes, {"Erguss": "pleural_effusion", "Rundherd": "gone"}) == found


def test_the_exact_name_comes_first() -> None:
    assert matched("Nodule", ["nodule", "Nodule"]) == "Nodule"
    assert matched("1", ["0", "2", "1"]) == "1"


def test_labels_that_are_renamed_exist(tmp_path: Path) -> None:
    files(tmp_path, "a.png")
    path = table(tmp_path, "path,label\na.png,effusion\n")
    assert read_data(path, labels={"Effusion": "x"}).cases[0].labels == ("effusion",)
    with pytest.raises(OptionError, match="no case has that label; did you mean effusion"):
        read_data(path, labels={"efusion": "x"})


def test_forms_by_name_and_by_content(tmp_path: Path) -> None:
    files(tmp_path, "images/a.png", "masks/a.png")
    path = table(tmp_path, "path,mask\nimages/a.png,masks/a.png\n")
    assert read_data(path).form == "csv"
    assert read_data(str(tmp_path)).form == "folder"
    assert "it is no file: give a CSV file" in refusal(tmp_path, form="csv")
    with pytest.raises(OptionError, match="form 'cvs' was asked for"):
        read_data(path, form="cvs")


@pytest.mark.parametrize("name", ["images", "masks"])
def test_named_folders_exist(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, **{name: tmp_path / "gone"})
    assert message.startswith(f"{name} {tmp_path / 'gone'} was given; it is no folder")


def test_maps_made_before(tmp_path: Path) -> None:
    files(tmp_path, "in/a.png", "in/deep/b.png", "in/c.nii.gz.png", "in/m.png")
    for name in ("one/in/a.npy", "one/in/deep/b.npz", "two/in/a.png.npz", "one/in/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "one/in/c.nii.gz.npy").symlink_to(table(tmp_path / "out", "x"))
    path = table(tmp_path, "path,mask\nin/a.png,in/m.png\nin/deep/b.png,in/m.png\nin/c.nii.gz.png,in/m.png\n")
    data = read_data(path, maps={"gradcam": tmp_path / "one", "other": tmp_path / "two"})
    assert [dict(one.maps) for one in data.cases] == [
        {"gradcam": tmp_path / "one/in/a.npy", "other": tmp_path / "two/in/a.png.npz"},
        {"gradcam": tmp_path / "one/in/deep/b.npz"},
        {},
    ]
    assert data.notes == [
        "1 of 3 cases have no map of gradcam, such as in/c.nii.gz.png.",
        "2 of 3 cases have no map of other, such as in/deep/b.png.",
    ]
    message = refusal(path, maps={"gradcam": tmp_path / "in"})
    assert message.endswith("it holds no map of a case: that of in/a.png would be in/a.npy")
    assert "it is no folder" in refusal(path, maps={"gradcam": tmp_path / "gone"})


def test_one_class_and_one_patient_are_a_data_set(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png", "m.png")
    data = read_data(table(tmp_path, "path,label,mask,patient\na.png,x,m.png,1\nb.png,x,m.png,1\n"))
    assert [one.patient for one in data.cases] == ["1", "1"]


def test_a_patient_in_two_splits_is_an_error(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png", "m.png")
    path = table(tmp_path, "path,label,mask,patient,split\na.png,x,m.png,1,train\nb.png,x,m.png,1,test\n")
    assert "1 patient is in more than one split (1)" in refusal(path)


def test_an_error_is_one_of_data() -> None:
    assert DataError("reason").detail == ""
    assert (str(DataError("reason", "more")), DataError("reason", "more").detail) == ("reason", "more")


def test_a_general_form_stands_back(tmp_path: Path) -> None:
    @register_form("z special table")
    @dataclass(frozen=True)
    class Special(Form):
        def recognises(self, asked: Asked) -> bool:
            return asked.data.endswith("cases.csv")

        def read(self, asked: Asked) -> Data:
            return Data([case("a", ())], form=self.name)

    with FORMS.forgetting(Special):
        assert read_data(table(tmp_path, "path,label\n")).form == "z special table"
    assert "no case" in refusal(tmp_path / "cases.csv")
