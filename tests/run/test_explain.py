"""``explain``: every form of request, every kind of answer, and what is refused in one line."""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.attribution import Attribution
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import (
    LayerError,
    MethodError,
    NoAttentionError,
    OptionError,
    OutputError,
    PellucidError,
    PellucidWarning,
    ShapeError,
    TargetError,
)
from pellucid.methods.gradcam import GradCAM
from pellucid.run import explain as module
from tests.networks import TinyCNN, TinyViT, images, seeded

EXACT = {"rtol": 0, "atol": 1e-5}
THREE = ["features.0", "features.2", "features.4"]


def same(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    for name in ("heatmaps", "attributions", "logits", "targets", "degenerate"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **EXACT)
    assert one.why_degenerate == other.why_degenerate


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten().float(), other.flatten().float()]))[0, 1])


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


# Targets.


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (2, [[2], [2], [2]]),
        ([0, 3, 1], [[0], [3], [1]]),
        (["c", 3, "A"], [[2], [3], [0]]),
        ("d", [[3], [3], [3]]),
        (torch.tensor([0, 3, 1]), [[0], [3], [1]]),
        (torch.tensor([[0, 1], [3, 3], [1, 2]]), [[0, 1], [3, 3], [1, 2]]),
        ("all", [[0, 1, 2, 3]] * 3),
    ],
)
def test_targets(model: nn.Module, targets: object, expected: list[list[int]]) -> None:
    found = pellucid.explain(model, images(3), "hirescam", targets, classes=["a", "b", "c", "d"])
    assert found.targets.tolist() == expected
    assert found.heatmaps.shape == (3, len(expected[0]), 32, 32)
    assert found.attributions.shape == (3, len(expected[0]), 8, 8)
    for image, row in enumerate(expected):
        for column, index in enumerate(row):
            single = pellucid.explain(model, images(3)[image : image + 1], "hirescam", index)
            torch.testing.assert_close(found.attributions[image, column], single.attributions[0, 0], **EXACT)
            torch.testing.assert_close(found.heatmaps[image, column], single.heatmaps[0, 0], **EXACT)


def test_the_predicted_class(model: nn.Module) -> None:
    found = pellucid.explain(model, images(3))
    torch.testing.assert_close(found.logits, model(images(3)).detach(), **EXACT)
    assert found.targets[:, 0].tolist() == found.logits.argmax(1).tolist()
    same(found, pellucid.explain(model, images(3), targets=found.logits.argmax(1)))


def test_a_callable(model: nn.Module) -> None:
    found = pellucid.explain(model, images(3), "hirescam", lambda logits: logits[:, 1] - logits[:, 2])
    each = pellucid.explain(model, images(3), "hirescam", torch.tensor([[1, 2]] * 3)).attributions
    torch.testing.assert_close(found.attributions[:, 0], each[:, 0] - each[:, 1], **EXACT)
    assert found.targets.tolist() == [[-1]] * 3
    two = pellucid.explain(model, images(3), "hirescam", lambda logits: logits[:, 1:3])
    torch.testing.assert_close(two.attributions, each, **EXACT)


@pytest.mark.parametrize(
    ("targets", "part"),
    [
        (4, "4 classes, 0 to 3"),
        ([0, 1], "2 images"),
        (torch.tensor([0, 1]), "2 images"),
        (torch.tensor(1), "(B,) or (B, K)"),
        (torch.rand(3), "whole numbers"),
        ("d", "give classes="),
        (None, "NoneType"),
        (lambda logits: logits.sum(), "(3,) or (3, K)"),
        (10**30, "no model"),
    ],
)
def test_targets_that_cannot_be(model: nn.Module, targets: object, part: str) -> None:
    refused(TargetError, part, model, images(3), targets=targets)


# Heads and classes.


def test_two_heads_read_the_same_logits(model: nn.Module) -> None:
    soft, single = (pellucid.explain(model, images(2), head=head) for head in ("auto", "sigmoid"))
    assert (soft.head, single.head) == ("softmax", "sigmoid")
    torch.testing.assert_close(soft.probabilities.sum(1), torch.ones(2))
    torch.testing.assert_close(single.probabilities, soft.logits.sigmoid())
    same(soft, single)


