"""Which layer to explain where none is named: the last one that still knows where things are.

Of the modules whose output is spatial (larger than 1×1), the one that finishes last, leaving out pooling,
dropout, flatten and identity modules, every module that contains the first convolution, and modules that run
more than once; and of these the last from which the class score has a non-zero gradient on the places
(a ViT's last norm has none: only its class token goes on). After all others come linear layers, which project within a
block or to classes, and modules that get the same tensor as one beside them: a part of the score goes by other ways.

Of a network that answers with a map of logits, those on the coarsest grid come first (but for adaptive pooling's,
as a pyramid of poolings has), there the one that finishes last; then the next finer ones. Left out are the layers
that are the map itself, or a summand of it: with as many channels as classes, where the gradient of a class
lies in the one channel.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Images, cut, explained, with_explained
from pellucid.core.target import Targets
from pellucid.errors import GradientError, NoSpatialLayerError
from pellucid.models.engine.batch import Batch
from pellucid.models.engine.noise import noise_like
from pellucid.models.engine.search import without_zeros
from pellucid.models.engine.session import Session
from pellucid.models.engine.trace import Key, Trace

_PASSIVE = re.compile(r"Pool|Drop|Flatten|Identity|StochasticDepth|Permute")
_AT_ONCE = 24
"""Candidates checked in one pass; a class-token ViT's is about the tenth."""

_CHOSEN: WeakKeyDictionary[nn.Module, dict[Key, str]] = WeakKeyDictionary()


def recommended_layer(session: Session, images: Images) -> str:
    """The layer to explain, found once for a model and an input shape."""
    chosen = _CHOSEN.setdefault(session.model, {})
    key = session.key(images)
    if key not in chosen:
        chosen[key] = _choose(session, cut(images, 0, 1))
    return chosen[key]


def candidates(trace: Trace, network: nn.Module) -> list[str]:
    """The layers that the rule allows, the one that finishes last first."""
    modules = dict(network.named_modules())
    names = [name for name in reversed(trace.shapes) if name in modules and _allowed(name, modules, trace)]
    layouts = {name: trace.layout(name, modules[name]) for name in names}
    placed = [name for name in names if layouts[name] is not None]
    parts = [name for name in placed if isinstance(modules[name], nn.Linear) or _is_a_part(name, trace)]
    found = [name for name in placed if name not in parts]
    # Of tokens, those as wide as the last ones.
    width = next((trace.shapes[name][-1] for name in found if len(trace.shapes[name]) == 3), None)
    found = [name for name in found if len(trace.shapes[name]) != 3 or trace.shapes[name][-1] == width] + parts
    if len(trace.answer) == 2:
        return found
    adaptive = {trace.shapes[name][2:] for name in trace.shapes if "Adaptive" in type(modules.get(name)).__name__}
    grids = {name: layout.grid for name, layout in layouts.items() if layout is not None}
    return sorted(found, key=lambda name: (grids[name] in adaptive, math.prod(grids[name])))


def _is_a_part(name: str, trace: Trace) -> bool:
    """Whether a module gets what another one beside it gets, or stands in one that does so for an attention."""
    around = {call.modules[-1] for call in trace.calls}
    above = [name[:end] for end, sign in enumerate(name) if sign == "."]
    return name in trace.branches or any(one in trace.branches and one.rpartition(".")[0] in around for one in above)


def _allowed(name: str, modules: dict[str, nn.Module], trace: Trace) -> bool:
    first = trace.first_convolution or ""
    if not name or first.startswith(name + ".") or trace.runs[name] > 1:
        return False
    return not _is_passive(modules[name]) or _ends_trunk(name, modules, first)


def _is_passive(module: nn.Module) -> bool:
    """Pooling, dropout, flatten, identity, transposition: nothing is computed."""
    return bool(_PASSIVE.search(type(module).__name__)) and next(module.parameters(), None) is None


def _ends_trunk(name: str, modules: dict[str, nn.Module], first: str) -> bool:
    """Whether a max pooling is the last child of the part that the first convolution stands in (VGG, AlexNet).

    The rest of the network sees no more than what it lets through, so it is a layer like others there.
    """
    parent, _, own = name.rpartition(".")
    if not parent or not first.startswith(parent + ".") or "MaxPool" not in type(modules[name]).__name__:
        return False
    return own == list(modules[parent]._modules)[-1]


