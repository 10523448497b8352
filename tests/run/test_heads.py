"""Which of a model's outputs is explained, how it is read, and what is refused."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn, ssdlite320_mobilenet_v3_large

import pellucid
from pellucid import Runtime
from pellucid.core.geometry import Geometry
from pellucid.errors import OptionError, OutputError, ShapeError, TargetError
from pellucid.export import Case
from pellucid.export.metadata import metadata
from tests.networks import TinyCNN, images, seeded

LAYER = ["network.features.3"]


class Returns(nn.Module):
    """A network that returns what ``answer`` makes of its features and scores."""

    def __init__(self, answer: Any, classes: int = 3) -> None:
        super().__init__()
        self.network = seeded(TinyCNN, 2, classes)
        self.answer = answer

    def forward(self, batch: Tensor) -> Any:
        features = self.network.features(batch).mean((2, 3))
        return self.answer(features, self.network.fc(features))


ANSWERS: dict[str, tuple[Any, str | int]] = {
    "a tuple": (lambda features, scores: (features, scores), 1),
    "a tuple by name": (lambda features, scores: (features, scores), "1"),
    "a mapping": (lambda features, scores: {"embedding": features, "disease": scores}, "disease"),
    "one within another": (lambda features, scores: {"age": scores[:, :1], "heads": {"d": scores}}, "heads.d"),
    "one logit an image": (lambda features, scores: {"age": scores[:, 0], "disease": scores}, "disease"),
    "from behind": (lambda features, scores: (features, scores), -1),
}


def explained(model: nn.Module, **options: Any) -> pellucid.Explanation:
    return pellucid.explain(model.eval(), images(2), "hirescam", layers=LAYER, **options)


@pytest.mark.parametrize("name", ANSWERS)
def test_of_several_outputs_one_is_asked_for(name: str) -> None:
    answer, output = ANSWERS[name]
    with pytest.raises(OutputError, match=r"several tensors that may be class scores: .*\(1, 3\).*output=") as caught:
        explained(Returns(answer), targets=1)
    assert "\n" not in str(caught.value)
    found = explained(Returns(answer), targets=1, output=output)
    right = explained(Returns(lambda _, scores: scores), targets=1)
    torch.testing.assert_close(found.attributions, right.attributions)
    torch.testing.assert_close(found.logits, right.logits)


def test_the_remedy_that_the_message_names_works() -> None:
    model = Returns(lambda features, scores: {"embedding": features, "disease": scores})
    with pytest.raises(OutputError) as caught:
        explained(model)
    name = str(caught.value).partition("output='")[2].partition("'")[0]
    assert explained(model, output=name).logits.shape == (2, 3)


def test_an_output_that_there_is_not_is_refused_with_what_there_is() -> None:
    model = Returns(lambda features, scores: {"embedding": features, "disease": scores})
    with pytest.raises(OutputError, match=r"returns embedding \(1, 12\), disease \(1, 3\); did you mean disease"):
        explained(model, output="diseases")
    with pytest.raises(OutputError, match="output 'tokens' was asked for; it is"):
        explained(Returns(lambda features, scores: {"tokens": features[:, None], "s": scores}), output="tokens")
    with pytest.raises(OptionError, match="a name or a position"):
        explained(model, output=1.5)


def test_the_same_tensor_twice_is_one() -> None:
    assert explained(Returns(lambda _, scores: (scores, scores))).logits.shape == (2, 3)


@pytest.mark.parametrize("build", [ssdlite320_mobilenet_v3_large, fasterrcnn_mobilenet_v3_large_320_fpn])
def test_a_detector_is_refused_and_one_box_of_it_explained(build: Any) -> None:
    torch.manual_seed(0)
    detector = build(weights=None, weights_backbone=None, num_classes=3, score_thresh=0.0).eval()
    batch = torch.rand(1, 3, 96, 96)
    with pytest.raises(OutputError, match="it is a detector"):
        pellucid.explain(detector, batch, "saliency")

    class FirstBox(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.detector = detector

        def forward(self, batch: Tensor) -> Tensor:
            return torch.stack([one["scores"][:1] for one in self.detector(batch)])

    found = pellucid.explain(FirstBox().eval(), batch, "saliency", head="probability")
    assert found.logits.shape == (1, 1)
    torch.testing.assert_close(found.logits[0], detector(batch)[0]["scores"][:1])


# Values.


def test_a_value_has_evidence_for_higher_and_for_lower() -> None:
    model = Returns(lambda _, scores: scores * 40, classes=1)
    found = explained(model, head="regression", classes=["bone age (months)"], targets="all")
    assert found.classes == ("lower bone age (months)", "higher bone age (months)")
    torch.testing.assert_close(found.attributions[:, 0], -found.attributions[:, 1])
    value = model(images(2)).detach()
    torch.testing.assert_close(found.values, value, atol=1e-6, rtol=0)
    assert not found.has_probabilities
    assert str(found.prediction(0)) == f"bone age (months), value = {float(value[0]):.4g}"
    with pytest.raises(OptionError, match=r"use \.values"):
        _ = found.probabilities


def test_a_value_is_explained_for_higher_where_nothing_is_said() -> None:
    model = Returns(lambda _, scores: scores, classes=1)
    higher, lower = (explained(model, head="regression", targets=one) for one in ("predicted", "lower"))
    named = explained(model, head="regression", targets="Higher", classes=["risk"])
    torch.testing.assert_close(higher.attributions, named.attributions)
    torch.testing.assert_close(higher.attributions, -lower.attributions)
    assert (higher.label(0), lower.label(0)) == ("higher", "lower")


def test_of_several_values_one_is_named() -> None:
    model = Returns(lambda _, scores: scores, classes=2)
    with pytest.raises(TargetError, match="gives 2 values, none of which is predicted"):
        explained(model, head="regression")
    found = explained(model, head="regression", classes=["age", "weight"], targets="lower weight")
    right = explained(model, targets=lambda output: -output[:, 1])
    torch.testing.assert_close(found.attributions, right.attributions)


def test_a_value_between_0_and_1_by_a_sigmoid_is_the_value() -> None:
    model = Returns(lambda _, scores: scores.sigmoid(), classes=1)
    found = explained(model, head="regression")
    torch.testing.assert_close(found.values, model(images(2)), atol=1e-6, rtol=0)


def test_hazards_of_intervals_and_ranks_are_findings_each() -> None:
    """A discrete hazard or an ordinal rank is a sigmoid of each output: head sigmoid, and the risk is a callable."""
    model = Returns(lambda _, scores: scores.sigmoid())
    found = explained(model, targets=lambda hazards: 1 - (1 - hazards).prod(dim=1))
    torch.testing.assert_close(found.probabilities, model(images(2)), atol=1e-6, rtol=0)
    assert found.attributions.shape[1] == 1


def test_a_callable_gets_one_output_where_the_model_returns_one() -> None:
    model = Returns(lambda _, scores: scores, classes=1)
    found = explained(model, targets=lambda output: output[:, 0])
    assert found.head == "binary"
    torch.testing.assert_close(found.attributions[:, 0], explained(model, targets=1).attributions[:, 0])


def _told(explanation: pellucid.Explanation) -> Any:
    """The prediction in the metadata of the first image."""
    picture = torch.rand(3, 32, 32)
    image = pellucid.Image(picture, picture, Geometry.identity((32, 32)))
    (text,) = metadata(Case("a", image, explanation.one(0), 0.5, "turbo", {}), "a.png", {}).values()
    return json.loads(text)["prediction"]


def test_the_metadata_have_every_probability_or_the_values() -> None:
    model = Returns(lambda _, scores: scores.sigmoid())
    found = torch.tensor(_told(explained(model))["probabilities"])
    torch.testing.assert_close(found, model(images(2))[0].detach(), atol=1e-6, rtol=0)
    value = explained(Returns(lambda _, scores: scores, classes=1), head="regression", classes=["age (y)"])
    assert _told(value) == {"values": {"age (y)": pytest.approx(float(value.values[0]))}, "head": "regression"}


# Images and texts.


class Clip(nn.Module):
    """Scores of images against prompts: one class a prompt."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.vision = nn.Conv2d(3, 8, 8, 8)
        self.text = nn.Embedding(50, 8)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        image = F.normalize(self.vision(pixel_values).relu().mean((2, 3)), dim=-1)
        return image @ F.normalize(self.text(input_ids).mean(1), dim=-1).T


