"""Read the index.json of a registry: whole, or not at all.

Nothing in it is trusted: its size, depth and types are checked, and a name that it has twice is an error, since readers
differ in which one they take.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import CheckpointError, SourceError, message_of
from pellucid.models.checkpoints.refusals import words

NAME = "index.json"
LARGEST = 2**24
DEEPEST = 64
SCHEMA = 1
_SCHEMAS = (SCHEMA, "1", "1.0")
_RESTORE = "restore it, or correct it"


@dataclass(frozen=True, eq=False)
class Index:
    """The content of an index; ``models`` are the lists of records by model.

    An index without ``schema_version`` and ``models`` is one of the first form, in which the whole content are these
    lists.
    """

    content: Mapping[str, Any]

    @property
    def models(self) -> Mapping[str, Any]:
        """The records, as they stand in the file, by model."""
        models: Mapping[str, Any] = self.content["models"] if _is_schema(self.content) else self.content
        return models


def read_index(root: Path) -> Index:
    """Read a registry's index; of a folder without one, an empty index.

    Raises:
        SourceError: there is no such folder.
        CheckpointError: the index is broken, too large, or not of a form that is known.
    """
    if not root.is_dir():
        raise SourceError(f"{root}: a registry was expected, got no folder; give registry:FOLDER/KEY@VERSION")
    path = root / NAME
    if not os.path.lexists(path):
        return Index({"schema_version": SCHEMA, "models": {}})
    content = _parsed(path, _bytes(root, path))
    _check(path, content)
    return Index(content)


def _bytes(root: Path, path: Path) -> bytes:
    try:
        if not path.resolve().is_relative_to(root.resolve()):
            raise _broken(path, "it is a link out of the registry", "put the file itself there")
        if not stat.S_ISREG(path.stat().st_mode):
            raise _broken(path, "it is no file", "remove it")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise _broken(path, f"it cannot be read ({error.strerror})", "allow it") from None
    if len(content) > LARGEST:
        raise _broken(path, f"it has more than {LARGEST:,} bytes", "split the registry")
    return content


def _parsed(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once)
    except CheckpointError as error:
        raise _broken(path, str(error), _RESTORE) from None
    except RecursionError:
        raise _broken(path, "it is nested too deep", _RESTORE) from None
    except ValueError as error:
        raise _broken(path, f"it is no JSON ({message_of(error, 80)})", _RESTORE) from None


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these entries."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in made if names.count(name) > 1)
        raise CheckpointError(f"it has the name {words(twice)!r} twice")
    return made


def _is_schema(content: Mapping[str, Any]) -> bool:
    return "models" in content or "schema_version" in content


def _check(path: Path, content: Any) -> None:
    """Raise unless a content has the form of an index."""
    if not isinstance(content, dict):
        raise _broken(path, f"an object was expected, got {_kind(content)}", _RESTORE)
    schema = content.get("schema_version", SCHEMA)
    if isinstance(schema, bool) or schema not in _SCHEMAS:
        raise _broken(path, f"its schema_version is {words(str(schema))}, and {SCHEMA} is read", "update pellucid")
    models = content.get("models") if _is_schema(content) else content
    if not isinstance(models, dict):
        raise _broken(path, f"its models are {_kind(models)}, and an object was expected", _RESTORE)
    for key, records in models.items():
        if not isinstance(records, list):
            raise _broken(path, f"{words(key)!r} is {_kind(records)}, and a list of records was expected", _RESTORE)
    if _is_deep(content):
        raise _broken(path, f"it is nested more than {DEEPEST} deep", _RESTORE)


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _within(outer)]
    return bool(level)


def _within(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def _broken(path: Path, what: str, cure: str) -> CheckpointError:
    return CheckpointError(f"{path}: the index of a registry was expected; {what}: {cure}")
