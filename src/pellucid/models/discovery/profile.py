"""The profile of a network, found in one image's pass: shapes, token layouts and attention calls."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.utils.weak import TensorWeakRef

from pellucid.core.catalogue import black_box_methods
from pellucid.core.inputs import Inputs
from pellucid.core.torch_private import CONVOLUTION, is_quantised
from pellucid.core.view import WHOLE, View
from pellucid.errors import LayerError, NoAttentionError, SourceError
from pellucid.models.discovery.attention_plan import Call
from pellucid.models.discovery.dataflow import IMAGE, Dataflow, Marks
from pellucid.models.discovery.orders import token_orders
from pellucid.models.discovery.patches import located
from pellucid.models.discovery.tokens import Grid, Grids, Layout, infer
from pellucid.models.discovery.views import MOST_ENTRIES, UNSEEN, Looked, Sight, measured_views
from pellucid.models.session.attention_calls import AttentionCall
from pellucid.models.session.attention_mode import AttentionMode
from pellucid.models.session.cache import remembered
from pellucid.models.session.derivatives import as_float
from pellucid.models.session.hooks import first_tensor, not_run, watched
from pellucid.models.session.occurrence import Occurrence
from pellucid.models.session.session import Session

_FEWEST_TILES = 4
_ENLARGED = 1.25
"""A frame this much longer than the image is enlarged; a smaller difference is a convolution's margin."""


@dataclass(frozen=True)
class Run:
    """One run of a module: its output's shape for one image, and the looks at the image that it depends on."""

    shape: tuple[int, ...]
    marks: Marks


@dataclass(frozen=True)
class Place:
    """An occurrence of a layer, the layout of its output, and the view of the image that it is drawn on."""

    occurrence: Occurrence
    layout: Layout
    view: View


@dataclass(frozen=True)
class ModelProfile:
    """What one image's pass shows about a network for inputs of one shape. It holds no tensor and no module."""

    channels: int
    grids: Grids
    frames: Grids
    """The grids of what the network's looks see: parts of the image, or slices of it; else the same as ``grids``."""
    shapes: dict[str, tuple[int, ...]]
    """Each module's output shape with its batch axis, in the order in which the modules finished last."""
    runs: dict[str, tuple[Run, ...]]
    """Each module's runs, in order."""
    sights: tuple[Sight, ...]
    """What each look at the image sees; the marks of a run are their numbers, from 1."""
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

    def layout(self, name: str, module: nn.Module, run: int | None = None) -> Layout | None:
        """The layout of a module's output in a run, or the last that counts; None if it has no spatial positions."""
        return self._layout_and_views(name, run or self.counted(name)[-1], module)[0]

    def places(self, name: str, module: nn.Module) -> tuple[Place, ...]:
        """The occurrences of a layer that count, with their places; none if it has no positions on the image."""
        return tuple(place for run in self.counted(name) for place in self._places_of_run(name, run, module))

    def counted(self, name: str) -> tuple[int, ...]:
        """The runs of a module that count, by number from 1: the last ones that depend on different looks.

        A run that depends on the looks of a later one comes before it, as where a block is passed again and again.
        """
        runs, covered = self.runs[name], set[int]()
        found = []
        for number, run in reversed(list(enumerate(runs, start=1))):
            looks = run.marks - IMAGE or run.marks
            found += [number] if looks and not looks & covered else []
            covered |= looks
        return tuple(reversed(found)) or (len(runs),)

    @property
    def sees_whole(self) -> bool:
        """Whether all that the network's convolutions see is the image as a whole."""
        return all(sight.views == (WHOLE,) for sight in self.sights)

    def moves(self, name: str) -> bool:
        """Whether a module's output follows parts of the image that are none of the same fixed places."""
        return any(
            _common([view for mark in run.marks - IMAGE for view in self.sights[mark - 1].views]) is None
            for run in self.runs[name]
        )

    def runs_again(self, name: str) -> int:
        """How often a module runs on what it has seen before, as a block that is passed repeatedly; 0: it does not."""
        runs = self.runs.get(name, ())
        depend = [run for run in runs if run.marks] or runs
        return len(depend) if runs and len(depend) > len(self.counted(name)) else 0

    def captured(self, name: str) -> str:
        """The name of the last run of a module that counts, by which its output is captured."""
        return str(Occurrence(name, self.counted(name)[-1] if len(self.runs[name]) > 1 else None))

    def _places_of_run(self, name: str, number: int, module: nn.Module) -> Iterator[Place]:
        """The occurrences of one run: one, or one of each entry of the batch."""
        layout, views = self._layout_and_views(name, number, module)
        run = number if len(self.runs[name]) > 1 else None
        for entry, view in enumerate(views):
            if layout is not None and view is not None and view is not UNSEEN:
                occurrence = Occurrence(name, run, None if layout.entries == 1 else entry + 1)
                yield Place(occurrence, replace(layout, entry=entry), view)

    def _layout_and_views(
        self, name: str, number: int, module: nn.Module
    ) -> tuple[Layout | None, tuple[View | None, ...]]:
        """The layout of a run's output, of its first entry, and the view of each entry."""
        run = self.runs[name][number - 1]
        if name in self.attention_weights or not run.shape:
            return None, ()
        sights = [self.sights[mark - 1] for mark in sorted(run.marks - IMAGE)] or [Sight()]
        entries = len(sights[0].views)
        features = last_features(module), is_of_last_axis(module)
        if entries > 1 and run.shape[0] == entries and all(len(sight.views) == entries for sight in sights):
            views = tuple(map(_common, zip(*(sight.views for sight in sights), strict=True)))
            layout = infer((1, *run.shape[1:]), self._frames_of(views[0]), *features)
            if layout is None or layout.batch_axis or None in views:
                return None, ()
            return replace(layout, entries=entries, by_entry=sights[0].by_entry), views
        each = [view for sight in sights for view in sight.views]
        if _are_members(each) or _are_tiles(each, run.shape):
            return infer(run.shape, self.grids, *features), (WHOLE,)
        view = _common(each)
        return (None, ()) if view is None else (infer(run.shape, self._frames_of(view), *features), (view,))

    def _frames_of(self, view: View | None) -> Grids:
        """The grids of what a view shows."""
        return replace(self.frames, size=view.frame) if view is not None and view.axes else self.frames


