"""Networks that take the caller's image alone: what would be measured by others is not measurable, and no error."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.layers import recommended, share_of
from pellucid.models.discovery.orders import token_orders
from pellucid.models.discovery.rectifiers import rectified_to
from pellucid.models.session.session import Session
from tests.networks import Reordered, TinyCNN, TinyViT, images, seeded

ERRORS = [AssertionError("one image"), TypeError("values"), KeyError(6), RuntimeError("size"), ZeroDivisionError()]


class Refusing(nn.Module):
    """A network that raises for all images but one."""

    def __init__(self, inner: nn.Module, image: Tensor, error: Exception) -> None:
        super().__init__()
        self.inner, self.error = inner, error
        self.refused: list[int] = []
        self.image = image.clone()

    def forward(self, x: Tensor, **others: Tensor) -> Tensor:
        if x.shape != self.image.shape or not torch.equal(x, self.image):
            self.refused.append(len(x))
            raise self.error
        return self.inner(x, **others)


class Cut(nn.Module):
    """Tokens that are cut by reshaping."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Linear(48, 12), nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return self.head(self.norm(self.embed(tokens)).mean(1))


class Mirrored(TinyCNN):
    """A network that looks at the mirror image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flip(3))


def ranked(tokens: Tensor) -> Tensor:
    return tokens.gather(1, tokens.norm(dim=-1).argsort(dim=1)[..., None].expand_as(tokens))


KINDS: dict[str, tuple[Callable[[], nn.Module], int, str]] = {
    "convolutions": (TinyCNN, 32, "features.4"),
    "a transformer": (TinyViT, 32, "blocks.0"),
    "tokens without a convolution": (Cut, 32, "norm"),
    "a mirror image": (Mirrored, 32, "features.4"),
    "sorted tokens": (lambda: Reordered(later=ranked), 64, "blocks.0"),
}


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_what_raises_for_other_images_is_explained(kind: str, error: Exception) -> None:
    build, side, layer = KINDS[kind]
    batch = images(1, side=side)
    model = Refusing(seeded(build), batch, error).eval()
    found = pellucid.explain(model, batch, "hirescam", targets=0)
    assert model.refused
    assert found.heatmaps.shape == (1, 1, side, side)
    own = pellucid.explain(model, batch, "hirescam", targets="all", layers=[f"inner.{layer}"])
    plain = pellucid.explain(model.inner, batch, "hirescam", targets="all", layers=[layer])
    torch.testing.assert_close(own.attributions, plain.attributions)


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
def test_an_error_on_the_callers_image_reaches_them(kind: str, error: Exception) -> None:
    build, side, _ = KINDS[kind]
    batch = images(1, side=side)
    model = Refusing(seeded(build), batch + 1, error).eval()
    with pytest.raises(type(error)) as raised:
        pellucid.explain(model, batch, "hirescam", targets=0)
    assert raised.value is error


def test_what_is_found_on_the_callers_image_alone() -> None:
    """The deepest layer with a gradient there; its share is not measurable."""
    batch = images(1)
    session = Session.of(Refusing(seeded(TinyCNN), batch, TypeError()).eval(), Runtime())
    assert recommended(session, Inputs.of(batch)) == ("inner.features.4",)
    assert share_of(session, Inputs.of(batch), ("inner.features.4",)) is None


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "legrad", "attnlrp", "eigencam", "saliency"])
@pytest.mark.parametrize("error", ERRORS[:3], ids=repr)
def test_methods_of_attention_and_of_rectified_layers(method: str, error: Exception) -> None:
    batch = images(1)
    model = Refusing(seeded(TinyViT), batch, error).eval()
    assert pellucid.explain(model, batch, method, targets=0).attributions.isfinite().all()


@pytest.mark.parametrize("error", ERRORS[:3], ids=repr)
def test_figures_of_a_map_by_blurs_are_not_measurable(error: Exception) -> None:
    batch = images(1)
    model = Refusing(seeded(TinyCNN), batch, error).eval()
    assert pellucid.explain(model, batch, targets=0, checks=["share"]).checks["share"].isnan().all()


def test_a_rectifier_is_none_where_noise_is_refused() -> None:
    batch, inner = images(1), seeded(TinyCNN)
    session = Session.of(Refusing(inner, batch, KeyError(1)).eval(), Runtime())
    assert rectified_to(session, Inputs.of(batch), "inner.features.3") is None
    assert rectified_to(Session.of(inner.eval(), Runtime()), Inputs.of(batch), "features.3") == float("inf")


class Two(nn.Module):
    """A network with a second input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.own = TinyCNN(), nn.Linear(3, 4)

    def forward(self, x: Tensor, facts: Tensor) -> Tensor:
        return self.inner(x) + self.own(facts)


@pytest.mark.parametrize("error", ERRORS[:3], ids=repr)
@pytest.mark.parametrize("count", [1, 2])
def test_of_several_inputs(error: Exception, count: int) -> None:
    batch = images(1).expand(count, -1, -1, -1).contiguous()
    model = Refusing(seeded(Two), batch[:1], error).eval()
    given = {"x": batch, "facts": torch.ones(count, 3)}
    found = pellucid.explain(model, given, "hirescam", targets=0, runtime=pellucid.Runtime(batch_size=1))
    assert found.layers == ("inner.inner.features.4",)


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(seeded(TinyCNN).eval(), {nn.Linear})


@pytest.mark.skipif(not hasattr(torch.ao, "quantization"), reason="this torch quantises nothing")
@pytest.mark.parametrize("error", ERRORS[:3], ids=repr)
def test_of_a_quantised_network(error: Exception) -> None:
    batch = images(1)
    session = Session.of(Refusing(quantised(), batch, error).eval(), Runtime())
    assert session.is_quantised
    assert recommended(session, Inputs.of(batch)) == ("inner.features.4",)


class Scheduled(TinyViT):
    """A network with functions of the names by which others state their order."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = {0: (1, (4, 4))}

    def reroll(self, tokens: Tensor) -> Tensor:
        return tokens


def test_other_functions_of_the_same_names_state_no_order() -> None:
    model = seeded(Scheduled).eval()
    assert token_orders(model) == {}
    assert pellucid.explain(model, images(1), targets=0).heatmaps.shape == (1, 1, 32, 32)
