"""NIfTI: the heatmap on the grid of its source, with the source's affine."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.io.optional import NIBABEL


def export(case: Case) -> Files:
    """``…_heatmap.nii.gz`` of each map: float32 in [0, 1].

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
    return {f"{one.name}_heatmap.nii.gz": _packed(one, affine.numpy()) for one in case.each()}


def _packed(one: Case, affine: Any) -> bytes:
    nibabel = NIBABEL.load("a NIfTI heatmap")
    heat = one.heat().numpy().astype(np.float32)
    volume = heat.T if heat.ndim == 3 else heat.T[..., None]
    return gzip.compress(nibabel.Nifti1Image(volume, affine).to_bytes(), compresslevel=1, mtime=0)
