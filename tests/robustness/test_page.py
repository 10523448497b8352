"""The page of a result states what the result holds, and its figures draw it."""

from __future__ import annotations

import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pellucid.errors import OutputExistsError, WriteError
from pellucid.report import write_robustness
from pellucid.report.robustness import figures
from pellucid.report.robustness.wording import level_of
from pellucid.robustness import Level, Robustness, RobustnessPlan, Together, Worst
from pellucid.statistics import Interval

METRICS = ("ssim", "spearman")
NOTHING = Interval(math.nan, math.nan, math.nan, 0, 0, withheld="no cases")


def share(estimate: float) -> Interval:
    return Interval(estimate, max(0.0, estimate - 0.1), min(1.0, estimate + 0.1), 40, 30)


def level(method: str, change: str, value: float, figure: Interval) -> Level:
    names = ("answer moved", "probability change", "hit rate", "degenerate", *METRICS)
    return Level(method, change, value, dict.fromkeys(names, figure))


def made(methods: tuple[str, ...] = ("gradcam", "centre")) -> Robustness:
    """A result of two changes: noise, and an attack on the map that the prior has no values of."""
    levels = [
        level(method, change, value, NOTHING if (method, change) == ("centre", "topk") else share(0.9 - 0.1 * number))
        for method in methods
        for change, values in (("noise", (0.0, 0.05, 0.1)), ("topk", (2 / 255, 8 / 255)))
        for number, value in enumerate(values)
    ]
    return Robustness(
        plan=RobustnessPlan(changes=("noise", "topk")),
        given=43,
        images=40,
        patients=30,
        masked=25,
        excluded={"the image cannot be used": ["a<b>.png", "c.png", "d.png"]},
        units={"noise": "the noise's standard deviation", "topk": "the attack's ε"},
        attacks=("topk",),
        clean={method: {"hit rate": share(0.7), "degenerate": share(0.02)} for method in methods},
        between={method: {one: share(0.35) for one in METRICS} for method in methods},
        levels=levels,
        together=[Together(method, share(0.25), replace(NOTHING, withheld="no cases")) for method in methods],
        worst=[
            Worst("map moved", "gradcam", "noise", 0.1, "scan <7>.png", 0.123),
            Worst("map moved", "centre", "noise", 0.1, "unmoved.png", 1.0),
            Worst("answer moved", "gradcam", "noise", 0.05, "scan 8.png", 0.987),
        ],
        missing={"the method fails (gradcam)": 2},
        notes=("Patients are named.",),
        limits=("A bound from one side.",),
        provenance={"model": {"architecture": "a net"}},
    )


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(path: Path) -> tuple[str, Texts]:
    parser = Texts()
    parser.feed(path.read_text(encoding="utf-8"))
    return re.sub(r"\s+", " ", "".join(parser.texts)), parser


def test_the_page_states_what_was_found(tmp_path: Path) -> None:
    text, parser = read(write_robustness(made(), tmp_path))
    for stated in (
        "40 images of 30 patients were changed by noise and topk.",
        "43 were given, 40 of them changed; 25 have a mask",
        "3 left out: the image cannot be used",
        "a<b>.png",
        "Most answers moved under noise of 0: 0.90 (0.80 to 1.00) of them.",
        "gradcam’s of image scan <7>.png, under noise of 0.1: SSIM 0.12",
        "0.25 (0.15 to 0.35)",
        "A bound from one side.",
        "Patients are named.",
        "2: the method fails (gradcam)",
        "scan 8.png",
        "a net",
    ):
        assert stated in text, stated
    assert "unmoved.png" not in text
    assert "script" not in parser.tags
    assert parser.tags.count("details") == 3
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("answers", "maps", "hits") for kind in ("svg", "png")
    }


def test_maps_within_stand_beside_maps_between(tmp_path: Path) -> None:
    text, _ = read(write_robustness(made(), tmp_path))
    table = text[text.index("SSIM of maps, at the largest budget") :]
    assert table.index("between images") < table.index("0.35 (0.25 to 0.45)") < table.index("noise, 0.1")
    assert "topk, 8/255" in table


