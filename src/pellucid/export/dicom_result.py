"""The parts that all DICOM results share: equipment, UIDs, descriptions, and their encoding as a file."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydicom import Dataset

from pellucid.core.caption import NOT_FOR_DIAGNOSIS
from pellucid.core.concept import Concept
from pellucid.errors import ExportError, PellucidError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_source import Source, source_of

if TYPE_CHECKING:
    from highdicom import ContributingEquipment
    from highdicom.sr import CodedConcept

SCHEME = "99PELLUCID"
"""The scheme of codes that DICOM does not have."""
_MANUFACTURER = "pellucid"
_MAX_LO = 64
"""Maximum number of characters of a long string (VR LO)."""
_FOLDERS = re.compile(r".*[/\\](?=[^/\\]+\.(py|onnx|pt|pth|ts)\b)")


def fit(text: str, longest: int = _MAX_LO) -> str:
    """A text as a DICOM attribute can hold it: without control characters and backslashes, which separate values.

    It is ``longest`` bytes at most: some programs count these instead of characters.
    """
    plain = "".join(char if char.isprintable() and char != "\\" else " " for char in text)
    return plain.encode("utf-8", "replace")[:longest].decode("utf-8", "ignore").strip()


@dataclass(frozen=True)
class Kind:
    """A kind of DICOM object.

    ``name`` is its export format's, ``what`` its name in messages, ``series_number`` that of its first series.
    ``series``: what belongs to one series of such objects. Of Segmentations and Parametric Maps viewers show one object
    of a series, so that each is a series of its own.
    """

    name: str
    what: str
    series_number: int
    series: Literal["object", "class", "source series"]


_SERIES_STEP = 10
"""Between the numbers of the series of an image's maps."""


