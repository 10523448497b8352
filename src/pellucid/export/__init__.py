"""Writes explanations as files: images, NumPy arrays, NIfTI, DICOM objects and the metadata beside them."""

from __future__ import annotations

from pellucid.export.case import Case, Files
from pellucid.export.registry import Exporter, exported, exporters, find

__all__ = ["Case", "Exporter", "Files", "exported", "exporters", "find"]
