"""What the network makes of other outputs of a layer: by every road the same as by writing over the layer's output."""

from __future__ import annotations

import collections

import pytest
import torch
from torch import Tensor, nn

import pellucid
from tests.networks import images


def ablated(model: nn.Module, image: Tensor, layer: nn.Module, target: int, run: int) -> Tensor:
    """What the score loses without each channel of a layer's run ``run``, by a hook that writes over it."""

    def score(channel: int | None) -> float:
        calls = []

        def write(_module, _inputs, output):
            calls.append(1)
            if channel is None or len(calls) - 1 != run:
                return None
            output = output.clone()
            index = (..., channel) if output.ndim == 3 else (slice(None), channel)
            output[index] = 0
            return output

        handle = layer.register_forward_hook(write)
        with torch.no_grad():
            found = float(model(image)[0, target])
        handle.remove()
        return found

    count = 12 if isinstance(layer, nn.LayerNorm) else 6
    return torch.tensor([score(None) - score(channel) for channel in range(count)])


class Encoder(nn.Module):
    """Torch's own encoder layers, which in a prediction run on a path of their own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patch = nn.Conv2d(3, 12, 8, 8)
        self.layers = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(12, 4, 24, batch_first=True), 2, enable_nested_tensor=False
        )
        self.head = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(self.patch(x).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize(("part", "target"), [("norm1", 1), ("norm2", 3)])
def test_torchs_own_encoder_layers(part: str, target: int) -> None:
    model, batch, layer = Encoder().eval(), images(2), f"layers.layers.1.{part}"
    found = pellucid.explain(model, batch, "ablationcam", targets=target, layers=[layer])
    activations: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _i, out: activations.append(out.detach()))
    with torch.no_grad():
        model(batch)
    handle.remove()
    for index in range(2):
        weights = ablated(model, batch[index : index + 1], model.get_submodule(layer), target, 0)
        expected = (activations[0][index] @ weights).relu().reshape(4, 4)
        torch.testing.assert_close(found.attributions[index, 0], expected, rtol=1e-3, atol=1e-5)
    assert found.attributions.amax() > 1e-3


class Looping(nn.Module):
    """Runs a layer once, or twice where the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.again = nn.Conv2d(3, 6, 3, stride=4), nn.Conv2d(6, 6, 3, padding=1)
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        for _ in range(1 + int(x.mean() > 0)):
            h = self.again(h).relu()
        return self.fc(h.mean((2, 3)))


def test_how_often_a_layer_runs_is_this_images_own() -> None:
    model = Looping().eval()
    dark, bright = images(1).abs() * -1, images(1).abs()
    for image in (dark, bright, dark):
        runs = 1 + int(image.mean() > 0)
        found = pellucid.explain(model, image, "ablationcam", targets=0, layers=["again"])
        weights = ablated(model, image, model.again, 0, runs - 1)
        h = model.first(image).relu()
        for _ in range(runs):
            h, last = model.again(h).relu(), model.again(h)
        expected = torch.einsum("c,chw->hw", weights, last[0].detach()).relu()
        torch.testing.assert_close(found.attributions[0, 0], expected, rtol=1e-3, atol=1e-5)


class Containers(Looping):
    """A part that answers in a container of its own kind."""

    def __init__(self) -> None:
        super().__init__()
        self.split = nn.Identity()
        self.split.forward = lambda x: collections.defaultdict(list, {"a": x})  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.again(self.split(self.first(x))["a"]).relu().mean((2, 3)))


def test_parts_that_answer_in_containers_of_their_own() -> None:
    model, image = Containers().eval(), images(1)
    found = pellucid.explain(model, image, "ablationcam", targets=0, layers=["again"])
    weights = ablated(model, image, model.again, 0, 0)
    expected = torch.einsum("c,chw->hw", weights, model.again(model.first(image))[0].detach()).relu()
    torch.testing.assert_close(found.attributions[0, 0], expected, rtol=1e-3, atol=1e-5)
