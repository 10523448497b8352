"""Tells whose each image is: by the data set, by DICOM headers, or else by images that are nearly the same.

Patients are the units of all statistics. So two images of a patient must not count as two patients, nor may a patient
be in two splits.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from pellucid.core.image import Image
from pellucid.errors import DataError, counted
from pellucid.evaluation.case import Case, Exclusion
from pellucid.evaluation.data.likeness import BITS, DISTANCE, groups_of, near_pairs, perceptual_hash
from pellucid.evaluation.unit import DISTINCT, PATIENT
from pellucid.io.refusal import one_line

DUPLICATE = "it is the same file as another case"
_SHOWN = 3
_PLACEHOLDER = re.compile(r"\W*(anon[a-z]*|unknown|none|removed|de-?identified|patient|phantom|test|[0x]+)?\W*", re.I)
"""What files have as PatientID whose patients were made unknown."""


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image to tell whose it is: about 200 bytes, from which neither it nor its patient is known.

    ``digest`` is the SHA-256 of the file, None of what has no file; ``likeness`` its perceptual hash; ``patient`` a
    SHA-256 of the PatientID in a DICOM header. That is never shown: whoever guesses an ID could check it.
    """

    digest: bytes | None
    likeness: int
    patient: bytes | None = None


def fingerprint(image: Image) -> Fingerprint:
    """The fingerprint of an image as it was read, before its pixels are dropped."""
    original = image.original
    digest = bytes.fromhex(original.digest) if original.digest else None
    return Fingerprint(digest, perceptual_hash(original), _stated_patient(original))


def _stated_patient(image: Image) -> bytes | None:
    """A digest of the DICOM PatientID, None where there is none or a placeholder."""
    for instance in image.instances[:1]:
        stated = str(instance.header.get("PatientID") or "").strip()
        if not _PLACEHOLDER.fullmatch(stated):
            return hashlib.sha256(stated.encode("utf-8", "backslashreplace")).digest()
    return None


@dataclass(frozen=True)
class Grouped:
    """Whose the images are: ``patients`` by the name of each case that is kept.

    ``excluded`` are those that are the same file as one before; ``notes`` say how patients were told apart.
    ``are_stated``: the patient of every case is stated, by the data set or a DICOM header.
    """

    patients: Mapping[str, str]
    excluded: Sequence[Exclusion]
    notes: Sequence[str]
    are_stated: bool


def grouped(cases: Sequence[Case], prints: Mapping[str, Fingerprint]) -> Grouped:
    """Whose the images of cases are, once all of them were read.

    A case that states its patient is that patient's. Cases that do not are one patient's if their files are the same,
    their DICOM headers have the same PatientID, or their images are nearly the same: their perceptual hashes differ in
    at most 24 of 512 bits (``likeness.DISTANCE``), or a chain of such images connects them. By their first case,
    patients that only a header tells are called "patient 1", "patient 2" and so on; where nothing tells the patient,
    the images that count as one are "distinct image 1" and so on. Cases without a fingerprint are left out.

    Raises:
        DataError: a patient, or the same file, is in two splits.
    """
    read = [case for case in cases if case.name in prints]
    firsts = _firsts(read, [prints[case.name] for case in read])
    check_splits(read)
    _check_pairs(read, firsts, "the same file as one")
    kept = [case for index, case in enumerate(read) if firsts[index] == index]
    excluded = [
        Exclusion(case.name, DUPLICATE, read[first].name)
        for case, first in zip(read, firsts, strict=True)
        if case is not read[first]
    ]
    found = [prints[case.name] for case in kept]
    groups = groups_of(len(kept), _pairs(kept, found))
    _check_pairs(kept, groups, "nearly the same image as one, or the same patient's,")
    patients = dict(zip((case.name for case in kept), _named(kept, found, groups), strict=True))
    stated = all(case.patient is not None or one.patient is not None for case, one in zip(kept, found, strict=True))
    return Grouped(patients, excluded, _notes(kept, found, groups), stated)


