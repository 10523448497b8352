"""Metrics of faithfulness beside those of Quantus, captum, torch-cam and pytorch-grad-cam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

import pellucid
from benchmarks.oracles import CASES, Compared, largest
from pellucid import metrics as m
from pellucid.core.imputation import imputed
from pellucid.core.metric import Metric
from pellucid.metrics._subsets import boxes, pixels

SIDE, STEPS, SAMPLES, SEED = 40, 40, 30, 0


class Classifier(nn.Module):
    """A small network that gives probabilities, as the other libraries take what a model returns as the score."""

    def __init__(self) -> None:
        super().__init__()
        layers = (nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 16, 5, 2), nn.ReLU(), nn.Flatten())
        self.logits = nn.Sequential(*layers, nn.Linear(784, 4))

    def forward(self, x: Tensor) -> Tensor:
        """The probabilities, (B, 4)."""
        probabilities: Tensor = self.logits(x).mul(3).softmax(1)
        return probabilities


def drawn() -> tuple[Classifier, Tensor, Tensor, Tensor]:
    """The network, images (100, 1, 40, 40), maps (100, 40, 40) in [0, 1] without ties, and the predicted classes."""
    torch.manual_seed(SEED)
    model, images = Classifier().eval(), torch.randn(CASES, 1, SIDE, SIDE)
    maps = torch.rand(CASES, SIDE, SIDE)
    with torch.no_grad():
        return model, images, maps, model(images).argmax(1)


def ours(metric: Metric, maps: Tensor) -> list[float]:
    """The values of pellucid."""
    model, images, _, targets = drawn()
    scores = pellucid.evaluate(model, images, maps, targets=targets, head="softmax", metrics=[metric], seed=SEED)
    values: list[float] = scores[next(iter(scores))][:, 0].tolist()
    return values


def rows() -> Iterator[Compared]:
    """The comparisons, one after the other."""
    for compare in (_torchcam, _torchcam_curves, _grad_cam_drop, _road, _imputation, _flipping, _correlation, _captum):
        yield from compare()
    yield from _quantus_others()


class _Given:
    """Maps in the form in which torch-cam asks for those of its own methods."""

    def __init__(self, model: nn.Module, cam: Tensor) -> None:
        self.model, self._cam = model, cam

    def __call__(self, *_: object) -> list[Tensor]:
        return [self._cam]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> AbstractContextManager[None]:
        return nullcontext()


def _by_torchcam(make: Callable[[Any], Any], name: str) -> list[float]:
    model, images, maps, targets = drawn()
    found = []
    for image, heat, target in zip(images, maps, targets.tolist(), strict=True):
        metric = make(_Given(model, heat[None]))
        metric.update(image[None], target)
        found.append(metric.summary()[name])
    return found


def _torchcam() -> Iterator[Compared]:
    from torchcam.metrics import ClassificationMetric

    maps = drawn()[2]
    for metric, name in ((m.AverageDrop(), "avg_drop"), (m.IncreaseInConfidence(), "conf_increase")):
        theirs = _by_torchcam(ClassificationMetric, name)
        yield Compared(metric.name, "torch-cam", CASES, largest(ours(metric, maps), theirs))


def _torchcam_curves() -> Iterator[Compared]:
    from torchcam.metrics import DeletionInsertionMetric

    maps = drawn()[2]
    for metric in (m.Deletion(STEPS), m.Insertion(STEPS)):
        theirs = _by_torchcam(lambda given: DeletionInsertionMetric(given, steps=STEPS), metric.name)
        yield Compared(metric.name, "torch-cam", CASES, largest(ours(metric, maps), theirs))


def _targets() -> list[Any]:
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    return [ClassifierOutputTarget(target) for target in drawn()[3].tolist()]


def _grad_cam_drop() -> Iterator[Compared]:
    from pytorch_grad_cam.metrics.cam_mult_image import DropInConfidence, IncreaseInConfidence

    model, images, maps, _ = drawn()
    given = (images, maps[:, None].numpy(), _targets(), model)
    yield Compared(
        "increase_in_confidence",
        "pytorch-grad-cam",
        CASES,
        largest(ours(m.IncreaseInConfidence(), maps), IncreaseInConfidence()(*given).tolist()),
    )
    yield Compared(
        "average_drop",
        "pytorch-grad-cam",
        CASES,
        largest(ours(m.AverageDrop(), maps), DropInConfidence()(*given).tolist()),
        "its drop is not divided by the score: not the paper's",
    )


def _road() -> Iterator[Compared]:
    from pytorch_grad_cam.metrics import perturbation_confidence as by
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    model, images, maps, _ = drawn()
    for metric, remove in (
        (m.ROADMoRF(noise=0.0), by.RemoveMostRelevantFirst),
        (m.ROADLeRF(noise=0.0), by.RemoveLeastRelevantFirst),
    ):
        changes = []
        for percent in range(10, 100, 10):
            one = by.PerturbationConfidenceMetric(remove(percent, NoisyLinearImputer(0.0)))
            changes.append(one(images, maps.numpy(), _targets(), model))
        theirs = np.mean(np.stack(changes), axis=0).tolist()
        yield Compared(
            metric.name, "pytorch-grad-cam", CASES, largest(ours(metric, maps), theirs), "equal without noise"
        )


def _imputation() -> Iterator[Compared]:
    from quantus.functions.perturb_func import noisy_linear_imputation

    _, images, maps, _ = drawn()
    missing = maps > 0.5
    found = imputed(images, missing).flatten().tolist()
    theirs = [
        noisy_linear_imputation(image.numpy(), gone.flatten().nonzero()[:, 0].numpy(), noise=0.0)
        for image, gone in zip(images, missing, strict=True)
    ]
    remark = "the imputation is equal; Quantus' ROAD is the accuracy at each share, which has no value of one case"
    yield Compared("road_morf", "Quantus", CASES, largest(found, np.stack(theirs).ravel().tolist()), remark)


def _by_quantus(metric: Any, maps: Tensor) -> Any:
    model, images, _, targets = drawn()
    return metric(
        model=model,
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        a_batch=maps[:, None].numpy(),
        batch_size=CASES,
        softmax=False,  # the network gives probabilities
    )


def _flipping() -> Iterator[Compared]:
    import quantus

    model, images, maps, targets = drawn()
    flipping = quantus.PixelFlipping(SIDE**2 // STEPS, perturb_baseline=0.0, normalise=False, disable_warnings=True)
    curves = np.array(_by_quantus(flipping, maps))
    with torch.no_grad():
        clean = model(images).gather(1, targets[:, None]).numpy()
    theirs = (clean - curves).sum(1) / (STEPS + 1)
    yield Compared(
        "aopc",
        "Quantus' pixel flipping",
        CASES,
        largest(ours(m.AOPC(STEPS), maps), theirs.tolist()),
        "equal, from its curve and the score of the image, which it leaves out",
    )
    with patch.object(np, "trapz", np.trapezoid, create=True):  # which NumPy 2.4 no longer has
        flipping = quantus.PixelFlipping(
            SIDE**2 // STEPS, perturb_baseline=0.0, normalise=False, return_auc_per_sample=True, disable_warnings=True
        )
        theirs = np.array(_by_quantus(flipping, maps))
    yield Compared(
        "deletion_auc",
        "Quantus' pixel flipping",
        CASES,
        largest(ours(m.Deletion(STEPS), maps), theirs.tolist()),
        "its area grows with the number of steps and leaves out the image as it is: a constant p does not give p",
    )


def _parts(draw: Callable[[torch.Generator], Tensor]) -> list[Tensor]:
    """The parts that pellucid draws."""
    seeds = torch.randint(2**62, (SAMPLES,), generator=torch.Generator().manual_seed(SEED)).tolist()
    return [draw(torch.Generator().manual_seed(seed)) for seed in seeds]


def _signed() -> Tensor:
    return drawn()[2] * 2 - 1


def _correlation() -> Iterator[Compared]:
    import quantus

    count = SIDE**2 // 10
    parts = [part.flatten().nonzero()[:, 0].numpy() for part in _parts(pixels(count, torch.Size((SIDE, SIDE))))]
    given = iter(np.repeat(np.stack(parts), CASES, axis=0))
    metric = quantus.FaithfulnessCorrelation(
        nr_runs=SAMPLES,
        subset_size=count,
        perturb_baseline=0.0,
        normalise=False,
        return_aggregate=False,
        disable_warnings=True,
    )
    with patch.object(np.random, "choice", lambda *_, **__: next(given)):  # it draws with the process's generator
        theirs = _by_quantus(metric, _signed())
    found = ours(m.FaithfulnessCorrelation(SAMPLES, 0.1), _signed())
    yield Compared(
        "faithfulness_correlation", "Quantus", CASES, largest(found, theirs), "equal for the same parts and one channel"
    )


def _captum() -> Iterator[Compared]:
    from captum.metrics import infidelity

    model, images, _, targets = drawn()
    parts = torch.stack(_parts(boxes(0.25, torch.Size((SIDE, SIDE)))))[:, None].float()
    number = iter(range(SAMPLES))

    def perturbed(given: Tensor) -> tuple[Tensor, Tensor]:
        part = parts[next(number)].expand(len(given), -1, -1, -1)
        return part, given * (1 - part)

    theirs = infidelity(
        model,
        perturbed,
        images,
        _signed()[:, None],
        target=targets,
        n_perturb_samples=SAMPLES,
        max_examples_per_batch=CASES,
        normalize=True,
    )
    found = ours(m.Infidelity(SAMPLES), _signed())
    yield Compared(
        "infidelity", "captum", CASES, largest(found, theirs.tolist()), "equal for the same parts, normalised"
    )


def _quantus_others() -> Iterator[Compared]:
    import quantus

    metric = quantus.Infidelity(
        perturb_baseline=0.0, perturb_patch_sizes=[10], n_perturb_samples=1, normalise=False, disable_warnings=True
    )
    theirs = _by_quantus(metric, _signed())
    remark = "it leaves each patch replaced while it replaces the next, and has no scale: not the paper's"
    yield Compared("infidelity", "Quantus", CASES, largest(ours(m.Infidelity(SAMPLES), _signed()), theirs), remark)
    metric = quantus.SensitivityN(
        features_in_step=SIDE**2 // STEPS, perturb_baseline=0.0, normalise=False, disable_warnings=True
    )
    theirs = np.ravel(_by_quantus(metric, _signed()))
    found = [float(np.mean(ours(m.SensitivityN(samples=SAMPLES), _signed())))] * len(theirs)
    remark = (
        "it correlates over images, not over random sets of n pixels of one image: another quantity than the paper's"
    )
    yield Compared("sensitivity_n", "Quantus", CASES, largest(found, theirs.tolist()), remark)
