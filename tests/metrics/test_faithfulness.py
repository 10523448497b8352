"""Metrics of faithfulness against replicas by their definitions, and what must be true of any of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import metrics as m
from pellucid.core.metric import METRICS, Metric
from pellucid.core.replacement import NO_REFERENCE, NOT_LOWERED
from pellucid.errors import OptionError, ShapeError
from tests.metrics import naive_faithfulness as naive
from tests.networks import TinyCNN, images, seeded

SIDES = {2: (13, 10), 3: (6, 5, 8)}
SEED = 5
OTHERS = {"zero": naive.zero, "mean": naive.mean, "blur": naive.blur}
FAITHFULNESS = (
    "aopc",
    "average_drop",
    "deletion_auc",
    "faithfulness_correlation",
    "increase_in_confidence",
    "infidelity",
    "insertion_auc",
    "replacement_drop",
    "road_lerf",
    "road_morf",
    "sensitivity_n",
)


def measured(metric: Metric, maps: Tensor, rank: int = 2, **options: object) -> Tensor:
    """The values (3, 2) of two classes of three images."""
    scores = pellucid.evaluate(
        seeded(TinyCNN, rank).eval(),
        images(3, rank, SIDES[rank]),
        maps,
        targets=torch.tensor([[0, 1], [2, 0], [3, 1]]),
        metrics=[metric],
        seed=SEED,
        **options,
    )
    return scores[next(iter(scores))]


def cases(maps: Tensor, rank: int = 2):
    """The score, the image and the map of each of the six cases, for replicas."""
    model = seeded(TinyCNN, rank).eval()

    def score_of(target: int):
        @torch.no_grad()
        def score(image) -> float:
            return float(model(torch.from_numpy(image)[None])[0].softmax(0)[target])

        return score

    batch = images(3, rank, SIDES[rank])
    for row, targets in enumerate([[0, 1], [2, 0], [3, 1]]):
        for column, target in enumerate(targets):
            yield score_of(target), batch[row].numpy(), maps[row, column].numpy()


def signed(rank: int) -> Tensor:
    """Maps with ties and both signs."""
    source = torch.Generator().manual_seed(2)
    return (torch.randn(3, 2, *SIDES[rank], generator=source) * 3).round() / 3


def positive(rank: int) -> Tensor:
    drawn = torch.rand(3, 2, *SIDES[rank], generator=torch.Generator().manual_seed(3))
    return ((drawn * 1.2 - 0.2).clamp(min=0) * 20).round() / 20


def permutation(rank: int, count: int | None = None) -> list[int]:
    count = math.prod(SIDES[rank]) if count is None else count
    return torch.randperm(count, generator=torch.Generator().manual_seed(SEED)).tolist()


def agree(found: Tensor, expected: list[float], tolerance: float = 2e-6) -> None:
    assert np.std(expected) > 20 * tolerance, "the cases must differ"
    assert found.flatten().tolist() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("baseline", sorted(OTHERS))
def test_curves_equal_those_of_loops(rank, baseline):
    maps, steps, ties = signed(rank), 7, permutation(rank)
    deleted, inserted = [], []
    for score, image, heat in cases(maps, rank):
        other = OTHERS[baseline](image)
        deleted.append(naive.deletion(score, image, heat, ties, other, steps))
        inserted.append(naive.insertion(score, image, heat, ties, other, steps))
    agree(measured(m.Deletion(steps, baseline), maps, rank), [naive.area(one) for one in deleted])
    agree(measured(m.Insertion(steps, baseline), maps, rank), [naive.area(one) for one in inserted])
    agree(measured(m.AOPC(steps, baseline), maps, rank), [naive.aopc(one) for one in deleted])


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("baseline", ["zero", "mean"])
def test_what_a_heatmap_leaves_scores_as_by_loops(rank, baseline):
    maps = positive(rank)
    given = [(score, image, heat, OTHERS[baseline](image)) for score, image, heat in cases(maps, rank)]
    agree(measured(m.AverageDrop(baseline), maps, rank), [naive.average_drop(*one) for one in given])
    expected = [naive.increase_in_confidence(*one) for one in given]
    assert 0 < sum(expected) < 6
    assert measured(m.IncreaseInConfidence(baseline), maps, rank).flatten().tolist() == expected


@pytest.mark.parametrize("rank", [2, 3])
def test_imputation_solves_the_equations(rank):
    maps, steps = signed(rank), 3
    source = torch.Generator().manual_seed(SEED)
    ties = torch.randperm(math.prod(SIDES[rank]), generator=source).tolist()
    noises = (0.2 * torch.randn(steps, 3, *SIDES[rank], generator=source)).numpy()
    for metric, lowest in ((m.ROADMoRF(steps, 0.2), False), (m.ROADLeRF(steps, 0.2), True)):
        expected = [naive.road(*case, ties, noises, lowest=lowest) for case in cases(maps, rank)]
        agree(measured(metric, maps, rank), expected, 1e-5)


def parts(count: int, draw) -> list[np.ndarray]:
    seeds = torch.randint(2**62, (count,), generator=torch.Generator().manual_seed(SEED)).tolist()
    return [draw(torch.Generator().manual_seed(seed)) for seed in seeds]


def some_pixels(rank: int, count: int):
    def draw(source: torch.Generator) -> np.ndarray:
        part = np.zeros(math.prod(SIDES[rank]), bool)
        part[torch.randperm(len(part), generator=source)[:count].tolist()] = True
        return part.reshape(SIDES[rank])

    return draw


def box(rank: int, share: float):
    def draw(source: torch.Generator) -> np.ndarray:
        part = np.zeros(SIDES[rank], bool)
        lengths = [max(1, round(share * side)) for side in SIDES[rank]]
        starts = [
            int(torch.randint(side - length + 1, (), generator=source))
            for side, length in zip(SIDES[rank], lengths, strict=True)
        ]
        part[tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))] = True
        return part

    return draw


@pytest.mark.parametrize(("rank", "baseline"), [(2, "zero"), (2, "mean"), (3, "zero")])
def test_falls_follow_attributions_as_by_loops(rank, baseline):
    maps, total = signed(rank), math.prod(SIDES[rank])

    def both(drawn):
        return [naive.falls_and_sums(*case, drawn, OTHERS[baseline](case[1])) for case in cases(maps, rank)]

    found = both(parts(12, some_pixels(rank, round(0.3 * total))))
    agree(
        measured(m.FaithfulnessCorrelation(12, 0.3, baseline), maps, rank),
        [naive.correlation(*one) for one in found],
        1e-4,
    )
    sizes = [0.01, 0.01 * 80**0.5, 0.8]
    each = [both(parts(6, some_pixels(rank, max(1, round(size * total))))) for size in sizes]
    expected = [np.mean([naive.correlation(*one) for one in case]) for case in zip(*each, strict=True)]
    agree(measured(m.SensitivityN(3, 6, baseline), maps, rank), expected, 1e-3)
    found = both(parts(9, box(rank, 0.4)))
    agree(measured(m.Infidelity(9, 0.4, baseline), maps, rank), [naive.infidelity(*one) for one in found], 1e-9)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(("replacement", "cell"), [("blur", 1), ("mean", 1), ("zero", 3)])
def test_replacement_drop_equals_that_of_loops(rank, replacement, cell):
    maps, expected = positive(rank), []
    cells = math.prod(-(-side // cell) for side in SIDES[rank])
    for score, image, heat in cases(maps, rank):
        top = naive.top(heat, 0.1, cell, permutation(rank, cells))
        expected.append(score(image) - score(naive.put(image, OTHERS[replacement](image), top)))
    agree(measured(m.ReplacementDrop(0.1, replacement, cell), maps, rank), expected)


class Constant(nn.Module):
    """The same logits for every image."""

    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1) + 0 * x.flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("steps", [1, 7, 50, 224])
def test_of_a_constant_model_the_areas_are_its_probability(steps):
    model, batch = Constant(0.1, 1.3, -0.4).eval(), images(2)
    chosen = [cls(steps, baseline) for cls in (m.Deletion, m.Insertion) for baseline in ("zero", "mean", "blur")]
    scores = pellucid.evaluate(model, batch, torch.rand(2, 32, 32), metrics=chosen)
    exact = float(model.logits.detach().softmax(0)[1])
    for name in scores:
        assert scores[name].flatten().tolist() == [exact, exact]
        assert bool(scores.notes[name][NOT_LOWERED].all()), "no replacement lowers the score"
    others = [m.AOPC(steps), "road_morf", "road_lerf", "infidelity", "replacement_drop", "average_drop"]
    scores = pellucid.evaluate(model, batch, torch.rand(2, 32, 32), metrics=others)
    assert [scores[name].flatten().tolist() for name in scores] == [[0, 0]] * 6
    correlations = ("faithfulness_correlation", "sensitivity_n")
    scores = pellucid.evaluate(model, batch, torch.rand(2, 32, 32), metrics=correlations)
    assert [dict(scores.missing(name)) for name in scores] == [{"the score does not change": 2}] * 2


class Bright(nn.Module):
    """A finding is what is bright within a box; two classes, softmax."""

    def forward(self, x: Tensor) -> Tensor:
        seen = x[:, :, 4:10, 6:12].flatten(1).mean(1)
        return torch.stack([-seen, seen], 1)


def lesions(count: int = 3) -> tuple[Tensor, Tensor]:
    batch = 0.2 * torch.rand(count, 1, 20, 20, generator=torch.Generator().manual_seed(4))
    batch[:, :, 4:10, 6:12] += 2
    truth = torch.zeros(count, 20, 20)
    truth[:, 4:10, 6:12] = 1
    return batch, truth


@pytest.mark.parametrize("baseline", ["zero", "mean", "blur"])
def test_the_truth_beats_its_reverse(baseline):
    batch, truth = lesions()
    chosen = [
        m.Deletion(10, baseline),
        m.Insertion(10, baseline),
        m.AOPC(10, baseline),
        m.AverageDrop(baseline),
        m.ROADMoRF(),
        m.ROADLeRF(),
        m.FaithfulnessCorrelation(30, baseline=baseline),
        m.SensitivityN(3, 30, baseline),
        m.ReplacementDrop(0.1, baseline),
        m.IncreaseInConfidence(baseline),
    ]
    right, wrong = (pellucid.evaluate(Bright(), batch, maps, targets=1, metrics=chosen) for maps in (truth, 1 - truth))
    for name, metric in right.metrics.items():
        better = right[name] < wrong[name] if metric.better == "lower" else right[name] > wrong[name]
        equal = bool((right[name] == wrong[name]).all())
        assert bool(better.all()) or (equal and metric.proportion), name
    # A map and its negative predict equally well; a map of other pixels does not.
    elsewhere = truth.roll(8, dims=2)
    found = [
        pellucid.evaluate(Bright(), batch, maps, targets=1, metrics=["infidelity"])["infidelity"]
        for maps in (truth, -truth, elsewhere)
    ]
    assert torch.allclose(found[0], found[1], rtol=1e-9)
    assert bool((found[0] < 0.7 * found[2]).all())


def test_ties_are_broken_by_the_seed():
    batch, _ = lesions(2)
    flat = torch.full((2, 20, 20), 0.4)
    chosen = [m.Deletion(20), m.AOPC(20), m.ReplacementDrop(0.1)]

    def at(seed: int, count: int = 2) -> list[list[float]]:
        scores = pellucid.evaluate(Bright(), batch[:count], flat[:count], targets=1, metrics=chosen, seed=seed)
        return [scores[name].flatten().tolist() for name in scores]

    assert at(1) == at(1)
    assert all(one != other for one, other in zip(at(1), at(2), strict=True))
    assert [row[:1] for row in at(1)] == at(1, 1), "an image's order does not depend on the others"
    scores = pellucid.evaluate(Bright(), batch, flat, targets=1, metrics=["deletion_auc"])
    assert scores.notes["deletion_auc"]["the map is constant"].tolist() == [[True], [True]]
    wide = batch[:1].expand(1, 1, 20, 20)
    in_rows = torch.arange(400.0).flip(0).view(1, 20, 20)
    ordered = pellucid.evaluate(Bright(), wide, in_rows, targets=1, metrics=[m.Deletion(20)])
    assert abs(float(ordered["deletion_auc(steps=20)"]) - at(1)[0][0]) > 0.01, "not in reading order"


def test_two_baselines_are_two_options():
    batch, truth = lesions()
    scores = pellucid.evaluate(
        Bright(), batch, truth, targets=1, metrics=[m.Deletion(), m.Deletion(baseline="blur"), m.Insertion()]
    )
    assert list(scores) == ["deletion_auc", "deletion_auc(baseline=blur)", "insertion_auc"]
    assert not torch.equal(scores["deletion_auc"], scores["deletion_auc(baseline=blur)"])
    alone = pellucid.evaluate(Bright(), batch, truth, targets=1, metrics=["deletion_auc"])
    assert torch.equal(alone["deletion_auc"], scores["deletion_auc"])


def test_passes_are_those_that_the_definition_needs():
    seen: list[int] = []
    model = seeded(TinyCNN).eval()
    model.features[0].register_forward_hook(lambda _module, _inputs, output: seen.append(len(output)))
    batch, maps = images(4), torch.rand(4, 32, 32)

    def passes(*chosen: Metric) -> int:
        seen.clear()
        pellucid.evaluate(model, batch, maps, metrics=chosen)
        return sum(seen)

    passes(m.Deletion(1))  # finds out what is then known of the network
    plain = passes(m.Deletion(1)) - 4  # one step an image, beside the clean one
    assert plain == 4
    assert passes(m.Deletion(20)) - plain == 4 * 20
    assert passes(m.Insertion(20)) - plain == 4 * 20
    assert passes(m.AOPC(20), m.Deletion(20)) - plain == 2 * 4 * 20, "the clean pass is made once"
    assert passes(m.ROADMoRF(5)) - plain == 4 * 5
    assert passes(m.ReplacementDrop()) - plain == 4 * 2
    assert passes(m.SensitivityN(2, 6)) - plain == 4 * 12


class Dark(nn.Module):
    """A cyst: the darker the box, the higher the score, so that a blur or 0 may raise it."""

    def forward(self, x: Tensor) -> Tensor:
        return -x[:, :, 4:10, 6:12].flatten(1).mean(1, keepdim=True)


def test_a_replacement_that_does_not_lower_the_score_is_told():
    batch, truth = lesions()
    batch[0] = batch[0].clamp(max=0.4)
    batch[1:, :, 4:10, 6:12] -= 4  # dark in two of three: 0 is brighter
    chosen = [m.ReplacementDrop(0.1, "zero"), m.Deletion(5), m.AOPC(5), m.Insertion(5)]
    scores = pellucid.evaluate(Dark(), batch, truth, targets=1, head="binary", metrics=chosen)
    for name in scores:
        assert scores.notes[name][NOT_LOWERED].flatten().tolist() == [True, False, False]
        assert not scores[name].isnan().any()
        assert f"1: {NOT_LOWERED}" in scores.table()
    assert float(scores["replacement_drop(top=0.1, replacement=zero)"][0]) < 0


class Contrast(nn.Module):
    """How much brighter the box is than twice the whole image."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, 4:10, 6:12].flatten(1).mean(1, keepdim=True) - 2 * x.flatten(1).mean(1, keepdim=True)