@pytest.mark.parametrize("head", ["auto", "binary"])
def test_one_logit_is_two_classes(head: str) -> None:
    model = seeded(TinyCNN, 2, 1).eval()
    batch = images(3)
    logit = model(batch).detach()
    found = pellucid.explain(model, batch, "hirescam", "all", head=head)
    assert found.head == "binary"
    torch.testing.assert_close(found.logits, torch.cat([-logit, logit], 1), **EXACT)
    torch.testing.assert_close(found.probabilities, found.logits.sigmoid())
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(3))
    torch.testing.assert_close(found.attributions[:, 0], -found.attributions[:, 1], **EXACT)
    predicted = pellucid.explain(model, batch, head=head).targets[:, 0]
    assert predicted.tolist() == (logit[:, 0] > 0).long().tolist()
    assert pellucid.explain(model, batch, targets="ill", classes=["well", "ill"]).targets.tolist() == [[1]] * 3


def test_one_logit_may_be_read_as_one_finding() -> None:
    found = pellucid.explain(seeded(TinyCNN, 2, 1), images(1), targets="all", head="sigmoid")
    assert found.logits.shape == (1, 1)
    assert found.heatmaps.shape[1] == 1


def test_heads_that_cannot_be(model: nn.Module) -> None:
    refused(OptionError, "takes one logit, the model gives 4", model, images(1), head="binary")
    refused(OptionError, "softmax, sigmoid, binary, probability, regression and auto", model, images(1), head="relu")


def test_classes(model: nn.Module) -> None:
    assert pellucid.explain(model, images(1), classes=list("abcd")).classes == ("a", "b", "c", "d")
    refused(
        OptionError,
        "2 names were given or are stated by the model's source; the model has 4 classes",
        model,
        images(1),
        classes=["a", "b"],
    )
    refused(OptionError, "got the string 'abcd'", model, images(1), classes="abcd")


# Inputs and answers.


class TwoInputs(nn.Module):
    """Looks at a picture and at the patient's age."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = seeded(TinyCNN)
        self.age = nn.Linear(1, 4)

    def forward(self, picture: Tensor, age: Tensor) -> Tensor:
        return self.cnn(picture) + self.age(age)


def test_a_mapping_of_inputs() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TwoInputs().eval()
    ages = torch.tensor([[20.0], [40.0], [80.0]])
    whole = pellucid.explain(model, {"picture": images(3), "age": ages}, targets=1)
    assert whole.heatmaps.shape == (3, 1, 32, 32)
    torch.testing.assert_close(whole.logits, model(images(3), ages).detach(), **EXACT)
    torch.testing.assert_close(whole.heatmaps, pellucid.explain(model.cnn, images(3), targets=1).heatmaps, **EXACT)
    parts = pellucid.explain(
        model, {"picture": images(3), "age": ages}, targets=1, runtime=pellucid.Runtime(batch_size=2)
    )
    same(whole, parts)


Pair = namedtuple("Pair", ["features", "logits"])


class ModelOutput(OrderedDict):
    """As transformers' answers are: a mapping whose entries are attributes too."""

    def __getattr__(self, name: str) -> object:
        return self[name]


@pytest.mark.parametrize(
    "answer",
    [
        lambda x, features: {"features": features, "logits": x},
        lambda x, features: {"out": x, "aux": x * 2},
        lambda x, features: {"something": x},
        lambda x, features: (x, features),
        lambda x, features: [features, x],
        lambda x, features: Pair(features.mean((2, 3)), x),
        lambda x, features: ModelOutput(loss=None, logits=x, hidden_states=(features, features)),
        lambda x, features: ({"logits": x}, None, 3),
    ],
)
def test_answers(answer: Callable[[Tensor, Tensor], object]) -> None:
    class Answering(TinyCNN):
        def forward(self, x: Tensor) -> object:
            features = self.features(x)
            return answer(self.fc(features.flatten(2).mean(-1)), features)

    plain = pellucid.explain(seeded(TinyCNN), images(2), targets=1)
    same(pellucid.explain(seeded(Answering), images(2), targets=1), plain)


def test_one_score_an_image_without_an_axis() -> None:
    class Scalar(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, 0]

    assert pellucid.explain(seeded(Scalar), images(2)).logits.shape == (2, 2)


@pytest.mark.parametrize("answer", [None, "text", {}, torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)])
def test_answers_without_scores(answer: object) -> None:
    class Silent(TinyCNN):
        def forward(self, x: Tensor) -> object:
            self.features(x)
            return answer

    refused(OutputError, "(B, C)", seeded(Silent), images(2))


# Layers.


