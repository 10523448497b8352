"""What the units of all statistics are called: patients, or images where a data set does not state whose they are."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pellucid.errors import counted

_PATIENT = re.compile(r"\bpatient(s?)\b")


@dataclass(frozen=True)
class Unit:
    """The noun of a unit, what counts as one, as sentences, and what images are that each are one ("" for patients).

    >>> DISTINCT.of(75, "image"), DISTINCT.of(75, "finding"), PATIENT.of(75, "image")
    ('(75 distinct)', 'of 75 distinct images', 'of 75 patients')
    >>> DISTINCT.counted(75), DISTINCT.words("fewer than 20 patients")
    ('75 distinct images', 'fewer than 20 distinct images')
    """

    noun: str
    means: str
    adjective: str = ""

    @property
    def plural(self) -> str:
        """Several of them."""
        return f"{self.noun}s"

    def counted(self, count: int) -> str:
        """A number of them."""
        return counted(count, self.noun)

    def of(self, count: int, noun: str) -> str:
        """How many of them there are among findings or images, by the noun of these."""
        return f"({count} {self.adjective})" if noun == "image" and self.adjective else f"of {self.counted(count)}"

    def words(self, text: str) -> str:
        """A text of this package that speaks of patients, with these units in their place: never one with names."""
        return _PATIENT.sub(rf"{self.noun}\1", text)


PATIENT = Unit("patient", "")
DISTINCT = Unit(
    "distinct image",
    "The data set does not state the patients of all images. The units of all statistics are distinct images: those "
    "that are nearly the same count as one, as do those of a stated patient. Different images of one patient count "
    "as several, so that intervals may be too narrow.",
    "distinct",
)


def unit_of(patients_stated: bool) -> Unit:
    """The unit, by whether the patient of every image is stated."""
    return PATIENT if patients_stated else DISTINCT
