"""Recognise the architecture of weights by their names and shapes, and load them strictly."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

from torch import Tensor, nn

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.reference import (
    LayerSizes,
    Reference,
    describe,
    matched,
    needed,
    parted,
    weightless,
    wrapped,
)
from pellucid.models.operators import imported

SHARED = 0.25  # fraction of names that a state shares with the smallest member of its family


@dataclass(frozen=True)
class Recognised:
    """The architecture of weights, as a specification for ``load_model``, and their sizes."""

    spec: str
    num_classes: int | None
    in_channels: int | None


def recognise(state: dict[str, Tensor]) -> Recognised:
    """Find the one architecture whose weights have these names and shapes, torchvision's before timm's.

    The last layer may have any number of classes, the first convolution any number of channels.
    ``CheckpointError``: none fits, or several do. They compute different things, so none is guessed.
    """
    tried: list[Reference] = []
    for candidates in (torchvision_candidates, timm_candidates):
        alike = list(candidates(state))
        fitting = [each for each in alike if each.fits(matched(state, each)[0])]
        if len(fitting) > 1:
            raise _several(fitting)
        if fitting:
            return Recognised(fitting[0].spec, *fitting[0].sizes(matched(state, fitting[0])[0]))
        tried += alike
    raise _unknown(tried, state)


def torchvision_candidates(state: dict[str, Tensor]) -> Iterator[Reference]:
    """Yield every member of a family that resembles the state, and one of each other family."""
    for family in torchvision_families().values():
        smallest = reference(min(family, key=lambda name: (len(name), name)))
        if _overlap(smallest, state) >= SHARED:
            yield from (reference(name) for name in family)
        else:
            yield smallest


def torchvision_families() -> Mapping[str, Sequence[str]]:
    """Return the names of torchvision's classification models, those of one file together."""
    torchvision = imported("torchvision")
    families = defaultdict(list)
    for name in torchvision.models.list_models(module=torchvision.models):
        families[torchvision.models.get_model_builder(name).__module__].append(name)
    return families


@cache
def reference(name: str) -> Reference:
    """Describe the weights of a torchvision architecture."""
    torchvision = imported("torchvision")
    with weightless():
        return describe(f"torchvision:{name}", torchvision.models.get_model(name, weights=None))


def timm_candidates(state: dict[str, Tensor]) -> Iterator[Reference]:
    """Return timm's models that have the state's first layer, and no layer of a size that the state lacks."""
    timm = imported("timm")
    sizes = LayerSizes.of(state)
    for name in timm.list_models():
        if _has_first_layer(timm.get_pretrained_cfg(name), state):
            # Constructors that compute with their weights, or make a layer that does not fit, are skipped.
            with suppress(RuntimeError, NotImplementedError, ValueError), weightless(sizes):
                yield describe(f"timm:{name}", timm.create_model(name))


def _has_first_layer(settings: object, state: Mapping[str, Tensor]) -> bool:
    first = getattr(settings, "first_conv", None)
    names = [first] if isinstance(first, str) else first or []
    return any(f"{prefix}{name}.weight" in state for name in names for prefix in ("", "backbone."))


def _overlap(candidate: Reference, state: dict[str, Tensor]) -> float:
    variants = (state, *wrapped(state, candidate), *(inside for _, inside, _ in parted(state)))
    shared = max(len(candidate.shapes.keys() & variant.keys()) for variant in variants)
    return shared / max(1, min(len(candidate.shapes), len(state)))


def _likeness(candidate: Reference, state: dict[str, Tensor]) -> int:
    """Return the number of shared names minus the number of missing ones."""
    shared = len(candidate.shapes.keys() & matched(state, candidate)[0].keys())
    return 2 * shared - len(candidate.shapes)


def _several(fitting: Sequence[Reference]) -> CheckpointError:
    listed = ", ".join(each.spec for each in fitting[:8]) + (", …" if len(fitting) > 8 else "")
    return CheckpointError(
        f"the weights fit {len(fitting)} architectures that compute differently, {listed}; choose with --model"
    )


def _unknown(tried: Sequence[Reference], state: dict[str, Tensor]) -> CheckpointError:
    closest = max(tried, key=lambda each: _likeness(each, state))
    if not closest.shapes.keys() & matched(state, closest)[0].keys():
        return CheckpointError(
            f"no known architecture has weights named {_few(sorted(state))}; say which it is with --model"
        )
    return CheckpointError(
        f"the weights fit no known architecture; {differences(closest, matched(state, closest)[0])} for the "
        f"closest, {closest.spec}; say which it is with --model"
    )


def differences(expected: Reference, state: Mapping[str, Tensor], strict: bool = False) -> str:
    """Describe in one line why a state does not fit; "" if it fits. ``strict``: no size is free."""
    free = {} if strict else expected.free
    missing = sorted(needed(expected.shapes) - state.keys())
    unexpected = sorted(state.keys() - expected.shapes.keys())
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {shape}"
        for key, shape in expected.shapes.items()
        if key in state and tuple(state[key].shape) != shape and key not in free
    ]
    parts = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    return "; ".join(f"{len(keys)} {what} ({_few(keys)})" for what, keys in parts if keys)


def _few(names: Sequence[str], count: int = 5) -> str:
    return ", ".join(" ".join(name[:100].split()) for name in names[:count]) + (", …" if len(names) > count else "")


def load_into(model: nn.Module, state: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Load weights that fit exactly; only ``num_batches_tracked`` may be absent.

    ``CheckpointError`` with the counts and first names of what differs; the model is unchanged then.
    """
    problem = differences(describe("", model), state, strict=True)
    if problem:
        raise CheckpointError(
            f"{os.fspath(path)}: the weights do not fit the model: {problem}; check --model and the classes"
        )
    model.load_state_dict(dict(state), strict=False)
