"""The page and the table of a folder hold what its maps show, and nothing else."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from pydicom.uid import generate_uid
from typer.testing import CliRunner, Result

import pellucid
from pellucid.cli.main import app
from pellucid.errors import MissingPackageError, OptionError, OutputExistsError, WriteError
from pellucid.report import write_index
from pellucid.report.table import PYARROW
from tests.cli.conftest import MODEL, save
from tests.io.test_dicom import dataset, write

VOID = ("meta", "img", "link", "br", "input", "source")


class Page(HTMLParser):
    """A page as a browser takes it: its elements, their attributes and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def cards(self) -> list[dict[str, str | None]]:
        return [each for each in self.all("article") if each["class"] == "case"]


def page_of(folder: Path) -> Page:
    return Page((folder / "index.html").read_text(encoding="utf-8"))


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def facts(folder: Path, name: str) -> dict[str, object]:
    return json.loads((folder / f"{name}_metadata.json").read_text(encoding="utf-8"))


def change(folder: Path, name: str, **more: object) -> None:
    (folder / f"{name}_metadata.json").write_text(json.dumps(facts(folder, name) | more), encoding="utf-8")


def explained(folder: Path, *options: str, factory: str = "positive") -> Result:
    """Run the command on the folder's images; the results are in ``out``."""
    (folder / "own.py").write_text(MODEL)
    return CliRunner().invoke(
        app,
        [
            "explain",
            str(folder / "in"),
            "-o",
            str(folder / "out"),
            "--model",
            f"{folder / 'own.py'}:{factory}",
            *options,
        ],
    )


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Path]:
    """Explain two images, and return the folder of the results."""
    torch.manual_seed(0)
    save(tmp_path / "in" / "scan 10.png", seed=1)
    save(tmp_path / "in" / "scan 2.png", seed=2)

    def call(*options: str, factory: str = "positive") -> Path:
        done = explained(tmp_path, *options, factory=factory)
        assert done.exit_code == 0, done.output
        return tmp_path / "out"

    return call


def test_a_run_ends_with_a_page_and_a_table(tmp_path: Path, run: Callable[..., Path]) -> None:
    save(tmp_path / "in" / "broken.png").write_bytes(b"no image")
    done = explained(tmp_path)
    assert done.exit_code == 1
    assert f"{tmp_path / 'out' / 'index.html'}: open it in a browser" in done.stdout
    page = page_of(tmp_path / "out")
    assert len(page.cards()) == 2
    assert "1 input could not be explained" in page.text
    assert str(tmp_path / "in" / "broken.png") in page.text
    assert [row["image"] for row in rows_of(tmp_path / "out")] == [
        str(tmp_path / "in" / name) for name in ("scan 2.png", "scan 10.png")
    ]


def test_each_row_of_the_table_is_a_map(run: Callable[..., Path]) -> None:
    out = run(
        "--method", "hirescam", "--method", "gradcam", "--target", "all", "--check", "blur_fall", "--export", "png,npz"
    )
    rows = rows_of(out)
    assert len(rows) == 2 * 2 * 4
    assert [(row["method"], row["class"]) for row in rows[:8]] == [
        (method, str(index)) for method in ("gradcam", "hirescam") for index in range(4)
    ]
    for row in rows:
        name = row["overlay"].removesuffix("_overlay.png")
        found = pellucid.load_explanation(out / f"{name}_explanation.npz")
        index = int(row["class"])
        assert float(row["probability"]) == pytest.approx(float(found.logits.softmax(1)[0, index]))
        assert float(row["logit"]) == pytest.approx(float(found.logits[0, index]))
        assert float(row["evidence"]) == pytest.approx(float(found.attributions.max()))
        assert row["predicted"] == str(int(found.logits.argmax()) == index).lower()
        assert float(row["check_blur_fall"]) == pytest.approx(float(found.checks["blur_fall"]))
        heat = np.asarray(Pillow.open(out / f"{name}_heatmap.png"))
        assert heat[int(row["peak_row"]), int(row["peak_column"])] == heat.max() > 0
        assert (row["degenerate"], row["peak_slice"], row["value"], row["label"]) == ("false", "", "", "")
    assert (out / "results.csv").read_bytes().count(b"\r\n") == 17


