"""The share of the score that passes through a layer, against a computation by hand, and where it is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.passage import PAIRS, Passage, share
from pellucid.models.discovery.scenes import scenes, without_details
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, images, seeded


class TwoWays(nn.Module):
    """Two branches whose scores are added, the second ``weight`` times."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.one, self.two = (nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU()) for _ in range(2))
        self.fc_one, self.fc_two = nn.Linear(4, 2), nn.Linear(4, 2)
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.fc_one(self.one(x).mean((2, 3))), self.fc_two(self.two(x).mean((2, 3)))
        return one + self.weight * two


def measured(model: nn.Module, *layers: str, batch_size: int = 32) -> float | None:
    session = Session.of(model, Runtime(batch_size=batch_size))
    return share(session, Inputs.of(images(1)), layers)


def by_hand(model: TwoWays) -> float:
    """1 − Σ (s(x | A(ref)) − s(ref))² / Σ (s(x) − s(ref))² of the first branch, written out."""
    looked_at = scenes(range(PAIRS), images(1))
    reference = without_details(looked_at[:1])
    with torch.no_grad():
        held = model.fc_one(model.one(reference).mean((2, 3))) + model.weight * model.fc_two(
            model.two(looked_at).mean((2, 3))
        )
        score = model(reference)
        return 1 - float((held - score).square().sum() / (model(looked_at) - score).square().sum())


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_branch_has_the_share_that_is_computed_by_hand(weight: float) -> None:
    model = seeded(TwoWays, weight).eval()
    assert measured(model, "one") == pytest.approx(max(0.0, by_hand(model)), abs=1e-5)


def test_both_branches_together_have_all_and_none_alone() -> None:
    model = seeded(TwoWays, 1.0).eval()
    assert measured(model, "one", "two") == pytest.approx(1)
    assert measured(model, "one") < 0.9
    assert measured(model, "two") < 0.9


def test_every_layer_of_a_chain_has_all() -> None:
    model = seeded(TinyCNN).eval()
    for layer in ("features.0", "features.2", "features.4"):
        assert measured(model, layer) == pytest.approx(1)


def test_of_tokens_only_the_patches_are_held() -> None:
    """The class token has taken what it knows before the last block, so that nothing passes through its patches."""
    model = seeded(TinyViT).eval()
    assert measured(model, "norm") == pytest.approx(0, abs=1e-6)
    assert measured(model, "patch") == pytest.approx(1)


def test_a_layer_that_runs_twice_is_held_twice() -> None:
    class Twice(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + super().forward(x.flip(-1))

    assert measured(seeded(Twice).eval(), "features.4") == pytest.approx(1)


def test_the_share_does_not_depend_on_how_many_images_a_pass_takes() -> None:
    values = [measured(seeded(TwoWays, 0.5).eval(), "one", batch_size=size) for size in (1, 4, 32)]
    assert values[1:] == pytest.approx([values[0]] * 2, abs=1e-6)


def test_scores_that_do_not_move_measure_nothing() -> None:
    class Constant(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 0 + 1

    assert measured(seeded(Constant).eval(), "features.4") is None


def test_a_network_that_takes_one_image_only_measures_nothing() -> None:
    class Single(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise RuntimeError("one image at a time")
            return super().forward(x)

    assert measured(seeded(Single).eval(), "features.4") is None
    assert measured(seeded(Single).eval(), "features.4", batch_size=1) == pytest.approx(1)


def test_what_was_measured_is_known_the_next_time() -> None:
    model = seeded(TwoWays, 0.5).eval()
    first = measured(model, "one")
    session = Session.of(model, Runtime())
    calls: list[int] = []
    session.network.register_forward_hook(lambda *_: calls.append(1))
    assert share(session, Inputs.of(images(1)), ("one",)) == first
    assert calls == []


def test_the_outputs_of_a_network_come_back() -> None:
    model = seeded(TinyCNN).eval()
    session = Session.of(model, Runtime())
    before = session.call(Inputs.of(images(2)))
    passage = Passage.of(session, Inputs.of(images(1)), ["features.4"])
    passage.share(("features.4",))
    torch.testing.assert_close(session.call(Inputs.of(images(2))), before)


def test_a_share_is_measured_again_when_the_weights_are_others() -> None:
    model = seeded(TwoWays, 0.0).eval()
    assert measured(model, "one") == pytest.approx(1)
    with torch.no_grad():
        model.fc_one.weight.zero_()
        model.fc_one.bias.zero_()
    model.weight = 1.0
    assert measured(model, "one") == pytest.approx(0, abs=1e-6)
