"""Weights files that are refused or read with an assumption: every remedy that a message names gives the network."""

from __future__ import annotations

import gzip
import json
import pickle
import re
import runpy
import shlex
import shutil
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch
import torch.distributed.checkpoint as dcp
import torchvision
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pellucid import load_model
from pellucid.errors import CheckpointError, PellucidError, PellucidWarning
from tests.models.test_checkpoint_zoo import CLASSES, IMAGE, NAME, SPEC, WIDTH, Headed, body, mlp, state_of, varied
from tests.models.test_checkpoint_zoo import under as prefixed


class Pooled(nn.Module):
    """As fastai's head: both kinds of pooling, so that the features are twice as many."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)


class Beside(nn.Module):
    """A network, and a layer beside it that its output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn, self.more = body(), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.cnn(x)


def fastai() -> nn.Module:
    trunk = nn.Sequential(*list(torchvision.models.resnet18().children())[:-2])
    layers = nn.BatchNorm1d(1024), nn.Linear(1024, 16, bias=False), nn.ReLU(), nn.Linear(16, CLASSES, bias=False)
    return nn.Sequential(trunk, nn.Sequential(Pooled(), *layers))


def dino() -> nn.Module:
    head = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), weight_norm(nn.Linear(32, 64, bias=False)))
    return Headed(body(nn.Identity()), head, ("backbone", "head"))


def several() -> nn.Module:
    return timm.create_model("efficientnet_b0", num_classes=CLASSES)


def contrasted() -> nn.Module:
    return body(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 128)))


def unet() -> nn.Module:
    """As of nnU-Net: no classifier of a library."""
    layers = nn.Conv2d(3, 4, 3), nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, CLASSES, 1), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, nn.Flatten())


def saved(content: Callable[[nn.Module], object], name: str = "best.pt") -> Callable[[nn.Module, Path], Path]:
    def write(own: nn.Module, folder: Path) -> Path:
        (folder / name).parent.mkdir(exist_ok=True)
        torch.save(content(own), folder / name)
        return folder / name

    return write


