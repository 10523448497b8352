"""The head: how a model's logits are read, as one class of many, several findings, or one finding."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import OptionError

HEADS = ("softmax", "sigmoid", "binary")


def check_head(head: str) -> None:
    """Raise for a head that is not softmax, sigmoid, binary or auto."""
    if head not in (*HEADS, "auto"):
        raise OptionError(f"head {head!r} was asked for; there are {', '.join(HEADS)} and auto")


def resolve_head(head: str, stated: str | None, count: int) -> str:
    """The head to read ``count`` logits with: the one that was asked for, else the one that the model's source states.

    "auto" is binary for one logit, else what the source states, else softmax.
    """
    if head == "auto":
        return "binary" if count == 1 else stated or "softmax"
    if head == "binary" and count != 1:
        raise OptionError(f"head 'binary' was asked for; it takes one logit, the model gives {count}: use softmax")
    return head


def class_logits(logits: Tensor, head: str) -> Tensor:
    """Scores of the classes, (B, C) or (B, C, *space): the logits; for a binary head C = 2, −z and z."""
    return torch.cat([-logits, logits], dim=1) if head == "binary" else logits


def over_places(logits: Tensor) -> Tensor:
    """Scores of the classes, (B, C): the logits, or the means of maps of logits (B, C, *space) over their positions."""
    return logits.flatten(2).mean(dim=2) if logits.ndim > 2 else logits


def probabilities(logits: Tensor, head: str) -> Tensor:
    """Probabilities (B, C) of class logits: their softmax, or each one's sigmoid."""
    return logits.softmax(dim=1) if head == "softmax" else logits.sigmoid()
