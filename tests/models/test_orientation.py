"""Orientation and spacing: the network's input beside MONAI's, and maps back at their place in the patient."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from nibabel.orientations import aff2axcodes
from scipy.spatial.transform import Rotation

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import OptionError, ShapeError
from pellucid.export import Case, exported
from pellucid.io import read_image, read_series
from pellucid.models.preprocessing import Preprocessing
from tests.io.test_volumes import slices
from tests.render.test_overlay import of

Array = np.ndarray[Any, Any]
TILT = Rotation.from_euler("xyz", [14, -23, 31], degrees=True).as_matrix()
SHEAR = np.array([[1, 0.15, 0], [0, 1, -0.3], [0, 0, 1]])
LINEAR: dict[str, Array] = {
    "RAS": np.diag([0.8, 0.8, 2.0]),
    "LAS": np.diag([-1.0, 1.0, 1.0]),
    "LPS": np.diag([-0.7, -0.7, 1.2]),
    "sagittal": np.array([[0, 0, -3.0], [0.9, 0, 0], [0, -0.9, 0]]),
    "coronal": np.array([[-1.1, 0, 0], [0, 0, 2.5], [0, -1.1, 0]]),
    "oblique": TILT @ np.diag([0.9, 1.1, 2.4]),
    "oblique sagittal": TILT @ np.array([[0, 0, 2.2], [-0.75, 0, 0], [0, -0.75, 0]]),
    "tilted gantry": np.diag([0.9, 0.9, 3.0]) @ np.array([[1, 0, 0], [0, 1, 0.4], [0, 0, 1]]),
    "sheared": TILT @ SHEAR @ np.diag([1.0, 1.5, 2.0]),
}
"""What a step along each axis of a file, (column, row, slice), is in the patient."""
TILTED = ("tilted gantry", "sheared")
SIZE = (14, 11, 8)


def affine(linear: Array) -> Array:
    whole = np.eye(4)
    whole[:3, :3], whole[:3, 3] = linear, (-31.5, 12.25, 74)
    return whole


def nifti(folder: Path, linear: Array, size: Sequence[int] = SIZE, seed: int = 0) -> Path:
    levels = np.random.default_rng(seed).uniform(-200, 900, size).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(levels, affine(linear)), folder / "a.nii")
    return folder / "a.nii"


@pytest.fixture(scope="module")
def monai() -> Callable[..., Any]:
    """MONAI's own reading, orientation and spacing of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transforms = pytest.importorskip("monai.transforms")

    def read(path: Path, codes: str | None, spacing: Sequence[float] | None, reader: str | None = None) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = [transforms.LoadImage(reader=reader, image_only=True), transforms.EnsureChannelFirst()]
            steps += [transforms.Orientation(axcodes=codes)] if codes else []
            steps += [transforms.Spacing(pixdim=spacing, mode="bilinear")] if spacing else []
            return transforms.Compose(steps)(path)

    return read


def prepared(image: Image, codes: str | None, spacing: Sequence[float] | None) -> Image:
    """Prepared with nothing else, so that the input's values are the file's."""
    limits = float(image.values.min()), float(image.values.max())
    spaced = None if spacing is None else tuple(spacing)
    return Preprocessing(channels=1, range=limits, orientation=codes, spacing=spaced)(image)


def assert_equal(ours: Image, theirs: Any) -> None:
    assert ours.values.shape == theirs.shape
    span = float(theirs.max() - theirs.min())
    assert np.abs(ours.values.numpy() - np.asarray(theirs)).max() <= 1e-6 * span


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize(
    ("codes", "spacing"),
    [("RAS", (1.5, 1.5, 2.0)), ("LPS", None), ("PIR", (0.5, 2.0, 1.1)), ("RAS", (1.0, 1.0, 1.0))],
)
def test_the_input_is_monais(
    monai: Callable[..., Any], tmp_path: Path, name: str, codes: str, spacing: tuple[float, ...] | None
) -> None:
    path = nifti(tmp_path, LINEAR[name])
    assert_equal(prepared(read_image(path), codes, spacing), monai(path, codes, spacing))


