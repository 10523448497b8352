"""``ExplanationCallback``: a fixed batch is explained while Lightning's Trainer trains; imported on first use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.tracking.tracker import Tracker
from pellucid.training.lightning_package import lightning
from pellucid.training.monitor import Monitor
from pellucid.training.network import NetworkOf
from pellucid.training.plan import MonitoringPlan

if TYPE_CHECKING:
    from pytorch_lightning import Callback, LightningModule, Trainer
else:  # whichever of its two names is installed
    _PACKAGE = lightning("pellucid.training.ExplanationCallback")
    Callback, LightningModule = _PACKAGE.Callback, _PACKAGE.LightningModule

FITTING = "fit"


class ExplanationCallback(Callback):
    """Explains the batch of a plan while a network is trained by Lightning, and logs maps and figures.

    The batch is explained at the end of each validation of an epoch that is due, so that the figures are of the weights
    that are validated and saved then, and at the end of an epoch without a validation. The sanity check before the
    training is none. Before the training the batch is explained once: what cannot work is an error there.

    Each figure is in ``trainer.callback_metrics``, such as ``pellucid/relevance_mass``, so that ``EarlyStopping`` and
    ``ModelCheckpoint`` can monitor it; ``…_low`` and ``…_high`` are the ends of its interval. They find a figure
    from the first epoch on. After an epoch that is not due, or whose maps cannot be made, it is the last one that there
    was: ``patience`` counts such an epoch as one without improvement, and ``every_n_epochs`` of the checkpoint should
    be the plan's ``every``.

    Maps and figures go to the trainer's loggers at the trainer's global step, and nothing waits for a server. With
    several processes the first explains, and all get its figures.

    Args:
        plan: what is explained, and how often.
        network: the dotted name of the network within the LightningModule; None: the LightningModule, or where it has
            no ``forward`` the only module in it with parameters.
        name: what the keys of figures and maps begin with.
        tracker: where to log instead of the trainer's loggers; it is not closed.

    >>> import torch, pellucid
    >>> plan = pellucid.training.MonitoringPlan(torch.randn(2, 3, 64, 64), [0, 1])
    >>> pellucid.training.ExplanationCallback(plan).state_key
    'ExplanationCallback(pellucid)'
    """

    def __init__(
        self,
        plan: MonitoringPlan,
        *,
        network: str | None = None,
        name: str = "pellucid",
        tracker: Tracker | None = None,
    ) -> None:
        super().__init__()
        self.monitor = Monitor(plan, tracker, name)
        self._network = NetworkOf(LightningModule.forward, network)
        self._own: Tracker | None = None
        self._seen: int | None = None

    @property
    def state_key(self) -> str:
        """What the state is saved by in a checkpoint."""
        return f"{type(self).__name__}({self.monitor.name})"

    def state_dict(self) -> dict[str, Any]:
        """The last maps and figures, so that a resumed training has the same drift."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.monitor.load_state_dict(state_dict)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the batch before the training.

        Raises:
            PellucidError: the network cannot be explained so, or targets or masks do not fit. It is raised in each
                process, so that none waits for another.
        """
        if trainer.is_global_zero and self.monitor.tracker is None:
            self._own = self.monitor.tracker = _tracker_of(trainer)
        self._seen = None
        self.monitor.begin(self._network(pl_module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the batch with the weights that were validated."""
        if trainer.state.fn == FITTING and not trainer.sanity_checking:
            self._explain(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Explain the batch where the epoch had no validation."""
        if self._seen != trainer.current_epoch:
            self._explain(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Close what was logged to."""
        del trainer, pl_module, exception
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Close what was logged to."""
        del trainer, pl_module, stage
        self._close()

    def _explain(self, trainer: Trainer, pl_module: LightningModule) -> None:
        epoch = self._seen = trainer.current_epoch
        if self.monitor.is_due(epoch):
            if trainer.is_global_zero:
                self.monitor(self._network(pl_module), epoch, trainer.global_step)
            self._share(trainer)
        # Not by the loggers, which get them from the tracker: only the epochs that are due.
        for key, value in self.monitor.values.items():
            pl_module.log(key, value, on_epoch=True, logger=False, sync_dist=trainer.world_size > 1)

    def _share(self, trainer: Trainer) -> None:
        """Give every process the figures of the first, as each of them looks whether to stop or save."""
        if trainer.world_size > 1:
            self.monitor.adopt(trainer.strategy.broadcast(self.monitor.shared()))

    def _close(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = self.monitor.tracker = None


def _tracker_of(trainer: Trainer) -> Tracker | None:
    """A tracker that logs to the trainer's loggers, and keeps its files in their folder."""
    from pellucid.tracking import trackers_of

    found: Tracker = trackers_of(trainer.loggers, Path(trainer.default_root_dir) / "pellucid")
    return found
