"""CSV files as data sets: columns, outlines, and rows that cannot be used."""

from __future__ import annotations

import csv
import io
import unicodedata
from pathlib import Path

import pytest

from pellucid.errors import DataError
from pellucid.evaluation.data import rows as rows_module
from pellucid.evaluation.data.cells import boxes_in, polygons_in, runs_in
from pellucid.evaluation.data.columns import columns_of
from pellucid.evaluation.data.mask_file import MaskFile
from pellucid.evaluation.data.outlines import Boxes, RunLengths, StartLengths, United
from pellucid.evaluation.data.reading import read_data
from pellucid.run import csv_lines
from tests.evaluation.made import files, named, reasons, refusal, table


def test_paths_labels_and_masks(tmp_path: Path) -> None:
    files(tmp_path, "in/a.png", "in/b.png", "in/c.png", "m/a.png", "m/a2.png")
    text = "path,label,mask\nin/a.png,cyst,m/a.png;m/a2.png\nin/b.png,normal,\nin/c.png,,\n"
    data = read_data(table(tmp_path, text))
    assert (data.form, data.excluded, data.notes) == ("csv", [], [])
    first, second, third = data.cases
    assert (first.name, first.labels) == ("in/a.png", ("cyst",))
    assert first.findings == {"cyst": United((MaskFile(tmp_path / "m/a.png"), MaskFile(tmp_path / "m/a2.png")))}
    assert (second.labels, second.findings) == (("normal",), {})
    assert (third.labels, third.findings) == ((), {})
    assert first.source.image().size == (6, 8)
    assert first.source.digest() is not None


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("x0,y0,x1,y1", "1,2,5,4.5"),
        ("x_min,y_min,x_max,y_max", "1,2,5,4.5"),
        ("X1;Y1;X2;Y2", "1;2;5;4,5"),
        ("x,y,width,height", "1,2,4,2.5"),
        ("x\ty\tw\th", "1\t2\t4\t2.5"),
        ("box", '"1, 2, 5, 4.5"'),
        ("bbox", '"[1 2 5 4.5]"'),
    ],
    ids=["x0", "xmin", "semicolons", "width", "tabs", "text", "brackets"],
)
def test_boxes(tmp_path: Path, header: str, cells: str) -> None:
    files(tmp_path, "a.png")
    separator = next((one for one in (";", "\t") if one in header), ",")
    data = read_data(table(tmp_path, f"path{separator}{header}\na.png{separator}{cells}\n"))
    assert data.cases[0].findings == {"": Boxes(((1.0, 2.0, 5.0, 4.5),))}
    assert data.cases[0].labels is None


