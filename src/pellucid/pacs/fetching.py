"""Fetch images from an archive into a folder: one subfolder per series, in the order of the instance numbers."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from pellucid.errors import OptionError, TransferError
from pellucid.export.drafts import sweep
from pellucid.export.writing import write
from pellucid.io.dicom_bounded import BoundsError, read_attributes, read_meta
from pellucid.pacs.dicomweb import Resource, one_line_errors

_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_CHUNK = 2**20


def fetch(resource: Resource, folder: Path) -> Iterator[Path]:
    """Fetch the images of a resource into a folder, and yield the files: series-1/0001.dcm, ….

    A file that was already fetched is not fetched again.

    Raises:
        TransferError: the server cannot be reached, or does not return an image.
        OptionError: the folder holds images of another study, which would be explained as if they were of this one.
    """
    access = resource.server.access
    sweep(folder)
    listed = access.retried(resource.instances)
    _check_no_other_study(folder, {instance for _, instance in listed})
    series: dict[str, int] = {}
    counts: dict[str, int] = {}
    for uid, instance in listed:
        number = series.setdefault(uid, len(series) + 1)
        counts[uid] = counts.get(uid, 0) + 1
        path = folder / f"series-{number}" / f"{counts[uid]:04}.dcm"
        if _instance_uid(path) != instance:
            content = access.retried(partial(resource.retrieve, uid, instance))
            _check_requested(resource, content, [resource.study, uid, instance])
            write(path.parent, {path.name: content}, overwrite=True)
        yield path


def _check_no_other_study(folder: Path, instances: set[str]) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if _instance_uid(path) not in (None, *instances):
            raise OptionError(f"--download {folder} was given; {path} is of another study: choose another folder")


def _instance_uid(path: Path) -> str | None:
    """The SOP Instance UID of a file; None where the file does not exist or is incomplete."""
    try:
        with path.open("rb") as file:
            return str(read_attributes(file, header_only=True, tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:  # an interrupted run may have left anything
        return None


def _check_requested(resource: Resource, content: bytes, requested: Sequence[str]) -> None:
    """Check that a file holds the object with the requested UIDs of study, series and instance."""
    url = resource.server.url
    with one_line_errors(url):
        _check_inflated(content, resource.server.access.max_answer)
        found = _header(url, content)
        if [str(found.get(name)) for name in _UIDS] != list(requested):
            raise TransferError(
                f"{url}: it returned another object than the one requested: the archive is faulty, and nothing is kept"
            )


def _header(url: str, content: bytes) -> Dataset:
    """What an object states of its UIDs, however many elements it has."""
    try:
        return read_attributes(io.BytesIO(content), header_only=True, tags=_UIDS)
    except BoundsError as error:
        raise TransferError(f"{url}: an object is not read: {error}") from None


def _check_inflated(content: bytes, max_answer: int) -> None:
    """Check the size of a deflated object before a reader inflates it, which is without a limit."""
    file = io.BytesIO(content)
    if read_meta(file).get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflating, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    rest = content[file.tell() :]
    while rest and not inflating.eof:
        size += len(inflating.decompress(rest, _CHUNK))
        rest = inflating.unconsumed_tail
        if size > max_answer * 2**20:
            raise TransferError(f"the inflated object is longer than {max_answer} MiB: give a higher --max-answer")
