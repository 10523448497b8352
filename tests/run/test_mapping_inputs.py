"""Networks with several inputs by name: every method explains the first, and passes the others on."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

import pellucid
from tests.contract.test_methods import METHODS, PERTURBING, few, kinds
from tests.networks import TinyCNN, TinyViT, images, seeded

pytestmark = pytest.mark.filterwarnings("ignore:layer .* depends on 'view', too")
COUNT = 3


class Patient(nn.Module):
    """An image, an age that decides how the image is used, a lesion's flags as whole numbers, and a second view."""

    def __init__(self, kind: type[nn.Module] = TinyCNN) -> None:
        super().__init__()
        self.image_part = kind()
        self.gate = nn.Linear(1, 4)
        self.flag = nn.Embedding(3, 4)

    def forward(self, image: Tensor, age: Tensor, flags: Tensor, view: Tensor) -> Tensor:
        if not len(image) == len(age) == len(flags) == len(view):
            raise ValueError(f"{len(image)} images came with {len(age)}, {len(flags)} and {len(view)} others")
        read = self.image_part(image + 0.5 * view.flip(-1))
        return read + read.roll(1, dims=1) * self.gate(age).tanh() + self.flag(flags).sum(dim=1)


def model(name: str) -> nn.Module:
    return network(kinds(name)[0])


@cache
def network(kind: type[nn.Module]) -> nn.Module:
    """All tests use the same one, and leave it as it is."""
    return seeded(Patient, kind).eval()


def inputs() -> dict[str, Tensor]:
    inputs = images(2 * COUNT)
    return {
        "image": inputs[:COUNT],
        "age": torch.tensor([[-1.0], [0.2], [1.5]]),
        "flags": torch.tensor([[0, 1], [2, 2], [1, 0]]),
        "view": inputs[COUNT:],
    }


class Fixed(nn.Module):
    """One patient's network with all but the image fixed: what a user would write without mappings."""

    def __init__(self, network: nn.Module, others: dict[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.others = others

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image, **{key: one.expand(len(image), *one.shape[1:]) for key, one in self.others.items()})


def layers(name: str, inside: str = "") -> dict[str, object]:
    if not few(name).uses_layers:
        return {}
    own = "blocks.1" if kinds(name)[0] is TinyViT else "features.2"
    return {"layers": [f"{inside}image_part.{own}"]}


def explained(name: str, **more: object) -> pellucid.Explanation:
    return pellucid.explain(model(name), inputs(), few(name), **{"targets": 3, **layers(name), **more})


@cache
def plain(name: str) -> pellucid.Explanation:
    """What other explanations are compared with."""
    return explained(name)


def atol(name: str) -> float:
    return 3e-4 if name in PERTURBING else 1e-5


@pytest.mark.parametrize("name", METHODS)
def test_the_map_is_that_of_the_image_with_the_others_fixed(name: str) -> None:
    found = plain(name)
    assert found.heatmaps.shape == (COUNT, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(name)(**inputs()), rtol=1e-5, atol=1e-5)
    for index in range(COUNT):
        one = {key: tensor[index : index + 1] for key, tensor in inputs().items()}
        fixed = Fixed(model(name), {key: tensor for key, tensor in one.items() if key != "image"})
        alone = pellucid.explain(fixed, one["image"], few(name), 3, **layers(name, "network."))
        torch.testing.assert_close(found.attributions[index], alone.attributions[0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(found.heatmaps[index], alone.heatmaps[0], rtol=0, atol=atol(name))
        assert found.why_degenerate[index] == alone.why_degenerate[0]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size", [1, 2])
def test_batches_of_any_size_give_the_same(name: str, size: int) -> None:
    whole, parts = plain(name), explained(name, runtime=pellucid.Runtime(batch_size=size))
    torch.testing.assert_close(parts.attributions, whole.attributions, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(parts.heatmaps, whole.heatmaps, rtol=0, atol=atol(name))
    torch.testing.assert_close(parts.logits, whole.logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_the_users_tensors_stay_as_they_are(name: str) -> None:
    given = inputs()
    kept = {key: tensor.clone() for key, tensor in given.items()}
    before = dict(given)
    versions = {key: tensor._version for key, tensor in given.items()}
    pellucid.explain(model(name), given, few(name), 3, **layers(name))
    assert list(given) == list(before)
    for key, tensor in given.items():
        assert tensor is before[key]
        assert torch.equal(tensor, kept[key])
        assert tensor._version == versions[key]
        assert not tensor.requires_grad
        assert tensor.grad is None


@pytest.mark.parametrize("name", [name for name in METHODS if few(name).class_specific])
def test_the_others_count(name: str) -> None:
    """A changed age changes its own image's map and no other's."""
    changed = inputs()
    changed["age"][1] = -3.0
    found = pellucid.explain(model(name), changed, few(name), 3, **layers(name))
    before = plain(name)
    assert not torch.allclose(found.attributions[1], before.attributions[1], rtol=1e-4, atol=0)
    for index in (0, 2):
        torch.testing.assert_close(found.attributions[index], before.attributions[index], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in METHODS if few(name).uses_layers])
def test_the_layer_that_is_found_sees_the_image(name: str) -> None:
    found = pellucid.explain(model(name), inputs(), few(name), 3)
    assert found.layers == (f"image_part.{'blocks.1' if kinds(name)[0] is TinyViT else 'features.4'}",)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gradcam", "saliency", "ablationcam"])
def test_whole_numbers_stay_whole_in_half_precision(name: str, precision: str) -> None:
    half, exact = explained(name, runtime=pellucid.Runtime(precision=precision)), plain(name)
    for one, other in zip(half.heatmaps, exact.heatmaps, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.9


def test_the_order_of_the_entries_decides_what_is_explained() -> None:
    network = model("saliency")
    given = inputs()
    turned = {"view": given["view"], **{key: tensor for key, tensor in given.items() if key != "view"}}
    found = pellucid.explain(network, turned, "saliency", 3)
    view = given["view"].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(**{**given, "view": view})[:, 3].sum(), view)
    torch.testing.assert_close(found.attributions[:, 0], gradient.abs().amax(dim=1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["scorecam", "occlusion", "rise", "ablationcam", "integrated_gradients"])
def test_a_callable_that_knows_the_batch_is_refused_where_images_are_asked_about_alone(name: str) -> None:
    with pytest.raises(pellucid.PellucidError, match="scores an image otherwise on its own") as caught:
        pellucid.explain(seeded(TinyCNN), images(4), name, targets=lambda z: z[:, 0] * torch.arange(1.0, len(z) + 1))
    assert "\n" not in str(caught.value)
    with pytest.raises(pellucid.PellucidError, match=r"failed on the model.s output .*: IndexError: ") as caught:
        pellucid.explain(seeded(TinyCNN), images(4), name, targets=lambda z: z[:, 9])
    assert "\n" not in str(caught.value)
