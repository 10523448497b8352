"""Messages of the library in the words of the command line: ``head='sigmoid'`` is ``--head sigmoid`` there."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_OTHER = {"output": ("model_output",), "input_size": ("input_size", "size"), "spec": ("model",)}
"""The parameters of commands for arguments of other names: ``--output`` is the folder of the results."""
_PHRASES = {
    "write to another folder": ("output", "choose another --output"),
    "slices one by one": ("slice_mode", "slices one by one (--as files)"),
    "read it by itself": ("slice_mode", "read it by itself (--as files)"),
    "an image of that many channels": ("channels", "a file for each: --channels a.png,b.png,…"),
}
"""What the library says in words, as it has no argument for it: the parameter of commands that have one, and theirs."""
_ELSEWHERE = {"spec": ("--model", "SPEC"), "checkpoint": ("--checkpoint", "FILE")}
"""Options of other commands, which messages of a command without them point to."""
_OPTIONS: ContextVar[Mapping[str, tuple[str, str]]] = ContextVar("options")
"""The options of the command that runs, each with what stands for its value, by the library's names of arguments."""
_ARGUMENT = re.compile(
    r"(?<![\w.-])(?P<name>[a-z_]+)=(?P<value>'[^']*'|\"[^\"]*\"|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)|…|[\w.+-]*[\w+-]|)"
)


@contextmanager
def spoken(parameters: Iterable[Any]) -> Iterator[None]:
    """Write messages with the options of a command; ``parameters`` are its parameters as typer has them."""
    before = _OPTIONS.set(_named(parameters))
    try:
        yield
    finally:
        _OPTIONS.reset(before)


def as_options(text: str) -> str:
    """A message with the arguments that it names, such as ``layers=['layer4']``, as options of the command."""
    known = _OPTIONS.get({})
    for phrase, (parameter, words) in _PHRASES.items():
        if parameter in known:
            text = text.replace(phrase, words)
    return _ARGUMENT.sub(_option, text)


def _named(parameters: Iterable[Any]) -> dict[str, tuple[str, str]]:
    """The options by the names of arguments: a list of them has the plural, as ``layers`` of ``--layer``."""
    known = dict(_ELSEWHERE)
    for parameter in parameters:
        option = next((spelled for spelled in parameter.opts if spelled.startswith("--")), parameter.metavar)
        if option is not None:
            known[parameter.name] = option, parameter.metavar or ""
            if getattr(parameter, "multiple", False):
                known[f"{parameter.name}s"] = known[parameter.name]
    for argument, names in _OTHER.items():
        for name in names:
            if name in known:
                known[argument] = known[name]
                break
    return known


def _option(found: re.Match[str]) -> str:
    known, value = _OPTIONS.get({}).get(found["name"]), found["value"]
    if known is None:
        return found[0]
    option, form = known
    try:
        return " ".join(_written(option, ast.literal_eval(value)))
    except (ValueError, SyntaxError):  # a form, as in (C, H, W), or nothing
        return f"{option} {form}".strip() if "(" in value else option


def _written(option: str, value: object) -> list[str]:
    """An option with its value; once for each entry of a list or dictionary."""
    if value is True:
        return [option]
    if isinstance(value, Mapping):
        return [f"{option} {shlex.quote(f'{key}={each}')}" for key, each in value.items()]
    if isinstance(value, list):
        return [f"{option} {shlex.quote(str(each))}" for each in value]
    return [f"{option} {','.join(map(str, value)) if isinstance(value, tuple) else shlex.quote(str(value))}"]
