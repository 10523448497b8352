"""A choice on a small trained network, its controls, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import phantom
from pellucid.choosing.fillings import named
from pellucid.choosing.grading import grades
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import DELETION, measured, wholes
from pellucid.choosing.pairs import gradient_methods, groups_of, layers_to_try, pairs_of, perturbing_methods
from pellucid.choosing.passes import those_that_apply
from pellucid.choosing.stages import FIRST
from pellucid.choosing.subjects import Subjects
from pellucid.core.choice import Choice, GradedPair
from pellucid.core.inputs import Inputs
from pellucid.core.metric import METRICS
from pellucid.core.replacement import References
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import DataError, OptionError, OutputExistsError, PellucidError, ShapeError, WriteError
from pellucid.metrics import PointingGame
from pellucid.models.discovery.layers import recommended
from pellucid.models.session.session import Session
from pellucid.phantom.models import untrained
from tests.networks import TinyCNN, TinyViT

METHODS = ("gradcam", "hirescam", "layercam", "saliency")


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return phantom.exclusive_cnn_64()


@pytest.fixture(scope="module")
def drawn() -> phantom.Phantoms:
    return phantom.radiographs(48, 64, seed=777_000, exclusive=True)


@pytest.fixture(scope="module")
def images(model: nn.Module, drawn: phantom.Phantoms) -> Tensor:
    """Those that show a finding, prepared."""
    return pellucid.model_info(model).preprocessing.normalise(drawn.images[drawn.labels.any(1)])


@pytest.fixture(scope="module")
def classes(drawn: phantom.Phantoms) -> Tensor:
    return drawn.labels[drawn.labels.any(1)].int().argmax(1) + 1


@pytest.fixture(scope="module")
def found(model: nn.Module, images: Tensor, classes: Tensor) -> Choice:
    return pellucid.choose(model, images, targets=classes, candidates=METHODS, full=False)


def test_the_choice_hits_more_often_than_convention(
    model: nn.Module, images: Tensor, classes: Tensor, drawn: phantom.Phantoms, found: Choice
) -> None:
    """Masks, which were not asked for, agree: on a network that learnt from labels alone."""
    masks = drawn.masks[drawn.labels.any(1)][torch.arange(len(classes)), classes - 1]
    rates = []
    for method, layers in ((found.method, found.layers), ("gradcam", None)):
        explained = pellucid.explain(model, images, method, classes, layers=layers)
        scores = pellucid.evaluate(model, images, explained, masks=masks, metrics=[PointingGame(tolerance=2)])
        rates.append(scores.figure("pointing_game(tolerance=2)"))
    assert rates[0] > rates[1] + 0.2
    assert "not right about the disease" in found.reason


def test_the_table_is_by_grade_within_each_stage(
    model: nn.Module, images: Tensor, classes: Tensor, found: Choice
) -> None:
    """The highest first, and what the second stage graded before the rest."""
    full = pellucid.choose(model, images, targets=classes, candidates=METHODS)
    for choice in (found, full):
        order = [(-pair.stage, -pair.grade) for pair in choice.pairs]
        assert order == sorted(order)
        assert len(order) > 5
    assert {pair.stage for pair in full.pairs} == {1, 2}


def test_a_grade_is_that_of_replacement_drop(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    """The oracle: the library's own metric of the same replacement and fraction, summed before it is divided."""
    metric = METRICS.find("replacement_drop")
    part, whole = (metric(top=top, replacement="blur") for top in (0.02, 1.0))
    explained = pellucid.explain(model, images, "saliency", classes)
    everywhere = torch.ones_like(explained.heatmaps)
    falls = pellucid.evaluate(model, images, explained, metrics=[part])
    total = pellucid.evaluate(model, images, everywhere, targets=classes[:, None], metrics=[whole])
    expected = next(iter(falls.values.values())).sum() / next(iter(total.values.values())).sum()
    graded = graded_by(model, images, classes, "blur 1/8", "saliency")
    assert graded == pytest.approx(float(expected), abs=1e-5)


def blur(images: Tensor) -> Tensor:
    """The images, blurred."""
    from pellucid.core.replacement import blurred

    return blurred(images)


