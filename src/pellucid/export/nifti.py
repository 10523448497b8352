"""NIfTI: the heatmap on the grid of its source, with its affine."""

from __future__ import annotations

import gzip
from typing import Any

import numpy as np

from pellucid.errors import ExportError, MissingPackageError
from pellucid.export.case import Case, Files, exporter


@exporter("nifti")
def nifti(case: Case) -> Files:
    """``…_heatmap.nii.gz`` of each map: float32 in [0, 1].

    Raises:
        ExportError: the source does not say where its pixels lie.
        MissingPackageError: nibabel is not installed.
    """
    affine = case.image.original.affine
    if affine is None:
        raise ExportError(
            "a NIfTI heatmap was asked for; the source does not say where its pixels lie in the patient: "
            "take png or npz"
        )
    return {f"{one.name}_heatmap.nii.gz": _packed(one, affine.numpy()) for one in case.each()}


def _packed(one: Case, affine: Any) -> bytes:
    try:
        from nibabel.nifti1 import Nifti1Image
    except ImportError:
        raise MissingPackageError(
            "a NIfTI heatmap was asked for; nibabel is not installed: pip install 'pellucid[nifti]'"
        ) from None
    heat = one.heat().numpy().astype(np.float32)
    volume = heat.T if heat.ndim == 3 else heat.T[..., None]
    made: Any = Nifti1Image
    return gzip.compress(made(volume, affine).to_bytes(), compresslevel=1, mtime=0)
