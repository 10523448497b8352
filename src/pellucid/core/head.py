"""The head: how a network's raw outputs are read, as one class of many, several findings, one finding, or values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import OptionError

Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Head:
    """One way to read raw outputs (B, M) or maps of them (B, M, *space).

    ``scores`` makes the class scores (B, C, …) that are explained, ``raw`` is its inverse, and ``probabilities`` are
    those of class scores (B, C); None where the outputs are no probabilities of anything.
    """

    scores: Change
    raw: Change
    probabilities: Change | None


@dataclass(frozen=True)
class Ending:
    """A last function of a network that makes probabilities of logits, and the head that reads these logits."""

    head: str
    function: Change


def _same(values: Tensor) -> Tensor:
    return values


def _softmax(values: Tensor) -> Tensor:
    return values.softmax(dim=1)


def _both_signs(values: Tensor) -> Tensor:
    """Each value's negative and itself: evidence for lower and for higher, or against a finding and for it."""
    return torch.stack([-values, values], dim=2).flatten(1, 2)


def _of_both_signs(scores: Tensor) -> Tensor:
    return scores[:, 1::2]


HEADS: Mapping[str, Head] = {
    "softmax": Head(_same, _same, _softmax),
    "sigmoid": Head(_same, _same, torch.sigmoid),
    "binary": Head(_both_signs, _of_both_signs, torch.sigmoid),
    "probability": Head(_same, _same, _same),
    "regression": Head(_both_signs, _of_both_signs, None),
}
"""The heads by their names."""

COMBINED = "combined probabilities"
"""What a network ends in that returns means, products and the like of its sigmoids or softmaxes, and no one of them."""

ENDINGS: Mapping[str, Ending] = {
    "sigmoid": Ending("sigmoid", torch.sigmoid),
    "logsigmoid": Ending("sigmoid", F.logsigmoid),
    "softmax": Ending("softmax", _softmax),
    "log_softmax": Ending("softmax", lambda values: values.log_softmax(dim=1)),
    COMBINED: Ending("probability", _same),
}
"""The last functions by their names. Before combined probabilities there are no logits to explain."""

AS_RETURNED = ("probability", "regression")
"""Heads that explain what the network returns, and no logit before it."""
DIRECTIONS = ("lower", "higher")
"""What the two scores of a value of a regression head are evidence for."""


def check_head(head: str) -> None:
    """Raise for a head that there is not."""
    if head not in (*HEADS, "auto"):
        raise OptionError(f"head {head!r} was asked for; there are {', '.join(HEADS)} and auto")


def explains_returned(head: str, stated: str | None) -> bool:
    """Whether what the network returns is explained also where a last function could be left out."""
    return (stated if head == "auto" else head) in AS_RETURNED


def has_logits(ending: str | None) -> bool:
    """Whether a network's last function was made of logits, which are explained in place of what it returns."""
    return ending not in (None, COMBINED)


def resolve_head(head: str, stated: str | None, count: int, ending: str | None = None) -> str:
    """The head to read ``count`` raw outputs with: the one that was asked for, else what the network and source state.

    "auto" is what the network's last function, its ``ending``, makes sure of; else binary for one output, else what
    the source states, else softmax.

    Raises:
        OptionError: the head that was asked for or stated takes another number of outputs, or the network ends
            otherwise.
    """
    if head == "auto":
        return _automatic(stated, count, ending)
    if head == "binary" and count != 1:
        raise OptionError(f"head 'binary' was asked for; it takes one logit, the model gives {count}: use softmax")
    if head == "softmax" and count == 1 and not has_logits(ending):
        raise _single("head 'softmax' was asked for", "give head='binary'")
    found = _automatic(stated, count, ending) if has_logits(ending) and head not in AS_RETURNED else None
    if found is not None and HEADS[found].probabilities is not HEADS[head].probabilities:
        raise OptionError(
            f"head {head!r} was asked for; the network itself ends in a {ending}, so that its head is {found!r}: leave "
            "head= out, or give head='probability' to explain what it returns"
        )
    return head if found is None else found


def _automatic(stated: str | None, count: int, ending: str | None) -> str:
    if stated in AS_RETURNED:
        return str(stated)
    if ending == COMBINED:
        return ENDINGS[COMBINED].head
    found = stated if ending is None else ENDINGS[ending].head
    if found == "softmax" and count == 1 and ending is None:
        raise _single("head 'softmax' is stated by the model's source", "give head='binary'")
    if found == "softmax" and count == 1:
        raise _single(f"the network itself ends in a {ending}", "return the logit before it, for head='binary'")
    return "binary" if count == 1 else found if found not in (None, "binary") else "softmax"


def _single(what: str, cure: str) -> OptionError:
    """The error for the softmax of one logit, which is 1 whatever the image shows."""
    return OptionError(f"{what}; it takes at least two outputs, the model gives 1, whose softmax is always 1: {cure}")


def over_places(logits: Tensor) -> Tensor:
    """Scores of the classes, (B, C): the logits, or the means of maps of logits (B, C, *space) over their positions."""
    return logits.flatten(2).mean(dim=2) if logits.ndim > 2 else logits


def probabilities(scores: Tensor, head: str) -> Tensor:
    """The classes' probabilities (B, C): of maps of scores those of the whole image; without any, the scores."""
    change = HEADS[head].probabilities
    return scores if change is None else change(over_places(scores).float())


def returned(scores: Tensor, head: str, ending: str | None) -> Tensor:
    """What the network returns, (B, M), where its class scores are these."""
    raw = HEADS[head].raw(scores)
    return raw if ending is None or head in AS_RETURNED else ENDINGS[ending].function(raw)


def score_names(names: tuple[str, ...] | None, head: str, count: int) -> tuple[str, ...] | None:
    """The names of the class scores of ``count`` raw outputs, from the names of classes, or of a regression's values.

    Raises:
        OptionError: there are more or fewer names than classes or values.
    """
    if head != "regression":
        return _counted(names, "classes", len(DIRECTIONS) * count if head == "binary" else count)
    values = _counted(names, "values", count)
    if values is None:
        return DIRECTIONS if count == 1 else None
    return tuple(f"{direction} {name}" for name in values for direction in DIRECTIONS)


def _counted(names: tuple[str, ...] | None, what: str, count: int) -> tuple[str, ...] | None:
    if names is not None and len(names) != count:
        raise OptionError(
            f"{len(names)} names were given or are stated by the model's source; the model has {count} {what}: give "
            "one for each with classes=[…]"
        )
    return names
