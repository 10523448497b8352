"""``Monitor`` in a training loop written by hand."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.methods import GradCAM, IntegratedGradients, Saliency
from pellucid.training import Monitor, MonitoringPlan
from tests.networks import TinyCNN, TinyViT, images, seeded
from tests.training.fitting import CLASSES, Kept, data, end_of, masks, plan, seed_everything


class Counted(nn.Module):
    """A network that counts its forward passes, and the backward passes from its logits, in images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.counts = {"forward": 0, "backward": 0}

    def forward(self, x: Tensor) -> Tensor:
        self.counts["forward"] += len(x)
        logits = self.network(x)
        if logits.requires_grad:
            logits.register_hook(lambda gradient: self._went_back(len(x)))
        return logits

    def _went_back(self, count: int) -> None:
        self.counts["backward"] += count


def train(monitor: Monitor | None, epochs: int = 2, network: nn.Module | None = None) -> tuple[nn.Module, object]:
    """A plain loop, with or without a monitor; the network and what the training left."""
    seed_everything()
    model = seeded(TinyCNN) if network is None else network
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    seen: list[float] = []
    if monitor is not None:
        monitor.begin(model)
    for epoch in range(epochs):
        for pixels, labels in data():
            seen += [float(one.sum()) for one in pixels]
            optimizer.zero_grad()
            F.cross_entropy(model(pixels), labels).backward()
            optimizer.step()
        if monitor is not None:
            monitor(model, epoch)
    return model, end_of(model, [optimizer], seen)


@pytest.mark.parametrize("method", ["gradcam", "saliency", "smoothgrad", "rise", "integrated_gradients"])
def test_a_training_ends_as_it_does_without_a_monitor(method: str) -> None:
    """Weights, buffers, optimizer, modes, random states and the order of the data, bit for bit; with dropout."""
    plain = train(None)[1]
    watched = train(Monitor(plan(method=method), Kept()))[1]
    assert plain.differences(watched) == []


def test_the_comparison_sees_what_a_careless_explanation_changes() -> None:
    """A pass in training mode moves the norms' statistics and draws dropout's numbers."""
    plain = train(None)[1]

    class Careless(Monitor):
        def __call__(self, model, epoch, step=None):
            model.eval().train()(images(2))

    assert {"features.3.running_mean", "torch", "seen", "fc.weight", "optimizer"} <= set(
        plain.differences(train(Careless(plan()))[1])
    )


def test_modes_gradients_and_hooks_stay_in_the_middle_of_a_step() -> None:
    model = seeded(TinyCNN).train()
    model.features[3].eval()
    F.cross_entropy(model(images(4)), torch.arange(4)).backward()
    before = [one.training for one in model.modules()], [one.grad.clone() for one in model.parameters()]
    monitor = Monitor(plan())
    monitor.begin(model)
    monitor(model, 0)
    assert [one.training for one in model.modules()] == before[0]
    assert all(map(torch.equal, (one.grad for one in model.parameters()), before[1]))
    assert not any(one._forward_hooks or one._backward_hooks for one in model.modules())


@pytest.mark.parametrize("method", [GradCAM(), Saliency(), IntegratedGradients()])
def test_an_epoch_costs_at_most_a_fifth_more_than_the_passes_of_its_method(method: pellucid.Method) -> None:
    """In images through the network. Masks and the drift need no pass; new weights are not measured anew."""
    model, needed = Counted(seeded(TinyCNN)), 8 * getattr(method, "steps", 1)
    monitor = Monitor(plan(8, method=method))
    monitor.begin(model)
    with torch.no_grad():
        for parameter in model.parameters():  # as an optimizer's step writes
            parameter.mul_(1.01)
    model.counts.update(forward=0, backward=0)
    monitor(model, 0)
    assert needed <= model.counts["forward"] <= 1.2 * needed
    assert needed <= model.counts["backward"] <= 1.2 * needed


