"""A twin of a network: modules of its own that share every tensor with the user's.

An explanation runs the twin, and never the user's modules. So modes, hooks and gradient flags of the user's model are
left alone whatever happens, also where another thread predicts or trains with it, where a process forks, and where an
explanation is interrupted. A twin is made anew for every call: it takes microseconds a module, and cannot be outdated.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.torch_private import FunctionMode, let_run_as_written, uncompiled
from pellucid.errors import SourceError

_SHARED = (int, float, complex, str, bytes, type, torch.dtype, torch.device, torch.Size, types.ModuleType, range)
_PLAIN = frozenset((type(None), bool, int, float, str, torch.dtype, torch.device, torch.Size))
_EMPTY = frozenset((dict, OrderedDict, list, set))
_MOST_ITEMS = 10_000
"""A container with more items is shared: it holds data, and no modules."""
_MOST_OBJECTS = 2_000
"""So many objects that are neither modules nor containers are searched for modules, and no more."""


def twin(model: nn.Module, tensors: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of the modules of a network, in eval mode, that computes with the same tensors.

    ``tensors`` gives other parameters and buffers by the identity of the network's own (None: ``aliases`` of them).
    TorchScript in training mode, whose modules cannot be copied one by one, is copied with its tensors. References to
    modules follow to the copies where they stand in containers, bound methods, partial functions, closures and objects:
    a hook, or a ``forward`` that was set on an instance, acts on the copy.
    """
    replace = _Replace(model, aliases(own_tensors(model)) if tensors is None else tensors)
    return replace.whole(model)


def own_tensors(model: nn.Module) -> list[Tensor]:
    """The parameters and buffers of a network, each once."""
    return [*model.parameters(), *model.buffers()]


def aliases(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """Tensors that share memory with these, by the identity of these.

    An alias has a version counter of its own, so that an optimizer step in another thread between a pass and its
    gradient is no error, and a gradient flag of its own, which may be changed. The flag begins as the parameter's: by
    it torch chooses how it multiplies, also where nothing is recorded.
    """
    return {id(tensor): _alias(tensor) for tensor in tensors}


def _alias(tensor: Tensor) -> Tensor:
    if type(tensor) not in (Tensor, nn.Parameter):
        return tensor  # a subclass may hold more than one tensor
    return nn.Parameter(tensor.data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else tensor.data


class _Replace:
    """Values of a network's modules with modules and tensors replaced; each value once."""

    def __init__(self, model: nn.Module, tensors: Mapping[int, Tensor]) -> None:
        self._known: dict[int, Any] = dict(tensors)
        """Copies by the identity of what they are of: tensors, modules, and values as they come."""
        self._modules: dict[int, nn.Module] = {}
        self._pairs: list[tuple[nn.Module, nn.Module]] = []
        for module in model.modules():
            if isinstance(module, torch.jit.ScriptModule):
                self._modules[id(module)] = _script(module)
            else:
                self._modules[id(module)] = object.__new__(type(module))
                self._pairs.append((module, self._modules[id(module)]))
        self._known.update(self._modules)
        self._kept: list[Any] = []
        """What the identities in ``_known`` are of: kept, so that no identity is used anew."""
        self._searched = 0

    def whole(self, model: nn.Module) -> nn.Module:
        """The copy of the network."""
        for module, copied in self._pairs:
            own = vars(module).copy()
            for name, value in own.items():
                kind = type(value)
                if kind in _EMPTY and not value:  # most of a module's fields are hooks that are not there
                    own[name] = kind()
                elif kind not in _PLAIN:
                    own[name] = self.of(value)
            own["training"] = False
            object.__setattr__(copied, "__dict__", own)
            let_run_as_written(module, copied)
        return self._modules[id(model)]

    def of(self, value: Any) -> Any:
        """A value, or a copy of it that leads to the copies of the modules."""
        identity = id(value)
        if identity in self._known:
            return self._known[identity]
        if isinstance(value, (nn.Module, Tensor, *_SHARED)):
            return value
        return self._known_as(value, self._copied(value, type(value)))

    def _known_as(self, value: Any, copied: Any) -> Any:
        self._known[id(value)] = copied
        self._kept.append(value)
        return copied

    def _copied(self, value: Any, kind: type) -> Any:
        if kind in (dict, OrderedDict):
            return self._mapping(value)
        if kind in (list, tuple, set):
            return self._sequence(value, kind)
        handler = _HANDLERS.get(kind)
        return handler(self, value) if handler is not None else self._object(value)

    def _mapping(self, value: dict[Any, Any]) -> dict[Any, Any]:
        if len(value) > _MOST_ITEMS:
            return value
        copied: dict[Any, Any] = self._known_as(value, value.copy())  # before its items: it may hold itself
        if any(isinstance(key, nn.Module) for key in copied):
            copied.clear()
            copied.update((self.of(key), self.of(item)) for key, item in list(value.items()))
            return copied
        for key, item in copied.items():
            if type(item) not in _PLAIN:
                copied[key] = self.of(item)
        return copied

    def _sequence(self, value: Any, kind: type) -> Any:
        if len(value) > _MOST_ITEMS:
            return value
        if kind is not list:
            return kind(self.of(item) for item in tuple(value))
        copied: list[Any] = self._known_as(value, [])
        copied.extend(self.of(item) for item in tuple(value))
        return copied

    def method(self, value: types.MethodType) -> Any:
        """A bound method, of the copy where it is one of a module's."""
        owner = self.of(value.__self__)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)

    def partial(self, value: functools.partial[Any]) -> Any:
        """A partial function of the copies."""
        parts = (value.func, value.args, value.keywords)
        function, args, named = (self.of(part) for part in parts)
        return type(value)(function, *args, **named)

    def function(self, value: types.FunctionType) -> Any:
        """A function whose closure leads to modules, with a closure of the copies; any other as it is."""
        original = uncompiled(value)
        if original is not None:  # compiled code ignores hooks that are set later
            return self.of(original)
        if not value.__closure__:
            return value
        self._known_as(value, value)  # while its cells are looked at: it may hold itself
        cells = [self._cell(cell) for cell in value.__closure__]
        if all(new is old for new, old in zip(cells, value.__closure__, strict=True)):
            return value
        copied = types.FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, tuple(cells))
        copied.__kwdefaults__ = value.__kwdefaults__
        copied.__dict__.update({name: self.of(item) for name, item in vars(value).items()})
        return copied

    def _cell(self, cell: types.CellType) -> types.CellType:
        try:
            content = cell.cell_contents
        except ValueError:  # empty
            return cell
        if isinstance(content, (dict, list, set, tuple, OrderedDict)) and not self._leads(content):
            return cell  # what a hook collects in is the user's own
        new = self.of(content)
        return cell if new is content else types.CellType(new)

    def reference(self, value: weakref.ReferenceType[Any]) -> Any:
        """A weak reference to a module, to its copy."""
        target = value()
        new = self._modules.get(id(target)) if isinstance(target, nn.Module) else None
        return value if new is None else weakref.ref(new)

    def _object(self, value: Any) -> Any:
        """An object that leads to modules, as a copy that leads to the copies; any other as it is."""
        if not _may_lead(value) or not self._leads(value):
            return value
        try:
            copied = self._known_as(value, copy.copy(value))
        except Exception:  # a class of somebody's own that cannot be copied
            return value
        for name, item in list(vars(value).items()):
            object.__setattr__(copied, name, self.of(item))
        return copied

    def _leads(self, value: Any) -> bool:
        """Whether a value holds one of the network's modules."""
        seen: set[int] = set()
        queue = [value]
        while queue:
            one = queue.pop()
            if isinstance(one, nn.Module):
                if id(one) in self._modules:
                    return True
                continue
            if id(one) in seen or isinstance(one, (Tensor, *_SHARED)) or one is None:
                continue
            seen.add(id(one))
            self._searched += 1
            if self._searched > _MOST_OBJECTS:
                return False
            queue.extend(_parts(one))
        return False


