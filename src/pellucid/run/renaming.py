"""Names of results that do not name the files that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath

from pellucid.export.deidentify import Deidentifier
from pellucid.run.inputs import Input
from pellucid.run.job import Job
from pellucid.run.labels import PATIENT


def numbered(files: Sequence[Input]) -> list[str]:
    """A name for each input: its number, from 1."""
    return [f"image-{number:04}" for number in range(1, len(files) + 1)]


def keyed(files: Sequence[Input], deidentifier: Deidentifier) -> list[str]:
    """A name for each input that only those with the key can make of its own name: the same one in all runs."""
    return [deidentifier.file_name(str(file.stem)) for file in files]


def without_names(
    job: Job, files: Sequence[Input], names: Sequence[str], deidentifier: Deidentifier
) -> tuple[Job, list[Input]]:
    """The same job and inputs, whose results have these names, lie in no subfolder, and state no patient's own name."""
    labels = {
        PurePath(name): _labels(job.labels[file.stem], deidentifier)
        for file, name in zip(files, names, strict=True)
        if file.stem in job.labels
    }
    return replace(job, labels=labels), [_renamed(file, name) for file, name in zip(files, names, strict=True)]


def _renamed(file: Input, name: str) -> Input:
    members = [replace(one, stem=PurePath(f"{number:04}")) for number, one in enumerate(file.members, 1)]
    return replace(file, stem=PurePath(name), members=tuple(members))


def _labels(stated: Mapping[str, str], deidentifier: Deidentifier) -> dict[str, str]:
    return {key: deidentifier.name(value) if key == PATIENT and value else value for key, value in stated.items()}
