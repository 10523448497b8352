"""Torch's default device is the user's business: results do not depend on it, and it is there again afterwards.

The default here is "meta", whose tensors hold no values: whatever was made there by mistake fails at once.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack

import pellucid
from pellucid import phantom, xai
from pellucid.core import default_device
from pellucid.core.default_device import on_cpu_by_default
from tests.contract.test_methods import METHODS, explained, kinds, network, plain, tolerance
from tests.models.test_concurrency import dropped, interrupted
from tests.networks import TinyCNN, images, seeded

ELSEWHERE = torch.device("meta")


def current() -> torch.device:
    """The default device; ``torch.get_default_device`` of torch 2.6 knows none that is set by ``with``."""
    return torch.empty(0).device


class Making(TinyCNN):
    """Makes a tensor that names no device in its forward, as networks do that build a mask or a grid."""

    def forward(self, x: Tensor) -> Tensor:
        self.made = torch.zeros(3)
        return super().forward(x)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return phantom.exclusive_cnn_64()


@pytest.fixture(scope="module")
def drawn() -> phantom.Phantoms:
    return phantom.radiographs(12, 64, seed=3, exclusive=True)


@pytest.fixture(scope="module")
def prepared(model: nn.Module, drawn: phantom.Phantoms) -> Tensor:
    return pellucid.model_info(model).preprocessing.normalise(drawn.images)


@pytest.mark.parametrize("name", METHODS)
def test_maps_do_not_depend_on_it(name: str) -> None:
    kind = kinds(name)[-1]
    model, batch = network(kind), images(2)
    with ELSEWHERE:
        found = explained(model, name, batch)
    torch.testing.assert_close(found.heatmaps, plain(name, kind).heatmaps, rtol=0, atol=tolerance(name))


@pytest.mark.parametrize("call", [pellucid.explain, on_cpu_by_default(pellucid.explain)], ids=["", "within another"])
def test_the_network_sees_the_callers(call: Callable[..., object]) -> None:
    own, batch = seeded(Making).eval(), images(2)
    seen: list[str] = []
    own.register_forward_hook(lambda module, *_: seen.append(module.made.device.type))
    with ELSEWHERE:
        call(own, batch, "gradcam", 1)
    assert set(seen) == {"meta"}
    pellucid.explain(own, batch, "gradcam", 1)
    assert seen[-1] == "cpu"


def test_a_callable_target_sees_the_callers() -> None:
    own, batch, seen = seeded(TinyCNN).eval(), images(2), []

    def score(logits: Tensor) -> Tensor:
        seen.append(current())
        return logits[:, 1]

    with ELSEWHERE:
        pellucid.explain(own, batch, "saliency", score)
    assert set(seen) == {ELSEWHERE}


def test_it_is_found_where_torch_does_not_report_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch 2.6 does within ``with``."""
    monkeypatch.setattr(torch, "get_default_device", lambda: torch.device("cpu"))
    with ELSEWHERE:
        assert on_cpu_by_default(torch.zeros)(1).device == torch.device("cpu")


def image_file(folder: Path, drawn: phantom.Phantoms) -> Path:
    path = folder / "a.png"
    Pillow.fromarray((drawn.images[0, 0] * 255).byte().numpy()).save(path)
    return path


CALLS: dict[str, Callable[[nn.Module, Tensor, phantom.Phantoms, Path], object]] = {
    "evaluate": lambda model, x, drawn, _: pellucid.evaluate(
        model, x[:2], "gradcam", targets=1, masks=drawn.masks[:2].any(1), metrics=["deletion_auc", "iou"]
    )["iou"],
    "compare": lambda model, x, *_: pellucid.compare(
        *(pellucid.explain(model, x[:2], name, 1) for name in ("gradcam", "saliency")), metrics=["ssim", "spearman"]
    )["ssim"],
    "attack": lambda model, x, *_: pellucid.attack(model, x[:2], "pgd").pixels,
    "choose": lambda model, x, *_: pellucid.choose(model, x, candidates=["gradcam", "saliency"], full=False).reason,
    "prior": lambda model, x, *_: pellucid.explain(model, x[:2], "edges", 1).heatmaps,
    "read_image": lambda model, x, drawn, folder: pellucid.read_image(image_file(folder, drawn)).pixels,
    "prepare": lambda model, x, drawn, folder: (
        pellucid.prepare(model, pellucid.read_image(image_file(folder, drawn))).values
    ),
    "overlay": lambda model, x, drawn, _: [
        one.tobytes() for one in pellucid.overlay(pellucid.explain(model, x[:2], "gradcam", 1), drawn.images[:2])
    ],
    "radiographs": lambda *_: phantom.radiographs(2, 64, seed=1).images,
    "marked": lambda model, x, drawn, _: phantom.marked(drawn, "letter", drawn.labels.any(1)).images,
    "bundled network": lambda *_: next(iter(phantom.cnn().parameters())),
    "change": lambda model, x, drawn, _: pellucid.changes.Rotation(10).changed(drawn.images[:2], [1, 2]),
    "recommended_layers": lambda model, *_: pellucid.recommended_layers(model),
    "load_model": lambda *_: next(iter(pellucid.load_model("pellucid.phantom:cnn").parameters())),
    "registry": lambda model, x, drawn, folder: next(iter(registered(folder).load("a").parameters())),
    "restore": lambda model, x, *_: CROPPED.restore(x[:1, :, 2:-2, 2:-2]),
    "source_point": lambda *_: CROPPED.source_point((3, 4)),
    "inverse": lambda *_: CROPPED.inverse(),
    "visible": lambda *_: pellucid.changes.Rotation(10).visible((8, 8)),
    "range_warning": lambda model, x, *_: pellucid.model_info(model).preprocessing.range_warning(x * 300),
    "published Grad-CAM": lambda model, x, *_: xai.create_gradcam(model).generate_heatmap(x[:1]).tobytes(),
    "published PGD": lambda model, x, *_: xai.PGDAttack(model).generate(x[:1], 1),
}
CROPPED = pellucid.Geometry.identity((64, 64)).crop((2, 2), (60, 60))


def registered(folder: Path) -> pellucid.ModelRegistry:
    registry = pellucid.ModelRegistry(folder)
    if not list(folder.iterdir()):
        registry.save("a", pellucid.load_model("torchvision:squeezenet1_1", num_classes=2))
    return registry


@pytest.mark.parametrize("name", CALLS)
def test_no_call_depends_on_it(
    name: str, model: nn.Module, prepared: Tensor, drawn: phantom.Phantoms, tmp_path: Path
) -> None:
    expected = CALLS[name](model, prepared, drawn, tmp_path)
    with ELSEWHERE:
        found = CALLS[name](model, prepared, drawn, tmp_path)
        assert current() == ELSEWHERE
    if isinstance(found, Tensor):
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    else:
        assert found == expected


def test_it_is_there_again_after_an_error() -> None:
    @on_cpu_by_default
    def failing() -> None:
        assert current().type == "cpu"
        raise ValueError("as asked")

    with ELSEWHERE:
        with pytest.raises(ValueError, match="as asked"):
            failing()
        assert current() == ELSEWHERE


@dropped
def test_it_is_there_again_after_an_interrupt_at_any_bytecode() -> None:
    call = on_cpu_by_default(lambda: None)
    with ELSEWHERE:
        call()
        before = _get_current_function_mode_stack()
        for at in range(1, interrupted(call)):
            interrupted(call, at)
            assert _get_current_function_mode_stack() == before
            assert default_device._CALLER.device is None