def test_rows_of_one_path_are_one_case(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png")
    text = (
        "image,class,xmin,ymin,xmax,ymax,patient,split,sex\n"
        "a.png,nodule,1,1,3,3,7,test,f\n"
        "a.png,effusion,2,2,4,4,7,test,f\n"
        "./a.png,nodule,4,4,6,6,7,test,\n"
        "a.png,nodule,1,1,3,3,7,test,f\n"
        "b.png,No finding,,,,,8,test,m\n"
    )
    data = read_data(table(tmp_path, text))
    case = named(data)["a.png"]
    assert case.labels == ("nodule", "effusion")
    assert case.findings == {
        "nodule": United((Boxes(((1, 1, 3, 3),)), Boxes(((4, 4, 6, 6),)))),
        "effusion": Boxes(((2, 2, 4, 4),)),
    }
    assert (case.patient, case.split, case.groups) == ("7", "test", {"sex": "f"})
    assert named(data)["b.png"].labels == ("No finding",)
    assert data.notes == ["Rows that repeat another count once: 1."]


def test_as_many_masks_as_labels_are_one_each(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png", "m1.png", "m2.png")
    text = 'path;label;mask\na.png;"x;y";"m1.png;m2.png"\nb.png;"x;y";m1.png\n'
    a, b = read_data(table(tmp_path, text)).cases
    assert a.findings == {"x": MaskFile(tmp_path / "m1.png"), "y": MaskFile(tmp_path / "m2.png")}
    assert b.findings == {"x": MaskFile(tmp_path / "m1.png"), "y": MaskFile(tmp_path / "m1.png")}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_umlauts_commas_and_bom(tmp_path: Path, form: str) -> None:
    name = unicodedata.normalize(form, "Mädchen, Größe 3; rechts.png")
    files(tmp_path / "Prüfung", name, unicodedata.normalize(form, "Maske ä.png"))
    text = '\ufeffPath,LABEL,Mask\r\n"Mädchen, Größe 3; rechts.png","Übersicht, seitlich",Maske ä.png\r\n\r\n'
    case = read_data(table(tmp_path / "Prüfung", text)).cases[0]
    assert unicodedata.normalize("NFC", case.name) == "Mädchen, Größe 3; rechts.png"
    assert list(case.findings) == ["Übersicht, seitlich"]
    assert case.source.image().size == (6, 8)


def test_columns_as_public_data_sets_call_them() -> None:
    header = ["", "Image Index", "Finding Labels", "Patient ID", "Bbox [x", "View Position"]
    found = columns_of(header, "…")
    assert found.of == {"path": 1, "label": 2, "patient": 3}
    assert found.groups == {"": 0, "Bbox [x": 4, "View Position": 5}
    assert columns_of(["image_id", "EncodedPixels"], "…").of == {"path": 0, "rle": 1}
    corners = columns_of(["file_name", "x_min", "y_min", "x_max", "y_max", "width", "height"], "…")
    assert (corners.corners, corners.sides, corners.groups) == ([1, 2, 3, 4], [], {"width": 5, "height": 6})
    both = columns_of(["path", "x", "y", "width", "height", "xmin", "ymin", "xmax", "ymax"], "…")
    assert (both.corners, both.sides) == ([5, 6, 7, 8], [])
    assert columns_of(["path", "image"], "…").groups == {"image": 1}


def test_run_lengths_by_their_form() -> None:
    assert runs_in("[1, 2, 3]") == RunLengths((1, 2, 3))
    assert runs_in('{"size": [2, 3], "counts": [1, 2, 3]}') == RunLengths((1, 2, 3), (2, 3))
    assert runs_in('{"size": [2, 3], "counts": "123"}') == RunLengths("123", (2, 3))
    assert runs_in("123") == RunLengths("123")
    assert runs_in("[mk1O") == RunLengths("[mk1O")
    assert runs_in("123]") == RunLengths("123]")
    assert runs_in(" 2 2 6 1 ") == StartLengths((2, 2, 6, 1))
    assert runs_in("5 3") == StartLengths((5, 3))
    assert runs_in("10 5 12 1") == StartLengths((11, 5, 28, 1))  # runs do not overlap
    assert runs_in("10 5 15 1") == StartLengths((10, 5, 15, 1))
    assert runs_in("9 2 3 1") == StartLengths((10, 2, 15, 1))  # from the end of the run before
    for text in (
        "1 2 3",
        "1 -2",
        "a b",
        '{"size": 3, "counts": "1"}',
        "[1.5]",
        "ä",
        "{1}",
        '{"counts": {}}',
        "[true]",
    ):
        with pytest.raises(DataError, match="of no known form"):
            runs_in(text)


def test_polygons_by_their_form() -> None:
    one = ((0.0, 0.0), (4.0, 0.0), (4.0, 3.5))
    two = ((5.0, 5.0), (6.0, 5.0), (6.0, 6.0))
    for text in (
        "0 0 4 0 4 3.5",
        "0,0 4,0 4,3.5",
        "[(0, 0), (4, 0), (4, 3.5)]",
        "[[0, 0], [4,0], [4,3.5]]",
        "[0,0,4,0,4,3.5]",
    ):
        assert polygons_in(text).polygons == (one,), text
    for text in (
        "0 0 4 0 4 3.5; 5 5 6 5 6 6",
        "[[0,0,4,0,4,3.5], [5,5,6,5,6,6]]",
        "[[[0,0],[4,0],[4,3.5]], [[5,5],[6,5],[6,6]]]",
    ):
        assert polygons_in(text).polygons == (one, two), text
    for text in ("0 0 4", "a b c", "0 0 4 0 4 x", "__import__('os')"):
        with pytest.raises(DataError):
            polygons_in(text)


def test_boxes_that_are_none() -> None:
    for text in ("1 2 3", "", "1 2 3 4 5", "1,2,3,x"):
        with pytest.raises(DataError):
            boxes_in(text)
    assert boxes_in("[[1,2,3,4],[5,6,7,8]]").boxes == ((1, 2, 3, 4), (5, 6, 7, 8))


def test_rows_that_cannot_be_used_are_excluded_and_counted(tmp_path: Path) -> None:
    files(tmp_path / "d", "ok.png", "m.png", "a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    files(tmp_path, "out.png")
    (tmp_path / "d" / "link.png").symlink_to(tmp_path / "out.png")
    text = (
        "path,label,mask,x0,y0,x1,y1,rle,patient\n"
        "ok.png,cyst,m.png,,,,,,1\n"
        "gone.png,cyst,m.png,,,,,,2\n"
        "../out.png,cyst,m.png,,,,,,3\n"
        f"{tmp_path / 'out.png'},cyst,m.png,,,,,,4\n"
        "link.png,cyst,m.png,,,,,,5\n"
        "a.png,cyst,gone.png,,,,,,6\n"
        "b.png,cyst,../out.png,,,,,,7\n"
        "c.png,cyst,,1,2,x,4,,8\n"
        "c.png,cyst,,1,2,3,4,,8\n"
        "d.png,cyst,,1,2,,4,,9\n"
        "e.png,cyst,,,,,,1 2 3,10\n"
        "f.png,cyst,m.png,,,,,,11\n"
        "f.png,cyst,,1,1,2,2,,12\n"
        ",cyst,m.png,,,,,,13\n"
        "g, h.png,cyst,m.png,,,,,,14\n"
    )
    data = read_data(table(tmp_path / "d", text))
    assert [case.name for case in data.cases] == ["ok.png"]
    outside = "its image is outside the folders of the data set"
    assert reasons(data) == {
        "gone.png": "its image is missing",
        "../out.png": outside,
        f"{tmp_path / 'out.png'}": outside,
        "link.png": outside,
        "a.png": "its mask is missing",
        "b.png": "its mask is outside the folders of the data set",
        "c.png": "its box is no box of numbers",
        "d.png": "its box is no box of numbers",
        "e.png": "its run lengths are of no known form",
        "f.png": "its rows state more than one patient",
        "row 14, without a path": "its image is missing",
        "g": "its row has not the cells of the first line: put values that hold the separator into quotes",
    }


def test_images_and_masks_in_other_folders(tmp_path: Path) -> None:
    files(tmp_path, "scans/deep/a.png", "drawn/a_mask.png")
    path = table(tmp_path / "lists", "path,label,mask\ndeep/a.png,x,a_mask.png\n../scans/deep/a.png,x,\n")
    assert "no case in it can be used: its image is missing (1), its image is outside" in refusal(path)
    data = read_data(path, images=tmp_path / "scans", masks=tmp_path / "drawn")
    assert data.cases[0].findings == {"x": MaskFile(tmp_path / "drawn" / "a_mask.png")}
    assert [case.name for case in data.cases] == ["deep/a.png"]
    assert data.cases[0].source.image().size == (6, 8)


def test_a_suffix_may_be_missing_and_slashes_may_lean_back(tmp_path: Path) -> None:
    files(tmp_path, "in/a.png", "in/b.jpg")
    data = read_data(table(tmp_path, "image_id,label\nin/a,\nin\\b.jpg,\n"))
    assert [case.source.image().size for case in data.cases] == [(6, 8), (6, 8)]


def test_other_columns_are_subgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "MOST_VALUES", 2)
    monkeypatch.setattr(rows_module, "MOST_GROUPS", 2)
    files(tmp_path, "a.png", "b.png", "c.png")
    text = (
        "path,label,sex,age,reader,site,view\na.png,,f,1,x,u,p\na.png,,f,1,y,u,p\nb.png,,m,2,x,u,p\nc.png,,,3,x,u,p\n"
    )
    data = read_data(table(tmp_path, text))
    assert [case.groups for case in data.cases] == [{"sex": "f", "site": "u"}, {"sex": "m", "site": "u"}, {"site": "u"}]
    assert data.notes == [
        "No subgroups by age: it has more than 2 values.",
        "No subgroups by reader: rows of one image differ in it.",
        "No subgroups by view: there are 2 before it.",
        "No case states where a finding is, so nothing can be said of localisation.",
    ]


def test_what_is_without_a_finding_and_what_lacks_its_mask(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png", "c.png", "d.png", "m.png")
    text = "path,label,mask\na.png,cyst,m.png\nb.png,Cyst,\nc.png,normal,\nd.png,,\n"
    data = read_data(table(tmp_path, text))
    assert [case.name for case in data.cases] == ["a.png", "c.png", "d.png"]
    assert reasons(data) == {"b.png": "no mask"}
    unlabelled = read_data(table(tmp_path, "path,mask\na.png,m.png\nb.png,\n"))
    assert reasons(unlabelled) == {"b.png": "no mask"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "its first line names no column path, but nothing: begin it with path,label,mask"),
        (b"foo,bar\n1,2\n", "its first line names no column path, but foo, bar"),
        (b"path,path,label\na,b,c\n", "names the column path twice"),
        (b"path,label\na\0b.png,x\n", "it has NUL characters"),
        ("path,label\na.png,x\n".encode("utf-16-le"), "it has NUL characters, as text in UTF-16 has"),
        ("path,label\nä.png,x\n".encode("latin-1"), "it cannot be read (not text in UTF-8): write it as CSV in UTF-8"),
        (b'path,label\n"a.png,x\n', "it cannot be read (unexpected end of data)"),
        (b"path,label\n" + b"x" * 200_000 + b",x\n", "it cannot be read (field larger than field limit"),
        (b"path" + b",x" * 1001 + b"\n", "its first line has 1,002 cells"),
        (b"path,label\n", "no case in it can be used: it names none"),
    ],
    ids=range(10),
)
def test_tables_that_cannot_be_read(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "cases.csv").write_bytes(text)
    assert message in refusal(tmp_path / "cases.csv")


def test_tables_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path, "path,label\na.png,\nb.png,\n")
    monkeypatch.setattr(csv_lines, "MAX_ROWS", 1)
    assert "it has more than 1 rows" in refusal(path)
    with path.open("r+b") as file:
        file.truncate(2**30)  # a file of 1 GB, most of it not written
    assert "it has more than 67,108,864 bytes" in refusal(path)