@pytest.mark.parametrize("prompts", [1, 2, 3])
def test_prompts_belong_to_all_images_whatever_the_batch_size(prompts: int) -> None:
    model, batch, ids = Clip().eval(), images(3), torch.arange(5 * prompts).reshape(prompts, 5)
    found = [
        pellucid.explain(
            model, {"pixel_values": batch, "input_ids": ids}, "scorecam", head="sigmoid", runtime=Runtime(batch_size=n)
        )
        for n in (1, 2, 32)
    ]
    for one in found:
        torch.testing.assert_close(one.logits, model(batch, ids))
        torch.testing.assert_close(one.attributions, found[0].attributions)


def test_transformers_clip_is_explained_by_its_prompts() -> None:
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = CLIPTextConfig(vocab_size=60, max_position_embeddings=8, eos_token_id=59, **sizes)
    vision = CLIPVisionConfig(image_size=32, patch_size=8, **sizes)
    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)).eval()
    ids = torch.tensor([[1, 4, 59], [1, 9, 59], [1, 12, 59]])
    found = pellucid.explain(model, {"pixel_values": images(2), "input_ids": ids}, targets="all")
    assert found.heatmaps.shape == (2, 3, 32, 32)
    torch.testing.assert_close(found.logits, model(pixel_values=images(2), input_ids=ids).logits_per_image)


