"""Guided gradients: at the output of an activation function, negative gradients go no further."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

_ACTIVATIONS = {
    *(F.relu, F.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.leaky_relu, F.leaky_relu_),
    *(F.relu6, F.hardtanh, F.hardtanh_),  # nn.ReLU6 calls hardtanh
    *(F.elu, F.elu_, F.celu, F.selu, F.gelu, F.silu, F.mish, F.softplus, F.hardswish, F.prelu, F.rrelu),
}


_BOUNDS = {
    *(torch.clamp, torch.clip, torch.clamp_min, Tensor.clamp, Tensor.clip, Tensor.clamp_min),
    *(Tensor.clamp_, Tensor.clip_, Tensor.clamp_min_, F.threshold),
}
"""Functions by which a ReLU can be written, too."""


def _from_zero(args: tuple[Any, ...], named: dict[str, Any]) -> bool:
    bound = named.get("min", named.get("threshold", args[1] if len(args) > 1 else None))
    return isinstance(bound, (int, float)) and bound == 0


class Guiding(TorchFunctionMode):
    """Passes made while this is open pass gradients back through activation functions only where they are positive.

    For a ReLU that is the rule of guided backpropagation, ∂z/∂x · [x > 0] · [∂z/∂y > 0]: its own gradient takes
    care of the first bracket. Nothing is changed on the model. ``forget`` ends the rule: a second derivative, which
    goes through the same graph, is a plain one.
    """

    asked: ClassVar[str] = "guided gradients"
    needed: ClassVar[str] = "activation function that is known"
    instead: ClassVar[str] = "saliency"

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        """How many activation functions ran."""
        self._rules: list[RemovableHandle] = []

    def begin(self, images: Tensor) -> None:
        """Nothing: the rule asks not what depends on the images."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        answer = func(*args, **(kwargs or {}))
        if func in _ACTIVATIONS or (func in _BOUNDS and _from_zero(args, kwargs or {})):
            self.seen += 1
            if answer.requires_grad:
                self._rules.append(answer.register_hook(torch.relu))
        return answer

    def forget(self) -> None:
        """End the rule."""
        for rule in self._rules:
            rule.remove()
