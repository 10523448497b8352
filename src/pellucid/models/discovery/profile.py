"""The profile of a network, found in one image's pass: shapes, token layouts and attention calls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.weak import TensorWeakRef

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Inputs
from pellucid.core.torch_private import CONVOLUTION, is_quantised
from pellucid.errors import LayerError, SourceError
from pellucid.models.discovery.attention_plan import Call
from pellucid.models.discovery.orders import token_orders
from pellucid.models.discovery.patches import located
from pellucid.models.discovery.tokens import Grid, Grids, Layout, infer
from pellucid.models.session.attention_calls import AttentionCall
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.cache import remembered
from pellucid.models.session.derivatives import as_float
from pellucid.models.session.hooks import first_tensor, watched
from pellucid.models.session.session import Session


@dataclass(frozen=True)
class ModelProfile:
    """What one image's pass shows about a network for inputs of one shape. It holds no tensor and no module."""

    channels: int
    grids: Grids
    shapes: dict[str, tuple[int, ...]]
    """Each module's output shape with its batch axis, in the order in which the modules finished last."""
    runs: dict[str, int]
    """How often each module ran."""
    attention_weights: frozenset[str]
    """The modules whose outputs are attention weights."""
    first_convolution: str | None
    output_shape: tuple[int, ...]
    """The shape of the class scores: (1, C), or of a map of them (1, C, *space)."""
    attention_calls: tuple[Call, ...]
    """The attention calls of the pass, in order."""
    branches: frozenset[str]
    """The modules that share their input tensor with a sibling: each computes only a part of what follows."""

    @property
    def has_tokens_first(self) -> bool:
        """Whether an output has its token axis before the batch axis, (T, B, C)."""
        shapes = [shape for shape in self.shapes.values() if len(shape) == 3 and shape[0] > 1 == shape[1]]
        return any(infer(shape, self.grids) is not None for shape in shapes)

    @property
    def counts(self) -> set[int]:
        """The numbers of spatial positions of the outputs, read as tokens or as grids."""
        return {count for shape in self.shapes.values() for count in _counts(shape)}

    def layout(self, name: str, module: nn.Module) -> Layout | None:
        """The layout of a module's output; None if it has no spatial positions."""
        if name in self.attention_weights:
            return None
        return infer(self.shapes[name], self.grids, last_features(module), is_of_last_axis(module))


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
    recorder = _Recorder(tuple(image.images.shape[2:]))
    with torch.no_grad(), watched(session.network, recorder.end, recorder.begin), AttentionMode(recorder.attend):
        logits = session.call(image)
    profile = recorder.profile(image.images.shape[1], token_orders(session.network), tuple(logits.shape))
    return replace(profile, grids=located(profile, session, image))


def layout_of(session: Session, inputs: Inputs, layer: str, shape: Sequence[int]) -> Layout:
    """The layout of a layer's output of this shape, or an error that names the shape."""
    layout, one = one_image_layout(session, inputs, layer)
    if layout is None or list(shape) != _of_many(one, layout, len(inputs)):
        raise no_positions(layer, shape)
    return layout


def one_image_layout(session: Session, inputs: Inputs, layer: str) -> tuple[Layout | None, Sequence[int]]:
    """The layout of a layer's output (None: no spatial positions), and its shape for one image."""
    profile = profile_of(session, inputs)
    module = session.modules([layer])[layer]
    name = session.name_of(module)
    return (profile.layout(name, module), profile.shapes[name]) if name in profile.shapes else (None, ())


def no_positions(layer: str, shape: Sequence[int]) -> LayerError:
    """The error for a layer whose output has no spatial positions."""
    return LayerError(
        f"layer {layer!r} was asked for; its output {tuple(shape)} has no spatial positions: "
        f"choose one whose output is (B, C, H, W), (B, H, W, C) or tokens (B, T, C)"
    )


def in_network_order(session: Session, inputs: Inputs, layers: Sequence[str]) -> tuple[str, ...]:
    """Layers in the order in which the network finishes them on these inputs."""
    modules = session.modules(layers)
    finished = {name: index for index, name in enumerate(profile_of(session, inputs).shapes)}
    return tuple(sorted(layers, key=lambda layer: finished.get(session.name_of(modules[layer]), len(finished))))


def _of_many(shape: Sequence[int], layout: Layout, images: int) -> list[int]:
    """An output's shape for several images, from that for one image."""
    return [images if axis == layout.batch_axis else length for axis, length in enumerate(shape)]


@dataclass
class _Open:
    """A module that is running: its name, the shape of its input, and the inputs of the modules within it."""

    name: str
    shape: tuple[int, ...]
    within: dict[str, TensorWeakRef] = field(default_factory=dict)


