"""The optional packages that file formats need."""

from __future__ import annotations

from pellucid.core.optional import OptionalPackage

NIBABEL = OptionalPackage("nibabel", "nifti")
