"""nnU-Net's plans as a preprocessing: equal to a replica of its own steps, and refused by name where it is not."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from scipy.ndimage import map_coordinates
from skimage.transform import resize
from torch import nn

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import OptionError, ShapeError
from pellucid.models.plans import LARGEST
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.registries.facts import preprocessing_json
from pellucid.run.channels import read_channels

Plans = dict[str, Any]
CT = {"percentile_00_5": -50.0, "percentile_99_5": 180.0, "mean": 62.5, "std": 31.25, "min": -900, "max": 900}


def stated(scheme: str = "ZScoreNormalization", spacing: list[float] | None = None, channels: int = 1) -> Plans:
    """As nnU-Net writes them."""
    full = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "patch_size": [28, 256, 256],
        "spacing": spacing or [1.5, 1.0, 1.25],
        "normalization_schemes": [scheme] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None},
    }
    flat = {**full, "spacing": [1.0, 1.0]}
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    low = {"inherits_from": "3d_fullres", "spacing": [3.0, 2.0, 2.5]}
    return {
        "dataset_name": "Dataset001_Test",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "configurations": {"2d": flat, "3d_fullres": full, "3d_lowres": low, "3d_cascade_fullres": cascade},
        "foreground_intensity_properties_per_channel": {str(channel): CT for channel in range(channels)},
    }


def written(folder: Path, plans: Plans) -> Path:
    path = folder / "plans.json"
    path.write_text(json.dumps(plans))
    return path


def scan(path: Path, spacing: tuple[float, ...], size: tuple[int, ...] = (17, 14, 9), seed: int = 0) -> Path:
    """A volume in Hounsfield units, of this spacing (column, row, slice), with a border of zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(50, 120, size).round().astype(np.int16)
    values[:2], values[:, -3:], values[:, :, :1] = 0, 0, 0
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*spacing, 1.0])), path)
    return path


# A replica of nnU-Net 2: DefaultPreprocessor.run_case_npy, and the functions that it calls, in its own words.


def crop_to_nonzero(data: np.ndarray) -> tuple[np.ndarray, list[list[int]]]:
    where = np.array(np.where((data != 0).any(0)))
    box = [[int(each.min()), int(each.max()) + 1] for each in where]
    return data[(slice(None), *(slice(*ends) for ends in box))], box


def normalised(image: np.ndarray, scheme: str) -> np.ndarray:
    image = image.astype(np.float32)
    match scheme:
        case "ZScoreNormalization":
            mean, std = image.mean(), image.std()
            return (image - mean) / max(std, 1e-8)
        case "CTNormalization":
            clipped = np.clip(image, CT["percentile_00_5"], CT["percentile_99_5"])
            return (clipped - CT["mean"]) / max(CT["std"], 1e-8)
        case "RescaleTo01Normalization":
            image = image - image.min()
            return image / np.clip(image.max(), a_min=1e-8, a_max=None)
        case "RGBTo01Normalization":
            return image / 255.0
    return image


def low_axis(current: list[float], new: list[float]) -> int | None:
    for spacing in (current, new):
        if np.max(spacing) / np.min(spacing) > 3:
            axes = np.where(max(spacing) / np.array(spacing) == 1)[0]
            return int(axes[0]) if len(axes) == 1 else None
    return None


def resample(data: np.ndarray, new_shape: list[int], axis: int | None) -> np.ndarray:
    if list(data.shape) == new_shape:
        return data
    data = data.astype(float)
    if axis is None:
        return resize(data, new_shape, 3, mode="edge", anti_aliasing=False)
    flat = [side for at, side in enumerate(new_shape) if at != axis]
    slices = [resize(np.take(data, i, axis), flat, 3, mode="edge", anti_aliasing=False) for i in
              range(data.shape[axis])]  # fmt: skip
    here = np.stack(slices, axis)
    if here.shape[axis] == new_shape[axis]:
        return here
    grid = np.mgrid[tuple(slice(side) for side in new_shape)].astype(float)
    for at, (old, new) in enumerate(zip(here.shape, new_shape, strict=True)):
        grid[at] = old / new * (grid[at] + 0.5) - 0.5
    return map_coordinates(here, grid, order=0, mode="nearest")


