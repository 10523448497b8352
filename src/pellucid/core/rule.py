"""The base class of backward rules, which change how gradients propagate through a network's functions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.utils.hooks import RemovableHandle
from torch.utils.weak import WeakIdKeyDictionary

from pellucid.core.torch_private import FunctionMode


@dataclass(frozen=True)
class RulePass:
    """The pass that a rule acts on.

    ``images`` (B, C, *space) are the network's input. ``spatial(values, channels_last)`` brings values of the shape of
    a function's output to (B, C, *grid); it returns None if that output has no spatial positions.
    """

    images: Tensor
    spatial: Callable[[Tensor, bool], Tensor | None]


class BackwardRule(FunctionMode, ABC):
    """A rule for ``probe.input_gradients(targets, rule)``; subclass it beside the method that uses it.

    A rule is a torch function mode: while it is open, ``call`` runs instead of each torch function of the network,
    however the network calls it (``nn.ReLU``, ``F.relu``, ``Tensor.relu_``). It computes what the function computes,
    and changes the gradient by ``after`` (at an output), ``through`` (from output to input) and ``share`` (at an
    input). ``pellucid.core.functions`` has tables of torch's functions. No module is changed.

    | member | |
    | --- | --- |
    | ``asked`` | the rule's result, for messages: "guided gradients" |
    | ``needed`` | the kind of function that a network must run for the rule to apply: "known activation function" |
    | ``instead`` | the name of the method to use if the network runs none |
    | ``batched`` | whether one backward pass may serve all classes; False if the rule's hooks accumulate |
    | ``count`` | how often a ``needed`` function ran; ``call`` counts |

    A rule's effect ends with the call of ``input_gradients``: a second derivative through the same graph is a plain
    one.

    >>> import torch
    >>> from pellucid.core.functions import is_rectifier
    >>> class Guided(BackwardRule):
    ...     asked, needed, instead = "guided gradients", "known activation function", "saliency"
    ...
    ...     def call(self, function, args, named):
    ...         output = function(*args, **named)
    ...         if is_rectifier(function, args, named):
    ...             self.count += 1
    ...             self.after(output, torch.relu)
    ...         return output
    """

    asked: ClassVar[str]
    needed: ClassVar[str] = ""
    instead: ClassVar[str] = "saliency"
    batched: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._handles: list[RemovableHandle] = []
        self._dependent: Any = WeakIdKeyDictionary()

    @abstractmethod
    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute what a function of the network computes; ``args`` and ``named`` are its arguments."""

    def begin(self, about: RulePass) -> None:
        """Start a pass. It may run again with gradients on throughout: reset the state of an earlier one."""
        self.count = 0
        self._dependent[about.images] = True

    def class_done(self) -> None:
        """Called after the backward pass of one class, if the rule is not ``batched``."""

    def end(self) -> None:
        """End the rule: later gradients through the same graph are plain ones."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        depends = any(map(self.depends_on_images, tensors_in((args, named))))
        output = self.call(func, args, named)
        if depends:
            self._dependent.update((tensor, True) for tensor in tensors_in(output))
        return output

    def depends_on_images(self, value: object) -> bool:
        """Whether a tensor of this pass depends on the images; a weight does not."""
        return isinstance(value, Tensor) and value in self._dependent

    def after(self, output: Tensor, change: Callable[[Tensor], Tensor | None]) -> None:
        """Change the gradient at a function's output; a ``change`` that returns None only looks at it."""
        if output.requires_grad:
            self._hook(output, change)

    def through(self, run: Callable[[Tensor], Tensor], x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The output of ``run`` for x; the gradient g at the output reaches x as ``change(g)``.

        ``run`` gets an alias of x, or a copy where it may write into it: it must not return its input. ``change`` gets
        and returns a gradient of x's shape and type; where several classes are explained torch maps it over them.
        """
        alias, kept = x.view_as(x), list[Tensor]()
        output = run(alias)
        if output is alias:
            raise ValueError("a rule's function returned its input: it writes into it, so give it x.clone()")
        if alias.requires_grad and output.requires_grad:
            self._hook(alias, lambda _: change(kept.pop()))
            self._hook(output, kept.append)
        return output

    def share(self, tensor: Tensor, factor: float) -> Tensor:
        """The same tensor; the gradient through it is multiplied by ``factor``."""
        alias = tensor.view_as(tensor)
        if alias.requires_grad:
            self._hook(alias, lambda gradient: gradient * factor)
        return alias

    def within(self, run: Callable[[], Any]) -> Any:
        """Run a torch function that is written in Python, and intercept the functions it calls."""
        with self:
            return run()

    def _hook(self, tensor: Tensor, change: Callable[[Tensor], Tensor | None]) -> None:
        self._handles.append(tensor.register_hook(change))  # type: ignore[no-untyped-call]  # torch's own lacks types


def tensors_in(value: Any) -> Iterable[Tensor]:
    """The tensors in a function's arguments or output."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from tensors_in(part)
