"""Which layers to explain if none is named: the deepest that have spatial positions and carry the score.

Of the modules whose output is spatial (larger than 1×1), those are left out that only pool, drop out, flatten or pass
on, that contain the first convolution, and that run again and again on what they have seen. Of the rest, the last to
finish at whose positions the class score has a non-zero gradient is the deepest. Linear layers, which project within
a block or to classes, come after all others, and so do modules that get the same tensor as one beside them: a part of
the score goes by other ways. How much of the score passes through is then measured (``choice``).

In a network that outputs a map of logits, layers on the coarsest grid come first (adaptive pooling's last, as a pyramid
of poolings has), there the one that finishes last; then those on the next finer grid. Layers that are the map itself,
or a summand of it, are left out: they have as many channels as classes, and the gradient of a class lies in the one
channel. Such networks carry details past their coarse layers by design, and the share does not decide.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Inputs
from pellucid.core.target import Targets
from pellucid.core.torch_private import CONVOLUTION, dynamic_weights
from pellucid.errors import GradientError, NoSpatialLayerError
from pellucid.models.discovery.choice import by_passage
from pellucid.models.discovery.noise import noise_image, noise_like, without_zeros
from pellucid.models.discovery.passage import ENOUGH, Group, share
from pellucid.models.discovery.places import layout_of
from pellucid.models.discovery.profile import ModelProfile, is_linear
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.several_inputs import dependent, joined
from pellucid.models.discovery.views import MOST_ENTRIES
from pellucid.models.session.cache import remembered_while
from pellucid.models.session.derivatives import as_float, as_like
from pellucid.models.session.hooks import first_tensor, forwards, replaced
from pellucid.models.session.layer_pass import arriving
from pellucid.models.session.session import Session

_PASSIVE = re.compile(r"Pool|Drop|Flatten|Identity|StochasticDepth|Permute")
_AT_ONCE = 24
"""Candidates checked in one pass; a class-token ViT's is about the tenth."""


def recommended(session: Session, inputs: Inputs) -> Group:
    """The layers to explain: one, or several that are joined by a sum.

    They are found once for a model, its parameters and an input shape: as it learns, the score may take other ways.
    """
    key = ("layer", session.key(inputs))
    return remembered_while(session.model, key, session.weights, lambda: _choose(session, inputs[:1]))


def share_of(session: Session, inputs: Inputs, layers: Group) -> float | None:
    """How much of the score passes through some layers together; None where that is not measured.

    Of networks that output a map of logits it is not, as their details pass by their coarse layers by design.
    """
    image = inputs[:1]
    return share(session, image, layers) if len(profile_of(session, image).output_shape) == 2 else None


def candidates(profile: ModelProfile, network: nn.Module) -> list[str]:
    """The layers that the rule allows, in the order in which they are tried."""
    modules = dict(network.named_modules())
    names = [name for name in reversed(profile.shapes) if name in modules and _allowed(name, modules, profile)]
    layouts = {name: profile.layout(name, modules[name]) for name in names}
    placed = [name for name in names if layouts[name] is not None]
    parts = [name for name in placed if _is_part(name, modules, profile)]
    found = [name for name in placed if name not in parts]
    # Of token outputs, only those as wide as the last ones.
    width = next((profile.shapes[name][-1] for name in found if len(profile.shapes[name]) == 3), None)
    found = [name for name in found if len(profile.shapes[name]) != 3 or profile.shapes[name][-1] == width] + parts
    if len(profile.output_shape) == 2:
        return found
    adaptive = {profile.shapes[name][2:] for name in profile.shapes if "Adaptive" in type(modules.get(name)).__name__}
    grids = {name: layout.grid for name, layout in layouts.items() if layout is not None}
    return sorted(found, key=lambda name: (grids[name] in adaptive, math.prod(grids[name])))


def _is_part(name: str, modules: Mapping[str, nn.Module], profile: ModelProfile) -> bool:
    """Whether only a part of the score goes through a module in any network."""
    return is_linear(modules[name]) or _is_branch(name, profile)


def _is_branch(name: str, profile: ModelProfile) -> bool:
    """Whether a module shares its input with a sibling, or is inside such a module of an attention."""
    around = {call.modules[-1] for call in profile.attention_calls}
    above = [name[:end] for end, sign in enumerate(name) if sign == "."]
    return name in profile.branches or any(
        one in profile.branches and one.rpartition(".")[0] in around for one in above
    )


def _allowed(name: str, modules: dict[str, nn.Module], profile: ModelProfile) -> bool:
    first = profile.first_convolution or ""
    if not name or first.startswith(name + ".") or profile.runs_again(name):
        return False
    return not _is_passive(modules[name]) or _ends_trunk(name, modules, first)


def _is_passive(module: nn.Module) -> bool:
    """Whether a module is pooling, dropout, flatten, identity or a permutation, without parameters."""
    return bool(_PASSIVE.search(type(module).__name__)) and next(module.parameters(), None) is None


