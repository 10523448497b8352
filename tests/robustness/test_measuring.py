"""What changes do to a small data set, against single calls and plain loops."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from scipy.stats import pearsonr, spearmanr
from skimage.metrics import structural_similarity
from torch import nn

import pellucid
from pellucid.attacks import PGD
from pellucid.changes import Noise, Rotation
from pellucid.core import catalogue
from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.metric import METRICS
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import DataError, GradientError, OptionError, OutputExistsError, ShapeError
from pellucid.evaluation import Network, read_data
from pellucid.evaluation.case import Case, Data
from pellucid.models.preprocessing import Preprocessing
from pellucid.robustness import Robustness, RobustnessPlan, robustness_of
from pellucid.robustness.files import JSON, from_json, to_csv, to_json
from pellucid.robustness.likeness import is_empty, likeness, moved
from pellucid.robustness.measuring import NAME
from pellucid.robustness.scorer import Scorer
from pellucid.run.pixels import Pixels
from tests.evaluation.small_set import CLASSES, GRID, SIDE, network, written

PLAN = RobustnessPlan(
    methods=("gradcam", "saliency", "centre"),
    changes=("noise", "rotation", "pgd(steps=2)", "topk(steps=2)"),
    budgets={
        "noise": (0.0, 0.2),
        "rotation": (0.0, 15.0),
        "pgd(steps=2)": (0.0, 8 / 255),
        "topk(steps=2)": (0.0, 8 / 255),
    },
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set")
    written(path)
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> Robustness:
    return robustness_of(read_data(folder / "cases.csv"), PLAN, network())


@pytest.fixture(scope="module")
def images(folder: Path) -> torch.Tensor:
    own = network()
    return torch.stack([own.preprocessing(pellucid.read_image(folder / f"image {n}.png")).values for n in range(12)])


def rows(found: Robustness, method: str, change: str, level: float) -> list[dict[str, object]]:
    own = [one for one in found.scores if (one["method"], one["change"], one["level"]) == (method, change, level)]
    return sorted(own, key=lambda one: int(str(one["image"]).split()[1][:-4]))


def column(found: Robustness, name: str, method: str, change: str, level: float) -> np.ndarray:
    each = [one[name] for one in rows(found, method, change, level)]
    return np.array([math.nan if one is None else one for one in each], dtype=float)


def heat(images: torch.Tensor, method: str, classes: torch.Tensor) -> torch.Tensor:
    return pellucid.explain(network().model, images, method, classes, head="softmax").heatmaps[:, 0]


def alike(a: np.ndarray, b: np.ndarray) -> float:
    return float(
        structural_similarity(
            a, b, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, full=False
        )
    )


QUICK = RobustnessPlan(changes=("noise",), budgets={"noise": (0.1,)}, metrics=("ssim",))


def seed_of(number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"0 image {number}.png".encode()).digest()[:7])


def test_no_budget_changes_nothing(found: Robustness) -> None:
    for method in ("gradcam", "saliency", "centre"):
        for change in PLAN.changes:
            if (method, change) == ("centre", "topk(steps=2)"):
                continue
            assert column(found, "ssim", method, change, 0.0).tolist() == [1.0] * 12
            assert column(found, "moved", method, change, 0.0).tolist() == [0.0] * 12
            after, before = (column(found, name, method, change, 0.0) for name in ("probability after", "probability"))
            assert after == pytest.approx(before, abs=1e-6)
            hit = [column(found, f"hit {when}", method, change, 0.0) for when in ("before", "after")]
            assert np.array_equal(*hit, equal_nan=True)


def test_noise_is_that_of_single_calls(found: Robustness, images: torch.Tensor) -> None:
    own = network()
    scaled = Pixels.of(images, own.preprocessing)
    assert scaled.pixels.numpy() == pytest.approx(images.numpy() * 0.25 + 0.5, abs=1e-6)
    noisy = Noise(strength=0.2).changed(scaled.pixels, [seed_of(number) for number in range(12)])
    values = (noisy - 0.5) / 0.25
    before, after = own.model(images).softmax(1), own.model(values).softmax(1)
    classes = before.argmax(1)
    expected = after.gather(1, classes[:, None])[:, 0].detach().numpy()
    assert column(found, "probability after", "gradcam", "noise", 0.2) == pytest.approx(expected, abs=1e-5)
    assert column(found, "moved", "gradcam", "noise", 0.2).tolist() == (classes != after.argmax(1)).double().tolist()
    assert [one["class"] for one in rows(found, "gradcam", "noise", 0.2)] == [CLASSES[n] for n in classes.tolist()]
    for method in ("gradcam", "saliency"):
        pairs = list(zip(heat(images, method, classes).numpy(), heat(values, method, classes).numpy(), strict=True))
        close = {"abs": 2e-4}
        assert column(found, "ssim", method, "noise", 0.2) == pytest.approx([alike(a, b) for a, b in pairs], **close)
        ranks = [spearmanr(a.ravel(), b.ravel())[0] for a, b in pairs]
        assert column(found, "spearman", method, "noise", 0.2) == pytest.approx(ranks, **close)
        plain = [pearsonr(a.ravel(), b.ravel())[0] for a, b in pairs]
        assert column(found, "pearson", method, "noise", 0.2) == pytest.approx(plain, **close)


def test_a_map_is_turned_back_and_compared_where_it_is_seen(found: Robustness, images: torch.Tensor) -> None:
    change = Rotation(strength=15.0)
    turned = change.changed(images * 0.25 + 0.5, range(12))
    classes = network().model(images).argmax(1)
    seen = change.visible((GRID, GRID)).numpy()
    after = change.restored(heat((turned - 0.5) / 0.25, "saliency", classes)).numpy() * seen
    before = heat(images, "saliency", classes).numpy() * seen
    expected = [alike(a, b) for a, b in zip(before, after, strict=True)]
    assert column(found, "ssim", "saliency", "rotation", 15.0) == pytest.approx(expected, abs=2e-4)


def test_an_attack_is_pellucid_attack(found: Robustness, images: torch.Tensor) -> None:
    own = network()
    answers = []
    for start in (0, 4, 8):  # as the batches are, since random starts are drawn for a batch
        moved = pellucid.attack(
            own.model,
            images[start : start + 4],
            PGD(epsilon=8 / 255, steps=2),
            preprocessing=own.preprocessing,
            head="softmax",
        )
        answers += moved.moved.double().tolist()
    assert column(found, "moved", "gradcam", "pgd(steps=2)", 8 / 255).tolist() == answers
    assert not column(found, "moved", "gradcam", "topk(steps=2)", 8 / 255).any()


def test_hits_are_on_masks_of_the_predicted_class(found: Robustness, images: torch.Tensor, folder: Path) -> None:
    place = [int((one + 0.5) * SIDE / GRID) for one in range(GRID)]
    classes = network().model(images).argmax(1).tolist()
    maps = heat(images, "gradcam", torch.tensor(classes))
    own = column(found, "hit before", "gradcam", "noise", 0.2)
    for number, predicted in enumerate(classes):
        if number >= 9 or number % 2 != predicted:
            assert math.isnan(own[number])
            continue
        mask = (np.array(Pillow.open(folder / f"mask {number}.png")) > 0)[np.ix_(place, place)]
        y, x = np.unravel_index(int(maps[number].argmax()), (GRID, GRID))
        assert own[number] == float(mask[y, x])
    assert found.masked == int(np.isfinite(own).sum()) > 0


def test_between_is_of_another_patient_with_the_same_class(found: Robustness, images: torch.Tensor) -> None:
    """A map that is the same for all images is as alike between them as within, and does not hit for it."""
    assert found.between["centre"]["ssim"].estimate == 1
    classes = network().model(images).argmax(1)
    maps = {int(one): heat(images, "saliency", torch.full((12,), int(one))).numpy() for one in classes.unique()}
    possible = [
        alike(maps[int(classes[a])][a], maps[int(classes[a])][b])
        for a in range(12)
        for b in range(12)
        if classes[a] == classes[b] and a // 2 != b // 2
    ]
    assert min(possible) <= found.between["saliency"]["ssim"].estimate <= max(possible)
    assert found.between["saliency"]["ssim"].count == sum(
        any(classes[a] == classes[b] and a // 2 != b // 2 for b in range(12)) for a in range(12)
    )


def test_figures_worst_cases_and_correlations_are_of_the_rows(found: Robustness) -> None:
    level = next(one for one in found.at("saliency", "noise") if one.level == 0.2)
    values = column(found, "ssim", "saliency", "noise", 0.2)
    assert level.figures["ssim"].estimate == pytest.approx(values.mean())
    assert level.figures["ssim"].patients == found.patients == 6
    answers = column(found, "moved", "saliency", "noise", 0.2)
    assert level.figures["answer moved"].estimate == pytest.approx(answers.mean())
    change = column(found, "probability after", "saliency", "noise", 0.2) - column(
        found, "probability", "saliency", "noise", 0.2
    )
    assert level.figures["probability change"].estimate == pytest.approx(np.abs(change).mean(), abs=1e-6)
    held = [one for one in rows(found, "saliency", "noise", 0.2) if one["moved"] == 0.0]
    worst = next(one for one in found.worst if (one.kind, one.method, one.change) == ("map moved", "saliency", "noise"))
    least = min(held, key=lambda one: float(str(one["ssim"])))
    assert (worst.image, worst.level, worst.ssim) == (least["image"], 0.2, least["ssim"])
    attacked = [
        one for one in found.scores if one["method"] == "saliency" and one["level"] == 8 / 255 and one["moved"] == 0.0
    ]
    sizes = [abs(float(one["probability after"]) - float(one["probability"])) for one in attacked]
    maps = [1 - float(one["ssim"]) for one in attacked]
    together = next(one for one in found.together if one.method == "saliency")
    assert together.held.estimate == pytest.approx(spearmanr(sizes, maps)[0], abs=1e-3)
    assert together.held.count == len(attacked)
    assert together.moved.count == 24 - len(attacked)


def test_attacks_on_maps_have_no_values_for_priors(found: Robustness) -> None:
    assert np.isnan(column(found, "ssim", "centre", "topk(steps=2)", 8 / 255)).all()
    assert any("Priors never ask the model" in one for one in found.limits)


def test_files_hold_what_was_found(found: Robustness) -> None:
    assert to_json(from_json(to_json(found))) == to_json(found)
    assert from_json(to_json(found)).levels == found.levels
    table = list(csv.DictReader(io.StringIO(to_csv(found).decode())))
    assert len(table) == 3 * 8 * 12 == len(found.scores)
    assert list(table[0])[:6] == ["image", "patient", "class", "method", "change", "level"]
    with pytest.raises(DataError, match="did not write"):
        from_json(b"{")


def test_likeness_by_hand() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 14, 15, generator=generator) for _ in range(2))
    b[2, 0, 0] = math.nan
    seen = torch.ones(14, 15, dtype=torch.bool)
    seen[:, :3] = False
    own = likeness(a, b, seen, {"ssim": METRICS.find("ssim")()})["ssim"]  # type: ignore[dict-item]
    expected = [alike((a[n] * seen).numpy(), (b[n] * seen).numpy()) for n in range(2)]
    assert own[:2].tolist() == pytest.approx(expected, abs=1e-6)
    assert math.isnan(own[2])
    assert is_empty(torch.stack([a[0], 0 * a[0], a[0] * math.nan]))[:2].tolist() == [0, 1]


def test_answers_move_by_class_or_by_finding() -> None:
    before = torch.tensor([[0.6, 0.4], [0.6, 0.4], [0.6, 0.4], [0.6, 0.4]])
    after = torch.tensor([[0.4, 0.6], [0.55, 0.9], [0.51, 0.49], [math.nan, 0.1]])
    classes = torch.tensor([0, 0, 0, 0])
    assert moved(before, after, classes, independent=False)[:3].tolist() == [1, 1, 0]
    assert moved(before, after, classes, independent=True)[:3].tolist() == [1, 0, 0]
    assert moved(before, after, classes, independent=False)[3:].isnan().all()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the chunks that are scored."""
    sizes: list[int] = []
    whole: Callable[..., object] = Scorer.record

    def record(self: Scorer, chunk):  # type: ignore[no-untyped-def]
        if len(sizes) == 2:  # as if it was killed
            sizes.append(0)
            raise KeyboardInterrupt
        sizes.append(len(chunk.names))
        return whole(self, chunk)

    monkeypatch.setattr(Scorer, "record", record)
    return sizes


