"""Headers that are missing, empty or contradict each other: an image, or an error in one line."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage, UltrasoundMultiFrameImageStorage

from pellucid.errors import ImageError
from pellucid.io import read_image, read_series
from tests.io.test_dicom import dataset, write

NUMBERS = st.one_of(st.just(""), st.integers(-3, 300), st.floats(-1e6, 1e6, width=32), st.sampled_from([0, 1e300]))
CHANGES = {
    "PixelSpacing": st.one_of(st.just(None), st.lists(NUMBERS, min_size=1, max_size=3)),
    "ImagePositionPatient": st.one_of(st.just(None), st.lists(NUMBERS, min_size=1, max_size=4)),
    "ImageOrientationPatient": st.one_of(st.just(None), st.lists(NUMBERS, min_size=5, max_size=7)),
    "SliceThickness": NUMBERS,
    "RescaleSlope": NUMBERS,
    "RescaleIntercept": NUMBERS,
    "WindowCenter": st.one_of(NUMBERS, st.lists(NUMBERS, min_size=2, max_size=3)),
    "WindowWidth": st.one_of(NUMBERS, st.lists(NUMBERS, min_size=2, max_size=3)),
    "VOILUTFunction": st.sampled_from(["", "SIGMOID", "LINEAR_EXACT", "OTHER"]),
    "PhotometricInterpretation": st.sampled_from(
        ["", "MONOCHROME1", "RGB", "PALETTE COLOR", "YBR_FULL_422", "X", None]
    ),
    "NumberOfFrames": st.sampled_from(["", 0, 1, 2, 7, -1, 10**9]),
    "Rows": st.sampled_from([0, 1, 8, 9, 60000, None]),
    "Columns": st.sampled_from([0, 1, 8, 9, 60000, None]),
    "SamplesPerPixel": st.sampled_from([0, 1, 3, 4, None]),
    "BitsAllocated": st.sampled_from([1, 8, 16, 32, 12, None]),
    "BitsStored": st.sampled_from([0, 1, 8, 12, 16, 17, None]),
    "HighBit": st.sampled_from([0, 7, 15, 99, None]),
    "PixelRepresentation": st.sampled_from([0, 1, 2, None]),
    "PixelPaddingValue": st.sampled_from([0, 65535, None]),
    "PlanarConfiguration": st.sampled_from([0, 1, 2]),
    "SOPClassUID": st.sampled_from(
        [SecondaryCaptureImageStorage, UltrasoundMultiFrameImageStorage, EnhancedCTImageStorage, "1.2.3", "", None]
    ),
    "Modality": st.sampled_from(["", "CT", "XX", ["CT", "MR"], None]),
    "FrameOfReferenceUID": st.sampled_from(["", "1.2.3", None]),
}


def changed(folder: Path, changes: dict[str, Any]) -> Path:
    made = dataset(np.arange(64, dtype=np.uint16).reshape(8, 8), PixelSpacing=[1, 1], SliceThickness=1)
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    for name, value in changes.items():
        if value is None:
            if name in made:
                delattr(made, name)
        else:
            setattr(made, name, value)
    return write(folder, made)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_any_header_gives_an_image_or_an_error_of_one_line(data: st.DataObject, tmp_path: Path) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(CHANGES)), min_size=1, max_size=5))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            path = changed(tmp_path, {name: data.draw(CHANGES[name], label=name) for name in sorted(names)})
        except (ValueError, TypeError, OverflowError, AttributeError, KeyError, OSError):
            return  # pydicom cannot write this value
        messages: list[str] = []
        for read in (read_image, lambda one: read_image(one, frame=1), lambda one: read_series(one.parent)):
            try:
                image = read(path)
            except ImageError as error:
                messages.append(str(error))
                continue
            assert bool(image.pixels.isfinite().all())
            assert float(image.pixels.min()) >= 0
            assert float(image.pixels.max()) <= 1
            assert image.spacing is None or min(image.spacing) > 0
            assert image.affine is None or bool(image.affine.isfinite().all())
        assert not [line for line in messages if "\n" in line]


@pytest.mark.parametrize(
    "changes",
    [
        {"PixelSpacing": None},
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"WindowCenter": 5, "WindowWidth": 0},
        {"PixelSpacing": [0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    ],
)
def test_optional_attributes_may_be_missing(tmp_path: Path, changes: dict[str, Any]) -> None:
    image = read_image(changed(tmp_path, changes))
    assert image.pixels.shape == (1, 8, 8)


@pytest.mark.parametrize("changes", [{"Rows": 9}, {"NumberOfFrames": 7}, {"NumberOfFrames": -1}])
def test_frames_that_do_not_fit_the_pixels_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(changed(tmp_path, changes))
    assert "\n" not in str(caught.value)
