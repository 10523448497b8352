"""Attacks on predictions: the papers' algorithms image by image, exact in budget and range, bounded in passes."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid.attacks import APGDCE, APGDDLR, FGSM, PGD, PGDL2
from pellucid.attacks._auto_pgd import checkpoints
from pellucid.attacks._balls import Sphere
from pellucid.attacks.apgd_dlr import logits_ratio
from pellucid.core.answer import Answer
from pellucid.core.attack import ATTACKS, loss_of
from pellucid.core.inputs import Inputs
from pellucid.core.target import Targets
from pellucid.errors import GradientError, OptionError, ShapeError, TargetError
from pellucid.models.session.session import Session
from pellucid.models.sources.known import state_preprocessing
from pellucid.run.pixels import Pixels
from pellucid.run.subject import ModelSubject
from tests.attacks import replicas
from tests.attacks.networks import Bent, Smooth, made, pictures

AS_IT_IS = pellucid.Preprocessing()
NORMALISED = pellucid.Preprocessing(mean=(0.4, 0.55), std=(0.25, 0.3))
ON_PREDICTIONS = sorted(name for name, cls in ATTACKS.registered().items() if not cls.moves_map)
EPSILONS = {name: 0.4 if name == "pgd_l2" else 0.03 for name in ON_PREDICTIONS}


def built(name, **options):
    """An attack by its name, with a budget that moves some answers of the small networks."""
    return ATTACKS.find(name)(**{"epsilon": EPSILONS[name], **options})


def attacked(attack, model=None, images=None, known=AS_IT_IS, **options):
    return pellucid.attack(
        model or made(), pictures() if images is None else images, attack, preprocessing=known, **options
    )


def test_the_fast_gradient_sign_is_the_papers():
    model, images = made(Bent), pictures()
    found = attacked(FGSM(0.02), model)
    labels = model(images).argmax(1).tolist()
    for x, label, one in zip(images, labels, found.pixels, strict=True):
        expected = replicas.fgsm(model, x, replicas.cross_entropy(label), 0.02)
        torch.testing.assert_close(one, expected, rtol=0, atol=1e-7)
    assert found.labels.tolist() == labels


@pytest.mark.parametrize("random_start", [False, True])
def test_projected_gradient_descent_is_the_papers(random_start):
    model, images = made(), pictures()
    found = attacked(PGD(0.03, steps=7, step_size=0.01, seed=3, random_start=random_start), model)
    noise = torch.rand(images.shape[1:], generator=torch.Generator().manual_seed(3))
    starts = images + 0.03 * (2 * noise - 1) if random_start else images
    for x, start, one in zip(images, starts, found.pixels, strict=True):
        loss = replicas.cross_entropy(int(model(x[None]).argmax()))
        torch.testing.assert_close(one, replicas.pgd(model, x, start, loss, 0.03, 7, 0.01), rtol=0, atol=1e-6)


def test_the_l2_form_is_the_papers():
    model, images = made(), pictures()
    found = attacked(PGDL2(0.4, steps=6, step_size=0.15, random_start=False), model)
    for x, one in zip(images, found.pixels, strict=True):
        loss = replicas.cross_entropy(int(model(x[None]).argmax()))
        torch.testing.assert_close(one, replicas.pgd_l2(model, x, x, loss, 0.4, 6, 0.15), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("attack", "loss"), [(APGDCE, replicas.cross_entropy), (APGDDLR, replicas.dlr)])
@pytest.mark.parametrize("epsilon", [0.01, 0.03])
@pytest.mark.parametrize("steps", [9, 40])
def test_auto_pgd_is_the_papers_algorithm(attack, loss, epsilon, steps):
    model, images = made(Bent, scale=9.0).double(), pictures(8).double()
    found = attacked(attack(epsilon, steps=steps, random_start=False), model, images)
    counts = []
    for x, one in zip(images, found.pixels, strict=True):
        label = int(model(x[None]).argmax())
        expected, count = replicas.apgd(model, x, x, label, loss(label), epsilon, steps)
        torch.testing.assert_close(one, expected, rtol=0, atol=2e-5)
        counts.append(count)
    assert max(counts) == steps + 1 or epsilon == 0.03
    if epsilon == 0.03:
        assert min(counts) < steps + 1  # some end before


def test_checkpoints_come_ever_more_often():
    marks = checkpoints(100)
    gaps = [b - a for a, b in zip((0, *marks), marks, strict=False)]
    assert gaps == sorted(gaps, reverse=True)
    assert marks[:4] == (22, 41, 57, 70)
    assert gaps[-1] == 6
    assert checkpoints(3) == (1, 2, 3)


def test_the_ratio_of_logits_ignores_their_scale_and_shift():
    logits = torch.randn(20, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(20) % 5
    found = logits_ratio(logits, labels)
    torch.testing.assert_close(found, logits_ratio(7 * logits - 3, labels))
    for z, label, one in zip(logits, labels.tolist(), found, strict=True):
        torch.testing.assert_close(one, replicas.dlr(label)(z[None]))
    assert bool(((found > 0) == (logits.argmax(1) != labels)).all())


@pytest.mark.parametrize("name", ON_PREDICTIONS)
@pytest.mark.parametrize("known", [AS_IT_IS, NORMALISED], ids=["pixels", "normalised"])
def test_a_budget_of_zero_changes_nothing(name, known):
    images = known.normalise(pictures())
    found = attacked(built(name, epsilon=0.0), images=images, known=known)
    assert torch.equal(found.images, images)
    assert torch.equal(found.pixels, found.clean)
    assert not found.moved.any()
    assert found.linf.max() == 0


@pytest.mark.parametrize("name", ON_PREDICTIONS)
@pytest.mark.parametrize("epsilon", [1 / 255, 8 / 255, 0.1, 1.0])
def test_budget_and_range_hold_to_the_last_bit(name, epsilon):
    images = pictures(12)
    images[0], images[1] = 0, 1
    images[2] = images[2] * 1e-3
    found = attacked(built(name, epsilon=epsilon), made(Bent), images)
    length = found.l2 if name == "pgd_l2" else found.linf
    assert float(length.max()) <= epsilon
    assert float(found.pixels.min()) >= 0
    assert float(found.pixels.max()) <= 1
    if epsilon < 0.2 and name != "pgd_l2":
        assert float(found.linf.max()) > 0.99 * epsilon


def test_lengths_are_measured_as_they_are():
    found = attacked(PGD(0.03))
    change = (found.pixels.numpy().astype(np.float64) - found.clean.numpy()).reshape(6, -1)
    np.testing.assert_array_equal(found.linf.numpy(), np.abs(change).max(1))
    np.testing.assert_allclose(found.l2.numpy(), np.sqrt((change**2).sum(1)))


def test_the_l2_start_is_uniform_in_the_ball():
    pixels = torch.full((1, 1, 1, 2), 0.5)
    ball = Sphere(pixels, 0.3, torch.zeros(()).expand(pixels.shape), torch.ones(()).expand(pixels.shape))
    each = [ball.start(torch.Generator().manual_seed(seed)) - pixels for seed in range(4000)]
    change = torch.cat(each).flatten(1)
    lengths = change.norm(dim=1).sort().values / 0.3
    expected = ((torch.arange(4000) + 0.5) / 4000).sqrt()  # of a disc
    assert float((lengths - expected).abs().max()) < 0.03
    assert abs(float(change.mean())) < 0.01


@pytest.mark.parametrize("name", ON_PREDICTIONS)
def test_normalisation_only_changes_the_unit(name):
    """The same network on pixels, and on normalised pixels with the normalisation undone within it."""

    class Undone(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = made()

        def forward(self, x):
            mean, std = (torch.tensor(v, dtype=x.dtype)[:, None, None] for v in (NORMALISED.mean, NORMALISED.std))
            return self.inner(x * std + mean)

    images = pictures().double()
    plain = attacked(built(name), made().double(), images)
    other = attacked(built(name), Undone().double(), NORMALISED.normalise(images), NORMALISED)
    torch.testing.assert_close(other.pixels, plain.pixels, rtol=0, atol=1e-5)
    assert torch.equal(other.moved, plain.moved)
    expected = NORMALISED.normalise(other.pixels)
    torch.testing.assert_close(other.images, expected, rtol=0, atol=1e-5)


def test_the_range_of_a_preprocessing_counts():
    hounsfield = pellucid.Preprocessing(range=(-1000.0, 400.0))
    model = made()
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled.first.weight.div_(1400)
        scaled.first.bias.zero_()
        model.first.bias.zero_()
    images = pictures()
    values = 1400 * images - 1000
    found = pellucid.attack(scaled, values, FGSM(0.01), preprocessing=hounsfield)
    assert float(found.linf.max()) <= 0.01
    assert abs(float((found.images - values).abs().max()) - 14) < 1e-2


@pytest.mark.parametrize("name", ON_PREDICTIONS)
def test_every_attack_raises_the_loss(name):
    model, images = made(Bent), pictures(24)
    found = attacked(built(name), model, images)
    each = found.labels.tolist(), found.clean_logits, model(found.images).detach()
    own = replicas.dlr if name == "apgd_dlr" else replicas.cross_entropy
    for label, clean, changed in zip(*each, strict=True):
        assert float(own(label)(changed[None])) >= float(own(label)(clean[None])) - 1e-5
    assert int(found.moved.sum()) > 0
    assert torch.equal(found.moved, model(found.images).argmax(1) != found.labels)
    torch.testing.assert_close(found.logits, model(found.images), rtol=1e-4, atol=1e-5)


def test_auto_pgd_is_at_least_as_strong_as_pgd_with_as_many_gradients():
    """Robust accuracy at most PGD's + 1 SE, from the same starts."""
    model, images = made(Bent, scale=9.0), pictures(200, size=(6, 6))
    for epsilon in (0.01, 0.02, 0.03):
        plain = attacked(PGD(epsilon, steps=21, seed=5), model, images)
        automatic = attacked(APGDCE(epsilon, steps=20, seed=5), model, images)
        robust, own = (1 - float(one.moved.float().mean()) for one in (plain, automatic))
        assert own <= robust + (robust * (1 - robust) / 200) ** 0.5
        assert 0.05 < robust < 0.98  # else nothing is compared


