"""A fast sample of ``python -m benchmarks.zoo``, and what its verdicts are worth."""

from __future__ import annotations

import os
import time
from dataclasses import replace

import pytest
import torch
from benchmarks import workers, zoo
from benchmarks.verdict import Verdict, fault, followed, judged, place, stirred
from benchmarks.zoo_models import of_medicine, of_torchvision, of_transformers
from torch import Tensor, nn

import pellucid
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.sources import base
from tests.networks import TinyCNN, TinyViT, images, seeded

SAMPLE = [
    *("timm:test_vit", "timm:test_convnext", "timm:test_coatnet", "timm:test_efficientnet", "timm:test_mambaout"),
    *("timm:test_nfnet", "timm:test_byobnet", "timm:cait_xxs24_224", "timm:convit_tiny", "timm:crossvit_tiny_240"),
    *("timm:deit_tiny_distilled_patch16_224", "timm:edgenext_xx_small", "timm:efficientformerv2_s0"),
    *("timm:gmlp_ti16_224", "timm:hiera_tiny_224", "timm:levit_128s", "timm:maxvit_rmlp_pico_rw_256"),
    *("timm:mixer_s32_224", "timm:mobilevit_xxs", "timm:pit_ti_224", "timm:poolformerv2_s12", "timm:pvt_v2_b0"),
    *("timm:sequencer2d_s", "timm:swin_tiny_patch4_window7_224", "timm:tiny_vit_5m_224", "timm:volo_d1_224"),
    *("timm:xcit_nano_12_p8_224", "timm:visformer_tiny"),
    *("torchvision:googlenet", "torchvision:inception_v3", "torchvision:maxvit_t", "torchvision:squeezenet1_1"),
    *("torchvision:swin_v2_t", "torchvision:r3d_18", "torchvision:swin3d_t"),
    *("hf:convnextv2", "hf:cvt", "hf:levit", "hf:mobilevitv2", "hf:pvt_v2", "hf:segformer", "hf:swin"),
    *("xrv:densenet121", "monai:densenet121-3d", "monai:efficientnet-b0", "monai:resnet18-3d"),
]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.filterwarnings("ignore")  # the libraries' own
@pytest.mark.parametrize("spec", SAMPLE)
def test_a_network_is_explained_without_naming_a_layer(spec: str) -> None:
    if spec.startswith(("hf:", "xrv:", "monai:")):
        package = {"hf": "transformers", "xrv": "torchxrayvision", "monai": "monai.networks.nets"}
        try:
            base.package(package[spec.partition(":")[0]], spec)
        except pellucid.errors.MissingPackageError:
            pytest.skip("the library is not installed")
    verdict = judged(spec)
    assert verdict.passed, verdict.reason
    assert verdict.position >= 0.5


# What a verdict is worth: maps and layers that are wrong do not pass.


@pytest.fixture(scope="module")
def found() -> pellucid.Explanation:
    return pellucid.explain(seeded(TinyCNN, 2, 20), images(1), targets="all")


def test_maps_that_are_maps_have_no_fault(found: pellucid.Explanation) -> None:
    assert fault(found, 0.9) is None


def altered(found: pellucid.Explanation, **tensors: Tensor) -> pellucid.Explanation:
    return replace(found, **tensors)


@pytest.mark.parametrize(
    ("change", "position", "text"),
    [
        (lambda e: {"attributions": e.attributions.mean((2, 3), keepdim=True)}, 0.9, "has one place"),
        (lambda e: {"attributions": e.attributions[:, :, :4]}, 0.9, r"\(4, 8\) is not shaped as the input"),
        (lambda e: {"heatmaps": e.heatmaps[:, :1].expand_as(e.heatmaps)}, 0.9, "of all classes are the same"),
        (lambda e: {"heatmaps": e.heatmaps * torch.nan}, 0.9, "not finite"),
        (lambda e: {"degenerate": torch.ones_like(e.degenerate)}, 0.9, "0 of 20 maps show something"),
        (lambda e: {}, 0.3, "in the first half"),
    ],
)
def test_faults_are_found(found: pellucid.Explanation, change, position: float, text: str) -> None:
    problem = fault(altered(found, **change(found)), position)
    assert problem is not None
    assert __import__("re").search(text, problem)


