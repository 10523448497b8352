"""Hooks on the modules of a session's network: capture outputs, start the graph at a layer, run other functions.

The network is the session's own (``twin``), so a hook that an interrupt leaves behind is not on the user's modules.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.errors import GradientError
from pellucid.models.session.occurrence import Occurrence


def first_tensor(output: object) -> Tensor | None:
    """A module's output as one floating-point tensor: itself, or the first in a tuple, list or mapping."""
    if isinstance(output, Tensor):
        return output if output.is_floating_point() or output.is_quantized else None
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, (tuple, list)) else ()
    return next((part for part in parts if isinstance(part, Tensor) and first_tensor(part) is part), None)


def mapped(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A module's output with each of its tensors changed; containers keep their type."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        for key, value in output.items():
            changed[key] = mapped(value, change)
        return changed
    if isinstance(output, (tuple, list)):
        parts = [mapped(part, change) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    return output


def replaced(output: Any, old: Tensor, new: Tensor) -> Any:
    """A module's output with one of its tensors replaced."""
    return mapped(output, lambda tensor: new if tensor is old else tensor)


def not_run(layer: str) -> GradientError:
    """The error for a layer whose output was not captured."""
    return GradientError(f"layer {layer!r} was asked for; the model does not run it, or it gives no tensor")


def hookable(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A network's modules by name, without TorchScript modules, which accept no hooks."""
    return ((name, one) for name, one in network.named_modules() if not isinstance(one, torch.jit.ScriptModule))


@contextmanager
def noted(layers: Mapping[str, nn.Module], graph: bool) -> Iterator[dict[str, Tensor]]:
    """While this is open, the layers' outputs are captured by name: of a layer's last run, or that of ``layer#run``.

    With ``graph``, an output that does not need a gradient yet becomes a leaf and turns gradients on. The graph covers
    only the layers after it; those before cost as much as in a prediction. The network gets a clone, so that a
    following in-place ReLU does not overwrite the captured output.
    """
    outputs: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for name, module in layers.items():
            stack.callback(module.register_forward_hook(_noter(name, outputs, graph)).remove)
        yield outputs


def _noter(name: str, outputs: dict[str, Tensor], graph: bool) -> Callable[[nn.Module, Any, Any], Any]:
    run, runs = Occurrence.of(name).run, itertools.count(1)

    def note(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        tensor = first_tensor(output)
        number = next(runs)
        if tensor is None or run not in (None, number):
            return output
        # Cloned also if it has a graph: a tensor that a module only passes through is used elsewhere, too.
        leaf = tensor.clone() if tensor.requires_grad else _leaf(tensor, name) if graph else tensor
        outputs[name] = leaf
        return replaced(output, tensor, leaf.clone())

    return note


def _leaf(tensor: Tensor, name: str) -> Tensor:
    """A layer's output as a leaf, where the graph starts; turns gradients on."""
    if torch.is_inference_mode_enabled():
        raise GradientError(
            f"layer {name!r} was asked for; the model runs it under inference_mode, where there are no gradients: "
            f"use no_grad there, or choose a later layer"
        )
    torch.set_grad_enabled(True)
    tensor = tensor.clone() if tensor.is_inference() else tensor
    try:
        return tensor.detach().requires_grad_()
    except RuntimeError as error:
        raise GradientError(
            f"layer {name!r} was asked for; the model runs it within torch.vmap, where its output cannot be looked at: "
            "call it once for each entry there, or use a method that looks at no layer"
        ) from error


@contextmanager
def watched(
    network: nn.Module,
    end: Callable[[str, nn.Module, object], None],
    begin: Callable[[str, nn.Module, object], None] = lambda *_: None,
) -> Iterator[None]:
    """While this is open, ``begin`` is called with each module and its inputs, ``end`` with each and its output."""
    with ExitStack() as stack:
        for name, module in hookable(network):
            stack.callback(module.register_forward_hook(_ending(name, end)).remove)
            stack.callback(module.register_forward_pre_hook(_beginning(name, begin), with_kwargs=True).remove)
        yield


def _ending(name: str, end: Callable[[str, nn.Module, object], None]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
        end(name, module, output)

    return hook


def _beginning(name: str, begin: Callable[[str, nn.Module, object], None]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(module: nn.Module, inputs: Any, named: Any) -> None:
        begin(name, module, (*inputs, *named.values()))

    return hook


@contextmanager
def at_rest(network: nn.Module) -> Iterator[None]:
    """While this is open, parameters need no gradient, so that the graph holds only what depends on the images.

    Parameters of TorchScript modules and of ``nn.Parameter`` subclasses are the user's, and are left alone.
    """
    own = [one for _, module in hookable(network) for one in module._parameters.values() if type(one) is nn.Parameter]
    needing = [parameter for parameter in own if parameter.requires_grad and parameter.is_leaf]
    try:
        for parameter in needing:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in needing:
            parameter.requires_grad_(True)


@contextmanager
def recorded(network: nn.Module) -> Iterator[None]:
    """While this is open, modules record their graph, also within a ``no_grad`` of the network's own."""

    def begin(_module: nn.Module, _inputs: Any) -> None:
        torch.set_grad_enabled(True)

    with ExitStack() as stack:
        for _, module in hookable(network):
            stack.callback(module.register_forward_pre_hook(begin).remove)
        yield


@contextmanager
def forwards(replacements: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """While this is open, modules run these functions instead of their ``forward``."""
    with ExitStack() as stack:
        for module, replacement in replacements.items():
            stack.callback(_put_back, module, vars(module).get("forward"))
            vars(module)["forward"] = replacement
            # A hook disables the fast path of torch's own encoder layers, on which they call none of their submodules.
            stack.callback(module.register_forward_hook(_nothing).remove)
        yield


def _nothing(_module: nn.Module, _inputs: Any, _output: Any) -> None:
    """A hook that does nothing."""


def _put_back(module: nn.Module, forward: Any) -> None:
    if forward is None:
        del module.forward
    else:
        vars(module)["forward"] = forward


class _Captured(Exception):  # noqa: N818  # no error: it ends a pass
    """The output has been captured."""


def stopped_at(module: nn.Module, run: Callable[[], object]) -> Tensor | None:
    """A module's output in a pass that ends there; None if the pass does not reach it."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        kept.extend([] if tensor is None else [tensor])
        raise _Captured

    handle = module.register_forward_hook(keep)
    try:
        run()
    except _Captured:
        pass
    finally:
        handle.remove()
    return kept[0] if kept else None
