"""Writing: all files of a result, or none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from pellucid.errors import OutputExistsError, WriteError
from pellucid.export.writing import write

FILES = {"a.png": b"one", "b.png": b"two", "c.json": b"three"}


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write(tmp_path / "deep" / "er", FILES, overwrite=False)
    assert content(tmp_path / "deep" / "er") == FILES


def test_nothing_is_replaced_without_overwrite(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match=r"c\.json is already there"):
        write(tmp_path, FILES, overwrite=False)
    assert content(tmp_path) == {"c.json": b"mine"}
    write(tmp_path, FILES, overwrite=True)
    assert content(tmp_path) == FILES


@pytest.mark.parametrize("name", FILES)
def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    whole = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if path.name == str(list(FILES).index(name)):
            whole(path, data[:1])
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(WriteError, match="No space left on device") as caught:
        write(tmp_path, FILES, overwrite=False)
    assert "\n" not in str(caught.value)
    assert content(tmp_path) == {}


@pytest.mark.parametrize("done", [False, True])  # an interrupt is raised when the system's call returns
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_an_error_or_interrupt_removes_new_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, done: bool
) -> None:
    replace = Path.replace

    def fail(path: Path, final: Path) -> Path:
        if Path(final).name == "c.json":
            if done:
                replace(path, final)
            raise error
        return replace(path, final)

    (tmp_path / "a.png").write_bytes(b"before")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(WriteError if isinstance(error, OSError) else KeyboardInterrupt):
        write(tmp_path, FILES, overwrite=True)
    assert set(content(tmp_path)) == {"a.png"}  # never less than there was


def test_folders_that_cannot_be_written_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    (tmp_path / "a.png").mkdir()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path):
        with pytest.raises(WriteError, match="cannot be written to") as caught:
            write(folder, FILES, overwrite=True)
        assert str(folder) in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "file"]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="too long"):
        write(tmp_path, {"x" * 400: b""}, overwrite=False)
    assert content(tmp_path) == {}