def test_sides_of_half_a_voxel_are_rounded_as_monai_does(monai: Callable[..., Any], tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    for seed in range(24):
        size = generator.integers(2, 9, 3)
        linear = Rotation.random(random_state=seed).as_matrix() if seed % 2 else np.eye(3)[generator.permutation(3)]
        path = nifti(tmp_path, linear @ np.diag(generator.choice([0.5, 1.0, 3.0], 3)), size, seed)
        spacing = tuple(map(float, generator.choice([1.0, 2.0, 6.0], 3)))
        assert_equal(prepared(read_image(path), "ASR", spacing), monai(path, "ASR", spacing))


def series(folder: Path, along: Array, down: Array) -> Path:
    """Slices in planes of two directions (left, posterior, superior), 2.5 mm apart."""
    slices(folder, [0, 1, 2, 3, 4])
    for index, path in enumerate(sorted(folder.iterdir())):
        made = pydicom.dcmread(path)
        made.ImageOrientationPatient = [round(float(value), 6) for value in (*along, *down)]
        position = np.array([20.0, -35, 10]) + 2.5 * index * np.cross(along, down)
        made.ImagePositionPatient = [round(float(value), 6) for value in position]
        made.SliceThickness, made.InstanceNumber, made.RescaleSlope = 2.5, index + 1, 2
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{index}"
        made.save_as(path)
    return folder


PLANES = {
    "axial": (np.array([1.0, 0, 0]), np.array([0, 1.0, 0])),
    "sagittal": (np.array([0, 1.0, 0]), np.array([0, 0, -1.0])),
    "oblique": (TILT[:, 0], TILT[:, 1]),
}


@pytest.mark.parametrize("name", PLANES)
def test_a_series_is_prepared_as_monai_does(monai: Callable[..., Any], tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "s", *PLANES[name])
    ours = prepared(read_series(folder), "RAS", (1.0, 0.6, 2.0))
    theirs = monai(folder, "RAS", (1.0, 0.6, 2.0), "PydicomReader")
    assert_equal(ours, theirs)


def with_a_spot(image: Image, at: Sequence[int]) -> Case:
    """An explanation of an image whose map is a spot about a voxel of the network's input."""
    mesh = torch.meshgrid(*(torch.arange(float(side)) for side in image.size), indexing="ij")
    square = sum((axis - place) ** 2 for axis, place in zip(mesh, at, strict=True))
    return Case("a", image, of(torch.exp(-square / 3)[None, None]))


def centre(values: Array, positions: Array) -> Array:
    """The mean position (3,) of values (...), of positions (..., 3)."""
    return (values[..., None] * positions).reshape(-1, 3).sum(axis=0) / values.sum()


def indices(size: Sequence[int]) -> Array:
    return np.stack([*np.meshgrid(*map(np.arange, size), indexing="ij"), np.ones(size)], axis=-1)


@pytest.mark.parametrize("name", LINEAR)
def test_a_nifti_map_is_where_the_network_saw_it(monai: Callable[..., Any], tmp_path: Path, name: str) -> None:
    path = nifti(tmp_path, LINEAR[name], (30, 26, 22))
    codes, spacing = "RAS", (1.5, 1.25, 2.0)
    theirs = monai(path, codes, spacing)
    at = [side // 2 + shift for side, shift in zip(theirs.shape[1:], (2, -1, 1), strict=True)]
    case, source = with_a_spot(prepared(read_image(path), codes, spacing), at), nibabel.load(path)
    files, refused = exported(case, ["nifti"])
    assert bool(refused) == (name in TILTED)  # such a file is not written, and the map is where it would be
    values = case.heat().numpy().T
    if not refused:
        (tmp_path / "map.nii.gz").write_bytes(files["a_heatmap.nii.gz"])
        written = nibabel.load(tmp_path / "map.nii.gz")
        assert np.allclose(written.affine, source.affine)
        assert np.array_equal(written.get_fdata(), values)
    found = centre(values, indices(source.shape) @ source.affine.T[:, :3])
    expected = np.asarray(theirs.affine)[:3] @ [*at, 1]
    assert np.abs(found - expected).max() < 0.15


@pytest.mark.parametrize("name", PLANES)
def test_a_dicom_map_is_where_the_network_saw_it(monai: Callable[..., Any], tmp_path: Path, name: str) -> None:
    folder = series(tmp_path / "s", *PLANES[name])
    theirs = monai(folder, "RAS", (0.5, 0.6, 0.7), "PydicomReader")
    at = [side // 2 for side in theirs.shape[1:]]
    files, refused = exported(with_a_spot(prepared(read_series(folder), "RAS", (0.5, 0.6, 0.7)), at), ["pm"])
    assert not refused
    made = pydicom.dcmread(pydicom.filebase.DicomBytesIO(files["a_pm.dcm"]))
    shared = made.SharedFunctionalGroupsSequence[0]
    along, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    frames = [np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
              for group in made.PerFrameFunctionalGroupsSequence]  # fmt: skip
    grid = indices((made.Rows, made.Columns))
    within = grid[..., :1] * down * rows + grid[..., 1:2] * along * columns
    values = made.pixel_array.reshape(len(frames), made.Rows, made.Columns).astype(float)
    found = centre(values, np.stack([position + within for position in frames])) * [-1, -1, 1]
    expected = np.asarray(theirs.affine)[:3] @ [*at, 1]
    assert np.abs(found - expected).max() < 0.4 * 2.5  # of the slices' distance


def test_a_marked_voxel_comes_back_to_itself(tmp_path: Path) -> None:
    for name, linear in LINEAR.items():
        levels = np.zeros((21, 17, 13), np.float32)
        levels[6, 11, 4] = 1
        nibabel.save(nibabel.Nifti1Image(levels, affine(linear)), tmp_path / "a.nii")
        spacing = tuple(np.linalg.norm(linear, axis=0).min() * np.array([0.5, 0.55, 0.6]))
        image = Preprocessing(channels=1, orientation="SRP", spacing=spacing, resize=(30, 31, 32))(
            read_image(tmp_path / "a.nii")
        )
        back = image.geometry.restore(image.pixels[None])[0, 0]
        assert np.unravel_index(int(back.argmax()), back.shape) == (4, 11, 6), name


def test_turning_alone_loses_nothing(tmp_path: Path) -> None:
    for name, linear in LINEAR.items():
        image = read_image(nifti(tmp_path, linear))
        turned = prepared(image, "IPR", None)
        steps = np.linalg.inv(np.array(turned.geometry.matrix)) / np.linalg.norm(linear, axis=0)[::-1, None]
        whole = np.eye(4)
        whole[:3, :3] = linear[:, ::-1] @ steps
        assert aff2axcodes(whole) == tuple("IPR"), name
        assert torch.allclose(turned.geometry.restore(turned.pixels[None])[0], image.pixels, atol=1e-5)
        assert turned.geometry.inside().all()
        again = turned.geometry.turn((0, 1, 2), (True, False, True)).turn((0, 1, 2), (True, False, True))
        assert again == turned.geometry


def test_spacing_alone_is_in_the_order_of_the_files_axes(monai: Callable[..., Any], tmp_path: Path) -> None:
    path = nifti(tmp_path, LINEAR["oblique"])
    theirs = monai(path, None, (1.3, 0.7, 2.0))
    ours = prepared(read_image(path), None, (2.0, 0.7, 1.3))
    assert_equal(ours, np.asarray(theirs).transpose(0, 3, 2, 1))
    kept = prepared(read_image(path), None, (2.4004, 1.1, 0.9))  # as it is within a thousandth of a mm, as in MONAI
    assert torch.equal(kept.pixels, read_image(path).pixels)


def test_it_comes_before_resize_and_crop_and_is_recorded(monai: Callable[..., Any], tmp_path: Path) -> None:
    path = nifti(tmp_path, LINEAR["sagittal"])
    theirs = torch.as_tensor(np.asarray(monai(path, "RAS", (2.0, 2.0, 2.0))))
    low, high = float(theirs.min()), float(theirs.max())
    settings = Preprocessing(None, (9, 5, 4), channels=1, orientation="ras", spacing=(2, 2, 2))
    image = settings(read_image(path))
    start = [round((old - new) / 2) for old, new in zip(theirs.shape[1:], (9, 5, 4), strict=True)]
    cut = theirs[(slice(None), *(slice(a, a + n) for a, n in zip(start, (9, 5, 4), strict=True)))]
    values = read_image(path).values
    assert torch.allclose(image.values * (values.max() - values.min()) + values.min(), cut, atol=1e-3)
    assert low < high
    done = image.provenance["preprocessing"]
    assert (done["orientation"], done["spacing"]) == ("RAS", [2.0, 2.0, 2.0])
    again = Preprocessing(channels=1, orientation="LPS")(image)  # of an image that was prepared before
    assert torch.equal(again.pixels, image.pixels.flip(1, 2))


def test_channels_of_a_study_are_turned_together(tmp_path: Path) -> None:
    from pellucid.run.channels import read_channels

    for seed, name in enumerate("ba"):
        nifti(tmp_path, LINEAR["coronal"], seed=seed).rename(tmp_path / f"{name}.nii")
    settings = Preprocessing(channels=2, orientation="RAS", spacing=(1.0, 1.0, 1.0))
    both = settings(read_channels(tmp_path, ["a.nii", "b.nii"]))
    for index, name in enumerate("ab"):
        alone = Preprocessing(channels=1, orientation="RAS", spacing=(1.0, 1.0, 1.0))(
            read_image(tmp_path / f"{name}.nii")
        )
        assert torch.allclose(both.pixels[index], alone.pixels[0], atol=1e-6)


@pytest.mark.parametrize("codes", ["RA", "RASL", "RRS", "RAX", "", 3, "RLS"])
def test_wrong_axis_codes(codes: Any) -> None:
    with pytest.raises(
        OptionError, match=rf"^orientation {codes} was given; write one letter each of L or R"
    ) as caught:
        Preprocessing(orientation=codes)
    assert "\n" not in str(caught.value)
    assert Preprocessing(orientation="RAS").orientation == "RAS"  # the remedy


@pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, 1, -1), (1, 1, float("nan")), 1.5, (1, 1, 1e-300), "abc"])
def test_wrong_spacings(spacing: Any) -> None:
    with pytest.raises(OptionError, match=rf"^spacing {re.escape(str(spacing))} was given; write three numbers of mm"):
        Preprocessing(spacing=spacing)
    assert Preprocessing(spacing=(1.5, 1.5, 2)).spacing == (1.5, 1.5, 2.0)


