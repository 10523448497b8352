"""DICOM sources for the tests of exporters, and the verifier."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import pydicom
import pydicom.data
import torch

import pellucid
from pellucid.core.explanation import Explanation
from pellucid.export import Case
from pellucid.io import read
from pellucid.models.preprocessing import Preprocessing
from tests.networks import TinyCNN, seeded

SHIPPED = {path.name: path for folder in pydicom.data.__path__ for path in Path(folder).rglob("*") if path.is_file()}
SOURCES = {
    "ct": ("CT_small.dcm", None),
    "ct without a frame of reference": ("693_J2KI.dcm", None),
    "mr": ("MR_small.dcm", None),
    "cr": ("6154", None),
    "us": ("examples_rgb_color.dcm", None),
    "us of the eighties": ("ExplVR_BigEnd.dcm", None),
    "us in palette colours": ("examples_palette.dcm", None),
    "a frame of us": ("examples_ybr_color.dcm", 3),
    "sc": ("SC_rgb_rle.dcm", None),
    "nm as sc": ("JPEG2000.dcm", None),
}
"""Files of pydicom's, and the frame of those that hold several."""
IN_THE_PATIENT = ("ct", "mr")
"""Those that state where their pixels are in the patient."""
CLASSES = ("nodule", "effusion", "Zähne/ß", "nothing")
MODEL = {"spec": "torchvision:resnet18", "weights": "random", "checkpoint_sha256": None, "weights_sha256": "ab" * 32}
_VERIFIER = Path(sys.executable).with_name("dciodvfy")


def image(name: str) -> pellucid.Image:
    file, frame = SOURCES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom warns of its own files
        return read(SHIPPED[file], frame=frame)


def case(name: str, explanation: Explanation | None = None, classes: int = 2) -> Case:
    """A source with an explanation of two classes, or the given one; a Segmentation is allowed in any case."""
    prepared = Preprocessing(resize=(48, 40))(image(name))
    found = explanation or pellucid.explain(
        seeded(TinyCNN).eval(),
        prepared.values[None],
        "hirescam",
        targets=torch.arange(classes)[None],
        classes=CLASSES,
    )
    return Case("scan", prepared, found, model=MODEL, allow_seg_without_geometry=True)


def errors(path: Path) -> list[str]:
    """The errors that the verifier finds in a file (David Clunie's dciodvfy, of dicom3tools)."""
    done = subprocess.run([_VERIFIER, path], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert any(not line.startswith(("Error", "Warning")) for line in lines), "the verifier recognises the object"
    return [line for line in lines if line.startswith("Error")]


def series(folder: Path, name: str, count: int = 4) -> Path:
    """A folder of slices, made of one that pydicom ships, 5 mm apart."""
    folder.mkdir()
    for index in range(count):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = pydicom.dcmread(SHIPPED[SOURCES[name][0]])
            position = [float(one) for one in made.ImagePositionPatient]
            cosines = [float(one) for one in made.ImageOrientationPatient]
            normal = torch.linalg.cross(torch.tensor(cosines[:3]), torch.tensor(cosines[3:])).tolist()
            made.ImagePositionPatient = [
                round(at + 5 * index * step, 4) for at, step in zip(position, normal, strict=True)
            ]
            made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index}"
            made.InstanceNumber = index + 1
            made.save_as(folder / f"{index}.dcm")
    return folder
