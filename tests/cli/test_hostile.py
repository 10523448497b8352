"""Factories, names and files that mean harm, or are merely careless."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

import pellucid
from pellucid.cli.main import app
from pellucid.errors import ImageError
from pellucid.export.writing import write
from tests.cli.conftest import one_line, save
from tests.networks import TinyCNN, images, seeded

FACTORY = """
import sys
import torch
from tests.networks import TinyCNN, seeded

def build():
    {before}
    model = seeded(TinyCNN)
    model.head = "softmax"
    model.preprocessing = {{"size": (32, 32), "mean": [0.5] * 3, "std": [0.5] * 3}}
    {after}
    return model
"""


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Result]:
    def call(*options: str, before: str = "pass", after: str = "pass", image: Path | None = None) -> Result:
        (tmp_path / "own.py").write_text(FACTORY.format(before=before, after=after))
        image = image or save(tmp_path / "a.png")
        fixed = ["explain", str(image), "--model", f"{tmp_path / 'own.py'}:build", "-o", str(tmp_path / "out")]
        return CliRunner().invoke(app, [*fixed, *options])

    return call


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("model.head = 'softmx'", "head is 'softmx'; it may be softmax, sigmoid, binary"),
        ("model.preprocessing['std'] = [0, 0, 0]", "std above 0"),
        ("model.preprocessing['size'] = 0", "sizes and std above 0"),
        ("model.preprocessing['crop'] = (-1, 5)", "sizes and std above 0"),
        ("model.preprocessing['mean'] = [0.5, 0.5]", "as many means as stds"),
        ("sys.exit(5)", "SystemExit: 5"),
    ],
)
def test_attributes_of_a_model_are_checked(run: Callable[..., Result], after: str, message: str) -> None:
    result = run(after=after)
    assert result.exit_code == 2
    one_line(result, message)


def test_what_a_factory_prints_is_not_the_answer(run: Callable[..., Result]) -> None:
    result = run("--json", before="print('hello')")
    assert json.loads(result.stdout)["images"][0]["predicted_name"].isdecimal()
    assert "hello" in result.stderr


def test_a_file_without_a_function(tmp_path: Path) -> None:
    with pytest.raises(
        pellucid.PellucidError, match=r"names no function; name the one that returns the model, as in .*own\.py:build"
    ):
        pellucid.load_model(str(tmp_path / "own.py"))


def test_names_do_not_steer_the_terminal(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run(image=save(tmp_path / "\x1b[31mred.png"))
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout + result.stderr
    missing = run(image=tmp_path / "\x1b]0;gone.png")
    assert "\x1b" not in missing.stdout + missing.stderr


@pytest.mark.parametrize("text", ["[" * 200_000, '{"0": "a"}'])
def test_class_files_that_are_no_list(run: Callable[..., Result], tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.json").write_text(text)
    result = run("--classes", str(tmp_path / "classes.json"))
    assert result.exit_code == 2
    one_line(result, "classes.json was given; it is")


def test_a_long_name_of_a_class_is_cut(run: Callable[..., Result]) -> None:
    names = ", ".join(repr(letter * 300) for letter in "abcd")
    assert run("--target", "all", after=f"model.classes = [{names}]").exit_code == 0


def test_a_link_that_waits_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(victim)
    with pytest.raises(pellucid.PellucidError, match="already there"):
        write(tmp_path / "out", {"a.png": b"new"}, overwrite=False)
    write(tmp_path / "out", {"a.png": b"new"}, overwrite=True)
    assert victim.read_text() == "mine"
    assert (tmp_path / "out" / "a.png").read_bytes() == b"new"
    assert not (tmp_path / "out" / "a.png").is_symlink()


def test_a_name_that_is_too_long_says_so(run: Callable[..., Result], tmp_path: Path) -> None:
    result = run(image=save(tmp_path / ("n" * 245 + ".png")))
    assert result.exit_code == 3
    one_line(result, "shorter name")


def test_large_images_go_through_in_smaller_batches(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid.run.job._MAX_VALUES", 1)
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png")
    sizes = []
    batch = pellucid.Explainer.__call__
    monkeypatch.setattr(pellucid.Explainer, "__call__", lambda self, x, t: sizes.append(len(x)) or batch(self, x, t))
    assert run(image=tmp_path / "in").exit_code == 0
    assert sizes == [1, 1, 1]


def test_what_the_network_did_not_see_is_not_coloured(tmp_path: Path) -> None:
    wide = pellucid.Image(torch.full((1, 32, 64), 0.5), torch.full((1, 32, 64), 0.5), _identity((32, 64)))
    geometry = wide.geometry.centre_crop((32, 32))
    prepared = pellucid.Image(wide.pixels[..., 16:48], wide.pixels[..., 16:48], geometry, {}, wide)
    explanation = pellucid.explain(seeded(TinyCNN), images(1), targets=1)
    drawn = pellucid.overlay(explanation, prepared)[0]
    assert isinstance(drawn, Pillow.Image)
    assert drawn.getpixel((4, 4)) == drawn.getpixel((60, 4)) == (128, 128, 128)
    assert drawn.getpixel((20, 4)) != (128, 128, 128)


def _identity(size: tuple[int, int]) -> object:
    from pellucid.core.geometry import Geometry

    return Geometry.identity(size)


@pytest.mark.parametrize(
    "change",
    [
        {"targets": torch.zeros(3, 7, dtype=torch.int64)},
        {"logits": torch.zeros(5)},
        {"heatmaps": torch.zeros(1, 1, 4)},
        {"degenerate": torch.zeros(1, 1)},
        {"head": "nonsense"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_explanations_whose_parts_do_not_fit(tmp_path: Path, change: dict[str, object]) -> None:
    from dataclasses import replace

    explanation = pellucid.explain(seeded(TinyCNN), images(1), targets=1)
    replace(explanation, **change).save(tmp_path / "e.npz")
    with pytest.raises(ImageError, match="this is none"):
        pellucid.load_explanation(tmp_path / "e.npz")


def test_an_explanation_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pellucid.explain(seeded(TinyCNN), images(1), targets=1).save(tmp_path / "e.npz")
    assert pellucid.load_explanation(tmp_path / "e.npz").heatmaps.shape == (1, 1, 32, 32)
    monkeypatch.setattr("pellucid.core.archive._MOST_BYTES", 100)
    with pytest.raises(ImageError, match="more than 100 bytes"):
        pellucid.load_explanation(tmp_path / "e.npz")