def _ends_trunk(name: str, modules: dict[str, nn.Module], first: str) -> bool:
    """Whether a max pooling is the last child of the module that contains the first convolution (VGG, AlexNet).

    The rest of the network gets only the pooling's output, so it is a candidate there.
    """
    parent, _, own = name.rpartition(".")
    if not parent or not first.startswith(parent + ".") or "MaxPool" not in type(modules[name]).__name__:
        return False
    return own == list(modules[parent]._modules)[-1]


def _choose(session: Session, image: Inputs) -> Group:
    profile = profile_of(session, image)
    # On noise, so that the choice depends on the model and the shape only, not on which image came first.
    noise = noise_image(image)
    allowed = dependent(session, image, noise, profile, candidates(profile, session.network))
    shared = joined(session, image, profile)
    alone = [layer for layer in allowed if layer not in shared]
    if len(alone) < len(allowed) and len(profile.output_shape) == 2:
        found = _chosen(session, image, noise, profile, alone)
        if found is not None and (share(session, image, found) or 0.0) >= ENOUGH:
            return found
    found = _chosen(session, image, noise, profile, allowed)
    if found is None:
        raise NoSpatialLayerError(_nothing_found(profile, allowed))
    return found


def _chosen(
    session: Session, image: Inputs, noise: Inputs, profile: ModelProfile, allowed: Sequence[str]
) -> Group | None:
    """The layers to explain among those that are allowed, deepest first; None: none has a gradient."""
    deepest = _deepest(session, image, noise, allowed)
    if deepest is None:
        return None
    if len(profile.output_shape) > 2:
        return (deepest,)
    modules = session.modules(allowed)
    parts = [name for name in allowed if _is_part(name, modules, profile)]
    return by_passage(session, image, allowed[allowed.index(deepest) :], parts)


def _deepest(session: Session, image: Inputs, noise: Inputs, allowed: Sequence[str]) -> str | None:
    """The first of the layers at which a gradient of the score arrives: on noise, else on the image."""
    find = _first_that_changes if session.is_quantised else _first_with_gradient
    with suppress(Exception):  # of a network that does not take noise
        found = find(session, noise, allowed)
        if found is not None:
            return found
    return find(session, image, allowed)


def _first_with_gradient(session: Session, image: Inputs, layers: Sequence[str]) -> str | None:
    """The first of the layers at which a gradient of the score arrives, all-zero weights replaced if need be."""
    filled = without_zeros(session)
    for group in _grouped(layers):
        for one in [session] if filled is session else [session, filled]:
            arrives = _gradient_arrives(one, image, group)
            if any(arrives):
                return group[arrives.index(True)]
    return None


def _first_that_changes(session: Session, image: Inputs, layers: Sequence[str]) -> str | None:
    """The first of the layers with whose spatial positions the scores change: where torch has no gradients."""
    with forwards(_dynamic_layers(session.network)):
        expected = session.call(image)
        for layer in layers:
            hook = session.modules([layer])[layer].register_forward_hook(_changer(session, image, layer))
            with ExitStack() as stack, suppress(Exception):  # of a network that does not take the changed output
                stack.callback(hook.remove)
                if not torch.equal(session.call(image), expected):
                    return layer
    return None


def _changer(session: Session, image: Inputs, layer: str) -> Callable[[nn.Module, object, object], object]:
    """A hook that changes a layer's output at its spatial positions."""

    def change(_module: nn.Module, _inputs: object, output: object) -> object:
        known = first_tensor(output)
        if known is None:
            return output
        values, layout = as_float(known), layout_of(session, profile_of(session, image), layer, known.shape, len(image))
        cells = layout.spatial(values)
        # In another order, so that they stay within the range that can be quantised.
        other = layout.restored(cells.flatten()[noise_like(cells).flatten().argsort()].reshape(cells.shape), values)
        return replaced(output, known, as_like(other, known))

    return change


def _dynamic_layers(network: nn.Module) -> dict[nn.Module, Callable[..., Tensor]]:
    """Dynamically quantised linear layers, as float ones.

    They round all of their input by its range: what one token is changes every other one a little.
    """
    found: dict[nn.Module, Callable[..., Tensor]] = {}
    for module in network.modules():
        weights = dynamic_weights(module)
        if weights is not None:
            found[module] = partial(F.linear, weight=weights[0], bias=weights[1])
    return found


def _grouped(names: Sequence[str]) -> Iterator[list[str]]:
    """The first name alone, which is the choice in most networks; then groups that one pass can check."""
    rest = iter(names)
    yield from ([name] for name in islice(rest, 1))
    while group := list(islice(rest, _AT_ONCE)):
        yield group