def test_layers_come_in_the_networks_order(model: nn.Module) -> None:
    found = pellucid.explain(model, images(2), targets="all", layers=[THREE[2], THREE[0], THREE[1]])
    assert found.layers == tuple(THREE)
    assert list(found.by_layer) == THREE
    torch.testing.assert_close(found.attributions, found.by_layer[THREE[2]].attributions)
    for layer in THREE:
        own = found.by_layer[layer]
        assert own.layers == (layer,)
        same(own, pellucid.explain(model, images(2), targets="all", layers=[layer]))


@pytest.mark.parametrize(
    ("fuse", "by_hand"),
    [
        ("mean", lambda a, b, c: (a + b + c) / 3),
        ("max", lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
        ("weighted", lambda a, b, c: (0.5 * a + 0.75 * b + c) / 2.25),
    ],
)
def test_fusion(model: nn.Module, fuse: str, by_hand: Callable[..., Tensor]) -> None:
    found = pellucid.explain(model, images(2), "hirescam", "all", layers=THREE, fuse=fuse)
    each = [pellucid.explain(model, images(2), "hirescam", "all", layers=[layer]).heatmaps for layer in THREE]
    torch.testing.assert_close(found.heatmaps, by_hand(*each), **EXACT)
    assert found.provenance["fuse"] == fuse


def test_a_fused_map_is_empty_where_all_layers_are(model: nn.Module) -> None:
    batch = images(2)
    batch[0] = float("nan")
    found = pellucid.explain(model, batch, "hirescam", 0, layers=THREE[:2])
    assert found.degenerate.tolist() == [[True], [False]]
    assert found.why_degenerate == (("not finite",), (None,))
    # The last layer has something to say, the first none: it is cut off but for a gradient of zero.
    model.features[1].register_forward_hook(lambda module, given, output: output * 0 + torch.rand_like(output))
    half = pellucid.explain(model, images(1), "hirescam", 0, layers=[THREE[0], THREE[1]])
    assert [bool(own.degenerate) for own in half.by_layer.values()] == [True, False]
    assert half.degenerate.tolist() == [[False]]
    assert half.why_degenerate == ((None,),)
    torch.testing.assert_close(half.heatmaps, half.by_layer[THREE[1]].heatmaps / 2)


def test_one_layers_explanation_is_its_own(model: nn.Module) -> None:
    found = pellucid.explain(model, images(1))
    assert list(found.by_layer) == list(found.layers) == ["features.4"]
    same(found.by_layer["features.4"], found)


@pytest.mark.parametrize(
    ("options", "kind", "part"),
    [
        ({"layers": ["feature.0"]}, LayerError, "did you mean features.0"),
        ({"layers": [""]}, LayerError, "none of that name"),
        ({"layers": "features.0"}, OptionError, "['features.0']"),
        ({"layers": []}, OptionError, "at least one"),
        ({"layers": THREE, "fuse": "median"}, OptionError, "mean, max, weighted"),
        ({"method": "gradcamm"}, MethodError, "did you mean gradcam"),
        ({"method": "rollout", "layers": THREE}, OptionError, "looks at none"),
        ({"method": GradCAM}, OptionError, "a name or a Method"),
        ({"method": None}, OptionError, "a name or a Method"),
        ({"method": "rollout"}, NoAttentionError, "gradcam"),
    ],
)
def test_requests_that_cannot_be(
    model: nn.Module, options: dict[str, object], kind: type[PellucidError], part: str
) -> None:
    refused(kind, part, model, images(1), **options)


@pytest.mark.parametrize(
    ("batch", "part"),
    [
        (images(1)[0], "(3, 32, 32)"),
        (images(0), "at least one image"),
        ((images(1) * 255).to(torch.uint8), "uint8"),
        (images(1).numpy(), "torch.tensor(images)"),
        ([images(1)], "list"),
        (None, "NoneType"),
        ({}, "an empty mapping"),
        ({"x": images(2), "age": torch.zeros(3, 1)}, "shared by all"),
        ({"x": images(2), "age": torch.tensor(3.0)}, "shared by all"),
        ({"x": images(2), "age": 3}, "age: a tensor"),
    ],
)
def test_images_that_cannot_be(model: nn.Module, batch: object, part: str) -> None:
    refused(ShapeError, part, model, batch)


def test_what_is_no_model() -> None:
    refused(OptionError, "got function", lambda x: x, images(1))


def test_an_explainer_refuses_before_any_work(model: nn.Module) -> None:
    for options in ({"method": "gradcamm"}, {"fuse": "median"}, {"head": "relu"}, {"layers": []}):
        with pytest.raises(OptionError):
            pellucid.Explainer(model, **options)


def refused(kind: type[PellucidError], part: str, model: object, batch: object, **options: object) -> None:
    with pytest.raises(kind) as caught:
        pellucid.explain(model, batch, **options)
    assert "\n" not in str(caught.value)
    assert part in str(caught.value), str(caught.value)


# In parts.


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("targets", ["all", [3, 0, 1, 2, 2], torch.tensor([[0, 3]] * 5), "predicted"])
def test_batches_give_what_one_batch_gives(model: nn.Module, size: int, targets: object) -> None:
    whole = pellucid.explain(model, images(5), targets=targets, layers=THREE[:2])
    parts = pellucid.explain(
        model, images(5), targets=targets, layers=THREE[:2], runtime=pellucid.Runtime(batch_size=size)
    )
    same(whole, parts)
    for layer in THREE[:2]:
        same(whole.by_layer[layer], parts.by_layer[layer])


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT])
def test_more_classes_than_fit_a_run(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(kind, 2, 11).eval()
    layer = pellucid.recommended_layers(model, (32, 32))
    passes = []
    model.register_forward_hook(lambda *parts: passes.append(1))
    whole = pellucid.explain(model, images(2), "hirescam", "all", layers=layer)
    assert whole.heatmaps.shape[1] == 11
    for maps in (1, 3):
        monkeypatch.setattr(module, "_MAPS_AN_IMAGE", maps)
        before = len(passes)
        parts = pellucid.explain(
            model, images(2), "hirescam", "all", layers=layer, runtime=pellucid.Runtime(batch_size=2)
        )
        assert len(passes) == before + 1  # one pass, however many runs
        same(whole, parts)
    one_by_one = [pellucid.explain(model, images(2), "hirescam", index, layers=layer) for index in range(11)]
    torch.testing.assert_close(whole.heatmaps, torch.cat([one.heatmaps for one in one_by_one], 1), **EXACT)
    called = pellucid.explain(
        model, images(2), "hirescam", lambda z: z, layers=layer, runtime=pellucid.Runtime(batch_size=2)
    )
    torch.testing.assert_close(called.attributions, whole.attributions, **EXACT)


def test_a_method_that_knows_no_classes_gives_each_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAPS_AN_IMAGE", 1)
    model = seeded(TinyViT)
    found = pellucid.explain(model, images(2), "rollout", "all", runtime=pellucid.Runtime(batch_size=1))
    assert found.heatmaps.shape == (2, 4, 32, 32)
    assert found.layers == ()
    assert found.by_layer == {}
    assert torch.equal(found.heatmaps, found.heatmaps[:, :1].expand(-1, 4, -1, -1))
    assert found.degenerate.shape == (2, 4)
    assert [len(row) for row in found.why_degenerate] == [4, 4]


# Empty maps.


def test_a_picture_that_is_no_number(model: nn.Module) -> None:
    batch = images(3)
    batch[1, 0, 3, 3] = float("nan")
    for method in ("gradcam", "gradcam++", "hirescam"):
        found = pellucid.explain(model, batch, method, 1)
        assert found.heatmaps.isfinite().all()
        assert found.degenerate.tolist()[1] == [True]
        assert found.why_degenerate[1] == ("not finite",)
        assert not found.heatmaps[1].any()
        kept = [0, 2]
        torch.testing.assert_close(
            found.heatmaps[kept], pellucid.explain(model, batch[kept], method, 1).heatmaps, **EXACT
        )


def test_nothing_speaks_for_the_class(model: nn.Module) -> None:
    with torch.no_grad():
        model.fc.weight.abs_().neg_()
    found = pellucid.explain(model, images(2), targets=1)
    assert found.why_degenerate == (("all evidence negative",),) * 2
    assert not found.heatmaps.any()


def test_nothing_tells_places_apart(model: nn.Module) -> None:
    with torch.no_grad():
        model.fc.weight.zero_()
    for layers in (None, THREE):
        found = pellucid.explain(model, images(1), targets=1, layers=layers)
        assert found.why_degenerate == (("constant",),)
        assert found.degenerate.all()
        assert not found.heatmaps.any()


# Runtime.


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", [TinyCNN, TinyViT])
def test_half_precision_is_close(kind: type[nn.Module], precision: str) -> None:
    model = seeded(kind).eval()
    layers = pellucid.recommended_layers(model, (32, 32))
    exact = pellucid.explain(model, images(3), "hirescam", "all", layers=layers)
    half = pellucid.explain(
        model, images(3), "hirescam", "all", layers=layers, runtime=pellucid.Runtime(precision=precision)
    )
    assert half.heatmaps.dtype == half.attributions.dtype == half.logits.dtype == torch.float32
    assert not torch.equal(half.logits, exact.logits)
    assert correlation(half.attributions, exact.attributions) > 0.98
    assert half.provenance["runtime"]["precision"] == precision
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("runtime", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_the_copy_follows_the_weights(model: nn.Module, runtime: Mapping[str, object]) -> None:
    explainer = pellucid.Explainer(model, runtime=pellucid.Runtime(**runtime))
    first = explainer(images(2), 1)
    same(explainer(images(2), 1), first)
    with torch.no_grad():
        model.fc.weight.mul_(-3)
    changed = explainer(images(2), 1)
    assert (changed.logits - first.logits).abs().max() > 0.1
    torch.testing.assert_close(changed.logits, model(images(2)).detach(), rtol=0.05, atol=0.05)
    model.features[3].running_mean.add_(1)
    assert (explainer(images(2), 1).logits - changed.logits).abs().max() > 0.01


def test_channels_last_is_the_same(model: nn.Module) -> None:
    fast = pellucid.explain(model, images(2), targets="all", runtime=pellucid.Runtime(channels_last=True))
    same(fast, pellucid.explain(model, images(2), targets="all"))
    assert all(p.is_contiguous() for p in model.parameters())


def test_provenance_is_plain_and_complete(model: nn.Module) -> None:
    import json

    found = pellucid.explain(model, images(1), runtime=pellucid.Runtime(torch.device("cpu"), batch_size=3, seed=5))
    kept = json.loads(json.dumps(dict(found.provenance)))
    assert kept == found.provenance
    assert kept["runtime"] == {
        "device": "cpu",
        "precision": None,
        "channels_last": False,
        "batch_size": 3,
        "seed": 5,
        "compile": False,
        "keep_memory": False,
    }
    assert kept["agreement_with_float32"] is None
    assert kept["method"] == found.method == "gradcam"
    assert kept["layers"] == ["features.4"]
    assert set(kept["versions"]) == {"pellucid", "torch", "python"}


# What is warned of.


@pytest.fixture
def loaded(tmp_path: Path) -> nn.Module:
    file = tmp_path / "own.py"
    file.write_text(
        "from tests.networks import TinyCNN, seeded\n"
        "def make():\n"
        "    model = seeded(TinyCNN)\n"
        "    model.preprocessing = {'size': 32, 'mean': [0.5] * 3, 'std': [0.25] * 3}\n"
        "    model.classes = ['a', 'b', 'c', 'd']\n"
        "    return model\n"
    )
    return pellucid.load_model(f"{file}:make")


def test_the_range_of_the_images_is_looked_at(loaded: nn.Module, model: nn.Module) -> None:
    for batch, part in ((images(1).sigmoid(), "unnormalised"), (images(1) * 100, "0…255")):
        with pytest.warns(PellucidWarning, match=part) as caught:
            pellucid.explain(loaded, batch, targets="b", head="softmax")
        assert len(caught) == 1
        assert "\n" not in str(caught[0].message)
        assert caught[0].filename == __file__
        pellucid.explain(model, batch, targets=1)  # nothing is known of it: nothing is said
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = pellucid.explain(loaded, F.hardtanh(images(1), -2, 2), targets="b", head="softmax")
    assert found.classes == ("a", "b", "c", "d")


def test_a_models_own_classes_that_do_not_fit_are_refused(loaded: nn.Module) -> None:
    loaded.fc = nn.Linear(12, 3)
    batch = F.hardtanh(images(1), -2, 2)
    refused(OptionError, "4 names were given or are stated", loaded, batch)
    assert pellucid.explain(loaded, batch, classes=list("abc")).classes == ("a", "b", "c")


def test_prepare_needs_to_know_the_model(loaded: nn.Module, model: nn.Module) -> None:
    picture = pellucid.Image(torch.rand(1, 40, 64), torch.rand(1, 40, 64), _identity((40, 64)))
    prepared = pellucid.prepare(loaded, picture)
    assert prepared.values.shape == (3, 32, 51)
    assert prepared.original is picture
    with pytest.raises(PellucidError, match="load_model") as caught:
        pellucid.prepare(model, picture)
    assert "\n" not in str(caught.value)


def _identity(size: tuple[int, int]) -> object:
    from pellucid.core.geometry import Geometry

    return Geometry.identity(size)


def test_positions_past_the_targets_are_deprecated() -> None:
    model, batch = seeded(TinyCNN), images(2)
    wanted = pellucid.explain(model, batch, "gradcam", 1, layers=["features.0"], fuse="max")
    with pytest.warns(DeprecationWarning, match=r"explain takes layers=, fuse= by keyword") as caught:
        found = pellucid.explain(model, batch, "gradcam", 1, ["features.0"], "max")
    assert caught[0].filename == __file__
    assert found.layers == wanted.layers
    assert found.heatmaps.equal(wanted.heatmaps)
    with pytest.warns(DeprecationWarning, match=r"Explainer takes layers= by keyword") as caught:
        explainer = pellucid.Explainer(model, "gradcam", ["features.0"])
    assert caught[0].filename == __file__
    assert explainer == pellucid.Explainer(model, "gradcam", layers=["features.0"])


def test_explain_explainer_and_the_command_line_have_one_order() -> None:
    from pellucid.cli.explain import explain as command

    signature = inspect.signature(pellucid.explain).parameters
    assert list(signature)[:4] == ["model", "images", "method", "targets"]
    keywords = [name for name, one in signature.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keywords == list(signature)[4:]
    explainer = inspect.signature(pellucid.Explainer).parameters
    assert list(explainer) == ["model", "method", *keywords]
    assert [name for name, one in explainer.items() if one.kind is inspect.Parameter.KEYWORD_ONLY] == keywords
    # Options that are repeated or take one value; and --output, which is the folder of the results.
    names = {"layer": "layers", "target": "targets", "model_output": "output", "output": "folder"}
    options = [names.get(name, name) for name in inspect.signature(command).parameters]
    shared = [name for name in options if name in signature]
    assert shared == [name for name in signature if name in shared]
    assert {"method", "targets", "layers", "fuse", "classes", "head", "output"} <= set(shared)


def test_maps_of_channels_are_not_taken_for_maps_of_classes() -> None:
    @dataclass(frozen=True)
    class Wrong(GradCAM):
        def attribute(self, probe, targets):
            activations, gradients = probe.activations_and_gradients(targets)
            return Attribution((activations * gradients).sum(dim=1))

    with pytest.raises(pellucid.PellucidError, match=r"returned maps \(2, 12, 8, 8\); .* 2 images and 1 classes"):
        pellucid.explain(seeded(TinyCNN), images(2), method=Wrong(), targets=1)


ATTRIBUTION = "an Attribution of a tensor (images, classes, *grid) was expected: return Attribution(maps)"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda products: products.sum(dim=2), f"returned Tensor; {ATTRIBUTION}"),
        (lambda products: None, f"returned NoneType; {ATTRIBUTION}"),
        (
            lambda products: Attribution(products.sum(dim=2).numpy()),
            f"returned an Attribution of ndarray; {ATTRIBUTION}",
        ),
        (
            Attribution,
            "returned maps (2, 1, 12, 8, 8); (images, classes, *grid) with 2 images and 1 classes, on a grid",
        ),
        (lambda products: Attribution(products.sum(dim=(2, 3))), "returned maps (2, 1, 8); (images, classes, *grid)"),
    ],
)
def test_a_method_that_returns_no_maps_is_refused(returned: Callable[[Tensor], object], message: str) -> None:
    @dataclass(frozen=True)
    class Wrong(GradCAM):
        def attribute(self, probe, targets):
            activations, gradients = probe.activations_and_gradients(targets)
            return returned(activations * gradients)

    with pytest.raises(ShapeError) as caught:
        pellucid.explain(seeded(TinyCNN), images(2), method=Wrong(), targets=1)
    assert str(caught.value).startswith(f"method 'gradcam' {message}")


@pytest.mark.parametrize(
    "asked",
    [
        lambda probe, targets: probe.activations(),
        lambda probe, targets: probe.activations_and_gradients(targets),
        lambda probe, targets: probe.hvp(targets),
        lambda probe, targets: probe.forward_from_layer(),
    ],
)
def test_a_method_without_layers_gets_nothing_of_one(asked: Callable[[Probe, Targets], object]) -> None:
    @dataclass(frozen=True)
    class Wrong(GradCAM):
        uses_layers = False

        def attribute(self, probe, targets):
            return asked(probe, targets)

    with pytest.raises(LayerError, match=r"the method looks at no layer \(uses_layers = False\): leave"):
        pellucid.explain(seeded(TinyCNN), images(1), method=Wrong(), targets=1)
