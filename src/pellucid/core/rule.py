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
from pellucid.errors import MethodError, ShapeError


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
    | ``applied()`` | whether the network ran a ``needed`` function; by default, whether the rule did anything |

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
    ...             self.after(output, torch.relu)
    ...         return output
    """

    asked: ClassVar[str]
    needed: ClassVar[str] = ""
    instead: ClassVar[str] = "saliency"
    batched: ClassVar[bool] = True

    # Set in ``begin`` and not in a constructor, so that a rule's own constructor need not call one.
    _handles: tuple[RemovableHandle, ...] = ()
    _changes: int = 0
    _dependent: Any

    def __init_subclass__(cls) -> None:
        """Refuse a rule that messages could not name."""
        super().__init_subclass__()
        if not getattr(cls, "asked", ""):
            raise MethodError(
                f"the backward rule {cls.__name__} does not say what its result is called: set asked in its class, "
                'as in asked = "guided gradients"'
            )

    @abstractmethod
    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Compute what a function of the network computes; ``args`` and ``named`` are its arguments."""

    def begin(self, about: RulePass) -> None:
        """Start a pass. It may run again with gradients on throughout: reset the state of an earlier one."""
        self.end()
        self._changes = 0
        self._dependent = WeakIdKeyDictionary()
        self._dependent[about.images] = True

    def applied(self) -> bool:
        """Whether the network ran a function that the rule is for; if not, ``input_gradients`` refuses the network."""
        return self._changes > 0

    def class_done(self) -> None:
        """Called after the backward pass of one class, if the rule is not ``batched``."""

    def end(self) -> None:
        """End the rule: later gradients through the same graph are plain ones."""
        for handle in self._handles:
            handle.remove()
        self._handles = ()

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
        self._changes += 1

        def changed(gradient: Tensor) -> Tensor | None:
            found = change(gradient)
            return None if found is None else self._checked(found, gradient)

        if output.requires_grad:
            self._hook(output, changed)

    def through(self, run: Callable[[Tensor], Tensor], x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """The output of ``run`` for x; the gradient g at the output reaches x as ``change(g)``.

        ``run`` gets an alias of x; where its function may write into its input, ``run`` calls it on a clone.
        ``change`` gets a gradient of the output's shape and returns one of x's shape and type; where several classes
        are explained torch maps it over them.
        """
        self._changes += 1
        alias, kept = x.view_as(x), list[Tensor]()
        output = run(alias)
        if output is alias:
            raise MethodError(
                f"{type(self).__name__}.through was given a function that returned its input: it writes into it, so "
                "call it on x.clone()"
            )
        if alias.requires_grad and output.requires_grad:
            self._hook(alias, lambda gradient: self._checked(change(kept.pop()), gradient))
            self._hook(output, kept.append)
        return output

    def share(self, tensor: Tensor, factor: float) -> Tensor:
        """The same tensor; the gradient through it is multiplied by ``factor``."""
        self._changes += 1
        alias = tensor.view_as(tensor)
        if alias.requires_grad:
            self._hook(alias, lambda gradient: gradient * factor)
        return alias

    def within(self, run: Callable[[], Any]) -> Any:
        """Run a torch function that is written in Python, and intercept the functions it calls."""
        with self:
            return run()

    def _hook(self, tensor: Tensor, change: Callable[[Tensor], Tensor | None]) -> None:
        handle = tensor.register_hook(change)  # type: ignore[no-untyped-call]  # torch's own lacks types
        self._handles = (*self._handles, handle)

    def _checked(self, found: object, gradient: Tensor) -> Tensor:
        """What a ``change`` returned, of the shape and type of the gradient that it replaces."""
        if isinstance(found, Tensor) and (found.shape, found.dtype) == (gradient.shape, gradient.dtype):
            return found
        what = f"{tuple(found.shape)} {found.dtype}" if isinstance(found, Tensor) else type(found).__name__
        raise ShapeError(
            f"{type(self).__name__} changed a gradient to {what}; one of the shape and type of the tensor was "
            f"expected: {tuple(gradient.shape)} {gradient.dtype}"
        )


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
