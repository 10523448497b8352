"""A twin of a network: new module objects that share every tensor with the user's.

An explanation runs the twin, never the user's modules. So modes, hooks and gradient flags of the user's model do not
change, even if another thread predicts or trains with it, the process forks, or the explanation is interrupted. Every
call makes a new twin: that takes microseconds per module, and the twin cannot be outdated.
"""

from __future__ import annotations

import copy
import functools
import types
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pellucid.core.torch_private import FunctionMode, let_run_as_written, uncompiled
from pellucid.errors import SourceError
from pellucid.models.session.holding import EMPTY, PLAIN, Leads, bare, is_object, rebuilt, slots


def twin(model: nn.Module, tensors: Mapping[int, Tensor] | None = None) -> nn.Module:
    """A copy of the modules of a network, in eval mode, that computes with the same tensors.

    ``tensors`` maps the id of each of the network's parameters and buffers to its replacement (None: ``aliases``).
    TorchScript in training mode, whose modules cannot be copied one by one, is copied with its tensors. References to
    modules in containers, bound methods, partial functions, closures, defaults and objects are redirected to the
    copies: a hook, or a ``forward`` that was set on an instance, acts on the copy. Values that reference no module and
    no parameter are shared.
    """
    return _Twin(model, aliases(own_tensors(model)) if tensors is None else tensors).whole(model)


def own_tensors(model: nn.Module) -> list[Tensor]:
    """The parameters and buffers of a network, each once."""
    held = (values for module in model.modules() for values in (module._parameters, module._buffers))
    found = {id(tensor): tensor for values in held for tensor in values.values() if tensor is not None}
    return list(found.values())


def aliases(tensors: Iterable[Tensor]) -> dict[int, Tensor]:
    """Tensors that share memory with these, by the id of the originals.

    An alias has its own version counter, so that an optimizer step in another thread between a pass and its gradient
    is no error, and its own gradient flag, which may be changed. The flag starts as the parameter's: torch chooses its
    matrix product by it, even where no graph is recorded.
    """
    return {id(tensor): _alias(tensor) for tensor in tensors}


