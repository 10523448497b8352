"""``Form``: what makes cases of a folder, a table or an annotation file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TypeVar

from pellucid.core.registry import Registry
from pellucid.evaluation.case import Data


@dataclass(frozen=True)
class Asked:
    """What the user names: the data set, and where its images and masks are if it does not say so itself.

    ``labels`` maps labels of the data set to classes of the model, where their names differ.
    """

    data: str
    images: Path | None = None
    masks: Path | None = None
    maps: Mapping[str, Path] = field(default_factory=dict)
    """Folders of maps made before, by method: a .npy or .npz file for each case, in the cases' subfolders."""
    labels: Mapping[str, str] = field(default_factory=dict)


class Form(ABC):
    """A form of data sets. Subclasses are frozen dataclasses without fields, in a file of their own in ``sources``."""

    name: ClassVar[str] = ""
    is_general: ClassVar[bool] = False
    """Whether it stands back where another form recognises the data set, too: any table, any folder."""

    @abstractmethod
    def recognises(self, asked: Asked) -> bool:
        """Whether the data set has this form, by its name and at most its first 64 KiB."""

    @abstractmethod
    def read(self, asked: Asked) -> Data:
        """The cases. No image and no mask is opened; what cannot be a case is excluded and counted.

        Raises:
            DataError: the file as a whole cannot be read.
        """


FORMS: Registry[Form] = Registry("pellucid.evaluation.sources", "form")
F = TypeVar("F", bound=type[Form])


def register_form(name: str) -> Callable[[F], F]:
    """Register a form under ``name``: the decorator of its class."""
    return FORMS.register(name)
