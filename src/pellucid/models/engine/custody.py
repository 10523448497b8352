"""Taking a model and giving it back: unwrapped, one caller at a time, as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

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
def custody(model: nn.Module) -> Iterator[None]:
    """Hold the model alone, in eval mode; afterwards all is as before.

    Calls on one model take turns, also where it is a part of another; on models that share nothing they
    don't. Restored, also after an exception: ``training`` of every module, the random number state, grad,
    inference and autocast mode. (Hooks and gradients are the capture's affair: it removes the ones and
    never fills the others.)
    """
    with ExitStack() as stack:
        for lock in _locks_of(model):
            stack.enter_context(lock)
        stack.enter_context(_eval_mode(model))
        stack.enter_context(_RANDOM.kept())
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.no_grad())
        for kind in {"cpu", *(p.device.type for p in model.parameters())} - {"meta"}:
            # A map's precision is the runtime's to choose.
            stack.enter_context(torch.autocast(kind, enabled=False))
        if _is_compiled(model):
            # Hooks that are set after compiling are ignored by compiled code.
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


def seed_all(seed: int) -> None:
    """Seed the generators of the CPU and of the GPUs in use."""
    torch.default_generator.manual_seed(seed)
    if _gpus_in_use():
        torch.cuda.manual_seed_all(seed)


def _locks_of(model: nn.Module) -> list[threading.RLock]:
    """The locks of a model and of all its parts that have weights, in an order that all callers keep."""
    parts = {id(part): part for part in model.modules() if part._parameters} | {id(model): model}
    with _LOCKS_GUARD:
        return [_LOCKS.setdefault(parts[key], threading.RLock()) for key in sorted(parts)]


class _Random:
    """The state of torch's random numbers, which all threads share: the first saves it, the last restores it."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._users = 0
        self._saved: tuple[Tensor, list[Tensor]]

    @contextmanager
    def kept(self) -> Iterator[None]:
        with self._guard:
            if self._users == 0:
                self._saved = (torch.get_rng_state(), _gpu_states())
            self._users += 1
        try:
            yield
        finally:
            with self._guard:
                self._users -= 1
                if self._users == 0:
                    torch.set_rng_state(self._saved[0])
                    if self._saved[1]:
                        torch.cuda.set_rng_state_all(self._saved[1])


_RANDOM = _Random()


def _gpus_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch's own lacks it


def _gpu_states() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if _gpus_in_use() else []


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    # The attribute, not .train(): models override that method to keep some layers frozen.
    # A frozen TorchScript module has none.
    training = [module for module in model.modules() if getattr(module, "training", False)]
    try:
        for module in training:
            module.training = False
        yield
    finally:
        for module in training:
            module.training = True


def _is_compiled(model: nn.Module) -> bool:
    return any("_orig_mod" in module._modules or module._compiled_call_impl is not None for module in model.modules())
