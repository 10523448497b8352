"""``TrainerExplanationCallback``: explains a fixed batch while transformers' Trainer trains; imported on first use."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pellucid.core.optional import OptionalPackage
from pellucid.errors import warn
from pellucid.tracking.tracker import Tracker
from pellucid.training.monitor import Monitor
from pellucid.training.plan import MonitoringPlan

if TYPE_CHECKING:
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
else:
    _PACKAGE = OptionalPackage("transformers", "zoo").load("pellucid.training.TrainerExplanationCallback")
    TrainerCallback = _PACKAGE.TrainerCallback

_PREFIX = "eval_"
"""What the Trainer's names of evaluation metrics begin with."""


class TrainerExplanationCallback(TrainerCallback):
    """Explains the batch of a plan while a network is trained by transformers' Trainer, and logs maps and figures.

    The batch is explained once before the training, where what cannot work is an error; then when the Trainer has
    evaluated in an epoch that is due, and at the end of an epoch without an evaluation. The figures are added to the
    metrics of the evaluation: ``metric_for_best_model="pellucid/relevance_mass"`` chooses the model by it. For
    ``EarlyStoppingCallback`` list this callback before it. After an epoch that is not due, or whose maps cannot be
    made, a figure is the last one that there was.

    With several processes each explains the batch, as each looks at the figures, and the first logs. The last maps are
    kept in the Trainer's checkpoints, from which a training in the same folder is resumed with the same drift.

    Args:
        plan: what is explained, and how often.
        name: what the keys of figures and maps begin with.
        tracker: where to log; None: nowhere, and the figures are in the metrics alone. It is not closed.
    """

    def __init__(self, plan: MonitoringPlan, *, name: str = "pellucid", tracker: Tracker | None = None) -> None:
        super().__init__()
        self.monitor = Monitor(plan, name=name)
        self._tracker = tracker
        self._is_training = False
        self._seen: int | None = None

    # The Trainer's interface: further arguments of every event come by name.
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Explain the batch before the training.

        Raises:
            PellucidError: the network cannot be explained so, or targets or masks do not fit.
        """
        del control
        self.monitor.tracker = self._tracker if state.is_world_process_zero else None
        if state.global_step:
            self._resume(self._file(args, state))
        self._seen = None
        self.monitor.begin(kwargs["model"])
        self._is_training = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Explain the batch with the weights that were evaluated, and add the figures to the metrics."""
        del args, control
        if self._is_training:
            metrics: dict[str, float] = kwargs["metrics"]
            self._explain(state, kwargs["model"])
            metrics |= {f"{_PREFIX}{key}": value for key, value in self.monitor.values.items()}

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Explain the batch where no evaluation follows."""
        del args
        if not control.should_evaluate:
            self._explain(state, kwargs["model"])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the last maps and figures in the checkpoint."""
        del control, kwargs
        file = self._file(args, state)
        if state.is_world_process_zero and file.parent.is_dir():
            torch.save(self.monitor.state_dict(), file)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Later evaluations are not of a training."""
        del args, state, control, kwargs
        self._is_training = False

    def _explain(self, state: TrainerState, model: nn.Module) -> None:
        if self._seen == state.global_step:
            return
        self._seen = state.global_step
        epoch = math.ceil(round(state.epoch or 0.0, 6)) - 1
        self.monitor(model, max(0, epoch), state.global_step)

    def _file(self, args: TrainingArguments, state: TrainerState) -> Path:
        """Where the Trainer's checkpoint of this step keeps what belongs to this callback."""
        return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}" / f"{self.monitor.name}.pt"

    def _resume(self, file: Path) -> None:
        if not file.is_file():
            warn(f"{file} is not there; the drift starts anew from the weights that the training is resumed with")
            return
        self.monitor.load_state_dict(torch.load(file, weights_only=True))
