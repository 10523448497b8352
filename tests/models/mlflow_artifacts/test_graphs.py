"""Graphs in the ONNX format on a real MLflow server, with their weights in one file or two; and hostile ones."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import pellucid
from pellucid.errors import CheckpointError, SourceError, TransferError
from tests.mlflow_server import Server
from tests.models.mlflow_artifacts.conftest import Published, small

pytestmark = pytest.mark.usefixtures("on_the_server")
CLASSES = ("effusion", "nodule", "none")
IMAGES = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
FORMS = ["models:/graph/1", "models:/graph/latest", "models:/one_file/1", "models:/{graph}", "models:/{one_file}"]


@pytest.fixture
def graph(published: Published, mlflow_server: Server) -> Iterator[Path]:
    """The folder with the graph of two files as the server keeps it, which is restored afterwards."""
    (path,) = (mlflow_server.folder / "artifacts").rglob(f"{published.graph}/**/model.onnx")
    before = {file.name: file.read_bytes() for file in path.parent.iterdir() if file.is_file()}
    yield path.parent
    for file in path.parent.iterdir():
        if file.is_file():
            file.unlink()
    for name, content in before.items():
        (path.parent / name).write_bytes(content)


def apart(folder: Path) -> Path:
    """The file with the graph's weights, which MLflow names by a number."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    (name,) = {entry.value for one in model.graph.initializer for entry in one.external_data if entry.key == "location"}
    return folder / name


def moved(folder: Path, location: str, **more: str) -> None:
    """Let the graph state its weights elsewhere."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    for one in model.graph.initializer:
        for entry in one.external_data:
            entry.value = {"location": location, **more}.get(entry.key, entry.value)
    (folder / "model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_those_of_the_network_and_of_onnxruntime(published: Published, form: str) -> None:
    found = pellucid.load_model(form.format(graph=published.graph, one_file=published.one_file))
    network = small()
    network.load_state_dict(torch.load(published.folder / "small.pt", weights_only=True))
    plain = onnxruntime.InferenceSession(str(published.folder / "graph.onnx"), providers=["CPUExecutionProvider"])
    (expected,) = plain.run(["logits"], {"image": IMAGES.numpy()})
    logits = found(IMAGES)["logits"]
    torch.testing.assert_close(logits, torch.from_numpy(expected), rtol=0, atol=0)
    torch.testing.assert_close(logits, network(IMAGES), rtol=0, atol=1e-5)


def test_it_is_explained_with_the_classes_that_are_stated(published: Published) -> None:
    model = pellucid.load_model("models:/graph/1")
    info = pellucid.model_info(model)
    assert info.classes == CLASSES
    assert info.preprocessing.mean == (0.5,) * 3
    assert (info.preprocessing.resize, info.input_size) == ((32, 32), (3, 32, 32))
    found = pellucid.explain(model, IMAGES[:1], "occlusion", "nodule", head="softmax")
    assert found.targets.tolist() == [[1]]
    torch.testing.assert_close(found.logits, model(IMAGES[:1])["logits"], rtol=0, atol=1e-6)


def test_the_digest_is_of_both_files(published: Published, graph: Path) -> None:
    info = pellucid.model_info(pellucid.load_model("models:/graph/latest"))
    content = (graph / "model.onnx").read_bytes() + apart(graph).read_bytes()
    assert info.checkpoint_sha256 == hashlib.sha256(content).hexdigest()
    assert (info.registered, info.weights) == ("models:/graph/1", "checkpoint")
    assert dict(info.origin)["file"] == "model.onnx"
    before = info.checkpoint_sha256
    apart(graph).write_bytes(bytes(apart(graph).stat().st_size))
    assert pellucid.model_info(pellucid.load_model("models:/graph/1")).checkpoint_sha256 != before


def test_it_has_no_weights_for_another_network(published: Published) -> None:
    with pytest.raises(SourceError, match="number of classes is fixed"):
        pellucid.load_model("models:/graph/1", num_classes=3)
    with pytest.raises(CheckpointError, match="got a graph, which is a whole network"):
        pellucid.load_model("torchvision:resnet18", checkpoint="models:/graph/1")


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("../secret", "which may be elsewhere"),
        ("/etc/passwd", "which may be elsewhere"),
        ("a/../../secret", "which may be elsewhere"),
        ("C:\\secret", "which may be elsewhere"),
        ("*/_ORT_MEM_ADDR_/*", "which may be elsewhere"),
        ("elsewhere", "stated in 'elsewhere', which is not among its artifacts"),
        ("a/b/c", "stated in 'a/b/c', which is not among its artifacts"),
    ],
)
def test_weights_that_are_stated_elsewhere(published: Published, graph: Path, location: str, reason: str) -> None:
    (graph.parent / "secret").write_bytes(apart(graph).read_bytes())
    moved(graph, location)
    with pytest.raises(SourceError, match=reason) as raised:
        pellucid.load_model("models:/graph/1")
    (graph.parent / "secret").unlink()
    assert len(str(raised.value).splitlines()) == 1
    assert "pellucid-" not in str(raised.value)


def sparse(folder: Path) -> None:
    """Weights of 16 GiB that take no room on the server's disk."""
    with apart(folder).open("r+b") as file:
        file.truncate(2**34)


def too_long(folder: Path) -> None:
    moved(folder, apart(folder).name, length=str(2**60))


def huge(folder: Path) -> None:
    """A tensor of 2^50 numbers in a few bytes."""
    model = onnx.load(folder / "model.onnx", load_external_data=False)
    model.graph.initializer[0].dims[0] = 2**50
    (folder / "model.onnx").write_bytes(model.SerializeToString())


def deep(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (sparse, "has 17,179,869,184 bytes; at most"),
        (too_long, "weights are stated at 0 to 1,152,921,504,606,846,976 of a file of"),
        (huge, "it is broken"),
        (deep, "it is broken"),
    ],
)
def test_sizes_that_are_stated(
    published: Published, graph: Path, make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    make(graph)
    with pytest.raises((SourceError, TransferError), match=reason) as raised:
        pellucid.load_model("models:/graph/1")
    assert len(str(raised.value).splitlines()) == 1


def test_nothing_is_left_and_nothing_is_read_in_the_current_folder(
    published: Published, graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where onnxruntime looks for the files of a graph that it gets as bytes."""
    name = apart(graph).name
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(apart(graph).read_bytes())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "private"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "private").mkdir()
    assert pellucid.load_model("models:/graph/1")(IMAGES)["logits"].shape == (3, 3)
    apart(graph).unlink()
    with pytest.raises(SourceError, match="not among its artifacts"):
        pellucid.load_model("models:/graph/1")
    assert list((tmp_path / "private").iterdir()) == []
