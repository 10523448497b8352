"""Which of a model's answers are the class scores."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    CLIPVisionModelWithProjection,
    ResNetConfig,
    ResNetModel,
    ViTConfig,
    ViTModel,
)

import pellucid
from pellucid.errors import OutputError
from pellucid.models.session.outputs import raw_logits

SCORES, SINGLE, MAP, VECTOR = torch.rand(2, 3), torch.rand(2), torch.rand(2, 3, 4, 4), torch.rand(2, 7)
CASES = [
    ({"features": MAP, "logits": SINGLE}, SINGLE[:, None]),
    ((SINGLE, MAP), SINGLE[:, None]),
    ((MAP, SCORES), SCORES),
    ({"logits": MAP, "embedding": VECTOR}, MAP),
    ({"embedding": VECTOR, "out": SCORES}, SCORES),
    ({"embedding": VECTOR, "scores": SINGLE}, SINGLE[:, None]),
    ({"aux": VECTOR, "out": {"nested": SCORES}}, SCORES),
    (MAP, MAP),
    ((MAP, torch.tensor(0.5)), MAP),
    ([torch.tensor([1, 2]), SCORES], SCORES),
]


@pytest.mark.parametrize(("answer", "expected"), CASES, ids=range(len(CASES)))
def test_the_scores_are_found(answer: object, expected: torch.Tensor) -> None:
    assert torch.equal(raw_logits(answer, 2), expected)


@pytest.mark.parametrize("squeezed", [torch.rand(4), torch.rand(())])
def test_one_image_may_have_lost_its_axes(squeezed: torch.Tensor) -> None:
    map_of_one = torch.rand(1, 5, 4, 4)
    assert torch.equal(raw_logits({"features": map_of_one, "logits": squeezed}, 1), squeezed.reshape(1, -1))


def test_without_scores_the_shapes_are_named() -> None:
    with pytest.raises(OutputError, match=r"got tokens \(2, 3, 4\): wrap the model"):
        raw_logits({"tokens": torch.rand(2, 3, 4)}, 2)


NOT_SCORES = {
    "image_embeds": {"image_embeds": VECTOR},
    "pooler_output": {"last_hidden_state": torch.rand(2, 5, 7), "pooler_output": VECTOR},
    "last_hidden_state": {"last_hidden_state": MAP},
    "features": {"class_maps": MAP, "features": VECTOR},
    "pooled": {"tokens": torch.rand(2, 5, 7), "pooled": VECTOR},
    "hidden_states.0": {"hidden_states": [MAP]},
    "embedding": {"embedding": VECTOR},
    "last_latent": {"last_latent": SINGLE},
    "heads.feats": {"heads": {"feats": VECTOR}},
    "out.tokens": {"out": {"tokens": VECTOR}},
}


@pytest.mark.parametrize("name", NOT_SCORES)
def test_what_is_an_embedding_by_its_name_is_taken_by_name_only(name: str) -> None:
    output = NOT_SCORES[name]
    with pytest.raises(OutputError, match=rf"got .*\(2.*none by its name: .*output='{name}'$") as caught:
        raw_logits(output, 2)
    assert "\n" not in str(caught.value)
    assert len(raw_logits(output, 2, name)) == 2


BY_NAME = [
    ({"last_hidden_state": SCORES}, SCORES),  # as PP-LCNet's classifier in transformers
    ({"features": VECTOR[:, :, None], "disease": SCORES}, SCORES),  # of no shape that scores have
    ({"class_maps": MAP, "tokens": VECTOR[:, :, None]}, MAP),
    ({"feature_scores": SCORES}, SCORES),
    ({"embedding": {"logits": SCORES}}, SCORES),
    ({"pooled_logits": SINGLE}, SINGLE[:, None]),
    ({"same_features": SCORES, "disease": SCORES}, SCORES),
    ({"temperature": SCORES}, SCORES),
]


@pytest.mark.parametrize(("answer", "expected"), BY_NAME, ids=range(len(BY_NAME)))
def test_names_leave_scores_alone(answer: object, expected: Tensor) -> None:
    assert torch.equal(raw_logits(answer, 2), expected)


def test_of_several_tensors_the_message_names_one_that_may_be_scores() -> None:
    with pytest.raises(OutputError, match=r"several tensors .*embedding \(2, 7\).*output='disease'"):
        raw_logits({"embedding": VECTOR, "disease": SCORES}, 2)


SMALL = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
CLIP = CLIPVisionConfig(**SMALL, image_size=32, patch_size=8, projection_dim=9)
ENCODERS: dict[str, tuple[type[nn.Module], object, str, int]] = {
    "CLIP with its projection": (CLIPVisionModelWithProjection, CLIP, "image_embeds", 9),
    "CLIP": (CLIPVisionModel, CLIP, "pooler_output", 16),
    "ViT": (ViTModel, ViTConfig(**SMALL, image_size=32, patch_size=8), "pooler_output", 16),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_of_transformers_has_no_classes(name: str) -> None:
    build, config, output, width = ENCODERS[name]
    torch.manual_seed(0)
    model, batch = build(config).eval(), torch.rand(1, 3, 32, 32)
    with pytest.raises(OutputError, match=rf"{output} \(1, {width}\).*output='{output}'"):
        pellucid.explain(model, batch, "saliency")
    found = pellucid.explain(model, batch, "saliency", 1, output=output, head="regression")
    assert found.values.shape == (1, width)
    torch.testing.assert_close(found.values, model(batch)[output].detach())


def test_the_maps_of_an_encoder_are_no_classes() -> None:
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 5], depths=[1, 1])
    with pytest.raises(OutputError, match=r"last_hidden_state \(1, 5, \d+, \d+\)"):
        pellucid.explain(ResNetModel(config).eval(), torch.rand(1, 3, 64, 64), "saliency")


def test_the_name_of_a_tensor_within_the_scores_is_whole() -> None:
    output = {"logits": {"age": SINGLE, "disease": SCORES}}
    with pytest.raises(OutputError, match=r"output='logits\.age'$"):
        raw_logits(output, 2)
    assert torch.equal(raw_logits(output, 2, "logits.age"), SINGLE[:, None])
