"""What the results of each input are called."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from pellucid.run.finding import inputs
from tests.run.empty_files import stems, touch


def test_equal_stems_keep_their_ending(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.jpg", "b.png", "sub/a.png")
    assert list(stems(tmp_path).values()) == ["a.jpg", "a.png", "b", "sub/a"]


def test_case_alone_does_not_tell_names_apart(tmp_path: Path) -> None:
    paths = touch(tmp_path, "x/Scan.png", "y/scan.png", "x/other.png")
    assert list(stems(*paths).values()) == ["x/Scan.png", "y/scan.png", "other"]


def test_equal_names_keep_their_folders(tmp_path: Path) -> None:
    paths = touch(tmp_path, "a/x.png", "b/x.png", "b/y.png")
    assert list(stems(*paths).values()) == ["a/x.png", "b/x.png", "y"]
    one, other = touch(tmp_path, "p/in/z.png", "q/in/z.png")
    assert list(stems(one.parent, other.parent).values()) == ["p/in/z.png", "q/in/z.png"]


def test_stems_are_distinct(tmp_path: Path) -> None:
    paths = touch(tmp_path, "a.png", "a.jpg", "a.png.tif", "s/a.png", "s/a.jpg", "t/a.png", "t/A.PNG.bmp")
    found = list(stems(*paths).values())
    assert len({stem.casefold() for stem in found}) == len(paths)
    assert not any(PurePath(stem).is_absolute() or ".." in PurePath(stem).parts for stem in found)


def test_files_on_different_drives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.run import stems as module

    monkeypatch.setattr(module, "_one_drive", lambda paths: False)
    paths = touch(tmp_path, "a/x.png", "b/x.png")
    assert [one.stem for one in inputs(paths, tmp_path / "out")] == [PurePath(*path.parts[1:]) for path in paths]
