"""Records one image's pass through a network, of which its profile is made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.utils.weak import TensorWeakRef

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Inputs
from pellucid.core.torch_private import CONVOLUTION, is_quantised
from pellucid.errors import SourceError
from pellucid.models.discovery.attention_plan import Call
from pellucid.models.discovery.dataflow import Dataflow, Marks
from pellucid.models.discovery.fixed_order import with_fixed_order
from pellucid.models.discovery.orders import token_orders
from pellucid.models.discovery.patches import located
from pellucid.models.discovery.position_axes import Axes
from pellucid.models.discovery.profile import ModelProfile, Run, counts_of
from pellucid.models.discovery.soft_mixing import SoftMixing
from pellucid.models.discovery.tokens import Grid, Grids
from pellucid.models.discovery.views import Looked, Sight, measured_views
from pellucid.models.session.attention_calls import AttentionCall
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.cache import remembered
from pellucid.models.session.derivatives import as_float
from pellucid.models.session.hooks import first_tensor, watched
from pellucid.models.session.session import Session

_ENLARGED = 1.25
"""A frame this much longer than the image is enlarged; a smaller difference is a convolution's margin."""


def profile_of(session: Session, inputs: Inputs) -> ModelProfile:
    """The profile of a session's network for inputs like these; found once per input shape."""
    if isinstance(session.model, torch.jit.ScriptModule):
        raise SourceError(
            "a TorchScript model was given; its layers cannot be looked into: use a method that needs its scores "
            f"alone ({', '.join(black_box_methods())}) or gradients at the image (such as saliency), or give the "
            "nn.Module it was made from"
        )
    return remembered(session.model, ("profile", session.key(inputs)), lambda: _profiled(session, inputs[:1]))


def _profiled(session: Session, image: Inputs) -> ModelProfile:
    recorder = _Recorder(image.images)
    logits = recorder.run(session, image)
    lost = not recorder.looks and recorder.flow.strangers > 0
    if lost:
        recorder = _Recorder(image.images, lost)
        logits = recorder.run(session, image)
    sights = measured_views(session, image, recorder.looks, lost)
    if len(image.tensors) > 1:
        sights = tuple(sight.with_all_members(image.images.shape[2:]) for sight in sights)
    profile = recorder.profile(token_orders(session.network), tuple(logits.shape), sights)
    return with_fixed_order(located(profile, session, image), session, image)


@dataclass
class _Open:
    """A module that is running: its name, its input's shape, marks and axes, and the inputs of modules within it."""

    name: str
    shape: tuple[int, ...]
    marks: Marks
    axes: Axes | None
    within: dict[str, TensorWeakRef] = field(default_factory=dict)


