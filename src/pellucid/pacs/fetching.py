"""Fetching pictures to explain: a folder a series, in the order of their numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom import Dataset, dcmread

from pellucid.errors import OptionError, TransferError
from pellucid.export.writing import write
from pellucid.pacs.dicomweb import Place, explained
from pellucid.pacs.pushing import patiently


def fetched(place: Place, folder: Path, retries: int, wait: float = 1.0) -> Iterator[Path]:
    """Fetch a place's pictures into a folder: series-1/0001.dcm, …. What is there already is not fetched again.

    Raises:
        TransferError: the server cannot be reached, or does not give one.
        OptionError: the folder holds other pictures, which would be taken for these.
    """
    listed = patiently(place.instances, retries, wait)
    _check_own(folder, {instance for _, instance in listed})
    series: dict[str, int] = {}
    counts: dict[str, int] = {}
    for uid, instance in listed:
        number = series.setdefault(uid, len(series) + 1)
        counts[uid] = counts.get(uid, 0) + 1
        path = folder / f"series-{number}" / f"{counts[uid]:04}.dcm"
        if not _is(path, instance):
            made = patiently(partial(place.retrieve, uid, instance), retries, wait)
            write(path.parent, {path.name: _packed(place, made, instance)}, overwrite=True)
        yield path


def _check_own(folder: Path, instances: set[str]) -> None:
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        if _instance(path) not in (None, *instances):
            raise OptionError(f"--download {folder} was given; {path} is of another study: name a folder of its own")


def _is(path: Path, instance: str) -> bool:
    """Whether a file holds an instance."""
    return _instance(path) == instance


def _instance(path: Path) -> str | None:
    """Which instance a file holds; None where it is not there, or half of one."""
    try:
        return str(dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except Exception:  # of whatever was left there
        return None


def _packed(place: Place, made: Dataset, instance: str) -> bytes:
    if made.get("SOPInstanceUID") != instance:
        raise TransferError(f"{place.server.url}: it gave another object than was asked for")
    buffer = io.BytesIO()
    with explained(place.server.url):
        made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
