"""``python -m benchmarks.medical``: the time to read a DICOM image and write each format, over a forward pass."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import torchvision
import typer
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

import pellucid
from benchmarks import results
from benchmarks.folder import PREPROCESSING
from benchmarks.measuring import forward, seconds
from benchmarks.speed import FOLDER, machine
from pellucid.export import Case, exporters, find
from pellucid.export.writing import write
from pellucid.io import read_image
from pellucid.phantom import radiographs

SIDE = 1024


def drawn(path: Path) -> Path:
    """Write a drawn radiograph as a DICOM file with a position in space."""
    levels = (radiographs(1, size=SIDE, seed=3).images[0, 0] * 4095).round().numpy().astype(np.uint16)
    made = Dataset()
    made.SOPClassUID, made.Modality = CTImageStorage, "CT"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(made, name, generate_uid(entropy_srcs=[name]))
    made.Rows = made.Columns = SIDE
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
    made.PixelSpacing, made.SliceThickness = [0.3, 0.3], 1
    made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    made.PixelData = levels.tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.save_as(path, enforce_file_format=True)
    return path


def shares(folder: Path, repeats: int) -> dict[str, float]:
    """The duration of each step over that of ResNet-50's forward pass of one 224 × 224 image."""
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval()
    path = drawn(folder / "scan.dcm")
    prepared = PREPROCESSING(read_image(path))
    explanation = pellucid.explain(model, prepared.values[None])
    steps: dict[str, Callable[[], object]] = {"reading and decoding": lambda: read_image(path)}
    for name in exporters():
        steps[f"{name}: making and writing"] = partial(_written, folder / "out", name, prepared, explanation)
    predict = forward(model, prepared.values[None])
    return {name: _ratio(step, predict, repeats) for name, step in steps.items()}


def _written(folder: Path, name: str, image: pellucid.Image, explanation: pellucid.Explanation) -> None:
    write(folder, find(name)(Case("scan", image, explanation)), overwrite=True)


def _ratio(step: Callable[[], object], base: Callable[[], object], repeats: int) -> float:
    """The median over alternating pairs."""
    step()
    base()
    return statistics.median(seconds(step) / seconds(base) for _ in range(repeats))


def main(repeats: Annotated[int, typer.Option(min=1)] = 15) -> None:
    """Measure, and write docs/performance/medical.md and medical.csv."""
    with TemporaryDirectory() as folder:
        found = shares(Path(folder), repeats)
    for name, share in found.items():
        typer.echo(f"{name}: {share:.2f}")
    rows = ((name, f"{share:.2f}") for name, share in found.items())
    table = results.table((f"step, for one image of {SIDE} × {SIDE}", "time, over the forward pass'"), rows)
    (FOLDER / "medical.md").write_text(f"{table}\nMeasured on: {machine()}.\n")
    results.write_csv(FOLDER / "medical.csv", [{"step": name, "ratio": share} for name, share in found.items()])


if __name__ == "__main__":
    typer.run(main)
