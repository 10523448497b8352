"""A checkpoint that was never trained is warned of, by the statistics of its norms; nothing else is."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import resnet18, vit_b_16

import pellucid
from pellucid.models.checkpoints.untrained import untrained
from tests.networks import TinyCNN, trained

State = dict[str, Tensor]


def told(load: Callable[[], object]) -> list[str]:
    """What is warned of untrained weights."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load()
    return [str(one.message) for one in caught if "of a new network" in str(one.message)]


def saved(path: Path, state: object) -> Path:
    torch.save(state, path)
    return path


def stepped(model: nn.Module) -> nn.Module:
    """The network after one batch in training mode."""
    model.train()(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    return model.eval()


@pytest.mark.parametrize("spec", [None, "torchvision:resnet18"])
def test_a_new_networks_file_is_told(tmp_path: Path, spec: str | None) -> None:
    path = saved(tmp_path / "best.pt", {"state_dict": resnet18(num_classes=3).state_dict()})
    (text,) = told(lambda: pellucid.load_model(spec, path))
    assert text == (
        f"{path}: each of its 20 batch norms has the statistics of a new network (mean 0, variance 1), so that it was "
        "hardly trained, and its maps mean nothing: check that this is the trained network's file"
    )
    saved(path, stepped(resnet18(num_classes=3)).state_dict())
    assert told(lambda: pellucid.load_model(spec, path)) == []


def test_architectures_by_name_and_networks_without_norms_are_not_told(tmp_path: Path) -> None:
    assert told(lambda: pellucid.load_model("torchvision:resnet18")) == []
    assert told(lambda: pellucid.load_model("timm:resnet10t")) == []
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=2)
    path = saved(tmp_path / "vit.pt", vit.state_dict())
    assert told(lambda: pellucid.load_model("timm:vit_tiny_patch16_224", path)) == []


def without_counts(state: State) -> State:
    return {key: value for key, value in state.items() if "num_batches" not in key}


def one_changed(key: str, value: float) -> Callable[[State], State]:
    def change(state: State) -> State:
        state[key][-1] = value
        return state

    return change


def changed(key: str, value: float) -> Callable[[State], State]:
    return lambda state: {**state, key: torch.full_like(state[key], value)}


@pytest.mark.parametrize(
    ("change", "is_new"),
    [
        (dict, True),
        (without_counts, True),
        (lambda state: {key: value.half() for key, value in state.items()}, True),
        (changed("bn1.num_batches_tracked", 1), False),
        (changed("layer4.1.bn2.running_mean", 0.01), False),
        (changed("layer4.1.bn2.running_var", 0.99), False),
        (changed("layer1.0.bn1.running_var", torch.nan), False),
        (one_changed("layer1.0.bn1.running_var", 0.99), False),
        (one_changed("bn1.running_mean", 0.01), False),
        (changed("bn1.weight", 0.5), True),  # a constructor may choose weights
    ],
)
def test_what_counts_is_what_a_batch_changes(change: Callable[[State], State], is_new: bool) -> None:
    assert (untrained(change(resnet18().state_dict())) is not None) is is_new


def test_networks_that_do_not_show_it() -> None:
    assert untrained(vit_b_16().state_dict()) is None
    assert untrained(nn.BatchNorm2d(3, track_running_stats=False).state_dict()) is None
    assert untrained({"running_mean": torch.zeros(3)}) is None
    assert untrained({}) is None
    assert untrained(nn.BatchNorm1d(3).state_dict()) == (
        "its batch norm has the statistics of a new network (mean 0, variance 1)"
    )
    assert untrained(TinyCNN(rank=3).state_dict()) is not None
    assert untrained(trained(TinyCNN(rank=3)).state_dict()) is None


FACTORY = """
import pellucid
import torch
from torchvision.models import resnet18

def new():
    return resnet18(num_classes=2)

def of_the_checkpoint():
    return pellucid.load_model("torchvision:resnet18", "best.pt")

def by_name():
    return pellucid.load_model("torchvision:resnet18", num_classes=2)
"""


def test_the_users_own_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(FACTORY)
    (text,) = told(lambda: pellucid.load_model("own.py:new"))
    assert text.startswith("own.py:new: each of its 20 batch norms")
    assert text.endswith("check that the trained network's weights are loaded")
    saved(Path("best.pt"), resnet18(num_classes=2).state_dict())
    (text,) = told(lambda: pellucid.load_model("own.py:of_the_checkpoint"))
    assert text.startswith("best.pt: each")
    assert told(lambda: pellucid.load_model("own.py:by_name")) == []