@pytest.mark.parametrize("random_start", [False, True])
def test_an_image_is_attacked_alone_as_in_its_batch(random_start):
    model, images = made(Bent), pictures()
    for name in ON_PREDICTIONS:
        options = {} if name == "fgsm" else {"random_start": random_start}
        whole = attacked(built(name, **options), model, images)
        small = attacked(built(name, **options), model, images, runtime=pellucid.Runtime(batch_size=2))
        torch.testing.assert_close(small.pixels, whole.pixels, rtol=0, atol=1e-5)
        for number in (0, 5):
            alone = attacked(built(name, **options), model, images[number : number + 1])
            torch.testing.assert_close(alone.pixels[0], whole.pixels[number], rtol=0, atol=1e-5)


class Counting(Bent):
    """Counts the images of its forward passes, and of those with gradients."""

    forwards: list  # of each pass: the number of images

    def forward(self, x):
        COUNTED.append((len(x), torch.is_grad_enabled()))
        return super().forward(x)


COUNTED: list = []


@pytest.mark.parametrize(
    ("attack", "gradients"), [(FGSM(0.0), 1), (PGD(0.0, steps=7), 7), (PGDL2(0.0, steps=7), 7), (APGDCE(0.0, 7), 8)]
)
def test_an_attack_takes_the_passes_of_its_definition(attack, gradients):
    """A pass with gradients a step; one of the clean images and one of the changed ones, to say what was moved."""
    model = made(Counting)
    attacked(attack, model)  # the first call learns what the network is like
    COUNTED.clear()
    attacked(attack, model)
    assert [count for count, graph in COUNTED if graph] == [6] * gradients
    assert sum(count for count, graph in COUNTED if not graph) == 2 * 6


