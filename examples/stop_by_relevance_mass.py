"""Early stopping by where a network looks: a shortcut makes the loss better, and the maps worse.

Run it from a checkout: ``python examples/stop_by_relevance_mass.py``. It goes on training a small network, which knows
the findings of drawn radiographs, on images in which a letter stands beside every consolidation, as a hospital's marker
may. The network learns to read the letter. Lightning stops when the share of the maps' mass within the consolidations
has not grown for two epochs, and the best epoch is kept. It takes some seconds, and writes into a temporary folder.
"""

import logging
import tempfile
import warnings

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from pellucid.phantom import FINDINGS, cnn, radiographs
from pellucid.training import ExplanationCallback, MonitoringPlan

FINDING, FIGURE = "consolidation", "pellucid/relevance_mass"


class Classifier(pl.LightningModule):
    """A network for the findings of drawn radiographs, (B, 1, 128, 128) in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.network = cnn().train()

    def normalised(self, images: Tensor) -> Tensor:
        """The network's input."""
        preprocessing = pellucid.model_info(self.network).preprocessing or pellucid.Preprocessing()
        return preprocessing.normalise(images)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """The loss of a batch of images and labels."""
        return F.binary_cross_entropy_with_logits(self.network(self.normalised(batch[0])), batch[1])

    def training_step(self, batch: tuple[Tensor, Tensor], _number: int) -> Tensor:
        """What is minimised."""
        return self.loss(batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], _number: int) -> None:
        """What is usually looked at."""
        self.log("val_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=3e-3)


class Printed(pl.Callback):
    """Prints both figures of each epoch."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read them where early stopping does."""
        del pl_module
        loss, mass = (float(trainer.callback_metrics[name]) for name in ("val_loss", FIGURE))
        print(f"epoch {trainer.current_epoch}: loss {loss:.3f}, relevance mass {mass:.3f}")


def main() -> None:
    """Train until the maps get worse."""
    warnings.filterwarnings("ignore", module="pytorch_lightning|lightning")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.manual_seed(0)
    module = Classifier()
    learnt, validated = (radiographs(count, seed=seed, marker=1.0) for count, seed in ((96, 1), (60, 2)))
    training, validation = (TensorDataset(one.images, one.labels.float()) for one in (learnt, validated))
    column = FINDINGS.index(FINDING)
    present = validated.labels[:, column]
    watched, masks = module.normalised(validated.images[present]), validated.masks[present, column]

    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor=FIGURE, mode="max", filename="{epoch}")
        trainer = pl.Trainer(
            max_epochs=8,
            callbacks=[
                ExplanationCallback(MonitoringPlan(watched, FINDING, masks=masks), network="network"),
                EarlyStopping(FIGURE, mode="max", patience=2),
                Printed(),
                best,
            ],
            logger=False,
            accelerator="cpu",
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, DataLoader(training, 16, shuffle=True), DataLoader(validation, 60))
        kept = best.best_model_path.rpartition("epoch=")[2].removesuffix(".ckpt")
        print(f"stopped after epoch {trainer.current_epoch - 1}; epoch {kept} is kept")


if __name__ == "__main__":
    main()
