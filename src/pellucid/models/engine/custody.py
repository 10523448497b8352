"""Taking a model and giving it back: unwrapped, one caller at a time, as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import nn

_LOCKS: WeakKeyDictionary[nn.Module, threading.RLock] = WeakKeyDictionary()
_LOCKS_GUARD = threading.Lock()


def unwrapped(model: nn.Module) -> nn.Module:
    """The network within DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif "_orig_mod" in model._modules:
            model = model._orig_mod  # type: ignore[assignment]  # a module, says torch.compile
        else:
            return model


@contextmanager
def custody(model: nn.Module, seed: int) -> Iterator[None]:
    """Hold the model alone, in eval mode, with seeded random numbers; afterwards all is as before.

    Calls on one model take turns; on different models they don't. Restored, also after an exception:
    ``training`` of every module, the random number state, grad and inference mode. (Hooks and
    gradients are the capture's affair: it removes the ones and never fills the others.)
    """
    with _lock_of(model), ExitStack() as stack:
        stack.enter_context(_eval_mode(model))
        stack.enter_context(_seeded(model, seed))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        if _is_compiled(model):
            # Hooks that are set after compiling are ignored by compiled code.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def _lock_of(model: nn.Module) -> threading.RLock:
    with _LOCKS_GUARD:
        return _LOCKS.setdefault(model, threading.RLock())


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    # The attribute, not .train(): models override that method to keep some layers frozen.
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _seeded(model: nn.Module, seed: int) -> Iterator[None]:
    devices = {p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng(devices=sorted(devices)):
        torch.default_generator.manual_seed(seed)
        for device in devices:
            torch.cuda.default_generators[device].manual_seed(seed)
        yield


def _is_compiled(model: nn.Module) -> bool:
    return any("_orig_mod" in module._modules or module._compiled_call_impl is not None for module in model.modules())