def test_maps_for_comparison_cost_their_own_passes_alone():
    model = made(Counting)
    attacked(PGD(0.0, steps=7), model, method="gradcam", layers=["second"])
    COUNTED.clear()
    attacked(PGD(0.0, steps=7), model, method="gradcam", layers=["second"])
    assert sum(count for count, _ in COUNTED) <= (7 + 2 + 2) * 6 + 6  # and one of a single image, or a few


def test_answers_that_have_moved_are_not_asked_again():
    model = made(Counting)
    attack = PGD(0.03, steps=20, early_stop=True)
    attacked(attack, model)
    COUNTED.clear()
    found = attacked(attack, model)
    counts = [count for count, graph in COUNTED if graph]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 6
    assert int(found.moved.sum()) >= 6 - counts[-1]
    whole = attacked(replace(attack, early_stop=False), model)
    assert torch.equal(whole.moved | found.moved, found.moved)


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("head", "loss"),
    [
        ("softmax", lambda z, y, _: F.cross_entropy(z[None], y[None])),
        ("sigmoid", lambda z, y, there: F.binary_cross_entropy_with_logits(z[y], there.double())),
    ],
)
def test_gradients_are_finite_differences(axes, head, loss):
    size = {2: (5, 4), 3: (3, 4, 3)}[axes]
    model = made(axes=axes).double()
    images = pictures(2, size=size).double()
    normal = pellucid.Preprocessing(mean=(0.3,), std=(0.7,))
    subject = subject_of(model, (images - 0.3) / 0.7, head, normal)
    rows = torch.arange(2)
    slope = subject.slope(images, rows, loss_of(subject))
    for row in range(2):

        def value(x, row=row):
            z = model((x[None] - 0.3) / 0.7)[0]
            return loss(z, subject.answer.labels[row], subject.answer.present[row]).item()

        assert abs(float(slope.values[row]) - value(images[row])) < 1e-6
        numeric = torch.zeros_like(images[row])
        for place in range(numeric.numel()):
            step = torch.zeros_like(numeric)
            step.view(-1)[place] = 1e-5
            numeric.view(-1)[place] = (value(images[row] + step) - value(images[row] - step)) / 2e-5
        torch.testing.assert_close(slope.gradients[row], numeric, rtol=1e-4, atol=1e-7)


