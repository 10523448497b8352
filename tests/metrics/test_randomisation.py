"""Randomisation tests on maps that are functions of the image, compared with loops in numpy and scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from pellucid.core.metric import CONSTANT_MAP, Takes
from pellucid.errors import OptionError
from pellucid.metrics._nearby import noisy, normal
from pellucid.metrics.emprt import EfficientMPRT, histogram_entropy
from pellucid.metrics.mprt import MPRT
from pellucid.metrics.pointing import PointingGame
from pellucid.metrics.random_logit import RandomLogit
from pellucid.metrics.smprt import SmoothMPRT
from tests.metrics.remaking import Cosine, Functions

COUNT = 6


def cases(space=(5, 4), count=COUNT):
    source = torch.Generator().manual_seed(5)
    weights = torch.randn(4, 2, *space, generator=source)
    images = torch.randn(count, 2, *space, generator=source)
    head = torch.randn(images[0].numel(), 3, generator=source)

    def with_weights(own):
        return lambda images, numbers: (images * own).sum(1).sin()

    return Functions(
        images,
        with_weights(weights[0]),
        lambda x: x.flatten(1) @ head,
        torch.tensor([0, 1, 2] * 2)[:count],
        tuple((f"layer{number}", with_weights(own)) for number, own in enumerate(weights[1:])),
        lambda images, classes: (images * weights[classes]).sum(1).cos(),
    )


def cosine(a, b):
    pairs = list(zip(a.double().flatten().tolist(), b.double().flatten().tolist(), strict=True))
    lengths = [math.sqrt(sum(pair[side] ** 2 for pair in pairs)) for side in (0, 1)]
    return sum(one * other for one, other in pairs) / (lengths[0] * lengths[1])


def of_case(given, case, method, images=None):
    return method((given.images if images is None else images)[case : case + 1], torch.tensor([case]))[0]


@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)])
def test_mprt_is_the_mean_similarity_over_the_layers(space):
    given = cases(space)
    found = MPRT(Cosine()).update(given)
    expected = [
        [cosine(of_case(given, case, given.method), of_case(given, case, method)) for _, method in given.layers]
        for case in range(COUNT)
    ]
    assert list(found.steps) == ["layer0", "layer1", "layer2"]
    assert torch.stack(list(found.steps.values())).T.tolist() == pytest.approx(np.array(expected), abs=1e-6)
    assert found.values.tolist() == pytest.approx(np.mean(expected, axis=1), abs=1e-6)


@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)])
def test_smprt_compares_the_means_of_noisy_copies(space):
    given, samples = cases(space), 5
    found = SmoothMPRT(Cosine(), samples=samples, noise=0.3).update(given)
    variant = noisy(given, normal, 0.3, samples)
    copies = [variant(given.numbers, torch.full_like(given.numbers, step)) for step in range(samples)]
    expected = []
    for case in range(COUNT):
        clean, *made = (
            sum(of_case(given, case, method, images) for images in copies) / samples
            for method in (given.method, *(method for _, method in given.layers))
        )
        expected.append(sum(cosine(clean, one) for one in made) / len(made))
    assert found.values.tolist() == pytest.approx(expected, abs=1e-6)
    plain = MPRT(Cosine()).update(given)
    assert (found.values - plain.values).abs().min() > 1e-3


@pytest.mark.parametrize("space", [(50, 40), (30, 40, 20)])
def test_emprt_is_the_relative_rise_of_the_histograms_entropy(space):
    given = cases(space)
    expected = []
    for case in range(COUNT):
        maps = [of_case(given, case, method).double().numpy() for method in (given.method, given.layers[-1][1])]
        before, after = (entropy(np.histogram(one, bins=100)[0]) for one in maps)
        expected.append((after - before) / before)
    assert EfficientMPRT().update(given).values.tolist() == pytest.approx(expected, abs=1e-3)


def test_the_histogram_has_equal_bins_from_the_lowest_to_the_highest_value():
    maps = torch.randint(0, 33, (20, 90), generator=torch.Generator().manual_seed(0)).double()  # no value near an edge
    expected = [entropy(np.histogram(one.numpy(), bins=7)[0]) for one in maps]
    assert histogram_entropy(maps, 7).tolist() == pytest.approx(expected, abs=1e-12)


def test_emprt_is_unchanged_by_scale_and_shift_but_for_rounding():
    given = cases((50, 40))
    expected = EfficientMPRT().update(given).values

    def changed(method, scale, shift):
        return lambda images, numbers: scale * method(images, numbers) + shift

    for scale, shift, apart in [(4.0, 0.0, 0.0), (1.3, 0.7, 2e-3)]:
        layers = tuple((name, changed(method, scale, shift)) for name, method in given.layers)
        other = replace(given, method=changed(given.method, scale, shift), layers=layers)
        assert EfficientMPRT().update(other).values.tolist() == pytest.approx(expected.tolist(), abs=apart)


def test_random_logit_compares_with_another_class():
    given = cases()
    found = RandomLogit(Cosine()).update(given).values
    possible = [
        [
            cosine(of_case(given, case, given.method), of_case(given, case, lambda x, _, k=k: given.of_class(x, [k])))
            for k in range(3)
            if k != given.classes[case]
        ]
        for case in range(COUNT)
    ]
    chosen = [min(range(2), key=lambda n: abs(pair[n] - value)) for pair, value in zip(possible, found, strict=True)]
    assert [pair[n] for pair, n in zip(possible, chosen, strict=True)] == pytest.approx(found.tolist(), abs=1e-6)
    assert 0 < sum(chosen) < COUNT


def test_the_other_class_is_each_of_the_others_equally_often():
    seen = []

    def of_class(images, classes):
        seen.append(classes)
        return images.sum(1)

    given = replace(cases((1, 1), 3000), classes=torch.full((3000,), 1), of_class=of_class)
    RandomLogit(Cosine()).update(given)
    counts = torch.bincount(seen[0], minlength=3)
    assert counts[1] == 0
    assert 1400 < counts[0] < 1600


def test_the_other_direction_of_a_value_is_no_other_class():
    seen = []

    def of_class(images, classes):
        seen.append(classes)
        return images.sum(1)

    def network(images):
        return images.sum(1).flatten(1).repeat(1, 6)

    given = replace(cases((1, 1), 3000), classes=torch.arange(3000) % 6, of_class=of_class, network=network)
    RandomLogit(Cosine()).update(replace(given, directions=True))
    for own in range(6):
        counts = torch.bincount(seen[0][given.classes == own], minlength=6)
        assert [int(count) > 0 for count in counts] == [number // 2 != own // 2 for number in range(6)]
        assert counts[counts > 0].min() > 90  # of 125
    alone = replace(given, directions=True, classes=torch.zeros(3000).long(), network=lambda x: network(x)[:, :2])
    found = RandomLogit(Cosine()).update(alone)
    assert set(found.reasons()) == {"the other direction of a value is no other class"}
    assert found.values.isnan().all()
    assert len(seen) == 1  # no map is made for nothing


def test_a_map_that_does_not_follow_the_weights_has_the_similarity_1():
    given = cases()
    given = replace(given, layers=tuple((name, given.method) for name, _ in given.layers))
    for metric in (MPRT(Cosine()), SmoothMPRT(Cosine(), samples=3)):
        assert metric.update(given).values.tolist() == pytest.approx([1] * COUNT)
    assert EfficientMPRT().update(given).values.tolist() == [0] * COUNT


def test_layers_without_a_similarity_are_left_out_and_cases_without_any_are_counted():
    given = cases()
    (first, one), (second, _two), (third, _three) = given.layers

    def empty(cases, value):
        return lambda images, numbers: torch.where(
            torch.isin(numbers, torch.tensor(cases)).reshape(-1, 1, 1), torch.tensor(value), one(images, numbers)
        )

    given = replace(
        given, layers=((first, empty([0, 1, 2], 0.0)), (second, empty([1], 0.0)), (third, empty([1, 2], math.nan)))
    )
    found = MPRT(Cosine()).update(given)
    assert found.reasons() == (None, "the other map is not finite", None, None, None, None)
    assert found.steps[first].isnan().tolist() == [True, True, True, False, False, False]
    expected = MPRT(Cosine()).update(replace(given, layers=((second, one),)))
    assert found.values[[0, 2]].tolist() == expected.values[[0, 2]].tolist()


def test_constant_maps_have_no_complexity_to_rise():
    given = cases()
    flat = replace(given, method=lambda images, _: torch.ones(len(images), 5, 4))
    assert set(EfficientMPRT().update(flat).reasons()) == {CONSTANT_MAP}
    lost = replace(given, layers=(("", lambda images, _: torch.full((len(images), 5, 4), torch.nan)),))
    assert set(EfficientMPRT().update(lost).reasons()) == {"the other map is not finite"}
    still = replace(given, layers=(("", flat.method),))
    assert EfficientMPRT().update(still).values.tolist() == [-1] * COUNT


def test_without_another_class_there_is_no_value():
    alone = replace(cases(), network=lambda images: images.flatten(1)[:, :1])
    assert set(RandomLogit(Cosine()).update(alone).reasons()) == {"there is no other class"}
    called = replace(cases(), classes=torch.full((COUNT,), -1))
    assert set(RandomLogit(Cosine()).update(called).reasons()) == {"no class was explained"}


def test_smprt_makes_heatmaps_of_the_means_where_the_similarity_takes_them():
    seen = []

    @dataclass(frozen=True)
    class Seen(Cosine):
        takes: ClassVar[Takes] = "heatmaps"

        def update(self, a, b):
            seen.append((a, b))
            return super().update(a, b)

    given = cases()
    metric = SmoothMPRT(Seen(), samples=2)
    metric.update(given)
    variant = noisy(given, normal, 0.1, 2)
    mean = torch.stack(list(given.maps_of(2, variant))).mean(0).clamp(min=0)
    low, high = (one.reshape(-1, 1, 1) for one in (mean.flatten(1).amin(1), mean.flatten(1).amax(1)))
    torch.testing.assert_close(seen[0][0], (mean - low) / (high - low))
    assert metric.takes == "attributions"
    assert all(pair[1].min() >= 0 and pair[1].max() == 1 for pair in seen)


@pytest.mark.parametrize("kind", [MPRT, RandomLogit])
def test_a_metric_takes_what_its_similarity_does(kind):
    assert kind(Cosine()).takes == "attributions"
    assert kind(Cosine()).unchanged_by == {"scale"}
    assert kind("spearman").takes == "heatmaps"
    assert kind(Cosine()).better is None  # a gate, no grade


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MPRT(PointingGame()), r"similarity PointingGame\(tolerance=0.0\) was given; it must compare two maps"),
        (lambda: RandomLogit("pointing_game"), "similarity 'pointing_game' was given; it must compare two maps"),
        (lambda: SmoothMPRT("nothing"), "metric 'nothing' was asked for"),
        (lambda: MPRT(Cosine(), order="sideways"), "order 'sideways' was given; there are top_down, bottom_up"),
        (lambda: SmoothMPRT(Cosine(), samples=0), "samples must be at least 1, got 0"),
        (lambda: EfficientMPRT(bins=1), "bins must be at least 2, got 1"),
    ],
)
def test_options_that_are_not_possible_are_refused(make, text):
    with pytest.raises(OptionError, match=text) as caught:
        make()
    assert "\n" not in str(caught.value)
