"""Which of a model's answers are the class scores."""

from __future__ import annotations

import pytest
import torch

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
