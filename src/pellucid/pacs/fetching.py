"""Fetch images from an archive into a folder: one subfolder per series, in the order of the instance numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom import Dataset, dcmread

from pellucid.errors import OptionError, TransferError
from pellucid.export.writing import write
from pellucid.pacs.dicomweb import Resource, one_line_errors


def fetch(resource: Resource, folder: Path) -> Iterator[Path]:
    """Fetch the images of a resource into a folder, and yield the files: series-1/0001.dcm, ….

    A file that was already fetched is not fetched again.

    Raises:
        TransferError: the server cannot be reached, or does not return an image.
        OptionError: the folder holds images of another study, which would be explained as if they were of this one.
    """
    access = resource.server.access
    listed = access.retried(resource.instances)
    _check_no_other_study(folder, {instance for _, instance in listed})
    series: dict[str, int] = {}
    counts: dict[str, int] = {}
    for uid, instance in listed:
        number = series.setdefault(uid, len(series) + 1)
        counts[uid] = counts.get(uid, 0) + 1
        path = folder / f"series-{number}" / f"{counts[uid]:04}.dcm"
        if _instance_uid(path) != instance:
            dataset = access.retried(partial(resource.retrieve, uid, instance))
            write(path.parent, {path.name: _encoded(resource, dataset, instance)}, overwrite=True)
        yield path


def _check_no_other_study(folder: Path, instances: set[str]) -> None:
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if _instance_uid(path) not in (None, *instances):
            raise OptionError(f"--download {folder} was given; {path} is of another study: choose another folder")


def _instance_uid(path: Path) -> str | None:
    """The SOP Instance UID of a file; None where the file does not exist or is incomplete."""
    try:
        return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:  # an interrupted run may have left anything
        return None


def _encoded(resource: Resource, dataset: Dataset, instance: str) -> bytes:
    """The dataset as a DICOM file; refused where it is not the instance that was requested."""
    url = resource.server.url
    if dataset.get("SOPInstanceUID") != instance:
        raise TransferError(f"{url}: it returned another object than the one requested")
    buffer = io.BytesIO()
    with one_line_errors(url):
        dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