def test_a_run_that_was_killed_goes_on(folder: Path, tmp_path: Path, counted: list[int]) -> None:
    plan = RobustnessPlan(changes=("noise",), budgets={"noise": (0.1,)}, metrics=("pearson",))
    data = read_data(folder / "cases.csv")
    with pytest.raises(KeyboardInterrupt):
        robustness_of(data, plan, network(), folder=tmp_path)
    assert (tmp_path / NAME).stat().st_size > 0
    assert not (tmp_path / JSON).exists()
    again = robustness_of(data, plan, network(), folder=tmp_path)
    assert counted == [4, 4, 0, 4]
    assert to_json(again) == (tmp_path / JSON).read_bytes()
    assert robustness_of(data, plan, network(), folder=tmp_path) == again
    assert counted == [4, 4, 0, 4]
    with pytest.raises(OutputExistsError, match="there is another result"):
        robustness_of(data, replace(plan, seed=1), network(), folder=tmp_path)
    assert (tmp_path / JSON).read_bytes() == to_json(again)
    assert json.loads((tmp_path / JSON).read_bytes())["images"] == 12


def test_nothing_that_was_kept_is_stale(folder: Path, tmp_path: Path) -> None:
    data, own = read_data(folder / "cases.csv"), network()
    data = Data(data.cases[:4])
    other = network()
    with torch.no_grad():
        next(other.model.parameters()).mul_(1.5)
    for plan, model in (
        (QUICK, own),
        (replace(QUICK, budgets={"noise": (0.2,)}), own),
        (replace(QUICK, methods=("gradcam", "saliency")), own),
        (replace(QUICK, metrics=("ssim", "l2")), own),
        (replace(QUICK, seed=7), own),
        (QUICK, other),
        (QUICK, replace(own, preprocessing=replace(own.preprocessing, mean=(0.4,) * 3))),
    ):
        again = robustness_of(data, plan, model, folder=tmp_path, overwrite=True)
        assert to_csv(again) == to_csv(robustness_of(data, plan, model))


