"""An image in a file of its own, as the source of a case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePath

from pellucid import io
from pellucid.core.image import Image
from pellucid.run.inputs import Input, input_digest


@dataclass(frozen=True)
class ImageFile:
    """A file that ``pellucid.read_image`` reads: a photograph, a DICOM object or a NIfTI volume."""

    path: Path

    def image(self) -> Image:
        """The image as it was read. ``ImageError``: the file is missing, broken or no image."""
        return io.read(self.path)

    def digest(self) -> str | None:
        """The SHA-256 of the file; None where it cannot be read."""
        return input_digest(Input(self.path, PurePath(self.path.name)))
