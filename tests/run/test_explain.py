"""``explain``: heads and classes, inputs and outputs of every kind, warnings, and what is refused in one line."""

from __future__ import annotations

import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import (
    LayerError,
    OptionError,
    OutputError,
    PellucidError,
    PellucidWarning,
    ShapeError,
)
from pellucid.methods.gradcam import GradCAM
from tests.networks import TinyCNN, images, seeded
from tests.run.explaining import EXACT, refused, same


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


# Heads and classes.


def test_two_heads_read_the_same_logits(model: nn.Module) -> None:
    soft, single = (pellucid.explain(model, images(2), head=head) for head in ("auto", "sigmoid"))
    assert (soft.head, single.head) == ("softmax", "sigmoid")
    torch.testing.assert_close(soft.probabilities.sum(1), torch.ones(2))
    torch.testing.assert_close(single.probabilities, soft.logits.sigmoid())
    same(soft, single)


@pytest.mark.parametrize("head", ["auto", "binary"])
def test_one_logit_is_two_classes(head: str) -> None:
    model = seeded(TinyCNN, 2, 1).eval()
    batch = images(3)
    logit = model(batch).detach()
    found = pellucid.explain(model, batch, "hirescam", "all", head=head)
    assert found.head == "binary"
    torch.testing.assert_close(found.logits, torch.cat([-logit, logit], 1), **EXACT)
    torch.testing.assert_close(found.probabilities, found.logits.sigmoid())
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(3))
    torch.testing.assert_close(found.attributions[:, 0], -found.attributions[:, 1], **EXACT)
    predicted = pellucid.explain(model, batch, head=head).targets[:, 0]
    assert predicted.tolist() == (logit[:, 0] > 0).long().tolist()
    assert pellucid.explain(model, batch, targets="ill", classes=["well", "ill"]).targets.tolist() == [[1]] * 3


def test_one_logit_may_be_read_as_one_finding() -> None:
    found = pellucid.explain(seeded(TinyCNN, 2, 1), images(1), targets="all", head="sigmoid")
    assert found.logits.shape == (1, 1)
    assert found.heatmaps.shape[1] == 1


def test_heads_that_cannot_be(model: nn.Module) -> None:
    refused(OptionError, "takes one logit, the model gives 4", model, images(1), head="binary")
    refused(OptionError, "softmax, sigmoid, binary, probability, regression and auto", model, images(1), head="relu")


def test_classes(model: nn.Module) -> None:
    assert pellucid.explain(model, images(1), classes=list("abcd")).classes == ("a", "b", "c", "d")
    refused(
        OptionError,
        "2 names were given or are stated by the model's source; the model has 4 classes",
        model,
        images(1),
        classes=["a", "b"],
    )
    refused(OptionError, "got the string 'abcd'", model, images(1), classes="abcd")


# Inputs and outputs.


class TwoInputs(nn.Module):
    """Looks at a image and at the patient's age."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = seeded(TinyCNN)
        self.age = nn.Linear(1, 4)

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        return self.cnn(image) + self.age(age)


def test_a_mapping_of_inputs() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TwoInputs().eval()
    ages = torch.tensor([[20.0], [40.0], [80.0]])
    whole = pellucid.explain(model, {"image": images(3), "age": ages}, targets=1)
    assert whole.heatmaps.shape == (3, 1, 32, 32)
    torch.testing.assert_close(whole.logits, model(images(3), ages).detach(), **EXACT)
    torch.testing.assert_close(whole.heatmaps, pellucid.explain(model.cnn, images(3), targets=1).heatmaps, **EXACT)
    parts = pellucid.explain(
        model, {"image": images(3), "age": ages}, targets=1, runtime=pellucid.Runtime(batch_size=2)
    )
    same(whole, parts)


Pair = namedtuple("Pair", ["features", "logits"])


class ModelOutput(OrderedDict):
    """As transformers' outputs are: a mapping whose entries are attributes too."""

    def __getattr__(self, name: str) -> object:
        return self[name]


@pytest.mark.parametrize(
    "output",
    [
        lambda x, features: {"features": features, "logits": x},
        lambda x, features: {"out": x, "aux": x * 2},
        lambda x, features: {"something": x},
        lambda x, features: (x, features),
        lambda x, features: [features, x],
        lambda x, features: Pair(features.mean((2, 3)), x),
        lambda x, features: ModelOutput(loss=None, logits=x, hidden_states=(features, features)),
        lambda x, features: ({"logits": x}, None, 3),
    ],
)
def test_outputs(output: Callable[[Tensor, Tensor], object]) -> None:
    class Answering(TinyCNN):
        def forward(self, x: Tensor) -> object:
            features = self.features(x)
            return output(self.fc(features.flatten(2).mean(-1)), features)

    plain = pellucid.explain(seeded(TinyCNN), images(2), targets=1)
    same(pellucid.explain(seeded(Answering), images(2), targets=1), plain)