def subject_of(model, values, head, known):
    session = Session.of(model, pellucid.Runtime(), head)
    with torch.no_grad():
        clean = session.call(Inputs.of(values))
    targets = replace(Targets("predicted"), head=head).resolved(clean)
    answer = Answer.of(head, targets.indices(clean)[:, 0], clean)
    return ModelSubject.of(session, Inputs.of(values), Pixels.of(values, known), answer, targets, None)


def test_the_gradient_of_the_ratio_is_its_finite_difference():
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 3, 1])
    assert torch.autograd.gradcheck(lambda z: logits_ratio(z, labels), logits.requires_grad_())


@pytest.mark.parametrize("present", [True, False])
def test_of_several_findings_the_one_that_was_asked_for_is_moved(present):
    model = made(classes=3)
    with torch.no_grad():
        model.last.bias[1] += 0.3 if present else -0.3
    images = pictures(12)
    found = pellucid.attack(model, images, PGD(0.2, 20), labels=1, head="sigmoid", preprocessing=AS_IT_IS)
    before, after = found.clean_logits[:, 1], model(found.images)[:, 1]
    assert torch.equal(found.moved, (after > 0) != (before > 0))
    assert bool(found.moved.any())
    assert bool((torch.where(before > 0, before - after, after - before) > 0).all())  # each towards the other answer


def test_of_one_logit_the_sign_is_moved():
    model = made(classes=1)
    images = pictures(12)
    found = attacked(PGD(0.2, 20), model, images)
    before, after = model(images)[:, 0], model(found.images)[:, 0]
    assert found.labels.tolist() == (before > 0).int().tolist()
    assert bool((torch.where(before > 0, before - after, after - before) > 0).all())
    assert torch.equal(found.moved, (after > 0) != (before > 0))


def test_a_network_that_ends_in_a_softmax_is_attacked_by_its_logits():
    model = made(Bent, scale=60.0)  # so sure that the gradient of a probability is 0
    whole = nn.Sequential(model, nn.Softmax(1))
    plain, ended = (attacked(PGD(0.03), one) for one in (model, whole))
    assert torch.equal(plain.pixels, ended.pixels)


def test_labels_may_be_the_annotated_ones():
    model, images = made(), pictures()
    other = (model(images).argmax(1) + 1) % 4
    found = attacked(PGD(0.03), model, images, labels=other)
    assert found.labels.tolist() == other.tolist()
    assert bool(found.moved.all())  # they never were the answer


def test_labels_may_be_names():
    model = pellucid.phantom.exclusive_cnn_64()
    images = pellucid.model_info(model).preprocessing.normalise(torch.rand(2, 1, 64, 64))
    assert pellucid.attack(model, images, FGSM(0.01), labels="nodule").labels.tolist() == [1, 1]


def test_maps_come_along_where_a_method_is_given():
    model, images = made(Bent), pictures()
    found = attacked(PGD(0.03), model, images, method="gradcam", layers=["second"])
    expected = pellucid.explain(model, found.images, "gradcam", found.labels, layers=["second"])
    torch.testing.assert_close(found.explanation.heatmaps, expected.heatmaps, rtol=0, atol=1e-5)
    clean = pellucid.explain(model, images, "gradcam", found.labels, layers=["second"])
    torch.testing.assert_close(found.clean_explanation.heatmaps, clean.heatmaps, rtol=0, atol=1e-5)
    assert attacked(PGD(0.03), model, images).explanation is None


