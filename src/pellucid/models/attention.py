"""Which of a network's attentions go over the whole picture, and how their tokens lie on it.

Decided from the shapes of one image's pass. Weights of tokens over tokens are taken from the blocks of one grid: of
a network in stages, those after the last change of the grid. Attention that pools the tokens into one (a class
token that only looks at the patches, a latent query) is taken as a class token's; attention within single patches,
or over the channels, is left out. Attention within windows, or over merged tokens in between, is refused, as
no product of such weights says where a token looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import NoAttentionError
from pellucid.models.tokens import Grid, Layout, Places, infer

INSTEAD = "use a method that explains a layer, such as gradcam, or attnlrp"


@dataclass(frozen=True)
class Call:
    """One attention in one image's pass: in which modules, outermost first, and of which shape."""

    number: int
    modules: tuple[str, ...]
    shape: tuple[int, int, int, int]
    """Sequences, heads, queries, keys."""
    fused: bool

    @property
    def is_square(self) -> bool:
        """Whether tokens look at each other."""
        return self.shape[2] == self.shape[3] > 1

    @property
    def is_pool(self) -> bool:
        """Whether one query looks at the tokens."""
        return self.shape[2] == 1 < self.shape[3]


@dataclass(frozen=True)
class Plan:
    """The attentions that are taken, in order, and how the tokens lie that they are brought to."""

    calls: tuple[Call, ...]
    layout: Layout
    tokens: int
    pooled: bool
    """Whether one token, the first, is made by pooling the others at the end."""

    def whole(self, weights: Tensor) -> Tensor:
        """Weights (B, heads, queries, keys) between all tokens, (B, heads, T, T); absent tokens look at none."""
        queries, keys = weights.shape[-2:]
        if queries == 1:  # the first token's
            return F.pad(weights, (self.tokens - keys, 0, 0, self.tokens - 1))
        return F.pad(weights, (self.tokens - keys, 0, self.tokens - queries, 0))


def planned(calls: Sequence[Call], places: Places) -> Plan:
    """Which attentions to take. ``NoAttentionError``: none, or none that goes over the whole picture."""
    if not calls:
        raise NoAttentionError(
            "No attention maps captured: the model has no self-attention that could be read; use a method that "
            "explains a layer, such as gradcam"
        )
    found = {count: infer((1, count, 1), places) for count in {call.shape[3] for call in calls}}
    layouts = {count: layout for count, layout in found.items() if layout is not None}
    known = [call for call in calls if call.shape[0] == 1 and call.shape[3] in layouts]
    squares = [call for call in known if call.is_square]
    pools = [call for call in known if call.is_pool]
    patches = {cells(layouts[call.shape[3]]) for call in squares}
    windows = [call for call in calls if call.shape[0] > 1 and call.shape[0] not in patches]
    if windows:
        raise NoAttentionError(
            f"attention over the whole picture was asked for; this model attends within windows "
            f"({windows[0].shape[0]} of {windows[0].shape[3]} tokens): {INSTEAD}"
        )
    if known and not squares and not pools:
        _, _, queries, keys = known[-1].shape
        raise NoAttentionError(
            f"attention over the whole picture was asked for; this model's tokens attend to others, merged of several "
            f"({queries} to {keys}): {INSTEAD}"
        )
    if not known:
        counts = ", ".join(map(str, sorted(found)))
        raise NoAttentionError(
            f"attention over {counts} tokens or channels was found; they lie on no grid of the network "
            f"({places.grids}): {INSTEAD}"
        )
    return _plan(*_last_stage(known, squares, pools, layouts), layouts)


def cells(layout: Layout) -> int:
    """The number of cells of a layout's grid."""
    return math.prod(layout.grid)


def _last_stage(
    known: Sequence[Call], squares: list[Call], pools: list[Call], layouts: dict[int, Layout]
) -> tuple[list[Call], list[Call]]:
    """The attentions over the last grid: between its tokens, and afterwards from one of them."""
    if not squares:
        return [], pools

    def grid(call: Call) -> Grid:
        return layouts[call.shape[3]].grid

    start = next((i for i in range(len(squares), 0, -1) if grid(squares[i - 1]) != grid(squares[-1])), 0)
    last, before = squares[start:], squares[:start]
    after = [call for call in pools if call.number > last[-1].number]
    rest = [call for call in known if call not in last and call not in after]
    if any(call.number > last[0].number for call in rest) or any(grid(call) == grid(last[0]) for call in before):
        counts = ", ".join(dict.fromkeys(str(call.shape[3]) for call in known))
        raise NoAttentionError(
            f"attention over the whole picture was asked for; this model attends to different sets of tokens in turn "
            f"(of {counts}): {INSTEAD}"
        )
    return last, after


def _plan(squares: list[Call], pools: list[Call], layouts: dict[int, Layout]) -> Plan:
    """The attentions brought to one set of tokens: all lie on one grid, what lies nowhere comes first."""
    own = max((call.shape[3] for call in squares), default=0)
    keys = {call.shape[3] for call in pools}
    if len(keys) > 1 or (own and keys - {own, own + 1}):
        raise NoAttentionError(
            f"attention over the whole picture was asked for; what pools the tokens looks at {sorted(keys)} of them "
            f"at a time, and the blocks at {own}: {INSTEAD}"
        )
    layout = layouts[own or max(keys)]
    tokens = own
    if keys:
        # A class token is among its own keys; a latent query is not.
        among = max(keys) > own if own else layout.prefix > 0
        tokens = max(keys) if among else max(keys) + 1
    whole = replace(layout, prefix=tokens - cells(layout))
    return Plan((*squares, *pools), whole, tokens, bool(pools))