def _common(views: Sequence[View | None]) -> View | None:
    """The one view that all of some are; None where they differ, or are none."""
    seen = {view for view in views if view is not UNSEEN}
    return seen.pop() if len(seen) == 1 else None if seen else UNSEEN


def _are_members(views: Sequence[View | None]) -> bool:
    """Whether views are those of all slices along one axis, which together are the image."""
    members = {view.member for view in views if view is not None and not view.axes}
    alongs = {view.along for view in views if view is not None}
    return len(views) > 1 and len(members - {None, -1}) == len(views) and len(alongs) == 1


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
    return located(profile, session, image)


def layout_of(session: Session, inputs: Inputs, layer: str, shape: Sequence[int]) -> Layout:
    """The layout of a layer's output of this shape, or an error that names the shape."""
    layout, one = one_image_layout(session, inputs, layer)
    if layout is None or list(shape) != _of_many(one, layout, len(inputs)):
        raise no_positions(layer, shape)
    return layout


def one_image_layout(session: Session, inputs: Inputs, layer: str) -> tuple[Layout | None, Sequence[int]]:
    """The layout of a layer's output (None: no spatial positions), and its shape for one image.

    Of a layer that occurs several times: of the named occurrence, or of the last run that counts.
    """
    profile = profile_of(session, inputs)
    module = session.modules([layer])[layer]
    name = session.name_of(module)
    if name not in profile.shapes:
        return None, ()
    asked = session.occurrence(layer)
    run = asked.run or profile.counted(name)[-1]
    layout = profile.layout(name, module, run)
    layout = layout if layout is None or asked.entry is None else replace(layout, entry=asked.entry - 1)
    return layout, profile.runs[name][run - 1].shape


def places_of(session: Session, inputs: Inputs, layer: str) -> tuple[Place, ...]:
    """The occurrences of a layer that count, or those of a run that is named, each with its place on the image.

    Raises:
        LayerError: the layer has no spatial positions, or they are no fixed places of the image.
    """
    profile = profile_of(session, inputs)
    module = session.modules([layer])[layer]
    name = session.name_of(module)
    if name not in profile.shapes:
        raise not_run(layer)
    found = _named(session, layer, profile.places(name, module))
    if not found:
        raise _unplaced(profile, session.occurrence(layer), layer, name)
    own = session.occurrence(layer).layer
    return tuple(replace(place, occurrence=replace(place.occurrence, layer=own)) for place in found)


