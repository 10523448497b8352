"""Synthetic studies of five modalities, and the objects of an explanation whose map is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import torch
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    UltrasoundImageStorage,
    generate_uid,
)

import pellucid
from pellucid.core.concept import Concept
from pellucid.core.explanation import Explanation
from pellucid.export import Case, exported

MODALITIES = {
    "CT": CTImageStorage,
    "MR": MRImageStorage,
    "CR": ComputedRadiographyImageStorage,
    "MG": DigitalMammographyXRayImageStorageForPresentation,
    "US": UltrasoundImageStorage,
}
IN_THE_PATIENT = ("CT", "MR")
OBJECTS = ("sc", "sr", "seg", "pm")
SLICES, HEIGHT, WIDTH = 5, 120, 160
PEAK = 2
"""The slice that holds the map's maximum, also the one that viewers show first."""
FINDING = "nodule"


@dataclass(frozen=True)
class Study:
    """A study's files: the source's, and those of each kind of object that is written of it."""

    uid: str
    source: list[pydicom.Dataset]
    objects: dict[str, list[pydicom.Dataset]]
    refused: dict[str, str]
    maps: npt.NDArray[np.float32]
    """The map, (D, H, W) or (H, W)."""
    files: list[Path]
    """All of it, as it is stored."""

    @property
    def heat(self) -> npt.NDArray[np.float32]:
        """The map on the slice with its peak, or on the image."""
        heat: npt.NDArray[np.float32] = self.maps[PEAK] if self.maps.ndim == 3 else self.maps
        return heat


def study(modality: str, folder: Path) -> Study:
    """A study with its results, in a folder."""
    folder.mkdir(parents=True)
    sources = _source(modality, folder)
    image = pellucid.read_series(folder) if modality in IN_THE_PATIENT else pellucid.read_image(folder / "0.dcm")
    maps = _map(image.size)
    explanation = Explanation(
        heatmaps=maps[None, None],
        attributions=maps[None, None],
        logits=torch.tensor([[0.4, -0.4]]),
        targets=torch.tensor([[0]]),
        degenerate=torch.tensor([[False]]),
        why_degenerate=((None,),),
        method="gradcam",
        layers=("layer4",),
        classes=(FINDING, "nothing"),
        provenance={"concept": Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION.code, "versions": {"pellucid": "0"}},
    )
    model = {"spec": "torchvision:resnet18", "weights": "random", "weights_sha256": "ab" * 32}
    case = Case("result", image, explanation, model=model)
    objects: dict[str, list[pydicom.Dataset]] = {}
    refused: dict[str, str] = {}
    for kind in OBJECTS:
        made, why = exported(case, OBJECTS) if kind == "sr" else exported(case, [kind])
        own = {name: content for name, content in made.items() if name.startswith(f"result_{kind}")}
        for name, content in own.items():
            (folder / name).write_bytes(content)
            objects.setdefault(kind, []).append(pydicom.dcmread(folder / name))
        if why and kind != "sr":
            refused[kind] = str(why[0])
    files = sorted(folder.glob("*.dcm"))
    return Study(str(sources[0].StudyInstanceUID), sources, objects, refused, maps.numpy(), files)


def _map(size: tuple[int, ...]) -> torch.Tensor:
    """Two blobs, neither in the middle nor symmetric: no mirror image of the map resembles it."""
    row, column = torch.meshgrid(*(torch.linspace(0, 1, length) for length in size[-2:]), indexing="ij")

    def blob(top: float, left: float, width: float) -> torch.Tensor:
        return torch.exp(-((row - top) ** 2 + (column - left) ** 2) / width**2)

    flat = (blob(0.3, 0.68, 0.13) + 0.45 * blob(0.88, 0.48, 0.1)).clamp(0, 1)
    flat = flat / flat.max()
    if len(size) == 2:
        return flat
    decay = torch.tensor([0.35, 0.7, 1, 0.6, 0.3])[: size[0]]
    return decay[:, None, None] * flat


def _pixels(level: float) -> npt.NDArray[np.uint16]:
    """A body with structures, 12 bits."""
    row, column = np.mgrid[0 : 1 : HEIGHT * 1j, 0 : 1 : WIDTH * 1j]
    body = ((row - 0.5) / 0.45) ** 2 + ((column - 0.5) / 0.42) ** 2 < 1
    texture = 0.5 + 0.12 * np.sin(23 * row) * np.cos(17 * column) + 0.15 * (column - 0.5) + 0.1 * level
    return np.where(body, 4095 * texture, 60).astype(np.uint16)


def _source(modality: str, folder: Path) -> list[pydicom.Dataset]:
    in_the_patient = modality in IN_THE_PATIENT
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    made = []
    for index in range(SLICES if in_the_patient else 1):
        one = pydicom.Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = MODALITIES[modality]
        one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID = study, series
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Test^Viewer", modality, "19500101", "O"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20240101", "120000", "1", "1"
        one.ReferringPhysicianName = ""
        one.Modality, one.SeriesNumber, one.InstanceNumber = modality, 1, index + 1
        one.SeriesDescription = "source"
        one.Rows, one.Columns = HEIGHT, WIDTH
        one.PixelRepresentation = 0
        _add_pixels(one, modality, index)
        if in_the_patient:
            one.FrameOfReferenceUID = frame
            one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            one.ImagePositionPatient = [-60, -50, 4.0 * index]
            one.PixelSpacing, one.SliceThickness = [0.8, 0.8], 4
        one.RescaleSlope, one.RescaleIntercept = 1, -1024 if modality == "CT" else 0
        if modality == "CT":
            one.RescaleType, one.KVP = "HU", 120
        one.save_as(folder / f"{index}.dcm", enforce_file_format=True)
        made.append(one)
    return made


def _add_pixels(one: pydicom.Dataset, modality: str, index: int) -> None:
    grey = _pixels(index / SLICES)
    if modality == "US":
        one.SamplesPerPixel, one.PhotometricInterpretation, one.PlanarConfiguration = 3, "RGB", 0
        one.BitsAllocated, one.BitsStored, one.HighBit = 8, 8, 7
        one.PixelData = np.repeat((grey >> 4).astype(np.uint8)[..., None], 3, axis=-1).tobytes()
        return
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated, one.BitsStored, one.HighBit = 16, 12, 11
    centre = 2048 - (1024 if modality == "CT" else 0)
    one.WindowCenter, one.WindowWidth = centre, 4096
    one.PixelData = grey.tobytes()