def test_one_score_an_image_without_an_axis() -> None:
    class Scalar(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 0]

    assert pellucid.explain(seeded(Scalar), images(2)).logits.shape == (2, 2)


@pytest.mark.parametrize("output", [None, "text", {}, torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)])
def test_outputs_without_scores(output: object) -> None:
    class Silent(TinyCNN):
        def forward(self, x: Tensor) -> object:
            self.features(x)
            return output

    refused(OutputError, "(B, C)", seeded(Silent), images(2))


@pytest.mark.parametrize(
    ("batch", "part"),
    [
        (images(1)[0], "(3, 32, 32)"),
        (images(0), "at least one image"),
        ((images(1) * 255).to(torch.uint8), "uint8"),
        (images(1).numpy(), "torch.tensor(images)"),
        ([images(1)], "list"),
        (None, "NoneType"),
        ({}, "an empty mapping"),
        ({"x": images(2), "age": torch.zeros(3, 1)}, "shared by all"),
        ({"x": images(2), "age": torch.tensor(3.0)}, "shared by all"),
        ({"x": images(2), "age": 3}, "age: a tensor"),
    ],
)
def test_images_that_cannot_be(model: nn.Module, batch: object, part: str) -> None:
    refused(ShapeError, part, model, batch)


# What is warned of.


@pytest.fixture
def loaded(tmp_path: Path) -> nn.Module:
    file = tmp_path / "own.py"
    file.write_text(
        "from tests.networks import TinyCNN, seeded\n"
        "def make():\n"
        "    model = seeded(TinyCNN)\n"
        "    model.preprocessing = {'size': 32, 'mean': [0.5] * 3, 'std': [0.25] * 3}\n"
        "    model.classes = ['a', 'b', 'c', 'd']\n"
        "    return model\n"
    )
    return pellucid.load_model(f"{file}:make")


def test_the_range_of_the_images_is_looked_at(loaded: nn.Module, model: nn.Module) -> None:
    for batch, part in ((images(1).sigmoid(), "unnormalised"), (images(1) * 100, "0…255")):
        with pytest.warns(PellucidWarning, match=part) as caught:
            pellucid.explain(loaded, batch, targets="b", head="softmax")
        assert len(caught) == 1
        assert "\n" not in str(caught[0].message)
        assert caught[0].filename == __file__
        pellucid.explain(model, batch, targets=1)  # nothing is known of it: nothing is said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pellucid.explain(loaded, F.hardtanh(images(1), -2, 2), targets="b", head="softmax")
    assert found.classes == ("a", "b", "c", "d")


def test_a_models_own_classes_that_do_not_fit_are_refused(loaded: nn.Module) -> None:
    loaded.fc = nn.Linear(12, 3)
    batch = F.hardtanh(images(1), -2, 2)
    refused(OptionError, "4 names were given or are stated", loaded, batch)
    assert pellucid.explain(loaded, batch, classes=list("abc")).classes == ("a", "b", "c")


def test_prepare_needs_to_know_the_model(loaded: nn.Module, model: nn.Module) -> None:
    image = pellucid.Image(torch.rand(1, 40, 64), torch.rand(1, 40, 64), _identity((40, 64)))
    prepared = pellucid.prepare(loaded, image)
    assert prepared.values.shape == (3, 32, 51)
    assert prepared.original is image
    with pytest.raises(PellucidError, match="load_model") as caught:
        pellucid.prepare(model, image)
    assert "\n" not in str(caught.value)


def _identity(size: tuple[int, int]) -> object:
    from pellucid.core.geometry import Geometry

    return Geometry.identity(size)


@pytest.mark.parametrize(
    "asked",
    [
        lambda probe, targets: probe.activations(),
        lambda probe, targets: probe.activations_and_gradients(targets),
        lambda probe, targets: probe.hvp(targets),
        lambda probe, targets: probe.forward_from_layer(),
    ],
)
def test_a_method_without_layers_gets_nothing_of_one(asked: Callable[[Probe, Targets], object]) -> None:
    @dataclass(frozen=True)
    class Wrong(GradCAM):
        uses_layers = False

        def attribute(self, probe, targets):
            return asked(probe, targets)

    with pytest.raises(LayerError, match=r"the method looks at no layer \(uses_layers = False\): leave"):
        pellucid.explain(seeded(TinyCNN), images(1), method=Wrong(), targets=1)