def test_a_models_stated_normalisation_is_used():
    model = made()
    state_preprocessing(model, replace(NORMALISED, channels=2))
    images = NORMALISED.normalise(pictures())
    stated = pellucid.attack(model, images, FGSM(0.02))
    given = pellucid.attack(made(), images, FGSM(0.02), preprocessing=NORMALISED)
    assert torch.equal(stated.pixels, given.pixels)


def test_prepared_images_know_their_normalisation():
    known = pellucid.Preprocessing(channels=1, mean=(0.4,), std=(0.25,))
    pixels = torch.rand(1, 8, 9, generator=torch.Generator().manual_seed(0))
    prepared = known(pellucid.Image(pixels, pixels, pellucid.Geometry.identity((8, 9))))
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = pellucid.attack(model, prepared, FGSM(0.02))
    torch.testing.assert_close(found.clean[0], pixels, rtol=0, atol=1e-6)
    assert 0.0199 < float(found.linf) <= 0.02


def test_the_users_things_stay_as_they_are():
    model, images = made(Bent), pictures()
    model.train()
    model.first.weight.grad = torch.ones_like(model.first.weight)
    frozen = model.second.weight.requires_grad_(False)
    before = {name: one.clone() for name, one in model.state_dict().items()}
    kept, state = images.clone(), torch.get_rng_state()
    images.requires_grad_()
    with torch.no_grad():
        for name in ON_PREDICTIONS:
            attacked(built(name), model, images, method="saliency")
        assert not torch.is_grad_enabled()
    assert model.training
    assert not frozen.requires_grad
    assert bool((model.first.weight.grad == 1).all())
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert torch.equal(images, kept)
    assert images.grad is None
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_hooks for module in model.modules())


def test_under_inference_mode():
    with torch.inference_mode():
        found = attacked(PGD(0.03), made(), pictures())
    assert torch.equal(found.pixels, attacked(PGD(0.03), made(), pictures()).pixels)


class Blocked(Smooth):
    def forward(self, x):
        with torch.no_grad():
            x = torch.tanh(self.first(x))
        return self.last(torch.tanh(self.second(x)).flatten(2).mean(2))


class Values(Smooth):
    pass


def unsound():
    """A network with a weight that is not finite."""
    model = made()
    with torch.no_grad():
        model.last.weight[0] = torch.nan
    return model


class Cornered(Smooth):
    """Its scores are finite, and their gradients are not."""

    def forward(self, x):
        return super().forward(x) + (0 * x.flatten(1).sum(1, keepdim=True)).sqrt()


@pytest.mark.parametrize("name", ON_PREDICTIONS)
def test_gradients_that_are_not_finite_give_no_pixels_that_are_not(name):
    found = attacked(built(name), made(Cornered))
    assert torch.isfinite(found.pixels).all()
    assert float(found.linf.max()) <= EPSILONS[name]


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 0.0])
def test_a_gradient_without_a_length_gives_no_step_in_l2(value):
    gradients = torch.ones(2, 1, 2, 2)
    gradients[0, 0, 0] = value
    gradients[0, 0, 1] = 0
    found = Sphere(gradients, 1.0, gradients, gradients).step(gradients)
    assert torch.equal(found, torch.tensor([0.0, 0.5]).reshape(2, 1, 1, 1).expand(2, 1, 2, 2))


