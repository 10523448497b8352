"""The profile of a network: shapes, runs, token layouts and attention calls of one image's pass."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import nn

from pellucid.core.torch_private import is_quantised
from pellucid.core.view import WHOLE, View
from pellucid.models.discovery.attention_plan import Call
from pellucid.models.discovery.dataflow import IMAGE, MOVED, Marks
from pellucid.models.discovery.tokens import Grids, Layout, infer
from pellucid.models.discovery.views import MOST_ENTRIES, UNSEEN, Sight
from pellucid.models.session.occurrence import Occurrence

_FEWEST_TILES = 4


@dataclass(frozen=True)
class Run:
    """One run of a module: its output's shape for one image, and the looks at the image that it depends on."""

    shape: tuple[int, ...]
    marks: Marks
    mixed_by: frozenset[int] = frozenset()
    """The functions, by number, that seem to have mixed all positions into others; none where positions are left."""

    @property
    def looks(self) -> Marks:
        """The numbers of the looks that it depends on."""
        return self.marks - IMAGE - MOVED

    @property
    def is_mixed(self) -> bool:
        """Whether it seems to be made of sums over all positions, as latents that attend to the image are."""
        return bool(self.mixed_by)

    @property
    def is_doubtful(self) -> bool:
        """Whether its positions may not be where they lie in the image."""
        return self.is_reordered or self.is_mixed or not self.marks

    @property
    def is_reordered(self) -> bool:
        """Whether positions that it is made of were picked, sorted, moved, mirrored or cropped after a convolution."""
        return bool(self.marks & MOVED)

    @property
    def is_before_looks(self) -> bool:
        """Whether it is made of the image alone, before any convolution that looks at it."""
        return self.marks >= IMAGE and not self.looks


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
    shuffled: frozenset[str] = frozenset()
    """The modules whose positions are not where they lie in the image: pruned tokens, mirrored maps, latents."""
    moved: frozenset[str] = frozenset()
    """Those of them that were seen to have their positions elsewhere."""
    restored: frozenset[str] = frozenset()
    """The modules whose tokens follow one another row by row, though earlier ones are in another order."""
    decides: bool = False
    """Whether what the looks see may depend on the image's values (``own_views``)."""
    lost: bool = False
    """Whether what is made of the image cannot be followed to the looks, as in NumPy (``Dataflow``)."""

    @property
    def has_tokens_first(self) -> bool:
        """Whether an output has its token axis before the batch axis, (T, B, C)."""
        shapes = [shape for shape in self.shapes.values() if len(shape) == 3 and shape[0] > 1 == shape[1]]
        return any(infer(shape, self.grids) is not None for shape in shapes)

    @property
    def counts(self) -> set[int]:
        """The numbers of spatial positions of the outputs, read as tokens or as grids."""
        return {count for shape in self.shapes.values() for count in counts_of(shape)}

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
            looks = run.looks or run.marks - MOVED
            found += [number] if looks and not looks & covered else []
            covered |= looks
        return tuple(reversed(found)) or (len(runs),)

    @property
    def sees_whole(self) -> bool:
        """Whether all that the network's convolutions see is the image as a whole."""
        return all(sight.views == (WHOLE,) for sight in self.sights)

    @property
    def parts(self) -> int:
        """The number of parts of an image that are entries of a batch, where they are too many to be followed; or 0."""
        return max(
            (len(s.views) for s in self.sights if len(s.views) > MOST_ENTRIES and set(s.views) == {None}), default=0
        )

    @property
    def view(self) -> View | None:
        """The one view that the network has of the image; None where it has several, or none that is fixed."""
        # Patches that went through a convolution as a batch (TNT) are no views: the tokens' grid is measured.
        views = [view for sight in self.sights if len(sight.views) < _FEWEST_TILES for view in sight.views]
        found = _common(views or [WHOLE])
        return None if found is None or found.member is not None else found

    def moves(self, name: str) -> bool:
        """Whether a module's output follows parts of the image that are none of the same fixed places."""
        return any(
            _common([view for mark in run.looks for view in self.sights[mark - 1].views]) is None
            for run in self.runs[name]
        )

    def precedes_looks(self, name: str) -> bool:
        """Whether a module's output comes before convolutions that see other than the whole image.

        Nothing tells where it lies: what they see may be cropped or mirrored before the module or after it.
        """
        return self.runs[name][-1].is_before_looks and not self.sees_whole

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
        if name in self.attention_weights or name in self.shuffled or not run.shape or self.precedes_looks(name):
            return None, ()
        sights = [self.sights[mark - 1] for mark in sorted(run.looks)] or [Sight()]
        entries = len(sights[0].views)
        features = last_features(module), is_of_last_axis(module)
        if entries > 1 and run.shape[0] == entries and all(len(sight.views) == entries for sight in sights):
            views = tuple(map(_common, zip(*(sight.views for sight in sights), strict=True)))
            layout = infer((1, *run.shape[1:]), self._frames_of(name, views[0]), *features)
            if layout is None or layout.batch_axis or None in views:
                return None, ()
            return replace(layout, entries=entries, by_entry=sights[0].by_entry), views
        each = [view for sight in sights for view in sight.views]
        if _are_members(each) or _are_tiles(each, run.shape):
            return infer(run.shape, self.grids, *features), (WHOLE,)
        view = _common(each)
        return (None, ()) if view is None else (infer(run.shape, self._frames_of(name, view), *features), (view,))

    def _frames_of(self, name: str, view: View | None) -> Grids:
        """The grids of what a view shows."""
        grids = replace(self.frames, known={}) if name in self.restored else self.frames
        return replace(grids, size=view.frame) if view is not None and view.axes else grids


def _common(views: Sequence[View | None]) -> View | None:
    """The one view that all of some are; None where they differ, or are none."""
    seen = {view for view in views if view is not UNSEEN}
    return seen.pop() if len(seen) == 1 else None if seen else UNSEEN


def _are_members(views: Sequence[View | None]) -> bool:
    """Whether views are those of all slices along one axis, which together are the image."""
    members = {view.member for view in views if view is not None and not view.axes}
    alongs = {view.along for view in views if view is not None}
    return len(views) > 1 and len(members - {None, -1}) == len(views) and len(alongs) == 1


def _are_tiles(views: Sequence[View | None], shape: Sequence[int]) -> bool:
    """Whether an output has a token for each of the patches that went through a convolution as a batch (TNT).

    ``patch_grids`` measures where they are.
    """
    unknown = len(views) > MOST_ENTRIES and set(views) == {None}
    return unknown or (len(shape) == 3 and len(views) >= _FEWEST_TILES and 0 <= shape[1] - len(views) <= 1)


def counts_of(shape: Sequence[int]) -> set[int]:
    """The number of positions in an output of one image: of tokens, or with channels first and with channels last."""
    if len(shape) == 3 and 1 in shape[:2]:
        return {shape[0] * shape[1]}
    return {math.prod(shape[2:]), math.prod(shape[1:-1])} if len(shape) > 3 and shape[0] == 1 else set()


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


def _features(module: nn.Module) -> int | None:
    if is_linear(module):
        return int(module.out_features)  # type: ignore[arg-type]  # a number, whatever torch's types say
    # Subclasses of LayerNorm (LayerNorm2d) may normalise another axis.
    return module.normalized_shape[0] if type(module) is nn.LayerNorm else None