@dataclass(frozen=True)
class Result:
    """A DICOM object to be made of a case.

    ``column`` is the number of the map among those of the image; maps of different numbers are in different series.
    ``slice``: the result is of one slice of a volume.
    """

    case: Case
    kind: Kind
    column: int = 0
    slice: int | None = None

    @cached_property
    def source(self) -> Source:
        """The DICOM objects that the result refers to."""
        whole = source_of(self.case, self.kind.what)
        return whole if self.slice is None else whole.one(self.slice)

    def of_slice(self, index: int) -> Result:
        """The result of one slice of the volume, in the same series."""
        return replace(self, slice=index)

    def common(self) -> dict[str, Any]:
        """Arguments of every constructor of highdicom."""
        number = self.source.first.get("InstanceNumber") if self.slice is None else self.slice + 1
        return {
            "series_instance_uid": self.uid("series", str(self.column), self._shown_labels),
            "series_number": self.kind.series_number + _SERIES_STEP * self.column,
            "sop_instance_uid": self.uid("object"),
            "instance_number": int(number) if number else 1,
            "manufacturer": _MANUFACTURER,
            "manufacturer_model_name": _MANUFACTURER,
            "software_versions": self._version,
            "device_serial_number": self.model_digest or "unknown",
            "series_description": fit(f"{NOT_FOR_DIAGNOSIS}: {self.case.explanation.method}{self._shown_labels}"),
            "specific_character_set": "ISO_IR 192",  # class names may be in any language
            "contributing_equipment": [self._equipment()],
        }

    def uid(self, *parts: str) -> str:
        """A UID that depends only on the source, the model, the settings and the map.

        The UID of a series is the same for all that belongs to one (``Kind.series``).
        """
        one = self.case.explanation
        settings = {key: value for key, value in one.provenance.items() if key != "versions"}
        content: list[object] = [self.kind.name, *parts, dict(self.case.model), settings, self._version]
        shared = parts[0] == "series" and self.kind.series != "object"
        if shared:
            content += [str(self.source.first.SeriesInstanceUID)]
        else:
            content += [[str(header.SOPInstanceUID) for header in self.source.headers], one.targets.tolist()]
            figures = one.probabilities if one.has_probabilities else one.values
            content += [[one.label(0, column) for column in range(one.targets.shape[1])], figures.tolist()]
            content += [self.case.alpha, self.case.colormap, dict(self.case.image.provenance)]
        digest = hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode())
        if not shared:
            digest.update(self.case.digest().encode())
        return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"

    def reference(self, sop_class: str) -> Dataset:
        """What names the object, for references to it: its UIDs."""
        common, named = self.common(), Dataset()
        named.StudyInstanceUID = self.source.first.StudyInstanceUID
        named.SeriesInstanceUID = common["series_instance_uid"]
        named.SOPClassUID, named.SOPInstanceUID = sop_class, common["sop_instance_uid"]
        return named

    def encoded(self, build: Callable[[], Dataset], ending: str = "") -> Files:
        """The file of the object that ``build`` returns, ``NAME_kind.dcm``, or ``NAME_kind-ending.dcm``.

        Raises:
            ExportError: highdicom refuses the source's attributes.
        """
        source = self.source
        try:
            dataset = build()
            oriented = self.slice is not None or self.case.image.original.pixels.ndim == 3
            source.complete(dataset, oriented=oriented)
            self._name_dimensions(dataset)
            buffer = io.BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
        except PellucidError:
            raise
        except Exception as error:  # its text is left out: it may quote the patient's data
            raise ExportError(
                f"{self.kind.what} was asked for; the source's attributes do not allow it ({type(error).__name__})"
            ) from error
        name = "-".join(part for part in (self.kind.name, ending) if part)
        return {f"{self.case.name}_{name}.dcm": buffer.getvalue()}

    def _name_dimensions(self, dataset: Dataset) -> None:
        """Give the object's dimensions a UID like its others, where highdicom draws one."""
        for sequence in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
            for item in dataset.get(sequence, []):
                item.DimensionOrganizationUID = self.uid("dimensions")

    @property
    def model_name(self) -> str:
        """The model's specification, without the folders of its file."""
        return fit(_FOLDERS.sub("", str(self.case.model.get("spec") or "a PyTorch model")))

    @property
    def model_weights(self) -> str:
        """The name of the model's weights."""
        return fit(str(self.case.model.get("weights") or "unknown"))

    @property
    def _version(self) -> str:
        versions: Mapping[str, str] = self.case.explanation.provenance.get("versions", {})
        return versions.get("pellucid", "unknown")

    @property
    def model_digest(self) -> str:
        """SHA-256 of the model's weights; its 64 hexadecimal digits are the maximum length of a serial number."""
        return str(self.case.model.get("weights_sha256") or "")

    def _equipment(self) -> ContributingEquipment:
        """The model as contributing equipment, as in IHE's profile AI Results."""
        from highdicom import ContributingEquipment
        from pydicom.sr.codedict import codes

        return ContributingEquipment(
            manufacturer=_MANUFACTURER,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            manufacturer_model_name=self.model_name,
            software_versions=self.model_weights,
            device_serial_number=self.model_digest or None,
            contribution_description=fit(self.description(), 1024),
        )

    def description(self) -> str:
        """The method and its layers, in one line."""
        one = self.case.explanation
        layers = f" at {', '.join(one.layers)}" if one.layers else ""
        return f"{self.map_kind} by {one.method}{layers}. {NOT_FOR_DIAGNOSIS}."

    @property
    def map_kind(self) -> str:
        """What the method's maps are called: DICOM's name of their kind, where it has one."""
        return "Visual explanation" if self._concept is None else self._concept.meaning

    def quantity(self) -> CodedConcept:
        """What the values of the maps are: the method's code in DICOM, or else a private one that names the method."""
        from highdicom.sr import CodedConcept

        method, concept = self.case.explanation.method, self._concept
        if concept is None:
            return CodedConcept(fit(method), SCHEME, fit(f"{self.map_kind} by {method}"))
        return CodedConcept(concept.code, "DCM", concept.meaning)

    @property
    def _concept(self) -> Concept | None:
        code = self.case.explanation.provenance.get("concept")
        return next((concept for concept in Concept if concept.code == code), None)

    @property
    def _shown_labels(self) -> str:
        """The classes, unless the series is of all classes."""
        one = self.case.explanation
        labels = [one.label(0, column) for column in range(one.targets.shape[1])]
        return "" if self.kind.series == "source series" else f", {', '.join(labels)}"
