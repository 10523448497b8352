"""Attacks on maps: the answer held or moved, the map moved further than by noise, objectives and their gradients."""

import copy
import itertools
import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid.attacks import PGD, Centre, HeldMap, TargetMap, TopK
from pellucid.attacks._on_maps import shown
from pellucid.attacks.centre import centres_of
from pellucid.core.answer import Answer
from pellucid.core.attack import ATTACKS
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.target import Targets
from pellucid.errors import GradientError, OptionError, ShapeError
from pellucid.models.session.session import Session
from pellucid.run.explainer import Explainer, facts_of
from pellucid.run.pixels import Pixels
from pellucid.run.subject import ModelSubject
from tests.attacks.networks import Bent, made, pictures

AS_IT_IS = pellucid.Preprocessing()
ON_MAPS = sorted(name for name, cls in ATTACKS.registered().items() if cls.moves_map)
HELD = sorted(set(ON_MAPS) - {"held_map"})
FEW = {"epsilon": 0.03, "steps": 6}


def attacked(attack, model=None, images=None, method="saliency", **options):
    options = {"preprocessing": AS_IT_IS, **options}
    return pellucid.attack(
        model or made(Bent), pictures() if images is None else images, attack, method=method, **options
    )


def maps_of(found, clean=False):
    explanation = found.clean_explanation if clean else found.explanation
    return shown(explanation.attributions[:, 0])


