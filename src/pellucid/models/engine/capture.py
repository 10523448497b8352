"""Hooks that note what layers answer, and let the graph begin there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import GradientError


def first_tensor(output: object) -> Tensor | None:
    """The tensor that stands for a module's output: itself, or the first of a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((part for part in parts if isinstance(part, Tensor) and part.is_floating_point()), None)


def replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """The output with one of its tensors exchanged."""
    if output is old:
        return new
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        for key in [key for key, value in output.items() if value is old]:
            changed[key] = new
        return changed
    parts = [new if part is old else part for part in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)


def not_run(layer: str) -> GradientError:
    """The error for a layer of which nothing was seen."""
    return GradientError(f"layer {layer!r} was asked for; the model does not run it, or it gives no tensor")


@contextmanager
def noted(layers: Mapping[str, nn.Module], graph: bool) -> Iterator[dict[str, Tensor]]:
    """While this is open, the layers' outputs are noted by name (of a layer that runs twice, the last).

    With ``graph``, an output that does not need a gradient yet becomes a leaf and turns gradients on: the
    graph covers only what comes after, and everything before costs what it costs in a prediction. What
    is passed on is a clone, so that a following in-place ReLU does not rewrite what was noted.
    """
    outputs: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_hook(_noter(name, outputs, graph)).remove)
        yield outputs


def _noter(name: str, outputs: dict[str, Tensor], graph: bool) -> Callable[[nn.Module, Any, Any], Any]:
    def note(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        if tensor is None:
            return output
        # Also where there is a graph already: what only passes through a module is used elsewhere, too.
        leaf = tensor.clone() if tensor.requires_grad else _leaf(tensor, name) if graph else tensor
        outputs[name] = leaf
        return replaced(output, tensor, leaf.clone())

    return note


def _leaf(tensor: Tensor, name: str) -> Tensor:
    """Where the graph begins: an output that needs a gradient, with gradients on from here."""
    if torch.is_inference_mode_enabled():
        raise GradientError(
            f"layer {name!r} was asked for; the model runs it under inference_mode, where there are no gradients: "
            f"use no_grad there, or choose a later layer"
        )
    torch.set_grad_enabled(True)
    tensor = tensor.clone() if tensor.is_inference() else tensor
    return tensor.detach().requires_grad_()


@contextmanager
def watched(
    model: nn.Module,
    note: Callable[[str, nn.Module, object], None],
    begin: Callable[[str, object], None] = lambda *_: None,
) -> Iterator[None]:
    """While this is open, modules that finish are told to ``note``, and those that begin, with inputs, to ``begin``."""
    with ExitStack() as stack:
        for name, module in hookable(model):
            stack.callback(module.register_forward_hook(_teller(name, note)).remove)
            stack.callback(module.register_forward_pre_hook(_beginner(name, begin), with_kwargs=True).remove)
        yield


def hookable(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A model's modules by name, without TorchScript's, which bear no hooks."""
    return ((name, one) for name, one in model.named_modules() if not isinstance(one, torch.jit.ScriptModule))


def _teller(name: str, note: Callable[[str, nn.Module, object], None]) -> Callable[[nn.Module, Any, Any], None]:
    def tell(module: nn.Module, _inputs: Any, output: Any) -> None:
        note(name, module, output)

    return tell


def _beginner(name: str, begin: Callable[[str, object], None]) -> Callable[[nn.Module, Any, Any], None]:
    def tell(_module: nn.Module, inputs: Any, named: Any) -> None:
        begin(name, (*inputs, *named.values()))

    return tell


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """While this is open, parameters need no gradient: what is recorded is what depends on the images."""
    needing = [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.is_leaf]
    try:
        for parameter in needing:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in needing:
            parameter.requires_grad_(True)


@contextmanager
def recording(model: nn.Module) -> Iterator[None]:
    """While this is open, modules record their graph, also within a ``no_grad`` of the model's own."""

    def begin(_module: nn.Module, _inputs: Any) -> None:
        torch.set_grad_enabled(True)

    with ExitStack() as stack:
        for _, module in hookable(model):
            stack.callback(module.register_forward_pre_hook(begin).remove)
        yield
