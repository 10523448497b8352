"""The private names of torch that the engine uses, each with a fallback for versions without it.

``nn.Module``'s own dictionaries (``_modules``, ``_parameters``, ``_buffers``, the hooks') are not here: torch's pickled
modules hold them by these names, so that they stay.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn, overrides
from torch.utils import _python_dispatch

CONVOLUTION: Any = getattr(nn.modules.conv, "_ConvNd", nn.Conv2d)
"""The base class of torch's convolutions. Without it only ``Conv2d`` would be known as one."""


def is_quantised(module: nn.Module) -> bool:
    """Whether a module is one of torch's with quantised weights: these stand in packages of that name.

    Without the name such a module would be taken to have gradients.
    """
    kind = type(module)
    if kind not in _QUANTISED:
        _QUANTISED[kind] = _is_of_quantised_kind(kind)
    return _QUANTISED[kind]


_QUANTISED: WeakKeyDictionary[type, bool] = WeakKeyDictionary()
"""What is known of classes: every explanation asks it of every module. A class may hold a whole network."""


def _is_of_quantised_kind(kind: type) -> bool:
    if kind.__name__.endswith("FloatFunctional"):  # what is there to be quantised later
        return False
    homes = (base.__module__.split(".") for base in kind.__mro__)
    return any(home[0] == "torch" and "quantized" in home for home in homes)


def dynamic_weights(module: nn.Module) -> tuple[Tensor, Tensor | None] | None:
    """Weight and bias in float32 of a dynamically quantised linear layer; None of any other module."""
    if not is_quantised(module) or ".dynamic." not in type(module).__module__ or not hasattr(module, "out_features"):
        return None
    weights: Any = module
    return weights.weight().dequantize().float(), weights.bias()


Modes = tuple[list[Any], list[Any]]
"""The torch function modes and the dispatch modes that are open in a thread, the outermost first."""


def open_modes() -> Modes:
    """The modes that are open in this thread; without the names, none are found, and none restored."""
    functions: Callable[[], list[Any]] = getattr(overrides, "_get_current_function_mode_stack", list)
    dispatches: Callable[[], list[Any]] = getattr(_python_dispatch, "_get_current_dispatch_mode_stack", list)
    return functions(), dispatches()


def set_modes(modes: Modes) -> None:
    """Enter and leave modes until exactly these are open in this thread."""
    for wanted, now, home in zip(modes, open_modes(), (overrides, _python_dispatch), strict=True):
        stay = next((n for n, (a, b) in enumerate(zip(wanted, now, strict=False)) if a is not b), len(wanted))
        for mode in reversed(now[stay:]):
            if home is overrides:
                _pop_function_mode()
            else:
                _leave_dispatch_mode(mode)
        for mode in wanted[min(stay, len(now)) :]:
            home._push_mode(mode)


class FunctionMode(overrides.TorchFunctionMode):
    """A torch function mode that on exit closes itself and the modes opened inside it, and no others.

    Torch closes a mode for the moment in which it calls it. An interrupt in that moment leaves it closed, and to close
    it once more would close another one. Without the name a mode closes whichever is innermost.
    """

    def __exit__(self, *error: Any) -> None:
        """Leave the mode, unless it is closed."""
        functions, _ = open_modes()
        if not hasattr(overrides, "_get_current_function_mode_stack"):
            super().__exit__(*error)  # type: ignore[no-untyped-call]  # torch's own lacks types
        elif self in functions:
            for _ in range(len(functions) - functions.index(self)):
                _pop_function_mode()


def _leave_dispatch_mode(mode: Any) -> None:
    """Leave the innermost dispatch mode and restore its flags; an interrupt may have restored some already."""
    with suppress(IndexError):
        mode.__exit__(None, None, None)
    if open_modes()[1][-1:] == [mode]:
        _python_dispatch._pop_mode()


def _pop_function_mode() -> None:
    overrides._pop_mode()  # type: ignore[no-untyped-call]  # torch's own lacks types


def uncompiled(function: Any) -> Any:
    """The original of a function compiled by ``torch.compile``; None for a function that is not compiled.

    Without the name, compiled functions within a network run compiled, and hooks on layers in them do not run.
    """
    return getattr(function, "_torchdynamo_orig_callable", None)


def written_depth() -> int:
    """How deeply this thread is in what makes compiled functions run as they are written; 0 where it is not."""
    return getattr(_written(), "depth", 0)


def set_written_depth(depth: int) -> None:
    """Let compiled functions run as they are written in this thread (1), or compiled (0).

    So do those that no module holds: methods that are compiled in their class, functions by a global name. The
    compiler has this for its own passes. Without the name such functions run compiled, where the compiler may refuse
    the modes that are open around them.
    """
    if depth != written_depth():
        _written().depth = depth


def _written() -> Any:
    # Nothing is compiled before the compiler is imported, which takes seconds.
    return getattr(sys.modules.get("torch._dynamo.eval_frame"), "_force_eager_nested_compile", types.SimpleNamespace())


def let_run_as_written(module: nn.Module, copied: nn.Module) -> None:
    """Let the copy of a module run as it is written: compiled code ignores hooks that are set later."""
    own = vars(copied)
    if own.get("_compiled_call_impl") is not None:
        own["_compiled_call_impl"] = None
    if "_orig_mod" in own["_modules"]:
        own["forward"] = own["_modules"]["_orig_mod"].__call__
    elif "forward" not in own and (original := uncompiled(type(module).forward)) is not None:
        own["forward"] = types.MethodType(original, copied)


def within_wrapper(model: nn.Module) -> nn.Module | None:
    """The module inside a ``torch.compile`` wrapper; None for any other module."""
    return next((module for name, module in model._modules.items() if name == "_orig_mod"), None)


def is_checkpointed() -> bool:
    """Whether the current code is recomputed in the backward pass, as under ``torch.utils.checkpoint``.

    Without the name, it is assumed not to be.
    """
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    return top is not None and top(True) is not None


def compiler_errors() -> tuple[type[Exception], ...]:
    """The errors that ``torch.compile`` raises if it cannot compile; without the names, any RuntimeError."""
    found: list[type[Exception]] = []
    with suppress(ImportError):
        from torch._dynamo.exc import TorchDynamoException

        found.append(TorchDynamoException)
    with suppress(ImportError):
        from torch._inductor.exc import InductorError

        found.append(InductorError)
    return tuple(found) or (RuntimeError,)


@contextmanager
def compiling_for_gradients() -> Iterator[None]:
    """While this is open, compiled code keeps what the gradients of several classes need, and folds matrix products.

    Without ``donated_buffer`` torch keeps it anyway. ``should_fold``: matrices multiply batches as one matrix, whose
    copy is small beside what the compiler does otherwise. It copies a weight for each image where the images are not
    contiguous and the weight needs no gradient, and torch's multi-head attention took four times as long so. An older
    torch does not ask.
    """
    config: Any = import_module("torch._functorch.config")
    home: Any = import_module("torch._decomp.decompositions")
    usual: Any = getattr(home, "should_fold", None)
    donated = config.patch(donated_buffer=False) if hasattr(config, "donated_buffer") else None
    depth = written_depth()

    def fold(one: Tensor, other: Tensor, is_out: bool) -> bool:
        return (max(one.ndim, other.ndim) >= 3 and min(one.ndim, other.ndim) <= 2) or usual(one, other, is_out)

    with donated or nullcontext():
        try:
            set_written_depth(0)
            home.should_fold = fold if usual is not None else None
            yield
        finally:
            home.should_fold = usual
            set_written_depth(depth)
