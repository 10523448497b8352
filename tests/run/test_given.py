"""What is taken as images and as a model; of everything else the message says what to write, and that works."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pydicom
import pydicom.data
import pytest
import torch
from torch import nn
from torchvision import transforms

import pellucid
from pellucid.errors import OptionError, PellucidError, ShapeError, SourceError
from pellucid.models.sources.known import state_preprocessing
from tests.networks import TinyCNN, images, seeded

PREPARING = pellucid.Preprocessing(resize=(24, 24), mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A network whose preprocessing is known; loaded, since ``prepare`` asks what ``load_model`` made."""
    made = seeded(TinyCNN).eval()
    state_preprocessing(made, PREPARING)
    return made


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (40, 32, 3), np.uint8)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    """What the network gets of pixels (H, W, C), by torchvision."""
    steps = [transforms.ToTensor(), transforms.Resize((24, 24), antialias=True), transforms.Normalize([0.5], [0.25])]
    return transforms.Compose(steps)(pixels)[None]


def equal(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    torch.testing.assert_close(one.logits, other.logits, atol=1e-4, rtol=0)
    torch.testing.assert_close(one.heatmaps, other.heatmaps, atol=1e-3, rtol=0)


def test_an_array_of_pixels_is_prepared_as_torchvision_does(model: nn.Module, pixels: np.ndarray) -> None:
    before = pixels.copy()
    found = pellucid.explain(model, pixels)
    equal(found, pellucid.explain(model, as_tensor(pixels)))
    assert (pixels == before).all()
    assert [image.size for image in found.images] == [(24, 24)]
    assert found.images[0].original.size == (40, 32)
    grey = pellucid.explain(model, pixels[..., 0])
    equal(grey, pellucid.explain(model, as_tensor(pixels[..., :1].repeat(3, axis=2))))
    equal(grey, pellucid.explain(model, pixels[..., :1]))
    equal(grey, pellucid.Explainer(model)(pixels[..., 0][::-1][::-1]))


def test_images_are_prepared_unless_they_are(model: nn.Module, pixels: np.ndarray, tmp_path: Path) -> None:
    PIL.Image.fromarray(pixels).save(tmp_path / "a.png")
    read = pellucid.read_image(tmp_path / "a.png")
    prepared = pellucid.prepare(model, read)
    expected = pellucid.explain(model, prepared.values[None])
    assert expected.images == ()
    for given in (read, prepared, [read], (prepared,), [pixels]):
        equal(pellucid.explain(model, given), expected)
    several = pellucid.explain(model, [read, prepared, pixels], targets=[0, 1, 2])
    assert several.targets.tolist() == [[0], [1], [2]]
    assert len(several.images) == len(several.by_layer["features.4"].images) == 3
    own = PREPARING(read)
    equal(pellucid.explain(seeded(TinyCNN).eval(), own), expected)


def test_an_array_of_floats_is_the_network_s_input(model: nn.Module) -> None:
    values = images(2).numpy()
    for one in (values[0], values[0].astype(np.float64)):
        found = pellucid.explain(model, one)
        equal(found, pellucid.explain(model, images(2)[:1]))
        assert found.images == ()
    equal(pellucid.explain(model, list(values)), pellucid.explain(model, images(2)))


def test_the_images_go_with_the_maps_and_into_no_file(model: nn.Module, pixels: np.ndarray, tmp_path: Path) -> None:
    made = [PREPARING(pellucid.prepare(model, one).original) for one in scans(tmp_path)]
    found = pellucid.explain(model, [*made, pixels])
    assert [image.original.size for image in found[[2, 0]].images] == [(40, 32), (128, 128)]
    assert [image.original.size for image in found[1:].images] == [(128, 128), (40, 32)]
    assert [len(one.images) for one in found] == [1, 1, 1]
    assert len(pellucid.Explanation.cat([found, found[0]]).images) == 4
    assert pellucid.Explanation.cat([found, pellucid.explain(model, made[0].values[None])]).images == ()
    found.save(tmp_path / "a.npz")
    again = pellucid.load_explanation(tmp_path / "a.npz")
    assert again.images == pickle.loads(pickle.dumps(found)).images == ()
    assert len(again.with_images([*made, made[0]]).images) == 3
    name = str(made[0].original.instances[0].header.PatientName)
    assert name
    assert not any(image.instances or image.original.instances for image in found.images)
    assert name not in repr(found) + repr(found.images) + str(pickle.dumps(found))
    with pytest.raises(ShapeError, match=r"3 images of \(24, 24\) were explained, got 1 of \(24, 24\)"):
        again.with_images(made[:1])


def scans(folder: Path) -> list[pellucid.Image]:
    path = pydicom.data.get_testdata_file("CT_small.dcm", download=False)
    return [pellucid.read_image(path), pellucid.read_image(path)]


def test_one_line_says_what_things_are(model: nn.Module) -> None:
    (scan, _) = scans(Path())
    assert repr(scan) == "Image(1×128×128)"
    assert repr(PREPARING(scan)) == "Image(3×24×24, prepared from 1×128×128)"
    stated = "Preprocessing(resize=(24, 24), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))"
    assert repr(PREPARING) == stated
    assert eval(stated, {"Preprocessing": pellucid.Preprocessing}) == PREPARING
    info = pellucid.model_info(pellucid.load_model("torchvision:resnet18"))
    assert repr(info) == (
        "ModelInfo(spec='torchvision:resnet18', classes=<1000 names>, preprocessing=<torchvision "
        "ResNet18_Weights.IMAGENET1K_V1>, weights='random', input_size=(3, 224, 224))"
    )
    assert "classes=('a', 'b')" in repr(pellucid.ModelInfo(classes=("a", "b")))


BAD_ARRAYS = [
    (np.zeros((3, 40, 32), np.uint8), "image.transpose(1, 2, 0)"),
    (np.zeros((3, 40, 3), np.uint8), "image.transpose(1, 2, 0)"),
    (np.zeros((40, 32, 4), np.uint8), "image[..., :3]"),
    (np.zeros((2, 40, 32, 3), np.uint8), "list(images)"),
    (np.zeros((40, 32, 3)), "image.transpose(2, 0, 1)"),
    (np.zeros((40, 32, 3)), "(255 * image).round().astype('uint8')"),
    (np.zeros((3, 40, 3), np.float32), "image.transpose(2, 0, 1)"),
    (np.zeros((2, 3, 32, 32)), "torch.tensor(images)"),
    (images(1)[0], "images[None]"),
    ([images(1)[0]], "torch.stack(images)"),
    ((images(1), torch.tensor([1])), "batch[0]"),
    (PIL.Image.new("RGB", (40, 32)), "numpy.asarray(image)"),
    (PIL.Image.new("RGBA", (40, 32)), "numpy.asarray(image.convert('RGB'))"),
]


@pytest.mark.parametrize(("given", "remedy"), BAD_ARRAYS)
def test_what_is_ambiguous_is_refused_with_a_remedy_that_works(model: nn.Module, given: object, remedy: str) -> None:
    with pytest.raises(ShapeError) as caught:
        pellucid.explain(model, given)
    assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    names = {"image": given, "images": given, "batch": given, "torch": torch, "numpy": np}
    assert pellucid.explain(model, eval(remedy, names)).heatmaps.ndim == 4


@pytest.mark.parametrize(
    ("given", "part"),
    [
        (np.zeros((40, 32), np.uint16), "got uint16 (40, 32): read files with pellucid.read_image"),
        (np.zeros((40, 32)), "one channel write image[None]"),
        (np.zeros((9, 40, 32), np.uint8), "of a volume give the model's input as a tensor"),
        (np.zeros((0, 32), np.uint8), "an array (H, W), (H, W, 1) or (H, W, 3) of uint8"),
        (np.zeros(5), "an array (C, H, W) of floats"),
        (np.array(["a"]), "an array of uint8 (pixels) or of floats"),
        ([], "give at least one image"),
        ([None], "got list"),
        ([PIL.Image.new("L", (4, 4))], "of each, write numpy.asarray(image)"),
        (PIL.Image.new("I;16", (4, 4)), "pellucid.read_image(path)"),
        (torch.utils.data.DataLoader([1]), "next(iter(loader))[0]"),
        (nn.ReLU(), "the model comes first"),
        (transforms.ToTensor(), "pellucid.explain(model, transform(image)[None])"),
        (SimpleNamespace(image_processor=1), "its model comes first"),
    ],
)
def test_what_is_no_image(model: nn.Module, given: object, part: str) -> None:
    with pytest.raises(ShapeError) as caught:
        pellucid.explain(model, given)
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_of_several_sizes(model: nn.Module) -> None:
    with pytest.raises(ShapeError, match=r"2 of one size were expected, got sizes \(3, 8, 8\) and \(3, 9, 8\)"):
        pellucid.explain(model, [np.zeros((3, 8, 8)), np.zeros((3, 9, 8))])


def test_paths_files_and_datasets_are_read_first(model: nn.Module, pixels: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.fromarray(pixels).save(path)
    expected = pellucid.explain(model, pixels)
    for given in (str(path), path):
        call = remedy_of(lambda given=given: pellucid.explain(model, given))
        equal(eval(call, {"pellucid": pellucid, "model": model}), expected)
    with path.open("rb") as file:
        call = remedy_of(lambda: pellucid.explain(model, file))
        equal(eval(call, {"pellucid": pellucid, "model": model, "file": file}), expected)
    with pytest.raises(ShapeError) as caught:
        pellucid.explain(model, file := io.BytesIO(path.read_bytes()))
    call = str(caught.value).partition("write ")[2]
    equal(pellucid.explain(model, eval(call, {"numpy": np, "PIL": PIL, "file": file})), expected)
    scan = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    call = remedy_of(lambda: pellucid.explain(model, scan))
    assert eval(call, {"pellucid": pellucid, "model": model, "dataset": scan}).images[0].original.size == (128, 128)
    scan.filename = None
    with pytest.raises(ShapeError, match=r"dataset\.save_as\('image\.dcm'\)"):
        pellucid.explain(model, scan)
    with pytest.raises(ShapeError, match=r"pellucid\.read_series\("):
        pellucid.explain(model, tmp_path)


def remedy_of(call) -> str:
    with pytest.raises(PellucidError) as caught:
        call()
    text = str(caught.value)
    return text[text.index("pellucid.") :]


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ("resnet18", "pellucid.load_model('torchvision:resnet18')"),
        ("vit_tiny_patch16_224", "pellucid.load_model('timm:vit_tiny_patch16_224')"),
        ("mine", "as pellucid.load_model('torchvision:resnet18')"),
        (TinyCNN, "create it, TinyCNN()"),
        (seeded, "call it, seeded()"),
        (nn.Linear(2, 2).state_dict(), "pellucid.load_model(checkpoint=path)"),
        (torch.zeros(1), "the model comes first"),
    ],
)
def test_what_is_no_model(given: object, part: str) -> None:
    with pytest.raises(OptionError) as caught:
        pellucid.explain(given, images(1))
    assert part in str(caught.value)
    if part.startswith("pellucid.load_model('"):
        assert isinstance(eval(part, {"pellucid": pellucid}), nn.Module)


def test_a_pipeline_has_its_network_within(model: nn.Module) -> None:
    """transformers' pipelines have ``model`` and ``image_processor``."""

    def process(image: np.ndarray, return_tensors: str) -> dict[str, torch.Tensor]:
        assert return_tensors == "pt"
        return {"pixel_values": as_tensor(image)}

    pipe = SimpleNamespace(model=model, image_processor=process)
    image = np.zeros((9, 9, 3), np.uint8)
    call = remedy_of(lambda: pellucid.explain(pipe, image))
    equal(eval(call, {"pellucid": pellucid, "pipe": pipe, "image": image}), pellucid.explain(model, image))


def test_a_model_without_preprocessing_takes_prepared_images(pixels: np.ndarray, model: nn.Module) -> None:
    plain = seeded(TinyCNN).eval()
    with pytest.raises(SourceError, match=r"pellucid\.Preprocessing\(resize=…, mean=…, std=…\)\(image\)"):
        pellucid.explain(plain, pixels)
    equal(pellucid.explain(plain, pellucid.explain(model, pixels).images[0]), pellucid.explain(model, pixels))
