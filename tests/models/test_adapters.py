"""LoRA adapters: a network with them is explained as it computes; their weights alone are refused with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

import pellucid
from pellucid.errors import CheckpointError
from tests.networks import TinyCNN, TinyViT, images, seeded

RANK, ALPHA = 2, 6


class LoRALayer(nn.Module):
    """As peft's: the layer itself, and the product of two small ones beside it, by the adapter's name."""

    def __init__(self, base_layer: nn.Module, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A, self.lora_B = nn.ModuleDict({"default": down}), nn.ModuleDict({"default": up})
        self.scaling = {"default": ALPHA / RANK}

    def forward(self, x: Tensor) -> Tensor:
        added = self.lora_B["default"](self.lora_A["default"](x))
        return self.base_layer(x) + added * self.scaling["default"]

    def merged(self) -> nn.Module:
        """The layer with what is added to it in its weight."""
        down, up = self.lora_A["default"].weight.data, self.lora_B["default"].weight.data
        self.base_layer.weight.data += self.scaling["default"] * torch.einsum("or...,ri...->oi...", up, down)
        return self.base_layer


class LoRALinear(LoRALayer):
    def __init__(self, base: nn.Linear) -> None:
        up = nn.Linear(RANK, base.out_features, bias=False)
        super().__init__(base, nn.Linear(base.in_features, RANK, bias=False), up)


class LoRAConv2d(LoRALayer):
    def __init__(self, base: nn.Conv2d) -> None:
        down = nn.Conv2d(base.in_channels, RANK, base.kernel_size, base.stride, base.padding, bias=False)
        super().__init__(base, down, nn.Conv2d(RANK, base.out_channels, 1, bias=False))


class LoRAModel(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *args: Tensor) -> Tensor:
        return self.model(*args)


class PeftModel(nn.Module):
    """As peft's: the network is ``base_model.model``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear:
                    setattr(module, name, LoRALinear(child))
                if type(child) is nn.Conv2d and child.groups == 1:
                    setattr(module, name, LoRAConv2d(child))
        self.base_model = LoRAModel(model)

    def forward(self, *args: Tensor) -> Tensor:
        return self.base_model(*args)

    def merge_and_unload(self) -> nn.Module:
        model = self.base_model.model
        for module in list(model.modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, LoRALayer):
                    setattr(module, name, child.merged())
        return model


def resnet() -> nn.Module:
    return torchvision.models.resnet18(num_classes=4)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "cnn": TinyCNN,
    "vit": TinyViT,
    "torchvision": resnet,
    "timm": lambda: timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=4),
}
METHODS = {"cnn": ("gradcam", "fullgrad", "ablationcam"), "vit": ("gradcam", "rollout", "attnlrp")}


def adapted(name: str) -> PeftModel:
    return seeded(lambda: PeftModel(NETWORKS[name]())).eval()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_with_adapters_is_explained_as_the_merged_one(name: str) -> None:
    model, merged, batch = adapted(name), adapted(name).merge_and_unload(), images(1, side=32)
    torch.testing.assert_close(model(batch), merged(batch), rtol=1e-4, atol=1e-4)
    for method in METHODS.get(name, ("gradcam",)):
        found = pellucid.explain(model, batch, method=method)
        # At the same layer: of an untrained network, rounding may decide which has enough of the score.
        layers = [layer.removeprefix("base_model.model.") for layer in found.layers]
        expected = pellucid.explain(merged, batch, method=method, **({"layers": layers} if layers else {}))
        torch.testing.assert_close(found.heatmaps, expected.heatmaps, rtol=1e-3, atol=1e-3)


def adapters(model: nn.Module) -> dict[str, Tensor]:
    """As peft saves them: without the adapter's name."""
    return {key.replace(".default", ""): value for key, value in model.state_dict().items() if "lora_" in key}


LAYOUTS: dict[str, Callable[[PeftModel], dict[str, Tensor]]] = {
    "adapter": adapters,
    "whole": lambda model: model.state_dict(),
    "without the wrapper": lambda model: model.base_model.model.state_dict(),
    "another kind": lambda model: {key.replace("lora_", "hada_"): one for key, one in adapters(model).items()},
}
NOT_ALONE = r"a network's weights were expected, got an adapter's \(.*(lora|hada|adapter_config).*merge_and_unload\(\)"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["vit", "torchvision", "timm"])
def test_weights_with_adapters_are_refused(name: str, layout: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save({"state_dict": LAYOUTS[layout](adapted(name))}, path)
    for spec in (None, "torchvision:resnet18"):
        with pytest.raises(CheckpointError, match=NOT_ALONE) as raised:
            pellucid.load_model(spec, checkpoint=path)
        assert "\n" not in str(raised.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file(adapters(adapted("torchvision")), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA}))
    return tmp_path


@pytest.mark.parametrize("file", ["adapter_model.safetensors", "adapter_config.json", ""])
def test_an_adapters_folder_and_its_files_are_refused(folder: Path, file: str) -> None:
    with pytest.raises(CheckpointError, match=NOT_ALONE):
        pellucid.load_model("torchvision:resnet18", checkpoint=folder / file)


def test_an_adapters_folder_is_no_transformers_model(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=NOT_ALONE):
        pellucid.load_model(f"hf:{folder}", weights="default")


def test_the_remedy_is_one(tmp_path: Path) -> None:
    merged = adapted("torchvision").merge_and_unload()
    torch.save(merged.state_dict(), tmp_path / "merged.pt")
    loaded = pellucid.load_model("torchvision:resnet18", checkpoint=tmp_path / "merged.pt")
    torch.testing.assert_close(loaded(images(1)), merged(images(1)))


def test_a_layer_named_like_a_part_of_an_adapter_is_none(tmp_path: Path) -> None:
    model = timm.create_model("dla46_c", num_classes=3)  # it has a base_layer
    torch.save(model.state_dict(), tmp_path / "dla.pt")
    loaded = pellucid.load_model("timm:dla46_c", checkpoint=tmp_path / "dla.pt")
    torch.testing.assert_close(loaded(images(1, side=64)), model.eval()(images(1, side=64)))