def test_inputs_that_fit_no_image_are_refused_with_their_counts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = seeded(TinyCNN)

        def forward(self, image: Tensor, age: Tensor) -> Tensor:
            return torch.cat([self.network(image), age], dim=1)

    with pytest.raises(ShapeError, match=r"2 images were given with other inputs of \{'age': 3\}") as caught:
        pellucid.explain(Two().eval(), {"image": images(2), "age": torch.zeros(3, 1)}, "saliency")
    assert "\n" not in str(caught.value)
    with pytest.raises(ShapeError, match="name the images first"):
        pellucid.explain(Two().eval(), {"age": torch.zeros(2, 1), "image": images(2)}, "saliency")


# On the command line.


def test_head_and_output_on_the_command_line(tmp_path: Path) -> None:
    from PIL import Image as Pillow
    from typer.testing import CliRunner

    from pellucid.cli.main import app

    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        torch.manual_seed(0)\n"
        "        self.conv = nn.Conv2d(3, 8, 8, 8)\n        self.age, self.disease = nn.Linear(8, 1), nn.Linear(8, 3)\n"
        "    def forward(self, x):\n        f = self.conv(x).relu().mean((2, 3))\n"
        "        return {'age': self.age(f), 'disease': self.disease(f)}\n"
    )
    Pillow.new("RGB", (64, 64), (90, 120, 60)).save(tmp_path / "a.png")
    common = ["explain", str(tmp_path / "a.png"), "--model", f"{tmp_path / 'net.py'}:Net"]
    refused = CliRunner().invoke(app, [*common, "--output", str(tmp_path / "no")])
    assert refused.exit_code == OutputError.exit_code
    assert "age (1, 1), disease (1, 3)" in refused.stderr
    assert not (tmp_path / "no").exists()
    options = ["--model-output", "age", "--head", "regression"]
    done = CliRunner().invoke(app, [*common, "--output", str(tmp_path / "out"), *options, "--json"])
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)["images"][0]
    assert told["value_name"] == "value"
    facts = json.loads((tmp_path / "out" / "a_metadata.json").read_text(encoding="utf-8"))
    assert facts["prediction"]["values"]["value"] == pytest.approx(told["value"])
    wrong = CliRunner().invoke(app, [*common, "--output", str(tmp_path / "no"), "--head", "relu"])
    assert wrong.exit_code == OptionError.exit_code
    assert "there are softmax" in wrong.stderr


# What nothing states.


class Logits(nn.Module):
    """A network with these logits for every image, and a gradient at its first layer."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, len(logits))
        nn.init.constant_(self.fc.weight, 1e-6)
        self.fc.bias = nn.Parameter(torch.tensor(logits))

    def forward(self, batch: Tensor) -> Tensor:
        return self.fc(self.features(batch).relu().mean((2, 3)))


def said_of(model: nn.Module, **options: Any) -> list[str]:
    """What is warned of the head."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pellucid.explain(model, images(2), **options)
    return [str(one.message) for one in caught if "several classes can be present" in str(one.message)]


def test_the_head_of_a_network_of_ones_own_is_said_to_be_assumed_and_both_remedies_end_it() -> None:
    model = Logits(2.0, 2.5, -3.0)
    (text,) = said_of(model)
    assert text == (
        "the model does not say whether several classes can be present at once; one of many is assumed "
        "(head='softmax'): give head='sigmoid' if they can, and head='softmax' if not"
    )
    assert said_of(model, head="sigmoid") == []
    assert said_of(model, head="softmax") == []
    assert len(said_of(nn.DataParallel(model))) == 1
    assert len(said_of(model, runtime=Runtime(batch_size=1))) == 1  # once a call, not once a batch


@pytest.mark.parametrize(
    ("logits", "targets", "is_said"),
    [
        ((9.0, -4.0, -5.0), "predicted", False),  # either way p > 0.99
        ((1.0, -1.0), "predicted", True),  # 0.88 of two classes, 0.73 alone
        ((3.0, -3.0), "predicted", False),
        ((9.0, 4.0, -5.0), "predicted", False),
        ((9.0, 4.0, -5.0), 1, True),  # 0.007 of many, 0.98 as a finding
        ((9.0, 4.0, -5.0), "all", True),
        ((9.0, 4.0, -5.0), lambda scores: scores[:, 2], False),
        ((0.4,), "predicted", False),  # binary
        ((2.0,) * 999, "predicted", True),
        ((2.0,) * 1000, "predicted", False),
    ],
)
def test_the_assumption_is_said_where_it_matters(logits: tuple[float, ...], targets: Any, is_said: bool) -> None:
    assert bool(said_of(Logits(*logits), targets=targets)) is is_said


