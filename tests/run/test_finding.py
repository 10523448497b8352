"""Which files a command works on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pellucid.errors import ImageError, OptionError, PellucidWarning
from pellucid.io import SUFFIXES
from pellucid.run.finding import inputs
from tests.run.empty_files import stems, touch


def test_a_folder_is_searched_and_mirrored(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.dcm", "deep/er/c.tif", ".hidden.png", ".git/d.png", "notes.txt", "deep/model.pth")
    with pytest.warns(PellucidWarning, match=r"2 files that hold no image were skipped: model.pth, notes.txt$"):
        assert list(stems(tmp_path).values()) == ["a", "b", "deep/er/c"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_is_found(tmp_path: Path, suffix: str) -> None:
    touch(tmp_path, f"a{suffix}")
    assert list(stems(tmp_path).values()) == ["a"]


def test_a_file_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    paths = touch(tmp_path, "IM000001", ".hidden.png", "1.2.840.1", "1.2.840.2")
    assert list(stems(*paths).values()) == ["IM000001", ".hidden", "1.2.840.1", "1.2.840.2"]


def test_a_file_given_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = touch(tmp_path, "a.png")
    monkeypatch.chdir(tmp_path)
    assert len(inputs([path, Path("a.png"), tmp_path, Path("../") / tmp_path.name / "a.png"], Path("out"))) == 1


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_a_link_to_a_file_is_the_file(tmp_path: Path) -> None:
    (path,) = touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(path)
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    (tmp_path / "round").symlink_to(tmp_path)
    assert list(stems(tmp_path).values()) == ["a"]


def test_results_below_the_folder_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = touch(tmp_path, "a.png", "out/a_overlay.png", "out/deep/b_overlay.png", "outer/c.png")
    assert list(stems(tmp_path, output=tmp_path / "out").values()) == ["a", "outer/c"]
    monkeypatch.chdir(tmp_path)
    assert list(stems(Path(), output=Path("out")).values()) == ["a", "outer/c"]
    # Named by itself, a file there is meant.
    assert list(stems(paths[1], output=tmp_path / "out").values()) == ["a_overlay"]


def test_an_output_above_the_folder_hides_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png")
    for output in (tmp_path, tmp_path.parent):
        assert list(stems(tmp_path / "in", output=output).values()) == ["a"]


def test_the_folder_itself_is_no_output(tmp_path: Path) -> None:
    touch(tmp_path, "in/a.png")
    for output in (tmp_path / "in", tmp_path / "in" / ".." / "in"):
        with pytest.raises(OptionError, match="choose another folder") as caught:
            inputs([tmp_path / "in"], output)
        assert "\n" not in str(caught.value)


def test_nothing_found(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    for paths in ([tmp_path], [tmp_path, tmp_path]):
        with pytest.raises(ImageError, match="no image file was found") as caught:
            inputs(paths, tmp_path / "out")
        assert "among 1 files; formats are DICOM, NIfTI" in str(caught.value)
