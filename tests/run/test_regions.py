"""Networks that return a map of logits: every method on them, and ``Region``, which asks for a class somewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.errors import TargetError
from tests.contract.test_methods import METHODS, PERTURBING, few
from tests.contract.test_methods import network as classifier
from tests.networks import CONVOLUTIONS, NORMS, TinyCNN, images, seeded

SPECIFIC = [name for name in METHODS if few(name).class_specific and not few(name).uses_attention]
REFUSE_CALLABLES = {"finercam"}
SIDE = {2: 32, 3: 16}
LAYER = "encoder.4"
EXACT = {"rtol": 1e-5, "atol": 1e-6}


class TinySegmenter(nn.Module):
    """An encoder, and a class map at half of the input's side, as networks without a last upsampling give it."""

    def __init__(self, rank: int = 2, classes: int = 3) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[rank]
        self.encoder = nn.Sequential(
            convolution(3, 8, 3, stride=2, padding=1),
            NORMS[rank](8),
            nn.ReLU(inplace=True),
            convolution(8, 10, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
        )
        self.decoder = nn.Sequential(convolution(10, 10, 3, padding=1), nn.ReLU())
        self.classifier = convolution(10, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.classifier(self.decoder(self.encoder(x)))
        return F.interpolate(logits, scale_factor=2.0, mode="nearest")


@cache
def network(rank: int = 2, classes: int = 3) -> nn.Module:
    """A segmenter that finds each of its classes somewhere; all tests use the same one, and leave it as it is."""
    model = seeded(TinySegmenter, rank, classes).eval()
    with torch.no_grad():
        model.classifier.bias -= model(batch(3, rank)).transpose(0, 1).flatten(1).mean(dim=1)
    return model


def batch(count: int = 3, rank: int = 2) -> Tensor:
    return images(count, rank, SIDE[rank])


def output(model: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        return model(inputs)


def explained(
    model: nn.Module, inputs: Tensor, targets: object, name: str = "gradcam", **more: object
) -> pellucid.Explanation:
    options: dict[str, object] = {"layers": [LAYER]} if few(name).uses_layers else {}
    return pellucid.explain(model, inputs, few(name), targets, **{**options, **more})


def naive(model: nn.Module, single: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """Grad-CAM of any score of the output for one image (C, *space), by one backward pass."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output)
        return output.clone()

    handle = model.get_submodule(LAYER).register_forward_hook(keep)
    try:
        value = score(model(single[None])[0])
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(value, kept[0])
    weights = gradient.mean(dim=tuple(range(2, gradient.ndim)), keepdim=True)
    return (weights * kept[0]).sum(dim=1)[0].relu().detach()


def mean_over(index: int, mask: Tensor) -> Callable[[Tensor], Tensor]:
    def score(logits: Tensor) -> Tensor:
        total, count = logits.new_zeros(()), 0
        for position in mask.nonzero().tolist():
            total, count = total + logits[(index, *position)], count + 1
        return total / count

    return score


def checkered(*size: int) -> Tensor:
    """A mask that no symmetry leaves as it is."""
    return torch.rand(size, generator=torch.Generator().manual_seed(11)) > 0.7


def same(one: pellucid.Explanation, other: pellucid.Explanation, loose: bool = False) -> None:
    atol = 3e-4 if loose else 1e-5
    torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=0, atol=atol)
    torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(one.targets, other.targets)
    assert one.why_degenerate == other.why_degenerate


# Every method.


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", SPECIFIC)
def test_every_method_explains_a_place(name: str, rank: int) -> None:
    model, inputs = network(rank), batch(2, rank)
    mask = checkered(*(SIDE[rank] // 2,) * rank)
    for targets in (1, pellucid.Region(1, mask)):
        found = explained(model, inputs, targets, name)
        assert found.heatmaps.shape == (2, 1, *inputs.shape[2:])
        assert found.targets.tolist() == [[1], [1]]
        reasons = {reason for row in found.why_degenerate for reason in row}
        assert reasons <= {None, "all evidence negative"}
        assert found.attributions.flatten(2).std(-1).amin() > 0
        torch.testing.assert_close(found.logits, output(model, inputs).flatten(2).mean(-1), **EXACT)
    left, right = (explained(model, inputs, pellucid.Region(1, half), name) for half in halves(mask.shape))
    assert differs(left, right)


def differs(one: pellucid.Explanation, other: pellucid.Explanation) -> bool:
    """Whether maps differ by more than the rounding of float32 (Score-CAM's softmax makes all weights alike)."""
    return not torch.allclose(one.attributions, other.attributions, rtol=1e-4, atol=0)


def halves(size: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    left = torch.zeros(size, dtype=torch.bool)
    left[..., : size[-1] // 2] = True
    return left, ~left


@pytest.mark.parametrize("name", SPECIFIC)
@pytest.mark.parametrize(("size", "own"), [(1, False), (2, True)], ids=["1, predicted", "2, a mask an image"])
def test_every_method_in_batches_of_any_size(name: str, size: int, own: bool) -> None:
    model, inputs = network(), batch(3)
    masks = torch.stack([checkered(16, 16), ~checkered(16, 16), halves((16, 16))[0]])
    region = pellucid.Region(2, masks) if own else pellucid.Region(0)
    whole = explained(model, inputs, region, name)
    parts = explained(model, inputs, region, name, runtime=pellucid.Runtime(batch_size=size))
    same(parts, whole, loose=name in PERTURBING)


@pytest.mark.parametrize("name", SPECIFIC)
def test_a_mask_of_everything_is_the_class(name: str) -> None:
    model, inputs = network(), batch(2)
    whole = explained(model, inputs, pellucid.Region(1, torch.ones(16, 16, dtype=torch.bool)), name)
    same(whole, explained(model, inputs, 1, name), loose=name in PERTURBING)


@pytest.mark.parametrize("name", SPECIFIC)
def test_one_image_of_a_batch_is_explained_as_on_its_own(name: str) -> None:
    model, inputs = network(), batch(2)
    masks = torch.stack([checkered(32, 32), halves((32, 32))[1]])
    together = explained(model, inputs, pellucid.Region(1, masks), name)
    for index in range(2):
        alone = explained(model, inputs[index : index + 1], pellucid.Region(1, masks[index]), name)
        torch.testing.assert_close(together.attributions[index], alone.attributions[0], rtol=1e-4, atol=1e-6)


# What a Region's score is.


@pytest.mark.parametrize("rank", [2, 3])
def test_the_score_is_the_mean_of_the_logit_over_the_mask(rank: int) -> None:
    model, inputs = network(rank), batch(2, rank)
    mask = checkered(*(SIDE[rank] // 2,) * rank)
    found = explained(model, inputs, pellucid.Region(2, mask))
    for index, single in enumerate(inputs):
        expected = naive(model, single, mean_over(2, mask))
        assert expected.any()
        torch.testing.assert_close(found.attributions[index, 0], expected, **EXACT)


def test_a_mask_an_image() -> None:
    model, inputs = network(), batch(3)
    masks = torch.stack([checkered(16, 16), *halves((16, 16))])
    found = explained(model, inputs, pellucid.Region(0, masks))
    for index, single in enumerate(inputs):
        expected = naive(model, single, mean_over(0, masks[index]))
        torch.testing.assert_close(found.attributions[index, 0], expected, **EXACT)


def test_masks_at_the_inputs_size_are_brought_to_the_maps() -> None:
    model, inputs = network(), batch(2)
    small = torch.stack([checkered(16, 16), halves((16, 16))[0]])
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    same(explained(model, inputs, pellucid.Region(1, large)), explained(model, inputs, pellucid.Region(1, small)))
    one = pellucid.Region(1, large[0])
    same(explained(model, inputs, one), explained(model, inputs, pellucid.Region(1, small[0])))


def test_numpy_masks_and_names() -> None:
    model, inputs = network(), batch(2)
    mask = checkered(16, 16)
    array = mask.numpy().copy()
    array.flags.writeable = False
    named = explained(model, inputs, pellucid.Region("Vessel", array), classes=["disc", "vessel", "cup"])
    assert (named.label(0), named.targets.tolist()) == ("vessel", [[1], [1]])
    torch.testing.assert_close(
        named.attributions, explained(model, inputs, pellucid.Region(np.int64(1), mask)).attributions, **EXACT
    )


def test_without_a_mask_the_places_are_those_that_are_predicted() -> None:
    model, inputs = network(), batch(2)
    predicted = output(model, inputs).argmax(dim=1)
    found = explained(model, inputs, pellucid.Region(1))
    for index, single in enumerate(inputs):
        mask = predicted[index] == 1
        assert 0 < mask.sum() < mask.numel()
        torch.testing.assert_close(found.attributions[index, 0], naive(model, single, mean_over(1, mask)), **EXACT)


def test_of_sigmoid_heads_a_place_is_predicted_above_zero() -> None:
    model, inputs = network(), batch(2)
    logits = output(model, inputs)
    found = explained(model, inputs, pellucid.Region(1), head="sigmoid")
    assert found.head == "sigmoid"
    for index, single in enumerate(inputs):
        mask = logits[index, 1] > 0
        assert not torch.equal(mask, logits[index].argmax(dim=0) == 1)
        torch.testing.assert_close(found.attributions[index, 0], naive(model, single, mean_over(1, mask)), **EXACT)


@pytest.mark.parametrize("index", [0, 1])
def test_a_single_channel_has_two_classes(index: int) -> None:
    model, inputs = network(classes=1), batch(2)
    logits = output(model, inputs)
    found = explained(model, inputs, pellucid.Region(index))
    sign = 2 * index - 1
    assert found.logits.shape == (2, 2)
    for image, single in enumerate(inputs):
        mask = sign * logits[image, 0] > 0
        assert 0 < mask.sum() < mask.numel()
        score = mean_over(0, mask)
        expected = naive(model, single, lambda z, score=score: sign * score(z))
        torch.testing.assert_close(found.attributions[image, 0], expected, **EXACT)


def test_one_finding_is_predicted_above_zero() -> None:
    model, inputs = network(classes=1), batch(1)
    mask = output(model, inputs)[0, 0] > 0
    found = explained(model, inputs, pellucid.Region(0), head="sigmoid")
    torch.testing.assert_close(found.attributions[0, 0], naive(model, inputs[0], mean_over(0, mask)), **EXACT)


@pytest.mark.parametrize("name", SPECIFIC)
def test_where_there_is_no_place_the_map_is_empty(name: str) -> None:
    model, inputs = network(), batch(2)
    masks = torch.stack([torch.zeros(16, 16, dtype=torch.bool), checkered(16, 16)])
    found = explained(model, inputs, pellucid.Region(1, masks), name)
    assert found.degenerate.tolist() == [[True], [False]]
    assert found.why_degenerate == (("constant",), (None,))
    assert not found.heatmaps[0].any()


def test_a_class_that_is_predicted_nowhere_has_an_empty_map() -> None:
    model, inputs = copy.deepcopy(network()), batch(2)
    with torch.no_grad():
        model.classifier.bias[2] -= 1000
    found = explained(model, inputs, pellucid.Region(2))
    assert found.why_degenerate == (("constant",),) * 2
    assert not explained(model, inputs, 2).degenerate.any()


@pytest.mark.parametrize(
    ("region", "message"),
    [
        (
            (1, torch.ones(8, 8, dtype=torch.bool)),
            "a Region's mask must have the size (32, 32) or (16, 16), got (8, 8)",
        ),
        (
            (1, torch.ones(2, 16, 16, dtype=torch.bool)),
            "a Region's mask must be of shape (32, 32), or (3, 32, 32) with one for each image, got (2, 16, 16)",
        ),
        (
            (1, torch.ones(16, dtype=torch.bool)),
            "a Region's mask must be of shape (32, 32), or (3, 32, 32) with one for each image, got (16,)",
        ),
        (
            (1, torch.ones(3, 1, 16, 16, dtype=torch.bool)),
            "a Region's mask must be of shape (32, 32), or (3, 32, 32) with one for each image, got (3, 1, 16, 16)",
        ),
        ((3, None), "class 3 was asked for; the model has 3 classes, 0 to 2"),
        ((-1, None), "class -1 was asked for; the model has 3 classes, 0 to 2"),
        ((3, torch.ones(16, 16, dtype=torch.bool)), "class 3 was asked for; the model has 3 classes, 0 to 2"),
        (("cup", None), "class 'cup' was asked for by name; the model's names are not known: give classes=[…]"),
    ],
)
@pytest.mark.parametrize("name", ["gradcam", "saliency", "occlusion", "ablationcam", "smoothgrad"])
def test_regions_that_do_not_fit(region: tuple[object, ...], message: str, name: str) -> None:
    with pytest.raises(TargetError) as error:
        explained(network(), batch(3), pellucid.Region(*region), name)
    assert str(error.value) == message


def test_a_small_place_that_the_map_has_no_room_for() -> None:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[6, 6] = True  # between the positions that nearest neighbour takes
    with pytest.raises(TargetError) as error:
        explained(network(), batch(1), pellucid.Region(1, mask))
    assert str(error.value) == (
        "a Region's mask has no position left at the map's size (16, 16): give one of that size"
    )


def test_a_region_of_a_classifier() -> None:
    with pytest.raises(TargetError) as error:
        pellucid.explain(seeded(TinyCNN), images(1), targets=pellucid.Region(1))
    assert str(error.value) == (
        "a Region was asked for; the model gives one score a class, and no map of them: give the class's number or name"
    )


def test_the_users_mask_stays_as_it_is() -> None:
    mask = checkered(32, 32)
    kept, version = mask.clone(), mask._version
    region = pellucid.Region(1, mask)
    for name in ("gradcam", "occlusion", "aug_smooth"):
        explained(network(), batch(2), region, name)
    assert torch.equal(mask, kept)
    assert mask._version == version
    assert region.mask is mask


def test_a_mask_made_under_inference_mode() -> None:
    model, inputs = network(), batch(2)
    with torch.inference_mode():
        mask = checkered(16, 16)
    found = explained(model, inputs, pellucid.Region(1, mask), "input_x_gradient")
    same(found, explained(model, inputs, pellucid.Region(1, mask.clone()), "input_x_gradient"))


# The classes as a whole.


@pytest.mark.parametrize("targets", ["all", torch.tensor([[0, 1, 2], [0, 1, 2]])])
def test_a_class_scores_its_mean_over_all_places(targets: object) -> None:
    model, inputs = network(), batch(2)
    found = explained(model, inputs, targets)
    everywhere = torch.ones(16, 16, dtype=torch.bool)
    assert found.targets.tolist() == [[0, 1, 2]] * 2
    for index, single in enumerate(inputs):
        for column in range(3):
            expected = naive(model, single, mean_over(column, everywhere))
            torch.testing.assert_close(found.attributions[index, column], expected, **EXACT)


def test_the_predicted_class_is_that_of_the_largest_mean() -> None:
    model, inputs = network(), batch(3)
    expected = output(model, inputs).flatten(2).mean(-1).argmax(dim=1)
    assert explained(model, inputs, "predicted").targets.flatten().tolist() == expected.tolist()


@pytest.mark.parametrize("rank", [2, 3])
def test_the_layer_that_is_found_is_not_the_map_itself(rank: int) -> None:
    model = network(rank)
    found = pellucid.explain(model, batch(1, rank), targets=pellucid.Region(1))
    assert found.layers == ("decoder",)
    assert found.attributions.shape[2:] == (SIDE[rank] // 4,) * rank
    assert pellucid.recommended_layers(model, (3, *(SIDE[rank],) * rank)) == ["decoder"]


# Callables.


def difference(logits: Tensor) -> Tensor:
    return logits[:, 1] - logits[:, 2]


@pytest.mark.parametrize("name", [name for name in SPECIFIC if name not in REFUSE_CALLABLES])
def test_a_callable_sees_the_classes_means(name: str) -> None:
    model, inputs = network(), batch(2)
    found = explained(model, inputs, difference, name)
    assert found.targets.tolist() == [[-1], [-1]]
    assert not found.degenerate.any(), found.why_degenerate
    parts = explained(model, inputs, difference, name, runtime=pellucid.Runtime(batch_size=1))
    same(parts, found, loose=name in PERTURBING)
    assert differs(found, explained(model, inputs, 1, name))


def test_a_difference_of_two_means_equals_the_naive_map() -> None:
    model, inputs = network(), batch(2)
    found = explained(model, inputs, difference)
    for index, single in enumerate(inputs):
        expected = naive(model, single, lambda z: z[1].mean() - z[2].mean())
        torch.testing.assert_close(found.attributions[index, 0], expected, **EXACT)


@pytest.mark.parametrize("name", [name for name in SPECIFIC if name not in REFUSE_CALLABLES])
def test_a_callable_of_one_class_is_that_class(name: str) -> None:
    model, inputs = classifier(TinyCNN), images(2)
    options: dict[str, object] = {"layers": ["features.2"]} if few(name).uses_layers else {}
    called = pellucid.explain(model, inputs, few(name), lambda logits: logits[:, 3], **options)
    named = pellucid.explain(model, inputs, few(name), 3, **options)
    torch.testing.assert_close(called.attributions, named.attributions, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(called.heatmaps, named.heatmaps, rtol=0, atol=3e-4 if name in PERTURBING else 1e-5)
    assert called.targets.tolist() == [[-1], [-1]]


@pytest.mark.parametrize("name", [name for name in SPECIFIC if name not in REFUSE_CALLABLES])
def test_a_callable_of_several_scores(name: str) -> None:
    model, inputs = classifier(TinyCNN), images(2)
    options: dict[str, object] = {"layers": ["features.2"]} if few(name).uses_layers else {}

    def scores(logits: Tensor) -> Tensor:
        return torch.stack([logits[:, 3], logits[:, 1] - logits[:, 0]], dim=1)

    both = pellucid.explain(model, inputs, few(name), scores, **options)
    assert both.attributions.shape[:2] == (2, 2)
    for column in range(2):
        one = pellucid.explain(model, inputs, few(name), lambda z, column=column: scores(z)[:, column], **options)
        torch.testing.assert_close(both.attributions[:, column], one.attributions[:, 0], rtol=1e-4, atol=1e-6)


def test_a_method_that_compares_classes_refuses_a_callable() -> None:
    for name in REFUSE_CALLABLES:
        with pytest.raises(TargetError) as error:
            pellucid.explain(seeded(TinyCNN), images(1), name, difference)
        assert str(error.value) == (
            f"{name} compares classes; a callable target names none: give a class's number or name"
        )
