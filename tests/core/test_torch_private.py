"""Torch's private names, and what the engine makes of them."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from pellucid.core.torch_private import (
    CONVOLUTION,
    FunctionMode,
    compiler_errors,
    compiling_for_gradients,
    is_checkpointed,
    let_run_as_written,
    open_modes,
    set_modes,
    uncompiled,
    within_wrapper,
)


class Function(FunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_a_mode_leaves_itself_and_what_is_open_within_it_and_nothing_else() -> None:
    outer, inner = Function(), Function()
    with outer:
        inner.__enter__()
        Function().__enter__()
        inner.__exit__(None, None, None)
        assert open_modes()[0] == [outer]
        inner.__exit__(None, None, None)
        assert open_modes()[0] == [outer]


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def test_modes_are_opened_and_left_until_the_wanted_ones_are_open() -> None:
    one, two, three, dispatch = Function(), Function(), Function(), Dispatch()
    try:
        set_modes(([one, two], [dispatch]))
        assert open_modes() == ([one, two], [dispatch])
        set_modes(([one, three], []))
        assert open_modes() == ([one, three], [])
    finally:
        set_modes(([], []))
    assert open_modes() == ([], [])


def test_every_convolution_is_known_as_one() -> None:
    assert isinstance(nn.Conv1d(1, 1, 1), CONVOLUTION)
    assert isinstance(nn.ConvTranspose3d(1, 1, 1), CONVOLUTION)
    assert not isinstance(nn.Linear(1, 1), CONVOLUTION)


def test_what_torch_compile_was_given_is_found() -> None:
    model = nn.Linear(2, 2)
    assert within_wrapper(torch.compile(model, backend="eager")) is model
    assert within_wrapper(model) is None

    def function(x: torch.Tensor) -> torch.Tensor:
        return x + 1

    assert uncompiled(torch.compile(function, backend="eager")) is function
    assert uncompiled(function) is None


def test_the_copy_of_a_compiled_module_runs_as_it_is_written() -> None:
    class Doubling(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            ran.append(torch.compiler.is_compiling())
            return 2 * x

    ran: list[bool] = []
    module = Doubling()
    module.compile(backend=lambda *_: pytest.fail("compiled"))
    copied = Doubling()
    vars(copied).update(vars(module))
    let_run_as_written(module, copied)
    assert copied(torch.ones(1)).item() == 2
    assert ran == [False]


@pytest.mark.skipif(
    not hasattr(torch._C._autograd, "_top_saved_tensors_default_hooks"), reason="this torch does not tell"
)
def test_a_checkpoint_is_noticed_where_it_runs() -> None:
    seen: list[bool] = []

    def run(x: torch.Tensor) -> torch.Tensor:
        seen.append(is_checkpointed())
        return x * 2

    x = torch.ones(1, requires_grad=True)
    run(x)
    checkpoint(run, x, use_reentrant=False)
    run(x)
    assert seen == [False, True, False]


def test_what_torch_compile_raises_is_known() -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no compiler")

    torch._dynamo.reset()
    with pytest.raises(compiler_errors()):
        torch.compile(lambda x: x * 3 + 1, backend=broken)(torch.ones(2))
    assert not isinstance(RuntimeError(), compiler_errors())


def test_what_compiling_needs_is_put_back_however_it_ends() -> None:
    from torch._decomp import decompositions
    from torch._functorch import config

    before = config.donated_buffer, decompositions.should_fold
    with suppress(ValueError), compiling_for_gradients():
        assert config.donated_buffer is False
        assert decompositions.should_fold(torch.ones(2, 3, 4), torch.ones(4, 5), False)
        raise ValueError
    assert (config.donated_buffer, decompositions.should_fold) == before