def check_splits(cases: Sequence[Case]) -> None:
    """Raise ``DataError`` if a patient that the data set states is in two splits: how many are, and three of them."""
    stated = [case for case in cases if case.patient is not None]
    if found := _in_several_splits(stated, [case.patient for case in stated]):
        some = one_line(", ".join(str(group[0].patient) for group in found[:_SHOWN]))
        count = "1 patient is" if len(found) == 1 else f"{len(found)} patients are"
        raise DataError(f"{count} in more than one split ({some}): give all images of a patient the same split")


def _check_pairs(cases: Sequence[Case], groups: Sequence[int], what: str) -> None:
    """Raise if a group of cases, of which what they are to each other is said, is in two splits."""
    if found := _in_several_splits(cases, groups):
        pairs = [(group[0], next(one for one in group if _split(one) != _split(group[0]))) for group in found[:_SHOWN]]
        some = one_line(", ".join(f"{one.name} and {other.name}" for one, other in pairs))
        count = "1 image is" if len(found) == 1 else f"{len(found)} images are"
        raise DataError(
            f"{count} {what} in another split ({some}): state patients in a column patient, or leave one of them out"
        )


def _in_several_splits(cases: Sequence[Case], keys: Sequence[object]) -> list[list[Case]]:
    """The groups of cases of one key that are in several splits; cases without a split are in none."""
    groups: dict[object, list[Case]] = {}
    for case, key in zip(cases, keys, strict=True):
        if _split(case):
            groups.setdefault(key, []).append(case)
    return [group for group in groups.values() if len({_split(case) for case in group}) > 1]


def _split(case: Case) -> str:
    return (case.split or "").strip().casefold()


def _firsts(cases: Sequence[Case], prints: Sequence[Fingerprint]) -> list[int]:
    """The first case of the same file as each case."""
    known: dict[object, int] = {}
    return [known.setdefault(one.digest or cases[index].name, index) for index, one in enumerate(prints)]


def _pairs(cases: Sequence[Case], prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """The pairs of cases that are one patient's. Two that state their patients are never connected by a likeness."""
    firsts: dict[object, int] = {}
    for index, (case, one) in enumerate(zip(cases, prints, strict=True)):
        stated = case.patient if case.patient is not None else one.patient
        if stated is not None:
            yield firsts.setdefault(stated, index), index
    bare = [index for index, case in enumerate(cases) if case.patient is None and prints[index].patient is None]
    for first, second in near_pairs([prints[index].likeness for index in bare]):
        yield bare[first], bare[second]


def _named(cases: Sequence[Case], prints: Sequence[Fingerprint], groups: Sequence[int]) -> list[str]:
    """The patient of each case as stated, else the number of a patient or an image, past the names that are stated."""
    taken = {case.patient for case in cases}
    free = {noun: _free(noun, taken) for noun in (PATIENT.noun, DISTINCT.noun)}
    numbers: dict[int, str] = {}
    for case, one, group in zip(cases, prints, groups, strict=True):
        if case.patient is None and group not in numbers:
            numbers[group] = next(free[DISTINCT.noun if one.patient is None else PATIENT.noun])
    return [numbers[group] if case.patient is None else case.patient for case, group in zip(cases, groups, strict=True)]


def _free(noun: str, taken: Container[str | None]) -> Iterator[str]:
    return (name for number in count(1) if (name := f"{noun} {number}") not in taken)


def _notes(cases: Sequence[Case], prints: Sequence[Fingerprint], groups: Sequence[int]) -> list[str]:
    known: list[int] = []
    bare: list[int] = []
    for case, one, group in zip(cases, prints, groups, strict=True):
        if case.patient is None:
            (bare if one.patient is None else known).append(group)
    notes = []
    if known:
        notes.append(
            f"The patients of {counted(len(known), 'image')} were told apart by the PatientID of their DICOM files: "
            f"{counted(len(set(known)), 'patient')}."
        )
    if bare:
        sizes = Counter(bare)
        notes.append(
            f"The data set does not state the patient of {counted(len(bare), 'image')}: images that are nearly the "
            f"same (perceptual hashes that differ in at most {DISTANCE} of {BITS} bits) count as one. That makes "
            f"{DISTINCT.counted(len(sizes))}, each of at most {counted(max(sizes.values()), 'image')}; other images of "
            "the same patient are not recognised."
        )
    return notes
