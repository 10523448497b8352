"""The frames of a multi-frame result as readers expect them: in the order of their positions, with the anatomy."""

from __future__ import annotations

import copy

import numpy as np
import torch
from pydicom import Dataset

from pellucid.io.dicom_frames import frame_headers, plane

_SIDES = ("FrameLaterality", "ImageLaterality", "Laterality")
_LATERALITIES = ("R", "L", "U", "B")
_UNPAIRED = "U"
_WHOLE_BODY = ("38266002", "SCT", "Entire body")
"""The region of a source that states none: the map is somewhere in the patient."""


def ascend(dataset: Dataset) -> None:
    """Put frames of Float Pixel Data in the order of their positions along the normal of their planes.

    The standard allows any order, as each frame states its position; dcmqi, which 3D Slicer reads with, takes them in
    the order in which they are stored, from the lowest position on.
    """
    groups = list(dataset.PerFrameFunctionalGroupsSequence)
    if len(groups) == 1:
        return
    planes = [plane(header) for header in frame_headers(dataset, range(1, len(groups) + 1))]
    heights = [float(at @ torch.linalg.cross(across, down)) for at, across, down in filter(None, planes)]
    order = sorted(range(len(groups)), key=heights.__getitem__)
    pixels = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(len(groups), -1)
    dataset.FloatPixelData = pixels[order].tobytes()
    dataset.PerFrameFunctionalGroupsSequence = [groups[index] for index in order]


def anatomy(header: Dataset) -> Dataset:
    """The item of a Frame Anatomy Sequence (PS3.3 C.7.6.16.2.8) for a result of this source.

    It is optional; dcmqi crashes where a Parametric Map has none.
    """
    from highdicom.sr import CodedConcept

    item = Dataset()
    stated = next((header[name].value for name in _SIDES if name in header), None)
    item.FrameLaterality = stated if stated in _LATERALITIES else _UNPAIRED
    regions = header.get("AnatomicRegionSequence") or [CodedConcept(*_WHOLE_BODY)]
    item.AnatomicRegionSequence = [copy.deepcopy(regions[0])]
    return item
