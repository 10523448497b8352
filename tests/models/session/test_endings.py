"""The logits before a network's own sigmoid or softmax: found in the pass, whatever is done with the probabilities."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import densenet121, efficientnet_b0

import pellucid
from pellucid import Runtime
from pellucid.core.inputs import Inputs
from pellucid.errors import OptionError, OutputError, PellucidWarning
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, images, seeded

Last = Callable[[Tensor], Tensor]


class Ends(nn.Module):
    """A network whose logits go through ``last``."""

    def __init__(self, last: Last, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network or seeded(TinyCNN)
        self.last = last

    def forward(self, batch: Tensor) -> Tensor:
        return self.last(self.network(batch))


def _findings(values: Tensor) -> Tensor:
    """A head for each finding, with a sigmoid of its own."""
    return torch.cat([values[:, index : index + 1].sigmoid() for index in range(values.shape[1])], dim=1)


def _in_place(values: Tensor) -> Tensor:
    return (values * 1).sigmoid_()


SIGMOIDS: dict[str, Last] = {
    "module": nn.Sigmoid(),
    "function": torch.sigmoid,
    "in place": _in_place,
    "a head each": _findings,
    "kept from 0 and 1": lambda z: torch.clamp(z.sigmoid(), 1e-6, 1 - 1e-6),
    "stacked": lambda z: torch.stack([one.sigmoid() for one in z.unbind(1)], dim=1),
    "in half precision": lambda z: z.half().sigmoid(),
    "in double": lambda z: z.double().sigmoid().float(),
}
SOFTMAXES: dict[str, Last] = {
    "module": nn.Softmax(dim=1),
    "function": lambda z: F.softmax(z, dim=-1),
    "with a temperature": lambda z: (z / 3).softmax(1),
    "log": nn.LogSoftmax(dim=1),
}


def explained(model: nn.Module, **options: object) -> pellucid.Explanation:
    return pellucid.explain(model.eval(), images(2), "hirescam", layers=["network.features.3"], **options)


@pytest.mark.parametrize("name", SIGMOIDS)
def test_the_logits_before_a_sigmoid_are_explained_and_its_probabilities_printed(name: str) -> None:
    model = Ends(SIGMOIDS[name])
    found = explained(model, targets="all")
    plain = explained(Ends(lambda z: z), targets="all", head="sigmoid")
    assert found.head == "sigmoid"
    torch.testing.assert_close(found.attributions, plain.attributions, rtol=1e-2 if "half" in name else 1e-5, atol=1e-5)
    atol = 1e-3 if "half" in name else 1e-6
    torch.testing.assert_close(found.probabilities, model(images(2)).float(), atol=atol, rtol=0)


@pytest.mark.parametrize("name", SOFTMAXES)
def test_the_logits_before_a_softmax_are_explained(name: str) -> None:
    model = Ends(SOFTMAXES[name])
    found = explained(model)
    assert found.head == "softmax"
    scale = 3 if name == "with a temperature" else 1
    torch.testing.assert_close(scale * found.logits, model.network(images(2)))
    own = model(images(2))
    torch.testing.assert_close(found.probabilities, own.exp() if name == "log" else own, atol=1e-6, rtol=0)


def test_one_class_of_a_softmax_is_read_as_that_class_against_the_rest() -> None:
    model = Ends(lambda z: z.softmax(dim=1)[:, 1])
    found = explained(model)
    assert found.head == "binary"
    torch.testing.assert_close(found.probabilities[:, 1], model(images(2)), atol=1e-6, rtol=0)
    logits = model.network(images(2))
    others = logits[:, [0, 2, 3]].logsumexp(dim=1)
    torch.testing.assert_close(found.logits[:, 1], logits[:, 1] - others)


def test_a_probability_beside_its_complement_keeps_both() -> None:
    model = Ends(lambda z: torch.stack([1 - z[:, 0].sigmoid(), z[:, 0].sigmoid()], dim=1))
    found = explained(model, targets="all")
    torch.testing.assert_close(found.probabilities, model(images(2)), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.attributions[:, 0], -found.attributions[:, 1])


def test_a_saturated_sigmoid_still_has_a_map() -> None:
    """The gradient of the probability is zero in float32, that of the logit is not."""
    found = explained(Ends(lambda z: (1e4 * z).sigmoid()), targets=1)
    assert not found.degenerate.any()


@pytest.mark.parametrize(
    "last", [lambda z: z, lambda z: z.sigmoid() * 2, lambda z: (z.sigmoid() + z.softmax(1)) / 2, lambda z: z.tanh()]
)
def test_what_does_not_end_in_probabilities_is_left_as_it_is(last: Last) -> None:
    model = Ends(last).eval()
    session = Session.of(model, Runtime())
    with torch.no_grad():
        torch.testing.assert_close(session.call(Inputs.of(images(2))), model(images(2)))


def test_gates_within_the_network_are_no_ending() -> None:
    torch.manual_seed(0)
    model = efficientnet_b0(num_classes=3).eval()  # a sigmoid in each of its blocks
    assert Session.of(model, Runtime()).known(Inputs.of(torch.rand(1, 3, 64, 64))).ending is None


def test_a_chexnet_prints_its_own_fourteen_numbers() -> None:
    torch.manual_seed(0)
    model = densenet121(num_classes=14)
    model.classifier = nn.Sequential(model.classifier, nn.Sigmoid())
    batch = torch.rand(2, 3, 64, 64)
    found = pellucid.explain(model.eval(), batch, targets=[3, 5])
    assert (found.head, found.layers) == ("sigmoid", ("features.norm5",))
    torch.testing.assert_close(found.probabilities, model(batch), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", ["scorecam", "rise", "occlusion", "saliency", "ablationcam"])
def test_every_kind_of_method_asks_about_the_logits(method: str) -> None:
    """Also where a pass begins at a layer, and what is computed before it is not computed again."""
    options = {"layers": ["network.features.3"]} if method in ("scorecam", "ablationcam") else {}
    found = pellucid.explain(Ends(nn.Sigmoid()).eval(), images(1), method, targets=2, **options)
    plain = pellucid.explain(Ends(lambda z: z).eval(), images(1), method, targets=2, head="sigmoid", **options)
    torch.testing.assert_close(found.attributions, plain.attributions)


def test_a_callable_gets_what_the_model_returns() -> None:
    model = Ends(nn.Sigmoid()).eval()
    seen: list[Tensor] = []

    def target(output: Tensor) -> Tensor:
        seen.append(output.detach())
        return output[:, 1]

    found = explained(model, targets=target)
    torch.testing.assert_close(seen[-1], model(images(2)), atol=1e-6, rtol=0)
    assert found.head == "sigmoid"


def test_a_head_that_contradicts_the_networks_own_is_refused() -> None:
    with pytest.raises(OptionError, match="the network itself ends in a sigmoid"):
        explained(Ends(nn.Sigmoid()), head="softmax")
    assert explained(Ends(nn.Sigmoid()), head="sigmoid").head == "sigmoid"


def test_head_probability_explains_the_probability_itself() -> None:
    model = Ends(nn.Sigmoid()).eval()
    found = explained(model, head="probability", targets=0)
    torch.testing.assert_close(found.logits, model(images(2)), atol=1e-6, rtol=0)
    torch.testing.assert_close(found.probabilities, found.logits)


def test_compiled_and_with_an_ending_it_is_the_same() -> None:
    model = Ends(nn.Sigmoid())
    found, plain = explained(model, runtime=Runtime(compile=True)), explained(model)
    torch.testing.assert_close(found.attributions, plain.attributions)


def test_outputs_that_only_look_like_probabilities_are_explained_with_a_warning() -> None:
    """A mean of two folds, whose weights are learnt."""
    model = Ends(
        lambda z: torch.einsum("kbc,k->bc", torch.stack([z.softmax(1), (2 * z).softmax(1)]), torch.ones(2) / 2)
    )
    with pytest.warns(PellucidWarning, match="head='probability'"):
        assert explained(model).head == "softmax"
    found = explained(model, head="probability")
    torch.testing.assert_close(found.probabilities, model(images(2)))


def test_probabilities_of_different_kinds_are_explained_as_they_are() -> None:
    model = Ends(lambda z: torch.cat([z[:, :1].sigmoid(), z[:, 1:].softmax(1)], dim=1))
    torch.testing.assert_close(explained(model).probabilities, model(images(2)))


def test_a_network_that_ends_otherwise_in_another_pass_is_refused() -> None:
    """Probabilities would be taken for logits in that pass alone."""

    class Fickle(Ends):
        def forward(self, batch: Tensor) -> Tensor:
            logits = self.network(batch)
            return logits.sigmoid() if batch.abs().amax() < 100 else (logits.sigmoid() + logits.sigmoid()) / 2

    session = Session.of(Fickle(nn.Identity()).eval(), Runtime())
    with torch.no_grad():
        session.call(Inputs.of(images(2)))
        with pytest.raises(OutputError, match="ended in a sigmoid when it was first called"):
            session.call(Inputs.of(images(2) * 1000))


def test_bounds_that_an_image_reaches_do_not_change_the_head() -> None:
    model = Ends(lambda z: z.sigmoid().clamp(0.4, 0.6)).eval()
    session = Session.of(model, Runtime())
    with torch.no_grad():
        small = session.call(Inputs.of(torch.zeros(1, 3, 32, 32)))
        large = session.call(Inputs.of(images(1) * 100))
    assert session.known(Inputs.of(images(1))).ending == "sigmoid"
    torch.testing.assert_close(large, model.network(images(1) * 100).detach())
    assert small.shape == large.shape
