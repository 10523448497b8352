"""The metadata of a map, and the formats png and npz."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.export import Case, find
from pellucid.export.metadata import finite, metadata
from tests.networks import TinyCNN, images, seeded


def case(**more: object) -> Case:
    """An image of 64 × 48, resized to 32 × 24 and explained."""
    pixels, facts = torch.rand(3, 64, 48), {"format": "PNG"}
    source = Image(pixels, pixels, Geometry.identity((64, 48)), facts, digest="ab" * 32)
    values = images(1, side=(32, 24))[0]
    prepared = Image(values, values, source.geometry.resize((32, 24)), source.provenance, source)
    options = {"targets": 1, "method": "hirescam", "classes": ["a", "b", "c", "d"], **more}
    explanation = pellucid.explain(seeded(TinyCNN), values[None], **options)
    return Case("scan", prepared, explanation, model={"spec": "x"})


def read(one: Case, files: dict[str, bytes] | None = None) -> dict[str, object]:
    ((name, content),) = metadata(one, "in/scan.png", files or {}).items()
    assert name == "scan_metadata.json"
    return json.loads(content)


def test_the_facts_of_a_map() -> None:
    one = case()
    found = read(one, {"scan_heatmap.png": b"", "scan_overlay.png": b"", "scan_explanation.npz": b""})
    assert found["image"] == "in/scan.png"
    assert found["image_sha256"] == "ab" * 32
    assert (found["target_class"], found["target_name"], found["method"]) == (1, "b", "hirescam")
    assert (found["heatmap"], found["overlay"]) == ("scan_heatmap.png", "scan_overlay.png")
    assert found["explanation"] == "scan_explanation.npz"
    assert found["model"] == {"spec": "x"}
    assert found["image_provenance"] == {"format": "PNG"}
    assert found["provenance"]["layers"] == found["layers"]
    prediction = found["prediction"]
    chances = one.explanation.probabilities[0]
    assert prediction["top_k_classes"] == chances.argsort(descending=True).tolist()
    assert prediction["top_k_names"][0] == prediction["predicted_name"] == "abcd"[int(chances.argmax())]
    assert prediction["confidence"] == pytest.approx(float(chances.max()))
    assert prediction["head"] == "softmax"


@pytest.mark.parametrize(
    ("grade", "text"),
    [
        (0.94, "blurring the marked 2 % takes away 94 % of what blurring the whole image does"),
        (math.nan, "blurring the whole image does not lower the probability by 0.1: no grade"),
    ],
)
def test_the_grade_of_a_map_is_also_in_words(grade: float, text: str) -> None:
    one = case()
    graded = replace(one.explanation, checks={"grade": torch.tensor([[grade]])})
    found = read(replace(one, explanation=graded))
    worth = None if math.isnan(grade) else "its worth is not measured here"
    assert found["grade"] == {"text": text, "worth": worth}
    assert found["checks"]["grade"] == (None if math.isnan(grade) else pytest.approx(grade))
    assert read(one)["grade"] is None


def test_the_peak_is_a_pixel_of_the_original() -> None:
    one = case()
    found = read(one)
    heat = one.heat()
    assert heat.shape == (64, 48)
    assert found["degenerate"] is None
    assert heat[found["peak"]["row"], found["peak"]["column"]] == heat.max() > 0


def test_an_empty_map_has_no_peak() -> None:
    one = case()
    empty = replace(
        one.explanation,
        degenerate=torch.tensor([[True]]),
        why_degenerate=(("constant",),),
        heatmaps=torch.zeros_like(one.explanation.heatmaps),
    )
    found = read(replace(one, explanation=empty))
    assert (found["degenerate"], found["peak"]) == ("constant", None)


def test_a_callable_has_no_class() -> None:
    found = read(case(targets=lambda logits: logits[:, 0]))
    assert (found["target_class"], found["target_name"]) == (None, "callable")


def test_only_the_first_five_of_many_classes() -> None:
    one = case()
    many = replace(one.explanation, logits=torch.arange(9.0)[None], classes=None)
    assert read(replace(one, explanation=many))["prediction"]["top_k_classes"] == [8, 7, 6, 5, 4]


def test_values_that_json_cannot_hold_are_replaced() -> None:
    one = case()
    bad = replace(one.explanation, logits=torch.full((1, 4), math.nan))
    content = metadata(replace(one, explanation=bad), "\udcff.png", {})["scan_metadata.json"]
    assert b"NaN" not in content
    assert json.loads(content)["image"] == "\udcff.png"
    assert (finite(1), finite(torch.tensor(0.5)), finite(math.inf), finite(math.nan)) == (1.0, 0.5, None, None)


def test_each_map_lists_the_files_that_were_written_of_it() -> None:
    one = case(targets=torch.tensor([[0, 1, 2]]), classes=["a", "a_b", "c", "d"])
    own = {one_map.name: f"{one_map.name}_montage.png" for one_map in one.each()}
    files = dict.fromkeys([*own.values(), "scan_a_heatmap.nii.gz", "scan_sr.dcm"], b"")
    found = {name: json.loads(content)["files"] for name, content in metadata(one, "in/scan.png", files).items()}
    assert found == {
        "scan_a_metadata.json": ["scan_a_montage.png", "scan_a_heatmap.nii.gz", "scan_sr.dcm"],
        "scan_a_b_metadata.json": ["scan_a_b_montage.png", "scan_sr.dcm"],
        "scan_c_metadata.json": ["scan_c_montage.png", "scan_sr.dcm"],
    }


def test_png_is_of_the_original_size() -> None:
    one = case()
    files = find("png")(one)
    assert sorted(files) == ["scan_heatmap.png", "scan_overlay.png"]
    with Pillow.open(io.BytesIO(files["scan_heatmap.png"])) as heat:
        assert (heat.mode, heat.size) == ("L", (48, 64))
        expected = (one.heat() * 255).round().numpy()
        assert np.abs(np.asarray(heat).astype(float) - expected).max() <= 1
    with Pillow.open(io.BytesIO(files["scan_overlay.png"])) as drawn:
        assert drawn.mode == "RGB"
        assert drawn.width > 48
        assert drawn.height >= 64


def test_npz_is_the_explanation() -> None:
    one = case()
    (content,) = find("npz")(one).values()
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        assert np.array_equal(file["attributions"], one.explanation.attributions.numpy())
