"""Reading attention where it is computed, also from fused kernels, which give none back.

A torch function mode sees every call of the network while it runs: ``scaled_dot_product_attention`` is
computed in its two steps, ``multi_head_attention_forward`` is asked for its weights, and a softmax over
the keys is read as it passes. Nothing is changed on the model, so nothing has to be put back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

Take = Callable[[Tensor], None]


class AttentionTap(TorchFunctionMode):
    """While this is open, each block's self-attention (B, heads, T, T) is given to ``take``."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self._take = take

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        handler = _HANDLERS.get(func)
        if handler is None:
            return func(*args, **(kwargs or {}))
        return handler(self._take, func, args, kwargs or {})


def _sdpa(take: Take, func: Any, args: Any, kwargs: Any) -> Any:
    query, key = args[0] if args else kwargs["query"], args[1] if len(args) > 1 else kwargs["key"]
    if query.ndim != 4 or query.shape[-2] != key.shape[-2]:
        return func(*args, **kwargs)  # cross-attention or a pool: no map from places to places
    return _weighed(take, *args, **kwargs)


def _weighed(
    take: Take,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,  # noqa: ARG001  # torch's signature; explaining runs without dropout
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot product attention as torch documents it: softmax(q kᵀ · scale + mask) v."""
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (t.repeat_interleave(repeats, dim=-3) for t in (key, value))
    logits = query @ key.transpose(-2, -1) * (scale if scale is not None else 1 / math.sqrt(query.shape[-1]))
    if is_causal:
        attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        logits = logits + attn_mask
    weights = logits.softmax(dim=-1)
    take(weights)
    return weights @ value


def _multi_head(take: Take, func: Any, args: Any, kwargs: Any) -> Any:
    """``torch.nn.MultiheadAttention`` ends here, and says by name which weights it wants."""
    output, weights = func(*args, **{**kwargs, "need_weights": True, "average_attn_weights": False})
    if weights.shape[-1] == weights.shape[-2]:
        take(weights)
    if not kwargs.get("need_weights", True):
        return output, None
    return output, weights.mean(dim=-3) if kwargs.get("average_attn_weights", True) else weights


def _softmax(take: Take, func: Any, args: Any, kwargs: Any) -> Any:
    """A softmax over the last axis of (B, heads, T, T) is attention that was not fused."""
    weights = func(*args, **kwargs)
    axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
    if weights.ndim == 4 and weights.shape[-1] == weights.shape[-2] > 1 and axis in (-1, 3):
        take(weights)
    return weights


_HANDLERS: dict[Any, Callable[[Take, Any, Any, Any], Any]] = {
    F.scaled_dot_product_attention: _sdpa,
    F.multi_head_attention_forward: _multi_head,
    F.softmax: _softmax,
    torch.softmax: _softmax,
    torch.Tensor.softmax: _softmax,
}