class Ensemble(nn.Module):
    """Two networks, whose logits are added: the score passes through a layer of each."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = TinyCNN(), TinyCNN()

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.other(x)


@pytest.mark.parametrize(
    ("build", "layers"), [(TinyCNN, ("features.4",)), (Ensemble, ("one.features.4", "other.features"))]
)
def test_the_maps_are_those_of_explain(build: type[nn.Module], layers: tuple[str, ...]) -> None:
    """Also where several layers are found, whose maps are added."""
    model = seeded(build)
    monitor = Monitor(plan(method="gradcam"))
    monitor.begin(model)
    with torch.no_grad():
        next(one for one in model.modules() if isinstance(one, nn.Linear)).weight.mul_(-1.5)
    found = monitor(model, 0).explanation
    expected = pellucid.explain(model, images(4), "gradcam", [0, 1, 2, 3], head="softmax")
    assert torch.equal(found.heatmaps, expected.heatmaps)
    assert torch.equal(found.logits, expected.logits)
    assert found.layers == expected.layers == layers
    assert found.provenance["fuse"] == expected.provenance["fuse"]


def test_layers_are_settled_by_the_first_weights() -> None:
    """Maps at other layers cannot be compared: a layer that carries nothing later stays the layer."""

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
            self.share = nn.Parameter(torch.tensor(1.0))
            self.fc = nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            early = self.one(x).relu()
            deep = self.other(early).relu().mean((2, 3))
            return self.fc(self.share * deep + (1 - self.share) * early.mean((2, 3)))

    model = seeded(Two)
    monitor = Monitor(plan(method="gradcam"))
    layers = monitor.begin(model).explanation.layers
    with torch.no_grad():
        model.share.zero_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert pellucid.explain(model, images(4), targets=[0, 1, 2, 3], head="softmax").layers != layers
    assert monitor(model, 0).explanation.layers == layers


def test_drift_is_between_the_epochs_that_are_due() -> None:
    """The first is from the weights that the training began with."""
    model, maps = seeded(TinyCNN), []
    monitor = Monitor(plan(every=2, drift="spearman"))
    maps.append(monitor.begin(model).explanation)
    found = []
    for epoch in range(4):
        with torch.no_grad():
            model.fc.weight.add_(torch.randn(CLASSES, 12, generator=torch.Generator().manual_seed(epoch)))
        found.append(monitor(model, epoch))
    assert [one.epoch for one in found] == [0, 1, 1, 3]
    assert found[1] is found[2]
    maps += [found[number].explanation for number in (0, 1, 3)]
    for before, after, epoch in zip(maps[:-1], maps[1:], (0, 1, 3), strict=True):
        alike = pellucid.compare(before, after, metrics=["spearman"])["spearman"]
        assert torch.allclose(found[epoch].scores["drift"], 1 - alike)
        assert found[epoch].drift.estimate == pytest.approx(float(1 - alike.mean()))
    assert found[3].drift.estimate > 0.01


def test_without_begin_the_first_call_has_no_drift_and_checks() -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(plan())
    first, second = monitor(model, 0), monitor(model, 1)
    assert (first.drift.count, first.drift.excluded) == (0, 4)
    assert (second.drift.count, second.drift.estimate) == (4, pytest.approx(0, abs=1e-6))
    with pytest.raises(pellucid.errors.LayerError):
        Monitor(plan(method="gradcam", layers=["fc"]))(model, 0)


def test_predicted_targets_count_the_maps_whose_class_changed() -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(MonitoringPlan(images(6), "predicted", method="saliency", head="softmax"))
    before = monitor.begin(model).explanation.targets
    with torch.no_grad():
        model.fc.weight.mul_(-1)
        model.fc.bias.mul_(-1)
    figures = monitor(model, 0)
    count = int((figures.explanation.targets != before).sum())
    assert count > 0
    assert (figures.changed, figures.drift.excluded) == (count, count)
    assert figures.hit_rate is None
    assert figures.relevance_mass is None


def test_what_is_logged_and_in_which_order() -> None:
    model, kept = seeded(TinyCNN), Kept()
    monitor = Monitor(plan(drawn=2), kept, name="probe")
    monitor.begin(model)
    assert kept.calls == ["parameters"]
    assert kept.parameters_["probe/method"] == "saliency"
    assert kept.parameters_["probe/batch"] == monitor.plan.digest()
    monitor(model, 0, step=70)
    monitor(model, 1)
    assert kept.calls == ["parameters"] + ["metrics", "image", "image"] * 2
    assert set(kept.images) == {(f"probe/case-{n}/saliency", step) for n in (0, 1) for step in (70, 1)}
    assert kept.metrics_[1]["probe/hit_rate"] == monitor.values["probe/hit_rate"]
    assert kept.metrics_[1]["probe/relevance_mass"] == float(monitor.figures.relevance_mass.estimate)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"masks": torch.zeros(4, 8, 8)}, "ShapeError", r"\(4, 8, 8\)|\(4, 1, 8, 8\)"),
        ({"masks": [None]}, "ShapeError", "masks of 1 images were given; there are 4"),
        ({"patients": ["a"]}, "ShapeError", "1 patients were given; there are 4 images"),
        ({"method": "rollout"}, "NoAttentionError", "attention"),
        ({"method": "grad-cam!"}, "MethodError", "grad-cam!"),
        ({"method": "gradcam", "layers": ["nowhere"]}, "LayerError", "nowhere"),
        ({"output": "logits"}, "OutputError", "logits"),
    ],
)
def test_what_cannot_work_is_an_error_before_the_training(options, error: str, message: str) -> None:
    with pytest.raises(getattr(pellucid.errors, error), match=message) as raised:
        Monitor(plan(**options)).begin(seeded(TinyCNN))
    assert "\n" not in str(raised.value)


class Breaking(nn.Module):
    """A network that raises when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(TinyCNN)
        self.fails = False

    def forward(self, x: Tensor) -> Tensor:
        if self.fails:
            raise ValueError("no more")
        return self.inner(x)