def test_where_a_layer_finishes() -> None:
    model = seeded(TinyCNN)
    assert place(model, images(1), "features.0") == 0
    assert place(model, images(1), "features.4") == pytest.approx(4 / 8)


def test_what_is_stirred_lets_signals_through() -> None:
    model = seeded(TinyCNN)
    nn.init.zeros_(model.fc.weight)
    assert pellucid.explain(model, images(1), targets=0).degenerate.all()
    stirred(model, images(2))
    assert not model.training
    assert not pellucid.explain(model, images(1), targets="all").degenerate.all()
    norm = model.features[3]
    assert norm.momentum == 0.1
    with torch.no_grad():
        out = norm(model.features[2](model.features[1](model.features[0](images(2)))))
    assert out.mean().abs() < 0.2


def test_changes_are_followed_where_the_layout_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = seeded(TinyViT, 2, 4, 1, 64).eval(), images(1, side=64)
    assert followed(model, batch, "blocks.0.norm1") == 9
    assert followed(seeded(TinyCNN), images(1), "features.3") is None
    plain = ModelProfile.layout

    def turned(self, name: str, module: nn.Module):
        layout = plain(self, name, module)
        order = torch.arange(64).reshape(8, 8).T.flatten().tolist()
        return layout and replace(layout, order=tuple(order))

    monkeypatch.setattr(ModelProfile, "layout", turned)
    assert followed(model, batch, "blocks.0.norm1") == 3, "only what lies on the diagonal"


# What may take long, crash, or fail.


def told(spec: str) -> Verdict:
    """What stands in for ``judged`` in a process of its own."""
    if spec == "crash":
        os._exit(1)
    if spec == "hang":
        time.sleep(600)
    return Verdict(True, layer=spec)


def test_networks_that_hang_or_crash_cost_their_rows() -> None:
    specs = ["one", "crash", "hang", "two"]
    found = dict(workers.judgements(specs, limit=8.0, workers=2, judge=told))
    assert (found["one"].layer, found["two"].layer) == ("one", "two")
    assert found["hang"].reason == "took more than 8 s"
    assert "the process ended" in found["crash"].reason
    assert not found["hang"].passed
    assert not found["crash"].passed


def test_what_cannot_be_built_is_a_row() -> None:
    assert judged("timm:no_such_network").reason.startswith("SourceError")


def test_what_is_judged_is_kept_and_shown(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "FILE", tmp_path / "zoo.json")
    rows = {
        "torchvision:a": Verdict(True, "", "layer4", (7, 7), 0.98, 0.5, 10),
        "timm:b": Verdict(False, "the grid (1, 1) has one place", "head", (1, 1), 0.9, 0.5, 10, 4),
        "hf:perceiver": Verdict(False, "the layer is in the first half of the network (0.01)"),
    }
    zoo.Zoo(rows, ["timm:b"], ["timm:b"]).keep()
    kept = zoo.Zoo.read()
    assert kept == zoo.Zoo(rows, ["timm:b"], ["timm:b"])
    page = zoo.page(kept)
    assert "| torchvision, pictures and videos | 1 of 1 |" in page
    assert "- `hf:perceiver`: its latents have no place" in page
    assert "- `timm:b`: the grid (1, 1) has one place" in page
    assert "| torchvision:a | `layer4` | 7 × 7 | 0.98 |  | 0.5 |" in page
    assert "| timm:b, not explained | `head` | 1 × 1 | 0.90 | 4 of 9 | 0.5 |" in page


def test_which_networks_there_are() -> None:
    assert len([spec for spec in of_torchvision() if spec.startswith("torchvision:")]) == 80 + 9
    assert len(of_medicine()) == 16
    assert {spec for spec in zoo.WHY if spec.startswith("hf:")} <= set(of_transformers())
