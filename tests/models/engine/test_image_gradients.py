"""What asks for gradients at the picture records what depends on it, and nothing of the parameters."""

from __future__ import annotations

import pytest
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from torch import Tensor, nn

import pellucid
from tests.memory import peak
from tests.networks import TinyCNN, TinyViT, images, seeded

IMAGE_METHODS = ["saliency", "input_x_gradient", "fullgrad", "integrated_gradients", "guided_backprop"]


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
@pytest.mark.parametrize("method", IMAGE_METHODS)
def test_the_head_is_that_of_the_pass(method: str, head: str) -> None:
    model = seeded(TinyCNN)
    found = pellucid.explain(model, images(2), method=method, head=head)
    expected = found.logits.softmax(1) if head == "softmax" else found.logits.sigmoid()
    assert found.head == head
    torch.testing.assert_close(found.probabilities, expected)
    assert pellucid.explain(model, images(2), method=method).head == "softmax"


@pytest.mark.parametrize("method", IMAGE_METHODS)
def test_a_model_to_be_trained_takes_no_more_than_a_frozen_one(method: str) -> None:
    training, still = seeded(TinyCNN), seeded(TinyCNN).requires_grad_(False)
    taken = []
    for model in (training, still):
        pellucid.explain(model, images(4), method=method)
        taken.append(peak(lambda model=model: pellucid.explain(model, images(4), method=method)))
    assert taken[0] <= 1.02 * taken[1]


@pytest.mark.parametrize("build", [SwinTransformer, SwinTransformerV2])
def test_full_gradients_of_windows_are_each_images_own(build: type[nn.Module]) -> None:
    """A window's linear layers have a batch of windows; what SwinV2 makes of its table of positions is of no image."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build(img_size=32, patch_size=4, embed_dim=16, depths=(2, 1), num_heads=(2, 2), window_size=4)
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter)
    whole = pellucid.explain(model, images(3), method="fullgrad", targets=[1, 2, 3])
    for index in range(3):
        alone = pellucid.explain(model, images(3)[index : index + 1], method="fullgrad", targets=index + 1)
        torch.testing.assert_close(whole.attributions[index], alone.attributions[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(
            whole.checks["completeness_gap"][index], alone.checks["completeness_gap"][0], rtol=1e-4, atol=1e-4
        )


def test_full_gradients_of_torchs_own_encoder_whichever_axis_is_the_images() -> None:
    class Encoder(TinyViT):
        def __init__(self, first: bool) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(24, 3, 32, batch_first=first, norm_first=True)
            self.first = first
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            for parameter in self.blocks.parameters():
                nn.init.normal_(parameter, std=0.2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            x = self.blocks(x) if self.first else self.blocks(x.transpose(0, 1)).transpose(0, 1)
            return self.head(self.norm(x)[:, 0])

    one, other = seeded(Encoder, True).eval(), seeded(Encoder, False).eval()
    other.load_state_dict(one.state_dict())
    for batch in (images(2), images(17)):  # as many images as tokens, too
        found = [pellucid.explain(model, batch, method="fullgrad", targets=1) for model in (one, other)]
        torch.testing.assert_close(found[0].attributions, found[1].attributions, rtol=1e-4, atol=1e-5)
        gaps = [each.checks["completeness_gap"] for each in found]
        torch.testing.assert_close(gaps[0], gaps[1], rtol=1e-4, atol=1e-4)