def graded_by(model: nn.Module, images: Tensor, classes: Tensor, name: str, method: str) -> float:
    """The grade of a method by one replacement at 2 %."""
    session = Session.of(model, Runtime(), "softmax", None, None)
    subjects = Subjects.of(session, Inputs.of(images), Targets(classes[:, None], head="softmax"))
    maps, fillings = Maps.of(pairs_of([method], []), subjects), {name: named(0)[name]}
    scores = measured(subjects, wholes(subjects, fillings), maps, fillings, (FIRST,), DELETION)
    return float(grades(scores, [name]).values[0])


def test_the_maps_are_those_of_explain(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    """From one pass for all pairs, the same to the last digits."""
    session = Session.of(model, Runtime(), "softmax", None, None)
    subjects = Subjects.of(session, Inputs.of(images), Targets(classes[:, None], head="softmax"))
    pairs = pairs_of(METHODS, layers_to_try(subjects, []))
    inputs = subjects.prepared(torch.arange(5))
    heats = list(Maps.of(pairs, subjects).each(subjects, inputs, subjects.targets.images(0, 5)))
    assert len(heats) == len(pairs)
    for pair, heat in zip(pairs, heats, strict=True):
        own = pellucid.explain(model, images[:5], pair.method, classes[:5], layers=pair.layers or None)
        assert torch.allclose(heat, own.heatmaps[:, 0], atol=1e-5), pair


def test_the_second_stage_has_all_that_passed_and_insertion(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    choice = pellucid.choose(model, images[:12], targets=classes[:12], candidates=METHODS[:3])
    assert {pair.stage for pair in choice.pairs} == {1, 2}
    assert sum(pair.stage == 2 for pair in choice.pairs) == 5
    assert choice.chosen == 0 or choice.pairs[choice.chosen].stage == 2


def test_tissue_and_the_same_scene_are_among_the_replacements(
    model: nn.Module, images: Tensor, classes: Tensor
) -> None:
    others = phantom.radiographs(20, 64, seed=5, exclusive=True)
    labels = torch.cat([torch.zeros(20, 1, dtype=torch.bool), others.labels], dim=1)
    known = References(pellucid.model_info(model).preprocessing.normalise(others.images), labels)
    choice = pellucid.choose(
        model, images, targets=classes, candidates=["saliency"], full=False, reference=known, counterparts=blur(images)
    )
    assert [one.name for one in choice.replacements][-2:] == ["tissue", "same scene"]


def test_without_the_class_nothing_is_chosen(model: nn.Module, drawn: phantom.Phantoms) -> None:
    healthy = pellucid.model_info(model).preprocessing.normalise(drawn.images[~drawn.labels.any(1)])
    choice = pellucid.choose(model, healthy, targets=1, candidates=METHODS, full=False)
    assert choice.chosen is None
    assert choice.reason.startswith("no choice: no replacement can be trusted")
    assert all(one.refused for one in choice.replacements)
    with pytest.raises(OptionError, match="no replacement can be trusted"):
        choice.method  # noqa: B018


@pytest.mark.parametrize("target", [1, "predicted"])
def test_random_weights_get_no_choice(images: Tensor, target: int | str) -> None:
    """Also where the norms' statistics do not show it."""
    network = untrained("exclusive_cnn_64").eval()
    told = pellucid.choose(network, images, targets=target, candidates=METHODS, full=False)
    assert "is not trained" in told.reason
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1, generator=torch.Generator().manual_seed(0))
    choice = pellucid.choose(network, images, targets=target, candidates=METHODS, full=False)
    assert choice.chosen is None


def test_a_model_is_left_as_it_was(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, modes = torch.get_rng_state(), [module.training for module in model.modules()]
    one = pellucid.choose(model, images[:10], targets=classes[:10], candidates=["saliency", "gradcam"], full=False)
    two = pellucid.choose(model, images[:10], targets=classes[:10], candidates=["saliency", "gradcam"], full=False)
    assert one == two
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_a_low_share_is_never_chosen(
    found: Choice, monkeypatch: pytest.MonkeyPatch, model: nn.Module, images: Tensor, classes: Tensor
) -> None:
    from pellucid.choosing import pairs as module

    monkeypatch.setattr(module, "share_of", lambda *_: 0.4)
    choice = pellucid.choose(model, images, targets=classes, candidates=["hirescam", "saliency"], full=False)
    assert choice.method == "saliency"  # which looks at no layer
    assert choice.pairs[0].method == "hirescam"
    assert all("0.40 of the score passes" in pair.excluded for pair in choice.pairs if pair.layers)


def test_a_method_that_fails_against_random_weights_is_never_chosen(
    monkeypatch: pytest.MonkeyPatch, model: nn.Module, images: Tensor, classes: Tensor
) -> None:
    from pellucid.core import gates

    failed = {"a_cnn": {gates.WHOLE: "fails"}}
    monkeypatch.setattr(gates, "outcomes", lambda name: failed if name == "saliency" else {})
    choice = pellucid.choose(model, images, targets=classes, candidates=["input_x_gradient", "saliency"], full=False)
    assert choice.method == "input_x_gradient"
    assert "never chosen: fails against random weights" in choice.table()
    monkeypatch.setattr(gates, "outcomes", lambda _: failed)
    none = pellucid.choose(model, images, targets=classes, candidates=["input_x_gradient", "saliency"])
    assert none.reason == "no choice: every candidate fails against random weights"


def test_a_file_holds_the_choice(found: Choice, tmp_path: Path) -> None:
    found.save(tmp_path / "choice.json")
    again = Choice.load(tmp_path / "choice.json")
    assert again.table() == found.table()
    assert again.pairs[0].layers == found.pairs[0].layers
    assert len(again.weights_sha256) == 64
    with pytest.raises(OutputExistsError, match="already there"):
        found.save(tmp_path / "choice.json")
    with pytest.raises(WriteError, match="cannot be written"):
        found.save(tmp_path / "nowhere" / "choice.json")
    assert [path.name for path in tmp_path.iterdir()] == ["choice.json"]


@pytest.mark.parametrize("text", ["", "[]", "null", '{"format": "pellucid-choice-1"}', "[" * 100_000, "\xff"])
def test_files_that_hold_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "choice.json").write_text(text, encoding="latin-1")
    with pytest.raises(DataError):
        Choice.load(tmp_path / "choice.json")


def test_a_number_that_is_no_pair_s(found: Choice) -> None:
    with pytest.raises(DataError):
        Choice.from_json(replace(found, chosen=99).to_json())


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"candidates": ["nothing"]}, PellucidError, "nothing"),
        ({"candidates": []}, OptionError, "at least one"),
        ({"patients": ["a"]}, ShapeError, "1 patients were given"),
        ({"counterparts": torch.zeros(1, 1, 64, 64)}, ShapeError, "counterparts"),
        ({"reference": References(torch.zeros(3, 1, 32, 32))}, ShapeError, "References"),
        ({"layers": ["nowhere"]}, PellucidError, "nowhere"),
        ({"layers": "layer4"}, OptionError, r"write \['layer4'\]"),
        ({"targets": "all"}, OptionError, "targets of 4 classes an image"),
        ({"targets": pellucid.Region(1, torch.ones(64, 64, dtype=torch.bool))}, PellucidError, "Region"),
        ({"head": "regression", "targets": "higher"}, OptionError, "probability"),
        ({"targets": lambda logits: logits[:, 0]}, OptionError, "a callable is to be explained"),
    ],
)
def test_bad_input_gets_one_line(
    model: nn.Module, images: Tensor, options: dict[str, object], kind: type[PellucidError], text: str
) -> None:
    with pytest.raises(kind, match=text) as raised:
        pellucid.choose(model, images[:8], **({"candidates": ["gradcam"], "full": False, "targets": 1} | options))
    assert len(str(raised.value).splitlines()) == 1


