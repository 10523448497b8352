"""Slopes that a type of numbers does not hold, that are 0, or that torch does not give; and what an attack returns."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.attacks import APGDCE, APGDDLR, FGSM, PGD, PGDL2, TopK
from pellucid.attacks._balls import Sphere
from pellucid.core.attack import Attack, loss_of
from pellucid.errors import GradientError, OptionError, PellucidWarning, ShapeError, TargetError
from pellucid.xai import PGDAttack
from tests.attacks.networks import Bent, Smooth, made, pictures

AS_IT_IS = pellucid.Preprocessing()


def attacked(model, images, attack, **options):
    return pellucid.attack(model, images, attack, preprocessing=AS_IT_IS, **options)


def of(kind):
    """A network of a kind that cannot be tried while it is made."""
    model = kind().eval()
    model.load_state_dict(made().state_dict())
    return model


class Sure(nn.Module):
    """A network of two classes whose logits are many times as large."""

    def __init__(self, times):
        super().__init__()
        self.own, self.times = made(classes=2), times

    def forward(self, x):
        return self.own(x) * self.times


@pytest.mark.parametrize("times", [10.0, 40.0])
@pytest.mark.parametrize("attack", [FGSM(2 / 255), PGD(4 / 255, steps=3), PGDL2(0.2, steps=3), APGDCE(4 / 255, 4)])
def test_a_sure_network_is_attacked_as_one_that_is_not(attack, times):
    images = pictures()
    plain, sure = (attacked(Sure(one), images, attack) for one in (1.0, times))
    assert torch.equal(plain.moved, sure.moved)
    assert (plain.pixels - sure.pixels).abs().le(1e-4).double().mean() > 0.98  # but for pixels without a slope
    assert (sure.linf > 0).all()


def test_beyond_what_any_number_holds_it_is_said():
    with pytest.warns(PellucidWarning, match="of 6 images have a slope of 0 at every pixel.* too sure of its answer"):
        found = attacked(Sure(1e6), pictures(), FGSM())
    assert torch.equal(found.pixels, found.clean)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_half_precision_has_the_slopes_of_sure_answers(head):
    images, runtime = pictures(), pellucid.Runtime(precision="float16")
    full, half = (
        attacked(Sure(40.0), images, FGSM(4 / 255), head=head, **options) for options in ({}, {"runtime": runtime})
    )
    assert (half.linf > 0).all()
    assert (full.pixels == half.pixels).double().mean() > 0.95


def test_slopes_are_those_of_the_loss():
    """The size of what goes back through the network is put back: ``Slope.gradients`` are no directions."""
    seen = []

    @dataclass(frozen=True)
    class Looking(Attack):
        def search(self, subject):
            seen.append(subject.slope(subject.pixels, torch.arange(6), loss_of(subject)))
            return subject.pixels

    model, images = made().double(), pictures().double()
    attacked(model, images, Looking())
    leaf = images.clone().requires_grad_()
    nn.functional.cross_entropy(model(leaf), model(leaf).argmax(1), reduction="sum").backward()
    torch.testing.assert_close(seen[0].gradients, leaf.grad, rtol=1e-9, atol=1e-14)


class Rounding(Smooth):
    """It rounds its images."""

    def forward(self, x):
        return super().forward((x * 8).round() / 8)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=2), PGDL2(steps=2), APGDCE(steps=2), APGDDLR(steps=2)])
def test_a_slope_of_0_everywhere_is_said(attack):
    with pytest.warns(PellucidWarning, match="6 of 6 images have a slope of 0 at every pixel.* the network rounds"):
        attacked(made(Rounding), pictures(), attack)


class Folded(Smooth):
    """ReLU as (x + |x|) / 2, which no stand-in reaches."""

    def forward(self, x):
        for layer in (self.first, self.second):
            x = layer(x)
            x = (x + x.abs()) / 2
        return self.last(x.flatten(2).mean(2))


def test_maps_without_a_slope_are_said():
    model = made(Folded)
    with pytest.warns(PellucidWarning, match="slope of 0 at every pixel.* the maps of method 'saliency'"):
        attacked(model, pictures(), TopK(steps=2), method="saliency")


def test_a_pixel_whose_slope_is_not_finite_takes_no_part_in_a_step():
    gradients = torch.tensor([3.0, torch.nan, 4.0, torch.inf]).reshape(1, 1, 2, 2)
    found = Sphere(gradients, 1.0, gradients, gradients).step(gradients)
    assert torch.allclose(found.flatten(), torch.tensor([0.6, 0.0, 0.8, 0.0]))
    for size in (1e-30, 1e30):  # whose squares are 0 and infinite
        assert torch.allclose(Sphere(gradients, 1.0, gradients, gradients).step(gradients * size), found)


@pytest.mark.parametrize("attack", [PGD(steps=2), PGDL2(steps=2)])
def test_a_start_hangs_on_no_default_type(attack):
    model, images = made(), pictures()
    expected = attacked(model, images, attack).pixels
    torch.set_default_dtype(torch.float64)
    try:
        found = attacked(model, images, attack).pixels
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, expected)


class Broken(Smooth):
    """Its scores are not finite where an image was changed."""

    def forward(self, x):
        return super().forward(x) + (0.0 if bool((x <= 0.5).all()) else torch.nan)


@pytest.mark.parametrize("attack", [FGSM(0.1), PGD(0.1, steps=1), APGDCE(0.1, steps=2)])
def test_scores_of_changed_images_that_are_not_finite_are_no_answer(attack):
    with pytest.raises(GradientError, match=r"scores of changed images \[0, 1, 2, 3, 4\] are not finite"):
        attacked(of(Broken), torch.full((6, 2, 8, 9), 0.5), attack, labels=[0, 1, 2, 3, 0, 1])


class Grid(nn.Module):
    """A network whose scores are a map, and their mean that of the image."""

    def __init__(self):
        super().__init__()
        self.own = nn.Conv2d(2, 4, 3)

    def forward(self, x):
        return self.own(x)


def test_ratios_of_maps_of_logits():
    torch.manual_seed(0)
    model, images = Grid().eval(), pictures()
    found = attacked(model, images, APGDDLR(8 / 255, steps=3))
    assert torch.equal(found.moved, model(found.images).mean((2, 3)).argmax(1) != found.labels)
    assert (found.linf > 0).any()
    assert PGDAttack(model).generate(images).shape == images.shape


class Reentrant(Smooth):
    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=True)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_checkpoint_that_gives_no_gradient_is_one_line():
    with pytest.raises(GradientError, match=r"torch\.utils\.checkpoint; turn gradient checkpointing off"):
        attacked(of(Reentrant), pictures(), PGD(steps=1))


class Checkpointed(Bent):
    """ReLU under a checkpoint that gives gradients: in the backward pass it would be ReLU again."""

    def forward(self, x):
        return checkpoint(super().forward, x, use_reentrant=False)


def test_no_map_is_attacked_with_another_network_in_the_backward_pass():
    model, images = made(Checkpointed), pictures()
    with pytest.raises(GradientError, match=r"the model runs ReLU under torch\.utils\.checkpoint, .* turn gradient"):
        attacked(model, images, TopK(steps=1), method="saliency")
    plain = attacked(made(Bent), images, PGD(steps=2))
    assert torch.equal(attacked(model, images, PGD(steps=2)).pixels, plain.pixels)


class OfImages(nn.Module):
    """A network of sets (B, S, C, H, W) or stacks (B, S, H, W)."""

    def __init__(self, has_channels):
        super().__init__()
        self.has_channels, self.body = has_channels, nn.Conv2d(3 if has_channels else 1, 8, 3, padding=1)
        self.last = nn.Linear(8, 3)

    def forward(self, x):
        each = x.flatten(0, 1) if self.has_channels else x.reshape(-1, 1, *x.shape[2:])
        return self.last(torch.relu(self.body(each)).mean((2, 3))).unflatten(0, x.shape[:2]).amax(1)


@pytest.mark.parametrize("shape", [(2, 3, 3, 16, 16), (2, 5, 3, 16, 16), (2, 5, 16, 16)])
def test_sequences_come_back_as_they_were_given(shape):
    torch.manual_seed(0)
    model = OfImages(len(shape) == 5).eval()
    images = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    nothing, found = (attacked(model, images, PGD(epsilon, steps=2)) for epsilon in (0.0, 0.1))
    assert torch.equal(nothing.images, images)
    assert torch.equal(nothing.pixels, images)
    assert torch.equal(nothing.clean, images)
    assert found.images.shape == images.shape
    torch.testing.assert_close(model(found.images), found.logits)
    assert (found.images - images).abs().amax() == pytest.approx(0.1, abs=1e-6)


@dataclass(frozen=True)
class Returning(Attack):
    """An attack of someone's own."""

    found: object = None

    def search(self, subject):
        return self.found


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, r"returned NoneType; its search returns images of shape \(6, 2, 8, 9\)"),
        (torch.zeros(1, 2, 8, 9), r"returned \(1, 2, 8, 9\); its search returns"),
        (pictures() + 1, r"returned pixels outside \[0, 1\]"),
        (pictures() * torch.nan, r"returned pixels outside \[0, 1\]"),
    ],
)
def test_what_an_attack_returns_is_looked_at(found, text):
    with pytest.raises(OptionError, match=text):
        attacked(made(), pictures(), Returning(found))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"mean": 0.5}, r"Preprocessing\(mean=0.5\) was given; mean is a tuple"),
        ({"std": torch.ones(3)}, r"Preprocessing\(std=tensor.* was given; std is a tuple"),
        ({"mean": ("a",)}, r"Preprocessing\(mean=\('a',\)\) was given"),
        ({"std": (float("inf"),)}, r"Preprocessing\(std=\(inf,\)\) was given"),
        ({"range": (0,)}, r"Preprocessing\(range=\(0,\)\) was given; range is two numbers"),
        ({"range": "01"}, r"Preprocessing\(range='01'\) was given; range is two numbers"),
    ],
)
def test_a_normalisation_is_numbers(options, text):
    with pytest.raises(OptionError, match=text):
        pellucid.attack(made(), pictures(), "fgsm", preprocessing=pellucid.Preprocessing(**options))