def test_a_table_is_known_by_its_first_line(tmp_path: Path) -> None:
    files(tmp_path, "a.png")
    assert read_data(table(tmp_path, "image;label\na.png;\n", "list.txt")).form == "csv"
    table(tmp_path, "some text\n", "other.txt")
    assert "it is none of the forms that are read: give one of " in refusal(tmp_path / "other.txt")
    assert "there is no such file" in refusal(tmp_path / "gone.csv")


def test_ten_thousand_rows(tmp_path: Path) -> None:
    files(tmp_path, "m.png")
    content = (tmp_path / "m.png").read_bytes()
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(["path", "label", "mask", "patient", "age"])
    for number in range(100):
        (tmp_path / f"{number}.png").write_bytes(content)
    for number in range(10_000):
        lines.writerow([f"{number % 100}.png" if number < 100 else f"{number}.png", "x", "m.png", number % 100, number])
    data = read_data(table(tmp_path, out.getvalue()))
    assert len(data.cases) == 100
    assert len(data.excluded) == 9_900
    assert data.notes == ["No subgroups by age: it has more than 20 values."]


def test_boxes_that_mean_something_else(tmp_path: Path) -> None:
    files(tmp_path, *(f"{number}.png" for number in range(20)))
    sides = [f'{number}.png,"5 4 {2 if number < 3 else 7} 6"' for number in range(20)]
    assert "3 of its boxes are not (x0, y0, x1, y1)" in refusal(table(tmp_path, "path,bbox\n" + "\n".join(sides)))
    few = read_data(table(tmp_path, "path,bbox\n" + "\n".join(sides[2:])))
    assert set(reasons(few).values()) == {"its box is none: (x0, y0, x1, y1) with x0 < x1 and y0 < y1 is one"}
    assert len(few.cases) == 17
    shares = table(tmp_path, "path,x0,y0,x1,y1\n0.png,.1,.2,.5,1\n1.png,0,0,0.5,0.5\n")
    assert "its boxes all lie within 0 and 1: write them in pixels" in refusal(shares)
    assert len(read_data(table(tmp_path, "path,x0,y0,x1,y1\n0.png,.1,.2,.5,1\n1.png,0,0,0.5,2\n")).cases) == 2


