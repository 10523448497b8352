"""NIfTI: the heatmap on the grid of its source, with the source's affine."""

from __future__ import annotations

import gzip
from itertools import combinations, product
from typing import Any

import numpy as np
import numpy.typing as npt

from pellucid.errors import ExportError
from pellucid.export.case import Case, Files
from pellucid.io.optional import NIBABEL

_MAX_MOVED = 0.5
"""How far ITK may draw a voxel from its place, as a share of the shortest edge of a voxel."""
_MAX_TILT = 0.001
"""In degrees. What ITK takes for perpendicular is a little more."""


def export(case: Case) -> Files:
    """``…_heatmap.nii.gz`` of each map: float32 in [0, 1], with both forms of a source that is NIfTI.

    Raises:
        ExportError: the source has no affine, so the position of its pixels in the patient is unknown; or its axes are
            not perpendicular.
        MissingPackageError: nibabel is not installed.
    """
    affine = case.image.original.affine
    if affine is None:
        raise ExportError(
            "a NIfTI heatmap was asked for; the source does not state where its pixels are in the patient: "
            "take png or npz"
        )
    each = [(one.name, _volume(one, affine.numpy())) for one in case.each()]
    if not _opens(each[0][1]):
        raise ExportError(
            f"a NIfTI heatmap was asked for; the source's axes are {_tilt(affine.numpy()):.1f}° from perpendicular (a "
            "tilted gantry), and what builds on ITK opens no such file: take png or npz"
        )
    return {f"{name}_heatmap.nii.gz": gzip.compress(one.to_bytes(), compresslevel=1, mtime=0) for name, one in each}


def _volume(one: Case, affine: Any) -> Any:
    """A map as an image of nibabel, at its place by the ``affine``, or by what a NIfTI source states."""
    nibabel = NIBABEL.load("a NIfTI heatmap")
    heat = one.heat().numpy().astype(np.float32)
    image = nibabel.Nifti1Image(heat.T if heat.ndim == 3 else heat.T[..., None], affine)
    provenance = one.image.original.provenance
    # A viewer reads the form that it prefers: each must lead to the source's place.
    for name in ("sform", "qform"):
        if name in provenance:
            form = provenance[name]
            stated = affine if form["affine"] is None else np.asarray(form["affine"])
            getattr(image, f"set_{name}")(stated, form["code"], update_affine=False)
    if not image.header["qform_code"] and not _opens(image):  # ITK reads the qform where the sform has a shear
        image.set_qform(affine, int(image.header["sform_code"]), update_affine=False)
    if "pixdim" in provenance:
        image.header["pixdim"][1:4] = provenance["pixdim"]  # ITK takes the spacing from here, also beside an sform
    return image


def _opens(image: Any) -> bool:
    """Whether ITK opens the image at its place: by an sform of perpendicular axes, or a qform that is close to it."""
    if not image.header["sform_code"] or _tilt(image.affine) <= _MAX_TILT:
        return True
    if not image.header["qform_code"]:
        return False
    corners = np.array([[*corner, 1] for corner in product(*((0, length - 1) for length in image.shape))])
    moved = np.linalg.norm((corners @ (image.get_qform() - image.affine).T)[:, :3], axis=1)
    return float(moved.max()) <= _MAX_MOVED * float(min(image.header.get_zooms()))


def _tilt(affine: npt.NDArray[np.float64]) -> float:
    """The largest deviation of two axes from a right angle, in degrees."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = [abs(axes[:, first] @ axes[:, second]) for first, second in combinations(range(3), 2)]
    return float(np.degrees(np.arcsin(min(1.0, max(cosines)))))
