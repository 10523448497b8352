"""Labels of images, from a CSV file."""

from __future__ import annotations

import warnings
from pathlib import Path, PurePath

import pytest

from pellucid.errors import OptionError, PellucidWarning
from pellucid.run import csv_lines
from pellucid.run.finding import inputs
from pellucid.run.grouping import as_sequences
from pellucid.run.labels import labels_of, read_rows
from tests.run.empty_files import touch


def stated(
    file: Path, text: str, images: Path, classes: list[str] | None = None
) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What a file with this text states of the images in a folder, and the warnings."""
    file.write_text(text, encoding="utf-8")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = labels_of(read_rows(file), file, inputs([images]), [images], classes)
    texts = [str(warning.message) for warning in caught]
    assert all("\n" not in text and text.startswith(f"--labels {file} was given; ") for text in texts)
    return {stem.as_posix(): dict(one) for stem, one in found.items()}, [text.partition("; ")[2] for text in texts]


def test_paths_are_relative_to_the_file_or_the_images_or_absolute(tmp_path: Path) -> None:
    images, lists = tmp_path / "in", tmp_path / "lists"
    paths = touch(images, "a.png", "deep/b.png", "c.png")
    lists.mkdir()
    text = f"path,label\na.png,x\n../in/deep/b.png,y\n{paths[2]},z\n"
    assert stated(lists / "labels.csv", text, images) == (
        {"a": {"label": "x"}, "deep/b": {"label": "y"}, "c": {"label": "z"}},
        [],
    )


def test_all_columns_in_any_order_and_as_excel_writes_them(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.png", "b.png")
    text = '\ufeffSplit,Label , PATH,patient\r\ntest,"x, y; z",a.png,7\r\n,,b.png,\r\n\r\n'
    assert stated(tmp_path / "labels.csv", text, tmp_path / "in") == (
        {"a": {"label": "x, y; z", "patient": "7", "split": "test"}, "b": {}},
        [],
    )


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.png", "b.png", "c.png", "d.png", "e.png", "f.png")
    text = (
        "path,label,age,sex\na.png,x,3,f\na.png,x,3,f\ngone.png,x,3,f\nb.png,ef;x;1,3,f\nin/../in/c.png,9,3,f\n"
        ",,,\nnotes.txt,x,,\n"
    )
    touch(tmp_path, "notes.txt")
    found, told = stated(tmp_path / "labels.csv", text, tmp_path / "in", ["x", "effusion"])
    assert set(found) == {"a", "b", "c"}
    assert told == [
        "its 2 columns age, sex are left out: path, label, patient, split are read",
        "there is 1 row whose file is missing: gone.png",
        "there is 1 row that names no image which is explained: notes.txt",
        "there is 1 row that is there twice: a.png",
        "there are 3 images without a row: d.png, e.png, f.png",
        "2 labels are no class of the model (ef, 9); did you mean effusion?",
    ]


def test_a_label_that_is_misspelt(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.png")
    _, told = stated(tmp_path / "l.csv", "path,label\na.png,efusion\n", tmp_path / "in", ["x", "effusion"])
    assert told == ["1 label is no class of the model (efusion); did you mean effusion?"]
    assert stated(tmp_path / "l.csv", "path,label\na.png,Effusion;0\n", tmp_path / "in", ["x", "effusion"])[1] == []


def test_a_link_has_the_row_of_its_file(tmp_path: Path) -> None:
    (path,) = touch(tmp_path / "in", "a.png")
    (tmp_path / "in" / "b.png").symlink_to(path)
    (tmp_path / "in" / "c.png").hardlink_to(path)
    assert stated(tmp_path / "l.csv", "path,label\nc.png,x\n", tmp_path / "in") == ({"a": {"label": "x"}}, [])
    with pytest.raises(OptionError, match=r"b\.png and c\.png are the same image, with different values"):
        stated(tmp_path / "l.csv", "path,label\nb.png,x\nc.png,y\n", tmp_path / "in")


def test_a_sequence_has_the_row_of_its_folder(tmp_path: Path) -> None:
    touch(tmp_path / "in", "one/a.png", "one/b.png")
    (tmp_path / "l.csv").write_text("path,label\none,x\n")
    files = as_sequences(inputs([tmp_path / "in"]))
    found = labels_of(read_rows(tmp_path / "l.csv"), tmp_path / "l.csv", files, [tmp_path / "in"], None)
    assert found == {PurePath("one"): {"label": "x"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "names no column path and label, but nothing: begin it with path,label"),
        (b"a.png,x\n", r"names no column path and label, but a\.png, x"),
        (b"path;label\na.png;x\n", r"names no column path and label, but path;label"),
        (b"path,path,label\n", "names the column path twice"),
        (b"path,label\na.png,x,y\n", r"the row of a\.png has 3 cells, its first line has 2"),
        (b'path,label\n"a.png,x\n', r"cannot be read \(unexpected end of data\)"),
        (b"path,label\n\xff,x\n", r"cannot be read \(not text in UTF-8\)"),
        (b"path,label\n" + b"x" * 200_000 + b",x\n", r"cannot be read \(field larger than field limit"),
    ],
)
def test_files_that_are_no_list(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "labels.csv").write_bytes(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_rows(tmp_path / "labels.csv")
    assert "\n" not in str(caught.value)


def test_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("path,label\na,x\nb,x\n")
    monkeypatch.setattr(csv_lines, "MAX_ROWS", 1)
    with pytest.raises(OptionError, match="more than 1 rows"):
        read_rows(file)
    monkeypatch.setattr(csv_lines, "MAX_BYTES", 5)
    with pytest.raises(OptionError, match="more than 5 bytes"):
        read_rows(file)
    for path in (tmp_path, tmp_path / "gone.csv"):
        with pytest.raises(OptionError, match="it is no file"):
            read_rows(path)


def test_the_remedy_for_a_header_works(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a.png")
    with pytest.raises(OptionError, match="begin it with path,label"):
        stated(tmp_path / "l.csv", "a.png,x\n", tmp_path / "in")
    assert stated(tmp_path / "l.csv", "path,label\na.png,x\n", tmp_path / "in")[0] == {"a": {"label": "x"}}


def test_unread_columns_warn_at_the_caller(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("path,label,age\n")
    with pytest.warns(PellucidWarning, match="1 column age is left out") as caught:
        read_rows(tmp_path / "l.csv")
    assert caught[0].filename == __file__
