"""Reads the file of a plan: TOML whose keys and types are those of the settings, and nothing else."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from pellucid.errors import OptionError, did_you_mean
from pellucid.io.refusal import one_line

MAX_BYTES = 2**16


def read_settings(path: Path, defaults: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The settings of a plan's file, whose names and types are those of ``defaults``, and the file's SHA-256.

    Raises:
        OptionError: it cannot be read, or has another key or a value of another type.
    """
    asked = f"plan {path} was given"
    content = _content(path, asked)
    try:
        stated = tomllib.loads(content.decode("utf-8-sig"))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(
            f'{asked}; it is not TOML ({one_line(error)}): write lines such as prior = "centre"'
        ) from None
    except (UnicodeDecodeError, RecursionError, ValueError):
        raise OptionError(f'{asked}; it is not TOML: write lines such as prior = "centre" in UTF-8') from None
    return _settings(stated, defaults, asked), _digest(content)


def _settings(stated: Mapping[str, Any], defaults: Mapping[str, Any], asked: str, where: str = "") -> dict[str, Any]:
    """The settings of a file or, with its name as ``where``, of a table in it."""
    for key in stated:
        if key not in defaults:
            hint = did_you_mean(key, defaults) or f"; there are {', '.join(defaults)}"
            raise OptionError(f"{asked}; {where or 'it'} has no setting {one_line(key)!r}{hint}")
    return {key: _typed(key, value, defaults[key], asked) for key, value in stated.items()}


def _content(path: Path, asked: str) -> bytes:
    try:
        if not path.is_file():
            raise OptionError(f"{asked}; it is no file: give a TOML file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or one_line(error)
        raise OptionError(f"{asked}; it cannot be read ({reason}): give a TOML file") from None
    if len(content) > MAX_BYTES:
        raise OptionError(f"{asked}; it has more than {MAX_BYTES:,} bytes: a plan is a few lines")
    return content


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _typed(key: str, value: Any, default: Any, asked: str) -> Any:
    """A value of the type of the default; a text stands for a list of one, a whole number for any.

    Of a default that is a dataclass a table is read, whose keys are its fields.
    """
    if is_dataclass(default) and not isinstance(default, type):
        if not isinstance(value, Mapping):
            raise OptionError(f"{asked}; {key} = {one_line(value)} was read; write a table, as in [{key}]")
        own = {one.name: getattr(default, one.name) for one in fields(default)}
        return replace(default, **_settings(value, own, asked, f"[{key}]"))
    if isinstance(default, tuple):
        values = [value] if isinstance(value, str) else value
        if isinstance(values, list) and all(isinstance(one, str) for one in values):
            return tuple(values)
    elif isinstance(default, str) and isinstance(value, str):
        return value
    elif isinstance(default, (int, float)) and isinstance(value, (int, type(default))) and not isinstance(value, bool):
        return value if isinstance(default, int) else _float(value)
    raise OptionError(f"{asked}; {key} = {one_line(value)} was read; write {_KINDS[type(default)].format(key=key)}")


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return float("inf")


_KINDS: Mapping[type, str] = {
    tuple: 'a list of texts, as in {key} = ["first", "second"]',
    str: 'a text, as in {key} = "text"',
    float: "a number, as in {key} = 0.1",
    int: "a whole number, as in {key} = 1",
}
