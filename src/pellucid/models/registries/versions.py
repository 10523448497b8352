"""The names of models and versions in a registry, and the order of versions."""

from __future__ import annotations

import re
from typing import TypeGuard

from pellucid.errors import OptionError

Version = int | str
LATEST = "latest"
LONGEST = 200
_TOKEN = re.compile(r"[0-9]+|[a-z]+")
_BEFORE = ("dev", "alpha", "beta", "pre", "preview", "rc")
"""What comes before the version that it is added to, in this order: 1.0-rc1 before 1.0."""
_EARLY, _END, _WORD, _NUMBER = range(4)
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+-]{0,98}[A-Za-z0-9_+-])?")
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for devices, with any ending."""

Order = tuple[tuple[int, int, str], ...]


def order(version: Version) -> Order:
    """Return what versions are sorted by: their numbers as numbers, their words as words.

    A "v" in front does not count, and dev, alpha, beta, pre and rc come before the version that they are added to.

    >>> sorted(["v10", "v9", "1.2.0", "1.10.0", "2.0", "2.0-rc1"], key=order)
    ['1.2.0', '1.10.0', '2.0-rc1', '2.0', 'v9', 'v10']
    >>> order(3) == order("v3")
    True
    """
    text = str(version).lower()
    tokens = _TOKEN.findall(text[1:] if re.match("v[0-9]", text) else text)
    return (*map(_rank, tokens), (_END, 0, ""))


def _rank(token: str) -> tuple[int, int, str]:
    if token.isdecimal():
        return _NUMBER, int(token), ""
    return (_EARLY, _BEFORE.index(token), "") if token in _BEFORE else (_WORD, 0, token)


def is_version(value: object) -> TypeGuard[Version]:
    """Whether a value that an index states is a version: a whole number, or a short text."""
    if isinstance(value, str):
        return 0 < len(value) <= LONGEST and value.isprintable()
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**LONGEST


def check_key(key: object) -> str:
    """Return a model's name that is safe as a folder's on every system.

    Raises:
        OptionError: it is not.
    """
    if not isinstance(key, str) or not _is_name(key) or key.lower() == "index.json":
        raise OptionError(
            f"the model's key {_shown(key)} was given; it names a folder: up to 100 letters of a-z and A-Z, digits, "
            "'.', '_', '+' and '-', such as chest-resnet50"
        )
    return key


def check_version(version: object) -> Version:
    """Return a version that is safe as a folder's name on every system.

    Raises:
        OptionError: it is not.
    """
    if isinstance(version, int) and is_version(version):
        return version
    if not isinstance(version, str) or not _is_name(version) or version.lower() == LATEST:
        raise OptionError(
            f"version={_shown(version)} was given; give a whole number from 0, or up to 100 letters of a-z and A-Z, "
            "digits, '.', '_', '+' and '-', such as 1.2.0, and not 'latest'"
        )
    return version


def is_name(name: object) -> TypeGuard[str]:
    """Whether something that a file states is the name of a model or version that ``save`` writes."""
    return isinstance(name, str) and _is_name(name)


def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None and _DEVICE.fullmatch(name) is None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
