"""Which class of a model a number or a name stands for."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from pellucid.core.habits import class_of
from pellucid.errors import TargetError, did_you_mean

_MOST = 2**62
"""No model has more classes."""


def class_number(item: Any) -> int:
    """A class that is given by number.

    Raises:
        TargetError: it is no whole number, or beyond all models.
    """
    if callable(item) and not isinstance(item, type):
        raise TargetError(f"a list with a {type(item).__name__} was given; {_instead_of(item)}")
    if isinstance(item, (bool, type)) or not hasattr(item, "__index__"):
        raise TargetError(f"a target must be 'predicted', 'all', a class's number or name, got {type(item).__name__}")
    index = operator.index(item)
    if abs(index) > _MOST:
        raise TargetError(f"class {index} was asked for; no model has that many")
    return index


def _instead_of(target: Any) -> str:
    """What to write for a callable in a list of classes: pytorch-grad-cam's targets have their class."""
    if hasattr(target, "category"):
        return f"write the class itself: targets=[{class_of(target)}]"
    return "give one callable for all images, from what the model returns, (B, C), to scores (B,) or (B, K)"


def class_index(name: str, classes: Sequence[str] | None, head: str) -> int:
    """The number of the class that has a name; of one value's two scores, its direction alone is a name, too.

    Raises:
        TargetError: no class has it, or several do, or the names are not known.
    """
    if classes is None:
        raise TargetError(f"class {name!r} was asked for by name; the model's names are not known: give classes=[…]")
    found = classes_named(name, classes)
    if not found and head == "regression":
        found = [i for i, known in enumerate(classes) if _key(known).startswith(f"{_key(name)} ")]
    if not found:
        raise TargetError(f"class {name!r} was asked for; the model does not have it{did_you_mean(name, classes)}")
    if len(found) > 1:
        raise TargetError(f"class {name!r} was asked for; classes {found} all have that name: give the number")
    return found[0]


def classes_named(name: str, classes: Sequence[str]) -> list[int]:
    """The numbers of the classes of a name; case, and an underscore for a space, do not count.

    A class may have several names, with commas between them: "tench, Tinca tinca" is found by each.
    """
    keys, asked = [_key(known) for known in classes], _key(name)
    found = [index for index, key in enumerate(keys) if key == asked]
    return found or [index for index, key in enumerate(keys) if asked in map(str.strip, key.split(","))]


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())
