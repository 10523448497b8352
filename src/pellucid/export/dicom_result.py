"""The parts that all DICOM results share: equipment, UIDs, descriptions, and their encoding as a file."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydicom import Dataset

from pellucid.core.caption import NOT_FOR_DIAGNOSIS
from pellucid.errors import ExportError, PellucidError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_source import Source, source_of

if TYPE_CHECKING:
    from highdicom import ContributingEquipment

_MANUFACTURER = "pellucid"
_MAX_LO = 64
"""Maximum number of characters of a long string (VR LO)."""
_FOLDERS = re.compile(r".*[/\\](?=[^/\\]+\.(py|onnx|pt|pth|ts)\b)")


def fit(text: str, longest: int = _MAX_LO) -> str:
    """A text as a DICOM attribute can hold it: without control characters and backslashes, which separate values."""
    return "".join(char if char.isprintable() and char != "\\" else " " for char in text)[:longest].strip()


@dataclass(frozen=True)
class Result:
    """A DICOM object to be made of a case.

    ``kind`` is the name of the export format, ``what`` the object's name in messages, ``series_number`` the number of
    the series that such objects form.
    """

    case: Case
    kind: str
    what: str
    series_number: int

    @cached_property
    def source(self) -> Source:
        """The DICOM objects that the result refers to."""
        return source_of(self.case, self.what)

    def common(self, part: str = "") -> dict[str, Any]:
        """Arguments of every constructor of highdicom; ``part`` tells objects of one kind and image apart."""
        first = self.source.first
        number = first.get("InstanceNumber")
        return {
            "series_instance_uid": self.uid("series"),
            "series_number": self.series_number,
            "sop_instance_uid": self.uid("object", part),
            "instance_number": int(number) if number else 1,
            "manufacturer": _MANUFACTURER,
            "manufacturer_model_name": _MANUFACTURER,
            "software_versions": self._version,
            "device_serial_number": self.model_digest or "unknown",
            "series_description": fit(f"{NOT_FOR_DIAGNOSIS}: {self.case.explanation.method}"),
            "specific_character_set": "ISO_IR 192",  # class names may be in any language
            "contributing_equipment": [self._equipment()],
        }

    def uid(self, *parts: str) -> str:
        """A UID that depends only on the source, the model, the settings and the map.

        The UID of a series is the same for all images of a series.
        """
        one = self.case.explanation
        settings = {key: value for key, value in one.provenance.items() if key != "versions"}
        content: list[object] = [self.kind, *parts, dict(self.case.model), settings, self._version]
        if parts[0] == "series":
            content += [str(self.source.first.SeriesInstanceUID)]
        else:
            content += [[str(header.SOPInstanceUID) for header in self.source.headers], one.targets.tolist()]
            figures = one.probabilities if one.has_probabilities else one.values
            content += [[one.label(0, column) for column in range(one.targets.shape[1])], figures.tolist()]
            content += [self.case.alpha, self.case.colormap, dict(self.case.image.provenance)]
        digest = hashlib.sha256(json.dumps(content, default=str, sort_keys=True).encode())
        if parts[0] != "series":
            digest.update(one.heatmaps.detach().cpu().contiguous().numpy().tobytes())
        return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"

    def encoded(self, build: Callable[[], Dataset], ending: str, name: str = "") -> Files:
        """The file of the object that ``build`` returns, ``NAME_ending.dcm``.

        Raises:
            ExportError: highdicom refuses the source's attributes.
        """
        source = self.source
        try:
            dataset = build()
            source.complete(dataset, oriented=self.case.image.original.pixels.ndim == 3)
            buffer = io.BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
        except PellucidError:
            raise
        except Exception as error:  # its text is left out: it may quote the patient's data
            raise ExportError(
                f"{self.what} was asked for; the source's attributes do not allow it ({type(error).__name__})"
            ) from error
        return {f"{name or self.case.name}_{ending}.dcm": buffer.getvalue()}

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
        return f"Class activation by {one.method}{layers}. {NOT_FOR_DIAGNOSIS}."