def test_the_grade_stands_below_its_map_and_in_the_table(run: Callable[..., Path]) -> None:
    out = run("--target", "0", "--check", "grade")
    name = "scan 2"
    stated = facts(out, name)["grade"]
    assert "blurring the " in stated["text"]
    assert stated["text"] in page_of(out).text
    change(out, name, grade={"text": "blurring the marked 2 % does", "worth": "on <b>drawn"}, checks={"grade": 0.25})
    change(out, "scan 10", grade=None, checks={})
    write_index(out)
    page = page_of(out)
    assert [each["class"] for each in page.all("span") if each.get("class") == "grade"] == ["grade"]
    assert page.text.count("blurring the marked 2 % does") == page.text.count("on <b>drawn") == 1
    assert "grade" in page.text  # the column's heading
    assert [row["check_grade"] for row in rows_of(out)] == ["0.25", ""]


def test_the_page_loads_nothing_and_runs_its_own_script_only(run: Callable[..., Path]) -> None:
    out = run()
    text = (out / "index.html").read_text(encoding="utf-8")
    page = Page(text)
    (policy,) = (each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        (own,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'" in policy
    assert not re.search(r"https?:|url\(|@import| on\w+=| style=", text)
    for tag, attributes in page.elements:
        for name in ("src", "href"):
            if (target := attributes.get(name)) and not target.startswith(("data:image/jpeg;base64,", "#")):
                assert tag in ("a", "img")
                assert (out / target.replace("%20", " ")).is_file()
    assert "AI explanation, not for diagnosis." in page.text


def test_thumbnails_are_the_drawn_image_without_bar_and_caption(run: Callable[..., Path], tmp_path: Path) -> None:
    levels = np.add.outer(np.arange(160), np.arange(240)).astype(np.uint8)
    Pillow.fromarray(levels).save(tmp_path / "in" / "scan 2.png")
    out = run()
    sources = [each["src"] for each in page_of(out).all("img") if each.get("class") == "thumbnail"]
    small, tiny = (
        Pillow.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,")))) for source in sources
    )
    assert small.size == (192, 128)
    drawn = Pillow.open(out / "scan 2_overlay.png").convert("RGB").crop((0, 0, 240, 160)).resize((192, 128))
    assert np.abs(np.asarray(small).astype(float) - np.asarray(drawn)).mean() < 5
    assert tiny.size == (40, 28)
    assert np.asarray(tiny).mean() < 200  # beside a colour bar that is higher, the image stands in white


def test_large_images_are_loaded_when_they_are_looked_at(run: Callable[..., Path]) -> None:
    page = page_of(run())
    large = [each for each in page.all("img") if not each["src"].startswith("data:")]
    assert [each["src"] for each in large] == ["scan%202_overlay.png", "scan%2010_overlay.png"]
    assert all(each["loading"] == "lazy" for each in large)


def test_an_empty_map_says_why(run: Callable[..., Path]) -> None:
    out = run(factory="negative")
    page = page_of(out)
    assert "shows nothing" in page.text
    assert any(text.startswith("Shows nothing: all evidence negative; no pixel is evidence") for text in page.text)
    for row in rows_of(out):
        assert (row["degenerate"], row["reason"], row["peak_row"]) == ("true", "all evidence negative", "")


def test_labels_are_shown_and_compared_and_patients_stay_in_the_table(run: Callable[..., Path]) -> None:
    out = run()
    predicted = facts(out, "scan 2")["prediction"]["predicted_name"]
    change(out, "scan 2", labels={"label": predicted.upper(), "patient": "P-17", "split": "test"}, key="ab" * 16)
    change(out, "scan 10", labels={"label": "effusion", "patient": "P-18", "split": "train"})
    write_index(out)
    page = page_of(out)
    assert ["data-wrong" in each for each in page.cards()] == [False, True]
    assert {each["name"] for each in page.all("select")} >= {"label", "split", "sort", "show"}
    assert not any("P-1" in text for text in page.text)
    rows = rows_of(out)
    assert [(row["label"], row["patient"], row["split"]) for row in rows] == [
        (predicted.upper(), "P-17", "test"),
        ("effusion", "P-18", "train"),
    ]
    assert rows[0]["key"] == "ab" * 16


@pytest.mark.parametrize("label", ["something else", "", "7", "-1"])
def test_a_label_that_names_no_class_is_not_compared(run: Callable[..., Path], label: str) -> None:
    out = run()
    change(out, "scan 2", labels={"label": label})
    write_index(out)
    assert not any("data-wrong" in each for each in page_of(out).cards())


def test_an_image_may_have_several_labels(run: Callable[..., Path]) -> None:
    out = run()
    predicted = facts(out, "scan 2")["prediction"]["predicted_name"]
    others = [name for name in ("normal", "effusion", "nodule") if name != predicted]
    change(out, "scan 2", labels={"label": f"{others[0]}; {predicted};unknown"})
    change(out, "scan 10", labels={"label": ";".join(others)})
    write_index(out)
    page = page_of(out)
    assert ["data-wrong" in each for each in page.cards()] == [False, True]
    assert [each["data-label"].split("\n") for each in page.all("span") if "data-label" in each] == [
        [others[0], predicted, "unknown"],
        others,
    ]
    assert {"value": "unknown"} in page.all("option")


def test_a_label_may_be_the_number_of_a_class(run: Callable[..., Path]) -> None:
    out = run()
    number = facts(out, "scan 2")["prediction"]["predicted_class"]
    change(out, "scan 2", labels={"label": str(number)})
    change(out, "scan 10", labels={"label": str((number + 1) % 4)})
    write_index(out)
    assert ["data-wrong" in each for each in page_of(out).cards()] == [False, True]


def test_identity_that_the_metadata_keep_is_not_shown(tmp_path: Path, run: Callable[..., Path]) -> None:
    scan = dataset(np.arange(64, dtype=np.uint16).reshape(8, 8), PatientID="4711-0815", StudyInstanceUID=generate_uid())
    write(tmp_path / "in", scan, "ct.dcm")
    out = run("--keep-identity")
    assert "Doe^Jane" in (out / "ct_metadata.json").read_text()
    for name in ("index.html", "results.csv"):
        text = (out / name).read_text(encoding="utf-8")
        assert "ct" in text
        assert not any(secret in text for secret in ("Doe", "Jane", "4711-0815", str(scan.StudyInstanceUID)))


def test_several_models_of_one_image_are_cases_of_their_own(run: Callable[..., Path]) -> None:
    out = run()
    other = facts(out, "scan 2") | {"model": {"spec": "another.py:net", "weights_sha256": "00" * 32}}
    (out / "other_metadata.json").write_text(json.dumps(other))
    write_index(out)
    page = page_of(out)
    assert len(page.cards()) == 3
    assert "another.py:net" in page.text
    assert "model" in {each["name"] for each in page.all("select")}


def test_values_of_a_regression(tmp_path: Path, run: Callable[..., Path]) -> None:
    (tmp_path / "names.txt").write_text("bone age (months)\nheight\nweight\nscore\n")
    asked = ("--head", "regression", "--classes", str(tmp_path / "names.txt"), "--target", "higher height")
    out = run(*asked, factory="plain_positive")
    row = rows_of(out)[0]
    found = facts(out, "scan 2")["prediction"]["values"]
    assert float(row["value"]) == pytest.approx(found["height"])
    assert (row["probability"], row["predicted"], row["logit"]) == ("", "", "")
    assert "Values" in page_of(out).text


def test_failures_stay_until_there_are_results(run: Callable[..., Path], tmp_path: Path) -> None:
    out = run()
    write_index(out, failed={"in/lost.png": "it is broken", str(tmp_path / "in" / "scan 2.png"): "it was busy"})
    write_index(out, failed={"in/=other.png": "it is empty"})
    with (out / "failed.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["image", "error"],
            ["in/lost.png", "it is broken"],
            ["in/=other.png", "it is empty"],
        ]
    assert "2 inputs could not be explained" in page_of(out).text
    for name in ("lost", "=other"):
        change(out, "scan 2", image=f"in/{name}.png")
        write_index(out)
    # The second one has results now, and the first one no longer.
    assert not (out / "failed.csv").exists()


def test_nothing_is_written_where_there_is_nothing(tmp_path: Path) -> None:
    assert write_index(tmp_path, failed={"a.png": "broken"}) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_in_which_all_fails_makes_no_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.png").write_bytes(b"no image")
    assert explained(tmp_path).exit_code == 3
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["index.html", "results.csv", "failed.csv"])
def test_files_of_others_are_not_replaced(run: Callable[..., Path], tmp_path: Path, name: str) -> None:
    out = run()
    (out / name).write_text("mine")
    before = sorted(path.name for path in out.iterdir())
    done = explained(tmp_path, "--overwrite")
    assert done.exit_code == 3
    assert f"{out / name} is already there, and was not written by pellucid: rename it" in done.stderr
    assert (out / name).read_text() == "mine"
    assert sorted(path.name for path in out.iterdir()) == before
    (out / name).rename(out / "renamed")
    assert explained(tmp_path, "--overwrite").exit_code == 0


def test_a_link_in_the_place_of_the_page_is_not_followed(run: Callable[..., Path], tmp_path: Path) -> None:
    out = run()
    (out / "index.html").rename(tmp_path / "elsewhere.html")
    (out / "index.html").symlink_to(tmp_path / "elsewhere.html")
    with pytest.raises(OutputExistsError):
        write_index(out)


def test_the_page_is_the_same_each_time(run: Callable[..., Path]) -> None:
    out = run("--target", "all")
    before = [(out / name).read_bytes() for name in ("index.html", "results.csv")]
    assert write_index(out) == [out / "index.html", out / "results.csv"]
    assert [(out / name).read_bytes() for name in ("index.html", "results.csv")] == before


def test_results_of_subfolders_and_of_later_runs_are_in_it(run: Callable[..., Path], tmp_path: Path) -> None:
    out = run()
    save(tmp_path / "more" / "deep" / "third.png", seed=3)
    (tmp_path / "in").rename(tmp_path / "first")
    (tmp_path / "more").rename(tmp_path / "in")
    assert explained(tmp_path).exit_code == 0
    assert [row["overlay"] for row in rows_of(out)] == [
        "deep/third_overlay.png",
        "scan 2_overlay.png",
        "scan 10_overlay.png",
    ]
    assert len(page_of(out).cards()) == 3


def test_tables_that_there_are(run: Callable[..., Path], tmp_path: Path) -> None:
    out = run()
    with pytest.raises(OptionError, match="table 'xlsx' was asked for; there are csv, parquet"):
        write_index(out, "xlsx")
    done = explained(tmp_path, "--table", "csv,excel", "--overwrite")
    assert done.exit_code == 2
    assert "table 'excel' was asked for; there are csv, parquet" in done.stderr


def test_parquet_needs_its_extra(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, PYARROW.module, None)
    done = explained(tmp_path, "--table", "parquet")
    assert done.exit_code == 3
    assert "a Parquet table was asked for; pyarrow is not installed: pip install 'pellucid[parquet]'" in done.stderr
    assert not (tmp_path / "out").exists()
    with pytest.raises(MissingPackageError):
        write_index(tmp_path, "parquet")


def test_parquet_is_the_same_table_with_types(run: Callable[..., Path]) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    out = run("--table", "csv,parquet", "--target", "all")
    change(out, "scan 2_nodule", target_name="=nodule")
    write_index(out, ["csv", "parquet"])
    table = parquet.read_table(out / "results.parquet")
    rows = rows_of(out)
    assert table.column_names == list(rows[0])
    assert {str(table.schema.field(name).type) for name in ("class", "peak_row")} == {"int64"}
    assert str(table.schema.field("probability").type) == "double"
    assert str(table.schema.field("predicted").type) == "bool"
    for typed, row in zip(table.to_pylist(), rows, strict=True):
        assert {name: "" if value is None else str(value).lower() for name, value in typed.items()} == {
            name: value.removeprefix("'").lower() for name, value in row.items()
        }
    assert "results.parquet" in {each.get("href") for each in page_of(out).all("a")}


def test_many_maps_have_one_thumbnail_a_case(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    out = run("--target", "all")
    monkeypatch.setattr("pellucid.report.page._MAX_THUMBNAILS", 7)
    write_index(out)
    small = [each for each in page_of(out).all("img") if each.get("class") == "thumbnail"]
    assert sum(each["src"].startswith("data:") for each in small) == 2
    assert sum(each["src"].endswith("_overlay.png") for each in small) == 6


def test_more_maps_than_a_page_has_room_for_are_counted(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = run("--target", "all")
    monkeypatch.setattr("pellucid.report.page._MAX_MAPS", 5)
    write_index(out)
    assert any("8 maps, of which the last 3 are not on this page" in text for text in page_of(out).text)
    assert len(rows_of(out)) == 8


def test_without_an_overlay_a_case_is_listed(run: Callable[..., Path]) -> None:
    out = run("--export", "npz")
    page = page_of(out)
    assert len(page.cards()) == 2
    assert page.text.count("no overlay") == 2
    assert rows_of(out)[0]["overlay"] == ""


def test_a_page_that_cannot_be_written_is_an_error_beside_results(
    tmp_path: Path, run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path, files: dict[str, bytes], overwrite: bool) -> None:
        raise WriteError(f"{folder}: cannot be written to (No space left on device): choose another --output")

    monkeypatch.setattr("pellucid.report.index.write", full)
    done = explained(tmp_path)
    assert done.exit_code == 1
    assert done.stderr.splitlines() == [
        f"error: {tmp_path / 'out'}: cannot be written to (No space left on device): choose another --output"
    ]
    assert "2 explained; results are in" in done.stdout
    assert not (tmp_path / "out" / "index.html").exists()
