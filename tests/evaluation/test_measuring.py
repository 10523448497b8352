"""What is measured of a data set, against single calls of ``explain`` and plain loops."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

import pellucid
from pellucid.core import catalogue
from pellucid.errors import DataError, OptionError
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.measured import THRESHOLDS, Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.frame import packed
from pellucid.evaluation.scoring.mean_masks import MeanMasks
from pellucid.evaluation.scoring.measuring import Looked, measured
from pellucid.evaluation.scoring.survey import OUT_OF_VIEW
from pellucid.metrics.pointing import peaks
from pellucid.priors.mean_mask import mean_mask_heatmaps
from tests.evaluation.small_set import CLASSES, GRID, SIDE, network, written

PLAN = EvaluationPlan(methods=("gradcam", "saliency"), metrics=("iou", "relevance_mass"), tolerance="2 px", gated=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set")
    written(path)
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> Measured:
    return measured(read_data(folder / "cases.csv"), PLAN, network=network())


@pytest.fixture(scope="module")
def images(folder: Path) -> torch.Tensor:
    own = network()
    return torch.stack([own.preprocessing(pellucid.read_image(folder / f"image {n}.png")).values for n in range(12)])


@pytest.fixture(scope="module")
def masks(folder: Path) -> torch.Tensor:
    """The masks on the network's grid: 40 pixels to 32, so pixel p holds the centre of (p + ½) · 1.25."""
    place = [int((one + 0.5) * SIDE / GRID) for one in range(GRID)]
    whole = [np.array(Pillow.open(folder / f"mask {n}.png")) > 0 for n in range(9)]
    return torch.from_numpy(np.stack([one[np.ix_(place, place)] for one in whole]))


def heat_of(images: torch.Tensor, method: str, classes: Sequence[int]) -> torch.Tensor:
    found = pellucid.explain(network().model, images, method, list(classes), head="softmax")
    return found.heatmaps[:, 0]


def hits(heat: torch.Tensor, masks: torch.Tensor, tolerance: float = 2) -> list[float]:
    each = []
    for one, mask in zip(heat, masks, strict=True):
        y, x = peaks(one[None])[0].tolist()
        near = mask.nonzero().double() - torch.tensor([y, x])
        each.append(float(bool((near.square().sum(1).sqrt() <= tolerance).any()) and float(one.max()) > 0))
    return each


def usual(masks: torch.Tensor, patients: Sequence[object]) -> torch.Tensor:
    """The mean of masks, blurred by Scott's rule (*space): the spread of their centres times patients^(−1/6)."""
    deviations = []
    for axis in (0, 1):
        centres = [float(mask.nonzero()[:, axis].double().mean()) / GRID for mask in masks]
        middle = sum(centres) / len(centres)
        deviations.append((sum((one - middle) ** 2 for one in centres) / (len(centres) - 1)) ** 0.5)
    sigma = sum(deviations) / 2 * len(set(patients)) ** (-1 / 6)
    return mean_mask_heatmaps(masks.float().mean(0)[None], min(max(sigma, 0.02), 0.25))[0]


def usual_of_others(masks: torch.Tensor, patients: Sequence[object], own: object) -> torch.Tensor:
    kept = [number for number, patient in enumerate(patients) if patient != own]
    return usual(masks[kept], [patients[number] for number in kept])


