"""``TrainerExplanationCallback`` in transformers' Trainer, or at its events where the Trainer cannot be made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback, EarlyStoppingCallback

import pellucid
from pellucid.training import MonitoringPlan, TrainerExplanationCallback
from tests.networks import TinyCNN, images, seeded
from tests.training.fitting import COUNT, Kept, end_of, masks, seed_everything

KEY = "eval_pellucid/relevance_mass"


class Network(nn.Module):
    """A network with the Trainer's interface: it takes labels and returns a loss and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = seeded(TinyCNN)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.inner(pixel_values)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


def callback(kept: Kept, **options) -> TrainerExplanationCallback:
    chosen = {"method": "saliency", "masks": masks(), "head": "softmax", **options}
    plan = MonitoringPlan({"pixel_values": images(4)}, [0, 1, 2, 3], **chosen)
    return TrainerExplanationCallback(plan, tracker=kept)


class Settings:
    """What the callbacks look at of the Trainer's settings."""

    logging_strategy = save_strategy = "no"
    eval_delay = 0
    load_best_model_at_end = True
    metric_for_best_model = "pellucid/relevance_mass"
    greater_is_better = True

    def __init__(self, folder: Path, eval_strategy: str) -> None:
        self.output_dir, self.eval_strategy = str(folder), eval_strategy


def events(folder: Path, callbacks: list[TrainerCallback], epochs: int = 2, evaluated: bool = True, state=None):
    """The Trainer's events in their order, each epoch of three steps; what the evaluations had, and the state."""
    settings, model = Settings(folder, "epoch" if evaluated else "no"), Network()
    state = state or TrainerState(epoch=0, global_step=0)
    control = TrainerControl()
    handler = CallbackHandler([DefaultFlowCallback, *callbacks], model, None, None, None)
    found = []
    control = handler.on_train_begin(settings, state, control)
    for _ in range(epochs):
        state.global_step, state.epoch = state.global_step + 3, state.epoch + 1
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.05)
        control = handler.on_epoch_end(settings, state, control)
        if control.should_evaluate:
            found.append({"eval_loss": 1.0})
            control = handler.on_evaluate(settings, state, control, found[-1])
        folder.joinpath(f"checkpoint-{state.global_step}").mkdir()
        handler.on_save(settings, state, control)
    handler.on_train_end(settings, state, control)
    return found, state


def test_each_epoch_is_explained_once_and_its_evaluation_has_the_figures(tmp_path: Path) -> None:
    kept = Kept()
    found, _ = events(tmp_path, [callback(kept)])
    assert list(kept.metrics_) == [3, 6]
    assert [one[KEY] for one in found] == [kept.metrics_[step]["pellucid/relevance_mass"] for step in (3, 6)]
    assert {image[0] for image in kept.images} == {f"pellucid/case-{number}/saliency" for number in range(4)}


def test_without_an_evaluation_the_end_of_the_epoch_counts(tmp_path: Path) -> None:
    kept = Kept()
    events(tmp_path, [callback(kept, every=2)], epochs=4, evaluated=False)
    assert list(kept.metrics_) == [3, 6, 12]


def test_an_epoch_that_is_not_due_keeps_the_last_figure(tmp_path: Path) -> None:
    kept = Kept()
    found, _ = events(tmp_path, [callback(kept, every=3)], epochs=3)
    assert list(kept.metrics_) == [3, 9]
    assert found[0][KEY] == found[1][KEY] != found[2][KEY]


def test_early_stopping_finds_the_figure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events(tmp_path, [callback(Kept()), EarlyStoppingCallback(1)])
    assert "did not find" not in caplog.text


def test_an_evaluation_after_the_training_is_none_of_it(tmp_path: Path) -> None:
    kept, metrics = Kept(), {}
    own = callback(kept)
    _, state = events(tmp_path, [own])
    own.on_evaluate(Settings(tmp_path, "epoch"), state, TrainerControl(), model=Network(), metrics=metrics)
    assert metrics == {}
    assert list(kept.metrics_) == [3, 6]


def test_a_training_is_resumed_with_the_same_drift(tmp_path: Path) -> None:
    kept, other = Kept(), Kept()
    own = callback(kept, drift="spearman")
    _, state = events(tmp_path, [own])
    again = callback(other, drift="spearman")
    file = torch.load(tmp_path / "checkpoint-6" / "pellucid.pt", weights_only=True)
    assert torch.equal(file["reference"]["maps"], own.monitor.figures.explanation.heatmaps)
    again.on_train_begin(Settings(tmp_path, "epoch"), state, TrainerControl(), model=Network())
    assert again.monitor.values == own.monitor.values
    with pytest.warns(pellucid.PellucidWarning, match="checkpoint-6.*is not there; the drift starts anew"):
        callback(other).on_train_begin(Settings(tmp_path / "no", "epoch"), state, TrainerControl(), model=Network())


def test_of_several_processes_only_the_first_logs(tmp_path: Path) -> None:
    kept = Kept()
    state = TrainerState(epoch=0, global_step=0, is_world_process_zero=False)
    found, _ = events(tmp_path, [callback(kept)], state=state)
    assert kept.calls == []
    assert all(KEY in one for one in found)


def test_what_cannot_work_is_an_error_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(pellucid.errors.ShapeError, match="8, 8"):
        events(tmp_path, [callback(Kept(), masks=torch.zeros(4, 8, 8))])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_real_training_ends_as_it_does_without_the_callback(tmp_path: Path) -> None:
    plain, _ = trained(tmp_path / "plain", [])
    kept = Kept()
    watched, best = trained(tmp_path / "watched", [callback(kept, method="gradcam")])
    assert plain.differences(watched) == []
    assert list(kept.metrics_) == [3, 6]
    assert best == max(step["pellucid/relevance_mass"] for step in kept.metrics_.values())


def trained(folder: Path, callbacks: Sequence[TrainerCallback]):
    """A training of two epochs by the Trainer; what it left, and its best figure."""
    from transformers import Trainer, TrainingArguments

    seed_everything()
    model = Network()
    rows = [{"pixel_values": image, "labels": number % 4} for number, image in enumerate(images(COUNT))]
    chosen = {"metric_for_best_model": "pellucid/relevance_mass", "load_best_model_at_end": False} if callbacks else {}
    settings = TrainingArguments(
        str(folder),
        num_train_epochs=2,
        per_device_train_batch_size=4,
        eval_strategy="epoch",
        save_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        greater_is_better=True if callbacks else None,
        **chosen,
    )
    made = Trainer(model, settings, train_dataset=rows, eval_dataset=rows, callbacks=list(callbacks))
    made.train()
    return end_of(model, [made.optimizer.optimizer], []), made.state.best_metric
