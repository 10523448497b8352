"""Synthetic chest images with planted findings, and small networks trained to find them.

The findings and their positions are known, so an explanation can be checked::

    phantoms = radiographs(200, findings=("nodule",))
    explanation = pellucid.explain(model, images, targets="nodule")   # model = cnn(), images preprocessed for it
    explanation.heatmaps, phantoms.masks[:, FINDINGS.index("nodule")]   # do they overlap?
"""

from pellucid.phantom.drawing import Phantoms, radiographs, redraw, volumes
from pellucid.phantom.lesions import FINDINGS, SIZES
from pellucid.phantom.markers import MARKERS, marked
from pellucid.phantom.models import (
    cnn,
    exclusive_cnn,
    exclusive_cnn_64,
    exclusive_vit,
    swin,
    unguided_cnn,
    unguided_swin,
    unguided_vit,
    vit,
)
from pellucid.phantom.scene import CLASSES

__all__ = [
    "CLASSES",
    "FINDINGS",
    "MARKERS",
    "SIZES",
    "Phantoms",
    "cnn",
    "exclusive_cnn",
    "exclusive_cnn_64",
    "exclusive_vit",
    "marked",
    "radiographs",
    "redraw",
    "swin",
    "unguided_cnn",
    "unguided_swin",
    "unguided_vit",
    "vit",
    "volumes",
]
