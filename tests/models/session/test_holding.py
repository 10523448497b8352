"""Networks that hold their modules in every way: the twin's are reached, and the user's are left alone."""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections import UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.errors import SourceError
from pellucid.models.session.twin import twin

BATCH = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))
Pair = namedtuple("Pair", "first second")


class Net(nn.Module):
    """Calls its second convolution, a norm and a dropout in a way that ``hold`` makes and ``get`` follows."""

    def __init__(self, hold: Callable[[Net], Any], get: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3)
        self.part = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, affine=False), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(4, 2)
        self.get = get
        self.held = hold(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.get(self.held)(self.first(x)).mean((2, 3)))


@dataclass
class Holder:
    part: Any


@dataclass(slots=True)
class Slotted:
    part: Any


class Attributes(dict):
    """A dictionary whose items are attributes, too."""

    __getattr__ = dict.__getitem__


class Once:
    """A copy of this is itself."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __copy__(self) -> Once:
        return self


WAYS: dict[str, tuple[Callable[[Net], Any], Callable[[Any], Any]]] = {
    "itself": (lambda net: net.part, lambda held: held),
    "list": (lambda net: [net.part], lambda held: held[0]),
    "tuple": (lambda net: (net.part, 1), lambda held: held[0]),
    "named tuple": (lambda net: Pair(net.part, 1), lambda held: held.first),
    "dict": (lambda net: {"a": net.part}, lambda held: held["a"]),
    "dict by module": (lambda net: {net.part: 2}, lambda held: next(iter(held))),
    "defaultdict": (lambda net: defaultdict(list, a=net.part), lambda held: held["a"]),
    "deque": (lambda net: deque([net.part], maxlen=3), lambda held: held[0]),
    "frozenset": (lambda net: frozenset([net.part]), lambda held: next(iter(held))),
    "weak values": (lambda net: weakref.WeakValueDictionary(a=net.part), lambda held: held["a"]),
    "UserDict": (lambda net: UserDict(a=net.part), lambda held: held["a"]),
    "class of dict": (lambda net: Attributes(part=net.part), lambda held: held.part),
    "object": (lambda net: Holder(net.part), lambda held: held.part),
    "slots": (lambda net: Slotted(net.part), lambda held: held.part),
    "namespace": (lambda net: types.SimpleNamespace(part=net.part), lambda held: held.part),
    "copied as itself": (lambda net: Once(net.part), lambda held: held.part),
    "bound method": (lambda net: net.part.forward, lambda held: held),
    "partial": (lambda net: functools.partial(nn.Module.__call__, net.part), lambda held: held),
    "weak reference": (lambda net: weakref.ref(net.part), lambda held: held()),
    "closure": (lambda net: (lambda part: lambda x: part(x))(net.part), lambda held: held),
    "default": (lambda net: lambda x, part=net.part: part(x), lambda held: held),
    "unregistered around it": (lambda net: [nn.Sequential(*net.part)], lambda held: held[0]),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_holding_modules(way: str) -> None:
    model = Net(*WAYS[way]).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    held = model.held
    plain = pellucid.explain(Net(*WAYS["itself"]), BATCH, targets=1, layers=["part.0"])
    found = pellucid.explain(model, BATCH, targets=1, layers=["part.0"])
    torch.testing.assert_close(found.attributions, plain.attributions)
    torch.testing.assert_close(found.logits, plain.logits)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.held is held
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(BATCH), found.logits)


class Slots(Net):
    """Has a slot that torch leaves empty, as it keeps submodules itself, and one with a private name."""

    __slots__ = ("__scale", "held")

    def __init__(self) -> None:
        super().__init__(lambda net: net.part, lambda held: held)
        object.__setattr__(self, "_Slots__scale", 2.0)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.__scale


def test_slots_of_a_module() -> None:
    model = Slots().train()
    found = pellucid.explain(model, BATCH, targets=1, layers=["part.0"])
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(BATCH), found.logits)


def test_a_class_ends_with_its_network() -> None:
    """A class of its own may hold much: a service explains many such networks, as torch's parametrizations make one."""

    class Own(Net):
        pass

    model = Own(*WAYS["itself"])
    pellucid.explain(model, BATCH)
    kind = weakref.ref(Own)
    del model, Own
    gc.collect()
    assert kind() is None


def test_a_global_name_in_a_forward_of_the_instances_own() -> None:
    model = Net(*WAYS["itself"])
    expected = pellucid.explain(model, BATCH, targets=1, layers=["first"])
    code = "def forward(x):\n    return network.fc(network.part(network.first(x)).mean((2, 3)))"
    names: dict[str, Any] = {"network": model}
    exec(code, names)
    model.forward = names["forward"]
    found = pellucid.explain(model.train(), BATCH, targets=1, layers=["first"])
    torch.testing.assert_close(found.attributions, expected.attributions)


def test_a_way_that_is_not_followed_is_refused() -> None:
    """A cache of C holds a bound method."""
    with pytest.raises(SourceError, match="by a way that does not lead through the model"):
        pellucid.explain(Net(lambda net: functools.lru_cache(None)(net.part.forward), lambda held: held), BATCH)


def test_nothing_is_given_back_twice() -> None:
    """A model that removes its hooks and closes its file at its end; its twin ends before it."""

    class Closing(Net):
        def __del__(self) -> None:
            ended.append(1)

    ended: list[int] = []
    model = Closing(*WAYS["itself"])
    pellucid.explain(model, BATCH)
    assert ended == []
    del model
    assert ended == [1]


def test_a_list_that_a_hook_fills_is_the_users() -> None:
    model = Net(*WAYS["itself"])
    model.seen = []
    model.part.register_forward_hook(lambda *_: model.seen.append(1))
    pellucid.explain(model, BATCH)
    assert model.seen


def test_tensors_of_a_class_of_their_own_and_attributes_of_parameters() -> None:
    class Own(nn.Parameter):
        pass

    class Scaled(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.fc.weight.scale

    model = Scaled(*WAYS["itself"])
    model.fc.weight.scale = 2.0
    model.first.weight = Own(model.first.weight.data)
    found = pellucid.explain(model, BATCH, targets=0, layers=["part.0"])
    torch.testing.assert_close(found.logits, model.eval()(BATCH).detach())
    assert model.first.weight.requires_grad


def test_a_copy_shares_memory_and_nothing_else() -> None:
    model = Net(*WAYS["itself"]).train()
    copied = twin(model)
    assert not copied.training
    assert model.training
    assert copied.part is not model.part
    assert copied.fc.weight is not model.fc.weight
    assert copied.fc.weight.data_ptr() == model.fc.weight.data_ptr()
    # Of a weight that needs no gradient torch multiplies transposed tokens one by one, also in a prediction.
    assert copied.fc.weight.requires_grad
    assert not twin(model.requires_grad_(False)).fc.weight.requires_grad
    version = copied.fc.weight._version
    with torch.no_grad():
        model.fc.weight.add_(1)
    assert copied.fc.weight._version == version
    assert torch.equal(copied.fc.weight, model.fc.weight)