def scripted(own: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(own, IMAGE).save(folder / "best.pt")
    return folder / "best.pt"


def distributed(own: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": own.state_dict()}, checkpoint_id=folder / "sharded", no_dist=True)
    return folder / "sharded"


def deepspeed(own: nn.Module, folder: Path) -> Path:
    saved(lambda own: {"module": own.state_dict()}, "step/mp_rank_00_model_states.pt")(own, folder)
    (folder / "latest").write_text("step")
    return folder


def zipped(own: nn.Module, folder: Path) -> Path:
    with zipfile.ZipFile(folder / "best.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(saved(lambda own: own.state_dict(), "inner.pt")(own, folder), "run/inner.pt")
    return folder / "best.zip"


def gzipped(own: nn.Module, folder: Path) -> Path:
    inner = saved(lambda own: own.state_dict(), "inner.pt")(own, folder)
    (folder / "best.pt.gz").write_bytes(gzip.compress(inner.read_bytes(), 1))
    return folder / "best.pt.gz"


def graph(own: nn.Module, folder: Path) -> Path:
    pytest.importorskip("onnxruntime")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(own, (IMAGE,), str(folder / "best.onnx"), dynamo=False)
    return folder / "best.onnx"


def plain_pickle(own: nn.Module, folder: Path) -> Path:
    (folder / "best.pkl").write_bytes(pickle.dumps({"coef_": [1.0, 2.0], "classes_": ["a", "b"]}))
    return folder / "best.pkl"


def quantised(own: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(torch.ao.quantization.quantize_dynamic(own, {nn.Linear}).state_dict(), folder / "best.pt")
    return folder / "best.pt"


def transformers_folder(own: nn.Module, folder: Path) -> Path:
    own.save_pretrained(folder / "vit")
    return folder / "vit"


def transformers_model() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.ViTConfig(**sizes, image_size=64, num_labels=CLASSES)
    return transformers.ViTForImageClassification(config)


def monai_model() -> nn.Module:
    return pytest.importorskip("monai.networks.nets").resnet10(spatial_dims=2, n_input_channels=3, num_classes=CLASSES)


@dataclass(frozen=True)
class Case:
    """A network, how it is saved, what its message must hold, and its specification where a library has it."""

    build: Callable[[], nn.Module]
    write: Callable[[nn.Module, Path], Path]
    says: str
    spec: str | None = SPEC


def whole(own: nn.Module) -> nn.Module:
    return own


def state(own: nn.Module) -> object:
    return {"epoch": 3, "state_dict": own.state_dict()}


def pair(first: str, second: str) -> Callable[[nn.Module], object]:
    """A network, and another of its kind, by the names of one state."""

    def content(own: nn.Module) -> object:
        other = {key: value + 0.01 for key, value in own.state_dict().items()}
        return {"state_dict": prefixed(first, own.state_dict()) | prefixed(second, other)}

    return content


REFUSED = {
    "TorchScript": Case(body, scripted, "TorchScript"),
    "a pickled network": Case(body, saved(whole), "whole pickled object"),
    "a pickled network under a key": Case(body, saved(lambda own: {"epoch": 1, "model": own}), "whole pickled object"),
    "a zip of a folder": Case(body, zipped, "a zip file with run/inner.pt"),
    "gzip": Case(body, gzipped, "a compressed file"),
    "DeepSpeed's folder": Case(body, deepspeed, "got a folder"),
    "FSDP's folder": Case(body, distributed, "a distributed checkpoint"),
    "transformers' folder": Case(transformers_model, transformers_folder, "spec='hf:"),
    "ONNX": Case(body, graph, "an ONNX graph"),
    "a pickle of something else": Case(body, plain_pickle, "torch.save did not write"),
    "an optimiser alone": Case(
        body, saved(lambda own: {"optimizer": torch.optim.AdamW(own.parameters()).state_dict()}), "got optimizer"
    ),
    "MoCo": Case(contrasted, saved(pair("module.encoder_q.", "module.encoder_k.")), "several networks"),
    "student and teacher": Case(
        body, saved(lambda own: {"student": own.state_dict(), "teacher": state_of(body(), 7)}), "sev"
    ),
    "folds": Case(body, saved(lambda own: [own.state_dict(), state_of(body(), 7)]), "several networks, under 0 "),
    "a head with a norm of its weights": Case(dino, saved(state), "but for the head"),
    "no head": Case(lambda: body(nn.Identity()), saved(state), "there is no head"),
    "fastai": Case(fastai, saved(lambda own: {"model": own.state_dict(), "opt": None}), "but for the head"),
    "another architecture": Case(
        unet, saved(lambda own: {"network_weights": own.state_dict()}), "no known arch|fit no known"
    ),
    "MONAI": Case(monai_model, saved(state), "name it with spec=", "monai:resnet10"),
    "two architectures": Case(several, saved(state), "choose with spec=", "timm:efficientnet_b0"),
    "quantised": Case(body, quantised, "but for the head"),
    "a layer beside": Case(Beside, saved(state), "may be layers of the same network"),
}
ASSUMED = {
    "GELU in the head": Case(lambda: body(mlp(nn.GELU())), saved(state), "the head is taken for"),
    "another ε": Case(lambda: body(mlp(nn.LayerNorm(16, eps=0.1), nn.ReLU())), saved(state), "the head is taken for"),
    "averaged weights": Case(
        body,
        saved(lambda own: {"model": state_of(body(), 7), "model_ema": prefixed("module.", own.state_dict())}),
        "model_ema",
    ),
}


def python(command: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    """Run the command that saves a state dict."""
    words = shlex.split(command)
    assert words[:2] == ["python", "-c"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is to go
        exec(words[2], {})
    return load_model(checkpoint=path.with_name("best-weights.pt"))


def module(command: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    """Run the command that makes one file of several."""
    words = shlex.split(command)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setattr(sys, "argv", [words[2], *words[3:]])
        runpy.run_module(words[2], run_name="__main__")
    return load_model(checkpoint=words[-1])


def factory(_: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    """Write a function that returns the network; with its weights where no file of them can be read."""
    file = path.parent / "own.py"
    file.write_text(
        "import copy\nfrom tests.models import test_checkpoint_remedies as own\ndef factory(): return own.FRESH()\n"
    )
    FRESH.made = own if path in FRESH.unreadable else fresh(own)
    return load_model(f"{file}:factory", None if path in FRESH.unreadable else path)


class Fresh:
    """What a factory in a file of its own returns."""

    def __init__(self) -> None:
        self.made: nn.Module = nn.Identity()
        self.unreadable: set[Path] = set()

    def __call__(self) -> nn.Module:
        return self.made


FRESH = Fresh()


def fresh(own: nn.Module) -> nn.Module:
    """The same network with other weights."""
    import copy

    return varied(copy.deepcopy(own), seed=9)


def keyed(key: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the head of MoCo is assumed
        return load_model(checkpoint=path, weights_key=key)


def named(_: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    return load_model(spec, path)


def model_of(name: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    return load_model(name)


def given(arguments: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    """Give the file, and the model, that a message about a folder names."""
    return load_model(**dict(re.findall(r"(\w+)='([^']+)'", arguments)))


def activated(name: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    return load_model(checkpoint=path, activation=name)


def unpacked(_: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    if path.suffix == ".gz":
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        return load_model(checkpoint=path.with_suffix(""))
    shutil.unpack_archive(path, path.parent / "out")
    return load_model(checkpoint=path.parent / "out/run/inner.pt")


def again(code: str, own: nn.Module, path: Path, spec: str | None) -> nn.Module:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path.parent)
        exec(code, {"torch": torch, "model": own})
        return load_model(checkpoint="weights.pt")


REMEDIES: dict[str, Callable[[str, nn.Module, Path, str | None], nn.Module]] = {
    r"(python -c .*)$": python,
    r"(python -m .*)$": module,
    r"spec='path/to/file\.py:(factory)'": factory,
    r"weights_key='([^']*)'": keyed,
    r"(choose with spec=|name it with spec=)": named,
    r"give spec='(\S+\.onnx)'$": model_of,
    r"; give ((?:spec='\S+', )?checkpoint='[^']+')": given,
    r"(unpack it)": unpacked,
    r"save the network's own: (.*)$": again,
    r"taken for (?:(?!Norm).)*: .*give activation=…, as in activation='(gelu)'": activated,
}


def followed(message: str, case: Case, own: nn.Module, path: Path) -> Iterator[tuple[str, nn.Module]]:
    """Follow each remedy of a message."""
    for pattern, follow in REMEDIES.items():
        if (
            (found := re.search(pattern, message))
            and not (follow is named and case.spec is SPEC)
            and not (follow is named and case.spec is None)
        ):
            yield pattern, follow(found[1], own, path, case.spec)


def scores(output: object) -> Tensor:
    """The logits of what a network returns: of transformers, or of an ONNX graph."""
    (found,) = output.values() if isinstance(output, dict) else (output,)
    return found


def assert_equal(found: nn.Module, own: nn.Module, text: str) -> None:
    with torch.no_grad():
        one, other = (scores(each(IMAGE)) for each in (found, own))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=lambda why: f"{text}: {why}")


@pytest.mark.parametrize("layout", REFUSED)
def test_each_remedy_of_an_error_gives_the_network(tmp_path: Path, layout: str) -> None:
    case = REFUSED[layout]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = varied(case.build())
    path = case.write(own, tmp_path)
    FRESH.unreadable = {path} if layout == "quantised" else set()
    with pytest.raises(CheckpointError, match=case.says) as error:
        load_model(checkpoint=path)
    message = str(error.value)
    assert "\n" not in message
    results = list(followed(message, case, own, path))
    assert results, message
    for text, found in results:
        assert_equal(found, own, text)


@pytest.mark.parametrize("layout", ASSUMED)
def test_each_remedy_of_a_warning_gives_the_network(tmp_path: Path, layout: str) -> None:
    case = ASSUMED[layout]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        own = varied(case.build())
    path = case.write(own, tmp_path)
    with pytest.warns(PellucidWarning, match=case.says) as caught:
        found = load_model(checkpoint=path)
    with pytest.raises(AssertionError):
        assert_equal(found, own, "what was assumed")
    results = list(followed(str(caught[0].message), case, own, path))
    assert results
    for text, right in results:
        assert_equal(right, own, text)


def test_shards_are_one_network(tmp_path: Path) -> None:
    own = varied(body())
    names = list(own.state_dict())
    half = {"a.safetensors": names[: len(names) // 2], "b.safetensors": names[len(names) // 2 :]}
    for file, keys in half.items():
        safetensors.torch.save_file({key: own.state_dict()[key] for key in keys}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    listed = {key: file for file, keys in half.items() for key in keys}
    index.write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    assert_equal(load_model(checkpoint=index), own, NAME)
    for wrong in ({}, {"weight_map": {"a": "../a.safetensors"}}, {"weight_map": {"a": "missing.safetensors"}}):
        index.write_text(json.dumps(wrong))
        with pytest.raises(PellucidError, match=r"give a weights file|copy them there"):
            load_model(checkpoint=index)
