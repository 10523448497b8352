"""Weights files: read without running code from them, recognise the architecture, load strictly."""

from pellucid.models.checkpoints.layouts import ADAPTER, adapter
from pellucid.models.checkpoints.reading import Checkpoint, read_checkpoint
from pellucid.models.checkpoints.recognition import Recognised, load_into, recognise
from pellucid.models.checkpoints.reference import describe, renamed
from pellucid.models.checkpoints.stated import Stated

__all__ = [
    "ADAPTER",
    "Checkpoint",
    "Recognised",
    "Stated",
    "adapter",
    "describe",
    "load_into",
    "read_checkpoint",
    "recognise",
    "renamed",
]