def test_an_error_in_the_middle_is_one_warning_and_the_figures_are_nan() -> None:
    model, kept = Breaking(), Kept()
    monitor = Monitor(plan(), kept)
    monitor.begin(model)
    before = dict(monitor(model, 0).values()), dict(monitor.values)
    model.fails = True
    with pytest.warns(pellucid.PellucidWarning) as caught:
        broken = [monitor(model, epoch) for epoch in (1, 2)]
    (message,) = [str(one.message) for one in caught]
    assert message == (
        "pellucid, epoch 1: the batch could not be explained (ValueError: no more); the training goes on, and later "
        "epochs are not warned of"
    )
    assert [one.explanation for one in broken] == [None, None]
    assert all(one.values()["hit_rate"] != one.values()["hit_rate"] for one in broken)
    assert monitor.values == before[1], "what a training is stopped by stays at the last value"
    model.fails = False
    assert monitor(model, 3).drift.estimate == pytest.approx(0, abs=1e-6)
    assert [step for step, _ in kept.metrics_.items()] == [0, 1, 2, 3]


def test_weights_that_are_nan_are_one_warning() -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(plan())
    monitor.begin(model)
    values = dict(monitor(model, 0).values()), dict(monitor.values)
    with torch.no_grad():
        model.fc.weight.fill_(torch.nan)
    with pytest.warns(pellucid.PellucidWarning, match="epoch 1: 4 of 4 maps are not finite; the training") as caught:
        figures = [monitor(model, epoch) for epoch in (1, 2)]
    assert len(caught) == 1
    assert [one.hit_rate.count for one in figures] == [0, 0]
    assert [one.drift.excluded for one in figures] == [4, 4]
    assert figures[0].values()["relevance_mass"] != figures[0].values()["relevance_mass"]
    assert monitor.values["pellucid/hit_rate"] == values[1]["pellucid/hit_rate"]


def test_maps_that_are_lost_one_after_the_other_are_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(plan())
    monitor.begin(model)
    broken = iter([torch.tensor([[True], [False]]), torch.tensor([[True], [True]])])
    monkeypatch.setattr("pellucid.training.monitor.lost", lambda found: next(broken))
    with pytest.warns(pellucid.PellucidWarning, match="epoch 0: 1 of 4 maps are not finite") as caught:
        [monitor(model, epoch) for epoch in (0, 1)]
    assert len(caught) == 1


def test_a_second_training_begins_anew() -> None:
    """Such as that of another fold: its first drift is not from the maps of the first one's network."""
    first, second = seeded(TinyCNN), TinyCNN()
    monitor = Monitor(plan(every=3))
    monitor.begin(first)
    monitor(first, 0)
    monitor.begin(second)
    assert monitor.is_due(0)
    assert monitor(second, 0).drift.estimate == pytest.approx(0, abs=1e-6)


def test_a_tracker_that_fails_is_one_warning() -> None:
    class Full(Kept):
        def metrics(self, values, step: int = 0) -> None:
            raise OSError(28, "No space left on device")

    model = seeded(TinyCNN)
    monitor = Monitor(plan(), Full())
    monitor.begin(model)
    with pytest.warns(pellucid.PellucidWarning, match="could not be logged .OSError: .*No space left") as caught:
        figures = [monitor(model, epoch) for epoch in (0, 1)]
    assert len(caught) == 1
    assert [one.epoch for one in figures] == [0, 1]