def test_one_image_is_too_few(model: nn.Module, images: Tensor) -> None:
    with pytest.raises(OptionError, match="at least 8 are needed"):
        pellucid.choose(model, images[:1])


@pytest.mark.parametrize(("network", "side"), [(TinyCNN(), 32), (TinyViT(), 32), (phantom.unguided_swin(), 128)])
def test_layers_to_try_are_in_order_and_end_with_those_that_are_found(network: nn.Module, side: int) -> None:
    session = Session.of(network.eval(), Runtime(), "softmax", None, None)
    channels = 1 if side == 128 else 3
    image = session.prepared(Inputs.of(torch.randn(1, channels, side, side)))
    found = recommended(session, image)
    groups = groups_of(session, image, found)
    assert groups[-1] == found
    assert len(set(groups)) == len(groups) <= 6


@pytest.mark.parametrize(("network", "attends"), [(TinyCNN(), False), (TinyViT(), True)])
def test_layers_to_try_say_where_they_stand(network: nn.Module, attends: bool) -> None:
    images = torch.randn(1, 3, 32, 32)
    session = Session.of(network.eval(), Runtime(), "softmax", None, None)
    subjects = Subjects.of(session, Inputs.of(images), Targets(torch.zeros(1, 1, dtype=torch.int64), head="softmax"))
    groups = layers_to_try(subjects, [])
    first, *between, last = groups
    assert (first.place, last.place) == ("early", "found")
    assert {at.place for at in between} <= {"middle"}
    assert {at.attends for at in groups} == {attends}
    assert last.is_found
    assert not first.is_found
    named = layers_to_try(subjects, [name for at in groups for name in at.layers])
    assert [at.place for at in named] == [at.place for at in groups]
    [whole] = pairs_of(["saliency"], groups)
    assert (whole.at.place, whole.at.attends) == ("as it is", attends)