def test_where_the_head_is_known_nothing_is_said(tmp_path: Path) -> None:
    model = Logits(2.0, 2.5, -3.0)
    assert said_of(nn.Sequential(model, nn.Sigmoid())) == []
    assert said_of(nn.Sequential(model, nn.Softmax(1))) == []
    (tmp_path / "own.py").write_text(
        "import torchvision\n\ndef silent():\n    model = torchvision.models.resnet18(num_classes=3)\n"
        "    model.fc.bias.data.fill_(3.)\n    return model\n\ndef states():\n    model = silent()\n"
        "    model.head = 'sigmoid'\n    return model\n"
    )
    assert len(said_of(pellucid.load_model(f"{tmp_path / 'own.py'}:silent"))) == 1
    assert said_of(pellucid.load_model(f"{tmp_path / 'own.py'}:states")) == []
    drawn = pellucid.load_model("torchvision:resnet18", num_classes=3)
    drawn.fc.bias.data.fill_(3.0)
    assert said_of(drawn) == []


# A softmax of one logit.


def test_the_softmax_of_one_logit_is_refused_everywhere_and_the_remedy_works() -> None:
    model, batch = Logits(0.4), images(2)
    prompted = {"pixel_values": batch, "input_ids": torch.arange(5)[None]}
    calls = [
        lambda: pellucid.explain(model, batch, head="softmax"),
        lambda: pellucid.attack(model, batch.sigmoid(), preprocessing=pellucid.Preprocessing(), head="softmax"),
        lambda: pellucid.evaluate(model, batch, torch.rand(2, 32, 32), head="softmax"),
        lambda: pellucid.explain(Clip().eval(), prompted, "saliency", head="softmax"),
    ]
    for call in calls:
        with pytest.raises(
            OptionError, match=r"at least two outputs, the model gives 1.*give head='binary'$"
        ) as caught:
            call()
        assert "\n" not in str(caught.value)
    assert pellucid.explain(model, batch, head="binary").probabilities.shape == (2, 2)


def test_the_softmax_of_one_logit_is_refused_on_the_command_line(tmp_path: Path) -> None:
    from PIL import Image as Pillow
    from typer.testing import CliRunner

    from pellucid.cli.main import app

    (tmp_path / "own.py").write_text(
        "import torchvision\n\ndef one():\n    return torchvision.models.resnet18(num_classes=1)\n"
    )
    Pillow.new("L", (32, 32), 90).save(tmp_path / "grey.png")
    common = ["explain", str(tmp_path / "grey.png"), "--model", f"{tmp_path / 'own.py'}:one"]
    found = CliRunner().invoke(app, [*common, "--output", str(tmp_path / "out"), "--size", "32", "--head", "softmax"])
    assert found.exit_code == OptionError.exit_code
    assert "at least two outputs, the model gives 1, whose softmax is always 1: give --head binary" in found.stderr


class OfMaps(nn.Module):
    """A network that returns one logit for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def forward(self, batch: Tensor) -> Tensor:
        return self.features(batch)


@pytest.mark.parametrize("model", [Logits(0.4), OfMaps(), nn.Sequential(Logits(0.4), nn.Flatten(0))])
def test_one_logit_of_any_form_has_no_softmax(model: nn.Module) -> None:
    with pytest.raises(OptionError, match="at least two outputs"):
        pellucid.explain(model, images(2), "saliency", head="softmax")


def test_a_network_that_ends_in_a_softmax_of_one_logit_is_refused() -> None:
    model = nn.Sequential(Logits(0.4), nn.Softmax(1))
    for head in ("auto", "softmax", "binary"):
        with pytest.raises(OptionError, match=r"the network itself ends in a softmax; it takes at least two outputs"):
            pellucid.explain(model, images(1), "saliency", head=head)
    assert pellucid.explain(model, images(1), "saliency", head="probability").probabilities == 1


def test_a_stated_softmax_of_one_logit_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torchvision\n\ndef states():\n    model = torchvision.models.resnet18(num_classes=1)\n"
        "    model.head = 'softmax'\n    return model\n"
    )
    model = pellucid.load_model(f"{tmp_path / 'own.py'}:states")
    with pytest.raises(OptionError, match=r"head 'softmax' is stated by the model's source; .* give head='binary'"):
        pellucid.explain(model, images(1))
    assert pellucid.explain(model, images(1), head="binary").head == "binary"
