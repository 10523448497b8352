"""Images whose channels or axes a network does not take."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.errors import PellucidError, ShapeError
from tests.networks import TinyCNN, images, seeded


class Scaled(nn.Module):
    """A network that normalises its input, and may add channels to it, before ``network``."""

    def __init__(self, network: nn.Module, added: int = 0) -> None:
        super().__init__()
        self.network, self.added = network, added
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))

    def forward(self, batch: Tensor) -> Tensor:
        if self.added:
            return self.network(torch.cat([batch, batch[:, : self.added]], dim=1))
        return self.network(batch - self.mean)


class ByFunction(nn.Module):
    """A network that calls torch's convolution itself."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.weight, self.groups = nn.Parameter(torch.rand(6, 3 // groups, 3, 3)), groups

    def forward(self, batch: Tensor) -> Tensor:
        return F.conv2d(batch, self.weight, groups=self.groups).mean((2, 3))


class Beside(nn.Module):
    """A network with a table's values beside the image, which go through a layer first."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.network = nn.Linear(2, 4), seeded(TinyCNN)

    def forward(self, batch: Tensor, table: Tensor) -> Tensor:
        own = self.table(table)
        return self.network(batch) + own


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of scripts
        return torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.Flatten(), nn.Linear(256, 2)).eval())


FOUR, ONE, VOLUME, FLAT = torch.rand(2, 4, 32, 32), torch.rand(1, 1, 32, 32), torch.rand(1, 3, 8, 32, 32), images(1)
GIVE = "prepare it with channels=3"
CASES: dict[str, tuple[Callable[[], nn.Module], Tensor, str]] = {
    "four channels": (lambda: seeded(TinyCNN), FOUR, rf"\(4, 32, 32\) .* 'features.0', takes \(B, 3, H, W\): {GIVE}"),
    "one channel": (lambda: seeded(TinyCNN), ONE, rf"\(1, 32, 32\) were given; .* takes \(B, 3, H, W\): {GIVE}"),
    "a volume": (lambda: seeded(TinyCNN), VOLUME, r"\(3, 8, 32, 32\) .* takes \(B, 3, H, W\): give the slices"),
    "an image for volumes": (lambda: seeded(TinyCNN, 3), FLAT, r"takes \(B, 3, D, H, W\): give volumes"),
    "by function": (ByFunction, FOUR, rf"first convolution takes \(B, 3, H, W\): {GIVE}"),
    "in groups": (lambda: ByFunction(3), FOUR, r"first convolution takes \(B, 3, H, W\)"),
    "normalised": (lambda: Scaled(seeded(TinyCNN)), FOUR, rf"'network.features.0', takes \(B, 3, H, W\): {GIVE}"),
    "padded first": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.Flatten()),
        FOUR,
        r"takes \(B, 3, H, W\) and got \(1, 4, 34, 34\): ",
    ),
    "channels are added": (
        lambda: Scaled(seeded(TinyCNN, 2, 4, 4), added=1),
        FOUR,
        r"\(4, 32, 32\) were given; .* takes \(B, 4, H, W\) and got \(1, 5, 32, 32\)",
    ),
    "a script": (scripted, FOUR, rf"first convolution takes \(B, 3, H, W\): {GIVE}"),
    "a volume for a script": (scripted, VOLUME, r"first convolution takes \(B, C, H, W\): give the slices"),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("head", ["auto", "regression"])
def test_what_the_first_convolution_does_not_take_is_said_in_a_line(name: str, head: str) -> None:
    build, batch, expected = CASES[name]
    with pytest.raises(ShapeError, match=expected) as caught:
        pellucid.explain(build().eval(), batch, "saliency", 0 if head == "auto" else "predicted", head=head)
    assert "\n" not in str(caught.value)
    assert type(caught.value.__cause__) is RuntimeError


@pytest.mark.parametrize("method", ["gradcam", "rise", "occlusion"])
def test_every_kind_of_method_says_it(method: str) -> None:
    with pytest.raises(ShapeError, match=r"takes \(B, 3, H, W\)"):
        pellucid.explain(seeded(TinyCNN).eval(), FOUR, method)


def test_every_call_says_it() -> None:
    model, none = seeded(TinyCNN).eval(), pellucid.Preprocessing()
    calls = [
        lambda: pellucid.attack(model, FOUR, preprocessing=none),
        lambda: pellucid.evaluate(model, FOUR, torch.rand(2, 32, 32)),
        lambda: pellucid.explain(model, FOUR, layers=["features.3"]),
    ]
    for call in calls:
        with pytest.raises(ShapeError, match=r"takes \(B, 3, H, W\)"):
            call()


def test_further_inputs_may_go_first() -> None:
    given = {"batch": FOUR, "table": torch.rand(2, 2)}
    with pytest.raises(ShapeError, match=r"'network.features.0', takes \(B, 3, H, W\)"):
        pellucid.explain(Beside().eval(), given, "saliency")


def test_after_it_the_model_is_explained_as_ever() -> None:
    model = seeded(TinyCNN).eval()
    with pytest.raises(ShapeError):
        pellucid.explain(model, FOUR)
    found = pellucid.explain(model, images(2), "saliency", head="softmax")
    torch.testing.assert_close(found.logits, model(images(2)).detach())


class Fails(nn.Module):
    """A network that works up to ``then``."""

    def __init__(self, then: Callable[[Tensor], Tensor], network: nn.Module | None = None) -> None:
        super().__init__()
        self.network, self.then = network or nn.Conv2d(3, 4, 4, 4), then
        self.other = nn.Conv2d(3, 4, 1)

    def forward(self, batch: Tensor) -> Tensor:
        return self.then(self.network(batch))


def _raised(error: Exception) -> Callable[[Tensor], Tensor]:
    def then(_values: Tensor) -> Tensor:
        raise error

    return then


OTHERS: dict[str, tuple[nn.Module, Tensor, type[Exception], str]] = {
    "the network's own": (Fails(_raised(RuntimeError("no weights"))), FLAT, RuntimeError, "^no weights$"),
    "its own, before a layer": (Fails(_raised(RuntimeError("mine")), nn.Identity()), FOUR, RuntimeError, "^mine$"),
    "another type": (Fails(_raised(KeyError("x"))), FLAT, KeyError, "x"),
    "a later convolution": (Fails(nn.Conv2d(3, 2, 1)), FLAT, RuntimeError, "to have 3 channels, but got 4"),
    "a later layer": (Fails(nn.Linear(5, 2)), FLAT, RuntimeError, "shapes cannot be multiplied"),
    "shapes of its own": (Fails(lambda z: z + torch.zeros(3, 5), nn.Identity()), FLAT, RuntimeError, "must match"),
    "too small": (nn.Conv2d(3, 2, 40), FLAT, RuntimeError, "Kernel size can't be greater"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_errors_pass_as_they_are(name: str) -> None:
    model, batch, kind, expected = OTHERS[name]
    with pytest.raises(kind, match=expected) as caught:
        pellucid.explain(model.eval(), batch, "saliency")
    assert not isinstance(caught.value, PellucidError)


def test_a_network_that_mends_it_itself_is_left_alone() -> None:
    class Mends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = seeded(TinyCNN)

        def forward(self, batch: Tensor) -> Tensor:
            try:
                return self.network(batch)
            except RuntimeError:
                return self.network(batch[:, :3])

    model = Mends().eval()
    found = pellucid.explain(model, FOUR, "saliency", 0, head="softmax")
    torch.testing.assert_close(found.logits, model(FOUR).detach())
