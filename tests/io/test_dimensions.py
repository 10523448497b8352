"""Several images at the same positions: refused with the values there are, and read by the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pydicom
import pytest
import torch
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import EnhancedMRImageStorage, RLELossless, generate_uid

from pellucid.errors import OptionError
from pellucid.io import read_image, read_series
from pellucid.io.dimensions import DIMENSIONS
from pellucid.io.nifti_axes import AXES
from pellucid.io.selection import parsed_options, parsed_select
from tests.io.refusals import refusal, remedies
from tests.io.test_dicom import dataset, write
from tests.io.test_volumes import SERIES, slices

HEIGHTS = (0.0, 2.5, 5.0)
Set = Callable[[Dataset, object], None]


def level(index: int, position: int) -> np.ndarray:
    return np.full((4, 5), 100 * index + position, np.uint16)


def placed(made: Dataset, height: float) -> Dataset:
    made.SeriesInstanceUID = made.StudyInstanceUID = made.FrameOfReferenceUID = SERIES
    made.PixelSpacing, made.SliceThickness = [0.5, 0.75], 2.5
    made.ImageOrientationPatient, made.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, height]
    return made


def classic(folder: Path, values: list[object], put: Set) -> Path:
    """A series with each value at each position, its files named against their order."""
    folder.mkdir()
    for number, ((position, height), (index, value)) in enumerate(product(enumerate(HEIGHTS), enumerate(values))):
        made = placed(dataset(level(index, position)), height)
        put(made, value)
        write(folder, made, f"{99 - number}.dcm")
    return folder


def attribute(name: str) -> Set:
    return lambda made, value: setattr(made, name, value) if value is not None else None


def private(group: int, creator: str, element: int, vr: str) -> Set:
    def put(made: Dataset, value: object) -> None:
        made.private_block(group, creator, create=True).add_new(element, vr, value)

    return put


def kinds(made: Dataset, value: object) -> None:
    made.ImageType = ["ORIGINAL", "PRIMARY", value]


CLASSIC = {
    "time": (attribute("TemporalPositionIdentifier"), [1, 2, 3], "time", ["1", "2", "3"]),
    "PET": (attribute("FrameReferenceTime"), ["0", "1500.5"], "time", ["0", "1500.5"]),
    "acquired": (attribute("AcquisitionTime"), ["101010.5", "101230"], "time", ["101010.5", "101230"]),
    "b-value": (attribute("DiffusionBValue"), [0, 1000], "bvalue", ["0", "1000"]),
    "Siemens": (private(0x0019, "SIEMENS MR HEADER", 0x0C, "IS"), [0, 800], "bvalue", ["0", "800"]),
    "GE": (private(0x0043, "GEMS_PARM_01", 0x39, "IS"), [[0, 8], [10**9 + 500, 8]], "bvalue", ["0", "500"]),
    "Philips": (private(0x2001, "Philips Imaging DD 001", 0x03, "FL"), [0.0, 600.0], "bvalue", ["0", "600"]),
    "direction": (attribute("DiffusionGradientOrientation"), [[0, 0.6, 0.8], None], "direction", ["0/0.6/0.8", "none"]),
    "echo": (attribute("EchoNumbers"), [1, 2], "echo", ["1", "2"]),
    "echo time": (attribute("EchoTime"), ["4.9", "7.38"], "echo", ["4.9", "7.38"]),
    "cardiac phase": (attribute("TriggerTime"), ["0", "420"], "phase", ["0", "420"]),
    "kind": (kinds, ["M", "P"], "type", ["ORIGINAL/PRIMARY/M", "ORIGINAL/PRIMARY/P"]),
    "acquisition": (attribute("AcquisitionNumber"), [3, 4], "acquisition", ["3", "4"]),
}


@pytest.mark.parametrize("case", CLASSIC)
def test_a_classic_series_of_more_than_one_dimension(tmp_path: Path, case: str) -> None:
    put, values, name, shown = CLASSIC[case]
    folder = classic(tmp_path / "s", values, put)
    message = refusal(lambda: read_series(folder))
    assert f"there are {name} {', '.join(shown)}" in message
    option, select = remedies(message)
    assert option == select
    assert read_series(folder, select=select).size == (3, 4, 5)
    for index, text in enumerate(shown):
        image = read_series(folder, select=f"{name}={text}")
        expected = [level(index, position)[0, 0] for position in range(3)]
        assert image.values[0, :, 0, 0].tolist() == expected
        assert image.spacing == (2.5, 0.5, 0.75)
    assert name in refusal(lambda: read_series(folder, select={name: "77"}))
    assert "it has no flip" in refusal(lambda: read_series(folder, select={"flip": 3}))


def enhanced(folder: Path, order: list[tuple[int, int]], put: Callable[[Dataset, int], None]) -> Path:
    """A multi-frame object with the frames (position, index) in this order."""
    made = dataset(level(0, 0))
    made.SOPClassUID, made.NumberOfFrames = EnhancedMRImageStorage, len(order)
    made.PixelData = b"".join(level(index, position).tobytes() for position, index in order)
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2.5
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for position, index in order:
        frame, plane = Dataset(), Dataset()
        plane.ImagePositionPatient = [0, 0, HEIGHTS[position]]
        frame.PlanePositionSequence = [plane]
        put(frame, index)
        made.PerFrameFunctionalGroupsSequence.append(frame)
    return write(folder, made)


def b_value(frame: Dataset, index: int) -> None:
    diffusion, direction = Dataset(), Dataset()
    diffusion.DiffusionBValue = 1000.0 * (index > 0)
    if index:
        direction.DiffusionGradientOrientation = [1.0, 0.0, 0.0] if index == 1 else [0.0, 1.0, 0.0]
        diffusion.DiffusionGradientDirectionSequence = [direction]
    frame.MRDiffusionSequence = [diffusion]


def group(sequence: str, name: str, values: list[object]) -> Callable[[Dataset, int], None]:
    def put(frame: Dataset, index: int) -> None:
        item = Dataset()
        setattr(item, name, values[index])
        setattr(frame, sequence, [item])

    return put


ENHANCED = {
    "b-value": (b_value, "bvalue", ["0", "1000"]),
    "time": (group("FrameContentSequence", "TemporalPositionIndex", [1, 2]), "time", ["1", "2"]),
    "echo": (group("MREchoSequence", "EffectiveEchoTime", [2.5, 4.0]), "echo", ["2.5", "4"]),
    "phase": (
        group("CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase", [0.0, 50.0]),
        "phase",
        ["0", "50"],
    ),
    "stack": (group("FrameContentSequence", "StackID", ["1", "2"]), "stack", ["1", "2"]),
    "component": (
        group("MRImageFrameTypeSequence", "ComplexImageComponent", ["MAGNITUDE", "PHASE"]),
        "type",
        ["MAGNITUDE", "PHASE"],
    ),
}


@pytest.mark.parametrize("case", ENHANCED)
def test_an_enhanced_object_of_more_than_one_dimension(tmp_path: Path, case: str) -> None:
    put, name, shown = ENHANCED[case]
    path = enhanced(tmp_path, [(2, 1), (0, 0), (1, 1), (0, 1), (2, 0), (1, 0)], put)
    message = refusal(lambda: read_image(path))
    assert f"{name} {', '.join(shown)}" in message
    option, select = remedies(message)
    assert option == select
    for index, text in enumerate(shown):
        image = read_image(path, select={name: text})
        assert image.values[0, :, 0, 0].tolist() == [100 * index + position for position in range(3)]
        assert image.spacing == (2.5, 0.5, 0.75)
    assert torch.equal(read_series(tmp_path, select=select).values, read_image(path, select=select).values)
    assert read_image(path, frame=1).values[0, 0, 0] == 102
    assert "give one of them" in refusal(lambda: read_image(path, frame=1, select=select))


@pytest.mark.parametrize("has_offsets", [True, False])
def test_a_selection_of_compressed_frames(tmp_path: Path, has_offsets: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their codestreams are gone through as often as those of all frames are."""
    put, name, shown = ENHANCED["time"]
    path = enhanced(tmp_path, [(2, 1), (0, 0), (1, 1), (0, 1), (2, 0), (1, 0)], put)
    made = pydicom.dcmread(path)
    made.compress(RLELossless, generate_instance_uid=False)
    made.PixelData = encapsulate(list(generate_frames(made.PixelData, number_of_frames=6)), has_bot=has_offsets)
    made.save_as(path)
    one_by_one = mock.Mock(side_effect=AssertionError)
    monkeypatch.setattr("pydicom.pixels.decoders.base.get_frame", one_by_one)
    for index, text in enumerate(shown):
        image = read_image(path, select={name: text})
        assert image.values[0, :, 0, 0].tolist() == [100 * index + position for position in range(3)]


