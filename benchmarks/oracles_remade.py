"""Metrics that make maps again, beside captum's and Quantus's on random cases: a family of ``benchmarks.oracles``.

100 random images, an untrained network and a Grad-CAM of its own, written without pellucid. The other libraries get the
same changed images and the same random weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from benchmarks.oracles import CASES, Compared
from pellucid.core.inputs import Inputs
from pellucid.core.metric import Metric
from pellucid.metrics import _nearby
from pellucid.metrics.avg_sensitivity import AvgSensitivity
from pellucid.metrics.emprt import EfficientMPRT
from pellucid.metrics.max_sensitivity import MaxSensitivity
from pellucid.metrics.mprt import MPRT
from pellucid.metrics.random_logit import RandomLogit
from pellucid.metrics.relative_input_stability import RelativeInputStability
from pellucid.metrics.relative_output_stability import RelativeOutputStability
from pellucid.models.session.session import Session
from pellucid.run.remade import Remaker

COUNT, SIDE, SAMPLES, RADIUS, BINS = CASES, 48, 5, 0.02, 100
LAYER = "2"
Array = npt.NDArray[Any]


def network() -> nn.Module:
    """An untrained network whose Grad-CAMs are rarely empty."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 12, 5, stride=2), nn.ReLU(), nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(3), nn.Flatten(), nn.Linear(216, 6)).eval()


def gradcam(model: nn.Module, images: Tensor, classes: Tensor, layer: str = LAYER) -> Tensor:
    """Grad-CAM (B, H, W) without pellucid, on the image's grid and unscaled."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0].clone()

    with torch.no_grad(), torch.enable_grad():
        hook = model.get_submodule(layer).register_forward_hook(keep)
        scores = model(images).gather(1, classes[:, None]).sum()
        hook.remove()
        [gradient] = torch.autograd.grad(scores, kept)
    maps = (gradient.mean((2, 3), keepdim=True) * kept[0].detach()).sum(1, keepdim=True).relu()
    return F.interpolate(maps, images.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def explain_func(model: nn.Module, inputs: Array, targets: Array, layer: str = LAYER, **_: object) -> Array:
    """The Grad-CAM as Quantus asks for it."""
    images, classes = torch.as_tensor(inputs, dtype=torch.float32), torch.as_tensor(targets)
    found: Array = gradcam(model, images, classes, layer)[:, None].numpy()
    return found


@dataclass(frozen=True, eq=False)
class Given:
    """The images and the numbers that pellucid's metrics draw."""

    images: Tensor

    def generator(self) -> torch.Generator:
        """As ``evaluate`` seeds it."""
        return torch.Generator().manual_seed(0)

    def copies(self) -> Iterator[Tensor]:
        """The changed images, one step after the other, again and again."""
        given: Any = self
        variant = _nearby.noisy(given, _nearby.uniform, RADIUS, SAMPLES)
        numbers = torch.arange(len(self.images))
        made = [variant(numbers, torch.full_like(numbers, step)) for step in range(SAMPLES)]
        return itertools.cycle(made)


def compared(metric: str, library: str, ours: Array, theirs: Array, remark: str) -> Compared:
    """A row: the largest difference of the values that both have, and how many only one has.

    Of values above 1 it is the difference relative to them.
    """
    known = np.isfinite(ours) & np.isfinite(theirs)
    apart = float((np.abs(ours - theirs) / np.maximum(np.abs(theirs), 1))[known].max()) if known.any() else math.nan
    alone = [int((np.isfinite(one) & ~np.isfinite(other)).sum()) for one, other in ((ours, theirs), (theirs, ours))]
    counts = f"; {alone[0]} have a value here only, {alone[1]} there only" if any(alone) else ""
    return Compared(metric, library, int(known.sum()), apart, remark + counts)


