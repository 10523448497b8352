"""Read from ``pyproject.toml`` which Python versions and which packages are promised, and their lower bounds."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

_PYTHON = "Programming Language :: Python :: 3."
_INCLUSIVE = frozenset({">=", "==", "~="})


class BoundError(ValueError):
    """A requirement names no version that could be installed as its oldest."""


@dataclass(frozen=True)
class Dependency:
    """A direct dependency and the extra that brings it; ``extra`` is empty for what is always installed."""

    requirement: Requirement
    extra: str

    @property
    def name(self) -> str:
        """The name as package indexes normalise it: lower case, with hyphens."""
        return canonicalize_name(self.requirement.name)

    def oldest(self) -> str:
        """The requirement that only the lower bound meets, such as ``torch==2.6``."""
        extras = f"[{','.join(sorted(self.requirement.extras))}]" if self.requirement.extras else ""
        return f"{self.name}{extras}=={lower_bound(self.requirement.specifier)}"


def lower_bound(specifiers: SpecifierSet) -> str:
    """The lowest version that the specifiers allow, as they write it.

    Raises
    ------
    BoundError
        If none of them is ``>=``, ``==`` or ``~=``.
    """
    found = [each.version for each in specifiers if each.operator in _INCLUSIVE]
    if not found:
        raise BoundError(f"a requirement needs a lower bound (>=) to be tested with it, got {str(specifiers)!r}")
    return found[0]


@dataclass(frozen=True)
class Project:
    """The ``[project]`` table of ``pyproject.toml``."""

    table: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Project:
        """Read the file."""
        return cls(tomllib.loads(path.read_text())["project"])

    @property
    def oldest_python(self) -> str:
        """The lower bound of ``requires-python``, such as ``3.11``."""
        return lower_bound(SpecifierSet(self.table["requires-python"]))

    @property
    def newest_python(self) -> str:
        """The highest Python among the classifiers, such as ``3.13``."""
        minors = (each.removeprefix(_PYTHON) for each in self.table["classifiers"] if each.startswith(_PYTHON))
        return f"3.{max(int(minor) for minor in minors)}"

    def dependencies(self) -> list[Dependency]:
        """Every direct dependency once, those that are always installed first; each extra is followed once."""
        extras = self.table["optional-dependencies"]
        listed = [("", self.table["dependencies"]), *extras.items()]
        found: dict[str, Dependency] = {}
        for extra, texts in listed:
            for dependency in self._of(extra, texts):
                found.setdefault(dependency.name, dependency)
        return list(found.values())

    def _of(self, extra: str, texts: list[str]) -> Iterator[Dependency]:
        """The dependencies of one list; the project's own name in it only refers to other extras."""
        for text in texts:
            dependency = Dependency(Requirement(text), extra)
            if dependency.name != canonicalize_name(self.table["name"]):
                yield dependency