def test_weights_that_are_nan_from_the_beginning_are_warned_of_then() -> None:
    model = seeded(TinyCNN)
    with torch.no_grad():
        model.fc.weight.fill_(torch.nan)
    with pytest.warns(pellucid.PellucidWarning, match="pellucid, before the training: 4 of 4 maps are not finite"):
        Monitor(plan()).begin(model)


def test_targets_may_be_names(recwarn: pytest.WarningsRecorder) -> None:
    names = ["a", "b", "c", "d"]
    monitor = Monitor(MonitoringPlan(images(2), ["b", "d"], method="saliency", head="softmax", classes=names))
    assert monitor.begin(seeded(TinyCNN)).explanation.targets.tolist() == [[1], [3]]
    assert list(recwarn) == []


def test_an_interrupt_is_not_kept_from_ending_the_training() -> None:
    model = Breaking()
    monitor = Monitor(plan())
    monitor.begin(model)
    model.forward = lambda x: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        monitor(model, 0)


def resumed(state: dict[str, object], model: nn.Module, **options) -> Monitor:
    monitor = Monitor(plan(**options))
    monitor.load_state_dict(state)
    monitor.begin(model)
    return monitor


def test_a_resumed_training_has_the_same_figures(tmp_path) -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(plan(method="gradcam", every=2))
    monitor.begin(model)
    monitor(model, 0)
    monitor(model, 1)
    torch.save(monitor.state_dict(), tmp_path / "state.pt")
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    with torch.no_grad():
        model.fc.weight.mul_(-1)
    again = resumed(saved, model, method="gradcam", every=2)
    assert again.values == monitor.values
    assert [again.is_due(epoch) for epoch in (2, 3)] == [False, True]
    assert again(model, 2) is again.figures
    assert again.figures.epoch == -1, "of before the training"
    assert again(model, 3).values() == monitor(model, 3).values()
    assert again.figures.drift.estimate > 0.01


def test_the_maps_of_another_batch_are_not_gone_on_from() -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(plan())
    monitor(model, 0)
    with pytest.warns(pellucid.PellucidWarning, match="maps of another batch, method or comparison; the drift starts"):
        other = resumed(monitor.state_dict(), model, method="input_x_gradient")
    assert other(model, 1).drift.count == 4


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32), (4, 32, 32), (1, 16, 16, 16)])
def test_maps_are_drawn_on_images_of_any_channels_and_on_volumes(shape: Sequence[int]) -> None:
    channels, *space = shape
    rank = len(space)
    model = seeded(TinyCNN, rank, CLASSES, channels)
    kept = Kept()
    pixels = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[0, 1], [2, 3]])
    Monitor(MonitoringPlan(pixels, targets, method="saliency", head="softmax"), kept)(model, 0)
    assert sorted(kept.images) == [(f"pellucid/case-{n}/saliency-class-{2 * n + k}", 0) for n in (0, 1) for k in (0, 1)]
    colours = {image.mode for image in kept.images.values()}
    assert colours == {"RGB"}
    assert all(min(image.size) >= 32 for image in kept.images.values())


def test_prepared_images_are_drawn_as_they_were() -> None:
    model, kept = seeded(TinyCNN), Kept()
    prepare = pellucid.Preprocessing(resize=(32, 32))
    pixels = (torch.rand(3, 40, 48, generator=torch.Generator().manual_seed(0)) * 255).byte()
    image = pellucid.Image(pixels.float() / 255, pixels.float() / 255, pellucid.Geometry.identity((40, 48)))
    monitor = Monitor(MonitoringPlan([prepare(image)], [1], method="saliency", head="softmax"), kept)
    monitor(model, 0)
    (drawn,) = kept.images.values()
    assert drawn.size[0] > 48
    assert drawn.size[1] > 40


def test_transformers_networks_and_sequences_of_classes_work_too() -> None:
    model = seeded(TinyViT)
    monitor = Monitor(plan(method="rollout"))
    monitor.begin(model)
    assert monitor(model, 0).drift.estimate == pytest.approx(0, abs=1e-6)


def test_masks_fit_all_classes_of_an_image() -> None:
    model = seeded(TinyCNN)
    monitor = Monitor(MonitoringPlan(images(4), "all", method="saliency", masks=masks(), head="softmax"))
    figures = monitor(model, 0)
    assert figures.scores["hit_rate"].shape == (4, CLASSES)
    assert (figures.hit_rate.count, figures.hit_rate.patients) == (16, 4)
