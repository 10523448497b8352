"""``scripts/run_gradcam.py``: run once as a user does, and its other options within the test process."""

import hashlib
import importlib.util
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from torchvision.models import resnet18

from pellucid.xai import GradCAM, GradCAMConfig

SCRIPT = Path(__file__).parents[2] / "scripts" / "run_gradcam.py"
REQUIRED = ["--checkpoint", "best.pt", "--image", "scan.png", "--output", "out"]


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("run_gradcam", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def read(path):
    with PIL.Image.open(path) as file:
        return file.copy()


def translated(script, *given):
    return script.translated(script.arguments(list(given)))


def after(command, name):
    """The value of an option that is given once."""
    assert command.count(name) == 1
    return command[command.index(name) + 1]


def test_defaults(script):
    options = script.arguments(REQUIRED)
    assert vars(options) == {
        "checkpoint": "best.pt",
        "image": "scan.png",
        "image_dir": None,
        "output": "out",
        "method": "gradcam",
        "target_layer": None,
        "class_idx": None,
        "alpha": 0.5,
        "batch_size": 16,
        "no_cuda": False,
        "verbose": False,
    }


def test_the_script_wraps_pellucid_explain(script):
    command = translated(script, *REQUIRED)
    assert (command[0], command[-2:]) == ("explain", ["--", "scan.png"])
    assert after(command, "--output") == "out"
    assert after(command, "--checkpoint") == "best.pt"
    assert after(command, "--method") == "gradcam"
    assert after(command, "--target") == "predicted"
    assert after(command, "--alpha") == "0.5"
    assert after(command, "--batch-size") == "16"
    assert "--quiet" in command
    assert not {"--layer", "--device", "--overwrite"} & set(command)


def test_every_option(script):
    command = translated(
        script,
        *("--checkpoint", "best.pt", "--image-dir", "scans", "--output", "out", "--method", "gradcam++"),
        *("--target-layer", "layer3.1", "--class-idx", "0", "--alpha", "0.25", "--batch-size", "4"),
        *("--no-cuda", "--verbose"),
    )
    assert (command[0], command[-2:]) == ("explain", ["--", "scans"])
    assert after(command, "--method") == "gradcam++"
    assert after(command, "--layer") == "layer3.1"
    assert after(command, "--target") == "0"
    assert after(command, "--alpha") == "0.25"
    assert after(command, "--batch-size") == "4"
    assert after(command, "--device") == "cpu"
    assert "--quiet" not in command


@pytest.mark.parametrize(
    "given",
    [
        [],
        REQUIRED[2:],
        REQUIRED[:2] + REQUIRED[4:],
        REQUIRED[:4],
        [*REQUIRED, "--image-dir", "scans"],
        [*REQUIRED, "--method", "scorecam"],
        [*REQUIRED, "--class-idx", "one"],
        [*REQUIRED, "--alpha", "much"],
        [*REQUIRED, "--nonsense"],
    ],
)
def test_wrong_usage(script, given, capsys):
    with pytest.raises(SystemExit) as end:
        script.arguments(given)
    assert end.value.code == 2
    assert "usage" in capsys.readouterr().err


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a checkpoint of three classes, and three images, two of which share a stem."""
    made = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    weights = resnet18(num_classes=3).state_dict()
    torch.save({"epoch": 3, "model_state_dict": weights, "best_metric": 0.9}, made / "best.pt")
    (made / "scans").mkdir()
    generator = np.random.default_rng(0)
    for name, size in {"a.png": (40, 30), "a.jpg": (30, 40), "b.png": (20, 20)}.items():
        noise = generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        PIL.Image.fromarray(noise).save(made / "scans" / name)
    return made


def run_script(folder, monkeypatch, capsys, *given):
    """Run the script in this process; returns its exit code, stdout and stderr."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--checkpoint", str(folder / "best.pt"), "--no-cuda", *given])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    printed = capsys.readouterr()
    return end.value.code or 0, printed.out, printed.err


def contents(path):
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in sorted(path.iterdir())}


