"""A file is what its content says: in read_image, read_series and searches through folders alike."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from pellucid.errors import ImageError, PellucidWarning
from pellucid.io import is_image_file, read_image, read_series
from pellucid.io.dicom_file import is_dicom
from pellucid.run.finding import inputs
from pellucid.run.grouping import as_volumes
from tests.io.test_dicom import SHIPPED, dataset, shipped, write
from tests.io.test_volumes import slices

NAMES = {
    "IMA": "X.MR.0001.{:04}.2020.01.01.IMA",
    "UID": "1.2.826.0.1.3680043.8.498.7.{}",
    "none": "IM{:04}",
    "other": "scan{}.png.bak",
}


@pytest.mark.parametrize("preamble", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_names_and_preambles_do_not_matter(tmp_path: Path, name: str, preamble: bool) -> None:
    expected = read_series(slices(tmp_path / "plain", [0, 3, 6, 9])).values
    folder = tmp_path / "named"
    folder.mkdir()
    for index, path in enumerate(sorted((tmp_path / "plain").iterdir())):
        content = path.read_bytes()
        (folder / NAMES[name].format(index)).write_bytes(content if preamble else content[132:])
    assert torch.equal(read_series(folder).values, expected)
    (volume,) = as_volumes(inputs([folder], tmp_path / "out"))
    assert len(volume.slices) == 4
    assert read_image(volume.slices[0]).size == (10, 12)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_files_without_meta_information_are_recognised(tmp_path: Path, syntax: str) -> None:
    made = dataset(np.arange(64, dtype=np.uint16).reshape(8, 8))
    path = tmp_path / "IM1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian)
    assert is_dicom(path.read_bytes()[:132])
    assert is_image_file(path)
    if syntax != ExplicitVRBigEndian:  # whose pixels this data set does not swap
        assert torch.equal(read_image(path).values.flatten(), torch.arange(64.0))


def test_other_content_is_not_taken_for_dicom(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    heads = [generator.bytes(132) for _ in range(2000)] + [b"\x08\x00\x05\x00" * 33, b"\x08\0" * 66, b"\0" * 132, b""]
    assert not any(map(is_dicom, heads))
    for path in SHIPPED:
        if path.suffix in (".txt", ".json", ".md", ".gz", ".icc", ".dump"):
            assert not is_dicom(path.read_bytes()[:132])


def test_what_holds_no_slice_is_named(tmp_path: Path) -> None:
    folder = slices(tmp_path / "s", [0, 3, 6])
    (folder / "notes.txt").write_text("no image")
    shutil.copy(shipped("test-SR.dcm"), folder / "report.dcm")
    with pytest.warns(PellucidWarning, match=r"2 files that hold no image were skipped: notes\.txt, report\.dcm$"):
        assert read_series(folder).size == (3, 10, 12)


def test_the_directory_of_a_disc_is_no_image(tmp_path: Path) -> None:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = MediaStorageDirectoryStorage, "1.2.3"
    path = write(tmp_path, made, "INDEX")
    source = pydicom.dcmread(path)
    assert source.file_meta.MediaStorageSOPClassUID == MediaStorageDirectoryStorage
    assert not is_image_file(path)
    assert is_image_file(write(tmp_path, dataset(np.zeros((2, 2), np.uint16)), "IMAGE"))
    with pytest.raises(ImageError, match="it is a DICOMDIR"):
        read_image(path)
