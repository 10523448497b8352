"""Reads the attributes of DICOM files within a bound on their number, so that no file takes minutes or all memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import SEEK_END, BytesIO
from typing import Any, BinaryIO, NoReturn, cast

from pydicom import DataElement, Dataset, FileDataset, dcmread
from pydicom import Sequence as Items
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import _read_file_meta_info, read_preamble, read_sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pellucid.core.limits import MAX_PIXELS
from pellucid.io.memory import VARIABLE, limit

MAX_DEFLATED = 4 * MAX_PIXELS
"""Maximum number of bytes to which a deflated file may inflate."""
_PER_GIB = 2**17
"""Elements a GiB of the limit on memory: pydicom takes up to 2 KiB and some 10 µs for one."""
_LEAST = 2**12
"""Elements that are read however low the limit is: an ordinary header has some hundred."""
_HEADER = 8
"""Bytes with which each element and each item begins."""
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
"""How an item begins, in either byte order."""
_ITEM_COST = 2
"""How many elements an item counts as: pydicom takes some 15 µs for one."""
_DEEPEST = 64
_READINGS = 4
"""How often the bytes of a file, or of a sequence, are read at most; pydicom looks ahead at some of them."""
_LONGEST_TEXT = 2**20
"""Maximum number of bytes of a value that is split into texts or numbers, which take up to 100 times its memory."""
_UNREAD_SEQUENCES = 2**22
"""Bytes that sequences may state together and be parsed only when asked for: they cannot hold too many elements."""
_WHOLE = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN", "SQ", "UT", "UR", "LT", "ST"})
"""Kinds of values that are kept as they are."""
_EXPLICIT = bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x00" + b"1.2.840.10008.1.2.1\x00"
"""The beginning of a file in explicit VR, little endian: what a deflated one is behind its own beginning."""


class BoundsError(Exception):
    """A file's attributes go beyond a bound; the text is the reason, in words for the end of a message."""


class _Budget:
    """How many elements may still be read; ``reason`` is that of the refusal, once there was one."""

    def __init__(self) -> None:
        self._gib = limit()
        self._most = self._left = max(_LEAST, int(self._gib * _PER_GIB))
        self.reason = ""

    def take(self, elements: int) -> None:
        self._left -= elements
        if self._left < 0:
            self.refuse(
                f"its header holds more than {self._most:,} elements: set the environment variable "
                f"{VARIABLE}={2 * self._gib:g} to read twice as many, if the machine has the memory"
            )

    def refuse(self, reason: str) -> NoReturn:
        self.reason = reason
        raise BoundsError(reason)


class _Counted:
    """A file of which pydicom reads, and which ends the reading when there are too many elements.

    Where an element has no end, pydicom reads to the file's end, and goes on behind the element's head: so it may read
    the same bytes again and again.
    """

    def __init__(self, file: BinaryIO, budget: _Budget) -> None:
        self._read, self._budget = file.read, budget
        self.seek, self.tell = file.seek, file.tell
        at = file.tell()
        self._left = _READINGS * (file.seek(0, SEEK_END) + _HEADER)
        file.seek(at)

    def read(self, size: int = -1, /) -> bytes:
        found = self._read(size)
        if size == _HEADER:
            self._budget.take(_ITEM_COST if found.startswith(_ITEMS) else 1)
        self._left -= len(found)
        if self._left < 0:
            self._budget.refuse("it is broken: the ends of its elements are missing")
        return found


def read_attributes(file: BinaryIO, header_only: bool = False, tags: Sequence[str] = ()) -> FileDataset:
    """The attributes of a DICOM file: all, those before the pixels (``header_only``), or those named by ``tags``.

    Raises:
        BoundsError: there are more elements than PELLUCID_MAX_GIB allows (131,072 a GiB; an item counts as two),
            sequences are nested more than 64 deep, a value of texts or numbers is longer than 1 MiB, or the file
            inflates beyond the limit.
        Exception: pydicom's, of any kind, for a broken file.
    """
    meta = read_meta(file)
    deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    if deflated:
        file = _inflated(file)
    file.seek(0)
    names: list[Any] = list(tags)
    with _counted(file) as (counted, budget):
        dataset = dcmread(counted, force=True, stop_before_pixels=header_only, specific_tags=names or None)
    dataset.buffer = None  # else it would keep the file
    if deflated:
        dataset.file_meta = meta
    _Check(budget).values(dataset)
    return dataset


