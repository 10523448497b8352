"""dcmqi, which 3D Slicer reads with, finds the same values at the same places. ``make test-viewer``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.viewer.studies import IN_THE_PATIENT, Study, study

READER = Path(os.environ.get("PELLUCID_DCMQI", "nowhere")) / "dcmqi" / "bin"
pytestmark = pytest.mark.skipif(not READER.is_dir(), reason="dcmqi is not there: make test-viewer")


def read(program: str, made: Path, folder: Path) -> nibabel.Nifti1Image:
    folder.mkdir()
    command = [READER / program, "--inputDICOM", made, "--outputDirectory", folder, "--outputType", "nifti"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    (found,) = folder.glob("*.nii.gz")
    return nibabel.load(found)


def at_the_places_of(one: Study, found: nibabel.Nifti1Image) -> NDArray[np.float64]:
    """The values of a volume at the places of the study's pixels, (slices, rows, columns)."""
    to_index = np.linalg.inv(found.affine)
    values = np.empty(one.maps.shape)
    for number, header in enumerate(sorted(one.source, key=lambda header: header.ImagePositionPatient[2])):
        row, column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
        down, across = map(float, header.PixelSpacing)
        y, x = np.mgrid[: one.maps.shape[1], : one.maps.shape[2]]
        places = (
            np.array(header.ImagePositionPatient, float) + x[..., None] * across * row + y[..., None] * down * column
        )
        index = (places * [-1, -1, 1]) @ to_index[:3, :3].T + to_index[:3, 3]
        assert np.abs(index - index.round()).max() < 0.01
        values[number] = found.get_fdata()[tuple(np.moveaxis(index.round().astype(int), -1, 0))]
    return values


@pytest.mark.parametrize("modality", IN_THE_PATIENT)
def test_dcmqi_reads_the_same_numbers(modality: str, tmp_path: Path) -> None:
    one = study(modality, tmp_path / modality)
    for kind, program in {"pm": "paramap2itkimage", "seg": "segimage2itkimage"}.items():
        (made,) = (path for path in one.files if path.name.startswith("result") and path.stem.endswith(f"_{kind}"))
        found = at_the_places_of(one, read(program, made, tmp_path / kind))
        expected = one.maps if kind == "pm" else (one.maps >= 0.5 * one.maps.max())
        assert np.array_equal(found, expected.astype(np.float64)), kind
