"""Every layout of checkpoints loads from a registry as it does by its path, and again once it was saved there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import pellucid
from pellucid.errors import CheckpointError
from tests.models import test_checkpoint_layouts as layouts
from tests.models.registries.helpers import indexed, logits, recorded
from tests.models.registries.published import Published


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return layouts.varied(pellucid.load_model(f"torchvision:{layouts.NAME}", num_classes=layouts.CLASSES))


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def assert_alike(path: Path, expected: nn.Module, version: int | str = 1) -> None:
    """A file loads from a registry as by its path, then again from a version that is saved of it, with no other word.

    The second is told by its record what it is.
    """
    registry = indexed(path.parent, recorded(path.name, version))
    spec = f"registry:{registry.root}/chest@{version}"
    by_path, by_registry = pellucid.load_model(checkpoint=path), pellucid.load_model(spec)
    registry.save("again", by_registry)
    again = registry.load("again")
    for found in (by_registry, again):
        assert pellucid.model_info(found).spec == pellucid.model_info(by_path).spec
        state, same = found.state_dict(), by_path.state_dict()
        assert state.keys() == same.keys()
        assert all(torch.equal(value, same[name]) for name, value in state.items())
    assert pellucid.model_info(by_registry).registered == spec
    torch.testing.assert_close(logits(again, 64), logits(expected, 64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_layouts(trained: nn.Module, tmp_path: Path, layout: str) -> None:
    name, content = layouts.LAYOUTS[layout]
    path = layouts.saved(tmp_path / name, content(trained.state_dict()))
    assert_alike(path, trained, "v2" if layout == "registry" else 1)


@pytest.mark.parametrize("layout", layouts.WRAPPED)
def test_wrapped_layouts(tmp_path: Path, layout: str) -> None:
    own = layouts.varied(layouts.WRAPPED[layout][1]())
    content = {"model_state_dict": own.state_dict(), "config": layouts.Config(), "val_auroc": np.float64(0.9)}
    assert_alike(layouts.saved(tmp_path / "best.pt", content), own)


def test_a_wrapped_vision_transformer(tmp_path: Path) -> None:
    own = layouts.wrapped_transformer()
    layouts.saved(tmp_path / "best.pt", {"model_state_dict": own.state_dict(), "config": layouts.Config()})
    indexed(tmp_path, recorded("best.pt"))
    found = pellucid.load_model(f"registry:{tmp_path}/chest")
    assert pellucid.model_info(found).spec == "torchvision:vit_b_32"
    torch.testing.assert_close(logits(found, 224)[:1], logits(own, 224)[:1], rtol=1e-5, atol=1e-6)


def test_a_pickled_dataclass_as_the_configuration(trained: nn.Module, tmp_path: Path) -> None:
    """The published trainer's own way to save, with an object where a mapping is usual."""
    Published(tmp_path).save("chest", trained, layouts.Config())
    found = pellucid.load_model(f"registry:{tmp_path}/chest")
    assert pellucid.model_info(found).spec == f"torchvision:{layouts.NAME}"
    assert torch.equal(logits(found, 64), logits(trained, 64))


def test_which_of_several_networks(tmp_path: Path, trained: nn.Module) -> None:
    other = layouts.varied(pellucid.load_model(f"torchvision:{layouts.NAME}", num_classes=layouts.CLASSES), seed=2)
    content = {"student": trained.state_dict(), "teacher": other.state_dict()}
    registry = indexed(tmp_path, recorded("best.pt"))
    torch.save(content, tmp_path / "best.pt")
    with pytest.raises(CheckpointError, match=r"chest@1: .*weights_key=.*checkpoint='.*best\.pt'"):
        registry.load("chest")
    for key, expected in (("student", trained), ("teacher", other)):
        found = pellucid.load_model(f"registry:{tmp_path}/chest", weights_key=key)
        assert torch.equal(logits(found, 64), logits(expected, 64))


@pytest.mark.parametrize("between", [nn.GELU(), nn.Dropout()])
def test_what_is_between_the_layers_of_a_head(tmp_path: Path, between: nn.Module) -> None:
    """Weights do not show it: it is asked for, and then kept."""
    own = layouts.varied(layouts.headless("resnet18", "fc"))
    own.fc = nn.Sequential(nn.Linear(512, 8), between, nn.Linear(8, 3)).eval()
    own.fc[0].weight.data.mul_(1e-14)  # else all activations are as large as those of a ReLU
    torch.save(own.state_dict(), tmp_path / "best.pt")
    registry = indexed(tmp_path, recorded("best.pt"))
    name = "none" if isinstance(between, nn.Dropout) else "gelu"
    found = pellucid.load_model(f"registry:{tmp_path}/chest", activation=name)
    assert torch.equal(logits(found), logits(own))
    registry.save("chest", own)
    assert torch.equal(logits(registry.load("chest")), logits(own))
    assert not torch.equal(logits(registry.load("chest", activation="relu")), logits(own))