def test_what_is_not_of_the_model_is_left_alone(folder: Path) -> None:
    own = network()
    own.model.train()
    before = {name: value.clone() for name, value in own.model.state_dict().items()}
    state = torch.get_rng_state()
    plan = RobustnessPlan(changes=("noise", "pgd(steps=1)"), budgets={"noise": (0.1,), "pgd(steps=1)": (0.01,)})
    robustness_of(read_data(folder / "cases.csv"), plan, own)
    assert own.model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in own.model.state_dict().items())
    assert all(one.grad is None for one in own.model.parameters())


class Detached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = network().model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).detach()


@dataclass(frozen=True)
class Frozen(Method):
    """A method whose map has no gradient."""

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        return Attribution(probe.activations().sum(2).detach())


def test_bad_models_and_methods_are_one_line_before_any_work(folder: Path, counted: list[int]) -> None:
    data, own = read_data(folder / "cases.csv"), network()
    attacks = replace(QUICK, changes=("pgd",), budgets={"pgd": (0.01,)})
    with pytest.raises(GradientError, match=r"^change 'pgd' at 0.01: .*no gradient"):
        robustness_of(data, replace(attacks, methods=("centre",)), replace(own, model=Detached().eval()))
    maps = replace(QUICK, changes=("topk",), budgets={"topk": (0.01,)}, methods=("frozen",))
    register_method("frozen")(Frozen)
    with catalogue.forgetting(Frozen), pytest.raises(OptionError, match=r"^change 'topk' at 0.01: .*is differentiable"):
        robustness_of(data, maps, own)
    with pytest.raises(OptionError, match=r"epsilon 2 was given; pixels are in \[0, 1\]"):
        robustness_of(data, replace(attacks, budgets={"pgd": (2.0,)}), own)
    with pytest.raises(OptionError, match="did you mean"):
        robustness_of(data, replace(QUICK, methods=("gradcma",)), own)
    with pytest.raises(OptionError, match="did you mean"):
        robustness_of(data, QUICK, own, labels={"cyst": "cysts"})
    assert counted == []


