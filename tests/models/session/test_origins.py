"""Probabilities that are combined at a network's end, values of linear layers, and what is neither."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import Runtime
from pellucid.core.head import COMBINED
from pellucid.core.inputs import Inputs
from pellucid.errors import OptionError, PellucidWarning
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, images, seeded

Last = Callable[[Tensor], Tensor]
MIXED = nn.Parameter(torch.tensor([[0.2, 0.3, 0.1, 0.4]]))


class Ends(nn.Module):
    """A network whose logits (B, classes) go through ``last``."""

    def __init__(self, last: Last, classes: int = 4) -> None:
        super().__init__()
        self.network = seeded(TinyCNN, 2, classes)
        self.last = last

    def forward(self, batch: Tensor) -> Tensor:
        return self.last(self.network(batch))


class OfPlaces(nn.Module):
    """A network whose logits (B, 3, H, W) of positions, as of the instances of a bag, go through ``last``."""

    def __init__(self, last: Last) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.Conv2d(8, 3, 1))
        self.last = last

    def forward(self, batch: Tensor) -> Tensor:
        return self.last(self.features(batch))


def _added_in_place(values: Tensor) -> Tensor:
    total = values.sigmoid().clone()
    total += (2 * values).sigmoid()
    total /= 2
    return total


COMBINATIONS: dict[str, Last] = {
    "noisy or": lambda z: 1 - (1 - z.sigmoid()).prod(dim=1, keepdim=True),
    "noisy or, one value an image": lambda z: 1 - torch.prod(1 - torch.sigmoid(z), dim=1),
    "and": lambda z: z.sigmoid().prod(1, keepdim=True),
    "product of two": lambda z: z.sigmoid() * (3 * z).softmax(1),
    "mean of two": lambda z: (z.sigmoid() + (2 * z).sigmoid()) / 2,
    "mean of three": lambda z: sum([z.sigmoid(), (2 * z).sigmoid(), (3 * z).sigmoid()]) / 3,
    "mean of a stack": lambda z: torch.stack([z.softmax(1), (2 * z).softmax(1)]).mean(dim=0),
    "sum of a stack": lambda z: torch.stack([z.softmax(1), (2 * z).softmax(1)]).sum(dim=0) * 0.5,
    "known weights": lambda z: 0.3 * z.sigmoid() + (z / 3).sigmoid() * 0.7,
    "in place": _added_in_place,
    "maximum": lambda z: z.sigmoid().amax(1, keepdim=True),
    "maximum with its position": lambda z: z.sigmoid().max(dim=1).values,
    "minimum of two": lambda z: torch.minimum(z.sigmoid(), z.softmax(1)),
    "mean of the two highest": lambda z: z.sigmoid().topk(2, dim=1)[0].mean(1),
    "two kinds": lambda z: torch.cat([z[:, :1].sigmoid(), z[:, 1:].softmax(1)], dim=1),
    "power mean": lambda z: z.sigmoid().pow(3).mean(1, keepdim=True) ** (1 / 3),
    "kept from 0": lambda z: ((z.sigmoid() + z.softmax(1)) / 2).clamp(min=1e-6),
    "chosen": lambda z: torch.where(z > 0, z.sigmoid(), (2 * z).sigmoid()),
    "in half precision": lambda z: (z.half().sigmoid() + (2 * z).half().sigmoid()) / 2,
}
"""Of a network's logits (B, 4), probabilities that are no sigmoid or softmax of them."""
OF_PLACES: dict[str, Last] = {
    "maximum": lambda z: z.sigmoid().amax((2, 3)),
    "mean": lambda z: z.sigmoid().mean((2, 3)),
    "pooled": lambda z: F.adaptive_max_pool2d(z.softmax(1), 1).flatten(1),
    "noisy or": lambda z: 1 - (1 - z.sigmoid()).flatten(2).prod(2),
    "map of a mean": lambda z: (z.sigmoid() + (2 * z).sigmoid()) / 2,
}
LINEAR: dict[str, Last] = {
    "as they are": lambda z: z,
    "scaled": lambda z: z * 0.5 / 2 + 0.1,
    "mean": lambda z: z.mean(1),
    "maximum": lambda z: torch.stack([z, z / 2]).amax(0),
    "between": lambda z: torch.where(z > 0, z, z * 0.1),
    "a layer of probabilities' features": lambda z: F.linear(z * z.sigmoid(), torch.eye(z.shape[1])),
    "rectified": lambda z: 0.3 * (F.gelu(z.relu()) + F.leaky_relu(z) + F.softplus(z)),
    "scaled by class": lambda z: z * torch.full((z.shape[1],), 0.5),
}
"""What is no probability, also where all of its values are from 0 to 1."""
BY_HAND: dict[str, Last] = {
    "tanh": lambda z: 0.5 * (1 + z.tanh()),
    "hardsigmoid": F.hardsigmoid,
    "exp and sum": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
    "logistic": lambda z: 1 / (1 + torch.exp(-z)),
    "clamp": lambda z: z.clamp(0, 1),
    "softsign": lambda z: (z / (1 + z.abs()) + 1) / 2,
    "unknown weights": lambda z: z.sigmoid() * torch.full_like(z, 0.3) + (2 * z).sigmoid() * torch.full_like(z, 0.7),
    "a layer": lambda z: F.linear(z.sigmoid(), MIXED[:, :1].expand(1, z.shape[1])),
    "a product": lambda z: z.sigmoid() @ torch.full((z.shape[1], 1), 0.2),
    "half a probability": lambda z: z.sigmoid() / 2,
    "written into": lambda z: (z.sigmoid() + z.softmax(1)).div_(2).neg_().neg_(),
}
"""What may be probabilities, as far as is known."""


