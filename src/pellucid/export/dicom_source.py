"""Prepares the source objects of a DICOM result: corrected copies of their headers, in the form highdicom takes."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from pydicom import Dataset
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage

from pellucid.core.image import Instance
from pellucid.errors import ExportError
from pellucid.export.case import Case
from pellucid.io.dicom_frames import plane

_EMPTY_IF_ABSENT = (
    "AccessionNumber",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "PatientSex",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
"""Attributes of type 2: they must be present, and may be empty."""
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_NAMES = ("PatientName", "ReferringPhysicianName")
"""highdicom warns of names that it finds malformed, and quotes them. It gets empty ones; the names are copied later."""
_PLANE_ATTRIBUTES = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness")
_OBJECT_SEQUENCES = ("ReferencedInstanceSequence", "ReferencedSOPSequence")
_FRAME_ATTRIBUTES = ("FrameIncrementPointer", "NumberOfFrames")
_DEIDENTIFICATION = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
_AGE = re.compile(r"\d{3}[DWMY]")
_PATTERNS = {
    "StudyDate": re.compile(r"\d{8}"),
    "StudyTime": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "PatientBirthDate": re.compile(r"\d{8}"),
    "PatientSex": re.compile("[FMO]"),
}
"""The valid forms of attributes that are copied into every result, if they are not empty."""


@dataclass(frozen=True)
class Source:
    """The DICOM objects of an image, one per slice.

    ``headers`` are the corrected copies that highdicom takes; ``changed`` lists the corrections.
    """

    instances: tuple[Instance, ...]
    headers: tuple[Dataset, ...]
    changed: tuple[str, ...]

    @property
    def first(self) -> Dataset:
        """The corrected attributes of the image, or of a volume's first slice."""
        return self.headers[0]

    @property
    def has_planes(self) -> bool:
        """Whether the source states where its pixels are in the patient."""
        return _has_planes(self.instances)

    def one(self, index: int) -> Source:
        """The object of one slice."""
        return Source(self.instances[index : index + 1], self.headers[index : index + 1], self.changed)

    def references(self) -> list[Dataset]:
        """Items of a SourceImageSequence (PS3.3 C.7.6.1.1.4), one per object."""
        from highdicom.sr import CodedConcept
        from pydicom.sr.codedict import codes

        items = []
        for uid in dict.fromkeys(str(header.SOPInstanceUID) for header in self.headers):
            item = Dataset()
            item.ReferencedSOPInstanceUID = uid
            item.PurposeOfReferenceCodeSequence = [
                CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
            ]
            items.append(item)
        return items

    def complete(self, result: Dataset, oriented: bool) -> None:
        """Add to a result what was withheld from highdicom: names, orientation, and references to the actual objects.

        ``oriented``: the result has the orientation of its source, and is not a page of several views.
        """
        header = self.instances[0].header
        for name in _NAMES:
            _set(result, name, header.get(name, ""))
        if not self.has_planes or "PatientOrientation" in result:
            _set(result, "PatientOrientation", (header.get("PatientOrientation") if oriented else None) or "")
        shared = result.get("SharedFunctionalGroupsSequence") or [Dataset()]
        if result.Modality == "OT" and "FrameAnatomySequence" not in shared[0]:  # required unless frames state it
            _set(result, "Laterality", header.get("Laterality") or "")
        if not self.has_planes:
            _remove_pixel_measures(result)
        pairs = zip(self.headers, self.instances, strict=True)
        _restore_references(result, {str(header.SOPInstanceUID): instance for header, instance in pairs})


def source_of(case: Case, what: str) -> Source:
    """The objects that an image was read from; ``what`` names the result that refers to them.

    Raises:
        ExportError: there are none, or they lack an attribute that every object must have.
    """
    instances = case.image.original.instances
    if not instances:
        raise ExportError(
            f"{what} was asked for; the image is not from a DICOM file, so there is no study that the result could "
            f"belong to: take png or npz"
        )
    missing = _missing(instances)
    if missing is not None:
        raise ExportError(f"{what} was asked for; the source does not state its {missing}: take png or npz")
    return _source(instances)


def changes(case: Case) -> tuple[str, ...]:
    """The corrections that the results contain, where the source's attributes violate the standard."""
    return _source(case.image.original.instances).changed


@lru_cache(maxsize=16)  # an image of many slices has an object for each
def _missing(instances: tuple[Instance, ...]) -> str | None:
    """An attribute that every object must have, and not all of these have."""
    headers = [instance.header for instance in instances]
    return next((name for name in _REQUIRED if not all(header.get(name) for header in headers)), None)