def _gradient_arrives(session: Session, image: Inputs, layers: list[str]) -> list[bool]:
    """Whether the predicted class's score has a non-zero gradient at each layer; False for the map of logits itself.

    Where some of them cannot be asked together, those after the first at which one arrives are not looked at.
    """
    targets = Targets("predicted")
    profile = profile_of(session, image)
    try:
        logits, found = arriving(session, image, [profile.captured(layer) for layer in layers], targets)
    except GradientError:  # of one of them, as of one that runs under inference_mode
        half = len(layers) // 2
        first = _gradient_arrives(session, image, layers[:half]) if half else []
        is_left = half and not any(first)
        rest = _gradient_arrives(session, image, layers[half:]) if is_left else [False] * (len(layers) - half)
        return [*first, *rest]
    is_binary = session.head_for(session.known(image)) in ("binary", "regression")
    own, count = (0, 1) if is_binary else (int(targets.indices(logits)), logits.shape[1])
    arrives = []
    for layer, gradient in zip(layers, found, strict=True):
        entries = [] if gradient is None else _spatial(session, image, layer, gradient)
        is_map = bool(entries) and logits.ndim > 2 and _is_output(entries[0], own, count)
        arrives.append(not is_map and any(bool((entry != 0).any()) for entry in entries))
    return arrives


def _spatial(session: Session, image: Inputs, layer: str, gradient: Tensor) -> list[Tensor]:
    """One class's gradient (1, *output) at a layer of one image, as (C, *grid) of each entry of the batch."""
    profile = profile_of(session, image)
    layout = layout_of(session, profile, profile.captured(layer), gradient.shape[1:], len(image))
    return [replace(layout, entry=entry).spatial(gradient[0])[0] for entry in range(layout.entries)]


def _is_output(gradient: Tensor, own: int, count: int) -> bool:
    """Whether a layer is the map of logits or a summand of it, by a class's gradient (C, *grid) at it."""
    others = [channel for channel in range(len(gradient)) if channel != own]
    return len(gradient) == count and not (gradient[others] != 0).any()


def _nothing_found(profile: ModelProfile, allowed: Sequence[str]) -> str:
    looked = (
        f"a layer with more than one spatial position and a gradient was looked for in {len(profile.shapes)} layers"
    )
    if allowed:
        return (
            f"{looked}; {len(allowed)} have spatial positions, and none a gradient of the predicted class, as before a "
            "detach, a rounding, inference_mode or a reentrant checkpoint: take that out, or use a method that needs "
            f"no layer, such as {' or '.join(black_box_methods())}"
        )
    shapes = sorted({shape[1:] for shape in profile.shapes.values()}, key=len, reverse=True)
    found = "the outputs have the shapes " + ", ".join(map(str, shapes[:5])) if shapes else "none gave a tensor"
    if profile.grids.unplaced:
        return (
            f"{looked}; the tokens follow no parts of the image, as slices, views or pruned tokens do: use a method "
            f"that needs no layer, such as {' or '.join(black_box_methods())}"
        )
    if profile.parts:
        return (
            f"{looked}; the network passes {profile.parts} parts of an image as entries of a batch, and no more than "
            f"{MOST_ENTRIES} are followed: use a method that needs no layer, such as {' or '.join(black_box_methods())}"
        )
    if any(profile.moves(name) for name in profile.shapes if len(profile.shapes[name]) > 2):
        return (
            f"{looked}; their positions are no fixed places of the image, as where it is projected, turned, or cropped "
            "or mirrored by what it shows: do that before the network, or use a method that needs no layer, such as "
            f"{' or '.join(black_box_methods())}"
        )
    return (
        f"{looked}; {found}: name one with layers=[…], or use a method that needs no layer, such as "
        f"{' or '.join(black_box_methods())}"
    )


def sample_images(
    network: nn.Module, asked: Sequence[int] | None, stated: tuple[int, ...] | None, like: Tensor
) -> Iterator[Tensor]:
    """Seeded noise (1, C, *space) of the requested size, else of sizes that the network may accept.

    The size that the model's source states comes first, then common sizes.
    """
    for shape in _sizes(network, asked, stated):
        yield noise_like(like.new_zeros(1, *shape))


_SIDES = {1: (), 2: (224, 32, 28, 64, 96, 128, 256, 299, 384, 512), 3: (32, 64, 96, 112, 128)}


def _sizes(
    network: nn.Module, asked: Sequence[int] | None, stated: tuple[int, ...] | None
) -> Iterator[tuple[int, ...]]:
    first = next((m for m in network.modules() if isinstance(m, CONVOLUTION)), None)
    channels = first.in_channels if first is not None else 3
    rank = len(first.kernel_size) if first is not None else 2
    if asked is not None:
        yield (channels, *asked) if len(asked) == rank else tuple(asked)
        return
    if stated is not None:
        yield stated
    yield from ((channels, *(side,) * rank) for side in _SIDES[rank])