LABELS = [n % 2 for n in range(9)]
PATIENTS = [n // 2 for n in range(9)]


def test_the_images_are_those_of_the_data_set(found: Measured, images: torch.Tensor) -> None:
    probabilities = network().model(images).softmax(1)
    assert [one.name for one in found.images] == [f"image {n}.png" for n in range(12)]
    assert [one.patient for one in found.images] == [f"P{n // 2}" for n in range(12)]
    assert [one.labels for one in found.images][-1] == ("normal",)
    for row, own in zip(probabilities.tolist(), found.images, strict=True):
        assert own.probabilities == pytest.approx(dict(zip(CLASSES, row, strict=True)), abs=1e-6)
        assert own.predicted == CLASSES[int(np.argmax(row))]
    assert found.without == (9, 10, 11)
    assert found.given == 12
    assert found.classes == CLASSES
    assert not found.multilabel
    assert found.patients_stated


def test_the_findings_have_their_masks_and_classes(found: Measured, masks: torch.Tensor) -> None:
    assert [one.label for one in found.findings] == [CLASSES[n] for n in LABELS]
    assert [one.area for one in found.findings] == pytest.approx(masks.double().mean((1, 2)).tolist())
    assert [one.is_called for one in found.findings] == [
        seen.predicted == one.label for seen, one in zip(found.images, found.findings, strict=False)
    ]


@pytest.mark.parametrize("method", ["gradcam", "saliency"])
def test_methods_are_scored_as_by_single_calls(
    found: Measured, images: torch.Tensor, masks: torch.Tensor, method: str
) -> None:
    heat = heat_of(images[:9], method, LABELS)
    own = found.values["label"][method]
    assert own["pointing_game"].tolist() == hits(heat, masks)
    high = heat >= 0.5
    iou = [(a & b).sum().item() / (a | b).sum().item() for a, b in zip(high, masks, strict=True)]
    assert own["iou"].tolist() == pytest.approx(iou, rel=1e-6)
    mass = [float(one[mask].sum() / one.sum()) for one, mask in zip(heat.double(), masks, strict=True)]
    assert own["relevance_mass"].tolist() == pytest.approx(mass, rel=1e-5)
    for column, threshold in enumerate(THRESHOLDS):
        high = heat >= threshold
        each = [(a & b).sum().item() / max(1, (a | b).sum().item()) for a, b in zip(high, masks, strict=True)]
        assert found.overlaps[method][:, column].tolist() == pytest.approx(each, rel=1e-6)


def test_the_predicted_class_has_values_of_its_own(found: Measured, images: torch.Tensor, masks: torch.Tensor) -> None:
    predicted = [CLASSES.index(str(one.predicted)) for one in found.images[:9]]
    assert predicted != LABELS
    heat = heat_of(images[:9], "gradcam", predicted)
    assert found.values["predicted"]["gradcam"]["pointing_game"].tolist() == hits(heat, masks)


def test_the_mean_mask_is_that_of_the_other_patients(found: Measured, masks: torch.Tensor) -> None:
    heat = torch.stack([usual_of_others(masks, PATIENTS, own) for own in PATIENTS])
    assert found.values["label"]["mean_mask"]["pointing_game"].tolist() == hits(heat, masks)


def test_priors_are_those_of_explain(found: Measured, images: torch.Tensor, masks: torch.Tensor) -> None:
    assert set(found.priors) == set(catalogue.PRIORS.registered())
    for name in ("centre", "edges", "darkest", "brightest"):
        heat = pellucid.explain(network().model, images[:9], name, 0, head="softmax").heatmaps[:, 0]
        assert found.values["label"][name]["pointing_game"].tolist() == hits(heat, masks), name


def test_it_is_stated_what_priors_are_made_from(found: Measured) -> None:
    assert found.provenance["data set"]["organ"] == found.provenance["data set"]["modality"] == "not stated"
    stated = found.provenance["priors"]
    assert set(stated) == set(found.priors)
    nothing, image = "nothing but the size of the image", "the image alone"
    expected = {"mean_mask": "the masks of other images", "centre": nothing, "random": nothing, "edges": image}
    assert {name: stated[name]["made from"] for name in expected} == expected
    assert stated["centre"]["sigma"] == 0.25


def test_random_maps_have_the_expected_hit(found: Measured, masks: torch.Tensor) -> None:
    prior = catalogue.find("random")()
    places = prior.peaks((GRID, GRID)).tolist()  # type: ignore[attr-defined]
    for row, mask in enumerate(masks):
        single = []
        for y, x in places:
            heat = torch.zeros(1, GRID, GRID)
            heat[0, y, x] = 1
            single += hits(heat, mask[None])
        assert found.values["label"]["random"]["pointing_game"][row] == pytest.approx(np.mean(single), rel=1e-6)


def test_exploratory_metrics_take_fewer_random_maps(folder: Path, masks: torch.Tensor) -> None:
    prior = catalogue.find("random")()
    drawn = [prior.map_on((GRID, GRID), PLAN.seed, draw) for draw in range(100)]  # type: ignore[attr-defined]
    scaled = torch.stack([(one - one.min()) / (one.max() - one.min()) for one in drawn]).double()
    mass = torch.stack([scaled[:, mask].sum(1) / scaled.sum((1, 2)) for mask in masks])
    for primary, metrics, draws in (("pointing_game", ("relevance_mass",), 10), ("relevance_mass", (), 100)):
        plan = EvaluationPlan(primary=primary, metrics=metrics, gates=())
        own = measured(read_data(folder / "cases.csv"), plan, network=network(), untrained=False)
        found = own.values["label"]["random"]["relevance_mass"]
        assert found.tolist() == pytest.approx(mass[:, :draws].mean(1).tolist(), rel=1e-5)


def test_shuffled_masks_are_those_of_the_partners(found: Measured, images: torch.Tensor, masks: torch.Tensor) -> None:
    partner = found.partner.tolist()
    assert sorted(partner) == list(range(9))
    assert all(own // 2 != other // 2 for own, other in enumerate(partner))
    heat = heat_of(images[:9], "gradcam", LABELS)
    assert found.shuffled["gradcam"].tolist() == hits(heat, masks[partner])
    assert found.partners.shape == (9, 20)
    assert len(np.unique(found.partners, axis=1).T) > 10
    for number, others in enumerate(found.partners.T.tolist()):
        assert all(own // 2 != other // 2 for own, other in enumerate(others))
        assert found.reshuffled["gradcam"][:, number].tolist() == hits(heat, masks[others])
    assert set(found.reshuffled) == {"gradcam", "saliency"}
    others = torch.stack([usual_of_others(masks, PATIENTS, PATIENTS[other]) for other in partner])
    assert found.shuffled["mean_mask"].tolist() == hits(others, masks[partner])


def test_the_untrained_network_is_another_one_and_the_model_is_left_alone(
    images: torch.Tensor, masks: torch.Tensor, found: Measured
) -> None:
    own = network()
    before = [one.clone() for one in own.model.state_dict().values()]
    again = own.untrained(catalogue.find("saliency")(), images[:4], torch.zeros(4, 1, dtype=torch.int64))
    assert all(torch.equal(a, b) for a, b in zip(before, own.model.state_dict().values(), strict=True))
    trained = pellucid.explain(own.model, images[:4], "saliency", 0, head="softmax")
    assert not torch.allclose(again.heatmaps, trained.heatmaps, atol=0.1)
    assert set(found.untrained) == {"gradcam", "saliency"}
    assert set(found.untrained["gradcam"].tolist()) <= {0.0, 1.0}


def test_heat_of_images_without_a_finding(found: Measured, images: torch.Tensor, masks: torch.Tensor) -> None:
    suspected = [int(np.argmax([one.probabilities[name] for name in CLASSES[:2]])) for one in found.images[9:]]  # type: ignore[index]
    heat = heat_of(images[9:], "saliency", suspected).double()
    own = found.lesion_free["saliency"]
    assert own["area"].tolist() == pytest.approx((heat >= 0.5).double().mean((1, 2)).tolist(), rel=1e-6)
    border = [
        sum(float(one[y, x]) for y in range(GRID) for x in range(GRID) if not (4 <= y < 28 and 4 <= x < 28))
        / float(one.sum())
        for one in heat
    ]
    assert own["at the border"].tolist() == pytest.approx(border, rel=1e-6)
    # Image 9 is of P4, whose finding 8 is left out of its mean mask; 10 and 11 are of P5, who has none.
    of_four, everyone = usual_of_others(masks, PATIENTS, 4), usual(masks, PATIENTS)
    expected = [
        float(one[where >= 0.5].sum() / one.sum())
        for one, where in zip(heat, [of_four, everyone, everyone], strict=True)
    ]
    assert own["in the mean mask"].tolist() == pytest.approx(expected, rel=1e-6)
    areas = [float((where >= 0.5).double().mean()) for where in (of_four, everyone, everyone)]
    assert found.even["in the mean mask"].tolist() == pytest.approx(areas, rel=1e-6)
    assert found.even["at the border"].tolist() == pytest.approx([1 - (24 / GRID) ** 2] * 3)


def test_gates_are_measured_of_the_first_findings(found: Measured, images: torch.Tensor) -> None:
    own = found.gates["gradcam"]
    assert {len(column) for column in own.values()} == {3}
    scores = pellucid.evaluate(
        network().model,
        images[:3],
        pellucid.explain(network().model, images[:3], "gradcam", LABELS[:3], head="softmax"),
        metrics=["emprt", "random_logit"],
    )
    for name in ("emprt", "random_logit"):
        assert own[name].tolist() == pytest.approx(scores[name][:, 0].tolist(), rel=1e-4, nan_ok=True)


def test_metrics_that_ask_the_model_are_those_of_evaluate(folder: Path, images: torch.Tensor) -> None:
    plan = EvaluationPlan(methods=("gradcam",), metrics=("deletion_auc(steps=4)",), gates=())
    found = measured(read_data(folder / "cases.csv"), plan, network=network(), untrained=False)
    explanation = pellucid.explain(network().model, images[:9], "gradcam", LABELS, head="softmax")
    scores = pellucid.evaluate(network().model, images[:9], explanation, metrics=[pellucid.metrics.Deletion(steps=4)])
    label = "deletion_auc(steps=4)"
    assert found.values["label"]["gradcam"][label].tolist() == pytest.approx(scores[label][:, 0].tolist(), rel=1e-4)
    assert np.isfinite(found.values["label"]["random"][label]).all()
    assert np.isfinite(found.values["label"]["mean_mask"][label]).all()
    assert not found.untrained


def test_maps_made_before_have_the_same_scores(folder: Path, images: torch.Tensor, tmp_path: Path) -> None:
    for method in ("gradcam", "saliency"):
        maps = heat_of(images, method, [*LABELS, 0, 1, 0])
        (tmp_path / method).mkdir()
        for number, one in enumerate(maps):
            np.save(tmp_path / method / f"image {number}.npy", one.numpy())
    maps_of = {method: tmp_path / method for method in ("gradcam", "saliency")}
    own = network()
    with_model = measured(read_data(folder / "cases.csv"), PLAN, network=own)
    alone = measured(
        read_data(folder / "cases.csv", maps=maps_of),
        EvaluationPlan(methods=("gradcam", "saliency"), metrics=("iou", "relevance_mass"), tolerance="2 px"),
        preprocessing=own.preprocessing,
    )
    for method in ("gradcam", "saliency", "mean_mask", "random"):
        for metric in with_model.metrics:
            expected = with_model.values["label"][method][metric].tolist()
            assert alone.values["label"][method][metric].tolist() == pytest.approx(expected, rel=1e-6)
    assert alone.shuffled["gradcam"].tolist() == with_model.shuffled["gradcam"].tolist()
    assert list(alone.values) == ["label"]
    assert alone.images[0].probabilities is None
    assert not alone.gates


def test_a_missing_or_broken_map_has_no_value_and_is_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for number in range(12):
        np.save(tmp_path / "mine" / f"image {number}.npy", np.random.default_rng(number).random((SIDE, SIDE)))
    (tmp_path / "mine" / "image 0.npy").unlink()
    np.save(tmp_path / "mine" / "image 1.npy", np.full((SIDE, SIDE), np.nan))
    np.save(tmp_path / "mine" / "image 2.npy", np.zeros((3, 3)))
    (tmp_path / "mine" / "image 3.npy").write_bytes(b"no array")
    np.save(tmp_path / "mine" / "image 4.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    found = measured(
        read_data(folder / "cases.csv", maps={"mine": tmp_path / "mine"}), EvaluationPlan(methods=("mine",))
    )
    own = found.values["label"]["mine"]["pointing_game"]
    assert np.isnan(own[:5]).all()
    assert np.isfinite(own[5:]).all()
    reasons = found.reasons["pointing_game"]
    assert sum(reasons.values()) == 5
    assert all(reason.endswith("(mine)") for reason in reasons)


def test_a_run_that_was_stopped_goes_on_to_the_same_values(folder: Path, tmp_path: Path) -> None:
    data = read_data(folder / "cases.csv")
    whole = Looked.of(data, PLAN, network=network()).measured()

    class StopError(Exception):
        pass

    def stopping(what: str, done: int, _of: int) -> None:
        if what == "scoring findings" and done >= 8:
            raise StopError

    with pytest.raises(StopError):
        Looked.of(data, PLAN, network=network()).measured(tmp_path, stopping)
    asked = network()
    begun: list[int] = []
    again = Looked.of(data, PLAN, network=asked).measured(tmp_path, lambda what, done, _of: begun.append(done))
    assert begun == [9, 3]  # one finding was left, and the images without one
    for target, methods in whole.values.items():
        for method, columns in methods.items():
            for metric, column in columns.items():
                np.testing.assert_array_equal(again.values[target][method][metric], column)
    assert again.provenance == whole.provenance


def test_another_request_is_measured_anew(folder: Path, tmp_path: Path) -> None:
    data = read_data(folder / "cases.csv")
    plan = EvaluationPlan(methods=("gradcam",), metrics=("iou",), gates=())
    Looked.of(data, plan, network=network(), untrained=False).measured(tmp_path)
    begun: list[str] = []
    other = network()
    with torch.no_grad():
        other.model[0].weight[0, 0, 0, 0] += 1  # type: ignore[index, union-attr, operator]
    Looked.of(data, plan, network=other, untrained=False).measured(
        tmp_path, lambda what, _done, _of: begun.append(what)
    )
    assert begun.count("scoring findings") == 3


def test_a_changed_mask_is_measured_anew(folder: Path, tmp_path: Path) -> None:
    plan = EvaluationPlan(methods=("gradcam",), metrics=("iou",), gates=())
    shutil.copytree(folder, tmp_path / "set")
    Looked.of(read_data(tmp_path / "set" / "cases.csv"), plan, network=network()).measured(tmp_path / "out")
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[:5] = 255
    Pillow.fromarray(mask).save(tmp_path / "set" / "mask 3.png")
    again = Looked.of(read_data(tmp_path / "set" / "cases.csv"), plan, network=network()).measured(tmp_path / "out")
    fresh = Looked.of(read_data(tmp_path / "set" / "cases.csv"), plan, network=network()).measured()
    for method in ("gradcam", "mean_mask"):
        np.testing.assert_array_equal(again.values["label"][method]["iou"], fresh.values["label"][method]["iou"])


def test_only_the_test_split_is_scored_and_others_make_the_mean_mask(tmp_path: Path) -> None:
    def split(number: int, line: str) -> str:
        return line + ("test" if number in (20, 21, 22, 23, 24) else "val")

    path = written(tmp_path, findings=24, without=1, change=split)
    plan = EvaluationPlan(methods=("gradcam",), metrics=(), gates=(), choose=("val",), test=("test",))
    found = measured(read_data(path), plan, network=network(), untrained=False)
    assert [found.images[one.image].name for one in found.findings] == [f"image {n}.png" for n in range(20, 24)]
    assert len(found.images) == 25
    place = [int((one + 0.5) * SIDE / GRID) for one in range(GRID)]
    masks = torch.from_numpy(
        np.stack([np.array(Pillow.open(tmp_path / f"mask {n}.png"))[np.ix_(place, place)] > 0 for n in range(24)])
    )
    heat = usual(masks[:20], [number // 2 for number in range(20)]).expand(4, GRID, GRID)
    assert found.values["label"]["mean_mask"]["pointing_game"].tolist() == hits(heat, masks[20:], 0)


def test_of_the_choose_split_overlaps_alone_are_measured(tmp_path: Path) -> None:
    def split(number: int, line: str) -> str:
        return line + ("test" if number < 4 else "val" if number < 8 else "train")

    path = written(tmp_path, findings=12, without=0, change=split)
    plan = EvaluationPlan(methods=("gradcam",), metrics=("iou",), gates=(), choose=("val",), test=("test",))
    begun: list[str] = []
    data, own = read_data(path), network()
    looked = Looked.of(data, plan, network=own, untrained=False)
    found = looked.measured(tmp_path / "out", lambda what, _done, _of: begun.append(what))
    assert [found.images[one.image].name for one in found.findings] == [f"image {n}.png" for n in range(4)]
    labels = [n % 2 for n in range(12)]
    read = [own.preprocessing(pellucid.read_image(tmp_path / f"image {n}.png")).values for n in range(12)]
    heat = heat_of(torch.stack(read), "gradcam", labels)
    place = [int((one + 0.5) * SIDE / GRID) for one in range(GRID)]
    masks = [np.array(Pillow.open(tmp_path / f"mask {n}.png"))[np.ix_(place, place)] > 0 for n in range(12)]
    for tables, numbers in ((found.overlaps, range(4)), (found.chosen, range(4, 8))):
        for row, number in enumerate(numbers):
            high, mask = heat[number].numpy()[None] >= np.array(THRESHOLDS)[:, None, None], masks[number]
            expected = (high & mask).sum((1, 2)) / (high | mask).sum((1, 2))
            assert tables["gradcam"][row].tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert {name: table.shape for name, table in found.chosen.items()} == dict.fromkeys(
        ("gradcam", *found.priors), (4, len(THRESHOLDS))
    )
    assert begun.count("scoring overlaps to choose thresholds") == 1
    begun.clear()
    again = Looked.of(data, plan, network=network(), untrained=False)
    again = again.measured(tmp_path / "out", lambda what, _done, _of: begun.append(what))
    assert not begun  # all of it is in the journal
    np.testing.assert_array_equal(again.chosen["gradcam"], found.chosen["gradcam"])


def test_a_mean_mask_of_the_choose_split_leaves_the_patient_out() -> None:
    masks = torch.zeros(25, 8, 8, dtype=torch.bool)
    for number in range(25):
        masks[number, number % 8, number % 5] = True
    others = [(f"V{number}", packed(mask)) for number, mask in enumerate(masks)]
    made, without = MeanMasks([], (8, 8), others), MeanMasks([], (8, 8), others[1:])
    assert torch.equal(made.of("V0"), without.of("T"))  # type: ignore[arg-type]  # there are other patients
    assert not torch.equal(made.of("T"), without.of("T"))  # type: ignore[arg-type]


def test_what_cannot_be_used_is_excluded_and_the_rest_is_measured(tmp_path: Path) -> None:
    path = written(tmp_path)
    (tmp_path / "image 0.png").write_bytes(b"broken")
    Pillow.fromarray(np.zeros((SIDE, SIDE), dtype=np.uint8)).save(tmp_path / "mask 1.png")
    Pillow.fromarray(np.full((7, 9), 255, dtype=np.uint8)).save(tmp_path / "mask 2.png")
    (tmp_path / "mask 3.png").write_bytes(b"broken")
    (tmp_path / "mask 4.png").unlink()
    plan = EvaluationPlan(methods=("gradcam",), metrics=(), gates=())
    found = measured(read_data(path), plan, network=network(), untrained=False)
    assert [found.images[one.image].name for one in found.findings] == [f"image {n}.png" for n in range(5, 9)]
    assert {one.name for one in found.excluded} == {f"image {n}.png" for n in range(5)}
    assert len({one.reason for one in found.excluded}) == 5
    assert {one.name for one in found.excluded if one.failed} == {"image 0.png", "image 2.png", "image 3.png"}
    assert all("\n" not in str(one) for one in found.excluded)


def test_a_finding_that_the_model_does_not_see_is_no_failure(tmp_path: Path) -> None:
    path = written(tmp_path)
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[0, 0] = 255
    Pillow.fromarray(mask).save(tmp_path / "mask 0.png")
    own = network()
    cropped = replace(own, preprocessing=replace(own.preprocessing, resize=(SIDE, SIDE), crop=(GRID, GRID)))
    plan = EvaluationPlan(methods=("gradcam",), metrics=(), gates=())
    found = measured(read_data(path), plan, network=cropped, untrained=False)
    outside = [one for one in found.excluded if one.name == "image 0.png"]
    assert [(one.reason, one.failed) for one in outside] == [(OUT_OF_VIEW, False)]


def test_without_any_finding_it_is_one_line(tmp_path: Path) -> None:
    path = written(tmp_path, findings=2)
    for number in range(2):
        (tmp_path / f"mask {number}.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"no finding can be scored .* cannot be read.*: give masks or boxes"):
        measured(read_data(path), PLAN, network=network())


def black_masks(folder: Path, count: int) -> Path:
    """A folder of images and masks, all of them empty."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 255, (SIDE, SIDE), dtype=np.uint8)
        for name, values in (("images", noise), ("masks", noise * 0)):
            (folder / name).mkdir(exist_ok=True)
            Pillow.fromarray(values).save(folder / name / f"{number}.png")
    return folder


def why_nothing_of(data: Path | str) -> str:
    with pytest.raises(DataError) as caught:
        measured(read_data(data), PLAN, network=network())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_masks_that_are_all_empty_are_told_from_masks_that_are_missing(tmp_path: Path) -> None:
    remedy = "give masks that are not 0 where findings are"
    black_masks(tmp_path, 4)
    assert why_nothing_of(tmp_path) == f"no finding can be scored (all 4 masks are empty): {remedy}"
    (tmp_path / "masks" / "0.png").write_bytes(b"broken")
    told = why_nothing_of(tmp_path)
    first = "the first: images/0.png: its mask cannot be read (cannot read "
    assert told.startswith(f"no finding can be scored (its mask cannot be read; the other 3 masks are empty; {first}")
    assert told.endswith(remedy)
    for number in (2, 3):
        (tmp_path / "images" / f"{number}.png").unlink()
        (tmp_path / "masks" / f"{number}.png").unlink()
    assert "cannot be read; the mask is empty; the first: " in why_nothing_of(tmp_path)


def test_images_that_are_stated_to_have_no_finding_have_no_mask_that_is_empty(tmp_path: Path) -> None:
    told = "no finding can be scored (no finding is stated): give masks or boxes of the images"
    assert why_nothing_of(written(tmp_path, findings=0)) == told


def test_drawn_images_without_a_finding_are_too_few() -> None:
    told = "no finding can be scored (1 drawn image without a finding): draw more of them"
    assert why_nothing_of("phantoms:exclusive:1") == told


def test_drawn_findings_of_no_class_of_the_model_are_no_missing_findings() -> None:
    of_others = replace(network(), classes=("a", "b", "c"))
    with pytest.raises(DataError, match=r"drawn images? without a finding\): say which class of the model, of a, b, c"):
        measured(read_data("phantoms:exclusive:8"), PLAN, network=of_others)


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    path = written(tmp_path)
    Pillow.fromarray(np.zeros((50, 60), dtype=np.uint8)).save(tmp_path / "image 11.png")
    (tmp_path / "maps").mkdir()
    np.save(tmp_path / "maps" / "image 0.npy", np.zeros((SIDE, SIDE)))
    plan = EvaluationPlan(methods=("mine",), metrics=())
    with pytest.raises(OptionError, match="sizes"):
        measured(read_data(path, maps={"mine": tmp_path / "maps"}), plan)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ("gradcam",)}, "needs? a model|give a model"),
        ({"methods": ("mine",), "metrics": ("deletion_auc",)}, "asks the model"),
        ({"methods": ("mine",), "primary": "iou", "tolerance": "5 px"}, "has none"),
    ],
)
def test_what_needs_a_model_is_one_line(folder: Path, tmp_path: Path, changes: dict, message: str) -> None:
    np.save(tmp_path / "image 0.npy", np.zeros((SIDE, SIDE)))
    data = read_data(folder / "cases.csv", maps={"mine": tmp_path})
    with pytest.raises(OptionError, match=message):
        measured(data, EvaluationPlan(**changes))