@lru_cache(maxsize=16)  # several objects are made of one image, and several images at a time
def _source(instances: tuple[Instance, ...]) -> Source:
    changed: dict[str, None] = {}
    headers = [_corrected(instance.header, changed) for instance in instances]
    for header, instance in zip(headers, instances, strict=True):
        _make_single_frame(header, _has_planes(instances), instance.frame)
    return Source(instances, tuple(headers), tuple(changed))


def _has_planes(instances: Sequence[Instance]) -> bool:
    return all(one.header.get("FrameOfReferenceUID") and plane(one.header) is not None for one in instances)


def _corrected(given: Dataset, changed: dict[str, None]) -> Dataset:
    header = copy.deepcopy(given)
    for name in _EMPTY_IF_ABSENT:
        if name not in header:
            setattr(header, name, "")
            changed[f"{name} was absent, and is empty"] = None
    if "SliceThickness" not in header:
        header.SliceThickness = None  # highdicom needs the attribute, and accepts an unknown value
    for name, form in _PATTERNS.items():
        text = str(header.get(name) or "").strip()
        plain = re.sub(r"[:.]", "", text) if name.endswith("Date") else text.replace(":", "")
        allowed = form.fullmatch(plain) is not None and (not name.endswith("Date") or _is_date(plain))
        if plain != text or (text and not allowed):
            setattr(header, name, plain if allowed else "")
            changed[f"{name} was invalid, and is {'put right' if allowed else 'empty'}"] = None
    age = str(header.get("PatientAge") or "")
    if age and not _AGE.fullmatch(age):
        del header.PatientAge
        if age.isdecimal() and len(age) <= 3:
            header.PatientAge = f"{int(age):03}Y"
        changed[f"PatientAge was invalid, and is {'in years' if 'PatientAge' in header else 'left out'}"] = None
    if header.get("PatientIdentityRemoved") and not any(name in header for name in _DEIDENTIFICATION):
        del header.PatientIdentityRemoved
        changed["PatientIdentityRemoved was without a method, and is left out"] = None
    return header


def _is_date(text: str) -> bool:
    try:
        return bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False


def _make_single_frame(header: Dataset, has_planes: bool, frame: int | None) -> None:
    """Turn a header into that of a single-frame object, as highdicom needs; without planes, of a class without them.

    A frame gets a temporary UID of its own, which ``_restore_references`` replaces in the result.
    """
    if frame is not None:
        own = hashlib.sha256(f"{header.SOPInstanceUID} {frame}".encode()).digest()
        header.SOPInstanceUID = f"2.25.{int.from_bytes(own[:16], 'big')}"
    for name in _NAMES:
        setattr(header, name, "")
    for name in _FRAME_ATTRIBUTES if has_planes else (*_FRAME_ATTRIBUTES, *_PLANE_ATTRIBUTES, "FrameOfReferenceUID"):
        if name in header:
            delattr(header, name)
    header.SOPClassUID = CTImageStorage if has_planes else SecondaryCaptureImageStorage


def _set(result: Dataset, name: str, value: object) -> None:
    """Set an attribute by a new element: highdicom may share the old one between its input and its result."""
    if name in result:
        delattr(result, name)
    setattr(result, name, value)


def _remove_pixel_measures(result: Dataset) -> None:
    for group in result.get("SharedFunctionalGroupsSequence") or ():
        if "PixelMeasuresSequence" in group:
            del group.PixelMeasuresSequence


def _restore_references(dataset: Dataset, known: dict[str, Instance], within: str = "") -> None:
    """Replace references to the temporary single-frame objects by references to the actual objects and frames."""
    for element in list(dataset):
        for item in element.value if element.VR == "SQ" else ():
            _restore_references(item, known, element.keyword)
        if element.VR == "SQ" and element.keyword in _OBJECT_SEQUENCES:
            element.value = _distinct(element.value)
    instance = known.get(str(dataset.get("ReferencedSOPInstanceUID") or ""))
    if instance is not None:
        dataset.ReferencedSOPInstanceUID = instance.header.SOPInstanceUID
        dataset.ReferencedSOPClassUID = instance.header.SOPClassUID
        if instance.frame is not None and within == "SourceImageSequence":
            dataset.ReferencedFrameNumber = instance.frame


def _distinct(items: Sequence[Dataset]) -> list[Dataset]:
    """References without repetitions: several frames belong to one object."""
    return list({str(item.get("ReferencedSOPInstanceUID") or id(item)): item for item in items}.values())
