"""A model that the user compiled is explained as it is written, and stays compiled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.models.session.thread_state import kept
from tests.networks import Block, TinyCNN, TinyViT, images, seeded


@dataclass
class Backend:
    """A compiler that counts how often it compiles, and how often what it compiled runs."""

    compiled: int = 0
    ran: list[int] = field(default_factory=list)

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Tensor]) -> Callable[..., Any]:
        self.compiled += 1

        def run(*args: Any) -> Any:
            self.ran.append(threading.get_ident())
            return graph(*args)

        return run


BACKEND = Backend()


def compiled(function: Any) -> Any:
    return torch.compile(function, backend=BACKEND, fullgraph=True)


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    torch._dynamo.reset()
    BACKEND.ran.clear()
    yield
    torch._dynamo.reset()


def forward_of_the_model(model: nn.Module, _part: str) -> None:
    model.forward = compiled(model.forward)


def forward_of_a_part(model: nn.Module, part: str) -> None:
    forward_of_the_model(model.get_submodule(part), "")


def model_in_place(model: nn.Module, _part: str) -> None:
    model.compile(backend=BACKEND, fullgraph=True)


def part_in_place(model: nn.Module, part: str) -> None:
    model_in_place(model.get_submodule(part), "")


def part_as_a_child(model: nn.Module, part: str) -> None:
    parent, _, name = part.rpartition(".")
    setattr(model.get_submodule(parent), name, compiled(model.get_submodule(part)))


def twice(model: nn.Module, _part: str) -> None:
    model.forward = compiled(compiled(model.forward))


def within_a_function(model: nn.Module, _part: str) -> None:
    inner = compiled(model.forward)
    model.forward = lambda x: inner(x)


def forward_of_the_class(model: nn.Module, _part: str) -> None:
    model.__class__ = type("Compiled", (type(model),), {"forward": compiled(type(model).forward)})


def class_of_a_part(model: nn.Module, part: str) -> None:
    forward_of_the_class(model.get_submodule(part), "")


WAYS = (
    *(forward_of_the_model, forward_of_a_part, model_in_place, part_in_place, part_as_a_child, twice),
    *(within_a_function, forward_of_the_class, class_of_a_part),
)


def resnet() -> nn.Module:
    return torchvision.models.resnet18(num_classes=4)


def vit() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", depth=2, img_size=32, num_classes=4)


NETWORKS: dict[str, tuple[Any, int, str, tuple[str, ...]]] = {
    "cnn": (TinyCNN, 32, "features", ("gradcam", "guided_backprop")),
    "vit": (TinyViT, 32, "blocks.1", ("gradcam", "attnlrp")),
    "torchvision": (resnet, 32, "layer3", ("hirescam",)),
    "timm": (vit, 32, "blocks.0", ("gradient_rollout",)),
}
PUBLISHED = [
    (name, way) for name in ("torchvision", "timm") for way in (forward_of_a_part, model_in_place, part_as_a_child)
]


def alike(model: nn.Module, written: nn.Module, batch: Tensor, methods: tuple[str, ...]) -> None:
    """The maps are those of the network as it is written; the model runs compiled code as before, and no new one."""
    with torch.no_grad():
        expected = model(batch)
    compilations, ran = BACKEND.compiled, len(BACKEND.ran)
    assert ran
    for method in methods:
        found, own = (pellucid.explain(one, batch, method=method) for one in (model, written))
        torch.testing.assert_close(found.heatmaps, own.heatmaps, rtol=0, atol=1e-6)
        assert [layer.replace("_orig_mod.", "") for layer in found.layers] == list(own.layers)
    assert (BACKEND.compiled, len(BACKEND.ran)) == (compilations, ran)
    with torch.no_grad():
        torch.testing.assert_close(model(batch), expected)
    assert BACKEND.compiled == compilations
    assert len(BACKEND.ran) > ran


@pytest.mark.parametrize(("name", "way"), [*[(name, way) for name in ("cnn", "vit") for way in WAYS], *PUBLISHED])
def test_the_maps_are_those_of_the_network_as_it_is_written(name: str, way: Callable[[nn.Module, str], None]) -> None:
    make, side, part, methods = NETWORKS[name]
    model, written = seeded(make).eval(), seeded(make).eval()
    way(model, part)
    alike(model, written, images(2, side=side), methods)


class Plain(nn.Module):
    """Convolutions and attention, each of whose steps is a function that may be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 8, stride=8)
        self.block = Block(24, 3)
        self.head = nn.Linear(24, 4)

    def steps(self, x: Tensor) -> Tensor:
        return self.core(self.stem(x))

    @staticmethod
    def core(x: Tensor) -> Tensor:
        return rectified(x)

    def attended(self, x: Tensor) -> Tensor:
        return attention(*self.block.split(x)).transpose(1, 2).flatten(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.steps(x).flatten(2).transpose(1, 2)
        return self.head((x + self.attended(x)).mean(1))


def rectified(x: Tensor) -> Tensor:
    return F.relu(x) * 1.5


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(query, key, value)


compiled_rectified, compiled_attention = compiled(rectified), compiled(attention)


class ByGlobalNames(Plain):
    def steps(self, x: Tensor) -> Tensor:
        return compiled_rectified(self.stem(x))

    def attended(self, x: Tensor) -> Tensor:
        return compiled_attention(*self.block.split(x)).transpose(1, 2).flatten(2)


class OfTheClass(Plain):
    @compiled
    def steps(self, x: Tensor) -> Tensor:
        return super().steps(x)

    @compiled
    def attended(self, x: Tensor) -> Tensor:
        return super().attended(x)


class StaticOfTheClass(Plain):
    core = staticmethod(compiled_rectified)


class OfTheInstance(Plain):
    def __init__(self) -> None:
        super().__init__()
        self.core, self.attended = compiled_rectified, compiled(self.attended)


FUNCTIONS = (ByGlobalNames, OfTheClass, StaticOfTheClass, OfTheInstance)


@pytest.mark.parametrize("kind", FUNCTIONS)
def test_compiled_functions_that_no_module_holds(kind: type[nn.Module]) -> None:
    methods = ("gradcam", "guided_backprop", "ablationcam", "rollout", "gradient_rollout")
    alike(seeded(kind).eval(), seeded(Plain).eval(), images(2), methods)


def test_another_thread_runs_compiled_code_meanwhile() -> None:
    model, batch = seeded(ByGlobalNames).eval(), images(1)

    def predict() -> None:
        with torch.no_grad():
            model(batch)

    def work() -> int:
        predict()
        other = threading.Thread(target=predict)
        other.start()
        other.join()
        return len(BACKEND.ran)

    predict()
    BACKEND.ran.clear()
    assert kept(work) == 2
    assert threading.get_ident() not in BACKEND.ran
