"""Whose each image is: near-duplicates by a hash, DICOM headers, and splits."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from pydicom.dataset import Dataset

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image, Instance
from pellucid.errors import DataError
from pellucid.evaluation.case import Case
from pellucid.evaluation.data import likeness
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.likeness import DISTANCE, groups_of, near_pairs, perceptual_hash
from pellucid.evaluation.data.patients import Fingerprint, check_splits, fingerprint, grouped
from pellucid.phantom import radiographs
from tests.evaluation.made import noise


def image(levels: np.ndarray, digest: str | None = None, patient: str | None = None) -> Image:
    pixels = torch.from_numpy(np.asarray(levels, dtype=np.float32) / 255)
    pixels = pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)
    header = Dataset()
    if patient is not None:
        header.PatientID = patient
    instances = () if patient is None else (Instance(header),)
    size = tuple(pixels.shape[1:])
    return Image(pixels, pixels, Geometry.identity(size), digest=digest, instances=instances)


def case(name: str, patient: str | None = None, split: str | None = None) -> Case:
    return Case(name, ImageFile(Path(name)), patient=patient, split=split)


def print_of(likeness: int, digest: int | None = None, patient: str | None = None) -> Fingerprint:
    file = None if digest is None else bytes([digest]) * 32
    return Fingerprint(file, likeness, None if patient is None else patient.encode())


def naive_hash(levels: np.ndarray) -> int:
    """By the formula: means of 32 × 32 cells, a cosine transform term by term, and a bit for each sign."""
    rows, columns = (side // 32 for side in levels.shape)
    grey = [
        [levels[rows * y : rows * (y + 1), columns * x : columns * (x + 1)].mean() / 255 for x in range(32)]
        for y in range(32)
    ]
    found = []
    for v in range(16):
        for u in range(16):
            total = 0.0
            for y in range(32):
                for x in range(32):
                    waves = math.cos((2 * y + 1) * v * math.pi / 64) * math.cos((2 * x + 1) * u * math.pi / 64)
                    total += grey[y][x] * waves
            found.append(total * math.sqrt((1 if v == 0 else 2) / 32) * math.sqrt((1 if u == 0 else 2) / 32))
    found[0] = 0.0
    small = 0.2 * math.sqrt(sum(value**2 for value in found) / 255)
    bits = [value > small for value in found] + [value < -small for value in found]
    return int("".join("1" if bit else "0" for bit in bits), 2)


@pytest.mark.parametrize("seed", range(2))
def test_the_hash_is_that_of_its_formula(seed: int) -> None:
    levels = noise(seed, 96, 64)
    assert perceptual_hash(image(levels)) == naive_hash(levels)
    volume = np.stack([levels, levels], 0)
    pixels = torch.from_numpy(volume[None] / np.float32(255))
    stacked = Image(pixels, pixels, Geometry.identity((2, 96, 64)))
    assert perceptual_hash(stacked) == naive_hash(levels)


def apart(one: np.ndarray, other: np.ndarray) -> int:
    return (perceptual_hash(image(one)) ^ perceptual_hash(image(other))).bit_count()


@pytest.mark.parametrize("seed", range(4))
def test_copies_are_near_and_others_are_not(seed: int) -> None:
    levels = noise(seed, 300, 400)
    drawn = Pillow.fromarray(levels)
    held = io.BytesIO()
    drawn.save(held, "JPEG", quality=20)
    copies = [
        np.asarray(Pillow.open(held)),
        np.asarray(drawn.resize((200, 150))),
        np.asarray(drawn.resize((224, 224))),
        np.asarray(drawn.convert("RGB")),
        (levels * 0.9).astype(np.uint8),
    ]
    assert max(apart(levels, copy) for copy in copies) <= DISTANCE
    assert min(apart(levels, noise(other, 300, 400)) for other in range(10, 30)) > DISTANCE
    assert apart(levels, levels[:, ::-1].copy()) > DISTANCE


def test_radiographs_of_different_patients_are_apart() -> None:
    drawn = radiographs(40, size=64, seed=3).images
    hashes = [perceptual_hash(Image(one, one, Geometry.identity((64, 64)))) for one in drawn]
    assert list(near_pairs(hashes)) == []


def test_a_constant_image_has_one_hash() -> None:
    for level in (0, 1, 77, 255):
        assert perceptual_hash(image(np.full((50, 70), level))) == 0
    assert perceptual_hash(image(np.repeat([[76, 77]], 32, 1).repeat(64, 0))) != 0


@pytest.mark.parametrize("pairs", [1, 5_000, 2**21])
def test_pairs_are_those_of_all_comparisons(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(likeness, "_PAIRS", pairs)
    generator = np.random.default_rng(0)
    bases = [int.from_bytes(generator.bytes(64), "big") for _ in range(30)]
    bits = [sum(1 << int(bit) for bit in generator.choice(512, 1 + index % 29, replace=False)) for index in range(300)]
    hashes = [base ^ change for base, change in zip(bases * 10, bits, strict=True)]
    near = [[(a ^ b).bit_count() <= DISTANCE for b in hashes] for a in hashes]
    expected = {(i, j) for i in range(300) for j in range(i + 1, 300) if near[i][j]}
    assert set(near_pairs(hashes)) == expected
    assert 50 < len(expected) < 1500
    assert set(near_pairs([7, 9, 7, 7])) == {(0, 2), (0, 3), (0, 1)}
    assert list(near_pairs([])) == []


def test_groups_are_chains() -> None:
    assert groups_of(6, iter([(4, 5), (0, 5), (1, 2)])) == [0, 1, 1, 3, 0, 0]
    assert groups_of(0, iter(())) == []


def given(*prints: Fingerprint) -> tuple[list[Case], Mapping[str, Fingerprint]]:
    cases = [case(f"{index}.png") for index in range(len(prints))]
    return cases, {one.name: found for one, found in zip(cases, prints, strict=True)}


def test_near_duplicates_are_one_patient() -> None:
    step = (1 << DISTANCE) - 1
    chain = step | step << DISTANCE
    found = grouped(*given(*map(print_of, (0, 1 << 511 | chain << 100, step, chain, (2 * step + 1) << 200))))
    assert found.patients == {
        "0.png": "distinct image 1",
        "1.png": "distinct image 2",
        "2.png": "distinct image 1",
        "3.png": "distinct image 1",
        "4.png": "distinct image 3",
    }
    assert found.notes == [
        "The data set does not state the patient of 5 images: images that are nearly the same (perceptual hashes that "
        "differ in at most 24 of 512 bits) count as one. That makes 3 distinct images, each of at most 3 images; "
        "other images of the same patient are not recognised."
    ]


def test_stated_patients_are_not_guessed() -> None:
    cases = [case("a", "7"), case("b", "7"), case("c", "8"), case("d"), case("e", "distinct image 1"), case("not read")]
    found = grouped(cases, {one.name: print_of(0) for one in cases[:-1]})
    assert found.patients == {"a": "7", "b": "7", "c": "8", "d": "distinct image 2", "e": "distinct image 1"}
    assert len(found.notes) == 1
    assert not found.are_stated
    assert grouped(cases[:3], {one.name: print_of(0) for one in cases[:3]}).are_stated
    assert grouped(cases[:3], {one.name: print_of(0) for one in cases[:3]}).notes == []


def test_the_patient_of_a_dicom_header_groups_and_is_not_shown() -> None:
    images = [image(noise(seed, 64, 64), patient=name) for seed, name in enumerate(["Q-4711", "Q-4711 ", "Q-12", ""])]
    images.append(image(noise(3, 64, 64), patient="ANONYMIZED"))
    cases = [case(f"{index}.dcm") for index in range(len(images))]
    prints = {one.name: fingerprint(image) for one, image in zip(cases, images, strict=True)}
    found = grouped(cases, prints)
    assert list(found.patients.values()) == [
        "patient 1",
        "patient 1",
        "patient 2",
        "distinct image 1",
        "distinct image 1",
    ]
    assert (
        found.notes[0] == "The patients of 3 images were told apart by the PatientID of their DICOM files: 2 patients."
    )
    assert "2 images: images that are nearly the same" in found.notes[1]
    assert "4711" not in repr((prints, found))
    named = [*cases[:-1], case("4.dcm", "patient 1")]
    assert list(grouped(named, prints).patients.values())[:3] == ["patient 2", "patient 2", "patient 3"]


@pytest.mark.parametrize("name", ["Anonymous", "ANON", "anonymized", "0", "000", "XXX", "unknown", "", "De-identified"])
def test_a_placeholder_is_no_patient(name: str) -> None:
    assert fingerprint(image(noise(0, 64, 64), patient=name)).patient is None
    assert fingerprint(image(noise(0, 64, 64), patient=f"{name}7")).patient is not None


def test_a_file_that_is_there_twice_counts_once() -> None:
    cases, prints = given(print_of(0, 1), print_of(2**40 - 1, 2), print_of(0, 1), print_of(0, 1))
    found = grouped(cases, prints)
    assert [(one.name, one.reason, one.detail) for one in found.excluded] == [
        ("2.png", "it is the same file as another case", "0.png"),
        ("3.png", "it is the same file as another case", "0.png"),
    ]
    assert set(found.patients) == {"0.png", "1.png"}
    unread = grouped(*given(print_of(0), print_of(0)))  # drawn, without a file
    assert unread.excluded == []


def test_the_digest_is_that_of_the_file() -> None:
    assert fingerprint(image(noise(0, 64, 64), digest="0a" * 32)).digest == b"\x0a" * 32
    assert fingerprint(image(noise(0, 64, 64))).digest is None


def refused(cases: list[Case], prints: list[Fingerprint]) -> str:
    with pytest.raises(DataError) as caught:
        grouped(cases, {one.name: found for one, found in zip(cases, prints, strict=True)})
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_patient_in_two_splits_is_an_error() -> None:
    cases = [case(f"{n}{split}", f"p{n}", split) for n in range(5) for split in ("train", "test")]
    with pytest.raises(DataError, match=r"^5 patients are in more than one split \(p0, p1, p2\): give all images"):
        check_splits(cases)
    check_splits([case("a", "1", "Train"), case("b", "1", " train"), case("c", "1"), case("d", None, "test")])
    assert refused([case("a", "1", "x"), case("b", "1", "y")], [print_of(0), print_of(0)]).startswith("1 patient is in")


def test_near_duplicates_in_two_splits_are_an_error() -> None:
    cases = [case("a", None, "train"), case("b", None, "train"), case("c", None, "test")]
    near = [print_of(0), print_of(1), print_of(3)]
    message = refused(cases, near)
    assert message.startswith(
        "1 image is nearly the same image as one, or the same patient's, in another split (a and c)"
    )
    assert message.endswith("state patients in a column patient, or leave one of them out")
    stated = [case("a", "1", "train"), case("b", "1", "train"), case("c", "2", "test")]
    assert grouped(stated, {one.name: found for one, found in zip(stated, near, strict=True)}).patients["c"] == "2"


def test_the_same_file_in_two_splits_is_an_error() -> None:
    cases = [case("a", "1", "train"), case("b", "2", "test")]
    assert refused(cases, [print_of(0, 1), print_of(0, 1)]).startswith(
        "1 image is the same file as one in another split"
    )


def test_a_patient_of_a_header_in_two_splits_is_an_error() -> None:
    cases = [case("a", None, "train"), case("b", None, "test")]
    message = refused(cases, [print_of(0, 1, "q"), print_of(2**50 - 1, 2, "q")])
    assert "(a and b)" in message