_HANDLERS: dict[type, Callable[[_Replace, Any], Any]] = {
    types.MethodType: _Replace.method,
    types.FunctionType: _Replace.function,
    functools.partial: _Replace.partial,
    weakref.ReferenceType: _Replace.reference,
}


_OTHERS = ("builtins", "torch", "numpy", "collections", "threading", "_thread")
"""Packages whose objects hold no modules of a network."""


def _may_lead(value: Any) -> bool:
    """Whether an object is of a kind that may hold modules: one of a class of somebody's own."""
    home = type(value).__module__.partition(".")[0]
    return home not in _OTHERS and hasattr(value, "__dict__")


def _parts(value: Any) -> Iterator[Any]:
    """What a value holds, as far as modules may be there."""
    if isinstance(value, (dict, list, set, tuple)):
        if len(value) <= _MOST_ITEMS:
            yield from chain(value.keys(), value.values()) if isinstance(value, dict) else value
    elif isinstance(value, types.MethodType):
        yield value.__self__
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif _may_lead(value):
        yield from list(vars(value).values())


def _script(module: torch.jit.ScriptModule) -> nn.Module:
    """TorchScript in eval mode; frozen TorchScript has no mode."""
    return copy.deepcopy(module).eval() if getattr(module, "training", False) else module


class OwnModules(FunctionMode):
    """While this is open, a function that gets a tensor of the user's own modules is an error.

    The network then reaches some of its modules by a way that its twin does not follow (a global name, say): these
    would run in the mode they are in, and unseen.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._names = {id(tensor): name for name, tensor in model.named_parameters(remove_duplicate=False)}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        for value in (*args, *(kwargs or {}).values()):
            if id(value) in self._names and isinstance(value, nn.Parameter):
                raise SourceError(
                    f"the model computes with {self._names[id(value)]!r} by a way that does not lead through the model "
                    f"(a global name, or an object of another library): make what uses it a submodule"
                )
        return func(*args, **(kwargs or {}))
