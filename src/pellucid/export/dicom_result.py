"""What all DICOM results have in common: who made them, their UIDs, and how they are written."""

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

from pellucid.errors import ExportError, PellucidError
from pellucid.export.case import Case, Files
from pellucid.export.dicom_source import Source, source_of

if TYPE_CHECKING:
    from highdicom import ContributingEquipment

NOT_FOR_DIAGNOSIS = "AI explanation, not for diagnosis"
_MAKER = "pellucid"
_SERIES = {"pm": 9001, "sc": 9002, "seg": 9003, "sr": 9004}
_LONGEST = 64
"""Characters of a long string (VR LO)."""
_FOLDERS = re.compile(r".*[/\\](?=[^/\\]+\.(py|onnx|pt|pth|ts)\b)")


def fit(text: str, longest: int = _LONGEST) -> str:
    """A text as an attribute can hold it: without backslashes, which part values, and control characters."""
    return "".join(char if char.isprintable() and char != "\\" else " " for char in text)[:longest].strip()


@dataclass(frozen=True)
class Result:
    """A DICOM object that is to be made of a case; ``kind`` is the format's name, ``what`` the standard's."""

    case: Case
    kind: str
    what: str

    @cached_property
    def source(self) -> Source:
        """What the object refers to."""
        return source_of(self.case, self.what)

    def common(self, part: str = "") -> dict[str, Any]:
        """What every object of highdicom's is given; ``part`` tells objects of one kind and image apart."""
        first = self.source.first
        number = first.get("InstanceNumber")
        return {
            "series_instance_uid": self.uid("series"),
            "series_number": _SERIES[self.kind],
            "sop_instance_uid": self.uid("object", part),
            "instance_number": int(number) if number else 1,
            "manufacturer": _MAKER,
            "manufacturer_model_name": _MAKER,
            "software_versions": self._version,
            "device_serial_number": self.model_digest or "unknown",
            "series_description": fit(f"{NOT_FOR_DIAGNOSIS}: {self.case.explanation.method}"),
            "specific_character_set": "ISO_IR 192",  # classes' names are of any language
            "contributing_equipment": [self._equipment()],
        }

    def uid(self, *parts: str) -> str:
        """A UID that is the same for the same source, model, settings and map.

        That of a series is the same for all images of a series.
        """
        one = self.case.explanation
        settings = {key: value for key, value in one.provenance.items() if key != "versions"}
        told: list[object] = [self.kind, *parts, dict(self.case.model), settings, self._version]
        if parts[0] == "series":
            told += [str(self.source.first.SeriesInstanceUID)]
        else:
            told += [[str(header.SOPInstanceUID) for header in self.source.headers], one.targets.tolist()]
            told += [[one.label(0, column) for column in range(one.targets.shape[1])], one.probabilities.tolist()]
            told += [self.case.alpha, self.case.colormap, dict(self.case.image.provenance)]
        digest = hashlib.sha256(json.dumps(told, default=str, sort_keys=True).encode())
        if parts[0] != "series":
            digest.update(one.heatmaps.detach().cpu().contiguous().numpy().tobytes())
        return f"2.25.{int.from_bytes(digest.digest()[:16], 'big')}"

    def written(self, make: Callable[[], Dataset], ending: str, name: str = "") -> Files:
        """The file of what is made; what highdicom refuses is an error of this object."""
        source = self.source
        try:
            made = make()
            source.complete(made, oriented=self.case.image.original.pixels.ndim == 3)
            buffer = io.BytesIO()
            made.save_as(buffer, enforce_file_format=True)
        except PellucidError:
            raise
        except Exception as error:  # of whatever the source says wrongly; its words may hold what the source holds
            raise ExportError(
                f"{self.what} was asked for; the source's attributes do not allow it ({type(error).__name__})"
            ) from error
        return {f"{name or self.case.name}_{ending}.dcm": buffer.getvalue()}

    @property
    def model_name(self) -> str:
        """What the model is called: as it was asked for, without the folders of its file."""
        return fit(_FOLDERS.sub("", str(self.case.model.get("spec") or "a PyTorch model")))

    @property
    def model_weights(self) -> str:
        """Which weights the model has, in a word."""
        return fit(str(self.case.model.get("weights") or "unknown"))

    @property
    def _version(self) -> str:
        versions: Mapping[str, str] = self.case.explanation.provenance.get("versions", {})
        return versions.get("pellucid", "unknown")

    @property
    def model_digest(self) -> str:
        """SHA-256 of the model's weights: just as long as a serial number may be."""
        return str(self.case.model.get("weights_sha256") or "")

    def _equipment(self) -> ContributingEquipment:
        """The model, as the equipment that the result comes from (as IHE's AI Results profile has it)."""
        from highdicom import ContributingEquipment
        from pydicom.sr.codedict import codes

        return ContributingEquipment(
            manufacturer=_MAKER,
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            manufacturer_model_name=self.model_name,
            software_versions=self.model_weights,
            device_serial_number=self.model_digest or None,
            contribution_description=fit(self.described(), 1024),
        )

    def described(self) -> str:
        """How the maps were made, in a line."""
        one = self.case.explanation
        where = f" at {', '.join(one.layers)}" if one.layers else ""
        return f"Class activation by {one.method}{where}. {NOT_FOR_DIAGNOSIS}."
