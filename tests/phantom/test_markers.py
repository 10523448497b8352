"""Markers on drawn radiographs: where they are, what they leave alone, and that they can be toggled."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter1d

from pellucid.errors import OptionError
from pellucid.phantom import CLASSES, MARKERS, marked, radiographs, redraw, volumes


@pytest.fixture(scope="module")
def drawn():
    return radiographs(6, 64, seed=4, exclusive=True)


EVERYWHERE = torch.ones(6, dtype=torch.bool)
PLACES = {
    "letter": (slice(0, 16), slice(0, 16)),
    "corner": (slice(48, 64), slice(48, 64)),
    "text": (slice(48, 64), slice(0, 32)),
}


@pytest.mark.parametrize("marker", MARKERS)
def test_a_marker_changes_its_own_pixels_and_no_others(drawn, marker):
    on = torch.tensor([True, False, True, True, False, True])
    found = marked(drawn, marker, on, seed=2)
    assert torch.equal(found.images[~on], drawn.images[~on])
    assert not found.markers[~on].any()
    changed = (found.images != drawn.images)[:, 0]
    if marker == "blur":
        assert not found.markers.any()
        assert float(changed[on].float().mean()) > 0.9
    else:
        assert torch.equal(changed & ~found.markers, torch.zeros_like(changed))
        assert bool((found.images[:, 0][found.markers] >= 0.9).all())
        outside = torch.ones(64, 64, dtype=torch.bool)
        outside[PLACES[marker]] = False
        assert not (found.markers & outside).any()
        assert bool(found.markers[on].flatten(1).any(1).all())
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    assert torch.equal(found.labels, drawn.labels)
    assert torch.equal(found.masks, drawn.masks)


def test_the_blur_is_a_gaussian(drawn):
    found = marked(drawn, "blur", EVERYWHERE).images[0, 0].numpy()
    expected = drawn.images[0, 0].numpy().astype(np.float64)
    for axis in (0, 1):
        expected = gaussian_filter1d(expected, 0.009 * 64, axis, mode="mirror", radius=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("marker", MARKERS)
def test_the_form_depends_on_seed_and_number_alone(drawn, marker):
    first = marked(drawn, marker, EVERYWHERE, seed=1)
    alone = marked(drawn, marker, torch.arange(6) == 3, seed=1)
    assert torch.equal(first.images[3], alone.images[3])
    other = marked(drawn, marker, EVERYWHERE, seed=2)
    assert marker == "blur" or not torch.equal(first.markers, other.markers)


def test_markers_grow_with_the_image():
    shares = [
        float(marked(radiographs(4, side), "text", torch.ones(4, dtype=torch.bool)).markers.float().mean())
        for side in (64, 128)
    ]
    assert abs(shares[0] / shares[1] - 1) < 0.15


@pytest.mark.parametrize("on", [[True, False] * 3, (True, False) * 3, np.array([True, False] * 3)])
def test_those_to_mark_may_be_listed(drawn, on):
    found = marked(drawn, "corner", on)
    assert torch.equal(found.images, marked(drawn, "corner", torch.tensor([True, False] * 3)).images)
    assert found.markers.flatten(1).any(1).tolist() == [True, False] * 3


@pytest.mark.parametrize(
    ("marker", "on", "seed", "words"),
    [
        (["letter"], EVERYWHERE, 0, r"marker \['letter'\] was asked for; there are letter, corner, text, blur"),
        (None, EVERYWHERE, 0, "marker None was asked for"),
        ("letter", [True] * 5, 0, "on .*True.* was given; give a bool for each of the 6 images"),
        ("letter", [1] * 6, 0, r"on \[1, 1, .* was given"),
        ("letter", True, 0, "on True was given"),
        ("letter", "111111", 0, "on '111111' was given"),
        ("letter", np.ones((6, 1), bool), 0, "on array.* was given"),
        ("letter", EVERYWHERE, "a", "seed='a' was asked for; it is a whole number from 0"),
        ("letter", EVERYWHERE, True, "seed=True was asked for"),
    ],
)
def test_what_cannot_be_marked_is_refused_in_one_line(drawn, marker, on, seed, words):
    with pytest.raises(OptionError, match=words) as caught:
        marked(drawn, marker, on, seed)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_marked(drawn):
    with pytest.raises(
        OptionError, match="marker 'leter' was asked for; there are letter, corner, text, blur; did you"
    ):
        marked(drawn, "leter", EVERYWHERE)
    with pytest.raises(OptionError, match=r"on \(5,\) torch.bool was given; give a bool for each of the 6 images"):
        marked(drawn, "letter", EVERYWHERE[:5])
    with pytest.raises(OptionError, match=r"on .* torch.int64 was given"):
        marked(drawn, "letter", EVERYWHERE.long())
    with pytest.raises(OptionError, match="volumes were given"):
        marked(volumes(1, 16), "letter", torch.tensor([True]))
    without_origin = marked(drawn, "letter", EVERYWHERE)
    with pytest.raises(OptionError, match="do not know how they were drawn"):
        redraw(without_origin, 0, CLASSES[1], [0])
