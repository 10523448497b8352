"""Weights files: read without running code from them, recognise the architecture, load strictly."""

from pellucid.models.checkpoints.fitting import Match, chosen, matches
from pellucid.models.checkpoints.names import Names
from pellucid.models.checkpoints.reading import Checkpoint, read_checkpoint
from pellucid.models.checkpoints.recognition import load_into, recognise
from pellucid.models.checkpoints.reference import describe
from pellucid.models.checkpoints.refusals import ADAPTER, adapter
from pellucid.models.checkpoints.stated import Stated
from pellucid.models.checkpoints.stated_classes import classes_of

__all__ = [
    "ADAPTER",
    "Checkpoint",
    "Match",
    "Names",
    "Stated",
    "adapter",
    "chosen",
    "classes_of",
    "describe",
    "load_into",
    "matches",
    "read_checkpoint",
    "recognise",
]
