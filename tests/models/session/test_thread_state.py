"""What torch keeps for a thread is put back after an explanation, however the explanation ends."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pellucid.core.torch_private import FunctionMode, open_modes
from pellucid.models.session.thread_state import kept


class Function(FunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class EndError(BaseException):
    """As an interrupt ends what runs."""


def end(fails: bool) -> None:
    if fails:
        raise EndError


both_ways = pytest.mark.parametrize("fails", [False, True], ids=["returns", "fails"])


@both_ways
def test_gradient_mode_and_autocast(fails: bool) -> None:
    def work() -> None:
        assert not torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        torch.set_grad_enabled(True)
        end(fails)

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), suppress(EndError):
        kept(work)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        with suppress(EndError):
            kept(work)
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()


def test_inference_mode() -> None:
    with torch.inference_mode():
        assert kept(lambda: torch.is_inference_mode_enabled()) is False
        assert torch.is_inference_mode_enabled()


@both_ways
@pytest.mark.parametrize("kind", [Function, Dispatch])
def test_a_mode_that_is_left_open_is_closed(kind: type[Any], fails: bool) -> None:
    def work() -> None:
        kind().__enter__()
        end(fails)

    with suppress(EndError):
        kept(work)
    assert open_modes() == ([], [])


@both_ways
def test_a_mode_of_the_callers_that_is_closed_is_opened_again(fails: bool) -> None:
    own = Function()

    def work() -> None:
        own.__exit__(None, None, None)
        end(fails)

    with own:
        with suppress(EndError):
            kept(work)
        functions, _ = open_modes()
        assert functions == [own]
    assert open_modes() == ([], [])


def test_a_generator_that_is_left_open_does_not_end_later() -> None:
    """As a context manager whose end an interrupt has skipped: what it would put back is long past."""

    @contextmanager
    def without_gradients() -> Any:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        try:
            yield
        finally:
            torch.set_grad_enabled(before)

    def work() -> None:
        opened = without_gradients()
        opened.__enter__()
        raise EndError

    try:
        kept(work)
    except EndError as error:
        held = error
    assert torch.is_grad_enabled()
    del held
    assert torch.is_grad_enabled()
