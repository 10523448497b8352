"""``pellucid explain``: the files it writes, its messages, and its exit codes."""

from __future__ import annotations

import errno
import json
import os
import signal
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid
from typer.testing import CliRunner, Result

import pellucid as library
from pellucid.cli.main import app
from pellucid.core.catalogue import PRIORS
from tests.cli.conftest import command, one_line, process, save, settings, three, written

Explain = Callable[..., Result]
Model = Callable[..., str]


def facts(folder: Path, stem: str) -> dict[str, object]:
    return json.loads((folder / f"{stem}_metadata.json").read_text(encoding="utf-8"))


def bomb(path: Path) -> Path:
    header = b"IHDR" + struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    data += struct.pack(">I", 1000) + b"IDAT" + bytes(1004)
    path.write_bytes(data)
    return path


def dicom(path: Path) -> Path:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.PatientName, made.PatientID, made.PatientBirthDate = "Doe^Jane", "MRN-4711", "19500101"
    made.ReferringPhysicianName, made.InstitutionName, made.AccessionNumber = "Who^Doctor", "Saint Elsewhere", "ACC123"
    made.Modality, made.Rows, made.Columns = "CT", 20, 30
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = np.arange(600, dtype=np.uint16).tobytes()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(path, enforce_file_format=True)
    return path


# Paths of results.


def test_a_folder_is_searched_and_mirrored(explain: Explain, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "in" / "deep" / "er" / "b.jpg")
    save(tmp_path / "in" / ".hidden" / "c.png")
    (tmp_path / "in" / "notes.txt").write_text("no image")
    result = explain(tmp_path / "in")
    assert result.exit_code == 0
    assert result.stderr == f"warning: {tmp_path / 'in'}: 1 file that holds no image was skipped: notes.txt\n"
    assert "2 explained; results are in" in result.stdout
    assert written(tmp_path / "out") == three("a", "deep/er/b")