class Bench:
    """The network, its images and what they are compared on."""

    def __init__(self) -> None:
        self.model = network()
        self.images = torch.randn(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.classes = self.model(self.images).argmax(1)
        self.explanation = pellucid.explain(self.model, self.images, layers=[LAYER], targets=self.classes)
        self.maps = gradcam(self.model, self.images, self.classes)

    def ours(self, metric: Metric) -> pellucid.Scores:
        """A metric's scores by pellucid."""
        return pellucid.evaluate(self.model, self.images, self.explanation, metrics=[metric])

    def values(self, metric: Metric) -> Array:
        """A metric's values by pellucid."""
        scores = self.ours(metric)
        found: Array = scores[next(iter(scores))][:, 0].numpy()
        return found

    def theirs(self, metric: Any, **options: Any) -> Any:
        """What one of Quantus's metrics returns."""
        return metric(
            model=self.model,
            x_batch=self.images.numpy(),
            y_batch=self.classes.numpy(),
            a_batch=self.maps[:, None].numpy(),
            explain_func=explain_func,
            batch_size=COUNT,
            **options,
        )

    def random_models(self) -> list[tuple[str, nn.Module]]:
        """The networks with the random weights that pellucid draws, from the output to the input."""
        runtime = pellucid.Runtime()
        session = Session.of(self.model, runtime)
        image = Inputs.of(self.images[:1])
        remaker = Remaker.of(pellucid.Explainer(self.model, layers=[LAYER]), session, image)
        return [(name, one.session.network) for name, one in remaker.randomised(image, "top_down", 0)]


def max_sensitivity_of_captum(bench: Bench) -> Compared:
    """captum.metrics.sensitivity_max."""
    metrics: Any = import_module("captum.metrics")
    copies = Given(bench.images).copies()
    theirs = metrics.sensitivity_max(
        lambda given: (gradcam(bench.model, given[0], bench.classes),),
        bench.images,
        perturb_func=lambda _images, _radius: (next(copies),),
        n_perturb_samples=SAMPLES,
        max_examples_per_batch=COUNT,
    )
    ours = bench.values(MaxSensitivity(SAMPLES, RADIUS))
    why = "equal; where a map is empty, captum gives the bare difference, and pellucid no value"
    return compared("max_sensitivity", "captum", ours, theirs.double().numpy(), why)


def _perturbing(bench: Bench) -> Callable[..., Array]:
    copies = Given(bench.images).copies()

    def perturb(arr: Array, **_: object) -> Array:
        found: Array = next(copies).numpy().reshape(arr.shape)
        return found

    return perturb


def of_quantus(bench: Bench, ours: Metric, theirs: str, why: str) -> Compared:
    """A metric of changed images beside Quantus's."""
    quantus: Any = import_module("quantus")
    metric = getattr(quantus, theirs)(
        nr_samples=SAMPLES,
        abs=False,
        normalise=False,
        perturb_func=_perturbing(bench),
        disable_warnings=True,
        display_progressbar=False,
    )
    values = np.asarray(bench.theirs(metric), dtype=float)
    return compared(ours.name, f"Quantus' {theirs}", bench.values(ours), values, why)


def randomised(bench: Bench) -> Iterator[Compared]:
    """MPRT and eMPRT beside Quantus's, in the same random networks."""
    quantus: Any = import_module("quantus")
    models: Any = import_module("quantus.helpers.model.pytorch_model")
    made = bench.random_models()
    models.PyTorchModel.get_random_layer_generator = lambda *_, **__: iter(made)
    models.PyTorchModel.random_layer_generator_length = len(made)
    plain = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
    found = bench.theirs(quantus.MPRT(layer_order="top_down", **plain))
    scores = bench.ours(MPRT())
    for name, values in scores.steps["mprt"].items():
        why = "equal; a constant map has no value in both"
        yield compared(f"mprt, {name}", "Quantus' MPRT", values[:, 0].numpy(), np.asarray(found[name]), why)
    mean = bench.theirs(quantus.MPRT(layer_order="top_down", return_average_correlation=True, **plain))
    why = (
        "Quantus averages in the untouched network's 1: its code leaves out a layer named 'orig', and the name is "
        "'original'. The paper's test is of the others"
    )
    ours = scores["mprt"][:, 0].numpy()
    yield compared("mprt, mean", "Quantus' MPRT", ours, np.asarray(mean), why)
    with_1 = (ours * len(made) + 1) / (len(made) + 1)
    yield compared("mprt, mean with that 1", "Quantus' MPRT", with_1, np.asarray(mean), "equal")
    rise = bench.theirs(
        quantus.EfficientMPRT(layer_order="top_down", complexity_func_kwargs={"n_bins": BINS}, **plain), softmax=True
    )
    why = "equal for as many bins; by default Quantus picks their number by the batch"
    yield compared("emprt", "Quantus' EfficientMPRT", bench.values(EfficientMPRT(BINS)), np.asarray(rise), why)


def random_logit(bench: Bench) -> Compared:
    """The random logit test, with pellucid's classes given to Quantus one image at a time."""
    quantus: Any = import_module("quantus")
    similarities: Any = import_module("quantus.functions.similarity_func")
    scores = bench.ours(RandomLogit("spearman"))
    drawn = torch.randint(5, (COUNT,), generator=torch.Generator().manual_seed(0))
    others = drawn + (drawn >= bench.classes).long()
    metric = quantus.RandomLogit(
        similarity_func=similarities.correlation_spearman,
        num_classes=6,
        abs=False,
        normalise=False,
        disable_warnings=True,
        display_progressbar=False,
    )
    made = gradcam(bench.model, bench.images, others).flatten(1).numpy()
    values = metric.similarity_func(bench.maps.flatten(1).numpy(), made, batched=True)
    why = "equal for the same classes; Quantus seeds NumPy's own generator to draw them"
    name = next(iter(scores))
    return compared("random_logit", "Quantus' RandomLogit", scores[name][:, 0].numpy(), np.asarray(values), why)


def rows() -> list[Compared]:
    """All comparisons."""
    bench = Bench()
    empty = "equal; where a map is empty, Quantus divides by 0, and pellucid gives no value"
    zeros = (
        "equal where no copy is predicted otherwise: one makes Quantus' value NaN, and the paper's maximum is over "
        "the others"
    )
    return [
        max_sensitivity_of_captum(bench),
        of_quantus(bench, MaxSensitivity(SAMPLES, RADIUS), "MaxSensitivity", empty),
        of_quantus(bench, AvgSensitivity(SAMPLES, RADIUS), "AvgSensitivity", empty),
        of_quantus(bench, RelativeInputStability(SAMPLES, RADIUS), "RelativeInputStability", zeros),
        of_quantus(bench, RelativeOutputStability(SAMPLES, RADIUS), "RelativeOutputStability", zeros),
        *randomised(bench),
        random_logit(bench),
    ]
