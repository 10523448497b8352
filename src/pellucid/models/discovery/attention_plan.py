"""Select a network's attention calls over the whole image, and find the layout of their tokens on it.

The choice depends on the shapes of one image's pass. Self-attention is taken from the blocks of one grid: in a network
of stages, from those after the last change of the grid. Attention that pools the tokens into one (a class token that
only attends to the patches, a latent query) is treated as a class token's. Attention within single patches, or over
the channels, is left out. Attention within windows, or over merged tokens in between, is refused, since no product of
such weights shows where a token attends; windows in a few early blocks are skipped.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import NoAttentionError
from pellucid.models.discovery.tokens import Grid, Grids, Layout, infer
from pellucid.models.session.attention_calls import AttentionCall
from pellucid.models.session.attention_mode import AttentionMode

INSTEAD = "use a method that explains a layer, such as gradcam, or attnlrp"


@dataclass(frozen=True)
class Call:
    """One attention call in one image's pass: its modules, outermost first, and its shape."""

    number: int
    modules: tuple[str, ...]
    shape: tuple[int, int, int, int]
    """Sequences, heads, queries, keys."""
    fused: bool

    @property
    def is_square(self) -> bool:
        """Whether tokens attend to each other."""
        return self.shape[2] == self.shape[3] > 1

    @property
    def is_pool(self) -> bool:
        """Whether one query attends to the tokens."""
        return self.shape[2] == 1 < self.shape[3]


@dataclass(frozen=True)
class Plan:
    """The attention calls that are folded, in order, and the layout of the set of tokens that all are expanded to.

    Calls that do not depend on one another (heads that are computed one by one) form a group: the heads of one call.
    """

    groups: tuple[tuple[Call, ...], ...]
    layout: Layout
    tokens: int

    @property
    def calls(self) -> list[Call]:
        """All calls, in order."""
        return [call for group in self.groups for call in group]

    @property
    def pools(self) -> list[Call]:
        """The calls that pool the tokens into the first one, at the end."""
        return [call for call in self.calls if call.is_pool]

    def group(self, call: Call) -> tuple[Call, ...]:
        """The group that contains a call."""
        return next(group for group in self.groups if call in group)

    def whole(self, parts: Sequence[Tensor], images: int) -> Tensor:
        """The weights of a group's calls (…, queries, keys) as one matrix between all tokens, (B, heads, T, T).

        Absent tokens attend to none. Networks that fold heads into the batch axis keep the heads of one image in
        consecutive rows.
        """
        shaped = [part.reshape(images, -1, *part.shape[-2:]) for part in parts]
        weights = shaped[0] if len(shaped) == 1 else torch.cat(shaped, dim=1)
        queries, keys = weights.shape[-2:]
        if queries == keys == self.tokens:
            return weights
        before = self.tokens - keys
        if queries == 1:  # the first token's
            return F.pad(weights, (before, 0, 0, self.tokens - 1))
        return F.pad(weights, (before, 0, self.tokens - queries, 0))


def planned(
    calls: Sequence[Call], grids: Grids, counts: Collection[int] | None = None, beside: Collection[int] = ()
) -> Plan:
    """Select the attention calls to fold. ``NoAttentionError``: there is none, or none over the whole image.

    ``counts`` are the numbers of spatial positions of the modules' outputs (None: unknown). The number of tokens must
    be one of them, with or without a class token. ``beside`` are the calls that do not depend on the call before them.
    """
    if not calls:
        raise NoAttentionError(
            "No attention maps captured: the model has no self-attention that could be read; use a method that "
            "explains a layer, such as gradcam, or one that needs its scores alone, such as occlusion"
        )
    found = {count: infer((1, count, 1), grids) for count in {call.shape[3] for call in calls}}
    layouts = {count: layout for count, layout in found.items() if layout and _is_there(count, layout, counts)}
    known = [call for call in calls if call.shape[0] == 1 and call.shape[3] in layouts]
    squares = [call for call in known if call.is_square]
    pools = [call for call in known if call.is_pool]
    if windows := _windows(calls, squares, layouts):
        raise NoAttentionError(
            f"attention over the whole image was asked for; this model attends within windows "
            f"({windows[0].shape[0]} of {windows[0].shape[3]} tokens): {INSTEAD}"
        )
    if known and not squares and not pools:
        _, _, queries, keys = known[-1].shape
        raise NoAttentionError(
            f"attention over the whole image was asked for; this model's tokens attend to others, merged of several "
            f"({queries} to {keys}): {INSTEAD}"
        )
    if not known:
        text = ", ".join(map(str, sorted(found)))
        raise NoAttentionError(
            f"attention over {text} tokens or channels was found; they lie on no grid of the network "
            f"({grids.made}): {INSTEAD}"
        )
    return _plan(*_last_stage(known, squares, pools, layouts), layouts, beside)