def trained():
    """A network whose answers have a reason: a bright square in one of the quarters."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4),
    )  # fmt: skip
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(120):
        images, labels = squares(32, generator)
        optimiser.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimiser.step()
    return model.eval()


def squares(count, generator):
    labels = torch.randint(4, (count,), generator=generator)
    images = 0.5 * torch.rand(count, 1, 16, 16, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = 8 * (label // 2) + 2, 8 * (label % 2) + 2
        image[0, row : row + 4, column : column + 4] += 0.25
    return images, labels


@pytest.fixture(scope="module")
def network():
    return trained()


@pytest.mark.parametrize("name", HELD)
@pytest.mark.parametrize("method", ["saliency", "gradcam", "input_x_gradient"])
def test_the_answer_holds_and_the_map_moves_further_than_by_noise(name, method, network):
    images, _ = squares(8, torch.Generator().manual_seed(9))
    model = copy.deepcopy(network)
    found = attacked(ATTACKS.find(name)(epsilon=0.03, steps=15), model, images, method)
    assert not found.moved.any()
    assert torch.equal(model(found.images).argmax(1), model(images).argmax(1))
    assert float(found.linf.max()) <= 0.03
    noise = attacked(PGD(0.03, steps=1, step_size=0.0), model, images, method)  # a random start, and no step
    by_attack, by_noise = (distance(name, one) for one in (found, noise))
    assert bool((by_attack >= by_noise - 1e-6).all())
    assert float(by_attack.mean()) > 2 * float(by_noise.mean())


def distance(name, found):
    """How far an attack has moved the map, in what it is about."""
    before, after = maps_of(found, clean=True), maps_of(found)
    size = found.pixels.shape[2:]
    before, after = (F.interpolate(one[:, None], size, mode="bilinear")[:, 0] for one in (before, after))
    before, after = shown(before), shown(after)
    if name == "centre":
        return (centres_of(after) - centres_of(before)).norm(dim=1)
    if name == "topk":
        top = before.flatten(1).topk(round(0.02 * size.numel()), 1).indices
        return (before.flatten(1).gather(1, top) - after.flatten(1).gather(1, top)).sum(1)
    wanted = torch.zeros_like(before)
    wanted[:, : size[0] // 4, : size[1] // 4] = 1
    return ((before - shown(wanted)).flatten(1).norm(dim=1) - (after - shown(wanted)).flatten(1).norm(dim=1)).clamp(
        min=0
    )


def test_the_held_map_moves_less_than_with_an_attack_on_the_answer_alone(network):
    images, _ = squares(16, torch.Generator().manual_seed(9))
    plain = attacked(PGD(0.2, 40), network, images, "saliency")
    held = attacked(HeldMap(0.2, steps=40), network, images, "saliency")
    both = plain.moved & held.moved
    assert int(both.sum()) >= 8
    apart = [((maps_of(one) - maps_of(one, True)).flatten(1).norm(dim=1))[both].mean() for one in (plain, held)]
    assert float(apart[1]) < 0.7 * float(apart[0])
    unmoved = held.pixels[~held.moved]
    assert torch.equal(unmoved, held.clean[~held.moved])


def test_the_target_may_be_a_map_or_the_next_image(network):
    images, _ = squares(6, torch.Generator().manual_seed(3))
    for target, wanted in (("next", None), (torch.rand(16, 16), None), (torch.rand(6, 16, 16), None)):
        found = attacked(TargetMap(0.05, 12, target=target), network, images, "saliency")
        before, after = maps_of(found, True), maps_of(found)
        wanted = before.roll(-1, 0) if target == "next" else shown(target.expand(6, 16, 16))
        nearer = (after - wanted).flatten(1).norm(dim=1) - (before - wanted).flatten(1).norm(dim=1)
        assert bool((nearer <= 1e-6).all())
        assert float(nearer.mean()) < -1e-3
        assert not found.moved.any()


@pytest.mark.parametrize("name", ON_MAPS)
def test_a_budget_of_zero_changes_nothing(name):
    images = pictures()
    found = attacked(ATTACKS.find(name)(epsilon=0.0, steps=2), images=images)
    assert torch.equal(found.images, images)
    assert not found.moved.any()


@pytest.mark.parametrize("name", ON_MAPS)
@pytest.mark.parametrize("epsilon", [2 / 255, 0.1])
def test_budget_and_range_hold_to_the_last_bit(name, epsilon):
    images = pictures()
    images[0], images[1] = 0, 1
    found = attacked(ATTACKS.find(name)(epsilon=epsilon, steps=3), images=images)
    assert float(found.linf.max()) <= epsilon
    assert float(found.pixels.min()) >= 0
    assert float(found.pixels.max()) <= 1


@pytest.mark.parametrize("name", ON_MAPS)
def test_volumes(name):
    model = made(Bent, axes=3)
    images = pictures(3, size=(4, 5, 6))
    found = attacked(ATTACKS.find(name)(**FEW), model, images)
    assert found.images.shape == images.shape
    assert float(found.linf.max()) <= 0.03
    if name != "held_map":
        assert not found.moved.any()


@pytest.mark.parametrize("name", ON_MAPS)
def test_small_passes_give_the_same(name):
    whole = attacked(ATTACKS.find(name)(**FEW), made(Bent).double(), pictures().double())
    small = attacked(
        ATTACKS.find(name)(**FEW), made(Bent).double(), pictures().double(), runtime=pellucid.Runtime(batch_size=2)
    )
    torch.testing.assert_close(small.pixels, whole.pixels, rtol=0, atol=1e-9)
    alone = attacked(ATTACKS.find(name)(**FEW), made(Bent).double(), pictures().double()[5:])
    torch.testing.assert_close(alone.pixels, whole.pixels[5:], rtol=0, atol=1e-9)


def subject_of(model, images, method="saliency"):
    session = Session.of(model, pellucid.Runtime())
    with torch.no_grad():
        clean = session.call(Inputs.of(images))
    targets = replace(Targets("predicted"), head="softmax").resolved(clean)
    facts = facts_of(Explainer(model, method), session, session.prepared(Inputs.of(images)[:1]))
    answer = Answer.of("softmax", targets.indices(clean)[:, 0], clean)
    return ModelSubject.of(session, Inputs.of(images), Pixels.of(images, AS_IT_IS), answer, targets, facts)


class RecordedError(Exception):
    """Ends an attack once its objective is known."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A subject that keeps the objective of the first step."""

    inner: ModelSubject
    objectives: list

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def slope(self, pixels, rows, objective, beta=None):
        self.objectives.append((objective, beta))
        raise RecordedError


