"""Sensitivities and stabilities, compared with loops over one image at a time in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.errors import OptionError
from pellucid.metrics._nearby import noisy, uniform
from pellucid.metrics.avg_sensitivity import AvgSensitivity
from pellucid.metrics.max_sensitivity import MaxSensitivity
from pellucid.metrics.relative_input_stability import RelativeInputStability
from pellucid.metrics.relative_output_stability import RelativeOutputStability
from tests.metrics.remaking import Functions

SAMPLES = 7
RADIUS = 0.3


def cases(space=(5, 4), count=6, gain=1.0, **changed):
    source = torch.Generator().manual_seed(5)
    weights = torch.randn(count, 2, *space, generator=source)
    head = torch.randn(weights[0].numel(), 3, generator=source)

    def method(images, numbers):
        return gain * (images * weights[numbers]).sum(1).sin()

    images = torch.randn(count, 2, *space, generator=source)
    settings = {"classes": torch.zeros(count, dtype=torch.int64)} | changed
    return Functions(images, settings.pop("method", method), lambda x: x.flatten(1) @ head, **settings)


def copies(given):
    """The changed copies (samples, P, C, *space), as metrics of these options draw them."""
    variant = noisy(given, uniform, RADIUS, SAMPLES)
    steps = [variant(given.numbers, torch.full_like(given.numbers, step)) for step in range(SAMPLES)]
    return torch.stack(steps)


def each(given):
    """(image, map, logits) of each case, and of each of its copies, as lists of numpy arrays."""
    moved = copies(given)
    for case in range(len(given.images)):
        number = torch.tensor([case])
        clean = [
            given.images[case],
            given.method(given.images[number], number)[0],
            given.network(given.images[number])[0],
        ]
        made = [
            [moved[step, case], given.method(moved[step, number], number)[0], given.network(moved[step, number])[0]]
            for step in range(SAMPLES)
        ]
        yield [one.double().numpy() for one in clean], [[one.double().numpy() for one in step] for step in made]


def naive_changes(given):
    rows = []
    for (_, clean, _), made in each(given):
        length = sum(value**2 for value in clean.ravel()) ** 0.5
        rows.append(
            [
                sum((a - b) ** 2 for a, b in zip(m.ravel(), clean.ravel(), strict=True)) ** 0.5 / length
                for _, m, _ in made
            ]
        )
    return np.array(rows)


def naive_quotient(new, old, least):
    total = 0.0
    for a, b in zip(new.ravel(), old.ravel(), strict=True):
        total += ((b - a) / (b if b != 0 else least)) ** 2
    return total**0.5


def naive_stability(given, least, of_image):
    found = []
    for (image, clean, logits), made in each(given):
        ratios = []
        for copy, moved, other in made:
            if other.argmax() != logits.argmax():
                continue
            below = naive_quotient(copy, image, least) if of_image else np.sqrt(((logits - other) ** 2).sum())
            ratios.append(naive_quotient(moved, clean, least) / max(below, least))
        found.append(max(ratios, default=np.nan))
    return found


@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)])
def test_sensitivities_equal_those_of_a_loop(space):
    given = cases(space)
    expected = naive_changes(given)
    most, mean = MaxSensitivity(SAMPLES, RADIUS).update(given), AvgSensitivity(SAMPLES, RADIUS).update(given)
    assert most.values.tolist() == pytest.approx(expected.max(1).tolist(), rel=1e-5)
    assert mean.values.tolist() == pytest.approx(expected.mean(1).tolist(), rel=1e-5)
    assert bool((mean.values < most.values).all())


@pytest.mark.parametrize("space", [(5, 4), (3, 4, 2)])
@pytest.mark.parametrize(("kind", "of_image"), [(RelativeInputStability, True), (RelativeOutputStability, False)])
def test_stabilities_equal_those_of_a_loop(space, kind, of_image):
    given = cases(space)
    given.images[0, 0, 0] = 0  # in the quotient, 0 counts as the least
    found = kind(SAMPLES, RADIUS, least=1e-3).update(given)
    kept = [[other.argmax() == logits.argmax() for _, _, other in made] for (_, _, logits), made in each(given)]
    assert 0 < np.sum(kept) < np.size(kept)  # some copies are predicted otherwise, and are left out
    assert found.values.tolist() == pytest.approx(naive_stability(given, 1e-3, of_image), rel=1e-4, nan_ok=True)


def test_the_copies_lie_within_the_radius_and_are_the_same_for_every_image():
    given = cases()
    moved = (copies(given) - given.images).flatten(2)
    spread = RADIUS * (given.images.flatten(1).amax(1) - given.images.flatten(1).amin(1))
    assert bool((moved.abs().amax(2) <= spread * (1 + 1e-5)).all())
    assert bool((moved.amax(2) > 0.8 * spread).all())
    assert bool((moved.amin(2) < -0.8 * spread).all())
    grain = moved / spread[:, None]
    torch.testing.assert_close(grain, grain[:, :1].expand_as(grain), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(grain[0], grain[1])


def test_some_copies_are_those_of_their_cases_and_steps():
    given = cases()
    cases_, steps = torch.tensor([2, 0, 5, 1]), torch.tensor([0, 0, 3, 4])
    found = noisy(given, uniform, RADIUS, SAMPLES)(cases_, steps)
    torch.testing.assert_close(found, copies(given)[steps, cases_])


@pytest.mark.parametrize("kind", [MaxSensitivity, AvgSensitivity, RelativeInputStability, RelativeOutputStability])
def test_a_map_that_does_not_move_is_not_sensitive(kind):
    still = cases(method=lambda images, numbers: torch.ones(len(images), *images.shape[2:]))
    found = kind(SAMPLES, 0.001).update(still)
    assert found.values.tolist() == [0] * 6
    assert set(found.reasons()) == {None}


@pytest.mark.parametrize("kind", [MaxSensitivity, AvgSensitivity])
def test_the_scale_of_the_maps_does_not_count(kind):
    one, other = kind(SAMPLES).update(cases()), kind(SAMPLES).update(cases(gain=20.0))
    assert one.values.tolist() == pytest.approx(other.values.tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", [MaxSensitivity, AvgSensitivity, RelativeInputStability, RelativeOutputStability])
def test_maps_that_are_empty_or_not_finite_are_counted(kind):
    def method(images, numbers):
        maps = images.sum(1)
        maps[numbers == 1] = 0
        moved = (images - given.images[numbers]).flatten(1).abs().amax(1) > 0
        maps[(numbers == 2) & moved] = torch.nan
        return maps

    given = cases(method=method)
    found = kind(SAMPLES, 0.001).update(given)
    assert found.reasons()[1:3] == ("the map is empty", "the map of a changed image is not finite")
    assert set(found.reasons()[3:]) == {None}
    assert bool(found.values[1:3].isnan().all())


@pytest.mark.parametrize("kind", [RelativeInputStability, RelativeOutputStability])
def test_a_case_whose_copies_are_all_predicted_otherwise_is_counted(kind):
    def network(images):
        moved = (images[0] - given.images[0]).abs().amax() > 0
        return torch.tensor([[0.0, 1.0 if moved else -1.0]]).expand(len(images), -1)

    given = cases()
    given = Functions(given.images, given.method, network, given.classes)
    assert set(kind(SAMPLES).update(given).reasons()) == {"all changed images are predicted as other classes"}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (MaxSensitivity, {"samples": 0}),
        (AvgSensitivity, {"radius": -0.1}),
        (RelativeInputStability, {"least": 0}),
        (RelativeOutputStability, {"radius": float("nan")}),
    ],
)
def test_options_outside_their_range_are_refused(kind, options):
    with pytest.raises(OptionError, match=r"^\w+ must be (at least|above) \d"):
        kind(**options)
