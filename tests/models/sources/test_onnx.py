"""Graphs in the ONNX format: explained by what needs the scores alone, and refused in one line otherwise."""

import hashlib
import json
import sys
import warnings

import onnx
import pytest
import skimage.data
import torch
from onnx import TensorProto, helper
from PIL import Image as Pillow
from torch import nn
from typer.testing import CliRunner

import pellucid
from pellucid.cli.main import app
from pellucid.errors import (
    GradientError,
    MissingPackageError,
    NoAttentionError,
    NoSpatialLayerError,
    ShapeError,
    SourceError,
)
from pellucid.methods import RISE, Occlusion
from tests.networks import TinyCNN, images, seeded


def written(model: nn.Module, path, batch: int | None = None, side: int | None = 32) -> str:
    """The model as torch writes it: of any number of images, or of ``batch``; of any size, or of ``side``."""
    free = {0: "batch"} if batch is None else {}
    free |= {2: "height", 3: "width"} if side is None else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (images(batch or 2, side=side or 32),),
            str(path),
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": free, "logits": {0: "batch"} if batch is None else {}},
        )
    return str(path)


def apart(path: str) -> str:
    """The same graph with its weights in a file beside it, as exporters write large ones."""
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    return path


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_it_is_explained_as_the_network_that_it_was_made_from(model, tmp_path, batch):
    graph = pellucid.load_model(written(model, tmp_path / "net.onnx", batch))
    for method in (Occlusion(window=8, stride=4), RISE(masks=30)):
        one, other = (pellucid.explain(each, images(3), method=method, targets="all") for each in (graph, model))
        torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=0, atol=1e-3)


def test_weights_beside_the_graph(model, tmp_path, monkeypatch):
    path = written(model, tmp_path / "net.onnx")
    whole = pellucid.load_model(path)
    monkeypatch.chdir(tmp_path.parent)
    parts = pellucid.load_model(apart(path))
    torch.testing.assert_close(parts(images(3))["logits"], whole(images(3))["logits"], rtol=0, atol=0)
    both = (tmp_path / "net.onnx").read_bytes() + (tmp_path / "w.bin").read_bytes()
    assert pellucid.model_info(parts).checkpoint_sha256 == hashlib.sha256(both).hexdigest()
    assert (tmp_path / "w.bin").stat().st_size > 1000


def test_what_is_known_of_it(model, tmp_path):
    info = pellucid.model_info(pellucid.load_model("onnx:" + written(model, tmp_path / "net.onnx")))
    assert (info.input_size, info.weights, info.preprocessing) == ((3, 32, 32), None, None)
    assert info.checkpoint_sha256 == hashlib.sha256((tmp_path / "net.onnx").read_bytes()).hexdigest()
    free = pellucid.load_model(written(model, tmp_path / "free.onnx", side=None))
    assert pellucid.model_info(free).input_size is None


@pytest.mark.parametrize(
    ("method", "error"),
    [("gradcam", NoSpatialLayerError), ("saliency", GradientError), ("rollout", NoAttentionError)],
)
def test_other_methods_name_those_that_work(model, tmp_path, method, error):
    graph = pellucid.load_model(written(model, tmp_path / "net.onnx"))
    with pytest.raises(error) as caught:
        pellucid.explain(graph, images(1), method=method)
    assert "occlusion or rise" in str(caught.value) or method == "rollout"
    assert "\n" not in str(caught.value)


def test_the_command_line_takes_it(model, tmp_path):
    Pillow.fromarray(skimage.data.chelsea()).resize((60, 40)).save(tmp_path / "cat.png")
    words = ["explain", str(tmp_path / "cat.png"), "--model", written(model, tmp_path / "net.onnx")]
    words += ["--method", "occlusion", "--output", str(tmp_path / "out")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pellucid.PellucidWarning)
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    facts = json.loads((tmp_path / "out" / "cat_metadata.json").read_text())
    assert facts["model"]["spec"].endswith("net.onnx")
    with Pillow.open(tmp_path / "out" / "cat_overlay.png") as overlay:
        assert overlay.size[0] >= 60


def two_inputs(path) -> None:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in "abc"]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "sum", values[:2], values[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def without_its_weights(path) -> None:
    apart(written(seeded(TinyCNN), path))
    path.with_name("w.bin").unlink()


def with_a_link_elsewhere(path) -> None:
    apart(written(seeded(TinyCNN), path))
    outside = path.parent.with_name("outside.bin")
    path.with_name("w.bin").rename(outside)
    path.with_name("w.bin").symlink_to(outside)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_bytes(b"not a graph"), "it is broken"),
        (without_its_weights, r"its weights are stated in 'w\.bin', which is no file in its folder"),
        (with_a_link_elsewhere, r"its weights are stated in 'w\.bin', which is no file in its folder"),
        (two_inputs, "a graph with one input of floats, the images, is needed, got a: tensor.*, b: tensor"),
    ],
    ids=["none", "broken", "without weights", "link", "two inputs"],
)
def test_what_cannot_be_loaded_is_one_line(tmp_path, make, text):
    path = tmp_path / "graphs" / "net.onnx"
    path.parent.mkdir()
    make(path)
    with pytest.raises(SourceError, match=text) as caught:
        pellucid.load_model(str(path))
    assert "\n" not in str(caught.value)


def maps_of_numbers(path) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    out = helper.make_tensor_value_info("y", TensorProto.INT64, [1, 1, 8, 8])
    graph = helper.make_graph([helper.make_node("ArgMax", ["x"], ["y"], axis=1)], "places", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def test_answers_that_are_no_floats_are_refused(tmp_path):
    maps_of_numbers(tmp_path / "net.onnx")
    with pytest.raises(SourceError, match=r"returns a tensor of floats is needed, got tensor\(int64\)"):
        pellucid.load_model(str(tmp_path / "net.onnx"))


@pytest.mark.parametrize("shape", [(1, 3, 16, 16), (1, 1, 32, 32), (1, 32, 32, 3), (1, 3, 4, 32, 32)])
def test_images_that_it_does_not_take_are_one_line(model, tmp_path, shape):
    graph = pellucid.load_model(written(model, tmp_path / "net.onnx"))
    with pytest.raises(ShapeError, match="the ONNX graph does not take them") as caught:
        pellucid.explain(graph, torch.randn(shape), method="occlusion")
    assert "\n" not in str(caught.value)


def test_what_it_does_not_take(model, tmp_path):
    path = written(model, tmp_path / "net.onnx")
    with pytest.raises(SourceError, match="leave out num_classes"):
        pellucid.load_model(path, num_classes=3)
    torch.save({"model_state_dict": model.state_dict()}, tmp_path / "best.pt")
    with pytest.raises(SourceError, match="leave out the checkpoint"):
        pellucid.load_model(path, checkpoint=tmp_path / "best.pt")


def test_the_package_that_is_missing_is_named(model, tmp_path, monkeypatch):
    path = written(model, tmp_path / "net.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingPackageError, match=r"needs onnxruntime.*pellucid\[onnx\]"):
        pellucid.load_model(path)