def test_as_many_choices_as_are_needed(tmp_path: Path) -> None:
    path = enhanced(tmp_path, [(position, index) for position in range(3) for index in range(3)], b_value)
    message = refusal(lambda: read_image(path))
    assert "bvalue 0, 1000; direction 0/1/0, 1/0/0, none" in message
    _, select = remedies(message)
    assert set(select) == {"bvalue", "direction"}
    assert read_image(path, select=select).size == (3, 4, 5)
    assert read_image(path, select="bvalue=0").values[0, :, 0, 0].tolist() == [0, 1, 2]
    _, further = remedies(refusal(lambda: read_image(path, select="bvalue=1000")))
    assert set(further) == {"direction"}
    assert read_image(path, select={"bvalue": 1000, "direction": (1, 0, 0)}).values[0, 1, 0, 0] == 101


def test_no_more_choices_than_are_needed(tmp_path: Path) -> None:
    def both(frame: Dataset, index: int) -> None:
        b_value(frame, index)
        group("FrameContentSequence", "TemporalPositionIndex", [1, 2])(frame, index)

    path = enhanced(tmp_path, [(position, index) for position in range(3) for index in range(2)], both)
    message = refusal(lambda: read_image(path))
    assert "bvalue 0, 1000" in message
    assert "time 1, 2" in message
    assert len(remedies(message)[1]) == 1