def test_the_note_is_about_the_whole_image_and_not_about_the_part():
    _, truth = lesions()
    batch = torch.ones(3, 1, 20, 20)
    metric = m.ReplacementDrop(0.09, "zero")
    scores = pellucid.evaluate(Contrast(), batch, truth, targets=1, head="binary", metrics=[metric])
    name = next(iter(scores))
    assert bool((scores[name] > 0).all()), "without the box, the score is lower"
    assert bool(scores.notes[name][NOT_LOWERED].all()), "without the image, it is 0 and not −1"
    for row in range(3):  # the other way round: the part raises it, and the whole lowers it
        elsewhere = pellucid.evaluate(
            Contrast(), -batch[row : row + 1], truth[row : row + 1], targets=1, head="binary", metrics=[metric]
        )
        assert float(elsewhere[name]) < 0
        assert not bool(elsewhere.notes[name][NOT_LOWERED].any())


def references(healthy: int = 4) -> tuple[Tensor, Tensor]:
    """Other patients without the finding, and with it."""
    source = torch.Generator().manual_seed(9)
    others = 0.3 * torch.rand(healthy + 3, 1, 20, 20, generator=source)
    others[healthy:, :, 4:10, 6:12] += 3
    return others, torch.tensor([0] * healthy + [1] * 3)