def read_meta(file: BinaryIO) -> FileMetaDataset:
    """The meta information at the beginning of a DICOM file, within the same bound; the file stands behind it.

    Raises:
        BoundsError: it has more elements than PELLUCID_MAX_GIB allows.
        Exception: pydicom's, of any kind, for a broken file.
    """
    with _counted(file) as (counted, _):
        read_preamble(counted, force=True)
        return _read_file_meta_info(counted)


@contextmanager
def _counted(file: BinaryIO, budget: _Budget | None = None) -> Iterator[tuple[BinaryIO, _Budget]]:
    """A file for pydicom to read within a budget, whose error is raised whatever pydicom made of it."""
    budget = budget or _Budget()
    try:
        yield cast(BinaryIO, _Counted(file, budget)), budget
    except Exception:
        if budget.reason:
            raise BoundsError(budget.reason) from None
        raise


def _inflated(file: BinaryIO) -> BytesIO:
    """A deflated file's data set as a file in explicit VR; pydicom would inflate it whatever its size."""
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    content = BytesIO()
    content.write(_EXPLICIT)
    while not engine.eof and (chunk := engine.unconsumed_tail or file.read(2**20)):
        content.write(engine.decompress(chunk, 2**20))
        if content.tell() > MAX_DEFLATED:
            raise BoundsError(f"it inflates to more than {MAX_DEFLATED:,} bytes")
    content.write(engine.flush())
    if not engine.eof:
        raise EOFError
    return content


@dataclass
class _Check:
    """Checks what pydicom splits or parses only when it is asked for: long values, sequences that state a length."""

    budget: _Budget
    unread: int = 0

    def values(self, dataset: Dataset, depth: int = 0) -> None:
        if depth > _DEEPEST:
            raise BoundsError(f"its sequences are nested more than {_DEEPEST} deep")
        for one in list(dataset.values()):
            if not isinstance(one, RawDataElement):
                self._items(one.value if one.VR == "SQ" else (), depth)
            elif (kind := _kind(one)) != "SQ":
                _check_text(one, kind)
            else:
                self._sequence(dataset, one, depth)

    def _items(self, items: Iterable[Dataset], depth: int) -> None:
        for item in items:
            self.values(item, depth + 1)

    def _sequence(self, dataset: Dataset, raw: RawDataElement, depth: int) -> None:
        """Read a sequence at once, where there are too many bytes of them to be left for later."""
        self.unread += _size(raw)
        items = _read_items(dataset, raw, self.budget) if self.unread > _UNREAD_SEQUENCES else None
        if items is not None:
            dataset[raw.tag] = DataElement(raw.tag, "SQ", items)
            self._items(items, depth)


def _read_items(dataset: Dataset, raw: RawDataElement, budget: _Budget) -> Items | None:
    """A sequence's items; None of a broken one, which the part that needs it will report."""
    value: Any = raw.value or b""
    encoding = dataset.original_character_set
    try:
        with _counted(BytesIO(value), budget) as (file, _):
            return read_sequence(file, raw.is_implicit_VR, raw.is_little_endian, len(value), encoding, raw.value_tell)
    except BoundsError:
        raise
    except Exception:
        return None


def _check_text(element: RawDataElement, kind: str) -> None:
    size = _size(element)
    if size > _LONGEST_TEXT and not _WHOLE.intersection(kind.split(" or ")):
        raise BoundsError(
            f"its element {element.tag} holds {size:,} bytes of text or numbers; at most {_LONGEST_TEXT:,} are read"
        )


def _size(element: RawDataElement) -> int:
    return len(element.value or b"")


def _kind(element: RawDataElement) -> str:
    """The VR by which pydicom converts an element; "UN" of what it keeps as bytes."""
    if element.VR not in (None, "UN"):
        return str(element.VR)
    try:
        return dictionary_VR(element.tag)
    except KeyError:
        return "UN"