def test_a_choice_leaves_an_image_at_each_position(tmp_path: Path) -> None:
    """The kind differs from slice to slice within a b-value, and is not asked for."""

    def both(frame: Dataset, index: int) -> None:
        group("MRDiffusionSequence", "DiffusionBValue", [0.0, 1000.0, 1000.0])(frame, index)
        group("MRImageFrameTypeSequence", "FrameType", ["A", "A", "B"])(frame, index)

    path = enhanced(tmp_path, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 2), (2, 2)], both)
    _, select = remedies(refusal(lambda: read_image(path)))
    assert select == {"bvalue": "1000"}
    assert read_image(path, select=select).size == (3, 4, 5)


@pytest.mark.parametrize(("count", "missing"), [(12, 1), (12, 6), (5, 2)])
def test_frames_with_a_gap_have_no_affine(
    tmp_path: Path, count: int, missing: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole numbers may be rounded, but a step twice as long as the others is a gap."""
    monkeypatch.setattr("tests.io.test_dimensions.HEIGHTS", tuple(str(height) for height in range(count)))
    frames = [(index, 0) for index in range(count) if index != missing]
    image = read_image(enhanced(tmp_path, frames, lambda *_: None))
    assert image.values[0, :, 0, 0].tolist() == [index for index, _ in frames]
    assert image.affine is None
    assert image.spacing is None


def test_frames_are_in_the_order_of_their_positions(tmp_path: Path) -> None:
    image = read_image(enhanced(tmp_path, [(1, 0), (2, 0), (0, 0)], lambda *_: None))
    assert image.values[0, :, 0, 0].tolist() == [0, 1, 2]
    assert [one.frame for one in image.instances] == [3, 1, 2]
    assert [float(one.header.ImagePositionPatient[2]) for one in image.instances] == list(HEIGHTS)
    assert image.affine[:3, 2].tolist() == [0, 0, 2.5]


def test_frames_that_nothing_tells_apart(tmp_path: Path) -> None:
    path = enhanced(tmp_path, [(0, 0), (1, 0), (1, 1)], lambda *_: None)
    message = refusal(lambda: read_image(path))
    assert "frame 2 of a.dcm and frame 3 of a.dcm have the same position" in message
    number = int(re.search(r"frame=(\d)", message)[1])
    assert read_image(path, frame=number).size == (4, 5)


def test_a_time_that_differs_from_slice_to_slice_is_no_dimension(tmp_path: Path) -> None:
    folder = classic(tmp_path / "s", [0], lambda *_: None)
    for index, path in enumerate(sorted(folder.iterdir())):
        made = pydicom.dcmread(path)
        made.AcquisitionTime, made.EchoTime = f"10101{index}", "5"
        made.save_as(path)
        made.AcquisitionTime = f"11101{index}"
        made.save_as(folder / f"again-{path.name}")
    message = refusal(lambda: read_series(folder))
    assert "have the same position: remove one of them" in message
    for path in folder.glob("again-*"):
        path.unlink()
    assert read_series(folder).size == (3, 4, 5)


def test_a_selection_may_hold_for_all(tmp_path: Path) -> None:
    folder = classic(tmp_path / "s", [1000], attribute("DiffusionBValue"))
    assert torch.equal(read_series(folder, select="bvalue=1000").values, read_series(folder).values)


@pytest.mark.parametrize(
    ("select", "words"),
    [("time", "name=value"), ("=2", "name=value"), ("bvlue=3", "did you mean bvalue"), ({"size": 3}, "dimensions are")],
)
def test_invalid_selections(tmp_path: Path, select: object, words: str) -> None:
    for read in (read_image, read_series):
        with pytest.raises(OptionError, match=words):
            read(tmp_path / "missing", select=select)
    with pytest.raises(OptionError, match=r"give one of them"):
        parsed_options(["time=1", "time=2"])
    assert parsed_select({"bvalue": 1000.0, "direction": [0.5, -0.0, 1]}) == {"bvalue": "1000", "direction": "0.5/0/1"}


def test_one_series_of_a_mixed_folder(tmp_path: Path) -> None:
    folder, other = slices(tmp_path / "s", [0, 3, 6]), generate_uid()
    for index, path in enumerate(sorted(slices(tmp_path / "t", [1, 4]).iterdir())):
        made = pydicom.dcmread(path)
        made.SeriesInstanceUID, made.SeriesNumber = other, 7
        made.save_as(folder / f"other-{index}")
    message = refusal(lambda: read_series(folder))
    assert "2 series" in message
    assert other not in message
    assert "give the UID of one" in message
    assert read_series(folder, series=other).size == (2, 10, 12)
    assert read_series(folder, series=SERIES).size == (3, 10, 12)
    for path in folder.glob("*.dcm"):
        made = pydicom.dcmread(path)
        made.SeriesNumber = 12
        made.save_as(path)
    message = refusal(lambda: read_series(folder))
    listed = re.search(r"the number of one: (\d+) \((\d+)\), (\d+) \((\d+)\)", message).groups()
    assert {listed[0]: listed[1], listed[2]: listed[3]} == {"12": "3", "7": "2"}
    assert read_series(folder, series=7).size == (2, 10, 12)
    assert read_series(folder, series="12").size == (3, 10, 12)
    assert "numbers 7, 12: give one of them" in refusal(lambda: read_series(folder, series=3))
    for path in folder.iterdir():
        made = pydicom.dcmread(path)
        made.SeriesNumber = 12
        made.save_as(path)
    assert "several series have this number: give the UID" in refusal(lambda: read_series(folder, series=12))


def test_every_dimension_that_is_read_can_be_chosen() -> None:
    assert set(AXES) <= set(DIMENSIONS)
    assert parsed_select(dict.fromkeys(DIMENSIONS, 1)) == dict.fromkeys(DIMENSIONS, "1")


def test_attributes_of_dimensions_are_dicoms() -> None:
    keywords = [keyword for each in DIMENSIONS.values() for keyword in each]
    assert [keyword for keyword in keywords if tag_for_keyword(keyword) is None] == []
    assert len(set(keywords)) == len(keywords)
