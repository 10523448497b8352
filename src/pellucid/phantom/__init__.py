"""Drawn chests with planted findings, and three small networks that find them.

Of these pictures it is known what is in them and where, so that an explanation of them can be right or wrong::

    phantoms = radiographs(200, findings=("nodule",))
    explanation = pellucid.explain(model, images, targets="nodule")   # of model = cnn(), images as prepared for it
    explanation.heatmaps, phantoms.masks[:, FINDINGS.index("nodule")]   # do they meet?
"""

from pellucid.phantom.drawing import Phantoms, radiographs, volumes
from pellucid.phantom.lesions import FINDINGS, SIZES
from pellucid.phantom.models import cnn, swin, vit

__all__ = ["FINDINGS", "SIZES", "Phantoms", "cnn", "radiographs", "swin", "vit", "volumes"]