def test_equal_stems_keep_their_ending(explain: Explain, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png"):
        save(tmp_path / "in" / name)
    assert explain(tmp_path / "in").exit_code == 0
    assert written(tmp_path / "out") == three("a.png", "a.jpg", "b")


def test_equal_names_keep_their_folders(explain: Explain, tmp_path: Path) -> None:
    files = [save(tmp_path / "in" / folder / "x.png", seed=seed) for seed, folder in enumerate("ab")]
    assert explain(*files).exit_code == 0
    assert written(tmp_path / "out") == three("a/x.png", "b/x.png")


def test_results_among_the_images_are_not_explained_again(explain: Explain, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    output = tmp_path / "in" / "results"
    for _ in range(2):
        assert explain(tmp_path / "in", "--overwrite", output=output).exit_code == 0
    assert written(output) == three("a")


def test_results_may_go_above_the_images(explain: Explain, tmp_path: Path) -> None:
    save(tmp_path / "work" / "in" / "a.png")
    assert explain(tmp_path / "work" / "in", output=tmp_path / "work").exit_code == 0
    assert written(tmp_path / "work") == sorted([*three("a"), "in/a.png"])


def test_the_folder_of_the_images_is_no_output(explain: Explain, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    result = explain(tmp_path / "in", output=tmp_path / "in")
    assert result.exit_code == 2
    one_line(result, "it is also an input")
    assert written(tmp_path / "in") == ["a.png"]


def test_existing_results_are_not_replaced(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    assert explain(image).exit_code == 0
    before = {name: (tmp_path / "out" / name).read_bytes() for name in three("a")}
    (tmp_path / "out" / "a_overlay.png").write_bytes(b"mine")
    assert explain(image, "--quiet").exit_code == 0  # this request is done
    (tmp_path / "out" / "a_metadata.json").unlink()
    result = explain(image, "--quiet")
    assert result.exit_code == 3
    one_line(result, "is already there", "--overwrite")
    assert (tmp_path / "out" / "a_overlay.png").read_bytes() == b"mine"
    assert explain(image, "--overwrite").exit_code == 0
    assert {name: (tmp_path / "out" / name).read_bytes() for name in three("a")} == before


def test_a_name_that_is_no_text_is_written(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a.png")
    try:
        (folder / "a.png").rename(folder / "\udcff[red]:cat:.png")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such names")
    result = explain(folder)
    assert result.exit_code == 0
    assert "[red]:cat:.png" in result.stdout
    (meta,) = (tmp_path / "out").glob("*.json")
    assert json.loads(meta.read_text(encoding="utf-8"))["image"].endswith("\udcff[red]:cat:.png")
    assert json.loads(explain(folder, "--json", "--overwrite").stdout)["images"][0]["image"].endswith(":cat:.png")


def test_a_name_with_a_line_break_is_told_of_in_one_line(explain: Explain, tmp_path: Path) -> None:
    path = tmp_path / "a\nb:cat:.png"
    try:
        path.write_text("text")
    except OSError:
        pytest.skip("this file system takes no such names")
    result = explain(path, "-q")
    assert result.exit_code == 3
    assert "b:cat:.png" in one_line(result)


# Contents of results.


def test_images_are_of_the_original_size(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", (200, 150))
    assert explain(image, "--alpha", "0").exit_code == 0
    with Pillow.open(tmp_path / "out" / "a_heatmap.png") as heat:
        assert (heat.size, heat.mode) == ((200, 150), "L")
        assert heat.getextrema()[1] >= 250
    with Pillow.open(tmp_path / "out" / "a_overlay.png") as drawn, Pillow.open(image) as original:
        assert drawn.height > 150  # the caption
        assert drawn.width > 200  # the colour bar
        left = np.asarray(drawn.crop((0, 0, 200, 150)))
        assert np.array_equal(left, np.asarray(original))
        bar = np.asarray(drawn)[:150, 200:].astype(int)
        warm, cold = bar[..., 0] - bar[..., 2] > 100, bar[..., 2] - bar[..., 0] > 100
        assert np.argwhere(warm)[:, 0].mean() < np.argwhere(cold)[:, 0].mean()


def test_the_style_reaches_the_overlay(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    drawn = set()
    for style in ([], ["--colormap", "viridis"], ["--alpha", "0.9"]):
        assert explain(image, *style, "--overwrite").exit_code == 0
        drawn.add((tmp_path / "out" / "a_overlay.png").read_bytes())
    assert len(drawn) == 3


def test_metadata_has_the_published_keys(explain: Explain, model: Model, tmp_path: Path) -> None:
    explain(save(tmp_path / "a.png"), "--target", "nodule")
    found = facts(tmp_path / "out", "a")
    assert found["image"] == str(tmp_path / "a.png")
    assert (found["target_class"], found["target_name"]) == (2, "nodule")
    prediction = found["prediction"]
    assert {"predicted_class", "confidence", "top_k_classes", "top_k_probs"} <= set(prediction)
    assert sorted(prediction["top_k_classes"]) == [0, 1, 2, 3]
    assert prediction["top_k_probs"] == sorted(prediction["top_k_probs"], reverse=True)
    assert sum(prediction["top_k_probs"]) == pytest.approx(1)
    assert prediction["confidence"] == prediction["top_k_probs"][0]
    assert prediction["predicted_class"] == prediction["top_k_classes"][0]
    assert (found["heatmap"], found["overlay"], found["explanation"]) == ("a_heatmap.png", "a_overlay.png", None)
    digest = found["model"].pop("weights_sha256")
    assert len(digest) == 64
    assert found["model"] == {"spec": model(), "weights": None, "checkpoint_sha256": None}
    assert (found["method"], found["layers"]) == ("gradcam", ["features.3"])
    with Pillow.open(tmp_path / "out" / "a_heatmap.png") as heat:
        levels = np.asarray(heat)
    if found["peak"] is not None:
        assert levels[found["peak"]["row"], found["peak"]["column"]] == levels.max()


def test_a_dicom_file_gives_no_patient_away(explain: Explain, tmp_path: Path) -> None:
    assert explain(dicom(tmp_path / "scan.dcm"), "--export", "png,npz").exit_code == 0
    for name in written(tmp_path / "out"):
        content = (tmp_path / "out" / name).read_bytes()
        if name.endswith(".npz"):
            content = str(np.load(tmp_path / "out" / name)["facts"]).encode()
        for secret in (b"Doe", b"Jane", b"4711", b"19500101", b"Who", b"Elsewhere", b"ACC123"):
            assert secret not in content, (name, secret)
    with Pillow.open(tmp_path / "out" / "scan_heatmap.png") as heat:
        assert heat.size == (30, 20)


def test_npz_can_be_loaded(explain: Explain, tmp_path: Path) -> None:
    assert explain(save(tmp_path / "a.png"), "--export", "npz").exit_code == 0
    assert written(tmp_path / "out") == ["a_explanation.npz", "a_metadata.json"]
    loaded = library.load_explanation(tmp_path / "out" / "a_explanation.npz")
    assert loaded.heatmaps.shape == (1, 1, 32, 32)
    assert loaded.attributions.shape == (1, 1, 8, 8)
    assert loaded.classes == ("normal", "effusion", "nodule", "no finding")
    found = facts(tmp_path / "out", "a")
    assert (found["explanation"], found["overlay"]) == ("a_explanation.npz", None)
    explain(save(tmp_path / "b.png"), "--export", "png, npz")
    assert {"b_explanation.npz", "b_overlay.png"} <= set(written(tmp_path / "out"))


def test_methods_can_be_repeated(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), *("--method", "hirescam", "--method", "gradcam", "--method", "gradcam"))
    assert result.exit_code == 0
    assert written(tmp_path / "out") == three("a_gradcam", "a_hirescam")
    assert "hirescam at features" in result.stdout
    assert facts(tmp_path / "out", "a_hirescam")["method"] == "hirescam"


@pytest.mark.parametrize("name", sorted({*PRIORS.names()} - {"mean_mask"}))
def test_a_prior_writes_results_that_say_what_it_is(explain: Explain, tmp_path: Path, name: str) -> None:
    result = explain(save(tmp_path / "a.png"), "--method", name, "--export", "png,npz")
    assert result.exit_code == 0, result.output
    found = facts(tmp_path / "out", "a")
    assert found["method"] == name
    assert "never asks the model" in found["provenance"]["prior"]
    assert ("made from the image alone" in found["provenance"]["prior"]) == (name in ("edges", "darkest", "brightest"))
    assert found["overlay"]


def test_a_mean_mask_is_made_from_a_file_of_masks(explain: Explain, tmp_path: Path) -> None:
    refused = explain(save(tmp_path / "a.png"), "--method", "mean_mask")
    assert refused.exit_code == 2
    assert "without masks" in refused.stderr
    np.save(tmp_path / "masks.npy", np.eye(32, dtype=bool)[None])
    result = explain(tmp_path / "a.png", "--method", "mean_mask", "--set", f"masks={tmp_path / 'masks.npy'}")
    assert result.exit_code == 0, result.output
    assert "SHA-256" in facts(tmp_path / "out", "a")["provenance"]["options"]["masks"]


def test_options_of_methods(explain: Explain, pellucid: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    vit = tmp_path / "vit.py"
    vit.write_text(
        "import timm\ndef make():\n"
        "    m = timm.create_model('vit_tiny_patch16_224', img_size=32, num_classes=3, depth=2)\n"
        "    m.preprocessing = {'size': (32, 32)}\n    return m\n"
    )
    rollout = [image, "--method", "rollout", "--method", "gradcam", "--set"]
    result = explain(*rollout, "head_fusion=max", spec=f"{vit}:make")
    assert result.exit_code == 0, result.stderr
    done = facts(tmp_path / "out", "a_rollout")
    assert done["provenance"]["options"] == {"head_fusion": "max", "discard_ratio": 0.0}
    assert facts(tmp_path / "out", "a_gradcam")["provenance"]["options"] == {}
    for bad, part in {
        "head_fusion=median": "mean, max, min",
        "discard_ratio=much": "must be a number",
        "discard_ratio=2": "below 1",
        "smooth=1": "discard_ratio, head_fusion",
        "head_fusion": "name=value",
        "=3": "name=value",
    }.items():
        result = explain(*rollout, bad, "--overwrite", spec=f"{vit}:make")
        assert result.exit_code == 2
        one_line(result, part)


@pytest.mark.parametrize(
    ("target", "stems"),
    [
        ("all", ["a_effusion", "a_no-finding", "a_nodule", "a_normal"]),
        ("2", ["a"]),
        ("No Finding", ["a"]),
        ("predicted", ["a"]),
    ],
)
def test_targets(explain: Explain, tmp_path: Path, target: str, stems: list[str]) -> None:
    assert explain(save(tmp_path / "a.png"), "--target", target).exit_code == 0
    assert written(tmp_path / "out") == three(*stems)
    classes = {facts(tmp_path / "out", stem)["target_class"] for stem in stems}
    predicted = {facts(tmp_path / "out", stem)["prediction"]["predicted_class"] for stem in stems}
    assert classes == {"all": {0, 1, 2, 3}, "2": {2}, "No Finding": {3}, "predicted": predicted}[target]


@pytest.mark.parametrize("targets", [["nodule", "0"], ["predicted", "nodule", "effusion"]])
def test_several_targets(explain: Explain, tmp_path: Path, targets: list[str]) -> None:
    """A file set for each, in the same manner as for all, and each as for the target alone."""
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png", seed=ord(name))
    together = [option for one in targets for option in ("--target", one)]
    assert explain(tmp_path / "in", *together).exit_code == 0
    alone = {name: [] for name in "ab"}
    for one in targets:
        assert explain(tmp_path / "in", "--target", one, output=tmp_path / one).exit_code == 0
        for name, found in alone.items():
            found += maps(tmp_path / one, name)
    for name, expected in alone.items():
        assert maps(tmp_path / "out", f"{name}_*") == sorted(expected)


def maps(folder: Path, stem: str) -> list[tuple[int, str, bytes]]:
    """The class, its name and the heatmap of each map of an image, sorted."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob(f"{stem}_metadata.json")]
    return sorted((one["target_class"], one["target_name"], (folder / one["heatmap"]).read_bytes()) for one in found)


def test_the_same_target_twice_is_one(explain: Explain, tmp_path: Path) -> None:
    assert explain(save(tmp_path / "a.png"), "--target", "nodule", "--target", "nodule").exit_code == 0
    assert written(tmp_path / "out") == three("a")


def test_all_and_another_target_are_refused(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "--target", "all", "--target", "2")
    assert result.exit_code == 2
    one_line(result, "--target all and --target 2 were given", "give --target all alone")


def test_signed_maps(explain: Explain, model: Model, tmp_path: Path) -> None:
    """A class that everything speaks against is empty without the sign, and blue with it."""
    image = save(tmp_path / "a.png")
    run = partial(explain, image, "--method", "hirescam", "--alpha", "1", "--overwrite", spec=model("negative"))
    plain, signed = [], []
    for options, pixels in (([], plain), (["--signed"], signed)):
        result = run(*options)
        assert result.exit_code == 0
        assert ("is empty" in result.stderr) == (not options)
        with Pillow.open(tmp_path / "out" / "a_overlay.png") as drawn, Pillow.open(image) as original:
            top = (120 - original.height) // 2 if options else 0  # beside a colour bar that is taller
            box = (0, top, original.width, top + original.height)
            pixels += [np.asarray(drawn.crop(box)).astype(int), np.asarray(original).astype(int)]
    assert np.array_equal(*plain)
    drawn, original = signed
    assert (drawn[..., 2] >= original[..., 2]).all()
    assert (drawn[..., 0] <= original[..., 0]).all()
    assert drawn[..., 2].max() == 255


@pytest.mark.parametrize("name", ["gradcam", "eigencam", "smoothgrad"])
def test_methods_without_a_sign_are_not_drawn_signed(explain: Explain, tmp_path: Path, name: str) -> None:
    image = save(tmp_path / "a.png")
    result = explain(image, "--method", name, "--signed")
    assert result.exit_code == 2
    one_line(result, f"those of {name} show no evidence against a class", "hirescam", "occlusion")
    assert not (tmp_path / "out").exists()


def test_a_wrapper_is_drawn_signed_where_what_it_wraps_is(explain: Explain, tmp_path: Path) -> None:
    options = ("--method", "smoothgrad", "--set", "method=input_x_gradient", "--set", "samples=2", "--signed")
    assert explain(save(tmp_path / "a.png"), *options).exit_code == 0


def test_a_colour_map_for_signed_maps_is_refused(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "--method", "hirescam", "--signed", "--colormap", "magma")
    assert result.exit_code == 2
    one_line(result, "'magma'", "red and blue")


def test_classes_of_like_names_do_not_replace_each_other(explain: Explain, model: Model, tmp_path: Path) -> None:
    assert explain(save(tmp_path / "a.png"), "--target", "all", spec=model("alike")).exit_code == 0
    stems = ["a_0-left-right", "a_1-left-right", "a_2-LEFT-right", "a_other"]
    assert written(tmp_path / "out") == three(*stems)
    assert [facts(tmp_path / "out", stem)["target_class"] for stem in stems] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("4", ["class 4", "4 classes, 0 to 3"]),
        ("9" * 30, ["no model has that many"]),
        ("-1", ["class -1", "4 classes, 0 to 3"]),
        ("efusion", ["did you mean effusion"]),
    ],
)
def test_targets_that_are_not_there(explain: Explain, tmp_path: Path, target: str, parts: list[str]) -> None:
    result = explain(save(tmp_path / "a.png"), "--target", target)
    assert result.exit_code == 2
    one_line(result, *parts)
    assert not (tmp_path / "out").exists()


def test_layers_by_name(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    result = explain(image, "--layer", "features.8")
    assert result.exit_code == 2
    one_line(result, "features.8", "did you mean", "features.0")
    fused = ["--layer", "features.3", "--layer", "features.1", "--fuse"]
    assert explain(image, *fused, "max").exit_code == 0
    assert facts(tmp_path / "out", "a")["layers"] == ["features.1", "features.3"]
    assert facts(tmp_path / "out", "a")["provenance"]["fuse"] == "max"
    result = explain(image, *fused, "median", "--overwrite")
    assert result.exit_code == 2
    one_line(result, "mean, max, weighted")


def test_figures_of_a_map_are_in_its_metadata(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    assert explain(image, "--check", "share", "--check", "blur_fall").exit_code == 0
    found = facts(tmp_path / "out", "a")["checks"]
    assert set(found) == {"share", "blur_fall"}
    assert 0 <= found["share"] <= 1
    result = explain(image, "--check", "worth", "--overwrite")
    assert result.exit_code == 2
    one_line(result, "check 'worth' was asked for; there are share, blur_fall, grade")


def test_a_grade_is_in_the_caption_and_needs_probabilities(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    assert explain(image, "--check", "grade").exit_code == 0
    assert facts(tmp_path / "out", "a")["grade"]["text"].startswith("blurring the ")
    with_grade = np.asarray(Pillow.open(tmp_path / "out" / "a_overlay.png")).shape[0]
    assert explain(image, "--overwrite").exit_code == 0
    assert facts(tmp_path / "out", "a")["grade"] is None
    assert with_grade > np.asarray(Pillow.open(tmp_path / "out" / "a_overlay.png")).shape[0], (
        "the caption has more lines"
    )
    result = explain(image, "--check", "grade", "--head", "regression", "--overwrite")
    assert result.exit_code == 2
    one_line(result, "check 'grade' was asked for; head 'regression' has no probabilities: take blur_fall")


def test_layers_of_methods_that_look_at_none(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    alone = ["--layer", "features.3", "--method", "saliency"]
    result = explain(image, *alone, "--method", "occlusion")
    assert result.exit_code == 2
    one_line(result, "--layer features.3 was given; saliency, occlusion look at no layer: leave it out, or add")
    assert not (tmp_path / "out").exists()
    assert explain(image, *alone, "--method", "gradcam").exit_code == 0
    assert facts(tmp_path / "out", "a_gradcam")["layers"] == ["features.3"]
    assert facts(tmp_path / "out", "a_saliency")["layers"] == []


def test_classes_from_a_file(explain: Explain, model: Model, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    names = tmp_path / "names.txt"
    for text in ("w\nx\n\n y \nz\n", '["w", "x", "y", "z"]', "\ufeffw\nx\ny\nz"):
        names.write_text(text, encoding="utf-8")
        result = explain(image, "--classes", names, "--target", "y", "--overwrite", spec=model("plain"))
        assert result.exit_code == 0, result.stderr
        assert facts(tmp_path / "out", "a")["target_class"] == 2
        assert sorted(facts(tmp_path / "out", "a")["prediction"]["top_k_names"]) == ["w", "x", "y", "z"]


def test_classes_that_do_not_fit(explain: Explain, tmp_path: Path) -> None:
    image, names = save(tmp_path / "a.png"), tmp_path / "names.txt"
    for content, part in {
        b"w\nx\n": "the model has 4 classes: give one for each",
        b"[1, 2": "not a JSON list",
        b"\xff": "not a text file",
    }.items():
        names.write_bytes(content)
        result = explain(image, "--classes", names)
        assert result.exit_code == 2
        one_line(result, part)
    result = explain(image, "--classes", tmp_path / "none.txt")
    assert result.exit_code == 2
    one_line(result, "No such file")


# Messages.


def test_json_is_all_there_is(explain: Explain, tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("text")
    save(tmp_path / "in" / "ü.png")
    result = explain(tmp_path / "in", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    one, other, last = found["images"]
    counts = {"explained": 2, "passed_over": 0, "failed": 1, "incomplete": 0, "links": 0}
    assert found["summary"] == {**counts, "output": str(tmp_path / "out")}
    assert set(one) == {
        "image",
        "predicted_class",
        "predicted_name",
        "confidence",
        "explained",
        "layers",
        "files",
        "warnings",
        "refused",
    }
    assert one["layers"] == {"gradcam": ["features.3"]}
    predicted = {"class": one["predicted_class"], "name": one["predicted_name"], "probability": one["confidence"]}
    assert one["explained"] == [predicted]
    assert all(Path(path).is_file() for path in one["files"])
    assert set(other) == {"image", "error"}  # in the images' own order
    assert last["image"].endswith("ü.png")
    one_line(result, "b.png")


def test_json_stays_json_where_the_model_gives_no_numbers(explain: Explain, model: Model, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "--json", spec=model("not_a_number"))

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is no JSON")

    assert json.loads(result.stdout, parse_constant=refuse)["images"][0]["confidence"] is None
    text = (tmp_path / "out" / "a_metadata.json").read_text(encoding="utf-8")
    assert json.loads(text, parse_constant=refuse)["prediction"]["confidence"] is None


def test_quiet_prints_nothing(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "--quiet")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


def test_the_table_shows_the_prediction(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"))
    predicted = facts(tmp_path / "out", "a")["prediction"]
    shown = [f"{predicted['predicted_name']} ({predicted['predicted_class']})", f"{predicted['confidence']:.3f}"]
    assert rows(result) == [["a.png", *shown, *shown, "gradcam at features.3"]]


def rows(result: Result) -> list[list[str]]:
    """The cells of the table, without its head, and without the folder of the images."""
    lines = [line.strip().strip("│|").replace("|", "│") for line in result.stdout.splitlines()]
    cells = [[cell.strip() for cell in line.split("│")] for line in lines if line.count("│") == 5]
    return [[cells_of[0].rpartition("/")[2], *cells_of[1:]] for cells_of in cells if cells_of[0] != "image"]


def test_the_table_shows_each_explained_class_beside_the_prediction(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "--target", "all")
    first, *others = rows(result)
    found = {
        one["target_class"]: one
        for one in (json.loads(path.read_text()) for path in (tmp_path / "out").glob("a_*_metadata.json"))
    }
    predicted = found[0]["prediction"]
    name = f"{predicted['predicted_name']} ({predicted['predicted_class']})"
    assert first[:3] == ["a.png", name, f"{predicted['confidence']:.3f}"]
    assert [row[3:5] for row in (first, *others)] == [
        [f"{one['target_name']} ({index})", f"{one['target_probability']:.3f}"] for index, one in sorted(found.items())
    ]
    assert [row[:3] for row in others] == [["", "", ""]] * 3


def test_a_long_list_of_classes_is_cut(explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.cli.report._MAX_CLASSES", 3)
    result = explain(save(tmp_path / "a.png"), "--target", "all")
    assert len(rows(result)) == 4
    assert "… and 1 more" in result.stdout


@pytest.mark.parametrize(
    ("factory", "reason", "remedy"),
    [("zeros", "constant", "try another layer"), ("negative", "all evidence negative", "hirescam")],
)
def test_an_empty_map_is_warned_of(
    explain: Explain, model: Model, tmp_path: Path, factory: str, reason: str, remedy: str
) -> None:
    result = explain(save(tmp_path / "a.png"), "-q", spec=model(factory))
    assert result.exit_code == 0
    one_line(result, "a.png", "gradcam", reason, remedy, kind="warning")
    found = facts(tmp_path / "out", "a")
    assert (found["degenerate"], found["peak"]) == (reason, None)
    with Pillow.open(tmp_path / "out" / "a_heatmap.png") as heat:
        assert heat.getextrema() == (0, 0)


def test_a_model_without_preprocessing_is_warned_of(explain: Explain, model: Model, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "-q", "--target", "1", spec=model("plain_positive"))
    assert result.exit_code == 0
    one_line(
        result, "224 × 224 pixels, values in [0, 1]", "give --size, --mean and --std", "`preprocessing`", kind="warning"
    )
    assert facts(tmp_path / "out", "a")["image_provenance"]["preprocessing"]["resize"] == [224, 224]


# Errors.


def test_an_empty_folder(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    result = explain(tmp_path / "in")
    assert result.exit_code == 3
    one_line(result, str(tmp_path / "in"), "no image file was found")


def test_one_bad_file_does_not_stop_the_rest(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for name in ("a.png", "c.png", "e.png"):
        save(folder / name)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:400])
    bomb(folder / "d.png")
    result = explain(folder, "--batch-size", "2")
    assert result.exit_code == 1
    assert "3 explained, 2 failed" in result.stdout
    assert written(tmp_path / "out") == three("a", "c", "e")
    short, large = result.stderr.splitlines()
    assert "b.png" in short
    assert "cut short" in short
    assert "d.png" in large
    assert "pixels: make it smaller" in large


@pytest.mark.parametrize("make", ["text", "bomb", "missing", "empty"])
def test_files_that_are_no_images(explain: Explain, tmp_path: Path, make: str) -> None:
    path = tmp_path / "a.png"
    if make == "bomb":
        bomb(path)
    elif make != "missing":
        path.write_text("text" if make == "text" else "")
    result = explain(path, "-q")
    assert result.exit_code == 3
    assert result.stdout == ""
    one_line(result, "a.png")
    assert not (tmp_path / "out").exists()


def test_images_that_the_model_does_not_take(explain: Explain, model: Model, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "-q", "--layer", "features.0", spec=model("grey"))
    assert result.exit_code == 3
    one_line(result, "a.png", "(3, 32, 32)", "takes (B, 1, H, W): prepare it with --channels 1")
    assert explain(tmp_path / "a.png", "-q", "--channels", "1", spec=model("grey")).exit_code == 0


def test_volumes_do_not_stop_the_rest(explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.core.geometry import Geometry
    from pellucid.run import job

    good, volume = save(tmp_path / "a.png"), save(tmp_path / "v.png")
    opened, values = job.open_input, torch.rand(1, 4, 8, 8)
    made = library.Image(values, values, Geometry.identity((4, 8, 8)))
    monkeypatch.setattr(job, "open_input", lambda file, *how: made if file.path == volume else opened(file, *how))
    result = explain(volume, good, "-q")
    assert result.exit_code == 1
    one_line(result, "v.png", "slices")
    assert written(tmp_path / "out") == three("a")


def test_a_checkpoint_that_fits_no_architecture(pellucid: Explain, model: Model, tmp_path: Path) -> None:
    image, file = save(tmp_path / "a.png"), tmp_path / "w.pth"
    torch.save({"some.weight": torch.zeros(3, 5), "some.bias": torch.zeros(3)}, file)
    result = pellucid("explain", image, "--checkpoint", file, "-o", tmp_path / "out")
    assert result.exit_code == 3
    one_line(result, "some.weight", "--model")
    result = pellucid("explain", image, "--checkpoint", file, "--model", model(), "-o", tmp_path / "out")
    assert result.exit_code == 3
    one_line(result, "w.pth")


def test_a_model_without_places(explain: Explain, model: Model, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "-q", spec=model("flat"))
    assert result.exit_code == 3
    one_line(result, "more than one spatial position")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--alpha", "1.5"], ["between 0 and 1"]),
        (["--alpha", "nan"], ["between 0 and 1"]),
        (["--colormap", "jett"], ["jet"]),
        (["--export", "pgn"], ["did you mean png"]),
        (["--method", "gradcan"], ["did you mean", "gradcam"]),
        (["--precision", "int8"], ["float32, bfloat16, float16"]),
        (["--device", "toaster"], ["toaster"]),
        (["--device", "mps:0"], ["mps:0"]),
        (["--batch-size", "0"], ["batch_size"]),
        (["--weights", "some"], ["default"]),
    ],
)
def test_wrong_usage(explain: Explain, tmp_path: Path, options: list[str], parts: list[str]) -> None:
    if options[-1] == "mps:0" and torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    result = explain(save(tmp_path / "a.png"), *options)
    assert result.exit_code == 2
    one_line(result, *parts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spec", ["torchvision:resnet5000", "nothing", "none.py:make", "own.py:other"])
def test_models_that_are_not_there(explain: Explain, model: Model, tmp_path: Path, spec: str) -> None:
    spec = spec.replace("own.py:make", model()).replace("own.py", model().rpartition(":")[0])
    result = explain(save(tmp_path / "a.png"), spec=spec)
    assert result.exit_code == 2
    one_line(result)


def test_no_model_at_all(pellucid: Explain, tmp_path: Path) -> None:
    result = pellucid("explain", save(tmp_path / "a.png"), "-o", tmp_path / "out")
    assert result.exit_code == 2
    one_line(result, "no model was named")


def test_an_output_that_is_a_file(explain: Explain, tmp_path: Path) -> None:
    output = tmp_path / "taken"
    output.write_text("mine")
    for folder in (output, output / "below"):
        result = explain(save(tmp_path / "a.png"), "-q", output=folder)
        assert result.exit_code == 3
        one_line(result, str(output), f"cannot be a folder, {output} is a file: choose another --output")
    assert output.read_text() == "mine"


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_disk(explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    write = Path.write_bytes

    def fill(path: Path, content: bytes) -> int:
        if b'"image"' in content and b"b.png" in content:  # its metadata
            write(path, content[:10])
            raise OSError(code, os.strerror(code))
        return write(path, content)

    for name in ("a.png", "b.png", "c.png"):
        save(tmp_path / "in" / name)
    monkeypatch.setattr(Path, "write_bytes", fill)
    result = explain(tmp_path / "in", "-q")
    assert result.exit_code == 1
    one_line(result, "b.png", os.strerror(code), "--output")
    assert written(tmp_path / "out") == three("a", "c")


def test_precision(explain: Explain, tmp_path: Path) -> None:
    assert explain(save(tmp_path / "a.png"), "--precision", "bfloat16", "--target", "0").exit_code == 0
    assert facts(tmp_path / "out", "a")["provenance"]["runtime"]["precision"] == "bfloat16"


def test_a_class_that_there_is_not_writes_nothing(explain: Explain, tmp_path: Path) -> None:
    done = explain(save(tmp_path / "a.png"), "--target", "9")
    assert done.exit_code == 2
    one_line(done, "class 9")
    assert not (tmp_path / "out").exists()


# As a process.


def test_the_process_ends_with_1_if_some_images_fail(model: Model, tmp_path: Path) -> None:
    """Below are 2, 3 and 130; 0 is that of the README's commands."""
    save(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    base = ("--model", model(), "-o", out)
    (tmp_path / "in" / "b.png").write_text("text")
    some = process("explain", tmp_path / "in", *base, "-q")
    assert some.returncode == 1
    assert one_line(some).count("b.png") == 1
    assert written(out) == three("a")


def test_usage_errors_are_quick_and_end_with_2() -> None:
    done = process("explain", "a.png", "--no-such-option")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT between processes")
def test_an_interrupt_leaves_what_is_finished(model: Model, tmp_path: Path) -> None:
    for index in range(400):
        save(tmp_path / "in" / f"{index:03}.png", seed=index)
    out = tmp_path / "out"
    arguments = ("explain", tmp_path / "in", "--model", model("slow"), "-o", out, "--batch-size", "2")
    child = subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell's background ignores it
        **settings(),
    )
    deadline = time.monotonic() + 240
    try:
        while child.poll() is None and time.monotonic() < deadline and len(list(out.glob("*_metadata.json"))) < 3:
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=120)
    finally:
        if child.poll() is None:
            child.kill()
    assert child.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in errors
    found = written(out)
    stems = sorted({name[:3] for name in found})
    assert 1 <= len(stems) < 400
    assert found == three(*stems)  # whole sets, and no .part
    for name in found:
        if name.endswith(".png"):
            with Pillow.open(out / name) as image:
                image.load()


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX")
def test_a_process_that_may_write_no_more(model: Model, tmp_path: Path) -> None:
    save(tmp_path / "a.png", (200, 150))
    own = command("explain", tmp_path / "a.png", "--model", model(), "-o", tmp_path / "out", "-q")
    limited = ["sh", "-c", 'ulimit -f 4 && exec "$@"', "sh", *own]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=300, check=False, **settings())
    assert done.returncode == 3
    one_line(done, "a.png", "cannot be written to")
    assert written(tmp_path / "out") == []


HELP = """
import sys
from typer.testing import CliRunner
from pellucid.cli.main import app
for command in ([], *([command.callback.__name__] for command in app.registered_commands)):
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output, result.output
print(sorted({"torch", "timm", "torchvision", "numpy", "matplotlib", "pydicom"} & set(sys.modules)))
"""


def test_help_loads_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_version_of_the_process() -> None:
    from importlib.metadata import version

    done = process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"pellucid {version('pellucid')}\n", "")


def test_no_command_shows_the_help(pellucid: Explain) -> None:
    assert "explain" in pellucid().output
    assert "Exit codes" in pellucid("--help").stdout


def test_run_is_the_entry_point(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from pellucid.cli import main

    monkeypatch.setattr(sys, "argv", ["pellucid", "--version"])
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("pellucid ")


def test_an_interrupt_in_this_process(explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.export import writing

    replace = Path.replace

    def interrupted(path: Path, target: Path) -> Path:
        if target.name == "b_heatmap.png":
            raise KeyboardInterrupt
        return replace(path, target)

    assert writing
    monkeypatch.setattr(Path, "replace", interrupted)
    files = [save(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    result = explain(*files, "--batch-size", "1")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "interrupted: finished files are kept"
    assert written(tmp_path / "out") == three("a")  # b's overlay was in place, and was removed


def test_random_weights_are_warned_of(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    arguments = ["explain", str(tmp_path / "a.png"), "--model", "torchvision:squeezenet1_1"]
    result = CliRunner().invoke(app, [*arguments, "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("warning: the weights")]
    assert line.startswith("warning: the weights are random")


def test_what_no_file_can_have_ends_the_run_with_one_line(explain: Explain, tmp_path: Path) -> None:
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png")
    result = explain(tmp_path / "in", "--method", "rollout")
    assert result.exit_code == 3
    assert result.stderr.splitlines() == [result.stderr.strip()]
    assert result.stderr.startswith("error: No attention maps captured")


def test_a_long_table_is_cut(explain: Explain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.cli.report._MAX_ROWS", 2)
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png")
    result = explain(tmp_path / "in")
    assert "… and 1 more, each with its JSON file" in result.stdout
    assert "3 explained; results are in" in " ".join(result.stdout.split())


def test_a_folder_without_a_page(explain: Explain, tmp_path: Path) -> None:
    assert explain(save(tmp_path / "a.png"), "--no-page").exit_code == 0
    assert not {"index.html", "results.csv"} & set(written(tmp_path / "out"))
    assert explain(save(tmp_path / "b.png")).exit_code == 0
    assert {"index.html", "results.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}
