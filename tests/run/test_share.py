"""How much of the score passes through the layers is told, and a low share is warned of with what to take instead."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import pellucid
from pellucid.cli.main import app
from pellucid.errors import PellucidWarning
from pellucid.phantom.models import vit
from tests import networks
from tests.networks import TinyCNN, images, seeded


class Beside(nn.Module):
    """A branch with a spatial layer beside one that flattens the image at once."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU())
        self.fc, self.direct = nn.Linear(6, 3), nn.Linear(3 * 32 * 32, 3)
        self.weight = weight

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3))) + self.weight * self.direct(x.flatten(1))


def warned(model: nn.Module, batch: Tensor, **options: object) -> tuple[pellucid.Explanation, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = pellucid.explain(model.eval(), batch, "hirescam", targets=0, **options)
    messages = [str(one.message) for one in caught if issubclass(one.category, PellucidWarning)]
    return found, [message for message in messages if "score passes" in message]


def test_a_layer_with_the_whole_score_is_not_warned_of() -> None:
    found, messages = warned(seeded(TinyCNN), images(1))
    assert messages == []
    assert found.provenance["share"] == pytest.approx(1)


def test_a_low_share_of_a_named_layer_is_warned_of_and_the_remedy_works() -> None:
    batch = torch.rand(1, 1, 128, 128)
    found, (message,) = warned(vit(), batch, layers=["network.blocks.3.norm1"])
    assert f"{found.provenance['share']:.2f} of the score passes through network.blocks.3.norm1" in message
    assert "\n" not in message
    remedy = message.partition("take layers=['")[2].partition("'")[0]
    better, messages = warned(vit(), batch, layers=[remedy])
    assert messages == []
    assert better.provenance["share"] >= 0.9


def test_where_no_layer_has_enough_a_method_without_layers_is_named() -> None:
    model = seeded(Beside, 1.0)
    found, (message,) = warned(model, images(1))
    assert found.provenance["share"] < 0.9
    assert "no layers were found that have at least 0.9 of it; use a method that looks at no layer, such as" in message
    name = message.rpartition("such as ")[2].split(" or ")[0]
    pellucid.explain(model, images(1), name)
    _, messages = warned(model, images(1), layers=["features.1"])
    assert "use a method that looks at no layer" in messages[0]


def test_methods_without_layers_measure_nothing() -> None:
    assert pellucid.explain(seeded(Beside, 1.0).eval(), images(1), "saliency").provenance["share"] is None


def test_named_layers_that_have_the_score_together_are_not_warned_of() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = (nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.ReLU()) for _ in range(2))
            self.fc = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(torch.cat([self.one(x).mean((2, 3)), self.two(x.flip(-1)).mean((2, 3))], 1))

    _, messages = warned(seeded(Two), images(1), layers=["one", "two"], fuse="sum")
    assert messages == []
    _, messages = warned(seeded(Two), images(1), layers=["one"])
    assert "take layers=['one.1', 'two']" in messages[0]


def test_shares_on_the_command_line() -> None:
    command = ["layers", f"{networks.__file__}:TinyViT", "--input-size", "3,32,32", "--json"]
    done = CliRunner().invoke(app, [*command, "--share"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["shares"]["patch"] == pytest.approx(1)
    assert set(told["shares"]) >= {"blocks.0", "norm", *told["recommended"]}
    done = CliRunner().invoke(app, command)
    assert list(json.loads(done.stdout)["shares"]) == told["recommended"]
