"""What weights do not show of a head: the activation that its user states, and fastai's pooling."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from typer.testing import CliRunner, Result

import pellucid
from pellucid import load_model
from pellucid.cli.main import app
from pellucid.errors import CheckpointError, OptionError, PellucidError, PellucidWarning
from pellucid.models.checkpoints.heads import ACTIVATIONS
from pellucid.models.checkpoints.pooling import ConcatPool, Pool, in_a_row, pool_before
from tests.cli.conftest import one_line, save
from tests.models.test_checkpoint_zoo import CLASSES, IMAGE, SPEC, WIDTH, body, mlp, varied

MADE: dict[str, nn.Module] = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "elu": nn.ELU(),
    "selu": nn.SELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "hardswish": nn.Hardswish(),
    "tanh": nn.Tanh(),
    "sigmoid": nn.Sigmoid(),
    "none": nn.Dropout(),
}


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def saved(folder: Path, own: nn.Module) -> Path:
    torch.save({"state_dict": own.state_dict()}, folder / "best.pt")
    return folder / "best.pt"


def silent(load: Callable[[], nn.Module]) -> nn.Module:
    """Load a model, of which nothing is warned."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load()


def assert_equal(found: nn.Module, own: nn.Module, image: Tensor = IMAGE) -> None:
    with torch.no_grad():
        torch.testing.assert_close(found(image), own(image), rtol=1e-6, atol=1e-6)


def test_every_activation_has_a_case() -> None:
    assert list(MADE) == list(ACTIVATIONS)


@pytest.mark.parametrize("name", MADE)
def test_the_activation_that_is_stated_is_between_the_layers(tmp_path: Path, name: str) -> None:
    own = varied(body(mlp(MADE[name])))
    path = saved(tmp_path, own)
    assert_equal(silent(lambda: load_model(SPEC, path, activation=name)), own)
    if name == "gelu":
        assert_equal(silent(lambda: load_model(checkpoint=path, activation=name)), own)
    if name != "relu":
        with pytest.warns(PellucidWarning, match="give activation=…, as in activation='gelu' or 'none', or the net"):
            other = load_model(SPEC, path)
        with pytest.raises(AssertionError):
            assert_equal(other, own)


def test_three_layers_have_the_same_activation_between_them(tmp_path: Path) -> None:
    layers = (nn.Linear(WIDTH, 32), nn.SiLU(), nn.Linear(32, 16), nn.SiLU(), nn.Linear(16, CLASSES))
    own = varied(body(nn.Sequential(*layers)))
    path = saved(tmp_path, own)
    assert_equal(silent(lambda: load_model(checkpoint=path, activation="silu")), own)


def test_what_is_assumed_besides_is_still_told(tmp_path: Path) -> None:
    """A norm shows neither its ε nor on which side of it the activation is."""
    own = varied(body(mlp(nn.BatchNorm1d(16), nn.Tanh())))
    path = saved(tmp_path, own)
    with pytest.warns(PellucidWarning, match=r"is taken for .*Linear\(1024, 16\), BatchNorm1d, Tanh, Linear") as caught:
        found = load_model(checkpoint=path, activation="tanh")
    assert "activation=" not in str(caught[0].message)
    assert_equal(found, own)


@pytest.mark.parametrize(
    ("head", "options", "part"),
    [
        (None, {}, f"activation='gelu' was given; the head is {SPEC}'s own: leave it out"),
        (nn.Sequential(nn.Linear(WIDTH, 16), nn.Linear(16, CLASSES)), {}, "has no place for one: leave it out"),
        (nn.Sequential(nn.Linear(WIDTH, 16), nn.PReLU(), nn.Linear(16, CLASSES)), {}, "has no place for one"),
        (mlp(nn.GELU()), {"activation": "gleu"}, "activation must be one of relu, .*, got 'gleu'; did you mean gelu"),
        (mlp(nn.GELU()), {"activation": nn.GELU}, "activation must be one of relu"),
        (mlp(nn.GELU()), {"activation": ["gelu"]}, "activation must be one of relu"),
        (mlp(nn.GELU()), {"checkpoint": None, "spec": SPEC}, "was given without a checkpoint"),
    ],
)
def test_an_activation_that_is_none_of_the_heads_is_refused(
    tmp_path: Path, head: nn.Module | None, options: dict[str, object], part: str
) -> None:
    path = saved(tmp_path, varied(body(head)))
    with pytest.raises(OptionError, match=part) as caught:
        load_model(**{"checkpoint": path, "activation": "gelu", **options})
    assert "\n" not in str(caught.value)


