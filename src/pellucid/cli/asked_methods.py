"""The methods of ``pellucid explain``: those that are named, with their options, and what "auto" stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from pellucid.cli.asked import Request
from pellucid.core import catalogue
from pellucid.core.choice import Choice
from pellucid.core.method import Method
from pellucid.core.runtime import AUTO
from pellucid.core.shown import check_signed
from pellucid.errors import OptionError
from pellucid.run.checks import check_checks
from pellucid.run.chosen import meant


def named(names: Sequence[str], options: Sequence[str]) -> list[Method]:
    """The methods, each with those of the options that it has; an option that none has is an error."""
    given = dict(_pair(option) for option in options)
    classes = [catalogue.find(name) for name in dict.fromkeys(names)]
    if given and not names:
        raise OptionError(f"--set {next(iter(given))} was given; auto takes its options from the choice: name a method")
    for key in given:
        if not any(key in catalogue.options(cls) for cls in classes):
            known = sorted({option for cls in classes for option in catalogue.options(cls)})
            raise OptionError(
                f"--set {key} was given; {', '.join(names)} have the options: {', '.join(known) or 'none'}"
            )
    return [
        catalogue.build(cls.name, {key: text for key, text in given.items() if key in catalogue.options(cls)})
        for cls in classes
    ]


def _pair(option: str) -> tuple[str, str]:
    key, sign, value = option.partition("=")
    if not sign or not key:
        raise OptionError(f"--set {option} was given; write it as name=value")
    return key, value


def check(methods: Sequence[Method], request: Request) -> None:
    """Check the options of methods that are named."""
    if AUTO in (request.layers or ()) and request.layers != [AUTO]:
        raise OptionError(f"--layer auto and others were given ({', '.join(request.layers or ())}): give auto alone")
    if request.choice is not None and AUTO not in request.methods and request.layers != [AUTO]:
        raise OptionError("--choice was given with methods and without auto: give --method auto, or --layer auto")
    if request.layers and AUTO not in request.methods and not any(method.uses_layers for method in methods):
        raise OptionError(
            f"--layer {request.layers[0]} was given; {', '.join(method.name for method in methods)} look at no layer: "
            "leave it out, or add a method that looks at one"
        )
    for method in methods:
        check_checks(request.checks, method)
        if request.style.signed:
            check_signed(method.name, method.signed)


def with_chosen(
    model: nn.Module, methods: list[Method], choice: Choice | None, request: Request
) -> tuple[list[Method], frozenset[str]]:
    """The methods with what auto stands for, and the names of those whose layers are the choice's."""
    every = (
        frozenset(method.name for method in methods if method.uses_layers) if request.layers == [AUTO] else frozenset()
    )
    if AUTO not in request.methods:
        return methods, every
    method = meant(model, AUTO, None, choice).method
    built = catalogue.find(method)() if isinstance(method, str) else method
    if built.name in [one.name for one in methods]:
        raise OptionError(f"--method auto and {built.name} were given; auto is {built.name} here: give one of them")
    check([built], replace(request, methods=[AUTO]))
    is_free = request.layers is None or request.layers == [AUTO]
    return [built, *methods], every | {built.name} if is_free else every