def test_the_tissue_is_of_others_without_the_finding():
    batch, truth = lesions()
    others, labels = references()
    expected = torch.zeros(3, 4)
    for row in range(3):
        for number in range(4):
            changed = batch[row].clone()
            changed[0][truth[row] > 0] = others[number, 0][truth[row] > 0]
            both = Bright()(torch.stack([batch[row], changed])).softmax(1)[:, 1]
            expected[row, number] = both[0] - both[1]
    top = float(truth[0].sum()) / 400

    def drops(given: Tensor, draws: int) -> Tensor:
        metric = m.ReplacementDrop(top, m.References(others, given, draws))
        scores = pellucid.evaluate(Bright(), batch, truth, targets=1, metrics=[metric])
        return scores[next(iter(scores))][:, 0]

    torch.testing.assert_close(drops(labels, 4), expected.mean(1).double(), rtol=1e-5, atol=1e-6)
    one = drops(labels, 1)
    assert all(min(abs(one[row] - expected[row])) < 1e-6 for row in range(3))
    as_table = torch.stack([labels == 0, labels == 1], 1)
    torch.testing.assert_close(drops(as_table, 4), drops(labels, 4))
    torch.testing.assert_close(drops(as_table.int(), 4), drops(labels, 4))
    torch.testing.assert_close(drops(labels, 8), drops(labels, 4))  # there are four: each twice
    assert bool((drops(torch.tensor([1] * 4 + [0] * 3), 3) < 0).all()), "brighter tissue raises the score"


