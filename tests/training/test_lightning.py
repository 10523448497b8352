"""``ExplanationCallback`` in real fits of Lightning's Trainer."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning import callbacks as lightning_callbacks
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint, StochasticWeightAveraging
from pytorch_lightning.loggers.logger import DummyLogger
from torch import Tensor

import pellucid
from pellucid.training import ExplanationCallback
from tests.networks import TinyCNN, images, seeded
from tests.training.fitting import End, Inner, Kept, Module, data, end_of, plan, seed_everything, trainer

pytestmark = [
    # Lightning's own advice, and its calls of what torch deprecates.
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory .* exists and is not empty"),
]


def callback(kept: Kept | None = None, **options) -> ExplanationCallback:
    """A callback that logs to a tracker of the test."""
    network = options.pop("network", None)
    return ExplanationCallback(plan(**options), network=network, tracker=Kept() if kept is None else kept)


def fit(
    folder: Path,
    callbacks: list[pl.Callback],
    module: pl.LightningModule | None = None,
    *,
    workers: int = 0,
    validated: bool = True,
    shuffled: bool = True,
    checkpoint: Path | None = None,
    **options,
) -> tuple[pl.Trainer, End]:
    """A training of two epochs, and what it left."""
    seed_everything()
    module = Module() if module is None else module
    made = trainer(folder, callbacks, **options)
    validation = data(shuffle=False) if validated else None
    made.fit(module, data(workers, shuffled), validation, ckpt_path=checkpoint)
    return made, end_of(module, made.optimizers, module.seen)


def compiled() -> Module:
    module = Module()
    module.model = torch.compile(module.model, backend="eager")
    return module


def frozen() -> Module:
    module = Module()
    module.model.features.requires_grad_(False)
    return module


def averaging_callback() -> pl.Callback:
    """An exponential average of the weights, which Lightning has since 2.6."""
    cls = getattr(lightning_callbacks, "EMAWeightAveraging", None)
    return pytest.skip("this Lightning has none") if cls is None else cls(decay=0.5)


SETTINGS: dict[str, tuple[Callable[[], pl.LightningModule], dict[str, object], Callable[[], list[pl.Callback]]]] = {
    "plain": (Module, {}, list),
    "without validation": (Module, {"validated": False}, list),
    "no forward": (Inner, {}, list),
    "autocast bfloat16": (Module, {"precision": "bf16-mixed"}, list),
    "gradient accumulation": (Module, {"accumulate_grad_batches": 2}, list),
    "no inference mode": (Module, {"inference_mode": False}, list),
    "several validations": (Module, {"val_check_interval": 1 / 3}, list),
    "frozen backbone": (frozen, {}, list),
    "compiled": (compiled, {}, list),
    "one worker": (Module, {"workers": 1}, list),
    "EMA": (Module, {}, lambda: [averaging_callback()]),
    "SWA": (Module, {}, lambda: [StochasticWeightAveraging(0.01, swa_epoch_start=1)]),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.filterwarnings("ignore:.*(Swapping scheduler|CUDA is not available|persistent_workers)")
def test_a_fit_ends_as_it_does_without_the_callback(name: str, tmp_path: Path) -> None:
    """Weights, buffers, optimizer, modes, random states and the order of the data, bit for bit; with dropout."""
    build, options, others = SETTINGS[name]
    _, plain = fit(tmp_path, others(), build(), **options)
    kept = Kept()
    _, watched = fit(tmp_path, [*others(), callback(kept, method="gradcam")], build(), **options)
    assert plain.differences(watched) == []
    assert len(plain.seen) >= 24
    assert len(kept.metrics_) == {"several validations": 6, "SWA": 3}.get(name, 2)
    assert all(step["pellucid/drift_without_value"] < 4 for step in kept.metrics_.values())


@pytest.mark.parametrize("name", ["relevance_mass", "hit_rate", "drift"])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("options", [{}, {"check_val_every_n_epoch": 2}, {"validated": False}], ids=str)
def test_early_stopping_and_checkpoints_monitor_a_figure_in_any_order(
    name: str, is_first: bool, options: dict[str, object], tmp_path: Path
) -> None:
    """Both find it when they first look, and it is that of the epoch: strict, and of the weights that are saved."""
    own = callback(kept := Kept())
    key = f"pellucid/{name}"
    saved = ModelCheckpoint(tmp_path / "saved", monitor=key, mode="min", save_top_k=-1, filename="{step}")
    stopping = EarlyStopping(key, patience=9, mode="min", strict=True)
    order = [own, stopping, saved] if is_first else [saved, stopping, own]
    made, _ = fit(tmp_path, order, epochs=4, enable_checkpointing=True, **options)
    assert made.current_epoch == 4
    assert float(stopping.best_score) == pytest.approx(min(kept_values(kept, key, every=looked(options))), abs=1e-6)
    best = {Path(path).stem: float(score) for path, score in saved.best_k_models.items()}
    assert best == {
        f"step={step}": pytest.approx(kept.metrics_[step][key], abs=1e-6)
        for step in kept.metrics_
        if step % (3 * looked(options)) == 0
    }


def looked(options: dict[str, object]) -> int:
    """After how many epochs the monitors look."""
    return int(options.get("check_val_every_n_epoch", 1))


def kept_values(kept: Kept, key: str, every: int) -> list[float]:
    return [values[key] for step, values in kept.metrics_.items() if step % (3 * every) == 0]


def test_a_figure_stops_the_training(tmp_path: Path) -> None:
    stopping = EarlyStopping("pellucid/hit_rate", mode="max", patience=1, min_delta=2.0)
    made, _ = fit(tmp_path, [stopping, callback()], epochs=6)
    assert made.current_epoch < 6
    assert stopping.stopped_epoch == 1


def test_an_epoch_that_is_not_due_keeps_the_last_figure(tmp_path: Path) -> None:
    kept = Kept()

    found: list[float] = []

    class Look(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            found.append(float(trainer.callback_metrics["pellucid/drift"]))

    fit(tmp_path, [callback(kept, every=3), Look()], epochs=6)
    drifts = [kept.metrics_[step]["pellucid/drift"] for step in (3, 9, 18)]
    assert list(kept.metrics_) == [3, 9, 18]
    assert found == pytest.approx([drifts[0]] * 2 + [drifts[1]] * 3 + [drifts[2]], abs=1e-6)


@pytest.mark.parametrize("is_before", [True, False])
def test_of_averaged_weights_those_are_explained_that_are_in_place(is_before: bool, tmp_path: Path) -> None:
    """An averaging callback puts its weights in place for the validation, and takes them back in its own turn."""
    averaging, own, current = averaging_callback(), callback(), Weights()
    fit(tmp_path, [own, averaging, current] if is_before else [averaging, own, current])
    model = seeded(TinyCNN)
    averaged = averaging._average_model.module.model.state_dict()
    model.load_state_dict(averaged if is_before else current.found[-1])
    with torch.no_grad():
        expected = model.eval()(images(4))
    assert torch.allclose(own.monitor.figures.explanation.logits, expected, atol=1e-5)


class Weights(pl.Callback):
    """Keeps the network's weights after each epoch."""

    def __init__(self) -> None:
        self.found: list[dict[str, Tensor]] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.found.append({name: one.clone() for name, one in pl_module.model.state_dict().items()})


