"""Optional packages, which are imported when they are first needed, and the error that tells how to install one."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pellucid.errors import MissingPackageError


@dataclass(frozen=True)
class OptionalPackage:
    """A package that is imported when it is first needed; ``extra`` is pellucid's extra that installs it."""

    module: str
    extra: str

    def load(self, purpose: str) -> Any:
        """Import the package.

        Raises:
            MissingPackageError: it is not installed; the message names ``purpose`` and the command to install it.
        """
        try:
            return import_module(self.module)
        except ImportError:
            raise MissingPackageError(
                f"{purpose} was asked for; {self.module} is not installed: pip install 'pellucid[{self.extra}]'"
            ) from None
