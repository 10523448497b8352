"""Tables of the quick reference, generated from signatures, docstrings and help texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from types import ModuleType
from typing import Any

import method_pages  # this folder is importable while MkDocs loads its hooks
import typer.main

import pellucid
from pellucid import errors, phantom, training
from pellucid.cli.main import app
from pellucid.core.attack import ATTACKS
from pellucid.core.catalogue import PRIORS
from pellucid.core.change import CHANGES
from pellucid.core.metric import METRICS, Comparison
from pellucid.core.registry import summary

PROBLEMS = (ValueError, IndexError, TypeError, RuntimeError)
"""The built-in errors that pellucid's own errors also are."""
_WIDE = 70
"""Characters from which on a call is shown without its defaults."""


def signature(assigned: str, called: Callable[..., object]) -> str:
    """A call with all arguments and their defaults, as a block of text."""
    lines = "\n".join(f"    {argument}," for argument in _arguments(called))
    return f"```text\n{assigned} = pellucid.{called.__name__}(\n{lines}\n)\n```"


def _arguments(called: Callable[..., object]) -> list[str]:
    """The arguments of a call as they are written, from the first keyword-only one on behind a star."""
    parameters = list(inspect.signature(called).parameters.values())
    texts = [_argument(parameter) for parameter in parameters]
    named = [index for index, one in enumerate(parameters) if one.kind is inspect.Parameter.KEYWORD_ONLY]
    return [*texts[: named[0]], "*", *texts[named[0] :]] if named else texts


def _argument(parameter: inspect.Parameter) -> str:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    is_made = "factory" in repr(parameter.default)  # a dataclass makes it at each call
    return f"{parameter.name}={'…' if is_made else repr(parameter.default)}"


def public_names(module: ModuleType) -> str:
    """The public names of a module, with their arguments and the first sentence of their docstrings."""
    return _table(("name", "description"), ((_called(module, name), _first(module, name)) for name in module.__all__))


def _called(module: ModuleType, name: str) -> str:
    """A function with its arguments, a long one without their defaults; of a class or a value only the name."""
    value = getattr(module, name)
    if not inspect.isroutine(value):
        return f"`{name}`"
    call = f"{name}({', '.join(_arguments(value))})"
    return f"`{call}`" if len(call) <= _WIDE else f"`{name}({', '.join(inspect.signature(value).parameters)})`"


def _first(module: ModuleType, name: str) -> str:
    """The first sentence of a docstring; a value's own text where it has none."""
    value = getattr(module, name)
    is_documented = inspect.isclass(value) or inspect.ismodule(value) or inspect.isroutine(value)
    return _sentence(inspect.getdoc(value) or "") if is_documented else f"`{value!r}`"


def commands() -> str:
    """The commands, each with the first line of its help."""
    rows = ((f"`pellucid {name}`", _sentence(command.help or "")) for name, command in _commands())
    return _table(("command", "description"), rows)


def options() -> str:
    """The arguments and options of every command, a table a command."""
    parts = [f"### Options of `pellucid {name}`\n\n{_options(command)}" for name, command in _commands()]
    return "\n\n".join(parts)


def _commands() -> list[tuple[str, Any]]:
    group: Any = typer.main.get_command(app)
    return sorted(group.commands.items())


def _options(command: Any) -> str:
    rows = ((_spelled(one), method_pages.prose(one.help or ""), _default(one)) for one in command.params)
    return _table(("option", "meaning", "default"), rows)


def _spelled(parameter: Any) -> str:
    """Every spelling of an option, with the name of its value; an argument by that name."""
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or (parameter.name or '').upper()}`"
    value = f" {parameter.metavar}" if parameter.metavar else ""
    return ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in parameter.opts)


def _default(parameter: Any) -> str:
    value = parameter.default.value if isinstance(parameter.default, Enum) else parameter.default
    return "" if value is None or isinstance(value, bool) else f"`{value}`"


def error_table() -> str:
    """The errors, with the built-in error that each one is and when it is raised."""
    kinds = [value for value in vars(errors).values() if inspect.isclass(value)]
    found = [kind for kind in kinds if issubclass(kind, errors.PellucidError) and kind is not errors.PellucidError]
    rows = ((f"`{kind.__name__}`", f"`{_built_in(kind)}`", _sentence(inspect.getdoc(kind) or "")) for kind in found)
    return _table(("error", "also a", "raised for"), rows)


def _built_in(kind: type[Exception]) -> str:
    return next((problem.__name__ for problem in PROBLEMS if issubclass(kind, problem)), "Exception")


def metric_table() -> str:
    """The metrics of maps and of two maps, with what each takes, what leaves it unchanged, and its paper."""
    known = sorted(METRICS.registered().items(), key=lambda item: (issubclass(item[1], Comparison), item[0]))
    own = [(name, cls) for name, cls in known if cls.__module__.startswith(f"{METRICS.package}.")]
    rows = (
        (
            f"`{name}`",
            f"`{cls.__name__}`",
            _about(cls),
            cls.takes,
            ", ".join(sorted(cls.unchanged_by)),
            cls.better or "",
        )
        for name, cls in own
    )
    return _table(("name", "class", "what it is", "takes", "unchanged by", "better"), rows)


def prior_table() -> str:
    """The priors, with what each is."""
    rows = ((f"`{name}`", f"`{cls.__name__}`", _about(cls)) for name, cls in sorted(PRIORS.registered().items()))
    return _table(("name", "class", "what it is"), rows)


def attack_table() -> str:
    """The attacks, with what each is and what it moves."""
    rows = (
        (f"`{name}`", f"`{cls.__name__}`", "the map" if cls.moves_map else "the answer", _about(cls))
        for name, cls in sorted(ATTACKS.registered().items(), key=lambda item: (item[1].moves_map, item[0]))
    )
    return _table(("name", "class", "about", "what it is"), rows)


def change_table() -> str:
    """The changes of images, with what each is, what its strength is, and its levels."""
    rows = (
        (f"`{name}`", f"`{cls.__name__}`", _about(cls), cls.unit, ", ".join(f"{level:g}" for level in cls.levels))
        for name, cls in sorted(CHANGES.registered().items())
    )
    return _table(("name", "class", "what it is", "strength", "levels"), rows)


def _about(cls: type[Any]) -> str:
    """The first line of the module of a class, without its full stop."""
    return method_pages.prose(summary(cls).removesuffix("."))


def _sentence(text: str) -> str:
    """The first paragraph up to its first full stop, as Markdown."""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return method_pages.prose(paragraph.partition(". ")[0].removesuffix("."))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


TABLES = {
    "<!-- the signature of explain -->": lambda: signature("explanation", pellucid.explain),
    "<!-- the signature of Runtime -->": lambda: signature("runtime", pellucid.Runtime),
    "<!-- the public names -->": lambda: public_names(pellucid),
    "<!-- the public names of pellucid.phantom -->": lambda: public_names(phantom),
    "<!-- the public names of pellucid.training -->": lambda: public_names(training),
    "<!-- the commands -->": commands,
    "<!-- the options of all commands -->": options,
    "<!-- the errors -->": error_table,
    "<!-- the metrics -->": metric_table,
    "<!-- the priors -->": prior_table,
    "<!-- the attacks -->": attack_table,
    "<!-- the changes -->": change_table,
}
"""What replaces a comment on a page."""
