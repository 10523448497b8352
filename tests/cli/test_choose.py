"""``pellucid choose`` as it is run, and what ``explain`` takes of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import platformdirs
import pytest
from torchvision.utils import save_image
from typer.testing import CliRunner, Result

from pellucid import phantom
from pellucid.cli.main import app
from pellucid.core.choice import Choice, GradedPair
from pellucid.core.provenance import digest

MODEL = "pellucid.phantom:exclusive_cnn_64"
FAST = ("--candidates", "saliency,hirescam", "--layer", "network.layer1", "--layer", "network.layer4", "--first-stage")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each class, and a folder of masks, as users have them."""
    folder = tmp_path_factory.mktemp("images")
    drawn = phantom.radiographs(60, 64, seed=5, exclusive=True)
    for number, index in enumerate(drawn.classes.tolist()):
        place = folder / "all" / phantom.CLASSES[index]
        place.mkdir(parents=True, exist_ok=True)
        save_image(drawn.images[number], place / f"{number:03}.png")
        if index:
            masks = folder / "masks"
            masks.mkdir(exist_ok=True)
            save_image(drawn.masks[number, index - 1].float(), masks / f"{number:03}.png")
    return folder


def run(*words: object) -> Result:
    return CliRunner().invoke(app, list(map(str, words)))


def nodule(images: Path) -> Path:
    """One image of a nodule."""
    return next((images / "all" / "nodule").iterdir())


def test_a_choice_is_shown_kept_and_taken(images: Path, tmp_path: Path) -> None:
    file = tmp_path / "choice.json"
    done = run("choose", MODEL, images / "all", *FAST, "--output", file)
    assert done.exit_code == 0, done.output
    assert " → " in done.stdout
    assert "not right about the disease" in done.stdout
    assert "passes of the model" in done.stderr
    choice = Choice.load(file)
    assert choice.table().splitlines()[-1] in done.stdout
    assert choice.located == 0
    explained = run("explain", nodule(images), "--model", MODEL, "--method", "auto", "-o", tmp_path / "a")
    assert explained.exit_code == 0, explained.output
    (facts,) = (tmp_path / "a").glob("*_metadata.json")
    found = json.loads(facts.read_text())
    assert found["method"] == choice.method
    assert found["layers"] == list(choice.layers or ())
    assert "was chosen by measurement" in json.dumps(found)


