"""Priors: beside naive replicas, without a model, and where methods are asked for by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core import catalogue
from pellucid.core.catalogue import PRIORS, register_method, register_prior
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.errors import MethodError, OptionError, ShapeError
from pellucid.metrics.pointing import peaks
from pellucid.priors import Brightest, Centre, Darkest, Edges, MeanMask, mean_mask_maps
from tests.metrics.judging import random_masks
from tests.networks import TinyCNN, images, seeded
from tests.priors import naive

SPACES = [(24, 31), (9, 12, 10)]
NAMES = PRIORS.names()


@dataclass(frozen=True)
class NoModel:
    """A probe that has images and random numbers, and nothing of a model."""

    inputs: Inputs
    seed: int = 0

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def of(prior: Method, given: torch.Tensor, seed: int = 0) -> torch.Tensor:
    probe: Any = NoModel(Inputs.of(given), seed)
    return prior.attribute(probe, targets=None).values  # type: ignore[arg-type]


def drawn(space, channels=3, count=2):
    return torch.randn(count, channels, *space, generator=torch.Generator().manual_seed(8))


def built(name: str, space=(8, 8)) -> Method:
    return MeanMask(random_masks(5, space)) if name == "mean_mask" else catalogue.find(name)()


def test_the_priors() -> None:
    assert NAMES == ["brightest", "centre", "darkest", "edges", "mean_mask", "random"]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("prior", "replica", "options"),
    [
        (Edges(), naive.edges, {}),
        (Edges(sigma=0.1), naive.edges, {"sigma": 0.1}),
        (Darkest(), naive.darkest, {}),
        (Brightest(sigma=0.2), naive.brightest, {"sigma": 0.2}),
        (Centre(), naive.centre, {}),
        (Centre(sigma=0.1), naive.centre, {"sigma": 0.1}),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_maps_equal_a_replica_s(prior, replica, options, space):
    given = drawn(space)
    found = of(prior, given)
    assert found.shape == (2, 1, *space)
    for own, image in zip(found[:, 0], given, strict=True):
        assert np.allclose(own.numpy(), replica(image.numpy(), **options), atol=2e-6)


@pytest.mark.parametrize("space", SPACES)
def test_a_mean_mask_equals_a_replica_s(space):
    masks = random_masks(7, space)
    found = of(MeanMask(masks, sigma=0.05), drawn(space))
    assert np.allclose(found[1, 0].numpy(), naive.mean_mask(masks.numpy(), 0.05), atol=1e-6)
    classes = torch.stack([masks, masks.roll(2, dims=1)], dim=1)
    both = (classes[:, 0] | classes[:, 1]).numpy()
    for given in (classes, list(classes), classes.numpy()):  # of all classes alike
        assert np.allclose(of(MeanMask(given), drawn(space))[0, 0].numpy(), naive.mean_mask(both), atol=1e-6)


def test_a_flat_axis_has_no_edges():
    found = of(Edges(), drawn((1, 12, 9)))
    assert np.allclose(found[0, 0].numpy(), naive.edges(drawn((1, 12, 9))[0].numpy()), atol=1e-6)
    assert not of(Edges(), torch.ones(1, 1, 1, 1)).any()


def test_spots_and_edges_are_where_they_were_drawn():
    image = torch.full((1, 1, 60, 60), 0.5)
    image[..., 10:16, 20:26], image[..., 40:46, 30:36] = 0.0, 1.0
    near = {"darkest": (12.5, 22.5), "brightest": (42.5, 32.5)}
    for name, expected in near.items():
        (found,) = peaks(of(catalogue.find(name)(), image)[:, 0]).tolist()
        assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= 1
    (row, column) = peaks(of(Edges(), image)[:, 0])[0].tolist()
    assert image[0, 0, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3].unique().numel() > 1


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_never_asks_the_model(name):
    given = drawn((8, 8))
    found = of(built(name), given)  # the probe has none
    assert found.shape == (2, 1, 8, 8)
    assert bool(found.isfinite().all())
    for classes in (4, 5):
        explanation = pellucid.explain(
            seeded(TinyCNN, 2, classes), given, method=built(name), targets=torch.tensor([[0, 1], [2, 3]])
        )
        assert torch.equal(explanation.attributions, found.expand(2, 2, 8, 8))  # of any model, and every class


@pytest.mark.parametrize("name", sorted({*NAMES} - {"edges", "darkest", "brightest"}))
def test_what_never_sees_the_image_is_the_same_for_all(name):
    first, second = of(built(name), drawn((8, 8)))
    assert torch.equal(first, second)
    assert torch.equal(of(built(name), drawn((8, 8)) + 1)[0], first)


@pytest.mark.parametrize("name", NAMES)
def test_a_prior_says_what_it_is_made_from(name):
    explanation = pellucid.explain(seeded(TinyCNN), images(2), method=built(name, images(2).shape[2:]))
    made_from = catalogue.find(name).made_from
    text = explanation.provenance["prior"]
    assert "never asks the model" in text
    assert ("image alone" in text) == (made_from == "image") == (name in ("edges", "darkest", "brightest"))
    assert explanation.method == name
    assert explanation.layers == ()
    assert pellucid.explain(seeded(TinyCNN), images(2)).provenance["prior"] is None


@pytest.mark.parametrize("name", sorted({*NAMES} - {"mean_mask"}))
def test_priors_are_found_and_built_by_name(name):
    assert catalogue.find(name) is PRIORS.classes[name]
    options = {key: str(value) for key, value in catalogue.settings(catalogue.find(name)).items()}
    assert catalogue.build(name, options) == catalogue.find(name)()
    with pytest.raises(OptionError, match=f"prior '{name}' has the options"):
        catalogue.build(name, {"steps": "7"})


def test_no_list_of_methods_has_priors():
    assert not {*NAMES} & {*pellucid.available_methods()}
    assert not {*NAMES} & {*catalogue.registered()}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("edge", "prior 'edge' was asked for; .*did you mean edges"),
        ("Mean mask", "did you mean mean_mask"),
        ("gradcamm", "method 'gradcamm' was asked for; .*did you mean gradcam"),
    ],
)
def test_a_name_that_is_not_there(asked, words):
    with pytest.raises(MethodError, match=words):
        catalogue.find(asked)


def test_a_name_is_a_method_s_or_a_prior_s():
    @dataclass(frozen=True)
    class Own(Method):
        made_from = "nothing"

        def attribute(self, probe, targets):
            raise NotImplementedError

    with pytest.raises(MethodError, match=r"method 'edges' was registered with .*Own; the prior pellucid.priors.edges"):
        register_method("edges")(Own)
    with pytest.raises(
        MethodError, match=r"prior 'gradcam' was registered with .*; the method pellucid.methods.gradcam"
    ):
        register_prior("gradcam")(Own)
    assert catalogue.find("edges") is Edges
    assert not {*PRIORS.registered()} & {*catalogue.registered()}
    with PRIORS.forgetting(register_prior("zz_own")(Own)):
        assert catalogue.find("zz_own") is Own
        assert "zz_own" not in pellucid.available_methods()
        with pytest.raises(MethodError, match=r"method 'zz_own' was registered with .*; the prior"):
            register_method("zz_own")(Own)


def test_a_prior_has_to_say_what_it_is_made_from():
    @dataclass(frozen=True)
    class Own(Method):
        def attribute(self, probe, targets):
            raise NotImplementedError

    with pytest.raises(MethodError, match="set made_from to 'image', 'masks' or 'nothing'"):
        register_prior("zz_own")(Own)


def test_classes_and_functions_by_their_own_names():
    assert {"Edges", "Random", "MeanMask", "mean_mask_maps"} <= set(dir(pellucid.priors))
    assert pellucid.priors.Edges is Edges
    with pytest.raises(AttributeError, match="did you mean Edges"):
        _ = pellucid.priors.Edge
    with pytest.raises(AttributeError, match=r"did you mean pellucid.priors.MeanMask"):
        _ = pellucid.MeanMask


@pytest.mark.parametrize(
    "kind", [Edges, Darkest, Brightest, Centre, lambda sigma: MeanMask(random_masks(2, (4, 4)), sigma)]
)
@pytest.mark.parametrize("sigma", [0, -1, 1.5, float("nan")])
def test_sigmas_outside_their_range_are_refused(kind, sigma):
    with pytest.raises(OptionError, match="sigma must be above 0 and at most 1"):
        kind(sigma=sigma)


@pytest.mark.parametrize("sigma", ["a", True, [0.1], 0, math.nan, torch.ones(2)])
def test_a_blur_of_mean_masks_is_a_number(sigma):
    with pytest.raises(OptionError, match=r"sigma must be above 0 and at most 1, in sides of the image, got") as raised:
        mean_mask_maps(random_masks(3, (8, 8)), list("abc"), (8, 8), sigma=sigma)
    assert "\n" not in str(raised.value)


def test_a_blur_of_mean_masks_may_be_a_number_of_numpy_or_torch():
    masks = random_masks(3, (8, 8))
    expected = mean_mask_maps(masks, list("abc"), (8, 8), sigma=0.25)
    for sigma in (np.float32(0.25), torch.tensor(0.25)):
        assert torch.equal(mean_mask_maps(masks, list("abc"), (8, 8), sigma=sigma), expected)


@pytest.mark.parametrize("space", [8, None, "ab", (8, "b"), (8, 0), (8, True)])
def test_the_size_of_mean_masks_is_that_of_an_image(space):
    with pytest.raises(OptionError, match=r"space=.* was given; write the size of the model's input"):
        mean_mask_maps(random_masks(3, (8, 8)), list("abc"), space)


def test_a_mean_mask_needs_masks():
    for made in (
        MeanMask,
        lambda: catalogue.build("mean_mask", {}),
        lambda: MeanMask([]),
        lambda: MeanMask(torch.zeros(0, 4, 4)),
    ):
        with pytest.raises(OptionError, match=r"without masks; .*pellucid.priors.MeanMask\(masks\)"):
            made()
    with pytest.raises(OptionError, match="without masks"):
        pellucid.explain(seeded(TinyCNN), images(1), method="mean_mask")
    with pytest.raises(ShapeError, match="were expected"):
        pellucid.explain(seeded(TinyCNN), images(1), method=MeanMask(torch.zeros(3, 5, 5)))
    with pytest.raises(ShapeError, match="the value 2 was given"):
        pellucid.explain(seeded(TinyCNN), images(1), method=MeanMask(torch.full((3, *images(1).shape[2:]), 2)))


def test_a_mean_mask_of_boxes_and_images_without_findings():
    masks = [{"boxes": [(2, 1, 5, 4)]}, {"boxes": []}, None]
    expected = np.zeros((3, 8, 8))
    expected[0, 1:4, 2:5] = 1
    assert np.allclose(of(MeanMask(masks), drawn((8, 8)))[0, 0].numpy(), naive.mean_mask(expected), atol=1e-6)


def test_masks_from_a_file(tmp_path: Path):
    masks = random_masks(4, (8, 8))
    np.save(tmp_path / "masks.npy", masks.numpy())
    prior = catalogue.build("mean_mask", {"masks": str(tmp_path / "masks.npy"), "sigma": "0.1"})
    assert torch.equal(of(prior, drawn((8, 8))), of(MeanMask(masks, 0.1), drawn((8, 8))))
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "several.npz", masks.numpy())
    np.save(tmp_path / "objects.npy", np.array([None, 1], dtype=object))
    for name in ("empty.npy", "none.npy", "several.npz", "objects.npy"):
        with pytest.raises(OptionError, match=r"it is no \.npy file of an array"):
            MeanMask(str(tmp_path / name))


def test_the_settings_of_a_mean_mask_name_its_masks_without_holding_them():
    masks = random_masks(4, (8, 8))
    settings = catalogue.settings(MeanMask(masks))
    assert settings["masks"].startswith("tensor (4, 8, 8), SHA-256 ")
    assert settings == catalogue.settings(MeanMask(masks.clone()))
    assert settings != catalogue.settings(MeanMask(~masks))
    boxes = [catalogue.settings(MeanMask([{"boxes": [(0, 0, 2, side)]}, None]))["masks"] for side in (3, 4)]
    assert boxes[0] != boxes[1]
    assert boxes[0].startswith("2 values, SHA-256 ")
    assert len(repr(MeanMask(masks))) < 60


def scaled(one: np.ndarray) -> np.ndarray:
    return (one - one.min()) / (one.max() - one.min())


def test_each_image_gets_the_masks_of_other_patients():
    masks, patients = random_masks(6, (12, 9)), ["a", "b", "a", "c", "b", "a"]
    found = mean_mask_maps(masks, patients, (12, 9), sigma=0.1)
    for number, own in enumerate(patients):
        others = [other for other, name in enumerate(patients) if name != own]
        expected = scaled(naive.mean_mask(masks[others].numpy(), 0.1))
        assert np.allclose(found[number].numpy(), expected, atol=1e-5)
    again = masks.clone()
    again[[0, 2, 5]] = ~again[[0, 2, 5]]  # an own mask changes nothing
    assert torch.equal(mean_mask_maps(again, np.array(patients), (12, 9), sigma=0.1)[[0, 2, 5]], found[[0, 2, 5]])
    assert torch.equal(mean_mask_maps(masks, torch.tensor([ord(one) for one in patients]), (12, 9), sigma=0.1), found)


@pytest.mark.parametrize("count", [19, 20])
def test_a_validation_split_of_20_masks_is_enough(count):
    masks, validation = random_masks(3, (12, 9)), random_masks(count, (12, 9), seed=4)
    found = mean_mask_maps(masks, [1, 2, 3], (12, 9), validation=validation, sigma=0.05)
    if count == 20:
        expected = torch.from_numpy(scaled(naive.mean_mask(validation.numpy(), 0.05))).float().expand(3, 12, 9)
    else:
        expected = mean_mask_maps(masks, [1, 2, 3], (12, 9), sigma=0.05)
    assert torch.allclose(found, expected, atol=1e-5)


def test_the_blur_follows_scotts_rule():
    masks, patients = random_masks(7, (12, 9), seed=3), ["a", "b", "a", "c", "b", "d", "d"]
    found = mean_mask_maps(masks, patients, (12, 9))
    for number, own in enumerate(patients):
        others = [other for other, name in enumerate(patients) if name != own]
        deviations = []
        for axis, side in enumerate((12, 9)):
            places = [np.argwhere(masks[other].numpy())[:, axis].mean() / side for other in others]
            deviations.append(np.std(places, ddof=1))
        sigma = np.clip(np.mean(deviations) * 3 ** (-1 / 6), 0.02, 0.25)  # of three other patients
        expected = scaled(naive.mean_mask(masks[others].numpy(), sigma))
        assert np.allclose(found[number].numpy(), expected, atol=1e-5)


def test_one_patient_alone_has_no_others():
    masks = random_masks(3, (8, 8))
    with pytest.raises(OptionError, match=r"masks of 1 patients were given; .* at least 2 patients, or validation="):
        mean_mask_maps(masks, ["a"] * 3, (8, 8))
    with pytest.raises(ShapeError, match="2 patients and masks of 3 images were given"):
        mean_mask_maps(masks, ["a", "b"], (8, 8))
    found = mean_mask_maps(masks, ["a"] * 3, (8, 8), validation=random_masks(20, (8, 8)))
    assert found.shape == (3, 8, 8)


def test_maps_of_a_prior_are_judged_as_those_of_a_method():
    given = images(2)
    space = tuple(given.shape[2:])
    masks = random_masks(2, space)
    for prior in ("edges", Centre(), MeanMask(random_masks(3, space))):
        explanation = pellucid.explain(seeded(TinyCNN), given, method=prior)
        by_name = pellucid.evaluate(seeded(TinyCNN), given, prior, masks=masks, metrics=["iou", "pointing_game"])
        of_maps = pellucid.evaluate(seeded(TinyCNN), given, explanation, masks=masks, metrics=["iou", "pointing_game"])
        for name in by_name:
            assert torch.equal(by_name[name], of_maps[name])


def test_a_class_in_place_of_a_prior_is_refused():
    with pytest.raises(OptionError, match=r"write Edges\(\)"):
        pellucid.evaluate(seeded(TinyCNN), images(1), Edges, metrics=["entropy"])  # type: ignore[arg-type]


@pytest.mark.parametrize("nobody", [None, math.nan, np.float64("nan")])
def test_a_mask_of_nobody_is_in_no_mean(nobody):
    """A patient that is NaN is no one's, not even its own: its image's own mask would be in its mean."""
    masks = random_masks(3, (12, 9))
    with pytest.raises(OptionError, match="every case needs a patient, got 1 of 3 that are None or NaN"):
        mean_mask_maps(masks, ["a", nobody, "b"], (12, 9))


@pytest.mark.parametrize("masks", [5, 1.5, True, np.int64(3), torch.tensor(2)])
def test_a_mean_mask_of_a_number_is_refused_in_one_line(masks):
    with pytest.raises(OptionError, match=r"given masks of type \w+; a tensor, an array or a list") as raised:
        MeanMask(masks)
    assert "\n" not in str(raised.value)


def apart(space=(32, 32)):
    """Four masks of which no two have a pixel in common."""
    masks = torch.zeros(4, *space, dtype=torch.bool)
    for number, (top, left) in enumerate([(2, 2), (2, 22), (22, 2), (22, 22)]):
        masks[number, top : top + 6, left : left + 6] = True
    return masks


def test_by_name_a_mean_mask_leaves_out_each_image_s_own():
    masks, network = apart(), seeded(TinyCNN).eval()
    given, named = images(4, side=32), {"masks": masks, "metrics": ["pointing_game", "iou"]}
    found = pellucid.evaluate(network, given, "mean_mask", **named)
    assert found["pointing_game"].tolist() == [[0.0]] * 4
    assert (
        pellucid.evaluate(network, given, MeanMask(masks), **named).figure("pointing_game") == 0.25
    )  # its own is in it
    for own, number in zip(found["iou"], range(4), strict=True):
        others = [other for other in range(4) if other != number]
        centres = np.stack([(np.argwhere(masks[other].numpy()).mean(0) + 0.5) / 32 for other in others])
        sigma = np.clip(np.mean(np.std(centres, axis=0, ddof=1)) * 3 ** (-1 / 6), 0.02, 0.25)
        heat = torch.from_numpy(scaled(naive.mean_mask(masks[others].numpy(), sigma))).float()[None, None]
        alone = pellucid.evaluate(network, given[:1], heat, masks=masks[number][None], metrics=["iou"])
        assert float(own) == pytest.approx(float(alone["iou"]), abs=1e-6)
    boxes = [{"boxes": [(left, top, left + 6, top + 6)]} for top, left in [(2, 2), (2, 22), (22, 2), (22, 22)]]
    assert torch.equal(
        pellucid.evaluate(network, given, "mean_mask", masks=boxes, metrics=["iou"])["iou"], found["iou"]
    )


def test_a_mean_mask_of_others_is_every_class_s():
    masks, network, given = apart(), seeded(TinyCNN).eval(), images(4, side=32)
    each = masks[:, None].expand(-1, 4, -1, -1)
    found = pellucid.evaluate(network, given, "mean_mask", targets="all", masks=each, metrics=["iou", "deletion_auc"])
    one = pellucid.evaluate(network, given, "mean_mask", targets=2, masks=masks, metrics=["iou", "deletion_auc"])
    assert found["iou"].shape == (4, 4)
    assert torch.equal(found["iou"], one["iou"].expand(-1, 4))
    assert torch.allclose(found["deletion_auc"][:, 2], one["deletion_auc"][:, 0])
    assert one.targets.tolist() == [[2]] * 4


def test_images_without_a_finding_take_no_part_in_a_mean_mask_of_others():
    masks, network = apart(), seeded(TinyCNN).eval()
    whole = pellucid.evaluate(network, images(4, side=32), "mean_mask", masks=masks, metrics=["iou"])["iou"]
    some = [masks[0], None, masks[1], torch.zeros(32, 32), masks[2], masks[3]]
    found = pellucid.evaluate(network, images(6, side=32), "mean_mask", masks=some, metrics=["iou"])["iou"]
    assert torch.equal(found[[0, 2, 4, 5]], whole)


def test_what_a_mean_mask_of_others_cannot_be_measured_by():
    masks, network, given = apart(), seeded(TinyCNN).eval(), images(4, side=32)
    with pytest.raises(OptionError, match=r"masks of 1 patients were given; the mean mask is made from those of other"):
        pellucid.evaluate(network, given[:1], "mean_mask", masks=masks[:1], metrics=["iou"])
    with pytest.raises(ShapeError, match="masks of 3 images were given; there are 4: give None for one without"):
        pellucid.evaluate(network, given, "mean_mask", masks=masks[:3], metrics=["iou"])
    with pytest.raises(OptionError, match="a prior from masks depends on none of them: leave the metric out"):
        pellucid.evaluate(network, given, "mean_mask", masks=masks, metrics=["random_logit"])
    with pytest.raises(OptionError, match="prior 'mean_mask' was asked for without masks"):
        pellucid.evaluate(network, given, "mean_mask", metrics=["deletion_auc"])
    for few in ([None, masks[1], None, None], [None] * 4, torch.zeros(4, 32, 32)):
        with pytest.raises(OptionError, match=r"masks of [01] patients were given") as caught:
            pellucid.evaluate(network, given, "mean_mask", masks=few, metrics=["iou"])
        assert "\n" not in str(caught.value)
    made = pellucid.evaluate(network, given, "mean_mask", method="saliency", masks=masks, metrics=["random_logit"])
    assert made["random_logit"].shape == (4, 1)