def _alias(tensor: Tensor) -> Tensor:
    if type(tensor) not in (Tensor, nn.Parameter):
        return tensor  # a subclass may hold more than one tensor
    alias = nn.Parameter(tensor.data, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else tensor.data
    alias.__dict__.update(vars(tensor))  # a quantised weight's scale, say
    return alias


def _holds_nothing(value: Any) -> bool:
    """Whether a value is a tuple of numbers, such as the size of a kernel: most of a module's values are."""
    return type(value) is tuple and all(type(one) in PLAIN for one in value)


class _Twin:
    """Copies the values that a network's modules hold, with modules and tensors replaced; each value once."""

    def __init__(self, model: nn.Module, tensors: Mapping[int, Tensor]) -> None:
        self._known: dict[int, Any] = dict(tensors)
        """Copies by the id of the originals: tensors, modules, and further values as they are met."""
        self._kept: list[Any] = []
        """The originals of ``_known``, kept alive so that no id is reused."""
        self._pairs: list[tuple[nn.Module, nn.Module]] = []
        for module in model.modules():
            self._add(module)
        self._leads = Leads(frozenset(self._known))

    def _add(self, module: nn.Module) -> nn.Module:
        if isinstance(module, torch.jit.ScriptModule):
            return self._know(module, _script(module))  # type: ignore[no-any-return]  # a module
        copied: nn.Module = self._know(module, bare(module))
        self._pairs.append((module, copied))
        return copied

    def _know(self, value: Any, copied: Any) -> Any:
        self._known[id(value)] = copied
        self._kept.append(value)
        return copied

    def whole(self, model: nn.Module) -> nn.Module:
        """The copy of the network."""
        for module, copied in self._pairs:
            self._fill(module, copied)["training"] = False
            let_run_as_written(module, copied)
        whole: nn.Module = self._known[id(model)]
        return whole

    def _fill(self, module: nn.Module, copied: nn.Module) -> dict[str, Any]:
        """Set a copy's attributes: new dictionaries of modules, tensors and hooks, and all other values."""
        own = vars(module).copy()
        for name, value in own.items():
            kind = type(value)
            if kind in EMPTY and name.startswith("_"):  # torch's own, which torch changes; most are empty, for hooks
                own[name] = self._copied(value) if value else kind()
            elif kind not in PLAIN:
                own[name] = self.of(value)
        object.__setattr__(copied, "__dict__", own)
        return own

    def of(self, value: Any) -> Any:
        """A value, or a copy of it that references the copies of the modules."""
        if id(value) in self._known:
            return self._known[id(value)]
        if isinstance(value, Tensor) or _holds_nothing(value) or not self._leads(value):
            return value
        return self._copied(value)

    def _copied(self, value: Any) -> Any:
        if id(value) in self._known:
            return self._known[id(value)]
        if issubclass(type(value), nn.Module):  # holds modules of the network, but is not one of them
            copied: nn.Module = self._know(value, bare(value))
            self._fill(value, copied)
            return copied
        for kind, handler in _HANDLERS.items():
            if isinstance(value, kind):
                return self._know(value, handler(self, value))
        container = rebuilt(value, self.of, functools.partial(self._know, value))
        return self._object(value) if container is None else container

    def method(self, value: types.MethodType) -> Any:
        """A bound method, bound to the copy if its object has one."""
        return types.MethodType(value.__func__, self.of(value.__self__))

    def partial(self, value: functools.partial[Any]) -> Any:
        """A partial function whose function and arguments are the copies."""
        function, args, named = (self.of(part) for part in (value.func, value.args, value.keywords))
        copied = type(value)(function, *args, **named)
        vars(copied).update({name: self.of(item) for name, item in vars(value).items()})
        return copied

    def function(self, value: types.FunctionType) -> Any:
        """A function whose closure, defaults or global names reference modules, with references to the copies."""
        original = uncompiled(value)
        if original is not None:  # compiled code ignores hooks that are set later
            return self.of(original)
        cells = tuple(types.CellType() for _ in value.__closure__ or ())
        names = {name: value.__globals__[name] for name in value.__code__.co_names if name in value.__globals__}
        modules = {name: item for name, item in names.items() if isinstance(item, nn.Module)}
        replaced = {name: self._known[id(item)] for name, item in modules.items() if id(item) in self._known}
        around = {**value.__globals__, **replaced} if replaced else value.__globals__
        copied = types.FunctionType(value.__code__, around, value.__name__, None, cells or None)
        self._know(value, copied)  # before its closure, which may hold the function itself
        for new, old in zip(cells, value.__closure__ or (), strict=True):
            try:
                new.cell_contents = self.of(old.cell_contents)
            except ValueError:  # empty
                continue
        copied.__defaults__ = self.of(value.__defaults__)
        copied.__kwdefaults__ = self.of(value.__kwdefaults__)
        copied.__dict__.update({name: self.of(item) for name, item in vars(value).items()})
        return copied

    def reference(self, value: weakref.ReferenceType[Any]) -> Any:
        """A weak reference, to the copy of its module."""
        kind = weakref.WeakMethod if isinstance(value, weakref.WeakMethod) else weakref.ref
        return kind(self.of(value()))

    def handle(self, value: RemovableHandle) -> Any:
        """A hook's handle, which removes the copy's hook."""
        copied: Any = bare(value)
        vars(copied).update(vars(value))
        copied.hooks_dict_ref = weakref.ref(self._copied(value.hooks_dict_ref()))
        return copied

    def _object(self, value: Any) -> Any:
        """A copy of an object that references modules, with references to their copies."""
        if not is_object(value):
            return value
        try:
            copied = self._know(value, bare(value))
        except TypeError:  # a class written in C
            return value
        for name, item in list(getattr(value, "__dict__", {}).items()):
            vars(copied)[name] = self.of(item)
        for name, item in slots(value):
            object.__setattr__(copied, name, self.of(item))
        return copied


_HANDLERS: dict[type, Callable[[_Twin, Any], Any]] = {
    types.MethodType: _Twin.method,
    types.FunctionType: _Twin.function,
    functools.partial: _Twin.partial,
    weakref.ReferenceType: _Twin.reference,
    RemovableHandle: _Twin.handle,
}


def _script(module: torch.jit.ScriptModule) -> nn.Module:
    """TorchScript in eval mode; frozen TorchScript has no mode."""
    return copy.deepcopy(module).eval() if getattr(module, "training", False) else module


class OwnModules(FunctionMode):
    """While this is open, a function call with a tensor of the user's own modules raises an error.

    The network then reaches some modules by a reference that the twin does not redirect (a global name, say). They
    would run in their current mode, and without hooks. ``network`` is the twin; tensors that both share are allowed.
    """

    def __init__(self, model: nn.Module, network: nn.Module) -> None:
        super().__init__()
        shared = set(map(id, own_tensors(network)))
        named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
        self._names = {id(tensor): name for name, tensor in named if id(tensor) not in shared}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        for value in (*args, *(kwargs or {}).values()):
            if id(value) in self._names and isinstance(value, Tensor):
                raise SourceError(
                    f"the model computes with {self._names[id(value)]!r} by a way that does not lead through the model "
                    f"(a global name, or an object of another library): make what uses it a submodule"
                )
        return func(*args, **(kwargs or {}))