def explained(model: nn.Module, **options: object) -> pellucid.Explanation:
    return pellucid.explain(model.eval(), images(2), "saliency", targets=0, **options)


def warned(model: nn.Module, **options: object) -> list[str]:
    """What is warned of outputs from 0 to 1, and of nothing else."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        explained(model, **options)
    return [str(one.message) for one in caught if "all from 0 to 1" in str(one.message)]


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combined_probabilities_are_the_networks_own(name: str) -> None:
    model = Ends(COMBINATIONS[name]).eval()
    found = explained(model)
    own = model(images(2)).detach().float().reshape(2, -1)
    assert found.head == "probability"
    torch.testing.assert_close(found.probabilities, own, atol=1e-6, rtol=0)
    assert Session.of(model, Runtime()).known(Inputs.of(images(1))).ending == COMBINED


@pytest.mark.parametrize("name", OF_PLACES)
def test_combined_probabilities_of_places_are_the_networks_own(name: str) -> None:
    model = OfPlaces(OF_PLACES[name]).eval()
    found = explained(model)
    own = model(images(2)).detach()
    torch.testing.assert_close(found.probabilities, own.flatten(2).mean(2) if own.ndim > 2 else own)


@pytest.mark.parametrize(
    ("head", "count"), [("sigmoid", 1), ("binary", 1), ("softmax", 2), ("sigmoid", 5), ("softmax", 5), ("sigmoid", 14)]
)
def test_a_head_of_logits_is_warned_of_where_outputs_are_combined_probabilities(head: str, count: int) -> None:
    model = Ends(lambda z: (z.sigmoid() + (2 * z).sigmoid()) / 2, count)
    (text,) = warned(model, head=head)
    assert text == (
        f"the model's outputs are all from 0 to 1, and are read as logits (head {head!r}): if they are probabilities "
        "already, give head='probability'"
    )
    assert warned(model, head="probability") == []
    assert warned(model) == []


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("head", ["auto", "sigmoid"])
def test_what_may_be_probabilities_is_warned_of_from_one_value_on(name: str, head: str) -> None:
    for count in (1, 4):
        model = Ends(BY_HAND[name], count)
        with torch.no_grad():
            values = model.eval()(images(2))
        assert bool(((values >= 0) & (values <= 1)).all())
        assert len(warned(model, head=head)) == 1
        assert warned(model, head="regression") == []


@pytest.mark.parametrize("name", LINEAR)
def test_values_of_a_linear_layer_are_logits_wherever_they_lie(name: str) -> None:
    for count in (1, 3):
        model = Ends(LINEAR[name], count)
        model.network.fc.weight.data *= 1e-3
        model.network.fc.bias.data.fill_(0.4)
        with torch.no_grad():
            values = model.eval()(images(2))
        assert bool(((values >= 0) & (values <= 1)).all())
        assert warned(model) == []
        assert warned(model, head="sigmoid") == []


def test_a_head_that_the_source_states_gives_way_to_combined_probabilities(tmp_path: object) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n\nclass Or(torch.nn.Module):\n    head = 'sigmoid'\n\n    def __init__(self):\n"
        "        super().__init__()\n        self.conv = torch.nn.Conv2d(3, 5, 4, 4)\n\n"
        "    def forward(self, x):\n        return self.conv(x).sigmoid().mean((2, 3))\n"
    )
    model = pellucid.load_model(f"{tmp_path}/own.py:Or")
    found = explained(model)
    assert found.head == "probability"
    torch.testing.assert_close(found.probabilities, model(images(2)).detach())


def test_compiled_and_combined_it_is_the_same() -> None:
    model = Ends(COMBINATIONS["mean of two"])
    options = {"layers": ["network.features.3"]}
    found, plain = (
        pellucid.explain(model.eval(), images(2), "gradcam", targets=1, runtime=Runtime(compile=one), **options)
        for one in (True, False)
    )
    assert found.head == plain.head == "probability"
    torch.testing.assert_close(found.attributions, plain.attributions)


def test_an_attack_on_one_combined_probability_is_refused() -> None:
    """Its sign never changes, so that it would have been called robust."""
    model = Ends(COMBINATIONS["noisy or"]).eval()
    with pytest.raises(OptionError, match="returns one probability"):
        pellucid.attack(model, images(2).sigmoid(), preprocessing=pellucid.Preprocessing())


def test_the_scores_of_an_evaluation_are_the_networks_own_probabilities() -> None:
    model = Ends(COMBINATIONS["mean of two"]).eval()
    found = explained(model)
    scores = pellucid.evaluate(model, images(2), found, metrics=["deletion_auc"])
    own = pellucid.evaluate(model, images(2), found, metrics=["deletion_auc"], head="probability")
    torch.testing.assert_close(scores["deletion_auc"], own["deletion_auc"])


def test_exponentials_of_logarithms_are_the_probabilities() -> None:
    for last, head in ((lambda z: z.log_softmax(1).exp(), "softmax"), (lambda z: F.logsigmoid(z).exp(), "sigmoid")):
        model = Ends(last).eval()
        found = explained(model)
        assert found.head == head
        torch.testing.assert_close(found.logits, model.network(images(2)).detach())


def test_a_scripted_network_is_warned_of() -> None:
    class Mean(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 1, 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x).sigmoid().mean((2, 3))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of scripts
        model = torch.jit.script(Mean().eval())
    with pytest.warns(PellucidWarning, match="all from 0 to 1"):
        explained(model)