def test_an_image_is_no_reference_for_itself():
    batch, truth = lesions()
    metric = m.ReplacementDrop(0.09, m.References(batch, draws=2))
    scores = pellucid.evaluate(Bright(), batch, truth, targets=1, metrics=[metric])
    value = scores[next(iter(scores))]
    assert bool((value != 0).all())
    alone = pellucid.evaluate(
        Bright(), batch[:1], truth[:1], targets=1, metrics=[m.Deletion(4, m.References(batch[:1]))]
    )
    assert alone[next(iter(alone))].isnan().all()
    assert dict(alone.missing(next(iter(alone)))) == {NO_REFERENCE: 1}


@pytest.mark.parametrize(
    "metric", [m.Deletion, m.Insertion, m.AOPC, m.AverageDrop, m.IncreaseInConfidence, m.Infidelity]
)
def test_every_baseline_may_be_others_tissue(metric):
    batch, truth = lesions()
    others, labels = references()
    scores = pellucid.evaluate(
        Bright(), batch, 0.5 * truth, targets=1, metrics=[metric(baseline=m.References(others, labels)), metric()]
    )
    assert next(iter(scores)) == f"{metric.name}(baseline=References(7 images, draws=1))"
    first, second = (scores[name] for name in scores)
    assert not first.isnan().any()
    assert metric is m.IncreaseInConfidence or not torch.equal(first, second)


