"""The habits of other libraries' users are answered in one line, and what it says works."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.transforms import v2

import pellucid
from pellucid.core import catalogue, habits
from pellucid.errors import ArgumentError, LayerError, MethodError, OptionError, ShapeError, TargetError
from pellucid.methods import GradCAM, IntegratedGradients, SmoothGrad
from tests.networks import TinyCNN, images, seeded


class ClassifierOutputTarget:
    """As in pytorch-grad-cam."""

    def __init__(self, category: int) -> None:
        self.category = category

    def __call__(self, output: Tensor) -> Tensor:
        return output[self.category] if output.ndim == 1 else output[:, self.category]


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


X = images(1)


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (lambda m: {"target_layers": [m.features[2]]}, "layers=['features.2']"),
        (lambda m: {"target_layer": "features.2"}, "layers=['features.2']"),
        (lambda m: {"target_category": 3}, "targets=3"),
        (lambda m: {"target": [ClassifierOutputTarget(2)]}, "targets=[2]"),
        (lambda m: {"class_idx": 1}, "targets=1"),
        (lambda m: {"class_names": list("abcd")}, "classes=['a', 'b', 'c', 'd']"),
        (lambda m: {"device": "cpu"}, "runtime=pellucid.Runtime(device='cpu')"),
        (lambda m: {"batch_size": 4}, "runtime=pellucid.Runtime(batch_size=4)"),
    ],
)
def test_an_argument_of_another_library_is_named_here(model: nn.Module, given, written: str) -> None:
    (name,) = given(model)
    with pytest.raises(ArgumentError, match=f"^explain was called with {name}=, which it does not have: ") as caught:
        pellucid.explain(model, X, **given(model))
    assert str(caught.value).endswith(f": write {written}")
    assert isinstance(caught.value, TypeError)
    right = eval(f"dict({written})", {"pellucid": pellucid})
    assert pellucid.explain(model, X, **right).heatmaps.shape == (1, 1, 32, 32)


def test_every_habit_names_an_argument_of_explain() -> None:
    import inspect

    own = set(inspect.signature(pellucid.explain).parameters)
    assert set(habits.ARGUMENTS.values()) <= own
    assert not set(habits.ARGUMENTS) & own


def test_other_arguments_get_near_names(model: nn.Module) -> None:
    with pytest.raises(ArgumentError, match="did you mean layers"):
        pellucid.explain(model, X, layer=["features.2"])
    with pytest.raises(ArgumentError, match="it has model, images, method,"):
        pellucid.explain(model, X, zzz=1)
    with pytest.raises(ArgumentError, match=r"write images=…$"):
        pellucid.explain(model, input_tensor=X)
    with pytest.raises(ArgumentError, match=r"Explainer was called with target_layers=.* layers=\['features\.2'\]"):
        pellucid.Explainer(model, target_layers=[model.features[2]])
    with pytest.raises(ArgumentError, match=r"Explainer was called with target=.*: write targets=3$"):
        pellucid.Explainer(model)(X, target=3)
    with pytest.raises(AttributeError, match=r"no 'attribute'; call it: explainer\(images, targets='predicted'\)"):
        pellucid.Explainer(model).attribute(X, target=3)


def test_modules_as_layers_are_named(model: nn.Module) -> None:
    for layers in ([model.features[2]], (model.features[2],), model.features[2]):
        with pytest.raises(OptionError, match=r"write layers=\['features\.2'\]$"):
            pellucid.explain(model, X, layers=layers)
    with pytest.raises(OptionError, match=r"write layers=\['features\.2'\]$"):
        pellucid.explain(nn.DataParallel(model), X, layers=[model.features[2]])
    with pytest.raises(OptionError, match=r"none of the model's: pellucid\.recommended_layers\(model\)"):
        pellucid.explain(model, X, layers=[nn.ReLU()])
    assert not issubclass(LayerError, OptionError)


def test_targets_of_pytorch_grad_cam(model: nn.Module) -> None:
    with pytest.raises(TargetError, match=r"a ClassifierOutputTarget was given; write the class itself: targets=\[2\]"):
        pellucid.explain(model, X, targets=[ClassifierOutputTarget(2)])
    with pytest.raises(TargetError, match="give one callable for all images"):
        pellucid.explain(model, X, targets=[lambda logits: logits[0]])
    expected = pellucid.explain(model, X, targets=[2])
    alone = pellucid.explain(model, X, targets=ClassifierOutputTarget(2))  # a callable as any other
    torch.testing.assert_close(alone.heatmaps, expected.heatmaps)
    for targets in (np.array([2]), np.array([[2]]), np.int64(2), np.array(2)):
        assert pellucid.explain(model, X, targets=targets).targets.tolist() == [[2]]


@pytest.mark.parametrize(
    ("made", "call"),
    [
        (lambda m: GradCAM(m, [m.features[2]]), "method=GradCAM(), layers=['features.2']"),
        (lambda m: GradCAM(model=m, target_layers=[m.features[2]]), "method=GradCAM(), layers=['features.2']"),
        (lambda m: GradCAM(m), "method=GradCAM()"),
        (lambda m: GradCAM(target_layers=["a"]), "method=GradCAM()"),
        (lambda m: IntegratedGradients(m), "method=IntegratedGradients()"),
    ],
)
def test_a_method_is_created_without_a_model(model: nn.Module, made, call: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        made(model)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(f"write pellucid.explain(model, images, {call})") or "layers=['a']" in text
    written = text.partition("write ")[2].replace("images", "X")
    if "['a']" not in written:
        space = {"pellucid": pellucid, "model": model, "X": X, "GradCAM": GradCAM}
        assert len(eval(written, {**space, "IntegratedGradients": IntegratedGradients})) == 1


def test_options_that_a_method_does_not_have() -> None:
    with pytest.raises(ArgumentError, match=r"SmoothGrad was created with sample=.*; did you mean samples\?"):
        SmoothGrad(GradCAM(), sample=8)
    with pytest.raises(ArgumentError, match=r"zzz=, which it does not have; it has no options$"):
        GradCAM(zzz=1)
    with pytest.raises(TypeError, match="takes 1 positional argument but 2 were given"):
        GradCAM(3)


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("GradCAM", "gradcam"),
        ("Grad-CAM++", "gradcam++"),
        ("GradCAMPlusPlus", "gradcam++"),
        ("grad_cam", "gradcam"),
        ("Score-CAM", "scorecam"),
        ("IntegratedGradients", "integrated_gradients"),
        ("LayerCAM", "layercam"),
    ],
)
def test_methods_by_the_names_of_papers_and_classes(model: nn.Module, asked: str, meant: str) -> None:
    with pytest.raises(MethodError) as caught:
        pellucid.explain(model, X, method=asked)
    assert str(caught.value).endswith(f"; did you mean {meant}?")
    assert meant in pellucid.available_methods()


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("from pellucid import GradCAM", "'GradCAM' from 'pellucid'; did you mean pellucid.methods.GradCAM?"),
        ("from pellucid import explian", "'explian' from 'pellucid'; did you mean explain,"),
        ("from pellucid.methods import GradCam", "from 'pellucid.methods'; did you mean GradCAM?"),
        ("from pellucid.methods import GradCAMPlusplus", "did you mean GradCAMPlusPlus?"),
        ("from pellucid.methods import SmoothGradCAMpp", "write SmoothGrad(GradCAMPlusPlus())"),
        ("from pellucid.metrics import PointGame", "did you mean PointingGame"),
    ],
)
def test_names_that_are_imported(code: str, end: str) -> None:
    with pytest.raises(ImportError) as caught:
        exec(code)
    assert str(caught.value).startswith("cannot import name ")
    assert end in str(caught.value)


def test_names_that_are_looked_up_stay_attribute_errors() -> None:
    with pytest.raises(AttributeError, match=r"^module 'pellucid' has no attribute 'GradCAM'; did you mean pellucid\."):
        _ = pellucid.GradCAM
    assert not hasattr(pellucid.methods, "GradCam")
    assert not hasattr(pellucid.metrics, "PointGame")
    assert not hasattr(pellucid, "_anything")
    assert getattr(pellucid, "zzz", 3) == 3


def test_looking_for_modules_does_not_import_torch() -> None:
    code = "import sys; from pellucid import cli, errors; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"


PAGE = (Path(__file__).parents[1] / "docs" / "coming-from.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(.+?)` \| `(.+?)` \|$", PAGE.partition("## Habits")[2], re.MULTILINE)


@pytest.mark.parametrize(("written", "end"), ROWS)
def test_the_page_of_habits_quotes_the_errors(written: str, end: str) -> None:
    space = {
        "model": resnet18(num_classes=300),
        "x": images(1),
        "explain": pellucid.explain,
        "Explainer": pellucid.Explainer,
        "GradCAM": GradCAM,
        "ClassifierOutputTarget": ClassifierOutputTarget,
    }
    with pytest.raises((pellucid.PellucidError, ImportError, AttributeError)) as caught:
        exec(written, space)
    assert str(caught.value).endswith(end)


def test_the_page_of_habits_has_rows() -> None:
    assert len(ROWS) == PAGE.partition("## Habits")[2].count("\n| `") > 10


@pytest.mark.parametrize(
    ("call", "kind", "written"),
    [
        (
            lambda: IntegratedGradients(steps=2).attribute(X, target=3),
            ArgumentError,
            "pellucid.explain(model, images, method=IntegratedGradients(steps=2, baseline=0.0), targets=3)",
        ),
        (
            lambda: GradCAM().attribute(inputs=X, target=3),
            ArgumentError,
            "pellucid.explain(model, images, method=GradCAM(), targets=3)",
        ),
        (lambda: pellucid.explain(seeded(TinyCNN), X, GradCAM), OptionError, "GradCAM()"),
        (lambda: pellucid.explain(seeded(TinyCNN), X, 3), OptionError, "targets=3"),
    ],
)
def test_captum_s_calls_and_what_is_no_method(model: nn.Module, call, kind: type[Exception], written: str) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value).endswith(f": write {written}")
    names = {"pellucid": pellucid, "model": model, "images": X, "GradCAM": GradCAM}
    code = written if written.startswith("pellucid") else f"pellucid.explain(model, images, {written})"
    assert isinstance(eval(code, names | {"IntegratedGradients": IntegratedGradients}), pellucid.Explanation)


def test_two_letters_are_two_signs(model: nn.Module) -> None:
    with pytest.raises(ImportError, match=r"did you mean GradCAMPlusPlus\?$"):
        exec("from pellucid.methods import GradCAMpp", {})
    with pytest.raises(MethodError, match=r"did you mean gradcam\+\+\?$"):
        pellucid.explain(model, X, "Grad-CAMpp")


def test_an_explainer_s_property_that_fails_shows_its_own_error(model: nn.Module) -> None:
    @dataclass(frozen=True)
    class Failing(GradCAM):
        def __post_init__(self) -> None:
            raise AttributeError("the method's own")

    with catalogue.forgetting(Failing):
        pellucid.register_method("zz_failing")(Failing)
        with pytest.raises(AttributeError, match="the method's own"):
            pellucid.Explainer(model, "zz_failing")


@pytest.mark.parametrize("transform", [v2.Resize(32), v2.Compose([v2.Identity()])], ids=["Resize", "Compose"])
def test_a_transform_that_is_a_module_is_no_model(model: nn.Module, transform: nn.Module) -> None:
    with pytest.raises(ShapeError) as caught:
        pellucid.explain(model, transform)
    code = str(caught.value).partition("give what it returns, ")[2]
    scope = {"pellucid": pellucid, "model": model, "transform": transform, "image": X[0]}
    assert isinstance(eval(code, scope), pellucid.Explanation)


def test_a_dataset_of_any_kind_is_one(model: nn.Module) -> None:
    class Own(pydicom.Dataset):
        """A dataset of the user's."""

    for dataset in (pydicom.Dataset(), Own()):
        with pytest.raises(ShapeError, match="read_image"):
            pellucid.explain(model, dataset)