def pellucid_command(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_line_names_its_option_and_the_factory_keeps_it(tmp_path: Path) -> None:
    own = varied(body(mlp(nn.GELU())))
    path, scan = saved(tmp_path, own), save(tmp_path / "a.png")
    words = ("explain", scan, "--size", "64", "--mean", "0", "--std", "1", "--head", "softmax", "-q", "--overwrite")
    words += ("--output", tmp_path / "out", "--target", "all", "--export", "npz")
    result = pellucid_command(*words, "--checkpoint", path)
    assert "give --activation, as in --activation gelu or 'none', or the network" in result.stderr
    followed = pellucid_command(*words, "--checkpoint", path, "--activation", "gelu")
    assert "is taken for" not in followed.stderr
    found = {file.name: file.read_bytes() for file in (tmp_path / "out").glob("*.npz")}
    made = pellucid_command("init", path, "--activation", "gelu", "--output", tmp_path / "model.py")
    assert made.exit_code == 0, made.stderr
    assert_equal(load_model(f"{tmp_path / 'model.py'}:build"), own)
    again = pellucid_command(*words, "--model", f"{tmp_path / 'model.py'}:build")
    assert again.exit_code == 0, again.stderr
    assert found
    wrong = pellucid_command(*words, "--checkpoint", path, "--activation", "swish")
    assert wrong.exit_code == 2
    one_line(wrong, "must be one of relu")


# fastai.


class AdaptiveConcatPool2d(nn.Module):
    """As fastai.layers: the maximum before the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.ap, self.mp = nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.mp(x), self.ap(x)], 1)


def create_head(features: int, bias: bool = False) -> nn.Sequential:
    """As fastai.vision.learner.create_head by default: two rows of batch norm, dropout, linear layer (and ReLU)."""
    first = [nn.BatchNorm1d(features), nn.Dropout(0.25), nn.Linear(features, 512, bias=bias), nn.ReLU(inplace=True)]
    last = [nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, CLASSES, bias=bias)]
    return nn.Sequential(AdaptiveConcatPool2d(), nn.Flatten(), *first, *last)


def vision_learner(name: str, cut: int, channels: int, bias: bool = False) -> nn.Module:
    """As fastai.vision.learner: the children of an architecture before ``cut``, and the head."""
    children = list(torchvision.models.get_model(name, weights=None).children())
    return nn.Sequential(nn.Sequential(*children[:cut]), create_head(2 * channels, bias))


def calibrated(model: nn.Module) -> nn.Module:
    """A network whose norms have the statistics of a batch: with others the values vanish in a deep one."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1.0
    model.train()(torch.randn(4, 3, 96, 80))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "cut", "channels", "bias"),
    [
        ("resnet18", -2, 512, False),
        ("resnet18", -2, 512, True),  # fastai 1
        ("mobilenet_v3_small", -2, 576, False),
        ("squeezenet1_1", -1, 512, False),
        ("densenet121", -1, 1024, False),
        ("mobilenet_v2", -1, 1280, True),
        ("convnext_tiny", -2, 768, False),
        ("swin_t", -3, 768, False),  # children that flatten follow the pooling
    ],
)
def test_fastais_networks_give_the_same_logits(tmp_path: Path, name: str, cut: int, channels: int, bias: bool) -> None:
    own = calibrated(varied(vision_learner(name, cut, channels, bias)))
    assert next(iter(own.state_dict())).startswith("0.0.")
    assert {"1.2.running_mean", "1.4.weight", "1.6.running_mean", "1.8.weight"} <= own.state_dict().keys()
    torch.save({"model": own.state_dict(), "opt": {"hypers": []}}, tmp_path / "best.pth")  # Learner.save
    with pytest.warns(PellucidWarning, match=r"taken for AdaptiveConcatPool2d \(maximum and mean\), Batch") as caught:
        found = load_model(checkpoint=tmp_path / "best.pth")
    assert len(caught) == 1
    assert pellucid.model_info(found).spec == f"torchvision:{name}"
    image = torch.randn(2, 3, 96, 80)
    assert own(image).std() > 1e-2
    assert_equal(found, own, image)
    explanation = pellucid.explain(found, image, head="softmax")
    torch.testing.assert_close(explanation.logits, own(image).detach(), rtol=1e-5, atol=1e-5)