def _named(session: Session, layer: str, places: Sequence[Place]) -> list[Place]:
    """Those of some places that a name is about: all of them where it is the layer's own."""
    asked = session.occurrence(layer)
    return [
        place
        for place in places
        if asked.run in (None, place.occurrence.run) and asked.entry in (None, place.occurrence.entry)
    ]


def _unplaced(profile: ModelProfile, asked: Occurrence, layer: str, name: str) -> LayerError:
    """The error for a layer that cannot be drawn."""
    runs = len(profile.runs[name])
    if asked.run is not None and not 1 <= asked.run <= runs:
        return LayerError(f"layer {layer!r} was asked for; the layer runs {runs} times in a pass")
    if asked.run is not None and profile.runs_again(name):
        return LayerError(
            f"layer {layer!r} was asked for; the layer runs again and again on the same image, and its last run "
            f"counts: take {asked.layer!r}"
        )
    if profile.moves(name):
        return LayerError(
            f"layer {layer!r} was asked for; its positions are no fixed places of the image, as where several crops or "
            "mirror images are joined, or a crop that follows the image: name a layer before that, or use a method "
            f"that looks at no layer, such as {' or '.join(black_box_methods())}"
        )
    return no_positions(layer, profile.runs[name][-1].shape)


def view_of_all(profile: ModelProfile) -> View:
    """The one view that the network has of the image.

    Raises:
        NoAttentionError: it has several, or none that is fixed.
    """
    # Patches that went through a convolution as a batch (TNT) are no views: the tokens' grid is measured.
    views = [view for sight in profile.sights if len(sight.views) < _FEWEST_TILES for view in sight.views]
    view = _common(views or [WHOLE])
    if view is None or view.member is not None:
        raise NoAttentionError(
            "maps of the network's tokens were asked for; it passes several parts, mirror images or single images of "
            f"its input through them: use a method that explains a layer, such as gradcam, or one that looks at no "
            f"layer, such as {' or '.join(black_box_methods())}"
        )
    return view


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
    batch = images * layout.entries
    return [batch if axis == layout.batch_axis else length for axis, length in enumerate(shape)]


def _are_tiles(views: Sequence[View | None], shape: Sequence[int]) -> bool:
    """Whether an output has a token for each of the patches that went through a convolution as a batch (TNT).

    ``patch_grids`` measures where they are.
    """
    unknown = len(views) > MOST_ENTRIES and set(views) == {None}
    return unknown or (len(shape) == 3 and len(views) >= _FEWEST_TILES and 0 <= shape[1] - len(views) <= 1)


@dataclass
class _Open:
    """A module that is running: its name, its input's shape and marks, and the inputs of the modules within it."""

    name: str
    shape: tuple[int, ...]
    marks: Marks
    within: dict[str, TensorWeakRef] = field(default_factory=dict)


class _Recorder:
    """Records one image's pass. Inputs are referenced weakly: holding them all would take much memory."""

    def __init__(self, image: Tensor, lost: bool = False) -> None:
        self.image = image
        self.flow = Dataflow(image, self.look, lost)
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
        with torch.no_grad(), hooks, self.flow, AttentionMode(self.attend):
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
        self.opened.append(_Open(name, () if given is None else tuple(given.shape), self.flow.of(inputs)))

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
        while (own := self.opened.pop()).name != name:
            pass  # a module that an exception ended
        # What a function of the network's own makes, such as torch.autograd.Function, is not followed.
        marks = self.flow.of(output) or own.marks
        self.flow.mark(output, marks)
        tensor = first_tensor(output)
        shape = () if tensor is None else tuple(tensor.shape)
        self.runs.setdefault(name, []).append(Run(shape, marks))
        got = self.opened[-1].within.get(name) if self.opened else None
        if got is not None and got() is tensor:
            self.opened[-1].within.pop(name)  # it returns its input: a module that gets it next is no sibling
        if tensor is None:
            return
        self.shapes.pop(name, None)
        self.shapes[name] = shape
        self.weights.discard(name)
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
