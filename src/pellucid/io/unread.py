"""Names files of formats that are not read, by their content, and says what to do with them."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from pellucid.io.dicom_file import HEAD, is_dicom
from pellucid.io.reader import Reader, WindowLike
from pellucid.io.refusal import refused
from pellucid.io.selection import Select

_TO_NIFTI = "convert it: python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('{name}'), 'volume.nii.gz')\""
# In floating point: nibabel's own conversion rounds the values of each slice to the type that they were stored as.
_BY_NIBABEL = (
    "convert it: python -c \"import nibabel as n; v = n.load('{name}'); "
    "n.save(n.Nifti1Image(v.get_fdata(), v.affine), 'volume.nii.gz')\""
)
_TO_PNG = "convert it: python -c \"from PIL import Image; Image.open('{name}').save('image.png')\""
_DICOMDIR = b"1.2.840.10008.1.3.10"
"""The SOP class of a DICOMDIR, Media Storage Directory Storage."""
_START = 1024
"""Bytes within which DICOM's meta information names the SOP class, and MINC itself."""
_GZIP = b"\x1f\x8b"
_ANALYZE = 348
"""Bytes of the header of an Analyze volume, and the number with which it begins."""
_NIFTI_2 = 540
"""The same of NIfTI 2."""
_CIFTI = range(3000, 3100)
"""NIfTI's codes for the intents of CIFTI (Connectivity)."""


@dataclass(frozen=True)
class _Kind:
    """A format: its ``name``, the ``remedy`` with the file's name in it, and whether a file is of it by its start."""

    name: str
    remedy: str
    matches: Callable[[Path, bytes], bool]


def _begins(*starts: bytes) -> Callable[[Path, bytes], bool]:
    return lambda _, head: head.startswith(starts)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START)


def _is_dicomdir(path: Path, head: bytes) -> bool:
    return head[128:132] == b"DICM" and _DICOMDIR in _start(path)


def _is_checkpoint(_path: Path, head: bytes) -> bool:
    """Whether a file is a zip archive as torch.save writes it."""
    return head.startswith(b"PK\3\4") and b"/data.pkl" in head


def _is_minc(container: bytes) -> Callable[[Path, bytes], bool]:
    """Whether a file, of a container that begins so, names itself MINC in the container's first attributes."""
    return lambda path, head: head.startswith(container) and b"minc" in _start(path).lower()


def _is_header_alone(path: Path, head: bytes) -> bool:
    """Whether a file is the header of a NIfTI or Analyze volume whose values are in another file."""
    if head[4:8] == b"ni2\0":
        return True
    if _ANALYZE not in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")):
        return False
    magic = _start(path)[344:348]
    return magic == b"ni1\0" or (path.stat().st_size == _ANALYZE and not magic.startswith(b"n+"))


def _is_cifti(path: Path, head: bytes) -> bool:
    """Whether a file is CIFTI: NIfTI 2 whose intent is that of values without a grid."""
    if head[4:7] != b"n+2":
        return False
    order: Literal["little", "big"] = "little" if head.startswith(_NIFTI_2.to_bytes(4, "little")) else "big"
    return int.from_bytes(_start(path)[504:508], order) in _CIFTI


def _is_packed_dicom(path: Path, head: bytes) -> bool:
    if not head.startswith(_GZIP):
        return False
    with suppress(OSError, EOFError, zlib.error), gzip.open(path) as file:
        return is_dicom(file.read(HEAD))
    return False


_SEARCHED = (
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
_PASSED_OVER = (
    _Kind("the header of a NIfTI or Analyze volume, whose values are in its .img file", _BY_NIBABEL, _is_header_alone),
    _Kind("CIFTI, values at vertices and regions", "give the volume that they were made from", _is_cifti),
    _Kind("a MINC volume", _BY_NIBABEL, _is_minc(b"CDF")),
    _Kind("a MINC 2 volume", _TO_NIFTI, _is_minc(b"\x89HDF\r\n\x1a\n")),
    _Kind("the header of a Philips PAR/REC volume", _BY_NIBABEL, _begins(b"# === DATA DESCRIPTION FILE")),
    _Kind(
        "the header of an AFNI volume",
        _BY_NIBABEL,
        lambda _, head: re.match(rb"\s*type *= *(string|integer|float)-attribute", head) is not None,
    ),
    _Kind("an ECAT volume", _BY_NIBABEL.replace("n.load", "n.ecat.load"), _begins(b"MATRIX7")),
    _Kind("a DICOM file within gzip", "unpack it: gzip -dc < {name} > image.dcm", _is_packed_dicom),
)


def _among(kinds: Sequence[_Kind]) -> Callable[[Path, bytes], bool]:
    return lambda path, head: any(kind.matches(path, head) for kind in kinds)


def _refuse(
    path: Path,
    window: WindowLike = None,  # noqa: ARG001  # every reader takes these
    frame: int | None = None,  # noqa: ARG001  # the same
    select: Select | None = None,  # noqa: ARG001  # the same
) -> NoReturn:
    """Refuse a file that ``READER`` or ``PASSED_OVER`` accepts.

    Raises:
        ImageError: always; it names the format and the remedy.
    """
    start = _start(path)
    kind = next((kind for kind in (*_SEARCHED, *_PASSED_OVER) if kind.matches(path, start)), None)
    reason = "it changed while it was read" if kind is None else f"it is {kind.name}, which is not read: {kind.remedy}"
    # A name may be made to do harm where the command is pasted.
    name = path.name if re.fullmatch(r"\w[\w.+-]{0,60}", path.name, re.ASCII) else "FILE"
    raise refused(path, reason.replace("{name}", name))


READER = Reader((), (), accepts=_among(_SEARCHED), read=_refuse)
PASSED_OVER = Reader((), (), accepts=_among(_PASSED_OVER), read=_refuse)
"""Of files that often lie beside their converted volumes: refused where they are given, not taken by a search."""
