"""Removes the patient's identity from DICOM objects before they are written: the basic profile of PS3.15, Annex E."""

from __future__ import annotations

import hmac
import io
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache, partial
from typing import Any

from pydicom import DataElement, Dataset, dcmread

from pellucid.core.caption import NOT_FOR_DIAGNOSIS
from pellucid.errors import ExportError, MissingPackageError, OptionError

MIN_KEY = 16
"""The fewest bytes of a key: a shorter one can be guessed, and identities with it."""
_TABLE = "dicomfields_2026c"
_Tag = tuple[int, int, int, int]
"""Group and element of an attribute, and which of their bits count: repeating groups are one."""
_MAX_DAYS = 3650
_METHOD = "PS3.15 basic profile, by pellucid"
_OPTIONS = {
    "113100": "Basic Application Confidentiality Profile",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
}
"""Codes (PS3.16, CID 7050) of what is applied."""
_NAMES = ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT")
_DUMMIES: Mapping[str, Any] = {"AS": "000D", "TM": "000000", "DA": "19000101", "DT": "19000101"}


@dataclass(frozen=True)
class Deidentifier:
    """Replaces names, identifiers, dates and UIDs: equal values by equal ones, in all objects with the same ``key``.

    Dates of one patient move by the same number of days. A date after that of the study, such as today's, becomes the
    study's, since it would betray the number. Attributes that the profile removes are removed.

    Raises:
        OptionError: the key is too short.
        MissingPackageError: dicom-anonymizer, which has the profile's table, is not installed.
    """

    key: bytes = field(default_factory=partial(secrets.token_bytes, 32), repr=False)

    def __post_init__(self) -> None:
        """Refuse what would fail at the first object."""
        if len(self.key) < MIN_KEY:
            raise OptionError(f"a key of {len(self.key)} bytes was given; a secret has at least {MIN_KEY}")
        _actions()

    def cleaned(self, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """The same files, DICOM objects without identity.

        Raises:
            ExportError: an object's source states that the patient is named in its pixels.
        """
        return {name: self._cleaned(content) if name.endswith(".dcm") else content for name, content in files.items()}

    def _cleaned(self, content: bytes) -> bytes:
        try:
            dataset, buffer = dcmread(io.BytesIO(content)), io.BytesIO()
            self.apply(dataset)
            dataset.save_as(buffer, enforce_file_format=True)
        except ExportError:
            raise
        except Exception as error:  # its text is left out: it may quote the patient's data
            raise ExportError(
                f"an object without identity was asked for; its attributes do not allow it ({type(error).__name__})"
            ) from error
        return buffer.getvalue()

    def apply(self, dataset: Dataset) -> None:
        """Remove the identity from an object, in place.

        Raises:
            ExportError: it states that the patient is named in its pixels, which cannot be removed.
        """
        if dataset.get("BurnedInAnnotation") == "YES":
            raise ExportError(
                "an object without identity was asked for; the source states that its pixels name the patient "
                "(Burned In Annotation): take seg, pm or sr, which have no pixels of it"
            )
        self._clean(dataset, self._moved_dates(dataset))
        if "MediaStorageSOPInstanceUID" in (meta := getattr(dataset, "file_meta", Dataset())):
            meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.SeriesDescription = NOT_FOR_DIAGNOSIS
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = _METHOD
        dataset.DeidentificationMethodCodeSequence = [_code(value, meaning) for value, meaning in _OPTIONS.items()]
        dataset.LongitudinalTemporalInformationModified = "MODIFIED"

    def _clean(self, dataset: Dataset, moved: Callable[[str], str]) -> None:
        for element in list(dataset):
            action = _action(element)
            if action == "X":
                del dataset[element.tag]
            elif element.VR == "SQ" and action == "Z":
                element.value = []
            elif element.VR == "SQ":
                for item in element.value:
                    self._clean(item, moved)
            elif action and not element.is_empty:
                element.value = self._replaced(element, action, moved)

    def _replaced(self, element: DataElement, action: str, moved: Callable[[str], str]) -> Any:
        """The replacement of an element's value, or of each of its values."""
        values = element.value if element.VM > 1 else [element.value]
        if action == "U":
            made: list[Any] = [self.uid(str(value)) for value in values]
        elif element.VR in ("DA", "DT") and not element.keyword.startswith("Patient"):
            made = [moved(str(value)) or (_DUMMIES[element.VR] if action == "D" else "") for value in values]
        elif element.VR in _NAMES:
            made = [self.name(str(value)) for value in values]
        else:
            made = [_dummy(element.VR) if action == "D" else None]
        return made if len(made) > 1 else made[0]

    def uid(self, given: str) -> str:
        """The UID that replaces another one."""
        return f"2.25.{int(self._digest('uid', given)[:32], 16)}"

    def name(self, given: str) -> str:
        """The text that replaces a name or an identifier, such as a patient's."""
        return self._digest("name", given)[:16].upper()

    def file_name(self, given: str) -> str:
        """The name of an input's results, in place of the input's own."""
        return f"image-{self._digest('file', given)[:16]}"

    def digest(self, value: str) -> str:
        """A digest that only those with the key can make, of a digest that would identify a file."""
        return self._digest("digest", value)

    def _digest(self, kind: str, value: str) -> str:
        return hmac.digest(self.key, f"{kind} {value}".encode(), "sha256").hex()

    def _moved_dates(self, dataset: Dataset) -> Callable[[str], str]:
        """A function that moves a date or date and time; "" of an invalid one."""
        patient = next((str(dataset.get(name)) for name in ("PatientID", "PatientName") if dataset.get(name)), None)
        owner = patient or str(dataset.get("StudyInstanceUID", ""))
        days = timedelta(1 + int(self._digest("days", owner), 16) % _MAX_DAYS)
        study = _date(str(dataset.get("StudyDate") or ""))

        def moved(text: str) -> str:
            found = _date(text)
            known = [one for one in (found, study) if one is not None]
            # Without the study's date there is none that is sure to be no date of this run.
            return f"{min(known) - days:%Y%m%d}" if found and study and min(known) > date.min + days else ""

        return moved


def _action(element: DataElement) -> str:
    """What the profile does to an element: X removes, Z empties, D replaces, U replaces a UID; "" keeps it."""
    group, number = element.tag.group, element.tag.element
    if element.tag.is_private:
        return "X"
    table = _actions()
    listed = table.get((group, number, 0xFFFF, 0xFFFF))
    return listed or next((table[tag] for tag in _masked() if (group & tag[2], number & tag[3]) == tag[:2]), "")


@cache
def _masked() -> list[_Tag]:
    return [tag for tag in _actions() if tag[2:] != (0xFFFF, 0xFFFF)]


@cache
def _actions() -> Mapping[_Tag, str]:
    """The action for each attribute that table E.1-1 lists; of several that it allows, the one that keeps most."""
    try:
        from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    except ImportError:
        raise MissingPackageError(
            "objects without identity were asked for; dicom-anonymizer is not installed: "
            "pip install 'pellucid[deidentify]'"
        ) from None
    lists: dict[str, list[tuple[int, ...]]] = dicom_anonymization_database_selector(_TABLE)
    found: dict[_Tag, str] = {}
    for name, tags in lists.items():
        allowed = name.removesuffix("_TAGS").split("_")
        for tag in tags if name != "ALL_TAGS" else ():
            group, number, *masks = tag
            masks = masks or [0xFFFF, 0xFFFF]
            found[group, number, masks[0], masks[1]] = next(action for action in "UDZX" if action in allowed)
    return found


def _dummy(vr: str) -> Any:
    if vr in _DUMMIES:
        return _DUMMIES[vr]
    return b"\0\0" if vr in ("OB", "OW", "UN") else None


def _date(text: str) -> date | None:
    """The date at the start of a text; None of an invalid one."""
    try:
        return datetime.strptime(text[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