def test_an_estimate_without_an_interval_says_why(tmp_path: Path) -> None:
    constant = Interval(1.0, math.nan, math.nan, 40, 30, withheld="no patients differ")
    found = made()
    levels = [replace(one, figures={**one.figures, "ssim": constant}) for one in found.levels]
    text, _ = read(write_robustness(replace(found, levels=levels), tmp_path))
    assert "1.00 (no interval: no patients differ)" in text


def moved(figures: dict[tuple[str, float], Interval]) -> Robustness:
    """A result of which only how many answers moved is told apart: by change and budget."""
    levels = [
        replace(
            level("gradcam", *key, share(0.5)),
            figures=level("gradcam", *key, share(0.5)).figures | {"answer moved": one},
        )
        for key, one in figures.items()
    ]
    return replace(made(), levels=levels)


@pytest.mark.parametrize(
    ("figures", "stated"),
    [
        (
            {("noise", 0.1): share(0.8), ("blur", 2.0): share(0.8)},
            "Most answers moved under noise of 0.1 and blur of 2: 0.80 (",
        ),
        ({("noise", 0.1): share(0.3), ("topk", 8 / 255): share(0.9)}, "Most answers moved under noise of 0.1: 0.30 ("),
        ({("noise", 0.1): share(0.0), ("topk", 8 / 255): share(0.0)}, "No answer moved."),
        (
            {("noise", 0.1): Interval(1.0, math.nan, math.nan, 1, 1, withheld="one case")},
            "under noise of 0.1: 1.00 of them.",
        ),
    ],
)
def test_where_most_answers_moved(figures: dict[tuple[str, float], Interval], stated: str, tmp_path: Path) -> None:
    text, _ = read(write_robustness(moved(figures), tmp_path))
    assert stated in text


def test_attacks_that_hold_the_answer_are_told(tmp_path: Path) -> None:
    text, _ = read(write_robustness(made(), tmp_path))
    assert "topk, 8/255 (holds the answer)" in text
    assert "noise, 0.1 (holds" not in text


def test_where_patients_are_not_stated_the_units_are_distinct_images(tmp_path: Path) -> None:
    text, _ = read(write_robustness(replace(made(), patients_stated=False), tmp_path))
    assert "40 images (30 distinct) were changed by" in text
    assert "intervals by distinct image." in text
    assert "patient" not in text.replace("Patients are named.", "").partition("What this cannot answer")[0]


def test_equal_results_are_equal_files_and_nothing_is_replaced_unasked(tmp_path: Path) -> None:
    first = write_robustness(made(), tmp_path / "a")
    second = write_robustness(made(), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes()
    assert (tmp_path / "a/figures/maps.svg").read_bytes() == (tmp_path / "b/figures/maps.svg").read_bytes()
    with pytest.raises(OutputExistsError):
        write_robustness(made(), tmp_path / "a")
    write_robustness(made(), tmp_path / "a", overwrite=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "figures").write_text("")
    with pytest.raises(WriteError, match="no folder of its own"):
        write_robustness(made(), tmp_path / "c")


def test_an_empty_result_has_a_page(tmp_path: Path) -> None:
    found = replace(
        made(()), masked=0, levels=(), worst=(), together=(), attacks=(), excluded={}, missing={}, notes=(), units={}
    )
    text, parser = read(write_robustness(found, tmp_path))
    assert "hit rates are not known" in text
    assert "No attack was asked for" in text
    assert "figure" not in parser.tags


def test_curves_have_the_figures_and_equal_ones_are_one() -> None:
    found = made(("gradcam", "saliency"))
    alt = figures.answers(found).alt  # type: ignore[union-attr]
    assert "noise, all methods: 0.90 at 0, 0.80 at 0.05, 0.70 at 0.1" in alt
    maps = figures.likeness(found, "ssim")
    assert maps is not None
    assert "topk, saliency: 0.90 at 2/255, 0.80 at 8/255" in maps.alt
    assert "centre" not in figures.likeness(made(), "ssim").alt.partition("topk")[2]  # type: ignore[union-attr]
    drawn = np.asarray(Pillow.open(io.BytesIO(maps.png)).convert("RGB"))
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10


def test_budgets_are_written_as_they_are_asked_for() -> None:
    assert [level_of(one) for one in (1 / 255, 0.5 / 255, 0.2, 0.001, 45.0, 0.6)] == [
        "1/255",
        "0.00196",
        "0.2",
        "0.001",
        "45",
        "0.6",
    ]