def volume(matrix: Array | None) -> Image:
    pixels = torch.rand(1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    place = None if matrix is None else torch.from_numpy(matrix)
    return Image(pixels, pixels, Geometry.identity((4, 5, 6)), affine=place)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        (None, "does not state where its axes lie in the patient: leave out orientation= and spacing=, or give a file"),
        (np.diag([1.0, 0, 1, 1]), "affine has no three directions: leave out orientation= and spacing=, or mend"),
        (np.full((4, 4), np.nan), "affine has no three directions"),
        (np.diag([1e200, 1e200, 1e200, 1]), "affine has no three directions"),
        (affine(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])), "affine has no three directions"),
        (np.diag([1e5, 1e5, 1e5, 1]), "at most 134,217,728 are allowed: give a larger spacing"),
    ],
)
def test_volumes_that_cannot_be_placed(matrix: Array | None, says: str) -> None:
    image = volume(matrix)
    with pytest.raises(ShapeError, match=re.escape(says)) as caught:
        Preprocessing(channels=1, spacing=(1, 1, 1))(image)
    assert "spacing 1,1,1 was asked for" in str(caught.value)
    assert "\n" not in str(caught.value)
    # The remedies.
    assert Preprocessing(channels=1)(image).pixels is image.pixels
    mended = Preprocessing(channels=1, orientation="RAS", spacing=(1, 1, 1))(volume(np.eye(4)))
    assert mended.size == (6, 5, 4)
    if "larger" in says:
        assert Preprocessing(channels=1, spacing=(1e4, 1e4, 1e4))(image).size == (31, 41, 51)


