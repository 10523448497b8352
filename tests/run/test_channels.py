"""Files of a study as the channels of one input: which folders are studies, and what is read of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from pellucid import read_image, read_series
from pellucid.errors import ImageError, OptionError
from pellucid.models.preprocessing import Preprocessing
from pellucid.run.channels import read_channels
from pellucid.run.finding import studies
from pellucid.run.inputs import open_input
from tests.io.test_volumes import LEVELS, slices

AFFINE = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0.2, -126], [0, -0.2, 3, -72], [0, 0, 0, 1]])


def volume(path: Path, seed: int = 0, affine: np.ndarray = AFFINE, size: tuple[int, ...] = (6, 5, 4)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 1000, size, dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(levels, affine), path)
    return path


def picture(path: Path, seed: int = 0, shape: Sequence[int] = (5, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def found(*paths: Path, names: Sequence[str] = ("t1.nii", "t2.nii"), output: Path | None = None) -> dict[str, str]:
    return {str(one.path): one.stem.as_posix() for one in studies(paths, names, output)}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_every_folder_with_one_of_the_files_is_a_study(tmp_path: Path) -> None:
    touch(tmp_path, "a/t1.nii", "a/t2.nii", "site/b/t2.nii", "c/t1.png", ".hidden/t1.nii", "a/out/t1.nii", "t3.nii")
    assert list(found(tmp_path, output=tmp_path / "a" / "out").values()) == ["a", "site/b"]
    assert list(found(tmp_path / "a").values()) == ["a", "out"]
    touch(tmp_path, "t1.nii")
    assert list(found(tmp_path).values()) == [tmp_path.name, "a", "a/out", "site/b"]


def test_studies_of_one_name_keep_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "x/p/t1.nii", "y/p/t1.nii")
    assert list(found(tmp_path / "x" / "p", tmp_path / "y" / "p").values()) == ["x/p", "y/p"]
    assert list(found(tmp_path / "x" / "p", tmp_path / "x").values()) == ["p"]


def test_below_a_channel_that_is_a_folder_there_is_no_study(tmp_path: Path) -> None:
    touch(tmp_path, "p/t1/t1.dcm", "p/t2/t1.dcm")
    assert list(found(tmp_path, names=("t1*", "t2")).values()) == ["p"]


def test_what_is_no_study(tmp_path: Path) -> None:
    touch(tmp_path, "a/t3.nii")
    with pytest.raises(ImageError, match=r"no folder was found that holds t1\.nii or t2\.nii: check --channels"):
        found(tmp_path)
    with pytest.raises(OptionError, match=r"--channels t1\.nii,t2\.nii was given with .*t3\.nii, which is no folder"):
        found(tmp_path / "a" / "t3.nii")
    with pytest.raises(OptionError, match="it is also an input"):
        found(tmp_path, output=tmp_path)


def test_the_files_are_the_channels_in_the_order_of_their_names(tmp_path: Path) -> None:
    paths = [volume(tmp_path / "p" / f"{name}.nii.gz", seed) for seed, name in enumerate(("b", "a", "c", "d"))]
    (study,) = studies([tmp_path], [path.name for path in paths[:3]])
    image = open_input(study)
    parts = [read_image(path) for path in paths[:3]]
    assert torch.equal(image.pixels, torch.cat([part.pixels for part in parts]))
    assert image.pixels.shape == (3, 4, 5, 6)
    prepared = Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))(image)
    assert torch.allclose(prepared.values[1], (parts[1].pixels[0] - 0.2) / 0.6)
    assert prepared.size == prepared.geometry.source == (4, 5, 6)
    original = prepared.original
    assert torch.equal(original.pixels, parts[0].pixels)
    assert torch.equal(original.affine, parts[0].affine)
    assert original.digest == hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()
    files = prepared.provenance["channels"]
    assert [(one["file"], one["sha256"]) for one in files] == [
        (path.name, part.digest) for path, part in zip(paths, parts, strict=False)
    ]


def test_patterns_and_colours(tmp_path: Path) -> None:
    cc, mlo = picture(tmp_path / "7_cc.png"), picture(tmp_path / "7_mlo[1].png", 1, (5, 6, 3))
    image = read_channels(tmp_path, ["*_cc.png", "7_mlo[1].png"])
    red, green, blue = read_image(mlo).pixels
    assert torch.equal(image.pixels[0], read_image(cc).pixels[0])
    assert torch.allclose(image.pixels[1], 0.299 * red + 0.587 * green + 0.114 * blue)
    assert read_channels(tmp_path, ["*mlo*"]).pixels.shape == (3, 5, 6)


def test_a_folder_of_slices_is_a_channel(tmp_path: Path) -> None:
    for name in ("t1", "t2"):
        slices(tmp_path / name, [0, 3, 6])
    image = read_channels(tmp_path, ["t2", "t1"], "40,400")
    assert torch.equal(image.pixels[:1], read_series(tmp_path / "t2", "40,400").pixels)
    assert len(image.original.instances) == 3
    assert image.pixels.shape == (2, 3, *LEVELS.shape[1:])
    with pytest.raises(ImageError, match="frame 2 was asked for; its slices are one volume"):
        read_channels(tmp_path, ["t2", "t1"], frame=2)


def test_a_slice_of_each(tmp_path: Path) -> None:
    paths = [volume(tmp_path / f"{name}.nii", seed) for seed, name in enumerate("ab")]
    image = read_channels(tmp_path, ["a.nii", "b.nii"], frame=3)
    assert torch.equal(image.pixels, torch.cat([read_image(path, frame=3).pixels for path in paths]))


def refusal(folder: Path, *names: str) -> str:
    with pytest.raises(ImageError) as caught:
        read_channels(folder, names)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_files_that_are_missing_or_too_many(tmp_path: Path) -> None:
    for name in ("t1.nii", "t1ce.nii"):
        volume(tmp_path / name)
    assert "it holds no t2.nii, one of --channels" in refusal(tmp_path, "t1.nii", "t2.nii")
    assert "t1* fits 2 files (t1.nii, t1ce.nii): name each file once" in refusal(tmp_path, "t1*", "t1ce.nii")
    assert "t?.nii fits another name's file (t1.nii)" in refusal(tmp_path, "t1.nii", "t?.nii")
    assert "No such file" in refusal(tmp_path / "gone", "t1.nii")


def test_channels_of_another_size_or_position_are_refused(tmp_path: Path) -> None:
    volume(tmp_path / "a.nii")
    volume(tmp_path / "b.nii", size=(6, 5, 3))
    assert "a.nii and b.nii have 4 × 5 × 6 and 3 × 5 × 6 pixels" in refusal(tmp_path, "a.nii", "b.nii")
    turned = AFFINE.copy()
    turned[0, 1] += 0.05  # moves the last of five rows by 0.2 mm, an eighth of the spacing
    volume(tmp_path / "c.nii", affine=turned)
    assert "a.nii and c.nii are not at the same position" in refusal(tmp_path, "a.nii", "c.nii")
    flat = volume(tmp_path / "flat" / "d.nii", size=(6, 5))
    picture(flat.with_name("e.png"), shape=(5, 6))
    assert "of d.nii and e.png only one states its position" in refusal(flat.parent, "d.nii", "e.png")
    shifted = AFFINE + 1e-4
    shifted[3] = AFFINE[3]
    volume(tmp_path / "f.nii", affine=shifted)
    assert read_channels(tmp_path, ["a.nii", "f.nii"]).pixels.shape == (2, 4, 5, 6)
