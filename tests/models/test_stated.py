"""What a checkpoint, or a settings file beside it, states of the preprocessing, and what is assumed of the rest."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import ResNet18_Weights, resnet18

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import OptionError, PellucidWarning
from pellucid.models.checkpoints.stated import Stated, find_preprocessing
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources import model_info
from pellucid.models.sources.assumed import ORIENTATION, SIZE, VALUES
from pellucid.models.stated_preprocessing import from_torchvision

IMAGENET = from_torchvision(ResNet18_Weights.DEFAULT)
WHERE = Path("folder") / "best.pt"


def found(content: object, rank: int = 2) -> tuple[object, ...]:
    made = find_preprocessing(content, WHERE, rank)
    return made.resize, made.crop, made.mean, made.std, made.range


def sized(content: object, rank: int = 2) -> tuple[object, ...]:
    return found(content, rank)[:2]


@pytest.mark.parametrize(
    ("content", "size"),
    [
        ({"config": {"model": {"image_size": 512}}}, ((512, 512), None)),
        ({"config": {"img_size": [384, 256]}}, ((384, 256), None)),
        ({"input_size": (3, 240, 320)}, ((240, 320), None)),
        ({"hyper_parameters": {"data": {"resize": 300}}}, ((300, 300), None)),
        ({"config": {"resize": 256, "crop": 224}}, (256, (224, 224))),
        ({"config": {"resize": [260, 270], "crop_size": [224, 200]}}, ((260, 270), (224, 200))),
        ({"config": {"img_size": 224, "resize": 256}}, (256, (224, 224))),
        ({"config": {"img_size": 256.0, "resize": 256}}, ((256, 256), None)),
        ({"config": {"crop": 448}}, (None, (448, 448))),
        ({"pretrained_cfg": {"input_size": (3, 240, 240), "crop_pct": 0.9}}, (266, (240, 240))),
        ({"default_cfg": {"input_size": (3, 240, 200), "crop_pct": 0.9}}, ((266, 222), (240, 200))),
        ({"pretrained_cfg": {"input_size": [3, 240, 240], "crop_pct": 0.9, "crop_mode": "border"}},
         ((240, 240), (240, 240))),
        ({"pretrained_cfg": {"input_size": (3, 224, 224)}, "config": {"img_size": 512}}, ((512, 512), None)),
        ({"config": {"image_size": "512", "data": {"image_size": 640}}}, ((640, 640), None)),
    ],
)  # fmt: skip
def test_a_stated_size(content: object, size: object) -> None:
    assert found(content) == (*size, None, None, None)


def test_a_size_of_volumes() -> None:
    assert sized({"image_size": 96}, 3) == ((96, 96, 96), None)
    assert sized({"image_size": [32, 64, 64]}, 3) == ((32, 64, 64), None)
    assert sized({"image_size": [1, 32, 64, 64]}, 3) == ((32, 64, 64), None)


NONSENSE = ["224", math.nan, math.inf, 0, -224, 10**9, 10**400, True, 224.5, None, [], [224], [1] * 9, [224, "a"],
            [[1, 2], [3]], {}, {"height": 3}, {"shortest_edge": {}}, b"\0", (8000,) * 3]  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE, ids=[str(index) for index in range(len(NONSENSE))])
@pytest.mark.parametrize("rank", [2, 3])
def test_sizes_that_are_nonsense_are_not_stated(value: object, rank: int) -> None:
    if (value, rank) == ((8000,) * 3, 2):
        value = "a"  # a number of channels may be in front
    content = dict.fromkeys(("image_size", "img_size", "input_size", "resize", "crop", "crop_pct"), value)
    assert find_preprocessing({"config": content, "image_size": value}, WHERE, rank) == Stated()


@pytest.mark.parametrize(
    ("content", "values"),
    [
        ({"config": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (0, 1))),
        ({"mean": 0.5, "std": 0.25}, ((0.5,), (0.25,), (0, 1))),
        ({"config": {"normalize": {"mean": [0.5], "std": [1]}}}, ((0.5,), (1.0,), (0, 1))),
        ({"config": {"normalize": [[0.5, 0.4], [0.2, 0.3]]}}, ((0.5, 0.4), (0.2, 0.3), (0, 1))),
        ({"cfg": {"img_norm_cfg": {"mean": [123.7], "std": [58.4]}}}, ((123.7,), (58.4,), (0, 255))),
        ({"config": {"mean": "a", "std": [1], "data": {"mean": 0.3, "std": 0.2}}}, ((0.3,), (0.2,), (0, 1))),
        ({"value_range": [-1000, 400]}, (None, None, (-1000, 400))),
    ],
)
def test_stated_values(content: object, values: object) -> None:
    assert found(content) == (None, None, *values)


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (0.5, 0), (0.5, -1), (math.nan, 0.2), ("0.5", "0.2"), (300, 20), (-0.1, 0.2), (0.5, None), (0.5, math.inf),
        ([0.5, 0.5], [0.2]), ([], []), ([0.5] * 17, [0.2] * 17), (True, True), (10**400, 1), ([[0.5]], [[0.2]]),
        (0.5, 1e-9), (torch.tensor(0.5), torch.tensor(0.2)),
    ],
)  # fmt: skip
def test_values_that_are_nonsense_are_not_stated(mean: object, std: object) -> None:
    assert find_preprocessing({"mean": mean, "std": std}, WHERE, 2) == Stated()


def test_settings_that_contain_themselves_end() -> None:
    content: dict[str, object] = {}
    content |= dict.fromkeys(("config", "model", "data", "cfg"), content)
    assert find_preprocessing(content, WHERE, 2) == Stated()


def checkpoint(folder: Path, config: object = None, channels: int = 3) -> Path:
    torch.manual_seed(0)
    model = resnet18(num_classes=2)
    if channels != 3:
        model.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": model.state_dict(), "config": config}, folder / "best.pt")
    return folder / "best.pt"


def info(path: Path, spec: str | None = "torchvision:resnet18") -> pellucid.models.sources.ModelInfo:
    return model_info(pellucid.load_model(spec, path))


def scan(*shape: int) -> Image:
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return Image(pixels, pixels, Geometry.identity(shape[1:]))


def test_what_a_checkpoint_states_reaches_the_network(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, {"model": {"image_size": 96}, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]})
    model = pellucid.load_model(checkpoint=path)
    image = scan(3, 96, 96)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = pellucid.prepare(model, image).values
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])
    assert torch.allclose(values, (image.pixels - mean[:, None, None]) / std[:, None, None])
    known = model_info(model)
    assert (known.assumed, known.input_size, known.preprocessing.source) == ((), (3, 96, 96), "best.pt")


def test_what_it_does_not_state_is_assumed_with_a_warning(tmp_path: Path) -> None:
    model = pellucid.load_model(checkpoint=checkpoint(tmp_path, {"img_size": "512", "std": 0}))
    assert model_info(model).assumed == (SIZE, VALUES)
    assert model_info(model).preprocessing == IMAGENET
    with pytest.warns(PellucidWarning) as caught:
        pellucid.prepare(model, scan(3, 300, 300))
    assert [str(one.message) for one in caught] == [
        "the checkpoint states no input size, mean and std: images of 224 × 224 pixels from the middle of 256, mean "
        "0.485, 0.456, 0.406 and std 0.229, 0.224, 0.225 are assumed; if it was trained on others, the maps are wrong: "
        "give load_model preprocessing=pellucid.Preprocessing(…)"
    ]


def test_half_of_it_is_stated(tmp_path: Path) -> None:
    large = info(checkpoint(tmp_path, {"img_size": 512}))
    assert large.assumed == (VALUES,)
    source = f"best.pt, else {IMAGENET.source}"
    assert large.preprocessing == replace(IMAGENET, resize=(512, 512), crop=None, source=source)
    dark = info(checkpoint(tmp_path, {"mean": 30, "std": 60}))
    assert dark.assumed == (SIZE,)
    assert dark.preprocessing == replace(IMAGENET, mean=(30.0,) * 3, std=(60.0,) * 3, range=(0, 255), source=source)
    cropped = info(checkpoint(tmp_path, {"crop": 448}))
    assert (cropped.preprocessing.resize, cropped.preprocessing.crop) == (512, (448, 448))


def test_a_mean_of_another_number_of_channels_is_not_used(tmp_path: Path) -> None:
    known = info(checkpoint(tmp_path, {"mean": [0.5] * 3, "std": [0.5] * 3}, channels=4))
    assert known.assumed == (SIZE, VALUES)
    assert known.preprocessing == IMAGENET.for_channels(4)


def test_a_model_without_weights_of_its_own_kind_assumes_nothing() -> None:
    assert model_info(pellucid.load_model("torchvision:resnet18")).assumed == ()


FACTORY = """
import torchvision
def bare():
    return torchvision.models.resnet18(num_classes=2)
