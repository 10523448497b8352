"""NIfTI: the heatmap on the grid of its source, with the source's affine."""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.io.optional import NIBABEL


def export(case: Case) -> Files:
    """``…_heatmap.nii.gz`` of each map: float32 in [0, 1], with both forms of a source that is NIfTI.

    Raises:
        ExportError: the source has no affine, so the position of its pixels in the patient is unknown.
        MissingPackageError: nibabel is not installed.
    """
    affine = case.image.original.affine
    if affine is None:
        raise ExportError(
            "a NIfTI heatmap was asked for; the source does not state where its pixels are in the patient: "
            "take png or npz"
        )
    provenance = case.image.original.provenance
    forms = {name: provenance[name] for name in ("sform", "qform") if name in provenance}
    pixdim = provenance.get("pixdim")
    return {f"{one.name}_heatmap.nii.gz": _packed(one, affine.numpy(), forms, pixdim) for one in case.each()}


def _packed(one: Case, affine: Any, forms: Mapping[str, Mapping[str, Any]], pixdim: Sequence[float] | None) -> bytes:
    """A map as a file, at its place by the ``affine``, or by what a NIfTI source states."""
    nibabel = NIBABEL.load("a NIfTI heatmap")
    heat = one.heat().numpy().astype(np.float32)
    volume = heat.T if heat.ndim == 3 else heat.T[..., None]
    image = nibabel.Nifti1Image(volume, affine)
    # A viewer reads the form that it prefers: each must lead to the source's place.
    for name, form in forms.items():
        stated = affine if form["affine"] is None else np.asarray(form["affine"])
        getattr(image, f"set_{name}")(stated, form["code"], update_affine=False)
    if pixdim is not None:
        image.header["pixdim"][1:4] = pixdim  # ITK takes the spacing from here, also beside an sform
    return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