def test_the_figures_are_those_of_a_monitor_with_the_same_weights(tmp_path: Path) -> None:
    own, weights = callback(method="gradcam"), Weights()
    fit(tmp_path, [own, weights])
    model = seeded(TinyCNN)
    monitor = pellucid.training.Monitor(plan(method="gradcam"))
    monitor.begin(model)
    for epoch, one in enumerate(weights.found):
        model.load_state_dict(one)
        figures = monitor(model, epoch)
    assert figures.values() == own.monitor.figures.values()
    assert own.monitor.figures.explanation.layers == ("model.features.4",)


def test_the_sanity_check_and_other_runs_are_no_epochs(tmp_path: Path) -> None:
    kept = Kept()
    made, _ = fit(tmp_path, [callback(kept)], num_sanity_val_steps=2)
    assert list(kept.metrics_) == [3, 6]
    made.validate(made.lightning_module, data(shuffle=False), verbose=False)
    assert list(kept.metrics_) == [3, 6]
    assert made.lightning_module.trainer is made


@pytest.mark.parametrize(("network", "layer"), [(None, "model.features.4"), ("model", "features.4")])
def test_the_network_in_the_module(network: str | None, layer: str, tmp_path: Path) -> None:
    own = callback(method="gradcam", network=network)
    fit(tmp_path, [own])
    assert own.monitor.figures.explanation.layers == (layer,)