class _Recorder:
    """Records one image's pass. Inputs are referenced weakly: holding them all would take much memory."""

    def __init__(self, image: Tensor, lost: bool = False) -> None:
        self.image = image
        self.lost = lost
        self.flow = Dataflow(image, self.look, lost)
        self.mixing = SoftMixing(image)
        self.looks: list[Looked] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.runs: dict[str, list[Run]] = {}
        self.weights: set[str] = set()
        self.first_convolution: str | None = None
        self.calls: list[Call] = []
        self.branches: set[str] = set()
        self.convolved: list[tuple[int, Grid]] = []
        """The batch and the grid of each convolution's output."""
        self.widths: set[int] = set()
        self.opened: list[_Open] = []

    def run(self, session: Session, image: Inputs) -> Tensor:
        """Record a pass, and return its logits."""
        hooks = watched(session.network, self.end, self.begin)
        with torch.no_grad(), hooks, self.flow, self.mixing, AttentionMode(self.attend):
            return session.call(image)

    def look(self, given: Tensor, weight: Tensor, is_image: bool) -> Tensor:
        """A convolution looks at the image, or at what the network made of it."""
        self.looks.append(Looked(tuple(given.shape), is_image, tuple(weight.shape[2:])))
        return given

    def begin(self, name: str, _module: nn.Module, inputs: object) -> None:
        """A module begins."""
        given = first_tensor(inputs)
        if self.opened and given is not None:
            beside = self.opened[-1].within
            shared = [other for other, tensor in beside.items() if tensor() is given]
            self.branches.update([name, *shared] if shared else [])
            beside[name] = TensorWeakRef(given)
        shape = () if given is None else tuple(given.shape)
        self.opened.append(_Open(name, shape, self.flow.of(inputs), self.mixing.of(inputs)))

    def attend(self, number: int, call: AttentionCall) -> None:
        """An attention is computed."""
        sequences, heads, queries, keys = call.shape
        if sequences > 1 and self.opened and keys in counts_of(self.opened[-1].shape):
            # The module's input is one sequence: its heads are folded into the batch axis.
            sequences, heads = 1, sequences * heads
        modules = tuple(module.name for module in self.opened)
        self.calls.append(Call(number, modules, (sequences, heads, queries, keys), call.fused))

    def end(self, name: str, module: nn.Module, output: object) -> None:
        """A module finished."""
        while (own := self.opened.pop()).name != name:
            pass  # a module that an exception ended
        # What a function of the network's own makes, such as torch.autograd.Function, is not followed.
        marks = self.flow.of(output) or own.marks
        self.flow.mark(output, marks)
        self.mixing.mark(output, own.axes)
        tensor = first_tensor(output)
        shape = () if tensor is None else tuple(tensor.shape)
        axes = self.mixing.of(tensor)
        self.runs.setdefault(name, []).append(Run(shape, marks, frozenset() if axes is None else axes.mixed_by))
        got = self.opened[-1].within.get(name) if self.opened else None
        if got is not None and got() is tensor:
            self.opened[-1].within.pop(name)  # it returns its input: a module that gets it next is no sibling
        if tensor is None:
            return
        self.shapes.pop(name, None)
        self.shapes[name] = shape
        self.weights.discard(name)
        with self.flow.paused(), suppress(RuntimeError):  # within torch.vmap no value can be looked at
            if _is_attention(as_float(tensor)):
                self.weights.add(name)
        if _is_convolution(module):
            self._convolved(name, tensor)

    def _convolved(self, name: str, output: Tensor) -> None:
        self.first_convolution = self.first_convolution or name
        self.convolved.append((len(output), tuple(output.shape[2:])))
        self.widths.add(output.shape[1])

    def profile(
        self, orders: Mapping[int, tuple[int, ...]], output_shape: tuple[int, ...], sights: tuple[Sight, ...]
    ) -> ModelProfile:
        """The profile of the recorded pass."""
        size = tuple(self.image.shape[2:])
        frame = self._frame(size, sights)
        entries = {len(sight.views) for sight in sights if None not in sight.views}
        own = self._grids(size, orders, {1} if frame != size else {1, *entries})
        seen = self._grids(frame, orders, {1, *entries})
        return ModelProfile(
            self.image.shape[1],
            own,
            own if seen == own else seen,
            self.shapes,
            {name: tuple(runs) for name, runs in self.runs.items()},
            sights,
            frozenset(self.weights),
            self.first_convolution,
            output_shape,
            tuple(self.calls),
            frozenset(self.branches),
            decides=self.flow.decides,
            lost=self.lost,
        )

    def _frame(self, size: Grid, sights: Sequence[Sight]) -> Grid:
        """The size of what the network looks at: the image's, or that of a part or a slice of it."""
        frames = [
            look.shape[2:]
            for look, sight in zip(self.looks, sights, strict=True)
            if len(look.shape) != len(size) + 2
            or any(view is not None and view.axes for view in sight.views)
            or any(side >= _ENLARGED * own for side, own in zip(look.shape[2:], size, strict=True))
        ]
        return max(frames, key=math.prod, default=size)

    def _grids(self, size: Grid, orders: Mapping[int, tuple[int, ...]], batches: set[int]) -> Grids:
        """The grids of as many axes as a size has; those of other batches may be single patches or heads."""
        fitting = [(batch in batches, grid) for batch, grid in self.convolved if len(grid) == len(size)]
        made, hints = (tuple(dict.fromkeys(grid for own, grid in fitting if own is kind)) for kind in (True, False))
        return Grids(size, made, hints, widths=frozenset(self.widths), orders=orders)


def _is_attention(tensor: Tensor) -> bool:
    """Whether an output is a matrix of attention weights: square, non-negative, with rows that sum to 1."""
    if tensor.ndim != 4 or tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] == 1:
        return False
    sums = tensor.sum(dim=-1)
    return bool((tensor >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-2)


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTION) or (is_quantised(module) and hasattr(module, "kernel_size"))