def test_masks_show_hits_and_take_no_part(images: Path, tmp_path: Path) -> None:
    done = run("choose", MODEL, images / "all", "--masks", images / "masks", *FAST, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["located"] >= 8
    assert all(0 <= pair["hits"] <= 1 and 0 <= pair["mass"] <= 1 for pair in found["pairs"])
    assert found["images"] + found["located"] <= sum(1 for _ in images.glob("all/*/*.png"))
    first = run("choose", MODEL, images / "all", "--masks", images / "masks", *FAST)
    assert "hits  mass" in first.stdout


def test_what_cannot_be_read_is_named_and_the_rest_is_chosen_on(images: Path, tmp_path: Path) -> None:
    shutil.copytree(images, tmp_path / "set")
    found = sorted((tmp_path / "set" / "masks").iterdir())[1]
    found.write_bytes(b"broken")
    (tmp_path / "set" / "all" / "none" / "broken.png").write_bytes(b"no image")
    done = run("choose", MODEL, tmp_path / "set" / "all", "--masks", tmp_path / "set" / "masks", *FAST, "--quiet")
    assert done.exit_code == 1, done.output
    first, second = (line for line in done.stderr.splitlines() if line.startswith("error"))
    assert "none/broken.png: it is broken" in first
    assert f"{found.name}: its mask cannot be read (" in second


def test_a_reference_lends_its_tissue(images: Path) -> None:
    done = run(
        *("choose", MODEL, images / "all" / "nodule", "--target", "nodule", "--reference", images / "all" / "none"),
        *FAST,
        "--json",
    )
    assert done.exit_code == 0, done.output
    assert "tissue" in [one["name"] for one in json.loads(done.stdout)["replacements"]]


def test_without_a_choice_the_command_fails_and_explain_says_so(images: Path, tmp_path: Path) -> None:
    healthy = images / "all" / "none"
    done = run("choose", MODEL, healthy, "--target", "cavity", *FAST)
    assert done.exit_code == 3
    assert "no choice: no replacement can be trusted" in done.stdout
    file = next(healthy.iterdir())
    assert run("explain", file, "--model", MODEL, "--method", "auto", "-o", tmp_path / "a").exit_code == 0
    (facts,) = (tmp_path / "a").glob("*_metadata.json")
    assert "the convention is taken" in facts.read_text()


@pytest.fixture
def choice(tmp_path: Path) -> Path:
    """A file of a choice of these weights, which is not kept on this machine."""
    pairs = [
        GradedPair("hirescam", ("network.layer1",), 0.9, 0.8, 1.0, 1, 1.0, 2),
        GradedPair("gradcam", ("network.layer4",), 0.5, 0.4, 0.6, 1, 1.0, 2, is_convention=True),
    ]
    made = Choice(tuple(pairs), (), 0, "chosen", 24, weights_sha256=digest(phantom.exclusive_cnn_64()))
    made.save(tmp_path / "c.json")
    return tmp_path / "c.json"


def test_a_file_travels(images: Path, tmp_path: Path, choice: Path) -> None:
    file = nodule(images)
    both = run(
        "explain",
        file,
        "--model",
        MODEL,
        "--choice",
        choice,
        "--method",
        "auto",
        "--method",
        "gradcam",
        "-o",
        tmp_path / "b",
    )
    assert both.exit_code == 0, both.output
    texts = [path.read_text() for path in (tmp_path / "b").glob("*_metadata.json")]
    assert ["was chosen by measurement" in text for text in texts].count(True) == 1
    assert any("network.layer4" in text for text in texts)
    again = run("explain", file, "--model", MODEL, "--choice", choice, "-o", tmp_path / "c")
    assert again.exit_code == 0
    layers = run(
        "explain",
        file,
        "--model",
        MODEL,
        "--choice",
        choice,
        "--layer",
        "auto",
        "--method",
        "hirescam",
        "-o",
        tmp_path / "d",
    )
    assert layers.exit_code == 0, layers.output


def test_a_method_without_layers_says_why_it_was_chosen(images: Path, tmp_path: Path) -> None:
    pairs = (GradedPair("saliency", (), 0.9, 0.8, 1.0, 1),)
    Choice(pairs, (), 0, "chosen", 24, weights_sha256=digest(phantom.exclusive_cnn_64())).save(tmp_path / "s.json")
    done = run("explain", nodule(images), "--model", MODEL, "--choice", tmp_path / "s.json", "-o", tmp_path / "s")
    assert done.exit_code == 0, done.output
    (facts,) = (tmp_path / "s").glob("*_metadata.json")
    assert "saliency was chosen by measurement on 24 images" in facts.read_text()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--method", "auto", "--set", "steps=5"), "auto takes its options from the choice"),
        (("--choice", "{choice}", "--method", "gradcam"), "give --method auto"),
        (("--layer", "auto", "--layer", "layer1"), "give auto alone"),
        (("--choice", "{choice}", "--method", "auto", "--method", "{method}"), "give one of them"),
        (("--choice", "nowhere.json"), "no choice can be read"),
    ],
)
def test_what_cannot_be_meant(images: Path, tmp_path: Path, choice: Path, words: tuple[str, ...], text: str) -> None:
    method = Choice.load(choice).method
    given = [word.format(choice=choice, method=method) for word in words]
    done = run("explain", nodule(images), "--model", MODEL, *given, "-o", tmp_path / "x")
    assert done.exit_code in (2, 3)
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("{model}", "{images}/all", "--candidates", "nothing"), "no method has that name"),
        (("{model}", "{images}/all", "--target", "nodulus"), "did you mean nodule"),
        (("{model}", "phantoms:exclusive:3"), "at least 8"),
        (("{model}", "{images}/nowhere"), "no such file or folder"),
        (("{images}/nowhere.pt", "{images}/all"), "names no model"),
        (
            ("{model}", "{images}/all", "--size", "32", "--reference", "{images}/masks/nothing"),
            "no such file or folder",
        ),
    ],
)
def test_bad_input_gets_one_line(images: Path, words: tuple[str, ...], text: str, cache: Path) -> None:
    done = run("choose", *(word.format(model=MODEL, images=images) for word in words))
    assert done.exit_code in (2, 3)
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not cache.exists()


def test_an_existing_file_is_left(images: Path, tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("mine")
    done = run("choose", MODEL, images / "all", *FAST, "-o", tmp_path / "c.json")
    assert done.exit_code == 3
    assert "already there" in done.stderr
    assert (tmp_path / "c.json").read_text() == "mine"
