"""What reading the attributes of a DICOM file may take, whatever the file holds."""

from __future__ import annotations

import io
import re
import shlex
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
import typer.main
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000, JPEGBaseline8Bit, RLELossless

import pellucid
from pellucid.cli.main import app
from pellucid.cli.wording import as_options, spoken
from pellucid.errors import ImageError
from pellucid.io import dicom_stack
from pellucid.io.dicom_bounded import BoundsError, read_attributes
from pellucid.io.dicom_dimensions import dimension_values
from pellucid.io.dicom_file import open_dicom
from tests.io.bombs import BOMBS, DEFLATED, EXPLICIT, IMPLICIT, ITEM, element, empty, endless, file, nested
from tests.io.refusals import refusal
from tests.io.test_decoding import encoded, levels
from tests.io.test_dimensions import enhanced, group

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


def test_an_item_counts_as_two_elements(saved, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes pydicom five times as long."""
    monkeypatch.setenv("PELLUCID_MAX_GIB", _FEW)
    items = element(8, 0x1140, b"SQ", ITEM * 4000)
    assert torch.equal(pellucid.read_image(saved(file(empty(4000)))).values, PIXELS)
    stated = file(endless(8, 0x1140), ITEM * 4000, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))
    assert "more than 6,553 elements" in refusal(lambda: pellucid.read_image(saved(stated)))
    assert torch.equal(pellucid.read_image(saved(file(items))).values, PIXELS)  # which is not parsed


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


def fragments(*each: bytes) -> bytes:
    """Encapsulated pixels: the table of offsets, which is empty, and the fragments."""
    return ITEM + b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(one)) + one for one in each)


def holding(folder: Path, pixels: bytes, syntax: pydicom.uid.UID) -> Path:
    """A file with encapsulated pixels of any content."""
    path = encoded(folder, levels(8), JPEGBaseline8Bit, 8, level=90)
    made = pydicom.dcmread(path)
    made.file_meta.TransferSyntaxUID = syntax
    made.PixelData = pixels
    made["PixelData"].is_undefined_length = True
    made.save_as(path)
    return path


@pytest.mark.parametrize("syntax", [RLELossless, JPEGBaseline8Bit, JPEG2000], ids=lambda uid: uid.name)
def test_more_fragments_than_frames_need_are_refused(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    """Empty fragments of 8 bytes: 2**16 + 2 of one frame, and one for 256 bytes."""
    most = 67_652
    message = refusal(lambda: pellucid.read_image(holding(tmp_path, ITEM * (most + 1), syntax)))
    assert f"it has over {most:,} fragments for 1 frame: join them: python -c " in message
    assert "…" not in message
    assert "it has over" not in refusal(lambda: pellucid.read_image(holding(tmp_path, ITEM * most, syntax)))


def cine(folder: Path, frames: int, parts: int) -> tuple[Path, torch.Tensor]:
    """Equal frames, each in as many fragments, and their values."""
    path = encoded(folder, levels(8), JPEGBaseline8Bit, 8, level=90)
    expected = pellucid.read_image(path).values
    (stream,) = pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    stream = stream[:2] + b"\xff\xfe" + struct.pack(">H", 8002) + bytes(8000) + stream[2:]  # a comment
    size = -(-len(stream) // parts)
    cut = [stream[at : at + size] for at in range(0, len(stream), size)]
    cut[-1] += bytes(len(cut[-1]) % 2)
    path = holding(folder, ITEM + fragments(*cut)[len(ITEM) :] * frames, JPEGBaseline8Bit)
    made = pydicom.dcmread(path)
    made.NumberOfFrames = frames
    made.save_as(path)
    return path, expected


def test_a_long_film_in_many_fragments_is_read(tmp_path: Path) -> None:
    path, expected = cine(tmp_path, frames=1100, parts=64)
    values = pellucid.read_image(path).values
    assert values.shape[1] == 1100
    assert torch.equal(values[:, 0], expected)
    assert torch.equal(values[:, -1], expected)


def test_the_remedy_of_too_many_fragments_works(tmp_path: Path) -> None:
    for frames in (1, 2):
        path, expected = cine(tmp_path, frames, 64)
        made = pydicom.dcmread(path)
        made.PixelData = made.PixelData[:8] + ITEM * 70_000 + made.PixelData[8:]
        made.save_as(path)
        command = shlex.split(refusal(lambda path=path: pellucid.read_image(path)).partition("join them: ")[2])
        filled = [part.replace("FILE", path.name) for part in command[1:]]
        subprocess.run([sys.executable, *filled], cwd=tmp_path, check=True)
        values = pellucid.read_image(tmp_path / "new.dcm").values
        assert torch.equal(values, expected if frames == 1 else torch.stack([expected] * 2, dim=1))


def test_a_frame_of_many_fragments_is_read(tmp_path: Path) -> None:
    path = encoded(tmp_path, levels(8), JPEGBaseline8Bit, 8, level=90)
    expected = pellucid.read_image(path).values
    (stream,) = pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    parts = [stream[at : at + 2] for at in range(0, len(stream), 2)]
    assert len(parts) > 100
    assert torch.equal(pellucid.read_image(holding(tmp_path, fragments(*parts), JPEGBaseline8Bit)).values, expected)


def test_frames_that_are_read_together_are_bounded(saved) -> None:
    path = saved(file(frames=2**16 + 1))
    message = refusal(lambda: pellucid.read_image(path))
    assert message.endswith("it has 65,537 frames; at most 65,536 are read together: give frame= for one")
    assert torch.equal(pellucid.read_image(path, frame=2**16 + 1).values, PIXELS)


def test_frames_that_share_a_header_are_not_chosen_from(saved, tmp_path: Path) -> None:
    """No selection tells them apart, so that the bound comes before there is a header for each."""
    path = saved(file(frames=2**16 + 1))
    message = refusal(lambda: pellucid.read_image(path, select={"time": 1}))
    assert message.endswith("at most 65,536 are read together: give frame= for one")
    for select in (None, {"time": 1}):
        message = refusal(lambda select=select: pellucid.read_series(tmp_path, select=select))
        assert message.startswith(f"cannot read {path}: it has 65,537 frames; at most 65,536 are read together: ")
        assert message.endswith(": read it by itself, with frame= for one")


@pytest.fixture
def times(tmp_path: Path) -> Path:
    """Six frames of two time points."""
    put = group("FrameContentSequence", "TemporalPositionIndex", [1, 2])
    return enhanced(tmp_path, [(2, 1), (0, 0), (1, 1), (0, 1), (2, 0), (1, 0)], put)


def test_the_frames_of_a_selection_are_read_of_an_object_of_more(times: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    select = {"time": 2}
    expected = pellucid.read_image(times, select=select).values
    monkeypatch.setattr(dicom_stack, "_MOST_TOGETHER", 3)
    assert torch.equal(pellucid.read_image(times, select=select).values, expected)
    assert torch.equal(pellucid.read_series(times.parent, select=select).values, expected)
    what = (
        "it has 6 frames; at most 3 are read together: give select= for those of one time, echo or other dimension, or"
    )
    assert refusal(lambda: pellucid.read_image(times)).endswith(f"{what} frame= for one")
    message = refusal(lambda: pellucid.read_series(times.parent))
    assert message.endswith(f"{what} read it by itself, with frame= for one")
    with spoken(typer.main.get_command(app).commands["explain"].params):
        assert as_options(message).endswith("or read it by itself (--as files), with --frame for one")
    assert pellucid.read_image(times, frame=1).size == expected.shape[2:]


def test_the_frames_of_a_selection_are_bounded(times: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_stack, "_MOST_TOGETHER", 2)
    for read in (
        lambda: pellucid.read_image(times, select={"time": 2}),
        lambda: pellucid.read_series(times.parent, select={"time": 2}),
    ):
        assert "3 of its frames are selected; at most 2 are read together: give select= for" in refusal(read)


def test_frames_that_are_chosen_from_are_bounded(times: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_stack, "_MOST_TOGETHER", 3)
    monkeypatch.setattr(dicom_stack, "_MOST_CHOICES", 5)
    message = refusal(lambda: pellucid.read_image(times, select={"time": 2}))
    assert message.endswith("it has 6 frames; at most 3 are read together: give frame= for one")


def test_a_header_that_frames_share_is_read_once() -> None:
    class Counted(pydicom.Dataset):
        reads = 0

        def get(self, *arguments):
            Counted.reads += 1
            return super().get(*arguments)

    header = Counted()
    header.EchoTime = 3
    assert dimension_values([header] * 1000, "echo") == [["3"] * 1000]
    assert Counted.reads < 20


JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
STREAMS = {
    "fill bytes": (JPEGBaseline8Bit, b"\xff\xd8" + b"\xff" * 2**16, "state the size 0 × 0 × 0"),
    "markers": (JPEGBaseline8Bit, b"\xff\xd8" + b"\xff\x01" * 5000, "more than 4,096 markers before its first scan"),
    "segments": (JPEGBaseline8Bit, b"\xff\xd8" + b"\xff\xe0\0\2" * 5000, "more than 4,096 markers"),
    "boxes": (JPEG2000, JP2 + b"\0\0\0\x08free" * 5000, "more than 4,096 boxes"),
    "boxes within their heads": (JPEG2000, JP2 + b"\0\0\0\1" * 5000, "hold a box without a length"),
    "codestreams": (JPEG2000, JP2 + b"\0\0\0\0jp2c" + b"\xff\x4f\xff\x51" * 5000, "more than 4,096 codestreams"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_of_many_parts_is_refused(tmp_path: Path, name: str) -> None:
    syntax, stream, words = STREAMS[name]
    assert words in refusal(lambda: pellucid.read_image(holding(tmp_path, fragments(stream), syntax)))


def test_fill_bytes_before_markers_are_passed_over(tmp_path: Path) -> None:
    """A marker may be preceded by any number of bytes FF (T.81, B.1.1.2)."""
    path = encoded(tmp_path, levels(8), JPEGBaseline8Bit, 8, level=90)
    expected = pellucid.read_image(path).values
    (stream,) = pydicom.encaps.generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1)
    for marker in (b"\xff\xc0", b"\xff\xda", b"\xff\xdb"):
        assert marker in stream
        stream = stream.replace(marker, b"\xff" * 999 + marker, 1)
    path = holding(tmp_path, encapsulate([stream]), JPEGBaseline8Bit)
    assert np.array_equal(pellucid.read_image(path).values, expected)