@pytest.mark.parametrize(
    ("image", "label", "error", "text"),
    [
        (pictures(), 1.5, TargetError, "label 1.5 was given; give the number of a class"),
        (pictures(), True, TargetError, "label True was given"),
        (pictures(), "cat", TargetError, "label 'cat' was given"),
        (pictures(), [None], TargetError, r"label \[None\] was given"),
        (pictures(), 2**70, TargetError, "label 1180591620717411303424 was given"),
        (pictures(), torch.tensor([0.0] * 6), TargetError, "label tensor"),
        (pictures().numpy(), None, ShapeError, "image must be a tensor of floating-point numbers, got ndarray"),
        (pictures().byte(), None, ShapeError, "image must be a tensor of floating-point numbers, got torch.uint8"),
        (pictures() * torch.nan, None, ShapeError, "image has values that are not finite"),
    ],
)
def test_the_published_attack_refuses_in_one_line(image, label, error, text):
    with pytest.raises(error, match=text):
        PGDAttack(made()).generate(image, label)


def test_the_published_attack_takes_numbers_of_any_width_and_a_new_budget():
    attack, images = PGDAttack(made(), epsilon=0.0), pictures()
    labels = torch.tensor([0, 1, 2, 3, 0, 1], dtype=torch.int32)
    assert torch.equal(attack.generate(images, labels), images)
    attack.epsilon = 0.1
    assert (attack.generate(images, labels) - images).abs().amax() == pytest.approx(0.1, abs=1e-6)
