"""The head of a network read from its weights: layers in a row, and what is assumed to lie between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from torch import Tensor, nn

from pellucid.errors import OptionError, did_you_mean
from pellucid.models.checkpoints.pooling import ConcatPool
from pellucid.models.checkpoints.reference import Slot
from pellucid.models.checkpoints.refusals import OWN

LONGEST = 32  # layers
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "none": nn.Identity,
}
"""What may be between two linear layers of a head, by the names that the user gives."""


@dataclass(frozen=True, eq=False)
class Head:
    """Layers that stand in place of an architecture's head, and their weights by their positions.

    ``assumed``: whether something of it does not show in weights, as the activation between two layers.
    ``activations`` are the positions of those that are assumed. ``pooled``: it follows fastai's pooling, which does not
    show either.
    """

    layers: tuple[nn.Module, ...]
    state: Mapping[str, Tensor]
    assumed: bool
    activations: tuple[int, ...] = ()
    pooled: bool = False

    def after(self, *modules: nn.Module) -> Head:
        """Return the head with modules without weights before it."""
        start = len(modules)
        parts = {key: key.partition(".") for key in self.state}
        state = {f"{int(number) + start}.{rest}": self.state[key] for key, (number, _, rest) in parts.items()}
        activations = tuple(at + start for at in self.activations)
        return replace(self, layers=(*modules, *self.layers), state=state, activations=activations)

    def activated(self, name: str) -> Head:
        """Return the head with the activations that its user knows. ``OptionError``: it has no place for any."""
        if not self.activations:
            raise OptionError(f"activation={name!r} was given; the head, {self}, has no place for one: leave it out")
        layers = [ACTIVATIONS[name]() if at in self.activations else one for at, one in enumerate(self.layers)]
        others = (one for at, one in enumerate(self.layers) if at not in self.activations)
        assumed = self.pooled or not all(isinstance(one, nn.Linear) for one in others)
        return replace(self, layers=tuple(layers), assumed=assumed, activations=())

    @property
    def note(self) -> str:
        """What the user must know of what is assumed."""
        activation = "give activation=…, as in activation='gelu' or 'none', or "
        cure = f"{activation}{OWN.removeprefix('give ')}" if self.activations else OWN
        return (
            f"the head is taken for {self}: what is between its layers is not in a weights file; if it was something "
            f"else, the maps are wrong: {cure}"
        )

    def built(self) -> nn.Sequential:
        """Return the layers with memory for their weights, which are still to be loaded."""
        made = nn.Sequential(*self.layers).to_empty(device="cpu")
        for layer in made:
            if isinstance(layer, nn.BatchNorm1d):
                layer.reset_running_stats()
        return made

    def __str__(self) -> str:
        """As ``Linear(512, 64), ReLU, Linear(64, 2)``."""
        before = ["AdaptiveConcatPool2d (maximum and mean)"] if self.pooled else []
        shown = [layer for layer in self.layers if not isinstance(layer, (ConcatPool, nn.Flatten))]
        return ", ".join([*before, *map(_described, shown)])


def check_activation(name: object) -> None:
    """Raise for an activation that there is not."""
    if name is not None and not (isinstance(name, str) and name in ACTIVATIONS):
        raise OptionError(
            f"activation must be one of {', '.join(ACTIVATIONS)}, got {name!r}{did_you_mean(str(name), ACTIVATIONS)}"
        )


def read_head(weights: Mapping[str, Tensor], slot: Slot) -> Head | None:
    """Return the head that has these weights and takes ``slot.width`` features; None if they are no row of layers.

    Linear, BatchNorm1d, LayerNorm and PReLU show in their weights. Between two linear layers a ReLU is assumed, unless
    their positions show that nothing is there.
    """
    owners: dict[str, dict[str, Tensor]] = {}
    for key, value in weights.items():
        owner, _, kind = key.rpartition(".")
        owners.setdefault(owner, {})[kind] = value
    if not 0 < len(owners) <= LONGEST:
        return None
    rows = [row for order in _orders(list(owners)) if (row := _row(order, owners, slot.width)) is not None]
    if not rows or any(row != rows[0] for row in rows):
        return None
    return _with_activations(rows[0], owners, slot)


def _orders(owners: list[str]) -> list[list[str]]:
    """The orders that the layers may be in: that of their numbers, else also that of the file."""
    numbered = sorted(owners, key=_natural)
    return [numbered] if _positions(owners) else [owners, numbered]


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Sort the numbers in a name by their size."""
    return [(0, int(part[:18]), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _positions(owners: Sequence[str]) -> list[int]:
    """The places of the layers in the one nn.Sequential that holds them; none if there is no such one."""
    parents = {owner.rpartition(".")[0] for owner in owners}
    last = [owner.rpartition(".")[2] for owner in owners]
    return [int(each) for each in last] if len(parents) == 1 and all(each.isdecimal() for each in last) else []


def _row(order: Sequence[str], owners: Mapping[str, Mapping[str, Tensor]], width: int) -> list[str] | None:
    """Return the order if each layer takes what the one before it returns, and the last is linear."""
    kind: type[nn.Module] | None = None
    for owner in order:
        layer = _layer(owners[owner], width)
        if layer is None:
            return None
        kind, width = type(layer), layer.out_features if isinstance(layer, nn.Linear) else width
    return list(order) if kind is nn.Linear else None


def _layer(weights: Mapping[str, Tensor], width: int) -> nn.Module | None:
    """Return the layer that has these weights and takes this many features, without memory for its own."""
    shapes = {name: tuple(value.shape) for name, value in weights.items() if name != "num_batches_tracked"}
    shape = shapes.get("weight", ())
    if len(shape) == 2:
        made: nn.Module = nn.Linear(width, shape[0], "bias" in shapes, device="meta")
    elif "running_mean" in shapes:
        made = nn.BatchNorm1d(width, affine="weight" in shapes, device="meta")
    elif "bias" in shapes:
        made = nn.LayerNorm(width, device="meta")
    else:
        made = nn.PReLU(device="meta")
    own = {name: tuple(value.shape) for name, value in made.state_dict().items() if name != "num_batches_tracked"}
    return made if own == shapes else None


def _with_activations(order: Sequence[str], owners: Mapping[str, Mapping[str, Tensor]], slot: Slot) -> Head:
    """Put the layers in a row, with a ReLU between two that are linear where something without weights is."""
    between = _activations(order, owners)
    layers: list[nn.Module] = []
    state: dict[str, Tensor] = {}
    activations: list[int] = []
    width = slot.width
    for owner in order:
        layer = _layer(owners[owner], width)
        state |= {f"{len(layers)}.{kind}": value for kind, value in owners[owner].items()}
        layers += [] if layer is None else [layer]
        if owner in between:
            activations.append(len(layers))
            layers.append(nn.ReLU())
        width = layer.out_features if isinstance(layer, nn.Linear) else width
    assumed = not all(isinstance(layer, nn.Linear) for layer in layers)
    return Head(tuple(layers), state, assumed, tuple(activations))


def _activations(order: Sequence[str], owners: Mapping[str, Mapping[str, Tensor]]) -> set[str]:
    """Return the layers after which an activation is assumed: of those between two linear ones, the first with room."""
    linear = [index for index, owner in enumerate(order) if owners[owner]["weight"].ndim == 2]
    places = _positions(order)
    found = set()
    for start, end in pairwise(linear):
        known = any(tuple(owners[owner]["weight"].shape) == (1,) for owner in order[start:end])  # PReLU
        room = [at for at in range(start, end) if (places[at + 1] - places[at] > 1 if places else at == end - 1)]
        found |= {order[at] for at in room[:1] if not known}
    return found


def _described(layer: nn.Module) -> str:
    name = type(layer).__name__
    if isinstance(layer, nn.Linear):
        return f"{name}({layer.in_features}, {layer.out_features})"
    return name
