"""Phantoms as a data set: the images that ``radiographs`` draws, one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.form import FORMS, Asked
from pellucid.phantom import CLASSES, FINDINGS, radiographs


@pytest.mark.parametrize(
    ("data", "seed", "exclusive"),
    [("phantoms:8", 0, False), ("phantoms:8:41", 41, False), ("phantoms:exclusive:8:3", 3, True)],
)
def test_cases_are_those_that_are_drawn_at_once(data: str, seed: int, exclusive: bool) -> None:
    found, drawn = read_data(data), radiographs(8, seed=seed, exclusive=exclusive)
    assert (found.form, found.drawn, len(found.cases), found.excluded) == ("phantoms", True, 8, [])
    for index, case in enumerate(found.cases):
        image = case.source.image()
        assert torch.equal(image.pixels, drawn.images[index])
        stated = [kind for kind, has_it in zip(FINDINGS, drawn.labels[index], strict=True) if has_it]
        assert set(case.findings) == set(stated)
        assert set(case.labels or ()) == set(stated or (["none"] if exclusive else []))
        for kind, outline in case.findings.items():
            assert torch.equal(outline.mask(image), drawn.masks[index, FINDINGS.index(kind)])
        assert case.patient == case.name == f"{index:05}"
    assert any(case.findings for case in found.cases)
    assert not all(case.findings for case in found.cases)
    assert not exclusive or {label for case in found.cases for label in case.labels or ()} <= set(CLASSES)


def test_an_image_depends_on_the_seed_and_its_number_only() -> None:
    few, many, other = (read_data(data).cases[2] for data in ("phantoms:3", "phantoms:9", "phantoms:9:1"))

    def pixels(case: object) -> Tensor:
        return case.source.image().pixels  # type: ignore[attr-defined,no-any-return]

    assert torch.equal(pixels(few), pixels(many))
    assert not torch.equal(pixels(many), pixels(other))
    assert few.source.digest() == many.source.digest() == many.source.image().digest
    assert many.source.digest() != other.source.digest() != None  # noqa: E711


@pytest.mark.parametrize(
    "data",
    [
        *("phantoms:", "phantoms:0", "phantoms:-1", "phantoms:1.5", "phantoms:1:2:3", "phantoms:exclusive"),
        *("phantoms:volumes:3", "phantoms:9999999", "phantoms:3:exclusive", "phantoms:" + "9" * 5000, "phantoms:٣"),
    ],
    ids=lambda one: one[:24].encode("ascii", "replace").decode(),
)
def test_what_cannot_be_drawn_is_one_line(data: str) -> None:
    with pytest.raises(DataError, match="write phantoms:COUNT") as caught:
        read_data(data)
    assert len(str(caught.value)) < 300


def test_nothing_else_is_recognised() -> None:
    assert not FORMS.find("phantoms")().recognises(Asked("phantoms"))
    assert not FORMS.find("phantoms")().recognises(Asked("data/phantoms:3"))


def test_the_outline_is_of_the_phantoms_size() -> None:
    case = next(case for case in read_data("phantoms:9").cases if case.findings)
    image = read_data("phantoms:1").cases[0].source.image()
    small = type(image)(image.pixels[:, :64], image.values[:, :64], image.geometry)
    with pytest.raises(DataError, match="another size"):
        next(iter(case.findings.values())).mask(small)
