"""What users of other libraries write, and what it is called here: for the messages of calls that have no such thing.

pytorch-grad-cam, torch-cam, captum and Quantus have names of their own for the same things. A call that gets one is
refused in one line that says what to write. Nothing here imports torch: ``import pellucid`` must not wait for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from functools import wraps
from opcode import opmap
from types import FrameType
from typing import Any, ParamSpec, TypeVar

from pellucid.errors import ArgumentError, did_you_mean, near

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)
_MOST_TEXT = 60
"""The most characters of a value that is repeated in a message."""

ARGUMENTS = {
    "class_idx": "targets",
    "class_names": "classes",
    "input_tensor": "images",
    "inputs": "images",
    "labels": "classes",
    "target": "targets",
    "target_category": "targets",
    "target_layer": "layers",
    "target_layers": "layers",
    "x": "images",
    "x_batch": "images",
    "y_batch": "targets",
}
"""The arguments of other libraries, and those of ``explain`` that mean the same."""
CLASSES = {"SmoothGradCAMpp": "SmoothGrad(GradCAMPlusPlus())"}
"""The classes of other libraries that are two of ours."""


def pointing(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse a keyword that the call does not have by an ``ArgumentError`` that names the right one."""
    known = list(inspect.signature(function).parameters)

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for name in kwargs:
            if name not in known:
                model = next((one for one in (*args, *kwargs.values()) if _is_model(one)), None)
                called = function.__qualname__.removesuffix(".__init__").removesuffix(".__call__")
                raise ArgumentError(
                    f"{called} was called with {name}=, which it does not have"
                    f"{_instead(name, kwargs[name], known, model)}"
                )
        return function(*args, **kwargs)

    return wrapper


def pointing_fields(cls: C) -> C:
    """The same for the fields of a dataclass: decorate the dataclass with it."""
    type.__setattr__(cls, "__init__", pointing(vars(cls)["__init__"]))
    return cls


def _instead(name: str, value: object, known: list[str], model: object) -> str:
    """What to write for an argument, as the end of a message."""
    own = ARGUMENTS.get(name, "")
    if own in known:
        return f": write {own}={_value(own, value, model)}"
    if "runtime" in known and name in _settings():
        return f": write runtime=pellucid.Runtime({name}={_short(value)})"
    own_names = [one for one in known if one not in ("self", "_")]
    return did_you_mean(name, own_names) or f"; it has {', '.join(own_names)}"


def _settings() -> list[str]:
    """The settings of a runtime."""
    from pellucid.core.runtime import Runtime

    return [field.name for field in fields(Runtime)]


def _value(own: str, value: object, model: object) -> str:
    """A value as it is written here."""
    if own == "layers":
        return layer_names(value, model) or "[…]"
    if own == "targets":
        return class_of(value)
    return "…" if own == "images" else _short(value)


def _short(value: object) -> str:
    """A number, text or short list of them as Python writes it; "…" for anything else."""
    plain = all(isinstance(one, (str, int, float)) for one in (value if isinstance(value, (list, tuple)) else [value]))
    return repr(value) if plain and len(repr(value)) <= _MOST_TEXT else "…"


def class_of(target: object) -> str:
    """A target as it is written here: pytorch-grad-cam's have their class as ``category``."""
    if isinstance(target, (list, tuple)):
        return f"[{', '.join(class_of(one) for one in target)}]"
    category = getattr(target, "category", None)
    return _short(target if category is None else category)


def layer_names(layers: object, model: object) -> str | None:
    """The names in ``model`` of modules that were given as layers, as a list in Python; None where one has none."""
    listed = layers if isinstance(layers, (list, tuple)) else [layers]
    names = {id(module): name for name, module in _named_modules(model)}
    found = [one if isinstance(one, str) else names.get(id(one)) for one in listed]
    return None if not all(found) else repr(found)


def _named_modules(model: Any) -> Iterator[tuple[str, object]]:
    yield from model.named_modules() if _is_model(model) else ()


def _is_model(one: object) -> bool:
    """Whether this is a network, without torch."""
    return hasattr(one, "named_modules") and not isinstance(one, type)


def check_options(cls: type, given: tuple[object, ...], named: dict[str, object]) -> None:
    """Refuse what a method is created with in other libraries: a model, its layers, other names of options.

    Raises:
        ArgumentError: something that is no option of the method.
    """
    if vars(cls).get("__dataclass_params__") is None:  # it has a constructor of its own
        return
    options = {field.name: str(field.type) for field in fields(cls)}
    names = [*options, *(f"argument {number}" for number in range(len(options), len(given)))]
    values = {**dict(zip(names, given, strict=False)), **named}
    if any(_is_model(one) and "Module" not in options.get(name, "") for name, one in values.items()):
        raise ArgumentError(
            f"{cls.__name__} was created with a model; it takes {_listed(options)}: {_call(cls, values)}"
        )
    for name in named:
        if name not in options:
            meant = f"; it has {_listed(options)}: {_call(cls, values)}" if name in ARGUMENTS else ""
            hint = meant or did_you_mean(name, options) or f"; it has {_listed(options)}"
            raise ArgumentError(f"{cls.__name__} was created with {name}=, which it does not have{hint}")


def of_a_probe(attribute: Callable[P, R]) -> Callable[P, R]:
    """Refuse to call a method's ``attribute`` as captum's, with images and ``target=``."""

    @wraps(attribute)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        method, first = args[0], args[1] if len(args) > 1 else None
        if ARGUMENTS.keys() & kwargs.keys() or hasattr(first, "is_floating_point"):  # a tensor, without torch
            asked = [value for name, value in kwargs.items() if ARGUMENTS.get(name, name) == "targets"]
            targets = "".join(f", targets={class_of(value)}" for value in asked)
            raise ArgumentError(
                f"{type(method).__name__}.attribute was called with images; it takes a probe: "
                f"write pellucid.explain(model, images, method={method!r}{targets})"
            )
        return attribute(*args, **kwargs)

    return wrapper


def _listed(options: Iterable[str]) -> str:
    return ", ".join(options) or "no options"


def _call(cls: type, values: dict[str, object]) -> str:
    """The call of ``explain`` that is meant by a method that was created with a model or its layers."""
    model = next(filter(_is_model, values.values()), None)
    named = [layer_names(one, model) for one in values.values() if one is not model]
    layers = "".join(f", layers={names}" for names in named[:1] if names)
    return f"write pellucid.explain(model, images, method={cls.__name__}(){layers})"


def missing(module: str, name: str, known: Mapping[str, str], caller: FrameType) -> Exception:
    """The error for a name that a module does not have, with the one that was meant: ``known`` says where each is.

    Python drops the message of an AttributeError when the name is imported, so that is then an ImportError.
    """
    hint = f": write {CLASSES[name]}" if name in CLASSES else ""
    close = ", ".join(known[one] for one in near(name, known))
    hint = hint or (f"; did you mean {close}?" if close else "")
    if caller.f_lasti >= 0 and caller.f_code.co_code[caller.f_lasti] == opmap["IMPORT_FROM"]:
        return ImportError(f"cannot import name {name!r} from {module!r}{hint}", name=name)
    return AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)
