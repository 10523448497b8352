"""Synthetic chest images with planted findings, and small networks trained to find them.

The findings and their positions are known, so an explanation can be checked::

    phantoms = radiographs(200, findings=("nodule",))
    explanation = pellucid.explain(model, images, targets="nodule")   # model = cnn(), images preprocessed for it
    explanation.heatmaps, phantoms.masks[:, FINDINGS.index("nodule")]   # do they overlap?
"""

from pellucid.phantom.drawing import Phantoms, radiographs, volumes
from pellucid.phantom.lesions import FINDINGS, SIZES
from pellucid.phantom.models import cnn, swin, vit

__all__ = ["FINDINGS", "SIZES", "Phantoms", "cnn", "radiographs", "swin", "vit", "volumes"]
