"""Names files of formats that are not read, by their content, and says what to do with them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pellucid.io.reader import Reader, WindowLike
from pellucid.io.refusal import refused
from pellucid.io.selection import Select

_TO_NIFTI = "convert it: python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('{name}'), 'volume.nii.gz')\""
_TO_PNG = "convert it: python -c \"from PIL import Image; Image.open('{name}').save('image.png')\""
_DICOMDIR = b"1.2.840.10008.1.3.10"
"""The SOP class of a DICOMDIR, Media Storage Directory Storage."""
_META_BYTES = 1024
"""Within these, the file meta information names the SOP class."""


@dataclass(frozen=True)
class _Kind:
    """A format: its ``name``, the ``remedy`` with the file's name in it, and whether a file is of it by its start."""

    name: str
    remedy: str
    matches: Callable[[Path, bytes], bool]


def _begins(*starts: bytes) -> Callable[[Path, bytes], bool]:
    return lambda _, head: head.startswith(starts)


def _is_dicomdir(path: Path, head: bytes) -> bool:
    if head[128:132] != b"DICM":
        return False
    with path.open("rb") as file:
        return _DICOMDIR in file.read(_META_BYTES)


def _is_checkpoint(_path: Path, head: bytes) -> bool:
    """Whether a file is a zip archive as torch.save writes it."""
    return head.startswith(b"PK\3\4") and b"/data.pkl" in head


_KINDS = (
    _Kind("a DICOMDIR, the table of contents of a folder of DICOM files", "give the folder instead", _is_dicomdir),
    _Kind("a PyTorch checkpoint", "give it with checkpoint=", _is_checkpoint),
    _Kind("a zip archive", "unpack it, and give the folder", _begins(b"PK\3\4", b"PK\5\6")),
    _Kind("a GIF", _TO_PNG, _begins(b"GIF87a", b"GIF89a")),
    _Kind("a JPEG 2000 file", _TO_PNG, _begins(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    _Kind("an NRRD volume", _TO_NIFTI, _begins(b"NRRD000")),
    _Kind(
        "a MetaImage volume (MHA, MHD)",
        _TO_NIFTI,
        lambda _, head: re.match(rb"(ObjectType|NDims) *=", head) is not None,
    ),
)


def _kind(path: Path, head: bytes) -> _Kind | None:
    return next((kind for kind in _KINDS if kind.matches(path, head)), None)


def _refuse(
    path: Path,
    window: WindowLike = None,  # noqa: ARG001  # every reader takes these
    frame: int | None = None,  # noqa: ARG001  # the same
    select: Select | None = None,  # noqa: ARG001  # the same
) -> NoReturn:
    """Refuse a file that ``READER`` accepts.

    Raises:
        ImageError: always; it names the format and the remedy.
    """
    with path.open("rb") as file:
        kind = _kind(path, file.read(_META_BYTES))
    reason = "it changed while it was read" if kind is None else f"it is {kind.name}, which is not read: {kind.remedy}"
    # A name may be made to do harm where the command is pasted.
    name = path.name if re.fullmatch(r"\w[\w.-]{0,60}", path.name, re.ASCII) else "FILE"
    raise refused(path, reason.replace("{name}", name))


READER = Reader((), (), accepts=lambda path, head: _kind(path, head) is not None, read=_refuse)
