"""Which images lend their tissue, to whom, and that none of them is scored."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid import phantom
from pellucid.choosing.donors import Asked, given, lenders, lent
from pellucid.core.replacement import References
from pellucid.errors import OptionError

IMAGES = torch.rand(30, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def probabilities(*high: int, classes: int = 3) -> torch.Tensor:
    """High for a class of each image, and low for the others; −1 is none."""
    found = torch.full((len(high), classes), 0.05)
    for row, number in enumerate(high):
        if number >= 0:
            found[row, number] = 0.9
    return found


def test_images_without_any_explained_class_lend() -> None:
    seen = probabilities(*[0] * 20, *[-1] * 6, *[2] * 4)
    found = lenders(seen, torch.zeros(30, dtype=torch.int64), 0)
    assert found.tolist() == list(range(20, 30))  # class 2 is not explained


def test_a_quarter_lends_where_each_shows_a_class() -> None:
    classes = torch.arange(30) % 3
    found = lenders(probabilities(*classes.tolist()), classes, 0)
    assert classes[found].bincount().tolist() == [2, 2, 2]
    assert found.tolist() == sorted(set(found.tolist()))
    assert found.tolist() != lenders(probabilities(*classes.tolist()), classes, 1).tolist()


@pytest.mark.parametrize("classes", [torch.zeros(30, dtype=torch.int64), torch.arange(20) % 3])
def test_of_one_class_or_few_images_none_lends(classes: torch.Tensor) -> None:
    assert len(lenders(probabilities(*classes.tolist()), classes, 0)) == 0


def test_tissue_is_of_others_without_the_class_and_other_patients() -> None:
    classes = torch.arange(30) % 2
    seen = probabilities(*classes.tolist())
    patients = [number // 2 for number in range(30)]  # each has an image of both classes
    found = lent(Asked(IMAGES, classes, patients), seen, 8, 0)
    assert found.others is not None
    assert found.drawn is not None
    assert sorted([*found.lent, *found.scored.tolist()]) == list(range(30))
    for row, chosen in zip(found.scored.tolist(), found.drawn.tolist(), strict=True):
        for number in chosen:
            lender = found.lent[number]
            assert torch.equal(found.others[number], IMAGES[lender])
            assert classes[lender] != classes[row]
            assert patients[lender] != patients[row]
    assert list(found.filling()) == ["tissue"]


def test_too_few_would_be_left() -> None:
    seen = probabilities(*[0] * 7, *[-1] * 23)
    found = lent(Asked(IMAGES, torch.zeros(30, dtype=torch.int64), None), seen, 8, 0)
    assert found.scored.tolist() == list(range(30))
    assert found.filling() == {}


def test_a_reference_without_an_image_for_some_is_refused() -> None:
    asked = Asked(IMAGES[:8], torch.zeros(8, dtype=torch.int64), list("aabbccdd"))
    with pytest.raises(OptionError, match="of another patient"):
        given(asked, References(IMAGES[8:10], torch.tensor([0, 1]), patients=["z", "a"]), 0)
    found = given(asked, References(IMAGES[8:10], torch.tensor([1, 1]), patients=["z", "a"]), 0)
    assert found.drawn is not None
    assert found.drawn[:2].tolist() == [[0], [0]]


def test_a_choice_says_which_lent() -> None:
    """Healthy images in a folder lend to the others, by the network's own score."""
    model = phantom.exclusive_cnn_64()
    drawn = phantom.radiographs(80, 64, seed=11, exclusive=True)
    nodules, healthy = drawn.labels[:, 0].nonzero()[:14, 0], (~drawn.labels.any(1)).nonzero()[:8, 0]
    images = pellucid.model_info(model).preprocessing.normalise(drawn.images[torch.cat([nodules, healthy])])
    choice = pellucid.choose(model, images, targets="nodule", candidates=["saliency", "gradcam"], full=False)
    assert "tissue" in [one.name for one in choice.replacements]
    assert set(choice.donors) >= set(range(14, 22))
    assert choice.images == 22 - len(choice.donors)
    assert pellucid.Choice.from_json(choice.to_json()) == choice


def test_a_wrapped_network_has_the_digest_of_its_weights() -> None:
    model = phantom.exclusive_cnn_64()
    drawn = phantom.radiographs(40, 64, seed=11, exclusive=True)
    images = pellucid.model_info(model).preprocessing.normalise(drawn.images[drawn.labels[:, 0]])[:8]
    options = {"candidates": ["saliency", "gradcam"], "full": False, "targets": 1}
    choices = [pellucid.choose(one, images, **options) for one in (model, torch.nn.DataParallel(model))]
    assert choices[0].weights_sha256 == choices[1].weights_sha256


def test_the_order_of_named_layers_changes_nothing() -> None:
    model = phantom.exclusive_cnn_64()
    drawn = phantom.radiographs(40, 64, seed=11, exclusive=True)
    images = pellucid.model_info(model).preprocessing.normalise(drawn.images[drawn.labels[:, 0]])[:8]
    names = ["network.layer1", "network.layer4"]
    options = {"candidates": ["gradcam", "saliency"], "full": False, "targets": 1}
    one, other = (pellucid.choose(model, images, layers=order, **options) for order in (names, names[::-1]))
    assert one.replacements == other.replacements