def gradients_of(model, images, label):
    """|∂ z_label / ∂x| summed as saliency has it, of one image, with its graph."""
    leaf = images if images.requires_grad else images.detach().requires_grad_()
    (found,) = torch.autograd.grad(model(leaf[None])[0, label], leaf, create_graph=True)
    return found.abs().amax(0)


@pytest.mark.parametrize(("name", "axes"), [(name, axes) for name in ON_MAPS for axes in (2, 3)])
def test_objectives_are_the_papers_and_their_gradients_finite_differences(name, axes):
    """On a smooth network in float64, of |∂z/∂x|, whose own derivative is a second one."""
    size = {2: (5, 4), 3: (3, 4, 3)}[axes]
    model = made(axes=axes).double()
    images = pictures(2, size=size).double()
    asked = Asked(subject_of(model, images), [])
    with pytest.raises(RecordedError):
        ATTACKS.find(name)(epsilon=0.1).search(asked)
    objective, _ = asked.objectives[0]
    moved = images + 0.02 * torch.rand(images.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    slope = asked.inner.slope(moved, torch.arange(2), objective)
    for row in range(2):
        label = int(asked.inner.answer.labels[row])

        def value(x, row=row, label=label):
            return float(NAIVE[name](model, images[row], x, label))

        assert abs(float(slope.values[row]) - value(moved[row])) < 1e-9
        numeric = torch.zeros_like(moved[row])
        for place in range(numeric.numel()):
            step = torch.zeros_like(numeric)
            step.view(-1)[place] = 1e-6
            numeric.view(-1)[place] = (value(moved[row] + step) - value(moved[row] - step)) / 2e-6
        torch.testing.assert_close(slope.gradients[row], numeric, rtol=1e-3, atol=1e-6)


def normalised(model, x, label):
    found = gradients_of(model, x, label).detach()
    return found / found.sum()


def naive_topk(model, clean, x, label):
    before, after = normalised(model, clean, label), normalised(model, x, label)
    count = max(1, round(0.02 * before.numel()))
    top = sorted(range(before.numel()), key=lambda place: -float(before.flatten()[place]))[:count]
    return -sum(float(after.flatten()[place]) for place in top)


def naive_centre(model, clean, x, label):
    def centre(h):
        return torch.stack([(h.nonzero().double() * h[h != 0][:, None])[:, axis].sum() for axis in range(h.ndim)])

    return (centre(normalised(model, x, label)) - centre(normalised(model, clean, label))).square().sum()


def naive_target(model, clean, x, label):
    h0, h1 = normalised(model, clean, label), normalised(model, x, label)
    wanted = torch.zeros_like(h0)
    wanted[tuple(slice(0, max(1, side // 4)) for side in h0.shape)] = 1
    wanted = wanted / wanted.sum()
    z0, z1 = model(clean[None])[0].detach(), model(x[None])[0].detach()
    return -(((h1 - wanted) ** 2).sum() / ((h0 - wanted) ** 2).sum() + ((z1 - z0) ** 2).sum() / (z0**2).sum())


def naive_held(model, clean, x, label):
    h0, h1 = normalised(model, clean, label), normalised(model, x, label)
    loss = -torch.log_softmax(model(x[None])[0].detach(), 0)[label]
    return loss - 10 * ((h1 - h0) ** 2).sum() / (h0**2).sum()


NAIVE = {"topk": naive_topk, "centre": naive_centre, "target_map": naive_target, "held_map": naive_held}


def test_the_best_step_counts_by_the_network_as_it_is():
    """A run with more steps is never worse, though single steps are."""
    images = pictures()
    model = made(Bent)
    before = None
    for steps in (2, 5, 9):
        found = attacked(TopK(0.05, steps), model, images)
        flat, top = maps_of(found).flatten(1), maps_of(found, True).flatten(1).topk(1, 1).indices
        mass = flat.gather(1, top)[:, 0]
        assert before is None or bool((mass <= before + 1e-6).all())
        before = mass


def test_softplus_grows_sharper_towards_the_end():
    attack = TargetMap(steps=5)
    betas = [attack._sharpness(step) for step in range(5)]
    assert betas[0] == 10
    assert math.isclose(betas[-1], 100)
    assert all(math.isclose(b / a, 10**0.25) for a, b in itertools.pairwise(betas))


@dataclass(frozen=True)
class Stepped(Method):
    """A map without a slope."""

    uses_layers = False

    def attribute(self, probe, targets):
        return pellucid.Attribution((probe.inputs.images.sum(1, keepdim=True) > 1).float())


REFUSED = [
    ({"method": None}, OptionError, "moves a map, and no method was given: give method='gradcam'"),
    ({"method": Stepped()}, OptionError, "no gradient of that map reaches the images: use a method that is"),
    ({"method": "rollout"}, pellucid.PellucidError, ""),
]


@pytest.mark.parametrize("name", ON_MAPS)
@pytest.mark.parametrize(("given", "error", "text"), REFUSED)
def test_bad_input_gets_one_line(name, given, error, text):
    with pytest.raises(error) as caught:
        attacked(ATTACKS.find(name)(**FEW), **given)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_map_that_no_image_changes_is_refused():
    linear = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(OptionError, match="no gradient of that map reaches the images"):
        attacked(TopK(**FEW), linear)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: TopK(share=0), "share must be between 0 and 1"),
        (lambda: TopK(share=1.5), "share must be between 0 and 1"),
        (lambda: TopK(beta=0), "beta must be above 0"),
        (lambda: Centre(beta=float("nan")), "beta must be above 0"),
        (lambda: Centre(steps=0), "steps must be >= 1"),
        (lambda: TargetMap(gamma=-1), "gamma must be >= 0"),
        (lambda: TargetMap(target="middle"), "target 'middle' was asked for; it is corner, next, or a tensor"),
        (lambda: HeldMap(weight=-1), "weight must be >= 0"),
        (lambda: HeldMap(epsilon=-1), "epsilon must be >= 0"),
        (lambda: TopK(epsilon="8"), "epsilon must be >= 0, got 8:"),
        (lambda: TopK(step_size=float("inf")), "epsilon and step_size must be >= 0, got .*inf"),
        (lambda: TopK(share="2 %"), "share must be between 0 and 1"),
        (lambda: TopK(beta="30"), "beta must be above 0"),
        (lambda: Centre(seed=1.5), "seed must be a whole number >= 0, got 1.5"),
        (lambda: TargetMap(gamma=None), "gamma must be >= 0, got None"),
        (lambda: TargetMap(beta=None), "beta and last_beta must be above 0, got None"),
        (lambda: TargetMap(target=[[1.0]]), "it is corner, next, or a tensor of maps"),
        (lambda: HeldMap(weight=float("nan")), "weight must be >= 0, got nan"),
    ],
)
def test_impossible_options_are_refused(make, text):
    with pytest.raises(OptionError, match=text):
        make()


def test_a_target_of_another_size_is_refused():
    with pytest.raises(ShapeError, match=r"target maps \(3, 3\) were given; the maps are \(6, 8, 9\)"):
        attacked(TargetMap(**FEW, target=torch.rand(3, 3)))
    with pytest.raises(OptionError, match="target 'next' was asked for; there is one image"):
        attacked(TargetMap(**FEW, target="next"), images=pictures(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_target_that_shows_nothing_is_refused(value):
    with pytest.raises(OptionError, match="target maps were given with values that are not finite, or of which none"):
        attacked(TargetMap(**FEW, target=torch.full((8, 9), value)))


@pytest.mark.parametrize("name", ON_MAPS)
def test_an_image_that_is_answered_otherwise_from_the_start_is_left_as_it_is(name):
    model, images = made(Bent), pictures()
    labels = (model(images).argmax(1) + 1) % 4
    found = attacked(ATTACKS.find(name)(**FEW), model, images, labels=labels.tolist())
    assert found.moved.all()
    assert torch.equal(found.images, images)


class Squeezed(Bent):
    """A network with a function that torch cannot differentiate twice."""

    def forward(self, x):
        x = self.second(F.hardsigmoid(4 * self.first(x)))
        return self.last(x.flatten(2).mean(2))


@pytest.mark.parametrize("name", ON_MAPS)
def test_a_function_without_second_derivative(name):
    """Softplus stands for it, too; as it is, the error says so."""
    found = attacked(ATTACKS.find(name)(**FEW), made(Squeezed))
    assert name == "held_map" or bool((found.pixels != found.clean).any())


def test_a_function_without_second_derivative_as_it_is():
    with pytest.raises(GradientError, match="torch says: derivative for aten::hardsigmoid_backward") as caught:
        attacked(TopK(**FEW, beta=None), made(Squeezed))
    assert "\n" not in str(caught.value)


def test_a_network_with_prelu_is_moved_as_one_with_leaky_relu():
    class Parametric(Bent):
        def forward(self, x):
            slope = torch.full((1,), 0.01, dtype=x.dtype)
            x = F.prelu(self.second(F.prelu(self.first(x), slope)), slope)
            return self.last(x.flatten(2).mean(2))

    class Leaky(Bent):
        def forward(self, x):
            x = F.leaky_relu(self.second(F.leaky_relu(self.first(x))))
            return self.last(x.flatten(2).mean(2))

    images = pictures().double()
    one, other = (attacked(TopK(**FEW), made(kind).double(), images) for kind in (Parametric, Leaky))
    torch.testing.assert_close(one.pixels, other.pixels)


class Counting(Bent):
    """Counts the images of passes."""

    def forward(self, x):
        COUNTED.append(len(x))
        return super().forward(x)


COUNTED: list = []


@pytest.mark.parametrize("name", ON_MAPS)
def test_a_step_takes_two_passes_of_the_method(name):
    """And four more: the clean map, twice the result's and once the clean image's scores."""
    model = made(Counting)
    attack = ATTACKS.find(name)
    attacked(attack(epsilon=0.01, steps=1), model)
    counts = []
    for steps in (1, 5):
        COUNTED.clear()
        attacked(attack(epsilon=0.01, steps=steps), model)
        counts.append(sum(COUNTED) / 6)
    assert counts[1] - counts[0] == 4 * 2


@pytest.mark.parametrize("name", ON_MAPS)
def test_nothing_is_held_from_step_to_step(name):
    """No more tensors are alive in a later step than in an early one."""
    import gc

    alive = []

    @dataclass(frozen=True, eq=False)
    class Watched:
        inner: ModelSubject

        def __getattr__(self, attribute):
            return getattr(self.inner, attribute)

        def slope(self, *given):
            gc.collect()
            alive.append(sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()))
            return self.inner.slope(*given)

    ATTACKS.find(name)(epsilon=0.02, steps=8).search(Watched(subject_of(made(Bent), pictures())))
    assert alive[7] <= alive[2]


def test_the_users_model_stays_as_it_is():
    model = made(Bent)
    model.train()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    for name in ON_MAPS:
        attacked(ATTACKS.find(name)(**FEW), model, method="gradcam")
    assert model.training
    assert all(torch.equal(one, before[name]) for name, one in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())


def test_several_findings():
    model = made(Bent, classes=3)
    found = attacked(TopK(**FEW), model, pictures(12), labels=1, head="sigmoid")
    assert torch.equal(model(found.images)[:, 1] > 0, model(pictures(12))[:, 1] > 0)
    assert not found.moved.any()
