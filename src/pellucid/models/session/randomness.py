"""Random numbers that a network draws in a pass: the same in every pass, and not from the process's generators.

All threads share torch's generators. Seeding them would change what another thread draws, and restoring their state
would make it draw the same numbers twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.core.torch_private import is_checkpointed
from pellucid.errors import GradientError


class OwnRandomness(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    """While this is open, random operations of this thread draw from the mode's own generators.

    ``count`` is the number of such operations.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's own lacks types
        self.count = 0
        self._seed = seed
        self._generators: dict[torch.device, torch.Generator] = {}
        self._process = torch.initial_seed()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's private hook; False, since torch would otherwise import its compiler, which takes a second."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every operation."""
        named = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or not _draws(func, args, named):
            return func(*args, **named)
        if _has_generator(func, args, named):
            return func(*args, **named)  # the network seeds it itself
        self.count += 1
        self._follow()
        if torch.is_grad_enabled() and is_checkpointed():
            raise GradientError(
                "a gradient was asked for; the model draws random numbers under torch.utils.checkpoint, and would draw "
                "others when it is run again: turn gradient checkpointing off"
            )
        own = _OWN.get(func)
        if own is not None:
            return own(self.of, *args, **named)
        seeded = _with_generator(func)
        if seeded is None:
            return func(*args, **named)  # it takes no generator, and draws from the process's
        given = {name: value for name, value in named.items() if name != "generator"}
        return seeded(*args, **given, generator=self.of(_device(args, named)))

    def _follow(self) -> None:
        """Restart with the seed that the network has set since by ``torch.manual_seed``, if it has."""
        seed = torch.initial_seed()
        if seed != self._process:
            self._process = self._seed = seed
            self._generators.clear()

    def of(self, device: torch.device) -> torch.Generator:
        """The generator of a device."""
        if device not in self._generators:
            self._generators[device] = torch.Generator(device).manual_seed(self._seed)
        return self._generators[device]


class ProcessRandomness:
    """While this is open, the process's generators are seeded; their state is restored afterwards.

    For TorchScript, whose operations a mode cannot intercept. ``count`` is 1 if numbers were drawn.
    """

    def __init__(self, seed: int) -> None:
        self.count = 0
        self._seed = seed

    def __enter__(self) -> ProcessRandomness:
        """Save the state, and seed."""
        self._kept = _states()
        torch.manual_seed(self._seed)
        self._seeded = _states()
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the state."""
        self.count = int(not all(map(torch.equal, _states(), self._seeded)))
        torch.set_rng_state(self._kept[0])
        for device, state in enumerate(self._kept[1:]):
            torch.cuda.set_rng_state(state, device)


def _states() -> list[Tensor]:
    """The states of the process's generators: the CPU's, and those of the GPUs where they are in use."""
    gpus = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]  # torch's own lacks types
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if gpus else [])]


def _draws(func: Any, args: Any, named: Any) -> bool:
    """Whether an operation that may draw random numbers does: attention's dropout, for one, is 0 in a prediction."""
    arguments = func._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, args, strict=False)} | named
    probability = next((given[name] for name in ("dropout_p", "dropout") if name in given), None)
    if probability is None:
        defaults = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
        probability = defaults.get("dropout_p", 1.0)
    return bool(probability) and given.get("train", True) is not False


def _has_generator(func: Any, args: Any, named: Any) -> bool:
    names = [argument.name for argument in func._schema.arguments]
    given = dict(zip(names, args, strict=False)) | named
    return given.get("generator") is not None


@cache
def _with_generator(func: Any) -> Any:
    """The overload of an operation that takes a generator, or None."""
    wanted = _names(func) | {"generator"}
    overloads = (getattr(func.overloadpacket, name) for name in func.overloadpacket.overloads())
    return next((one for one in (func, *overloads) if _names(one) == wanted), None)


def _names(func: Any) -> set[str]:
    return {argument.name for argument in func._schema.arguments}


def _device(args: Any, named: Any) -> torch.device:
    tensor = next((value for value in (*args, *named.values()) if isinstance(value, Tensor)), None)
    return tensor.device if tensor is not None else torch.device(named.get("device") or "cpu")


Of = Callable[[torch.device], torch.Generator]


def _dropout(of: Of, x: Tensor, p: float, train: bool | None) -> tuple[Tensor, Tensor]:
    del train
    kept = torch.empty_like(x).bernoulli_(1 - p, generator=of(x.device))
    return x * kept / (1 - p if p < 1 else 1), kept.bool()


def _uniform_like(of: Of, x: Tensor, dtype: Any = None, device: Any = None, **_layout: Any) -> Tensor:
    return torch.empty_like(x, dtype=dtype, device=device).uniform_(generator=of(torch.device(device or x.device)))


def _normal_like(of: Of, x: Tensor, dtype: Any = None, device: Any = None, **_layout: Any) -> Tensor:
    return torch.empty_like(x, dtype=dtype, device=device).normal_(generator=of(torch.device(device or x.device)))


_ATEN = torch.ops.aten
_OWN: dict[Any, Callable[..., Any]] = {
    _ATEN.native_dropout.default: _dropout,
    _ATEN.rand_like.default: _uniform_like,
    _ATEN.randn_like.default: _normal_like,
}
"""Replacements for operations that have no generator argument."""
