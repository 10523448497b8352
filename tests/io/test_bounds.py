"""What reading the attributes of a DICOM file may take, whatever the file holds."""

from __future__ import annotations

import io
import re
import struct
from pathlib import Path

import pydicom
import pytest
import torch

import pellucid
from pellucid.errors import ImageError
from pellucid.io.dicom_bounded import BoundsError, read_attributes
from pellucid.io.dicom_file import open_dicom
from tests.io.bombs import BOMBS, DEFLATED, EXPLICIT, IMPLICIT, ITEM, element, empty, endless, file, nested
from tests.io.refusals import refusal

PIXELS = torch.arange(16.0).reshape(1, 4, 4)
_FEW = "0.05"
"""GiB: 6,553 elements."""


@pytest.fixture
def saved(tmp_path: Path):
    def save(content: bytes) -> Path:
        path = tmp_path / "a.dcm"
        path.write_bytes(content)
        return path

    return save


def remedy(message: str) -> str:
    return re.search(r"set the environment variable PELLUCID_MAX_GIB=(\S+)", message)[1]


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_of_too_many_elements_is_refused(saved, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_MAX_GIB", _FEW)
    message = refusal(lambda: pellucid.read_image(saved(BOMBS[name])))
    assert "its header holds more than 6,553 elements: set the environment variable PELLUCID_MAX_GIB=0.1" in message


def test_the_remedy_of_a_refusal_works(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(file(empty(8000)))
    monkeypatch.setenv("PELLUCID_MAX_GIB", _FEW)
    monkeypatch.setenv("PELLUCID_MAX_GIB", remedy(refusal(lambda: pellucid.read_image(path))))
    assert torch.equal(pellucid.read_image(path).values, PIXELS)


@pytest.mark.parametrize("name", sorted({*BOMBS} - {"deflated", "items within items"}))
def test_reading_ends_at_the_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_MAX_GIB", _FEW)
    created, made = 0, pydicom.Dataset.__init__

    def count(self, *args, **kwargs):
        nonlocal created
        created += 1
        made(self, *args, **kwargs)

    monkeypatch.setattr(pydicom.Dataset, "__init__", count)
    with pytest.raises(BoundsError):
        read_attributes(io.BytesIO(BOMBS[name]))
    assert created < 6700


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, DEFLATED])
def test_attributes_are_those_that_pydicom_reads(saved, syntax: str) -> None:
    item = element(0x28, 0x1050, b"DS", b"40\\50", syntax != IMPLICIT)
    table = struct.pack("<HHI", 0xFFFE, 0xE000, len(item)) + item
    large = nested(3, 2**22) if syntax != IMPLICIT else b""
    content = file(large, element(8, 0x2112, b"SQ", table * 3, syntax != IMPLICIT), syntax=syntax)
    expected, found = pydicom.dcmread(io.BytesIO(content)), open_dicom(saved(content))
    assert found == expected
    assert found.file_meta == expected.file_meta
    assert found.file_meta.TransferSyntaxUID == syntax
    assert [one.WindowCenter for one in found.SourceImageSequence] == [[40, 50]] * 3
    assert torch.equal(pellucid.read_image(saved(content)).values, PIXELS)


def test_an_ordinary_header_is_read_however_low_the_limit(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_MAX_GIB", "0.00001")
    assert torch.equal(pellucid.read_image(saved(file(empty(300)))).values, PIXELS)


def test_only_the_elements_asked_for_are_kept() -> None:
    found = read_attributes(io.BytesIO(file(empty(5))), tags=("Rows", "Columns"))
    assert [one.keyword for one in found] == ["Rows", "Columns"]
    assert "PixelData" not in read_attributes(io.BytesIO(file()), header_only=True)


def test_sequences_nested_too_deep_are_refused(saved) -> None:
    assert torch.equal(pellucid.read_image(saved(file(nested(60, 2**22)))).values, PIXELS)
    assert "nested more than 64 deep" in refusal(lambda: pellucid.read_image(saved(file(nested(70, 2**22)))))


def test_a_broken_sequence_that_is_not_needed_is_left_alone(saved) -> None:
    broken = element(8, 0x1140, b"SQ", b"\x01" * (2**22 + 2))
    assert torch.equal(pellucid.read_image(saved(file(broken))).values, PIXELS)


def test_a_sequence_in_which_pydicom_reads_the_rest_again_and_again_is_refused(saved) -> None:
    endless_values = element(8, 0x1140, b"SQ", b"\xff" * (2**22 + 2))
    message = refusal(lambda: pellucid.read_image(saved(file(endless_values))))
    assert "it is broken: the ends of its elements are missing" in message


@pytest.mark.parametrize("within", [False, True])
def test_a_long_list_of_numbers_is_refused(saved, within: bool) -> None:
    value = element(0x28, 0x1050, b"DS", b"1\\" * 2**20, explicit=False)
    if within:
        value = element(8, 0x1140, b"", (struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value) * 3, explicit=False)
    message = refusal(lambda: pellucid.read_image(saved(file(value, syntax=IMPLICIT))))
    assert "its element (0028,1050) holds 2,097,152 bytes of text or numbers; at most 1,048,576 are read" in message


def test_long_values_that_stay_as_they_are_are_no_matter(saved) -> None:
    text = element(8, 0x1140, b"UT", b"1\\" * 2**20)
    assert torch.equal(pellucid.read_image(saved(file(text, element(9, 1, b"UN", bytes(2**21))))).values, PIXELS)


def test_a_header_of_many_elements_for_many_frames_is_refused(saved) -> None:
    groups = element(0x5200, 0x9230, b"SQ", ITEM * 3000)
    message = refusal(lambda: pellucid.read_image(saved(file(empty(3000), groups, frames=3000))))
    assert re.search(r"the headers of its 3,000 frames, 3,011 elements each, take 8\.\d GiB; at most 8 are", message)
    assert float(remedy(message)) == pytest.approx(3000 * 3011 / 2**20, abs=0.1)


def test_frames_that_share_a_header_are_no_matter(saved) -> None:
    assert pellucid.read_image(saved(file(empty(3000), frames=3000))).values.shape == (1, 3000, 4, 4)


def test_more_bytes_stated_than_there_are_take_no_memory(saved) -> None:
    content = file()
    cut = content[: content.rindex(b"OW")] + struct.pack("<2sHI", b"OW", 0, 0xFFFFFFF0) + bytes(16)
    assert "cannot read" in refusal(lambda: pellucid.read_image(saved(cut[:-8])))


def test_a_deep_sequence_without_lengths_is_refused(saved) -> None:
    opened = (endless(8, 0x1140) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)) * 5000
    assert "it is a broken DICOM file" in refusal(lambda: pellucid.read_image(saved(file(opened))))


def test_a_bomb_among_slices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.dcm").write_bytes(BOMBS["elements"])
    monkeypatch.setenv("PELLUCID_MAX_GIB", _FEW)
    with pytest.raises(ImageError, match="6,553 elements"):
        pellucid.read_series(tmp_path)
