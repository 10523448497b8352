"""The grade of a map, against a replica by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.grade import grade_text
from pellucid.core.region import Region
from pellucid.errors import OptionError
from tests.networks import TinyCNN, images, seeded

Pixel = tuple[int, ...]
SIDES = {2: (13, 16), 3: (7, 6, 8)}
MEAN = torch.tensor([0.1, -0.2, 0.3])


class Linear(nn.Module):
    """Each class has a weight for every pixel, so that every map is known."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), bias

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.flatten(1).T + self.bias


def drawn(rank: int, count: int, seed: int) -> Tensor:
    return torch.randn(count, *SIDES[rank], generator=torch.Generator().manual_seed(seed))


def linear(rank: int, size: float = 0.5) -> Linear:
    return Linear(size * drawn(rank, 3, 0), MEAN)


def batch_of(rank: int) -> Tensor:
    """Images that lean towards each of the classes, and one that hardly does."""
    towards = torch.stack([0.05 * drawn(rank, 3, 0)[index] for index in (0, 1, 2, 2)])
    return (0.1 * drawn(rank, 4, 1) + towards)[:, None]


def plain(values: Tensor) -> dict[Pixel, float]:
    """Values by their positions."""
    positions = itertools.product(*map(range, values.shape))
    return dict(zip(positions, values.flatten().tolist(), strict=True))


def naive_blur(image: dict[Pixel, float], sides: tuple[int, ...]) -> dict[Pixel, float]:
    """A Gaussian with an eighth of each side as its standard deviation, reflected at the edges, pixel by pixel."""
    reaches = [round(side / 4) for side in sides]
    found = {}
    for pixel in image:
        total = weights = 0.0
        for steps in itertools.product(*(range(-reach, reach + 1) for reach in reaches)):
            far = sum((step / (side / 8)) ** 2 for step, side in zip(steps, sides, strict=True))
            near = tuple(
                abs(start + step) if start + step < side else 2 * (side - 1) - start - step
                for start, step, side in zip(pixel, steps, sides, strict=True)
            )
            weight = math.exp(-far / 2)
            total, weights = total + weight * image[near], weights + weight
        found[pixel] = total / weights
    return found


def naive_probability(model: Linear, values: dict[Pixel, float], target: int, head: str) -> float:
    logits = [
        float(bias) + sum(weight * values[pixel] for pixel, weight in plain(weights).items())
        for weights, bias in zip(model.weights.detach(), model.bias, strict=True)
    ]
    if head == "sigmoid":
        return 1 / (1 + math.exp(-logits[target]))
    return math.exp(logits[target]) / sum(map(math.exp, logits))


def naive_grade(model: Linear, image: Tensor, target: int, head: str) -> float:
    """The formula for input × gradient, whose map is each pixel's value times its weight."""
    own, weights = plain(image), plain(model.weights.detach()[target])
    evidence = {pixel: value * weights[pixel] for pixel, value in own.items()}
    first = sorted(own, key=lambda pixel: -evidence[pixel])[: round(0.02 * len(own))]
    smooth = naive_blur(own, tuple(image.shape))
    marked = {pixel: smooth[pixel] if pixel in first and evidence[pixel] > 0 else value for pixel, value in own.items()}
    before, without, whole = (naive_probability(model, each, target, head) for each in (own, marked, smooth))
    return math.nan if before - whole < 0.1 else (before - without) / (before - whole)


@pytest.mark.parametrize(("rank", "head"), [(2, "softmax"), (2, "sigmoid"), (3, "softmax")])
def test_the_grade_of_each_image_and_class_is_its_own(rank: int, head: str) -> None:
    model, batch = linear(rank).eval(), batch_of(rank)
    targets = torch.tensor([[0, 1], [1, 0], [2, 1], [0, 2]])
    found = pellucid.explain(model, batch, "input_x_gradient", targets=targets, head=head, checks=["grade"])
    expected = torch.tensor(
        [
            [naive_grade(model, image[0], target, head) for target in row]
            for image, row in zip(batch, targets.tolist(), strict=True)
        ]
    )
    assert expected.isnan().any()
    assert expected.isfinite().sum() > 2
    torch.testing.assert_close(found.checks["grade"], expected, rtol=1e-3, atol=1e-4, equal_nan=True)