REFUSED = [
    ({"attack": "pgdd"}, OptionError, "attack 'pgdd' was asked for; no attack has that name; did you mean"),
    ({"attack": PGD}, OptionError, "attack PGD was given as a class; write PGD()"),
    ({"attack": 3}, OptionError, "attack must be a name or an Attack of pellucid.attacks, got 3"),
    ({"preprocessing": None}, OptionError, "the model's normalisation is not known: give preprocessing="),
    ({"preprocessing": "imagenet"}, OptionError, "preprocessing must be a pellucid.Preprocessing, got str"),
    ({"images": pictures() * 3}, ShapeError, "pixels in [0, 1] before normalisation were expected, got"),
    ({"images": pictures() - 0.4}, ShapeError, "pixels in [0, 1] before normalisation were expected, got"),
    ({"images": pictures() * torch.nan}, ShapeError, "values that are not finite"),
    ({"preprocessing": pellucid.Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3)}, ShapeError, "images of 2 channels"),
    ({"labels": 4}, TargetError, "class 4 was asked for; the model has 4 classes"),
    ({"labels": [0, 1]}, TargetError, "targets for 2 images were given; there are 6 images"),
    ({"labels": "all"}, TargetError, "labels for 4 classes an image were given; an attack takes one"),
    ({"labels": lambda scores: scores[:, 0]}, TargetError, "an attack takes one"),
    ({"head": "regression"}, OptionError, "head 'regression' gives values and no class that could be moved"),
    ({"attack": "apgd_dlr", "model": made(classes=2)}, OptionError, "at least 3 exclusive classes, the model has 2"),
    ({"attack": "apgd_dlr", "head": "sigmoid"}, OptionError, "exclusive classes, the model has head 'sigmoid'"),
    ({"model": made(Blocked)}, GradientError, "no gradient of the model's score reaches the images"),
    ({"model": unsound()}, GradientError, "the model's scores of images [0, 1, 2, 3, 4] are not finite"),
    ({"runtime": 3}, OptionError, "runtime must be a pellucid.Runtime, got 3"),
    ({"layers": ["second"]}, OptionError, "layers ['second'] were given, and no method"),
    ({"labels": pellucid.Region(1, torch.ones(8, 9) > 0)}, TargetError, "labels were given as a Region"),
    ({"preprocessing": pellucid.Preprocessing(std=(0.0,))}, ShapeError, "no pixel comes back from them"),
    ({"model": made(classes=1), "head": "probability"}, OptionError, "the model returns one probability"),
]


@pytest.mark.parametrize(("given", "error", "text"), REFUSED, ids=[text[:40] for _, _, text in REFUSED])
def test_bad_input_gets_one_line(given, error, text):
    options = {"model": made(), "images": pictures(), "attack": "pgd", "preprocessing": AS_IT_IS, **given}
    with pytest.raises(error) as caught:
        pellucid.attack(options.pop("model"), options.pop("images"), options.pop("attack"), **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("cls", [ATTACKS.find(name) for name in ON_PREDICTIONS])
@pytest.mark.parametrize(
    "options", [{"epsilon": -0.1}, {"epsilon": float("nan")}, {"steps": 0}, {"steps": 2.5}, {"seed": -1}, {"seed": "0"}]
)
def test_impossible_budgets_are_refused(cls, options):
    if "epsilon" not in options and cls is FGSM:
        return
    with pytest.raises(OptionError, match=">="):
        cls(**options)


@pytest.mark.parametrize("name", ON_PREDICTIONS)
@pytest.mark.parametrize("epsilon", [8, 13, float("inf")])
def test_a_budget_beyond_the_range_is_refused(name, epsilon):
    epsilon = 2 * epsilon if name == "pgd_l2" else epsilon  # 144 pixels: at most 12
    with pytest.raises(
        OptionError, match=r"pixels are in \[0, 1\], so that a change is at most (1|12): of grey levels"
    ):
        attacked(built(name, epsilon=epsilon))


def test_an_assumed_normalisation_is_not_taken_as_known(tmp_path):
    from torchvision.models import resnet18

    torch.save(resnet18(num_classes=3).state_dict(), tmp_path / "weights.pt")
    with pytest.warns(pellucid.PellucidWarning):
        model = pellucid.load_model("torchvision:resnet18", checkpoint=tmp_path / "weights.pt")
    with pytest.raises(OptionError, match="is assumed, not stated: give preprocessing="):
        pellucid.attack(model, torch.rand(1, 3, 64, 64), "fgsm")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_half_precision_images_the_changed_ones_keep_the_budget(dtype):
    """The network is in float32: images of its type come back, of which the answers are."""
    model, images = made(Bent), pictures(24).to(dtype)
    found = attacked(PGD(1.5 / 255, steps=8, early_stop=True), model, images)
    assert found.images.dtype == torch.float32
    assert float((found.images.double() - images.double()).abs().max()) <= 1.5 / 255 + 1e-7  # float32 rounds the input
    assert -1e-7 <= float(found.images.min()) <= float(found.images.max()) <= 1 + 1e-7
    assert torch.equal(found.moved, model(found.images).argmax(1) != found.labels)
    half = attacked(PGD(1.5 / 255, steps=2), made(Bent).to(dtype), images)
    assert half.images.dtype == dtype
