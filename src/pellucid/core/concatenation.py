"""Whether explanations of several batches can become one, and what they agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pellucid.errors import OptionError, ShapeError


def check_alike(parts: Sequence[Mapping[str, object]]) -> None:
    """Raise unless what must be equal is equal in all parts; names that begin with "the" are of their tensors.

    Raises:
        OptionError: there are no parts, or their methods, options, layers, heads, classes or checks differ.
        ShapeError: their tensors differ in size or device.
    """
    if not parts:
        raise OptionError("Explanation.cat got no explanations; give at least one")
    first, *others = parts
    for part in others:
        for name, value in part.items():
            if value != first[name]:
                kind = ShapeError if name.startswith("the ") else OptionError
                raise kind(
                    f"explanations with different {name.removeprefix('the ')} were given, {first[name]} and {value}; "
                    "Explanation.cat takes batches of one Explainer"
                )


def common_entries(provenances: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that are equal in all of them."""
    first, *rest = provenances
    return {key: value for key, value in first.items() if all(key in one and one[key] == value for one in rest)}
