"""The dimensions besides the spatial ones, which tell images at the same position apart, and their DICOM attributes."""

from __future__ import annotations

from collections.abc import Mapping

DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "bvalue": ("DiffusionBValue",),
    "direction": ("DiffusionGradientOrientation",),
    "echo": ("EchoNumbers", "EffectiveEchoTime", "EchoTime"),
    "phase": ("NominalPercentageOfCardiacPhase", "NominalCardiacTriggerDelayTime", "TriggerTime"),
    "inversion": ("InversionTimes", "InversionTime"),
    "flip": ("FlipAngle",),
    "energy": ("KVP",),
    "type": ("FrameType", "ImageType", "ComplexImageComponent"),
    "time": (
        "TemporalPositionIdentifier",
        "TemporalPositionIndex",
        "TemporalPositionTimeOffset",
        "FrameReferenceTime",
        "AcquisitionDateTime",
        "FrameAcquisitionDateTime",
        "AcquisitionTime",
        "ContentTime",
    ),
    "acquisition": ("AcquisitionNumber",),
    "stack": ("StackID",),
    "path": (),  # a slide's optical path and focal plane are read with its tiles
    "focus": (),
    "axis5": (),  # NIfTI's axes after the time have no attributes
    "axis6": (),
    "axis7": (),
}
"""The attributes of each dimension by its name, the most telling first."""
