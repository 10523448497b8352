"""Torch's private names, and what the engine makes of them."""

from __future__ import annotations

from typing import Any

from pellucid.core.torch_private import FunctionMode, open_modes


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