def test_pixels_outside_of_their_range_are_one_line(folder: Path) -> None:
    class Bright:
        def image(self) -> pellucid.Image:
            pixels = torch.full((1, SIDE, SIDE), 0.5)
            pixels[0, 0, 0] = 3.0
            return pellucid.Image(pixels, pixels, pellucid.Geometry.identity((SIDE, SIDE)))

        def digest(self) -> None:
            return None

    own = network()
    own = replace(own, preprocessing=replace(own.preprocessing, resize=None))
    with pytest.raises(ShapeError, match=r"^bright: pixels in \[0, 1\] before normalisation were expected"):
        robustness_of(Data([Case("bright", Bright())]), QUICK, own)


def test_data_without_masks_or_labels_have_no_hit_rate(folder: Path, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes((folder / f"image {number}.png").read_bytes())
    (tmp_path / "cases.csv").write_text("path,label,patient\n" + "".join(f"{n}.png,,P{n}\n" for n in range(3)))
    found = robustness_of(read_data(tmp_path / "cases.csv"), QUICK, network())
    assert (found.images, found.masked) == (3, 0)
    assert math.isnan(found.levels[0].figures["hit rate"].estimate)
    assert any("hit rates are not known" in one for one in found.limits)
    assert any("No attack was asked for" in one for one in found.limits)
    (tmp_path / "cases.csv").write_text("path\n0.png\n")
    with pytest.raises(DataError, match="no case in it can be used: no mask"):
        read_data(tmp_path / "cases.csv")


def test_images_of_two_sizes_are_one_line(folder: Path, tmp_path: Path) -> None:
    for number, side in enumerate((40, 44)):
        Pillow.fromarray(np.random.default_rng(number).integers(0, 255, (side, side), dtype=np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    (tmp_path / "cases.csv").write_text("path,label\n0.png,\n1.png,\n")
    own = network()
    with pytest.raises(OptionError, match="maps of different images can only be compared of images of one size"):
        robustness_of(read_data(tmp_path / "cases.csv"), QUICK, Network(own.model, Preprocessing(), CLASSES, "softmax"))


def test_a_network_that_fails_on_some_changed_images_is_counted(folder: Path) -> None:
    class Fussy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network().model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if int(((x + 2).abs() < 1e-6).sum()) > 6:  # three channels each
                raise ValueError("too many black pixels")
            return self.inner(x)

    plan = replace(QUICK, budgets={"noise": (0.05,)})
    found = robustness_of(read_data(folder / "cases.csv"), plan, replace(network(), model=Fussy().eval()))
    lost = np.isnan(column(found, "probability after", "gradcam", "noise", 0.05))
    assert 0 < lost.sum() < 12
    assert np.array_equal(np.isnan(column(found, "ssim", "gradcam", "noise", 0.05)), lost)
    assert sum(found.missing.values()) == lost.sum()
    assert "too many black pixels" in next(iter(found.missing))


class Drawn:
    """An image or volume of smooth noise; ``number`` is its seed."""

    def __init__(self, number: int, space: tuple[int, ...]) -> None:
        self.number, self.space = number, space

    def image(self) -> pellucid.Image:
        coarse = torch.rand(1, 1, *(4,) * len(self.space), generator=torch.Generator().manual_seed(self.number))
        mode = {2: "bilinear", 3: "trilinear"}[len(self.space)]
        pixels = nn.functional.interpolate(coarse, self.space, mode=mode)[0]
        return pellucid.Image(pixels, pixels, pellucid.Geometry.identity(self.space), digest=self.digest())

    def digest(self) -> str:
        return hashlib.sha256(f"{self.number} {self.space}".encode()).hexdigest()


def drawn(count: int, *space: int) -> Data:
    return Data([Case(str(number), Drawn(number, space), (), patient=str(number)) for number in range(count)])


def test_volumes_are_changed_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    own = Network(model, Preprocessing(channels=1), head="softmax")
    plan = RobustnessPlan(
        methods=("saliency",),
        changes=("all", "pgd(steps=1)"),
        budgets={"rotation": (0.0, 10.0), "pgd(steps=1)": (0.0, 0.1)},
    )
    found = robustness_of(drawn(3, 12, 13, 14), plan, own)
    assert not found.missing
    for change in found.changes:
        values = [one.figures["ssim"].estimate for one in found.at("saliency", change)]
        assert all(map(math.isfinite, values)), change
        if found.at("saliency", change)[0].level == 0:
            assert values[0] == 1 > values[-1]


def test_of_findings_the_answer_is_whether_one_is_there() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model.append(nn.Linear(4, 3)).eval()
    own = Network(model, Preprocessing(channels=1), head="sigmoid")
    images = torch.stack([Drawn(number, (16, 17)).image().values for number in range(6)])
    clean = model(images).sigmoid()
    classes = clean.argmax(1)
    with torch.no_grad():  # so that the class that is looked at is just above, or just below, a half
        model[-1].bias.sub_(torch.logit(clean.max(1).values.median()))
    plan = replace(QUICK, changes=("contrast",), budgets={"contrast": (0.5, 1.0)}, methods=("saliency",))
    found = robustness_of(drawn(6, 16, 17), plan, own)
    mean = images.flatten(1).mean(1)[:, None, None, None]
    before, after = model(images).sigmoid(), model(mean + 0 * images).sigmoid()
    own_class = before.argmax(1)
    assert classes.tolist() == own_class.tolist()
    expected = [float((a[c] > 0.5) != (b[c] > 0.5)) for a, b, c in zip(before, after, own_class, strict=True)]
    each = [one["moved"] for one in found.scores if one["level"] == 1.0]
    assert each == expected
    assert 0 < sum(expected) < 6