def intercepted(
    calls: Sequence[Call], wanted: Sequence[Call], images: int, take: Callable[[Call, AttentionCall], None]
) -> AttentionMode:
    """A mode that passes the ``wanted`` of all ``calls`` of a pass to ``take``; ``images`` is the batch size."""

    def taken(number: int, attention: AttentionCall) -> None:
        if number >= len(calls) or calls[number] not in wanted:
            return
        if attention.shape[0] % images:
            raise NoAttentionError(
                f"attention over the whole image was asked for; {images} images gave {attention.shape[0]} sequences: "
                f"{INSTEAD}"
            )
        take(calls[number], attention)

    return AttentionMode(taken)


def _is_there(count: int, layout: Layout, counts: Collection[int] | None) -> bool:
    """Whether the network has this number of tokens, or has the layout's patches and one more token."""
    return counts is None or count in counts or (count - layout.cells == 1 and layout.cells in counts)


def _windows(calls: Sequence[Call], squares: Sequence[Call], layouts: dict[int, Layout]) -> list[Call]:
    """The attention calls within windows; not those within single patches, nor a few before the last grid's."""
    patches = {layouts[call.shape[3]].cells for call in squares}
    windows = [call for call in calls if call.shape[0] > 1 and call.shape[0] not in patches]
    last = [call for call in squares if layouts[call.shape[3]].grid == layouts[squares[-1].shape[3]].grid]
    few = 2 * len(last) > len(calls) and all(call.number < last[0].number for call in windows)
    return [] if few else windows


def _last_stage(
    known: Sequence[Call], squares: list[Call], pools: list[Call], layouts: dict[int, Layout]
) -> tuple[list[Call], list[Call]]:
    """The attention calls over the last grid: self-attention, and pooling after it."""
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
            f"attention over the whole image was asked for; this model attends to different sets of tokens in turn "
            f"(of {counts}): {INSTEAD}"
        )
    return last, after


def _plan(squares: list[Call], pools: list[Call], layouts: dict[int, Layout], beside: Collection[int]) -> Plan:
    """The plan of calls expanded to one set of tokens: non-spatial tokens first, then those of the one grid."""
    own = max((call.shape[3] for call in squares), default=0)
    keys = {call.shape[3] for call in pools}
    if len(keys) > 1 or (own and keys - {own, own + 1}):
        raise NoAttentionError(
            f"attention over the whole image was asked for; what pools the tokens looks at {sorted(keys)} of them "
            f"at a time, and the blocks at {own}: {INSTEAD}"
        )
    count = own or max(keys)
    layout, tokens = layouts[count], count
    if keys:
        # A class token is among its own keys; a latent query is not.
        among = max(keys) > own if own else count > layout.cells
        tokens = max(keys) if among else max(keys) + 1
    whole = replace(layout, prefix=layout.prefix + tokens - count)
    return Plan(_grouped([*squares, *pools], beside), whole, tokens)


def _grouped(calls: Sequence[Call], beside: Collection[int]) -> tuple[tuple[Call, ...], ...]:
    groups: list[list[Call]] = []
    for call in calls:
        joins = groups and call.number in beside and groups[-1][-1].shape[2:] == call.shape[2:]
        groups[-1].append(call) if joins else groups.append([call])
    return tuple(map(tuple, groups))
