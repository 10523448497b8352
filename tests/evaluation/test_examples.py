"""Cases that are shown: which they are, how many, how large, and what is drawn on them."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.example_image import example_image
from pellucid.evaluation.scoring.examples import examples, side_of
from pellucid.evaluation.scoring.measuring import Looked
from pellucid.render.encoding import png
from tests.evaluation.small_set import SIDE, written

SPACE = (64, 96)


def grey(*space: int) -> Image:
    pixels = torch.full((1, *space), 0.5)
    return Image(pixels, pixels, Geometry.identity(space), {"format": "made", "inverted": False})


def painted(image: Image, heat: torch.Tensor, mask: torch.Tensor | None = None, side: int = 384) -> np.ndarray:
    return np.asarray(example_image(image, heat, mask, side).convert("RGB")).astype(int)


def spot(y: int, x: int) -> torch.Tensor:
    heat = torch.zeros(SPACE)
    heat[y, x] = 1
    return heat


def changed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.argwhere((first != second).any(axis=2))


def test_a_ring_with_cross_hairs_is_around_the_peak() -> None:
    level = torch.full(SPACE, 0.25)
    marked = level.clone()
    marked[40, 20] = 0.26  # the colours hardly change, the mark does
    found = changed(painted(grey(*SPACE), level), painted(grey(*SPACE), marked))
    old, new = found[found[:, 1] > 160], found[found[:, 1] <= 160]  # the level map's peak is in its middle
    assert len(old) > 20
    assert new.mean(axis=0) == pytest.approx([40.5 * 4, 20.5 * 4], abs=1.5)
    assert np.abs(new - [40.5 * 4, 20.5 * 4]).max() <= 2.2 * 384 / 40 + 3


def test_the_peak_is_where_it_is_on_the_image_as_it_was_read() -> None:
    image = grey(128, 192)
    small = replace(image, values=torch.zeros(1, *SPACE), geometry=image.geometry.resize(SPACE))
    drawn = painted(small, spot(10, 70))
    white = np.argwhere((drawn[:, :384] == 255).all(axis=2))
    assert white.mean(axis=0) == pytest.approx([10.5 * 4, 70.5 * 4], abs=2)


def test_an_empty_map_and_one_that_is_not_there_are_the_image_alone() -> None:
    for heat in (torch.zeros(SPACE), torch.full(SPACE, torch.nan)):
        drawn = painted(grey(*SPACE), heat)
        assert drawn.shape == (256, 384, 3)
        assert set(np.unique(drawn)) <= {127, 128}


def test_the_outline_is_around_the_finding() -> None:
    mask = torch.zeros(SPACE, dtype=torch.bool)
    mask[20:30, 40:60] = True
    drawn = painted(grey(*SPACE), torch.zeros(SPACE), mask)
    white = np.argwhere((drawn == 255).all(axis=2))
    assert white.min(axis=0).tolist() == [20 * 4 - 2, 40 * 4 - 2]
    assert white.max(axis=0).tolist() == [30 * 4 + 1, 60 * 4 + 1]


def test_of_a_volume_the_slice_of_the_finding_is_drawn_with_its_own_peak_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(1, 3, *SPACE, generator=generator)
    image = Image(pixels, pixels, Geometry.identity((3, *SPACE)), {"format": "made", "inverted": False})
    heat, mask = torch.zeros(3, *SPACE), torch.zeros(3, *SPACE, dtype=torch.bool)
    heat[2, 40, 20], mask[1, 20:30, 40:60] = 1, True
    flat = [Image(one, one, Geometry.identity(SPACE), {"inverted": False}) for one in pixels.unbind(1)]
    of_finding, of_peak = painted(image, heat, mask), painted(image, heat)
    assert (of_peak == painted(flat[2], heat[2])).all()
    alone = painted(flat[1], spot(0, 0) * 1e-9, mask[1])  # the same colours, and a peak in the corner
    assert changed(of_finding, alone).max() < 2.2 * 384 / 40 + 3


@pytest.mark.parametrize("count", [12, 36, 180, 2000])
def test_no_number_of_methods_makes_the_images_large(count: int) -> None:
    side = side_of(count)
    noise = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
    image = Image(noise, noise, Geometry.identity((side, side)), {"inverted": False})
    drawn = example_image(image, torch.rand(side, side, generator=torch.Generator().manual_seed(1)), None, side)
    assert max(drawn.height, side) == max(side, 120)
    assert count * len(png(drawn)) < 50e6
    assert side_of(12) == 768


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Looked:
    folder = tmp_path_factory.mktemp("set")
    path = written(folder, findings=9, without=5)
    for method in ("mine", "other"):
        (folder / method).mkdir()
        for number in range(14):
            np.save(folder / method / f"image {number}.npy", np.random.default_rng([number, 7]).random((SIDE, SIDE)))
    data = read_data(path, maps={method: folder / method for method in ("mine", "other")})
    return Looked.of(data, EvaluationPlan(methods=("mine", "other"), metrics=()))


def test_at_most_twelve_cases_are_shown_each_by_every_method(looked: Looked) -> None:
    found, files = examples(looked, looked.measured())
    cases = {(one.kind, one.name) for one in found}
    assert {kind: sum(own == kind for own, _ in cases) for kind, _ in cases} == {
        "best": 3, "worst": 3, "random": 3, "without a finding": 3,
    }  # fmt: skip
    assert [one.method for one in found] == ["mine", "other"] * 12
    assert {f"examples/{name}" for name in files} == {one.file for one in found}
    assert all(Pillow.open(io.BytesIO(content)).height == 384 for content in files.values())


def test_the_best_and_worst_are_those_of_all_methods(looked: Looked) -> None:
    measured = looked.measured()
    values = {"mine": [0, 1, 2, 3, 4, 5, 6, 7, 8], "other": [9, 1, 0, 0, 0, 0, 0, 0, np.nan]}
    columns = {name: {"pointing_game": np.array(own, dtype=float)} for name, own in values.items()}
    changed = replace(measured, values={"label": {**measured.values["label"], **columns}})
    means = [np.nanmean(pair) for pair in zip(values["mine"], values["other"], strict=True)]
    order = np.argsort(means)
    found, _ = examples(looked, changed)
    for kind, expected in (("best", order[::-1][:3]), ("worst", order[:3])):
        names = list(dict.fromkeys(one.name for one in found if one.kind == kind))
        assert names == [f"image {number}.png" for number in expected], kind
    assert next(one.value for one in found if (one.name, one.method) == ("image 8.png", "other")) is None
