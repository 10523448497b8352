"""The published attack, compared with projected gradient descent written image by image."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pellucid.errors import OptionError, ShapeError, TargetError
from src.attacks.pgd import PGDAttack

EPSILON = 8 / 255


class Classifier(nn.Module):
    """Convolutions with batch norm and dropout, so that train and eval mode differ."""

    def __init__(self, channels=3, classes=4):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.drop(self.body(x).amax((2, 3))))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Classifier().eval()


def unit(count=3, seed=0, size=(12, 10)):
    """Images within [0, 1]."""
    return torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(seed))


def standardised(count=3):
    """Images outside [0, 1], each with its own range."""
    scales = torch.tensor([1.0, 2.0, 0.5])[:count, None, None, None]
    return (unit(count) - 0.5) * 4 * scales


BATCHES = pytest.mark.parametrize(
    "batch", [unit(), unit() + 0.3, standardised()], ids=["unit", "above", "standardised"]
)


def bounds(image):
    low, high = float(image.min()), float(image.max())
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def replica(model, batch, labels=None, epsilon=EPSILON):
    """Ten steps of a quarter of epsilon from a seeded start, one image at a time."""
    model = copy.deepcopy(model).eval()
    noise = torch.rand(batch.shape[1:], generator=torch.Generator().manual_seed(0))
    results = []
    for index, image in enumerate(batch):
        image = image[None]
        label = model(image).argmax(1) if labels is None else torch.tensor([labels[index]])
        low, high = bounds(image)
        adversarial = image + epsilon * (2 * noise - 1)
        adversarial = adversarial.clamp(image - epsilon, image + epsilon).clamp(low, high).detach()
        for _ in range(10):
            adversarial.requires_grad_()
            (gradient,) = torch.autograd.grad(F.cross_entropy(model(adversarial), label), adversarial)
            adversarial = adversarial.detach() + epsilon / 4 * gradient.sign()
            adversarial = adversarial.clamp(image - epsilon, image + epsilon).clamp(low, high)
        results.append(adversarial[0])
    return torch.stack(results)


def test_default_epsilon(model):
    assert PGDAttack(model).epsilon == 8 / 255
    assert PGDAttack(model).model is model


@pytest.mark.parametrize("epsilon", [2 / 255, EPSILON, 0.3])
@BATCHES
def test_equals_the_replica(model, batch, epsilon):
    found = PGDAttack(model, epsilon).generate(batch)
    torch.testing.assert_close(found, replica(model, batch, epsilon=epsilon), rtol=0, atol=1e-6)
    labelled = PGDAttack(model, epsilon=epsilon).generate(batch, torch.tensor([0, 1, 3]))
    torch.testing.assert_close(labelled, replica(model, batch, [0, 1, 3], epsilon), rtol=0, atol=1e-6)


@pytest.mark.parametrize("epsilon", [2 / 255, EPSILON, 0.3])
@BATCHES
def test_within_epsilon_and_range(model, batch, epsilon):
    found = PGDAttack(model, epsilon).generate(batch)
    assert (found.shape, found.dtype) == (batch.shape, batch.dtype)
    assert (found - batch).abs().max() <= epsilon + 1e-6
    assert (found - batch).abs().max() > 0.9 * epsilon
    for own, image in zip(found, batch, strict=True):
        low, high = bounds(image)
        assert low <= own.min()
        assert own.max() <= high


def test_each_image_has_its_own_range(model):
    batch = torch.cat([unit(1), standardised(2)])
    found = PGDAttack(model, 0.5).generate(batch)
    assert (found[0].min(), found[0].max()) == (0, 1)
    for own, image in zip(found[1:], batch[1:], strict=True):
        assert (own.min(), own.max()) == (image.min(), image.max())


def test_an_image_in_the_unit_range_may_leave_its_own_range(model):
    found = PGDAttack(model, 0.2).generate(unit(1) * 0.2 + 0.4)
    assert found.min() < 0.4
    assert found.max() > 0.6


@BATCHES
def test_raises_the_loss(model, batch):
    labels = model(batch).argmax(1)
    found = PGDAttack(model, 0.1).generate(batch)
    before = F.cross_entropy(model(batch), labels, reduction="none")
    after = F.cross_entropy(model(found), labels, reduction="none")
    noise = (batch + 0.1 * torch.randn_like(batch).sign()).clamp(batch.min(), batch.max())
    assert (after > before).all()
    assert after.mean() > F.cross_entropy(model(noise), labels)


def test_changes_the_prediction_of_a_linear_model():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 2)).eval()
    torch.manual_seed(0)
    batch = torch.rand(4, 3, 6, 6) * 0.5 + 0.25
    with torch.no_grad():
        margins = linear(batch)
        margins = (margins[:, 0] - margins[:, 1]).abs()
        reach = (linear[1].weight[0] - linear[1].weight[1]).abs().sum()
    enough, little = float(1.1 * margins.max() / reach), float(0.9 * margins.min() / reach)
    assert enough < 0.25
    before = linear(batch).argmax(1)
    assert (linear(PGDAttack(linear, enough).generate(batch)).argmax(1) != before).all()
    assert (linear(PGDAttack(linear, little).generate(batch)).argmax(1) == before).all()


def test_no_label_is_the_models_own_prediction(model):
    batch = unit()
    predicted = model(batch).argmax(1)
    attack = PGDAttack(model)
    assert torch.equal(attack.generate(batch), attack.generate(batch, predicted))
    assert not torch.equal(attack.generate(batch), attack.generate(batch, (predicted + 1) % 4))


def test_one_image(model):
    attack, image = PGDAttack(model), unit(1)
    found = attack.generate(image[0])
    assert found.shape == image[0].shape
    assert torch.equal(found, attack.generate(image)[0])
    assert torch.equal(attack.generate(image[0], 2), attack.generate(image, 2)[0])
    assert torch.equal(attack.generate(image[0], 2), attack.generate(image[0], torch.tensor(2)))


def test_one_label_for_all(model):
    attack = PGDAttack(model)
    assert torch.equal(attack.generate(unit(), 2), attack.generate(unit(), torch.tensor([2, 2, 2])))


def test_two_calls_are_equal_and_leave_the_global_random_state_unchanged(model):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = PGDAttack(model).generate(unit())
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(PGDAttack(model).generate(unit()), first)


def test_the_start_is_random(model):
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()  # no gradient: the result is the start
    found = PGDAttack(model).generate(unit(2) * 0.5 + 0.25) - (unit(2) * 0.5 + 0.25)
    assert found.std() > 0.3 * EPSILON
    assert not torch.allclose(found[0], found[1])


def test_model_and_input_are_unchanged(model):
    model.train()
    model.drop.eval()
    model.head.weight.grad = torch.ones_like(model.head.weight)
    state, batch = copy.deepcopy(model.state_dict()), unit().requires_grad_()
    found = PGDAttack(model).generate(batch)
    assert (model.training, model.body[1].training, model.drop.training) == (True, True, False)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert [name for name, p in model.named_parameters() if p.grad is not None] == ["head.weight"]
    assert bool((model.head.weight.grad == 1).all())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(batch.detach(), unit())
    assert batch.grad is None
    assert not found.requires_grad


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_called_without_gradients(model, context):
    expected = PGDAttack(model).generate(unit())
    model.requires_grad_(False)
    with context():
        found = PGDAttack(model).generate(unit())
        assert torch.equal(found, expected)


def test_epsilon_zero_changes_nothing(model):
    torch.testing.assert_close(PGDAttack(model, 0.0).generate(unit()), unit(), rtol=0, atol=0)


def test_values_that_are_refused(model):
    with pytest.raises(OptionError, match="epsilon"):
        PGDAttack(model, -0.1)
    with pytest.raises(ShapeError, match="image must be"):
        PGDAttack(model).generate(torch.rand(12, 10))
    with pytest.raises(TargetError, match="2 were given for 3 images"):
        PGDAttack(model).generate(unit(3), torch.tensor([0, 1]))


def test_a_label_out_of_range(model):
    with pytest.raises(TargetError, match=r"labels \[99\] were given; the model has \d+ classes"):
        PGDAttack(model).generate(torch.rand(3, 8, 8), 99)