def test_masks_by_name_where_no_column_says_where_they_are(tmp_path: Path) -> None:
    files(tmp_path, "in/a.png", "in/b.png", "drawn/a_mask.png", "drawn/z.png", "out/c.png")
    (tmp_path / "drawn" / "b.png").symlink_to(tmp_path / "out" / "c.png")
    path = table(tmp_path / "in", "path,label\na.png,x;y\nb.png,normal\n")
    data = read_data(path, masks=tmp_path / "drawn")
    mask = MaskFile(tmp_path / "drawn" / "a_mask.png")
    assert [case.findings for case in data.cases] == [{"x": mask, "y": mask}, {}]
    assert data.notes == [
        "1 mask without an image left out, such as z.png.",
        "1 mask left out: its file is outside the folders of the data set.",
    ]
    assert read_data(path).notes == ["No case states where a finding is, so nothing can be said of localisation."]


def test_a_label_has_one_spelling(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png")
    text = "path,label,box\na.png,Pleural effusion,1 1 2 2\na.png,pleural_effusion,3 3 4 4\n"
    text += "b.png,PLEURAL EFFUSION,1 1 2 2\n"
    a, b = read_data(table(tmp_path, text)).cases
    assert (a.labels, b.labels) == (("Pleural effusion",), ("Pleural effusion",))
    assert a.findings == {"Pleural effusion": United((Boxes(((1, 1, 2, 2),)), Boxes(((3, 3, 4, 4),))))}
    assert list(b.findings) == ["Pleural effusion"]


def test_lists_within_lists_are_bounded() -> None:
    deep = "[" * 50_000
    assert runs_in(deep) == RunLengths(deep)  # which no image fits
    for parsed in (polygons_in, boxes_in):
        with pytest.raises(DataError):
            parsed("[" * 50_000 + "x")


def test_a_folder_beside_is_outside(tmp_path: Path) -> None:
    files(tmp_path, "d/a.png", "d2/a.png", "d/m.png")
    data = read_data(table(tmp_path / "d", "path,mask\na.png,m.png\n../d2/a.png,m.png\n"))
    assert reasons(data) == {"../d2/a.png": "its image is outside the folders of the data set"}


def test_an_outline_without_a_label_is_of_an_unknown_class(tmp_path: Path) -> None:
    files(tmp_path, "a.png", "b.png", "c.png")
    text = "path,label,box\na.png,,1 1 2 2\nb.png,,\nc.png,cyst,1 1 2 2\nc.png,,3 3 4 4\n"
    a, b, c = read_data(table(tmp_path, text)).cases
    assert (a.labels, list(a.findings)) == (None, [""])
    assert (b.labels, list(b.findings)) == ((), [])
    assert (c.labels, list(c.findings)) == (("cyst",), ["cyst", ""])