def test_where_no_reference_is_left_there_is_no_value():
    batch, truth = lesions()
    others, labels = references()
    metric = m.ReplacementDrop(replacement=m.References(others, labels))
    scores = pellucid.evaluate(
        Bright(), batch, truth[:, None].expand(-1, 2, -1, -1), targets="all", metrics=[metric], head="softmax"
    )
    assert not scores[next(iter(scores))].isnan().any()
    metric = m.ReplacementDrop(replacement=m.References(others, torch.ones_like(labels)))
    scores = pellucid.evaluate(
        Bright(), batch, truth[:, None].expand(-1, 2, -1, -1), targets="all", metrics=[metric], head="softmax"
    )
    assert scores.reasons[next(iter(scores))] == ((None, NO_REFERENCE),) * 3


def test_a_score_that_is_not_positive_has_no_relative_drop():
    batch, truth = lesions()
    scores = pellucid.evaluate(
        Bright(), batch, truth[:, None].expand(-1, 2, -1, -1), targets=lambda out: out, metrics=["average_drop"]
    )
    assert scores.reasons["average_drop"] == (("the score is not above 0", None),) * 3


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_constant_and_empty_maps_are_valued_or_counted(name):
    batch, truth = lesions()
    maps = torch.stack([torch.zeros(20, 20), torch.full((20, 20), 0.5), truth[2]])
    scores = pellucid.evaluate(Bright(), batch, maps, targets=1, metrics=[METRICS.find(name)()])
    reasons = [row[0] for row in scores.reasons[name]]
    if name in ("faithfulness_correlation", "sensitivity_n"):
        assert reasons == ["the map is constant", "the map is constant", None]
    else:
        assert reasons == [None, None, None]
        assert scores[name].isfinite().all()
    if name in ("aopc", "deletion_auc", "insertion_auc", "road_lerf", "road_morf"):
        assert scores.notes[name]["the map is constant"].flatten().tolist() == [True, True, False]