def test_a_pair_reads_well() -> None:
    assert str(GradedPair("gradcam", ("layer4",), 0.5, 0.4, 0.6, 1)) == "gradcam at layer4"
    assert str(GradedPair("saliency", (), 0.5, 0.4, 0.6, 1)) == "saliency"


def test_methods_that_are_tried_are_those_of_the_catalogue(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    """No list names them; what wraps another method, or looks at no class, is none; RISE takes thousands of passes."""
    first, second = gradient_methods(), perturbing_methods()
    assert {"gradcam", "saliency", "attnlrp", "legrad"} <= set(first)
    assert {"scorecam", "occlusion", "rise"} <= set(second)
    assert not {"aug_smooth", "smoothgrad", "eigencam", "rollout"} & {*first, *second}
    session = Session.of(model, Runtime(), "softmax", None, None)
    subjects = Subjects.of(session, Inputs.of(images), Targets(classes[:, None], head="softmax"))
    before = len(session.network._forward_pre_hooks)
    found = those_that_apply(subjects, pairs_of(["attnlrp", "rise", "occlusion", "saliency"], []))
    assert [(pair.method.name, pair.passes) for pair in found] == [("occlusion", 227), ("saliency", 1)]
    assert len(session.network._forward_pre_hooks) == before


def test_the_scores_of_images_as_they_are_stay_with_them(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    session = Session.of(model, Runtime(batch_size=7), "softmax", None, None)
    everyone = Subjects.of(session, Inputs.of(images), Targets(classes[:, None], head="softmax"))
    numbers = torch.tensor([5, 2, 11])
    some = everyone.some(numbers)
    assert torch.allclose(some.plain(), some.scores(images[numbers], torch.arange(3)), atol=1e-6)
    assert torch.equal(some.plain(), everyone.plain()[numbers])
    assert torch.equal(some.classes(), classes[numbers])


def test_no_image_is_scored_twice(model: nn.Module, images: Tensor, classes: Tensor) -> None:
    """The first stage's passes, by hand: P images; 6 replacements, whole and patched; pairs; a random box."""
    choice = pellucid.choose(
        model, images[:20], targets=classes[:20], candidates=["saliency", "input_x_gradient"], full=False
    )
    assert choice.passes == 20 * (1 + 6 + 1 + 6 + 2 + 1)


def test_further_inputs_stay_with_their_images() -> None:
    """A network of an image and a number: each changed image is scored with its own number."""

    class Scaled(nn.Module):
        def forward(self, image: Tensor, factor: Tensor) -> Tensor:
            score = image.flatten(1).mean(1) * factor
            return torch.stack([-score, score], dim=1)

    inputs = Inputs.of({"image": torch.rand(5, 1, 8, 8), "factor": torch.arange(1.0, 6.0)})
    session = Session.of(Scaled(), Runtime(batch_size=2), "softmax", None, None)
    subjects = Subjects.of(session, inputs, Targets(torch.ones(5, 1, dtype=torch.int64), head="softmax"))
    found = subjects.scores(torch.full((3, 1, 8, 8), 0.5), torch.tensor([4, 0, 2]))
    assert found.tolist() == pytest.approx([torch.sigmoid(torch.tensor(one)).item() for one in (5.0, 1.0, 3.0)])