def test_images_are_not_turned() -> None:
    flat = Image(torch.rand(1, 5, 6), torch.rand(1, 5, 6), Geometry.identity((5, 6)))
    with pytest.raises(ShapeError, match="orientation RAS was asked for; the image is 2-D, and only volumes are"):
        Preprocessing(channels=1, orientation="RAS")(flat)


def test_a_large_volume_is_sampled_slab_by_slab(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    image = read_image(nifti(tmp_path, LINEAR["sheared"]))
    whole = prepared(image, "RAS", (1.0, 1.0, 1.0))
    back = whole.geometry.restore(whole.pixels[None])
    monkeypatch.setattr("pellucid.core.geometry._AT_ONCE", 200)
    slabs = prepared(image, "RAS", (1.0, 1.0, 1.0))
    assert torch.equal(slabs.pixels, whole.pixels)
    assert torch.equal(slabs.geometry.restore(slabs.pixels[None]), back)


def test_nothing_of_the_image_is_changed(tmp_path: Path) -> None:
    image = read_image(nifti(tmp_path, LINEAR["LAS"]))
    before = image.pixels.clone(), image.values.clone(), image.affine.clone() if image.affine is not None else None
    prepared(image, "RAS", (1.0, 1.0, 1.0)).pixels.zero_()
    prepared(image, "RAS", None).pixels.zero_()
    assert torch.equal(image.pixels, before[0])
    assert torch.equal(image.values, before[1])
    assert pellucid.Preprocessing is Preprocessing


def test_voxels_at_the_edge_of_a_coarser_grid_were_seen() -> None:
    pixels = torch.rand(1, 3, 3, 11, generator=torch.Generator().manual_seed(0))
    for seed in range(60):  # the last centre is on the new grid's edge but for rounding
        place = torch.from_numpy(affine(3 * Rotation.random(random_state=seed).as_matrix()))
        image = Image(pixels, pixels, Geometry.identity((3, 3, 11)), affine=place)
        made = Preprocessing(channels=1, spacing=(4, 4, 4))(image)
        assert made.geometry.inside().all()