@pytest.mark.parametrize("name", FAITHFULNESS)
def test_the_metrics_name_what_they_take(name):
    cls = METRICS.find(name)
    assert cls.takes == (
        "heatmaps" if name in ("average_drop", "increase_in_confidence", "replacement_drop") else "attributions"
    )
    assert cls.better in ("higher", "lower")
    assert getattr(m, cls.__name__) is cls
    assert cls() == cls()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: m.Deletion(0), r"steps=0 was set; it must be a whole number of at least 1"),
        (lambda: m.Insertion(2.5), r"steps=2.5 was set"),
        (lambda: m.AOPC(True), r"steps=True was set"),
        (
            lambda: m.Deletion(baseline="blurr"),
            r"baseline='blurr' was set; it may be zero, mean, blur or References\(images, labels\); did you mean blur",
        ),
        (lambda: m.Deletion(baseline=0.5), r"baseline=0.5 was set; it may be zero"),
        (lambda: m.Deletion(baseline=[1]), r"baseline=\[1\] was set; it may be zero"),
        (lambda: m.Deletion(baseline=torch.zeros(2)), r"baseline=tensor.* was set; it may be zero"),
        (lambda: m.ReplacementDrop(top=0), r"top=0 was set; it must be a share above 0 and at most 1"),
        (lambda: m.ReplacementDrop(top=math.nan), r"top=nan was set"),
        (lambda: m.ReplacementDrop(cell=0), r"cell=0 was set"),
        (lambda: m.ReplacementDrop(replacement="healthy"), r"replacement='healthy' was set"),
        (lambda: m.ReplacementDrop(score="margin"), r"score='margin' was set; it may be probability or logit"),
        (lambda: m.ROADMoRF(noise=-1), r"noise=-1 was set; it must be a standard deviation of at least 0"),
        (lambda: m.ROADLeRF(noise=math.inf), r"noise=inf was set"),
        (lambda: m.Infidelity(samples=2), r"samples=2 was set; it must be a whole number of at least 3"),
        (lambda: m.Infidelity(side=1), r"side=1 was set; it must be a share above 0 and below 1"),
        (lambda: m.FaithfulnessCorrelation(share=0), r"share=0 was set"),
        (lambda: m.SensitivityN(sizes=0), r"sizes=0 was set"),
        (lambda: m.References(torch.zeros(0, 3, 4, 4)), r"References of \(0, 3, 4, 4\) were given; a tensor \(R, C"),
        (lambda: m.References([1, 2]), r"References of list were given"),
        (
            lambda: m.References(torch.zeros(2, 3, 4, 4), torch.zeros(3)),
            r"labels \(3,\) torch.float32 were given for 2 Ref",
        ),
        (lambda: m.References(torch.zeros(2, 3, 4, 4), torch.zeros(2)), r"labels \(2,\) torch.float32"),
        (lambda: m.References(torch.zeros(2, 3, 4, 4), torch.full((2, 3), 0.5)), r"labels \(2, 3\)"),
        (lambda: m.References(torch.zeros(2, 3, 4, 4), [0, 1]), r"labels list were given"),
        (lambda: m.References(torch.zeros(2, 3, 4, 4), draws=0), r"draws=0 was set"),
    ],
)
def test_options_that_are_not_possible(make, message):
    with pytest.raises((OptionError, ShapeError), match=f"^{message}") as raised:
        make()
    assert "\n" not in str(raised.value)


def test_references_that_do_not_fit():
    batch, truth = lesions()
    small = m.Deletion(baseline=m.References(torch.rand(3, 1, 10, 20)))
    with pytest.raises(
        ShapeError, match=r"References \(3, 1, 10, 20\) were given; images of \(1, 20, 20\) are explained"
    ):
        pellucid.evaluate(Bright(), batch, truth, targets=1, metrics=[small])
    few = m.Deletion(baseline=m.References(torch.rand(3, 1, 20, 20), torch.zeros(3, 1)))
    with pytest.raises(OptionError, match="class 1 is explained; the labels of the References are of 1 classes"):
        pellucid.evaluate(Bright(), batch, truth, targets=1, metrics=[few])