class TimmBody(nn.Module):
    """As fastai.vision.learner: what one of timm's networks computes before its own head."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.model = timm.create_model(name, num_classes=0)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.forward_features(x)


def timm_learner(name: str, in_a_row: bool = False) -> nn.Module:
    """``in_a_row``: the children before the pooling, as fastai before 2.7 has them."""
    body = TimmBody(name)
    if in_a_row:
        *children, _ = body.model.children()
        return nn.Sequential(nn.Sequential(*children), create_head(2 * body.model.num_features))
    return nn.Sequential(body, create_head(2 * body.model.num_features))


@pytest.mark.parametrize(
    ("name", "spec", "layer"),
    [
        ("convnext_atto", None, "stages"),  # a norm of its head is left in the file
        ("densenet121", None, "features.norm5"),
        ("efficientnet_b0", "timm:efficientnet_b0", "bn2"),
    ],
)
def test_fastais_networks_of_timm(tmp_path: Path, name: str, spec: str | None, layer: str) -> None:
    own = calibrated(varied(timm_learner(name)))
    assert ("0.model.head.norm.weight" in own.state_dict()) == (name == "convnext_atto")
    torch.save({"model": own.state_dict(), "opt": {"hypers": []}}, tmp_path / "best.pth")
    if spec is not None:  # the remedy of its message
        with pytest.raises(CheckpointError, match=f"several architectures|compute differently, {spec}.*choose with sp"):
            load_model(checkpoint=tmp_path / "best.pth")
    with pytest.warns(PellucidWarning, match=r"taken for AdaptiveConcatPool2d \(maximum and mean\), Batch"):
        found = load_model(spec, tmp_path / "best.pth")
    info = pellucid.model_info(found)
    assert (info.spec, info.preprocessing.source.split()[0]) == (f"timm:{name}", "timm")
    image = torch.randn(2, 3, 96, 80)
    assert own(image).std() > 1e-2
    assert_equal(found, own, image)
    assert pellucid.explain(found, image, head="softmax").layers == (layer,)


def test_fastais_networks_of_timm_in_a_row(tmp_path: Path) -> None:
    own = calibrated(varied(timm_learner("convnext_atto", in_a_row=True)))
    path = saved(tmp_path, own)
    with pytest.raises(CheckpointError, match="name it with spec= if a library has it"):
        load_model(checkpoint=path)
    with pytest.warns(PellucidWarning, match="taken for AdaptiveConcatPool2d"):
        found = load_model("timm:convnext_atto", path)
    info = pellucid.model_info(found)
    assert (info.spec, info.preprocessing.source.split()[0]) == ("timm:convnext_atto", "timm")
    assert_equal(found, own, torch.randn(2, 3, 96, 80))


def test_fastais_activation_is_stated_after_a_cut(tmp_path: Path) -> None:
    own = calibrated(varied(vision_learner("squeezenet1_1", -1, 512)))
    own[1][5] = nn.GELU()
    path = saved(tmp_path, own)
    with pytest.warns(PellucidWarning, match=r"Linear\(1024, 512\), GELU, BatchNorm1d, Linear\(512, 5\): what is"):
        found = load_model(checkpoint=path, activation="gelu")
    assert_equal(found, own, torch.randn(2, 3, 96, 80))


def test_the_mean_before_the_maximum_would_be_another_network() -> None:
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(ConcatPool()(x), AdaptiveConcatPool2d()(x))
    torch.testing.assert_close(ConcatPool()(x)[:, :3, 0, 0], x.flatten(2).amax(2))


@pytest.mark.parametrize(
    ("name", "head", "width", "pool"),
    [
        ("resnet18", "fc", 512, Pool("avgpool", 512)),
        ("vgg11_bn", "classifier", 512 * 7 * 7, Pool("avgpool", 512)),
        ("alexnet", "classifier", 256 * 6 * 6, Pool("avgpool", 256)),
        ("efficientnet_b0", "classifier", 1280, Pool("avgpool", 1280)),
        ("densenet121", "classifier", 1024, None),
        ("shufflenet_v2_x0_5", "fc", 1024, None),
        ("googlenet", "fc", 1024, None),  # dropout between
        ("resnet18", "conv1", 512, None),
    ],
)
def test_the_pooling_before_a_head(name: str, head: str, width: int, pool: Pool | None) -> None:
    options = {"init_weights": False} if name == "googlenet" else {}
    with torch.device("meta"):
        model = torchvision.models.get_model(name, weights=None, **options)
    assert pool_before(model, head, width) == pool


def test_a_row_ends_before_the_pooling() -> None:
    convs = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
    row = nn.Sequential(convs[0], nn.Dropout(), convs[1], nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Linear(4, 2))
    assert list(dict(in_a_row(row).named_children())) == ["0", "1", "2", "5"]


def test_a_head_that_something_follows_has_no_pooling_to_replace() -> None:
    row = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(4, 2))
    assert pool_before(row, "2", 4) == Pool("1", 4)
    assert pool_before(nn.Sequential(*row, nn.Linear(2, 2)), "2", 4) is None
    assert pool_before(nn.Sequential(row[0], nn.AdaptiveAvgPool2d(3), row[2]), "2", 4) is None  # 9 cells in 4 features


class Bare(nn.Sequential):
    """A head without flattening, so that its first layer is at 1: another trainer's, of whose pooling nothing shows."""


