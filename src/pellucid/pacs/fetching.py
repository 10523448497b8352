"""Fetching pictures to explain: a folder a series, in the order of their numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pydicom import Dataset, dcmread

from pellucid.errors import TransferError
from pellucid.export.writing import write
from pellucid.pacs.dicomweb import Place, explained
from pellucid.pacs.pushing import patiently


def fetched(place: Place, folder: Path, retries: int, wait: float = 1.0) -> Iterator[Path]:
    """Fetch a place's pictures into a folder: series-1/0001.dcm, …. What is there already is not fetched again.

    Raises:
        TransferError: the server cannot be reached, or does not give one.
    """
    listed = patiently(place.instances, retries, wait)
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


def _is(path: Path, instance: str) -> bool:
    """Whether a file holds an instance."""
    try:
        return bool(dcmread(path, stop_before_pixels=True).get("SOPInstanceUID") == instance)
    except Exception:  # it is not there, or half of it
        return False


def _packed(place: Place, made: Dataset, instance: str) -> bytes:
    if made.get("SOPInstanceUID") != instance:
        raise TransferError(f"{place.server.url}: it gave another object than was asked for")
    buffer = io.BytesIO()
    with explained(place.server.url):
        made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
