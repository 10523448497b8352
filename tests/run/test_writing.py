"""``pellucid.write``: files of an explanation, and errors of what cannot be."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
import torch

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.errors import ExportError, OptionError, OutputExistsError, ShapeError
from tests.export.dicom import case, image
from tests.networks import TinyCNN, images, seeded


def test_files_of_one_image(tmp_path: Path) -> None:
    one, model = case("mr"), seeded(TinyCNN).eval()
    paths = pellucid.write(one.explanation, one.image, tmp_path, ["npz", "sc", "seg", "pm", "sr"], model=model)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in paths)
    assert tmp_path / "image_nodule_pm.dcm" in paths
    makers = pydicom.dcmread(tmp_path / "image_nodule_pm.dcm").ContributingEquipmentSequence
    assert any(len(item.get("DeviceSerialNumber") or "") == 64 for item in makers)
    with pytest.raises(OutputExistsError):
        pellucid.write(one.explanation, one.image, tmp_path, "sr")
    pellucid.write(one.explanation, one.image, tmp_path, "sr", overwrite=True)


def test_files_of_several_images(tmp_path: Path) -> None:
    batch = images(2)
    explanation = pellucid.explain(seeded(TinyCNN).eval(), batch)
    prepared = [pellucid.Image(one, one, Geometry.identity(one.shape[1:])) for one in batch]
    paths = pellucid.write(explanation, prepared, tmp_path)
    assert [path.name for path in paths] == [
        f"image-{index}_{what}.png" for index in (0, 1) for what in ("overlay", "heatmap")
    ]


def test_what_a_source_does_not_allow_is_raised_when_the_others_are_written(tmp_path: Path) -> None:
    one = case("cr")
    with pytest.raises(ExportError, match="Parametric Map"):
        pellucid.write(one.explanation, one.image, tmp_path, ["pm", "sc"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["image_effusion_sc.dcm", "image_nodule_sc.dcm"]
    with pytest.raises(ExportError, match="allow_seg_without_geometry=True"):
        pellucid.write(one.explanation, one.image, tmp_path, "seg")
    (path,) = pellucid.write(one.explanation, one.image, tmp_path, "seg", allow_seg_without_geometry=True)
    assert path.name == "image_seg.dcm"


def test_wrong_use(tmp_path: Path) -> None:
    one = case("cr")
    with pytest.raises(OptionError, match="did you mean"):
        pellucid.write(one.explanation, one.image, tmp_path, "pgn")
    with pytest.raises(OptionError, match="Image objects"):
        pellucid.write(one.explanation, torch.zeros(3, 4, 4), tmp_path)
    with pytest.raises(ShapeError, match="2 were given"):
        pellucid.write(one.explanation, [one.image, one.image], tmp_path)
    with pytest.raises(ShapeError, match="as it was prepared"):
        pellucid.write(one.explanation, image("cr"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_read_back(tmp_path: Path) -> None:
    one = case("mr")
    pellucid.write(one.explanation, one.image, tmp_path, "npz")
    loaded = pellucid.load_explanation(tmp_path / "image_nodule_explanation.npz")
    assert torch.equal(loaded.heatmaps[0, 0], one.explanation.heatmaps[0, 0])