class Two(Inner):
    """Two networks, and no forward."""

    def __init__(self) -> None:
        super().__init__()
        self.teacher = seeded(TinyCNN)


@pytest.mark.parametrize(
    ("build", "network", "message"),
    [
        (Two, None, "the network of Two was looked for; it has no forward, and of its modules model, teacher have"),
        (Two, "modell", "network 'modell' was asked for; Two has no such module; did you mean model?"),
    ],
)
def test_a_network_that_is_not_certain_is_an_error_before_the_training(
    build: type[pl.LightningModule], network: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(pellucid.errors.OptionError, match=message):
        fit(tmp_path, [callback(network=network)], build())


def test_masks_of_a_wrong_shape_are_an_error_before_the_training(tmp_path: Path) -> None:
    module = Module()
    with pytest.raises(pellucid.errors.ShapeError, match="8, 8"):
        fit(tmp_path, [callback(masks=torch.zeros(4, 8, 8))], module)
    assert module.seen == []


class Bursting(Module):
    """Its weights are NaN from the second epoch on."""

    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            with torch.no_grad():
                self.model.fc.weight.fill_(torch.nan)


def test_nan_weights_in_the_night_do_not_end_it(tmp_path: Path) -> None:
    """Not by early stopping either, which takes a figure that is not finite as a reason to stop."""
    kept = Kept()
    stopping = EarlyStopping("pellucid/relevance_mass", mode="max", patience=9, check_finite=True)
    with pytest.warns(pellucid.PellucidWarning, match="epoch 1: 4 of 4 maps are not finite; the training goes on"):
        made, _ = fit(tmp_path, [callback(kept), stopping], Bursting(), epochs=4)
    assert made.current_epoch == 4
    assert kept.metrics_[12]["pellucid/relevance_mass"] != kept.metrics_[12]["pellucid/relevance_mass"]
    assert float(made.callback_metrics["pellucid/relevance_mass"]) == pytest.approx(
        kept.metrics_[3]["pellucid/relevance_mass"]
    )


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.filterwarnings("ignore:.*(Be aware that when using `ckpt_path`|the dirpath has changed)")
def test_a_resumed_fit_has_the_same_figures(every: int, tmp_path: Path) -> None:
    """Stopped after two of four epochs, and resumed by new objects; without what Lightning does not resume: chance."""
    whole, parts = Kept(), Kept()
    stopping = EarlyStopping("pellucid/hit_rate", mode="max", patience=9, strict=True)  # looks where none is due, too
    saved = ModelCheckpoint(tmp_path / "saved", save_last=True)
    chosen = {"every": every, "drift": "spearman"}
    fit(tmp_path, [callback(whole, **chosen)], certain(), shuffled=False, epochs=4)
    fit(tmp_path, [callback(parts, **chosen), saved], certain(), shuffled=False, epochs=2, enable_checkpointing=True)
    last = tmp_path / "saved" / "last.ckpt"
    fit(tmp_path, [callback(parts, **chosen), stopping], certain(), shuffled=False, epochs=4, checkpoint=last)
    assert list(parts.metrics_) == ([3, 6, 9, 12] if every == 1 else [3, 6, 12])
    assert repr(parts.metrics_) == repr(whole.metrics_)
    assert whole.metrics_[12]["pellucid/drift"] > 0.001


def certain() -> Module:
    """A module without dropout."""
    module = Module()
    module.model.dropout.p = 0.0
    return module


def test_a_second_fit_begins_anew(tmp_path: Path) -> None:
    kept, alone = [Kept(), Kept()], Kept()
    own = callback(kept[0])
    fit(tmp_path, [own])
    own.monitor.tracker = kept[1]
    other = seeded(TinyCNN)
    with torch.no_grad():
        other.fc.weight.neg_()
    fit(tmp_path, [own], Module(copy.deepcopy(other)))
    fit(tmp_path, [callback(alone)], Module(other))
    assert repr(kept[1].metrics_) == repr(alone.metrics_) != repr(kept[0].metrics_)


def test_the_drift_of_a_resumed_fit_starts_from_the_checkpoint(tmp_path: Path) -> None:
    own = callback(drift="spearman")
    saved = ModelCheckpoint(tmp_path / "saved", save_last=True)
    fit(tmp_path, [own, saved], epochs=2, enable_checkpointing=True)
    last = torch.load(tmp_path / "saved" / "last.ckpt", weights_only=True)
    state = last["callbacks"]["ExplanationCallback(pellucid)"]
    assert torch.equal(state["reference"]["maps"], own.monitor.figures.explanation.heatmaps)
    assert state["epoch"] == 1


class Hooked:
    """A trainer of one of several processes, as the callback sees it."""

    def __init__(self, is_global_zero: bool, received: object = None) -> None:
        self.is_global_zero = is_global_zero
        self.world_size, self.current_epoch, self.global_step = 2, 0, 5
        self.sanity_checking, self.loggers, self.default_root_dir = False, [], "."
        self.state = type("State", (), {"fn": "fit"})
        self.strategy, self.sent, self._received = self, [], received

    def broadcast(self, value: object) -> object:
        self.sent.append(value)
        return value if self.is_global_zero else self._received


class Noted(Module):
    """It notes what it is asked to log."""

    def log(self, name: str, value: float, **options: object) -> None:
        self.logged = getattr(self, "logged", {}) | {name: (value, options)}


def test_of_several_processes_the_first_explains_and_all_have_its_figures() -> None:
    made, kept = Hooked(True), Kept()
    first = callback(kept, method="gradcam")
    modules = [Noted(), Noted()]
    first.on_fit_start(made, modules[0])
    first.on_validation_epoch_end(made, modules[0])
    other = Hooked(False, made.sent[0])
    second = callback(others := Kept(), method="gradcam")
    second.on_fit_start(other, modules[1])
    modules[1].model.forward = None  # it is not run again
    second.on_validation_epoch_end(other, modules[1])
    assert len(other.sent) == 1
    assert modules[0].logged == modules[1].logged
    assert modules[0].logged["pellucid/drift"][1] == {"on_epoch": True, "logger": False, "sync_dist": True}
    assert (len(kept.images), others.images) == (4, {})


def test_a_tracker_of_one_s_own_is_not_closed_and_that_of_the_loggers_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, made = Kept(), []

    def trackers_of(loggers, folder) -> Kept:
        made.append((list(loggers), folder, Kept()))
        return made[-1][2]

    monkeypatch.setattr("pellucid.tracking.trackers_of", trackers_of)
    fit(tmp_path, [callback(mine)])
    assert "close" not in mine.calls
    assert made == []
    own = ExplanationCallback(plan())
    fit(tmp_path, [own])
    fit(tmp_path, [own])
    assert [calls.calls.count("close") for _, _, calls in made] == [1, 1]
    assert [folder for _, folder, _ in made] == [tmp_path / "pellucid"] * 2

    class Failing(Module):
        def on_train_epoch_end(self) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(tmp_path, [ExplanationCallback(plan())], Failing())
    assert made[-1][2].calls[-1] == "close"


class Spy(DummyLogger):
    """A logger that notes which figures it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def log_metrics(self, metrics, step=None) -> None:
        self.names |= set(metrics)


def test_the_trainer_s_loggers_are_not_called_for_the_figures(tmp_path: Path) -> None:
    """They may wait for a server; the tracker, by its contract, does not."""
    spy, kept = Spy(), Kept()
    fit(tmp_path, [callback(kept, every=2)], epochs=3, logger=spy)
    assert spy.names == {"val_loss", "epoch"}
    assert kept.calls == ["parameters"] + (["metrics"] + ["image"] * 4) * 2


def test_a_callback_can_be_pickled_for_another_process(tmp_path: Path) -> None:
    own = callback(method="gradcam")
    again = pickle.loads(pickle.dumps(own))
    fit(tmp_path, [again])
    assert again.monitor.figures.drift.count == 4


def test_several_callbacks_have_names_of_their_own(tmp_path: Path) -> None:
    kept = Kept()
    each = [ExplanationCallback(plan(method=name), name=name, tracker=kept) for name in ("saliency", "gradcam")]
    made, _ = fit(tmp_path, each)
    assert {"saliency/drift", "gradcam/drift"} <= set(made.callback_metrics)
    assert len({one.state_key for one in each}) == 2


class Reaching(Module):
    """Its forward asks its trainer, and it logs in its forward."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.trainer is not None
        return self.model(x)


def test_a_module_that_needs_its_trainer_is_explained_by_the_network_in_it(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="not attached to a `Trainer`"):
        fit(tmp_path, [callback()], Reaching())
    own = callback(network="model")
    fit(tmp_path, [own], Reaching())
    assert own.monitor.figures.drift.count == 4