@dataclass
class _Recorder:
    """Records one image's pass. Inputs are referenced weakly: holding them all would take much memory."""

    size: Grid
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    weights: set[str] = field(default_factory=set)
    first_convolution: str | None = None
    calls: list[Call] = field(default_factory=list)
    branches: set[str] = field(default_factory=set)
    made: list[Grid] = field(default_factory=list)
    hints: list[Grid] = field(default_factory=list)
    widths: set[int] = field(default_factory=set)
    opened: list[_Open] = field(default_factory=list)

    def begin(self, name: str, _module: nn.Module, inputs: object) -> None:
        """A module begins."""
        given = first_tensor(inputs)
        if self.opened and given is not None:
            beside = self.opened[-1].within
            shared = [other for other, tensor in beside.items() if tensor() is given]
            self.branches.update([name, *shared] if shared else [])
            beside[name] = TensorWeakRef(given)
        self.opened.append(_Open(name, () if given is None else tuple(given.shape)))

    def attend(self, number: int, call: AttentionCall) -> None:
        """An attention is computed."""
        sequences, heads, queries, keys = call.shape
        if sequences > 1 and self.opened and keys in _counts(self.opened[-1].shape):
            # The module's input is one sequence: its heads are folded into the batch axis.
            sequences, heads = 1, sequences * heads
        modules = tuple(module.name for module in self.opened)
        self.calls.append(Call(number, modules, (sequences, heads, queries, keys), call.fused))

    def end(self, name: str, module: nn.Module, output: object) -> None:
        """A module finished."""
        while self.opened.pop().name != name:
            pass  # a module that an exception ended
        self.runs[name] = self.runs.get(name, 0) + 1
        tensor = first_tensor(output)
        got = self.opened[-1].within.get(name) if self.opened else None
        if got is not None and got() is tensor:
            self.opened[-1].within.pop(name)  # it returns its input: a module that gets it next is no sibling
        if tensor is None:
            return
        self.shapes.pop(name, None)
        self.shapes[name] = tuple(tensor.shape)
        self.weights.discard(name)
        if _is_attention(as_float(tensor)):
            self.weights.add(name)
        if _is_convolution(module) and tensor.ndim == len(self.size) + 2:
            self._convolved(name, tensor)

    def _convolved(self, name: str, output: Tensor) -> None:
        self.first_convolution = self.first_convolution or name
        grid = tuple(output.shape[2:])
        # A batch axis longer than 1 may hold single patches or heads.
        grids = self.made if len(output) == 1 else self.hints
        grids.extend([] if grid in grids else [grid])
        self.widths.add(output.shape[1])

    def profile(
        self, channels: int, orders: Mapping[int, tuple[int, ...]], output_shape: tuple[int, ...]
    ) -> ModelProfile:
        """The profile of the recorded pass."""
        grids = Grids(self.size, tuple(self.made), tuple(self.hints), widths=frozenset(self.widths), orders=orders)
        return ModelProfile(
            channels,
            grids,
            self.shapes,
            self.runs,
            frozenset(self.weights),
            self.first_convolution,
            output_shape,
            tuple(self.calls),
            frozenset(self.branches),
        )


def _counts(shape: Sequence[int]) -> set[int]:
    """The number of positions in an output of one image: of tokens, or with channels first and with channels last."""
    if len(shape) == 3 and 1 in shape[:2]:
        return {shape[0] * shape[1]}
    return {math.prod(shape[2:]), math.prod(shape[1:-1])} if len(shape) > 3 and shape[0] == 1 else set()


def _is_attention(tensor: Tensor) -> bool:
    """Whether an output is a matrix of attention weights: square, non-negative, with rows that sum to 1."""
    if tensor.ndim != 4 or tensor.shape[-1] != tensor.shape[-2] or tensor.shape[-1] == 1:
        return False
    sums = tensor.sum(dim=-1)
    return bool((tensor >= 0).all()) and torch.allclose(sums, torch.ones_like(sums), atol=1e-2)


def last_features(module: nn.Module) -> int | None:
    """The number of features on the last axis, by the last of a module's norms and linear layers."""
    counts = [_features(part) for part in module.modules()]
    known = [count for count in counts if count is not None]
    return known[-1] if known else None


def is_of_last_axis(module: nn.Module) -> bool:
    """Whether a module is itself a linear layer or a layer norm, which work on the last axis."""
    return _features(module) is not None


def is_linear(module: nn.Module) -> bool:
    """Whether a module is a linear layer, quantised or not."""
    return isinstance(module, nn.Linear) or (is_quantised(module) and hasattr(module, "out_features"))


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, CONVOLUTION) or (is_quantised(module) and hasattr(module, "kernel_size"))


def _features(module: nn.Module) -> int | None:
    if is_linear(module):
        return int(module.out_features)  # type: ignore[arg-type]  # a number, whatever torch's types say
    # Subclasses of LayerNorm (LayerNorm2d) may normalise another axis.
    return module.normalized_shape[0] if type(module) is nn.LayerNorm else None