def test_a_fall_below_the_bound_says_nothing() -> None:
    """The same map, of a network that is less and less sure."""
    batch = batch_of(2)[:1]
    grades = [
        float(pellucid.explain(linear(2, size), batch, "input_x_gradient", 0, checks=["grade"]).checks["grade"])
        for size in (0.5, 0.005)
    ]
    assert math.isfinite(grades[0])
    assert math.isnan(grades[1])


def test_a_map_that_marks_nothing_has_no_grade() -> None:
    """All evidence is negative, and the blur of the whole image makes more of it: the probability falls by far."""
    image, weights = torch.ones(20, 20), torch.zeros(3, 20, 20)
    image[8:12, 8:12], weights[0, 8:12, 8:12] = 0.05, -1.0
    found = pellucid.explain(
        Linear(weights, torch.zeros(3)), image[None, None], "input_x_gradient", targets=0, checks=["grade"]
    )
    assert found.degenerate.all()
    assert found.checks["grade"].isnan().all()
    assert grade_text(found) == "the map marks nothing: no grade"


def test_the_passes_are_as_many_as_stated() -> None:
    def passes(*checks: str) -> int:
        seen: list[int] = []
        model = seeded(TinyCNN).eval()
        model.features[0].register_forward_hook(lambda _module, _inputs, output: seen.append(len(output)))
        pellucid.explain(model, images(1), targets=torch.tensor([[0, 1]]))  # what is found once for a model
        seen.clear()
        pellucid.explain(model, images(1), targets=torch.tensor([[0, 1]]), checks=checks)
        return sum(seen)

    plain = passes()
    assert passes("grade") - plain == 2 + 2
    assert passes("blur_fall", "grade") - plain == (2 + 2) + 2, "the image's own pass serves both"


def test_maps_of_logits_are_graded_by_their_means() -> None:
    class Dense(nn.Module):
        def __init__(self, model: Linear) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            return self.model(x)[:, :, None, None].expand(-1, -1, *x.shape[2:])

    model, batch = linear(2).eval(), batch_of(2)
    whole = pellucid.explain(model, batch, "saliency", targets=[0, 1, 2, 2], checks=["grade"])
    dense = pellucid.explain(Dense(model), batch, "saliency", targets=[0, 1, 2, 2], checks=["grade"])
    torch.testing.assert_close(whole.checks["grade"], dense.checks["grade"], rtol=1e-3, atol=1e-4, equal_nan=True)


class Untouched(nn.Module):
    """A network that must not be run."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("it ran")


@pytest.mark.parametrize(
    ("targets", "head", "message"),
    [
        (lambda logits: logits[:, 0], "softmax", "check 'grade' was asked for; a callable has no probability"),
        (Region(0), "softmax", "check 'grade' was asked for; a Region has no probability"),
        (0, "regression", "check 'grade' was asked for; head 'regression' has no probabilities: take blur_fall"),
    ],
)
def test_what_has_no_probability_is_refused_before_any_work(targets: object, head: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pellucid.explain(Untouched(), images(1), "saliency", targets=targets, head=head, checks=["grade"])


def test_the_head_that_a_source_states_is_refused_too() -> None:
    from pellucid.models.sources import ModelInfo
    from pellucid.models.sources.known import know

    model = Untouched()
    know(model, ModelInfo("own", head="regression"))
    with pytest.raises(OptionError, match="head 'regression' has no probabilities"):
        pellucid.explain(model, images(1), "saliency", checks=["grade"])
