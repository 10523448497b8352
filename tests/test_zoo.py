"""A fast sample of ``python -m benchmarks.zoo``, and tests of its verdicts."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
import torch
from benchmarks import verdict, workers, zoo
from benchmarks.verdict import Verdict, fault, followed, judged, make_informative, position_of
from benchmarks.zoo_models import of_medicine, of_torchvision, of_transformers
from torch import Tensor, nn

import pellucid
from pellucid.models.sources import base, monai
from tests.networks import TinyCNN, TinyViT, images, seeded

KINDS = [
    *("timm:test_vit", "timm:test_convnext", "timm:test_coatnet", "timm:test_efficientnet", "timm:test_mambaout"),
    *("timm:test_nfnet", "timm:test_byobnet", "timm:crossvit_tiny_240", "timm:deit_tiny_distilled_patch16_224"),
    *("timm:edgenext_xx_small", "timm:efficientformerv2_s0", "timm:gmlp_ti16_224", "timm:levit_128s"),
    *("timm:mobilevit_xxs", "timm:pvt_v2_b0", "timm:swin_tiny_patch4_window7_224", "timm:visformer_tiny"),
    *("torchvision:squeezenet1_1", "hf:segformer"),
    *("xrv:densenet121", "monai:densenet121-3d", "monai:efficientnet-b0"),
]
"""One network of each kind: convolutions, class tokens, windows, branches, gates, volumes."""
OTHERS = [
    *("timm:cait_xxs24_224", "timm:convit_tiny", "timm:hiera_tiny_224", "timm:maxvit_rmlp_pico_rw_256"),
    *("timm:mixer_s32_224", "timm:pit_ti_224", "timm:poolformerv2_s12", "timm:sequencer2d_s", "timm:tiny_vit_5m_224"),
    *("timm:volo_d1_224", "timm:xcit_nano_12_p8_224"),
    *("torchvision:googlenet", "torchvision:inception_v3", "torchvision:maxvit_t", "torchvision:swin_v2_t"),
    *("torchvision:r3d_18", "torchvision:swin3d_t", "monai:resnet18-3d"),
    *("hf:convnextv2", "hf:cvt", "hf:levit", "hf:mobilevitv2", "hf:pvt_v2", "hf:swin"),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("spec", [*KINDS, *(pytest.param(spec, marks=pytest.mark.release) for spec in OTHERS)])
def test_a_network_is_explained_without_naming_a_layer(spec: str) -> None:
    if spec.startswith(("hf:", "xrv:", "monai:")):
        package = {"hf": "transformers", "xrv": "torchxrayvision", "monai": "monai.networks.nets"}
        try:
            base.package(package[spec.partition(":")[0]], spec)
        except pellucid.errors.MissingPackageError:
            pytest.skip("the library is not installed")
    found = judged(spec)
    assert found.passed, found.reason


# Verdicts: wrong maps and layers do not pass.


@pytest.fixture(scope="module")
def found() -> pellucid.Explanation:
    return pellucid.explain(seeded(TinyCNN, 2, 20), images(1), targets="all")


def test_plausible_maps_have_no_fault(found: pellucid.Explanation) -> None:
    assert fault(found, 0.9) is None


def altered(found: pellucid.Explanation, **tensors: Tensor) -> pellucid.Explanation:
    return replace(found, **tensors)


@pytest.mark.parametrize(
    ("change", "position", "text"),
    [
        (lambda e: {"attributions": e.attributions.mean((2, 3), keepdim=True)}, 0.9, "has a single cell"),
        (
            lambda e: {"attributions": e.attributions[:, :, :4]},
            0.9,
            r"\(4, 8\) does not have the proportions of the input",
        ),
        (lambda e: {"heatmaps": e.heatmaps[:, :1].expand_as(e.heatmaps)}, 0.9, "of all classes are the same"),
        (lambda e: {"heatmaps": e.heatmaps * torch.nan}, 0.9, "not finite"),
        (lambda e: {"degenerate": torch.ones_like(e.degenerate)}, 0.9, "0 of 20 maps are not empty"),
        (lambda e: {}, 0.3, "in the first half"),
    ],
)
def test_faults_are_found(found: pellucid.Explanation, change, position: float, text: str) -> None:
    unproven = {"provenance": {**found.provenance, "share": None}}
    problem = fault(altered(found, **unproven, **change(found)), position)
    assert problem is not None
    assert __import__("re").search(text, problem)


def test_the_position_of_a_layer() -> None:
    model = seeded(TinyCNN)
    assert position_of(model, images(1), "features.0") == 0
    assert position_of(model, images(1), "features.4") == pytest.approx(4 / 8)


def test_an_untrained_network_is_made_informative() -> None:
    model = seeded(TinyCNN)
    nn.init.zeros_(model.fc.weight)
    assert pellucid.explain(model, images(1), targets=0).degenerate.all()
    make_informative(model, images(2))
    assert not model.training
    assert not pellucid.explain(model, images(1), targets="all").degenerate.all()
    norm = model.features[3]
    assert norm.momentum == 0.1
    with torch.no_grad():
        out = norm(model.features[2](model.features[1](model.features[0](images(2)))))
    assert out.mean().abs() < 0.2


def test_changes_are_followed_if_the_layout_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = seeded(TinyViT, 2, 4, 1, 64).eval(), images(1, side=64)
    assert followed(model, batch, "blocks.0.norm1") == 9
    assert followed(seeded(TinyCNN), images(1), "features.3") is None
    changed = verdict._changed
    # As with a transposed layout: a change at (x, y) appears at (y, x).
    monkeypatch.setattr(verdict, "_changed", lambda images, y, x: changed(images, x, y))
    assert followed(model, batch, "blocks.0.norm1") == 3, "those on the diagonal"


# Networks that take long, crash or fail.


def judge(spec: str) -> Verdict:
    """A stand-in for ``judged`` in a worker process."""
    if spec == "crash":
        os._exit(1)
    if spec == "hang":
        time.sleep(600)
    return Verdict(True, layer=spec)


@pytest.mark.release
def test_networks_that_hang_or_crash_fail_alone() -> None:
    specs = ["one", "crash", "hang", "two"]
    found = dict(workers.judgements(specs, limit=8.0, workers=2, judge=judge))
    assert (found["one"].layer, found["two"].layer) == ("one", "two")
    assert found["hang"].reason == "took more than 8 s"
    assert "the process ended" in found["crash"].reason
    assert not found["hang"].passed
    assert not found["crash"].passed


def test_a_network_that_cannot_be_built_is_a_row() -> None:
    assert judged("timm:no_such_network").reason.startswith("SourceError")


def test_verdicts_are_stored_and_tabulated(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "FILE", tmp_path / "zoo.json")
    rows = {
        "torchvision:a": Verdict(True, "", "layer4", (7, 7), 0.98, 0.5, 10, geometry=""),
        "torchvision:c": Verdict(True, "", "a.x", (7, 7), 0.98, 0.5, 10, None, 3, 0.956, "a.x#2: axis 1 from 64 to 0"),
        "timm:b": Verdict(False, "the grid (1, 1) has a single cell", "head", (1, 1), 0.9, 0.5, 10, 4),
        "hf:imagegpt": Verdict(False, "SourceError: no image"),
    }
    zoo.Zoo(rows, ["timm:b"], ["timm:b"]).keep()
    kept = zoo.Zoo.read()
    assert kept == zoo.Zoo(rows, ["timm:b"], ["timm:b"])
    page = zoo.page(kept)
    assert "| torchvision, images and videos | 2 of 2 |" in page
    assert "- `hf:imagegpt`: takes a sequence of colour indices" in page
    assert "- `timm:b`: the grid (1, 1) has a single cell" in page
    assert "| torchvision:a | `layer4` | 7 × 7 |  | whole image | 0.98 |  | 0.5 |" in page
    assert "| torchvision:c | `a.x` and 2 more | 7 × 7 | 0.96 | a.x#2: axis 1 from 64 to 0 | 0.98 |  | 0.5 |" in page
    assert "| timm:b, not explained | `head` | 1 × 1 |  |  | 0.90 | 4 of 9 | 0.5 |" in page


def test_the_zoo_lists_classifiers_of_every_library_and_no_other_networks() -> None:
    found = [*of_torchvision(), *of_medicine()]
    assert {"torchvision:resnet18", "torchvision:r3d_18", "monai:vit-3d", "monai:efficientnet-b0"} <= set(found)
    assert {spec.partition(":")[0] for spec in found} == {"torchvision", "xrv", "monai"}
    assert not any(part in spec for spec in found for part in ("deeplab", "fcn", "rcnn", "raft"))
    assert len(set(found)) == len(found)
    assert {name.rstrip("0123456789") for name in monai.CLASSES} == {
        spec.removeprefix("monai:").rstrip("0123456789") for spec in found if "monai" in spec and "-3d" not in spec
    }
    assert {spec for spec in zoo.WHY if spec.startswith("hf:")} <= set(of_transformers())