def replica(files: list[Path], plans: Plans, configuration: str = "3d_fullres") -> np.ndarray:
    settings = plans["configurations"][configuration]
    loaded = [nibabel.load(file) for file in files]
    if plans["image_reader_writer"] == "NibabelIOWithReorient":
        loaded = [nibabel.as_closest_canonical(one) for one in loaded]
    data = np.stack([one.get_fdata().transpose(2, 1, 0) for one in loaded]).astype(np.float32)
    spacing = [float(each) for each in loaded[0].header.get_zooms()[::-1]]
    data = data.transpose([0, *[axis + 1 for axis in plans["transpose_forward"]]])
    spacing = [spacing[axis] for axis in plans["transpose_forward"]]
    data, _ = crop_to_nonzero(data)
    new_shape = [round(i / j * k) for i, j, k in zip(spacing, settings["spacing"], data.shape[1:], strict=True)]
    schemes = settings["normalization_schemes"]
    channels = [normalised(one, scheme) for one, scheme in zip(data, schemes, strict=True)]
    axis = low_axis(spacing, settings["spacing"])
    return np.stack([resample(one, new_shape, axis) for one in channels])


@pytest.mark.parametrize(
    "scheme", ["ZScoreNormalization", "CTNormalization", "RescaleTo01Normalization", "NoNormalization"]
)
def test_the_input_is_nnunets(tmp_path: Path, scheme: str) -> None:
    file, plans = scan(tmp_path / "a.nii.gz", (0.9, 1.2, 2.0)), stated(scheme)
    made = Preprocessing.from_plans(written(tmp_path, plans))(pellucid.read_image(file))
    expected = replica([file], plans)
    assert made.values.shape == (1, 11, 13, 11)
    np.testing.assert_allclose(made.values.numpy(), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert made.values.dtype == torch.float32


@pytest.mark.parametrize(
    ("own", "wanted", "axis"),
    [
        ((1.0, 1.0, 5.0), [4.0, 0.8, 0.9], 0),  # thick slices
        ((1.0, 1.0, 5.0), [10.0, 0.8, 0.9], 0),  # fewer of them: the middle between two
        ((1.0, 1.0, 2.0), [6.0, 1.1, 1.2], 0),  # of the network only
        ((1.0, 4.0, 1.0), [1.2, 3.0, 1.1], 1),
        ((1.0, 5.0, 5.0), [1.2, 3.0, 1.1], None),  # two axes are as coarse
        ((1.0, 1.0, 5.0), [5.0, 0.8, 0.9], 0),  # as many slices
    ],
)
def test_coarse_axes_are_resampled_by_themselves(
    tmp_path: Path, own: tuple[float, ...], wanted: list[float], axis: int | None
) -> None:
    file, plans = scan(tmp_path / "a.nii.gz", own), stated(spacing=wanted)
    assert low_axis(list(own[::-1]), wanted) == axis
    made = Preprocessing.from_plans(written(tmp_path, plans))(pellucid.read_image(file))
    np.testing.assert_allclose(made.values.numpy(), replica([file], plans), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "slices", "expected"),
    [
        ({"order": 1}, 2, lambda one, size: resize(one, size, 1, mode="edge", anti_aliasing=False)),
        ({"force_separate_z": False}, 5, lambda one, size: resize(one, size, 3, mode="edge", anti_aliasing=False)),
        ({"force_separate_z": True}, 2.5, lambda one, size: resample(one, size, 0)),
    ],
)
def test_other_splines(
    tmp_path: Path, settings: Plans, slices: float, expected: Callable[[np.ndarray, list[int]], np.ndarray]
) -> None:
    file, plans = scan(tmp_path / "a.nii.gz", (1.0, 1.0, slices)), stated("NoNormalization", [2.2, 0.8, 0.9])
    plans["configurations"]["3d_fullres"]["resampling_fn_data_kwargs"] |= settings
    made = Preprocessing.from_plans(written(tmp_path, plans))(pellucid.read_image(file)).values[0].numpy()
    data, _ = crop_to_nonzero(nibabel.load(file).get_fdata().transpose(2, 1, 0)[None])
    np.testing.assert_allclose(made, expected(data[0], list(made.shape)), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("axes", [[1, 0, 2], [2, 0, 1]])
@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIO", "NibabelIOWithReorient"])
def test_axes_are_put_in_its_order(tmp_path: Path, axes: list[int], reader: str) -> None:
    file = scan(tmp_path / "a.nii.gz", (-0.9, 1.2, 2.0))
    plans = {**stated(), "transpose_forward": axes, "image_reader_writer": reader}
    made = Preprocessing.from_plans(written(tmp_path, plans))(pellucid.read_image(file))
    np.testing.assert_allclose(made.values.numpy(), replica([file], plans), rtol=1e-4, atol=1e-4)


def test_each_file_of_a_study_is_normalised_by_itself(tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    files = [scan(study / f"case_000{number}.nii.gz", (0.9, 1.2, 2.0), seed=number) for number in range(2)]
    plans = stated(channels=2)
    plans["configurations"]["3d_fullres"]["normalization_schemes"] = ["CTNormalization", "ZScoreNormalization"]
    image = read_channels(study, ["case_0000.nii.gz", "case_0001.nii.gz"])
    made = Preprocessing.from_plans(written(tmp_path, plans))(image)
    np.testing.assert_allclose(made.values.numpy(), replica(files, plans), rtol=1e-4, atol=1e-4)


def test_a_configuration_has_what_it_inherits(tmp_path: Path) -> None:
    file, plans = scan(tmp_path / "a.nii.gz", (0.9, 1.2, 2.0)), stated()
    made = Preprocessing.from_plans(written(tmp_path, plans), "3d_lowres")(pellucid.read_image(file))
    plans["configurations"]["3d_lowres"] |= {"normalization_schemes": ["ZScoreNormalization"]}
    np.testing.assert_allclose(made.values.numpy(), replica([file], plans, "3d_lowres"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", ["ZScoreNormalization", "RGBTo01Normalization", "RescaleTo01Normalization"])
def test_photographs(tmp_path: Path, scheme: str) -> None:
    levels = np.random.default_rng(0).integers(1, 256, (9, 12, 3), dtype=np.uint8)
    levels[:2] = 0  # a black border is cut off
    Pillow.fromarray(levels).save(tmp_path / "a.png")
    plans = {**stated(scheme, channels=3), "image_reader_writer": "NaturalImage2DIO"}
    made = Preprocessing.from_plans(written(tmp_path, plans), "2d")(pellucid.read_image(tmp_path / "a.png"))
    expected = np.stack([normalised(one, scheme) for one in levels[2:].transpose(2, 0, 1)])
    np.testing.assert_allclose(made.values.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert made.geometry == Geometry.identity((9, 12)).crop((2, 0), (7, 12))


def test_maps_come_back_onto_the_file(tmp_path: Path) -> None:
    """A bright block lies where the geometry says."""
    values = np.full((20, 16, 12), 1, dtype=np.int16)
    values[:3] = 0
    values[8:12, 4:8, 3:7] = 500
    nibabel.save(nibabel.Nifti1Image(values, np.diag([0.7, 1.3, 2.0, 1.0])), tmp_path / "a.nii.gz")
    plans = {**stated("RescaleTo01Normalization", [0.6, 1.5, 1.0]), "transpose_forward": [2, 0, 1]}
    prepare = Preprocessing.from_plans(written(tmp_path, plans))
    made = prepare(pellucid.read_image(tmp_path / "a.nii.gz"))
    back = made.geometry.restore(made.values[None])[0, 0].numpy().transpose(2, 1, 0)
    assert back.shape == values.shape
    assert np.corrcoef(back.ravel(), values.ravel())[0, 1] > 0.95
    assert (back[:3] == 0).all()
    at = np.argwhere(back > 0.5).mean(0)
    np.testing.assert_allclose(at, [9.5, 5.5, 4.5], atol=0.5)
    cut = Preprocessing(crop=(30, 6, 6), channels=1, plans=prepare.plans)(pellucid.read_image(tmp_path / "a.nii.gz"))
    assert cut.values.shape == (1, 30, 6, 6)
    assert cut.pixels.shape == cut.values.shape
    assert (cut.values[:, 0] == 0).all(), "what a crop adds is 0, as nnU-Net pads"


def test_pixels_for_display_follow(tmp_path: Path) -> None:
    file = scan(tmp_path / "a.nii.gz", (0.9, 1.2, 2.0))
    made = Preprocessing.from_plans(written(tmp_path, stated()))(pellucid.read_image(file, window=(50, 2000)))
    assert 0 <= made.pixels.min() < made.pixels.max() <= 1
    assert np.corrcoef(made.pixels.flatten(), made.values.flatten())[0, 1] > 0.999
    facts = made.provenance["preprocessing"]
    assert json.loads(json.dumps(facts))["plans"]["spacing"] == [1.5, 1.0, 1.25]


def altered(change: Callable[[Plans, Plans], object]) -> Plans:
    plans = copy.deepcopy(stated())
    change(plans, plans["configurations"]["3d_fullres"])
    return plans


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda _, full: full.update(use_mask_for_norm=[True]), "has use_mask_for_norm, a normalisation within"),
        (lambda _, full: full.update(previous_stage="3d_lowres"), "is a cascade's"),
        (lambda _, full: full.update(preprocessor_name="Mine"), "has the preprocessor_name 'Mine'"),
        (lambda _, full: full.update(resampling_fn_data="no_resampling"), "the resampling_fn_data 'no_resampling'"),
        (lambda _, full: full.update(normalization_schemes=["Mine"]), "has the normalisation 'Mine'"),
        (lambda _, full: full.update(normalization_schemes=[]), "has the normalisation 'none'"),
        (lambda _, full: full.update(spacing=[1.0, 1.0]), "takes slices of volumes that are normalised as a whole"),
        (lambda plans, _: plans.update(image_reader_writer="Tiff3DIO"), "image_reader_writer 'Tiff3DIO' is not read"),
        (lambda plans, _: plans["configurations"].pop("3d_fullres"), "no configuration 3d_fullres: .*2d, 3d_low"),
        (lambda _, full: full.update(spacing=[1.0, 1.0, -1.0]), "spacing"),
        (lambda _, full: full.update(inherits_from="3d_lowres"), r"no plans.json of nnU-Net 2 \(inherits_from\)"),
        (lambda _, full: full.pop("spacing"), r"\('spacing' is missing\)"),
        (lambda _, full: full["resampling_fn_data_kwargs"].update(order=9), r"2 \(resampling_fn_data_kwargs\)"),
        (lambda _, full: full["resampling_fn_data_kwargs"].update(order=float("inf")), "no plans.json"),
        (lambda _, full: full["resampling_fn_data_kwargs"].update(memory=9), "has resampling_fn_data_kwargs of its"),
        (lambda plans, _: plans.update(transpose_forward=[0, 0, 2]), "transpose_forward"),
        (lambda plans, _: plans.update(transpose_forward=["a"]), "no plans.json"),
        (lambda plans, _: plans.update(transpose_forward=[0.0, 1.0, 2.0]), "no plans.json"),
        (lambda plans, _: plans.update(image_reader_writer="x" * 10**5), "image_reader_writer 'xxx"),
        (lambda _, full: full.update(spacing="x" * 10**5), r"no plans.json of nnU-Net 2 \(spacing 'xxx"),
        (lambda _, full: full.update(spacing=[10**4000, 1, 1]), r"no plans.json of nnU-Net 2 \(spacing \[1000"),
        (lambda plans, _: plans.update(configurations={"a\nb\ud800": {}}), r"3d_fullres: .*; a\\nb\\ud800 is there"),
        (lambda plans, full: (full.update(normalization_schemes=["CTNormalization"]),
                              plans["foreground_intensity_properties_per_channel"].update({"0": {**CT, "mean": 1e99}})),
         "2 .foreground_intensity_properties_per_channel"),
        (lambda plans, _: plans.pop("configurations"), "'configurations' is missing"),
        (lambda plans, full: (full.update(normalization_schemes=["CTNormalization"]),
                              plans.update(foreground_intensity_properties_per_channel={})), "'0' is missing"),
    ],
)  # fmt: skip
def test_what_is_not_computed_here_is_refused_by_name(
    tmp_path: Path, change: Callable[[Plans, Plans], object], part: str
) -> None:
    path = written(tmp_path, altered(change))
    with pytest.raises(OptionError, match=part) as caught:
        Preprocessing.from_plans(path)
    assert str(caught.value).startswith(f"plans {path} were given; ")
    assert "\n" not in str(caught.value)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 350 + len(str(path))


@pytest.mark.parametrize("content", ["", "{", "[]", "[" * 100_000, "{}", '{"configurations": 3}', " " * (LARGEST + 1)])
def test_other_files_are_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "plans.json").write_text(content)
    with pytest.raises(OptionError, match=r"no plans.json of nnU-Net 2|give a plans.json") as caught:
        Preprocessing.from_plans(tmp_path / "plans.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(OptionError, match="cannot be read"):
        Preprocessing.from_plans(tmp_path / "none.json")


def test_images_of_another_kind_are_refused(tmp_path: Path) -> None:
    prepare = Preprocessing.from_plans(written(tmp_path, stated()))
    pixels = torch.rand(1, 4, 5, 6)
    nowhere = Image(pixels, pixels, Geometry.identity((4, 5, 6)))
    with pytest.raises(ShapeError, match="does not state its spacing"):
        prepare(nowhere)
    with pytest.raises(ShapeError, match=r"a volume \(C, D, H, W\) was expected"):
        prepare(Image(pixels[:, 0], pixels[:, 0], Geometry.identity((5, 6))))
    two = Image(pixels.repeat(2, 1, 1, 1), pixels.repeat(2, 1, 1, 1), nowhere.geometry, affine=torch.eye(4))
    with pytest.raises(ShapeError, match="1 channels were expected, got 2"):
        prepare(two)
    huge = Image(pixels, pixels, nowhere.geometry, affine=torch.diag(torch.tensor([1e3, 1e3, 1e3, 1.0])))
    with pytest.raises(ShapeError, match="the volume would have"):
        prepare(huge)
    empty = Image(pixels * 0, pixels * 0, nowhere.geometry, affine=torch.eye(4))
    assert (prepare(empty).values == 0).all()


def test_what_needs_a_normalisation_by_itself_is_refused(tmp_path: Path) -> None:
    prepare = Preprocessing.from_plans(written(tmp_path, stated()))
    image = prepare(pellucid.read_image(scan(tmp_path / "a.nii.gz", (0.9, 1.2, 2.0))))
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten()).eval()
    with pytest.raises(OptionError, match="nnU-Net's plans normalise the values of a whole file"):
        prepare.normalise(image.pixels)
    with pytest.raises(OptionError, match="nnU-Net's plans normalise the values of a whole file"):
        pellucid.attack(network, image, "fgsm")
    with pytest.raises(OptionError, match="nnU-Net's plans normalise the values of a whole file"):
        pellucid.attack(network, image.values[None], "fgsm", preprocessing=prepare)
    with pytest.raises(OptionError, match="a registry's record cannot state"):
        preprocessing_json(prepare)
    assert prepare.range_warning(image.values[None] * 50) is None


@pytest.mark.parametrize(
    ("beside", "message"),
    [
        ({"std": (1.0,)}, "plans= and std= were given; the plans state it: leave one out"),
        ({"range": (-1024.0, 1024.0)}, "plans= and range= were given; the plans state it: leave one out"),
        ({"interpolation": "nearest"}, "plans= and interpolation= were given; the plans state it: leave one out"),
        (
            {"channels": 3},
            "plans= of 1 channel was given, and channels is 3: give channels=1, or take Preprocessing.from_plans",
        ),
    ],
)
def test_what_plans_state_is_not_stated_again(tmp_path: Path, beside: dict[str, object], message: str) -> None:
    plans = Preprocessing.from_plans(written(tmp_path, stated())).plans
    with pytest.raises(OptionError) as caught:
        Preprocessing(**{"channels": 1, "plans": plans, **beside})
    assert str(caught.value) == message