def other_numbers() -> nn.Module:
    own = vision_learner("resnet18", -2, 512)
    own[1] = Bare(own[1][0], nn.BatchNorm1d(1024), nn.Linear(1024, CLASSES))
    return own


class Rectified(nn.Module):
    """A network of its author's own, with a ReLU that does not show in weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = torchvision.models.densenet121().features, create_head(2048)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).relu())


def between() -> nn.Module:
    """The same as layers in a row."""
    return nn.Sequential(nn.Sequential(torchvision.models.densenet121().features), nn.ReLU(), create_head(2048))


def normed() -> nn.Module:
    """A network of timm's without pooling, which computes the norm of its head."""
    return nn.Sequential(timm.create_model("convnext_atto", num_classes=0, global_pool=""), create_head(640))


@pytest.mark.parametrize(
    ("build", "part"),
    [
        (other_numbers, r"fit torchvision:resnet18 but for the head: .*\(1\.1\.weight, .*is no row of linear layers"),
        (
            Rectified,
            r"fit torchvision:densenet121 but for the head: .*2048 features, two of each channel as after fastai",
        ),
        (
            between,
            r"fit torchvision:densenet121 but for the head: .*2048 features, two of each channel as after fastai",
        ),
        (normed, r"fit timm:convnext_atto but for the head: .*640 features, two of each channel as after fastai"),
    ],
)
def test_what_is_not_known_to_be_fastais_is_refused(tmp_path: Path, build: Callable[[], nn.Module], part: str) -> None:
    path = saved(tmp_path, varied(build()))
    with pytest.raises(CheckpointError, match=part) as caught:
        load_model(checkpoint=path)
    assert "\n" not in str(caught.value)
    assert re.search(r"2 missing \([\w.]+\.bias, [\w.]+\.weight\)", str(caught.value))
    with pytest.raises(PellucidError):
        load_model("torchvision:resnet18", path)
