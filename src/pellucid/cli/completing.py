"""What a shell completes: names that are found in source files, as at each key that is pressed torch is too slow."""

from __future__ import annotations

import re
from collections.abc import Callable

from pellucid.cli.derived import LISTS, package_folder

Completion = Callable[..., list[str]]
_MODEL = re.compile(r"^@register_model\b(?:(?!def ).*\n)+?def (\w+)\(", re.MULTILINE)
"""A function that torchvision or timm registers as a model."""
_FILES = {"torchvision": ("models/*.py", "models/video/*.py"), "timm": ("models/*.py",)}
DEVICES = ("auto", "cpu", "cuda", "gpu", "mps")


def among(name: str, *more: str) -> Completion:
    """The names of one of the lists of the help texts, and more."""

    def complete() -> list[str]:  # typer passes what a function names; it leaves out what does not fit
        return [*more, *LISTS[name]()]

    return complete


def any_of(*names: str) -> Completion:
    """The names of several of the lists, one list after the other."""

    def complete() -> list[str]:
        return [one for name in names for one in LISTS[name]()]

    return complete


def several_of(name: str) -> Completion:
    """The same for names that are separated by commas: the last of them is completed."""

    def complete(incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",")
        return [f"{before}{comma}{one}" for one in LISTS[name]() if one not in before.split(",")]

    return complete


def pairs_of(name: str) -> Completion:
    """The names of NAME=VALUE."""

    def complete() -> list[str]:
        return [f"{one}=" for one in LISTS[name]()]

    return complete


def devices() -> list[str]:
    """The kinds of devices."""
    return list(DEVICES)


def models(incomplete: str) -> list[str]:
    """The prefixes of models; behind that of torchvision or timm, their models."""
    prefix, colon, _ = incomplete.partition(":")
    if colon and prefix in _FILES:
        return [f"{prefix}:{name}" for name in _registered(prefix)]
    return [form.removesuffix("NAME") for form in LISTS["sources"]()]


def _registered(package: str) -> list[str]:
    try:
        folder = package_folder(package)
    except ImportError:
        return []
    files = [file for pattern in _FILES[package] for file in folder.glob(pattern)]
    return sorted({name for file in files for name in _MODEL.findall(file.read_text(encoding="utf-8"))})
