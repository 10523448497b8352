"""Optional packages, which are imported when they are first needed, and the error that tells how to install one."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from pellucid.errors import MissingPackageError


@dataclass(frozen=True)
class OptionalPackage:
    """A package that is imported when it is first needed; ``extra`` is the extra that installs it, if one does."""

    module: str
    extra: str = ""

    def load(self, purpose: str) -> Any:
        """Import the package.

        Raises:
            MissingPackageError: it is not installed; the message names ``purpose`` and the command to install it.
        """
        try:
            return import_module(self.module)
        except ImportError:
            raise self._missing(purpose) from None

    def check(self, purpose: str) -> None:
        """Look for the package without importing it, which may take a second.

        Raises:
            MissingPackageError: as for ``load``.
        """
        if self.module not in sys.modules and find_spec(self.module) is None:
            raise self._missing(purpose)

    @property
    def _what(self) -> str:
        """What pip installs: an extra of pellucid's, or a package that none brings."""
        return f"'pellucid[{self.extra}]'" if self.extra else self.module

    def _missing(self, purpose: str) -> MissingPackageError:
        return MissingPackageError(f"{purpose} was asked for; {self.module} is not installed: pip install {self._what}")