def _choose(session: Session, image: Images) -> str:
    trace = session.trace(image)
    # By noise, so that the choice depends on the model and the shape alone, and not on which image came first.
    noise = with_explained(image, noise_like(explained(image)))
    allowed = _dependent(session, image, noise, candidates(trace, session.network))
    for group in _grouped(allowed):
        for reached in _tries(session, noise, image, group):
            if any(reached):
                return group[reached.index(True)]
    raise NoSpatialLayerError(_nothing_found(trace, allowed))


def _tries(session: Session, noise: Images, image: Images, group: list[str]) -> Iterator[list[bool]]:
    yield _reached(session, noise, group)
    yield _reached(without_zeros(session), noise, group)
    yield _reached(session, image, group)


def _dependent(session: Session, image: Images, other: Images, layers: list[str]) -> list[str]:
    """Of a network with several inputs, the layers whose output changes with the explained one."""
    if isinstance(image, Tensor) or len(image) == 1:
        return layers
    one, two = session.sums(image), session.sums(other)
    return [layer for layer in layers if one[layer] != two[layer]]


def _grouped(names: Sequence[str]) -> Iterator[list[str]]:
    """The first on its own, which is the one on most networks; then as many as one pass can check."""
    rest = iter(names)
    yield from ([name] for name in islice(rest, 1))
    while group := list(islice(rest, _AT_ONCE)):
        yield group


def _reached(session: Session, image: Images, layers: list[str]) -> list[bool]:
    """Which layers the predicted class's score has a non-zero gradient at, but for the map of logits itself."""
    batch = Batch(session, image, layers)
    targets = Targets("predicted")
    try:
        gradients = [batch.gradient(layer, targets)[0, 0] for layer in layers]
    except GradientError:
        # One of them is out of reach (a detach after it): each on its own.
        return [False] if len(layers) == 1 else [_reached(session, image, [layer])[0] for layer in layers]
    logits = batch.logits()
    own = int(targets.indices(logits)) if session.head != "binary" else 0
    count = logits.shape[1] if session.head != "binary" else 1
    is_map = [logits.ndim > 2 and _is_answer(gradient, own, count) for gradient in gradients]
    return [bool((one != 0).any()) and not answer for one, answer in zip(gradients, is_map, strict=True)]


def _is_answer(gradient: Tensor, own: int, count: int) -> bool:
    """Whether a layer is the map of logits or a summand of it, by a class's gradient (C, *grid) at it."""
    others = [channel for channel in range(len(gradient)) if channel != own]
    return len(gradient) == count and not (gradient[others] != 0).any()


def _nothing_found(trace: Trace, allowed: Sequence[str]) -> str:
    looked = f"a layer with more than one place and a gradient was looked for in {len(trace.shapes)} layers"
    if allowed:
        found = f"{len(allowed)} have places, and none a gradient of the predicted class"
    else:
        shapes = sorted({shape[1:] for shape in trace.shapes.values()}, key=len, reverse=True)
        found = "the outputs have the shapes " + ", ".join(map(str, shapes[:5])) if shapes else "none gave a tensor"
    return (
        f"{looked}; {found}: name one with layers=[…], or use a method that needs no layer, such as "
        f"{' or '.join(black_box_methods())}"
    )


def sample_images(
    network: nn.Module, asked: Sequence[int] | None, stated: tuple[int, ...] | None, like: Tensor
) -> Iterator[Tensor]:
    """Seeded noise (1, C, *space) of the size that is asked for, else of those that the network may take.

    First comes what its source states, then common sizes.
    """
    for shape in _sizes(network, asked, stated):
        yield noise_like(like.new_zeros(1, *shape))


_SIDES = {1: (), 2: (224, 32, 28, 64, 96, 128, 256, 299, 384, 512), 3: (32, 64, 96, 112, 128)}


def _sizes(
    network: nn.Module, asked: Sequence[int] | None, stated: tuple[int, ...] | None
) -> Iterator[tuple[int, ...]]:
    first = next((m for m in network.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    channels = first.in_channels if first is not None else 3
    rank = len(first.kernel_size) if first is not None else 2
    if asked is not None:
        yield (channels, *asked) if len(asked) == rank else tuple(asked)
        return
    if stated is not None:
        yield stated
    yield from ((channels, *(side,) * rank) for side in _SIDES[rank])