def own():
    model = bare()
    model.preprocessing = {"size": (50, 60), "range": (-1024, 1024)}
    return model
"""


def test_a_factory_states_its_own(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(FACTORY)
    path = checkpoint(tmp_path, {"img_size": 512, "mean": 0.5, "std": 0.5})
    own = info(path, f"{tmp_path / 'made.py'}:own")
    assert (own.assumed, own.preprocessing.resize, own.preprocessing.range) == ((), (50, 60), (-1024, 1024))
    bare = info(path, f"{tmp_path / 'made.py'}:bare")
    assert bare.preprocessing == Preprocessing((512, 512), None, (0.5,) * 3, (0.5,) * 3, source="best.pt")


def test_a_size_that_the_network_fixes_is_not_assumed(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    pytest.importorskip("einops")
    state = pellucid.load_model("monai:vit").state_dict()
    torch.save({"state_dict": state, "config": {"mean": 0.5, "std": 0.5}}, tmp_path / "vit.pt")
    known = info(tmp_path / "vit.pt", "monai:vit")
    assert (known.assumed, known.preprocessing.resize, known.input_size) == ((), (224, 224), (1, 224, 224))


def beside(folder: Path, name: str, content: object) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


PROCESSOR = {"size": {"height": 384, "width": 384}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
             "do_normalize": True, "do_center_crop": False, "crop_size": 224}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "stated"),
    [
        ({}, ((384, 384), None, (0.5,) * 3, (0.5,) * 3, (0, 1))),
        ({"size": {"shortest_edge": 256}, "do_center_crop": True}, (256, (224, 224), (0.5,) * 3, (0.5,) * 3, (0, 1))),
        ({"do_normalize": False}, ((384, 384), None, None, None, (0, 1))),
        ({"do_normalize": False, "do_rescale": False}, ((384, 384), None, None, None, (0, 255))),
    ],
)
def test_the_image_processor_beside_it(tmp_path: Path, changes: Mapping[str, object], stated: object) -> None:
    beside(tmp_path, "preprocessor_config.json", PROCESSOR | changes)
    made = find_preprocessing({}, tmp_path / "best.pt", 2)
    assert (made.resize, made.crop, made.mean, made.std, made.range) == stated
    assert made.source == "preprocessor_config.json"


def test_its_own_settings_come_before_those_beside_it(tmp_path: Path) -> None:
    beside(tmp_path, "preprocessor_config.json", PROCESSOR)
    beside(tmp_path, "config.json", {"image_size": 1, "pretrained_cfg": {"mean": [0.1], "std": [0.2]}})
    made = find_preprocessing({"img_size": 96}, tmp_path / "best.pt", 2)
    assert made == Stated((96, 96), None, (0.5,) * 3, (0.5,) * 3, (0, 1), "best.pt and preprocessor_config.json")


def test_timms_and_monais_settings_beside_it(tmp_path: Path) -> None:
    config = {"pretrained_cfg": {"input_size": [3, 240, 240], "crop_pct": 0.9, "mean": [0.5], "std": [0.2]}}
    beside(tmp_path, "config.json", config)
    assert find_preprocessing({}, tmp_path / "a.pt", 2) == Stated(
        266, (240, 240), (0.5,), (0.2,), (0, 1), "config.json"
    )
    image = {"spatial_shape": [96, 96, 64], "value_range": [-1, 1], "num_channels": 1}
    beside(tmp_path / "bundle", "configs/metadata.json", {"network_data_format": {"inputs": {"image": image}}})
    made = find_preprocessing({}, tmp_path / "bundle" / "models" / "model.pt", 3)
    assert made == Stated((96, 96, 64), None, None, None, (-1, 1), "metadata.json")


TURN = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
SPACE = {"_target_": "monai.transforms.SpacingDict", "keys": "image", "pixdim": [1.5, 1.5, 2.0], "mode": "bilinear"}


@pytest.mark.parametrize(
    ("transforms", "orientation", "spacing"),
    [
        ([{"_target_": "LoadImaged"}, TURN, SPACE], "RAS", (1.5, 1.5, 2.0)),
        ([TURN], "RAS", None),
        ([TURN, SPACE | {"_disabled_": True}], "RAS", None),
        ([SPACE, TURN], None, None),  # in the order of axes that are not known
        ([SPACE], None, None),
        ([TURN, SPACE | {"pixdim": "@pixdim"}], None, None),
        ([TURN, SPACE | {"pixdim": [1.5, 1.5, 0]}], None, None),
        ([TURN | {"axcodes": "RRR"}, SPACE], None, None),
        ([TURN | {"axcodes": [1, None]}], None, None),
        ([[], 3, None, {"_target_": 4}], None, None),
        ({"a": 1}, None, None),
    ],
)
def test_orientation_and_spacing_of_a_bundle(
    tmp_path: Path, transforms: object, orientation: str | None, spacing: tuple[float, ...] | None
) -> None:
    found = {"preprocessing": {"_target_": "Compose", "transforms": transforms}}
    beside(tmp_path / "bundle", "configs/inference.json", found)
    made = find_preprocessing({}, tmp_path / "bundle" / "models" / "model.pt", 3)
    source = "inference.json" if orientation else ""
    assert made == Stated(source=source, orientation=orientation, spacing=spacing)
    assert find_preprocessing({}, tmp_path / "bundle" / "models" / "model.pt", 2) == Stated()


def test_orientation_and_spacing_of_a_config(tmp_path: Path) -> None:
    for config, orientation, spacing in (
        ({"orientation": "LPS", "spacing": (1, 1, 3)}, "LPS", (1.0, 1.0, 3.0)),
        ({"axcodes": ["R", "A", "S"]}, "RAS", None),
        ({"spacing": [1, 1, 3]}, None, None),
        ({"orientation": "axial", "spacing": [1, 1, 3]}, None, None),
    ):
        made = find_preprocessing({"config": config}, tmp_path / "best.pt", 3)
        assert (made.orientation, made.spacing) == (orientation, spacing)


def test_a_bundle_that_states_its_orientation_is_prepared_by_it(tmp_path: Path) -> None:
    pytest.importorskip("monai")
    model = pellucid.load_model("monai:resnet10-3d", num_classes=2)
    folder = tmp_path / "bundle" / "models"
    folder.mkdir(parents=True)
    torch.save(model.state_dict(), folder / "model.pt")
    silent = info(folder / "model.pt", "monai:resnet10-3d")
    assert (silent.preprocessing, silent.assumed) == (None, ())
    beside(tmp_path / "bundle", "configs/inference.json", {"preprocessing": {"transforms": [TURN, SPACE]}})
    known = info(folder / "model.pt", "monai:resnet10-3d")
    assert known.assumed == (SIZE, VALUES)
    assert (known.preprocessing.orientation, known.preprocessing.spacing) == ("RAS", (1.5, 1.5, 2.0))
    assert known.preprocessing.source == "inference.json, else the network's input size"
    image = {"spatial_shape": [32, 32, 16], "value_range": [0, 1]}
    beside(tmp_path / "bundle", "configs/metadata.json", {"network_data_format": {"inputs": {"image": image}}})
    whole = info(folder / "model.pt", "monai:resnet10-3d")
    assert (whole.assumed, whole.preprocessing.resize) == ((), (32, 32, 16))
    assert whole.preprocessing.source == "metadata.json and inference.json"
    (tmp_path / "bundle" / "configs" / "inference.json").unlink()
    unturned = pellucid.load_model("monai:resnet10-3d", folder / "model.pt")
    assert model_info(unturned).assumed == (ORIENTATION,)
    pixels = torch.rand(1, 8, 9, 10)
    with pytest.warns(PellucidWarning, match="the checkpoint states no orientation and spacing: images of axes as sto"):
        pellucid.prepare(unturned, Image(pixels, pixels, Geometry.identity((8, 9, 10))))
    mine = Preprocessing(channels=1)  # the remedy
    known = pellucid.load_model("monai:resnet10-3d", folder / "model.pt", preprocessing=mine)
    assert pellucid.prepare(known, Image(pixels, pixels, Geometry.identity((8, 9, 10)))).size == (8, 9, 10)


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", "[" * 100_000, '{"size": NaN, "image_mean": [Infinity]}', "7" * 9999, " " * 2**21]
)
def test_broken_settings_beside_it_are_not_stated(tmp_path: Path, content: str) -> None:
    beside(tmp_path, "preprocessor_config.json", content)
    (tmp_path / "config.json").mkdir()
    assert find_preprocessing({}, tmp_path / "best.pt", 2) == Stated()


def test_a_preprocessing_that_is_given_is_what_is_known(tmp_path: Path) -> None:
    mine = Preprocessing((32, 48), None, (0.5,), (0.25,), channels=1, range=(0, 255))
    model = pellucid.load_model("torchvision:resnet18", checkpoint(tmp_path), preprocessing=mine)
    known = model_info(model)
    assert (known.preprocessing, known.assumed, known.input_size) == (mine, (), (1, 32, 48))
    assert known.weights == "checkpoint"
    with pytest.raises(OptionError, match=r"preprocessing must be a pellucid\.Preprocessing, got dict"):
        pellucid.load_model("torchvision:resnet18", preprocessing={"size": 3})
