"""The DICOM objects that a result refers to, as highdicom takes them: copies, put right where they are wrong."""

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
"""Attributes of type 2: they have to be there, and may be empty."""
_NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_NAMES = ("PatientName", "ReferringPhysicianName")
"""highdicom warns of names that it doubts, and says them. It gets none; they are copied afterwards."""
_OF_A_PLANE = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness")
_OF_OBJECTS = ("ReferencedInstanceSequence", "ReferencedSOPSequence")
_OF_FRAMES = ("FrameIncrementPointer", "NumberOfFrames")
_HOW_REMOVED = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
_AGE = re.compile(r"\d{3}[DWMY]")
_FORMS = {
    "StudyDate": re.compile(r"\d{8}"),
    "StudyTime": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?"),
    "PatientBirthDate": re.compile(r"\d{8}"),
    "PatientSex": re.compile("[FMO]"),
}
"""What attributes that are copied into every result look like, if they are not empty."""


@dataclass(frozen=True)
class Source:
    """What a picture comes from. ``headers`` are copies that highdicom takes; ``changed`` says what was put right."""

    instances: tuple[Instance, ...]
    headers: tuple[Dataset, ...]
    changed: tuple[str, ...]

    @property
    def first(self) -> Dataset:
        """The picture's own attributes, or the first slice's, put right."""
        return self.headers[0]

    @property
    def has_planes(self) -> bool:
        """Whether the source says where its pixels lie in the patient."""
        return _has_planes(self.instances)

    def references(self) -> list[Dataset]:
        """Items of a SourceImageSequence (PS3.3 C.7.6.1.1.4), an object each."""
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

    def complete(self, made: Dataset, oriented: bool) -> None:
        """Give a result what highdicom was not given: names, orientation, and references to the objects as they are.

        ``oriented``: it lies as its source does, and not as several views of one.
        """
        header = self.instances[0].header
        for name in _NAMES:
            _anew(made, name, header.get(name, ""))
        if not self.has_planes or "PatientOrientation" in made:
            _anew(made, "PatientOrientation", (header.get("PatientOrientation") if oriented else None) or "")
        if made.Modality == "OT":  # of series with this modality, the verifier wants to know
            _anew(made, "Laterality", header.get("Laterality") or "")
        if not self.has_planes:
            _without_measures(made)
        known = {str(own.SOPInstanceUID): one for own, one in zip(self.headers, self.instances, strict=True)}
        _refer(made, known)


def source_of(case: Case, what: str) -> Source:
    """The objects that an image comes from; ``what`` is to refer to them.

    Raises:
        ExportError: there are none, or they do not say what every object must.
    """
    instances = case.image.original.instances
    if not instances:
        raise ExportError(
            f"{what} was asked for; the picture is from no DICOM file, so there is no study that one could belong to: "
            f"take png or npz"
        )
    for name in _NEEDED:
        if not all(instance.header.get(name) for instance in instances):
            raise ExportError(f"{what} was asked for; the source does not say its {name}: take png or npz")
    return _source(instances)


def changes(case: Case) -> tuple[str, ...]:
    """What was put right in the results, of what the source says against the standard."""
    return _source(case.image.original.instances).changed


@lru_cache(maxsize=16)  # several objects are made of one picture, and several pictures at a time
def _source(instances: tuple[Instance, ...]) -> Source:
    changed: dict[str, None] = {}
    headers = [_put_right(instance.header, changed) for instance in instances]
    for header, instance in zip(headers, instances, strict=True):
        _single(header, _has_planes(instances), instance.frame)
    return Source(instances, tuple(headers), tuple(changed))


def _has_planes(instances: Sequence[Instance]) -> bool:
    return all(one.header.get("FrameOfReferenceUID") and plane(one.header) is not None for one in instances)


def _put_right(given: Dataset, changed: dict[str, None]) -> Dataset:
    header = copy.deepcopy(given)
    for name in _EMPTY_IF_ABSENT:
        if name not in header:
            setattr(header, name, "")
            changed[f"{name} was absent, and is empty"] = None
    if "SliceThickness" not in header:
        header.SliceThickness = None  # highdicom asks for it, and takes that it is not known
    for name, form in _FORMS.items():
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
    if header.get("PatientIdentityRemoved") and not any(name in header for name in _HOW_REMOVED):
        del header.PatientIdentityRemoved
        changed["PatientIdentityRemoved was without a method, and is left out"] = None
    return header


def _is_date(text: str) -> bool:
    try:
        return bool(datetime.strptime(text, "%Y%m%d"))
    except ValueError:
        return False


def _single(header: Dataset, has_planes: bool, frame: int | None) -> None:
    """Make a header that of a single-frame object, which highdicom takes; without planes, of a kind that needs none.

    A frame goes by a UID of its own, until what was made of it is told which object's it is.
    """
    if frame is not None:
        own = hashlib.sha256(f"{header.SOPInstanceUID} {frame}".encode()).digest()
        header.SOPInstanceUID = f"2.25.{int.from_bytes(own[:16], 'big')}"
    for name in _NAMES:
        setattr(header, name, "")
    for name in _OF_FRAMES if has_planes else (*_OF_FRAMES, *_OF_A_PLANE, "FrameOfReferenceUID"):
        if name in header:
            delattr(header, name)
    header.SOPClassUID = CTImageStorage if has_planes else SecondaryCaptureImageStorage


def _anew(made: Dataset, name: str, value: object) -> None:
    """Set an attribute that highdicom may share between what it is given and what it makes."""
    if name in made:
        delattr(made, name)
    setattr(made, name, value)


def _without_measures(made: Dataset) -> None:
    for group in made.get("SharedFunctionalGroupsSequence") or ():
        if "PixelMeasuresSequence" in group:
            del group.PixelMeasuresSequence


def _refer(dataset: Dataset, known: dict[str, Instance], within: str = "") -> None:
    """Put right references to objects and frames that highdicom took for others."""
    for element in list(dataset):
        for item in element.value if element.VR == "SQ" else ():
            _refer(item, known, element.keyword)
        if element.VR == "SQ" and element.keyword in _OF_OBJECTS:
            element.value = _each_once(element.value)
    instance = known.get(str(dataset.get("ReferencedSOPInstanceUID") or ""))
    if instance is not None:
        dataset.ReferencedSOPInstanceUID = instance.header.SOPInstanceUID
        dataset.ReferencedSOPClassUID = instance.header.SOPClassUID
        if instance.frame is not None and within == "SourceImageSequence":
            dataset.ReferencedFrameNumber = instance.frame


def _each_once(items: Sequence[Dataset]) -> list[Dataset]:
    """References without those that are there already: frames of one object came as several."""
    return list({str(item.get("ReferencedSOPInstanceUID") or id(item)): item for item in items}.values())