@pytest.fixture(scope="module")
def first_run(folder):
    """The script on the whole folder, in a process of its own."""
    command = [sys.executable, str(SCRIPT), "--checkpoint", "best.pt", "--image-dir", "scans", "--output", "out"]
    return subprocess.run([*command, "--no-cuda"], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


SIZES = {"a.png": (40, 30), "a.jpg": (30, 40), "b": (20, 20)}


def test_the_files_of_a_run(folder, first_run):
    assert first_run.returncode == 0, first_run.stderr
    assert first_run.stdout == ""  # quiet unless --verbose
    endings = ("heatmap.png", "metadata.json", "overlay.png")
    found = {path.name for path in (folder / "out").iterdir()}
    assert found == {f"{stem}_{ending}" for stem in SIZES for ending in endings}


@pytest.mark.parametrize("stem", SIZES)
def test_the_images_of_a_run(folder, first_run, stem):
    heatmap = read(folder / "out" / f"{stem}_heatmap.png")
    overlay = read(folder / "out" / f"{stem}_overlay.png")
    assert heatmap.size == SIZES[stem]
    assert heatmap.mode == "L"
    assert np.ptp(np.asarray(heatmap)) > 0
    assert overlay.mode == "RGB"
    assert overlay.height >= SIZES[stem][1]
    assert overlay.width >= SIZES[stem][0]


@pytest.mark.parametrize("stem", SIZES)
def test_the_metadata_of_a_run(folder, first_run, stem):
    facts = json.loads((folder / "out" / f"{stem}_metadata.json").read_text(encoding="utf-8"))
    assert {"image", "target_class", "prediction", "heatmap", "overlay"} <= set(facts)
    prediction = facts["prediction"]
    assert {"predicted_class", "confidence", "top_k_classes", "top_k_probs"} <= set(prediction)
    assert Path(facts["image"]).name == (stem if stem != "b" else "b.png")
    assert (facts["heatmap"], facts["overlay"]) == (f"{stem}_heatmap.png", f"{stem}_overlay.png")
    assert facts["target_class"] == prediction["predicted_class"] == prediction["top_k_classes"][0]
    assert sorted(prediction["top_k_classes"]) == [0, 1, 2]
    assert prediction["confidence"] == prediction["top_k_probs"][0] == max(prediction["top_k_probs"])
    assert sum(prediction["top_k_probs"]) == pytest.approx(1, abs=1e-5)
    assert facts["layers"] == ["layer4"]
    assert facts["method"] == "gradcam"
    assert facts["image_sha256"] == hashlib.sha256((folder / facts["image"]).read_bytes()).hexdigest()


def test_nothing_is_overwritten_silently(folder, first_run, monkeypatch, capsys):
    before = contents(folder / "out")
    given = ["--image-dir", str(folder / "scans"), "--output", str(folder / "out")]
    assert run_script(folder, monkeypatch, capsys, *given)[0] == 0  # everything is done
    assert contents(folder / "out") == before
    code, _, errors = run_script(folder, monkeypatch, capsys, *given, "--alpha", "0.8")
    assert code == 3
    assert "there are results of another --alpha" in errors
    assert contents(folder / "out") == before


def test_one_image_with_every_option(folder, tmp_path, monkeypatch, capsys):
    given = ["--image", str(folder / "scans" / "a.png"), "--output", str(tmp_path / "new"), "--method", "gradcam++"]
    given += ["--target-layer", "layer3", "--class-idx", "2", "--alpha", "0.8", "--batch-size", "1", "--verbose"]
    code, table, errors = run_script(folder, monkeypatch, capsys, *given)
    assert code == 0
    statistics, preparation, classes = errors.splitlines()
    assert "has the statistics of a new network" in statistics
    assert preparation.startswith("warning: the checkpoint states no input size, mean and std")
    assert classes.startswith("warning: the checkpoint does not say whether several classes")
    assert "layer3" in table
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "a_heatmap.png",
        "a_metadata.json",
        "a_overlay.png",
    ]
    facts = json.loads((tmp_path / "new" / "a_metadata.json").read_text(encoding="utf-8"))
    assert (facts["target_class"], facts["method"], facts["layers"]) == (2, "gradcam++", ["layer3"])


def test_the_heatmap_equals_gradcams(folder, first_run):
    """The written heatmap is ``GradCAM``'s for the preprocessed image."""
    from pellucid.io import read_image
    from pellucid.models.sources import load_model, model_info

    model = load_model(None, folder / "best.pt")
    image = model_info(model).preprocessing(read_image(folder / "scans" / "b.png"))
    target = json.loads((folder / "out" / "b_metadata.json").read_text(encoding="utf-8"))["target_class"]
    config = GradCAMConfig(["layer4"], use_cuda=False)
    expected = GradCAM(model, config).generate_heatmap(image.values, target)
    whole = image.geometry.restore(torch.from_numpy(expected)[None, None])[0, 0].numpy() * 255
    found = np.asarray(read(folder / "out" / "b_heatmap.png"), dtype=np.float32)
    assert np.abs(found - whole).max() <= 1


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        (["--class-idx", "3"], 2, "3 classes"),
        (["--target-layer", "layer9"], 2, "layer9"),
        (["--alpha", "1.5"], 2, "alpha"),
        (["--batch-size", "0"], 2, "batch_size"),
    ],
)
def test_values_that_are_refused(folder, tmp_path, monkeypatch, capsys, given, code, words):
    paths = ["--image", str(folder / "scans" / "b.png"), "--output", str(tmp_path / "new")]
    found, _, errors = run_script(folder, monkeypatch, capsys, *paths, *given)
    assert found == code
    assert words in errors
    assert not (tmp_path / "new").exists()


def test_an_unreadable_image_among_others(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "good.png").write_bytes((folder / "scans" / "b.png").read_bytes())
    (tmp_path / "scans" / "bad.png").write_bytes(b"nothing")
    given = ["--image-dir", str(tmp_path / "scans"), "--output", str(tmp_path / "out")]
    code, _, errors = run_script(folder, monkeypatch, capsys, *given)
    assert code == 1
    assert "bad.png" in errors
    assert (tmp_path / "out" / "good_overlay.png").exists()
    assert not list((tmp_path / "out").glob("bad*"))


def test_a_missing_image(folder, tmp_path, monkeypatch, capsys):
    code, _, errors = run_script(
        folder, monkeypatch, capsys, "--image", str(tmp_path / "no.png"), "--output", str(tmp_path)
    )
    assert code == 3
    assert "no.png" in errors


def test_a_missing_checkpoint(script, folder, tmp_path, monkeypatch, capsys):
    given = ["--checkpoint", str(tmp_path / "no.pt"), "--image", str(folder / "scans" / "b.png")]
    code, _, errors = run_script(folder, monkeypatch, capsys, *given, "--output", str(tmp_path / "out"))
    assert code in (2, 3)
    assert "no.pt" in errors
    assert not (tmp_path / "out").exists()
