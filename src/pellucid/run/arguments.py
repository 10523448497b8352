"""What is refused as an argument of an explanation, before any work, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from pellucid.core.habits import layer_names
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.errors import OptionError
from pellucid.models.session.session import unwrapped
from pellucid.run.fusing import FUSIONS


def check_method(method: object, layers: Sequence[str] | None) -> None:
    """Raise ``OptionError`` unless this is a method, and one that looks at layers where some are named."""
    if not isinstance(method, Method):
        raise OptionError(f"method must be a name or a Method, got {method!r}{_instead_of(method)}")
    if layers and not method.uses_layers:
        raise OptionError(f"layers {list(layers)} were given; method {method.name!r} looks at none")


def _instead_of(method: object) -> str:
    """What to write for something that was given as a method, as the end of a message."""
    if isinstance(method, type) and issubclass(method, Method):
        return f": write {method.__name__}()"
    return f": write targets={method}" if isinstance(method, int) else ""


def check_layers(layers: Sequence[str] | None, model: nn.Module) -> None:
    """Raise ``OptionError`` unless layers are named, or none are given to have them found."""
    check_names("layers", layers, layer_names(layers, unwrapped(model)))
    if layers is not None and not layers:
        raise OptionError("layers=[] was given; name at least one, or leave it out to have one found")


def check_names(what: str, names: object, meant: str | None = None) -> None:
    """Raise unless these are None or a list of strings; ``meant`` are the names of what was given instead."""
    if names is None:
        return
    if isinstance(names, str):
        raise OptionError(f"{what} must be a list of names, got the string {names!r}: write [{names!r}]")
    cure = f": write {what}={meant}" if meant else ""
    if not isinstance(names, Sequence | nn.Module):
        raise OptionError(f"{what} must be a list of names, got {names!r}")
    wrong = [names] if isinstance(names, nn.Module) else [name for name in names if not isinstance(name, str)]
    if wrong and isinstance(wrong[0], nn.Module) and not meant:
        cure = ", which is none of the model's: pellucid.recommended_layers(model) has names"
    if wrong:
        raise OptionError(f"{what} must be a list of names, got one of type {type(wrong[0]).__name__}{cure}")


def check_runtime(runtime: object) -> None:
    """Raise ``OptionError`` unless this is a runtime."""
    if not isinstance(runtime, Runtime):
        raise OptionError(f"runtime must be a pellucid.Runtime, got {runtime!r}")


def check_fuse(fuse: str) -> None:
    """Raise ``OptionError`` unless layers can be fused in this way."""
    if fuse not in FUSIONS:
        raise OptionError(f"fuse {fuse!r} was asked for; there are {', '.join(FUSIONS)}")


def check_output(output: object) -> None:
    """Raise ``OptionError`` unless this may name one of a model's outputs."""
    if isinstance(output, bool) or not isinstance(output, (str, int, type(None))):
        raise OptionError(f"output must be a name or a position, got {output!r}")
