"""The kinds of visual explanation that DICOM has codes for (PS3.16, CID 217)."""

from __future__ import annotations

from enum import Enum


class Concept(Enum):
    """A kind of map: its code in the coding scheme DCM, and the code's meaning."""

    CLASS_ACTIVATION = ("130402", "Class activation")
    """Channels of a layer, weighted by what they contribute to a class."""
    GRADIENT_WEIGHTED_CLASS_ACTIVATION = ("130403", "Gradient-weighted class activation")
    """The same with weights from gradients."""
    SALIENCY = ("130404", "Saliency")
    """Gradients with respect to the image."""

    def __init__(self, code: str, meaning: str) -> None:
        self.code = code
        self.meaning = meaning
