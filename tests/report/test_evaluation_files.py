"""The files of an evaluation's report: all or none, nobody else's, and no image from elsewhere."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as Pillow

from pellucid.errors import OutputExistsError, WriteError
from pellucid.evaluation.evaluation import Evaluation, Example
from pellucid.render.encoding import png
from pellucid.report.evaluation import write_report
from pellucid.report.evaluation import writing as written_by
from pellucid.report.evaluation.figures.drawing import Drawn
from pellucid.report.evaluation.page import page
from tests.report import evaluations
from tests.report.test_evaluation_page import Report

DRAWN = {name: Drawn(name, "alt", "caption", True, b"<svg/>", b"<svg/>", b"png") for name in ("primary", "roc")}


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    """An evaluation whose figures take no time."""
    for name in written_by._DRAWN:
        monkeypatch.setitem(written_by._DRAWN, name, lambda _, name=name: DRAWN.get(name))
    return evaluations.bare()


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_equal_evaluations_are_equal_files(tmp_path: Path) -> None:
    made = evaluations.small(tmp_path / "one")
    evaluations.small(tmp_path / "two")
    one = files(write_report(made, tmp_path / "one").parent)
    assert one == files(write_report(made, tmp_path / "two").parent)
    drawn = {
        f"figures/{name}.{kind}" for name in ("primary", "roc", "calibration", "overlap") for kind in ("svg", "png")
    }
    assert drawn < set(one)
    for name in drawn:
        start = b"\x89PNG" if name.endswith("png") else b"<?xml"
        assert one[name].startswith(start)


def test_nothing_that_is_there_is_replaced_without_a_word(tmp_path: Path, light: Evaluation) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"report.html is already there: .*overwrite=True"):
        write_report(light, tmp_path)
    assert files(tmp_path) == {"report.html": b"mine"}
    (tmp_path / "report.html").unlink()
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "roc.svg").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"roc\.svg is already there"):
        write_report(light, tmp_path)
    assert files(tmp_path) == {"figures/roc.svg": b"mine"}


def test_overwriting_leaves_no_figure_of_before_and_every_file_of_the_users(tmp_path: Path, light: Evaluation) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("overlap.svg", "roc.svg", "mine.svg"):
        (tmp_path / "figures" / name).write_text("before")
    (tmp_path / "notes.txt").write_text("mine")
    write_report(light, tmp_path, overwrite=True)
    found = files(tmp_path)
    assert set(found) == {
        "report.html", "notes.txt", "figures/mine.svg",
        *(f"figures/{name}.{kind}" for name in DRAWN for kind in ("svg", "png")),
    }  # fmt: skip
    assert found["figures/mine.svg"] == b"before"
    assert found["figures/roc.svg"] == b"<svg/>"


@pytest.mark.parametrize("before", [{}, {"figures/roc.svg": b"before", "report.html": b"before"}], ids=["new", "old"])
def test_a_page_that_cannot_be_written_leaves_all_as_it_was(
    tmp_path: Path, light: Evaluation, before: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in before.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    kept = written_by.write

    def full(folder: Path, content: dict[str, bytes], *more: object) -> None:
        if "report.html" in content:
            assert (tmp_path / "figures" / "primary.png").is_file()
            raise WriteError("the disk is full")
        kept(folder, content, *more)

    monkeypatch.setattr(written_by, "write", full)
    with pytest.raises(WriteError, match="the disk is full"):
        write_report(light, tmp_path, overwrite=True)
    assert files(tmp_path) == before
    assert (tmp_path / "figures").exists() is bool(before)


@pytest.mark.parametrize("is_link", [True, False], ids=["link", "file"])
def test_figures_go_nowhere_else(tmp_path: Path, light: Evaluation, is_link: bool) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if is_link:
        (out / "figures").symlink_to(elsewhere)
    else:
        (out / "figures").write_text("mine")
    with pytest.raises(WriteError, match="no folder of its own"):
        write_report(light, out, overwrite=True)
    assert not list(elsewhere.iterdir())
    assert not (out / "report.html").exists()


def shown(folder: Path, file: str | None) -> Report:
    example = Example("random", "case", "gradcam", "benign", 0.5, "", file)
    return Report(page(replace(evaluations.bare(), examples=[example]), {}, folder))


def test_an_image_of_an_example_is_a_link_with_a_thumbnail(tmp_path: Path) -> None:
    (tmp_path / "ex am").mkdir()
    evaluations.radiograph(tmp_path / "ex am" / "ä,1.png", 0)
    report = shown(tmp_path, "ex am/ä,1.png")
    assert "ex%20am/%C3%A4%2C1.png" in [each["href"] for each in report.all("a")]
    (image,) = report.all("img")
    assert (image["src"] or "").startswith("data:image/jpeg;base64,")
    assert image["alt"] == "case: map of gradcam for benign, pointing_game 0.50. "


def test_a_thumbnail_that_a_file_holds_is_used(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(Pillow.new("L", (8, 8)), b"\xff\xd8\xffsmall"))
    (image,) = shown(tmp_path, "a.png").all("img")
    assert image["src"] == "data:image/jpeg;base64,/9j/c21hbGw="


def test_images_elsewhere_are_not_shown(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    folder.mkdir()
    evaluations.radiograph(tmp_path / "secret.png", 0)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "out").symlink_to(tmp_path)
    (folder / "folder.png").mkdir()
    for file in (
        "../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "out/secret.png",
        "folder.png",
        "no.png",
        "",
    ):
        report = shown(folder, file)
        assert report.all("img") == []
        assert [each["href"] for each in report.all("a") if "png" in (each["href"] or "")] == []
        assert "The image is not there." in report.words("examples")
    assert "The image is not there." in shown(folder, None).words("examples")


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_files_that_are_no_image_or_too_large_a_one_are_not_read(tmp_path: Path) -> None:
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    for name, content in {"bomb.png": bomb, "text.png": b"no image"}.items():
        (tmp_path / name).write_bytes(content + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b""))
    Pillow.new("1", (6000, 6000)).save(tmp_path / "large.png")
    for name in ("bomb.png", "text.png", "large.png"):
        report = shown(tmp_path, name)
        assert report.all("img") == []
        assert "The image cannot be read." in report.words("examples")


def test_cases_drawn_at_random_come_first_and_say_how_they_were_chosen(tmp_path: Path) -> None:
    report = Report(page(evaluations.small(tmp_path), {}, tmp_path))
    words = report.words("examples")
    heads = ["Cases drawn at random", "Best cases", "Worst cases", "Images without a finding"]
    starts = [words.index(head) for head in heads]
    assert starts == sorted(starts)
    assert "Drawn without a look at their values" in words[starts[0] : starts[1]]
    assert "They were chosen for their values" in words[starts[1] : starts[2]]
    assert len(report.all("img")) == 12
