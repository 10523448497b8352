"""``python -m benchmarks.evaluation_remade``: the cost of metrics that make maps again, beside that of their passes.

ResNet-18 with random weights, 32 images of 224 × 224, Grad-CAM, in float32. Each call alternates with the forward and
backward passes that the metric's definition needs, and with Quantus's, in one process. Writes
docs/performance/evaluation_remade.md.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.measuring import Call, Ratio, in_new_process, ratio
from benchmarks.oracles_remade import explain_func
from benchmarks.speed import FOLDER, machine
from pellucid.core.metric import Metric
from pellucid.metrics.max_sensitivity import MaxSensitivity
from pellucid.metrics.mprt import MPRT

BATCH, SIDE, LAYER, SAMPLES, LAYERS = 32, 224, "layer4", 10, 41
"""ResNet-18 has 41 layers with weights."""


@dataclass(frozen=True)
class Case:
    """A call, what its time is divided by, and the target for that."""

    call: str
    base: str
    limit: float | None


@dataclass(frozen=True, eq=False)
class Subject:
    """The network, the images, and the classes that it predicts."""

    model: nn.Module
    images: Tensor
    classes: Tensor

    @classmethod
    def built(cls) -> Subject:
        """The same in every process."""
        import torchvision

        torch.manual_seed(0)
        model = torchvision.models.resnet18(weights=None).eval()
        images = torch.randn(BATCH, 3, SIDE, SIDE)
        with torch.no_grad():
            return cls(model, images, model(images).argmax(1))


def passes(count: int) -> Callable[[Subject], Call]:
    """``count`` forward passes, and as many backward passes from the scores to the layer."""

    def make(subject: Subject) -> Call:
        kept: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
            kept.append(output.detach().requires_grad_())
            return kept[-1].clone()

        hook = subject.model.get_submodule(LAYER).register_forward_hook(keep)
        with torch.enable_grad():
            scores = subject.model(subject.images).gather(1, subject.classes[:, None]).sum()
        hook.remove()

        def call() -> None:
            for _ in range(count):
                with torch.no_grad():
                    subject.model(subject.images)
                torch.autograd.grad(scores, kept, retain_graph=True)

        return call

    return make


def measuring(metric: Metric) -> Callable[[Subject], Call]:
    """``evaluate`` with one metric; the explanation is made beforehand."""

    def make(subject: Subject) -> Call:
        runtime = pellucid.Runtime(batch_size=BATCH)
        model, images = subject.model, subject.images
        explanation = pellucid.explain(model, images, layers=[LAYER], targets=subject.classes, runtime=runtime)
        return lambda: pellucid.evaluate(model, images, explanation, metrics=[metric], runtime=runtime)

    return make


def quantus_mprt(subject: Subject) -> Call:
    """Quantus's MPRT in the same order, with a Grad-CAM that costs its passes and no more."""
    quantus: Any = import_module("quantus")
    x, y = subject.images.numpy(), subject.classes.numpy()
    metric = quantus.MPRT(
        layer_order="top_down", abs=False, normalise=False, disable_warnings=True, display_progressbar=False
    )
    maps = explain_func(subject.model, x, y, LAYER)
    settings = {"layer": LAYER}
    return lambda: metric(
        model=subject.model,
        x_batch=x,
        y_batch=y,
        a_batch=maps,
        explain_func=explain_func,
        explain_func_kwargs=settings,
        batch_size=BATCH,
    )


CALLS: dict[str, Callable[[Subject], Call]] = {
    f"max_sensitivity, {SAMPLES} copies": measuring(MaxSensitivity(SAMPLES)),
    f"mprt, {LAYERS} layers": measuring(MPRT()),
    f"Quantus's MPRT, {LAYERS} layers": quantus_mprt,
    f"{SAMPLES} forward and backward passes": passes(SAMPLES),
    f"{LAYERS} forward and backward passes": passes(LAYERS),
}
_SENSITIVITY, _MPRT, _QUANTUS, _FEW, _MANY = CALLS
CASES = (
    Case(_SENSITIVITY, _FEW, 1.15),
    Case(_MPRT, _MANY, 1.3),
    Case(_QUANTUS, _MANY, None),
    Case(_MPRT, _QUANTUS, 0.6),
)


def timed(case: Case, pairs: int) -> Ratio:
    """The duration of the call over that of its base."""
    subject = Subject.built()
    return ratio(CALLS[case.base](subject), CALLS[case.call](subject), pairs)


def page(rows: dict[Case, Ratio]) -> str:
    """The table, and the machine on which it was measured."""
    header = ("call", "divided by", "time (quartiles)", "limit")
    lines = [
        (case.call, case.base, f"{found}{_mark(found, case.limit)}", f"{case.limit or ''}")
        for case, found in rows.items()
    ]
    return f"{results.table(header, lines)}\nMeasured on: {machine()}. **!** is above the limit.\n"


def _mark(found: Ratio, limit: float | None) -> str:
    return " **!**" if limit is not None and found.median > limit else ""


def _read() -> dict[Case, Ratio]:
    """The rows of earlier runs."""
    path = FOLDER / "evaluation_remade.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        rows = list(csv.DictReader(file))
    return {
        Case(row["call"], row["base"], float(row["limit"]) if row["limit"] else None): Ratio(
            float(row["median"]), float(row["low"]), float(row["high"])
        )
        for row in rows
    }


def main(
    pairs: Annotated[int, typer.Option(min=2, help="Number of alternating pairs.")] = 5,
    only: Annotated[str, typer.Option(help="Measure only calls that contain this; other rows stay.")] = "",
) -> None:
    """Measure, and write docs/performance/evaluation_remade.md. Rows of Quantus need it installed."""
    rows = _read()
    known = CASES if find_spec("quantus") else [case for case in CASES if _QUANTUS not in (case.call, case.base)]
    for case in (case for case in known if only in case.call):
        found = rows[case] = in_new_process(timed, case, pairs)
        typer.echo(f"{case.call} / {case.base}: {found}")
    ordered = {case: rows[case] for case in CASES if case in rows}
    (FOLDER / "evaluation_remade.md").write_text(page(ordered))
    results.write_csv(FOLDER / "evaluation_remade.csv", [asdict(case) | asdict(one) for case, one in ordered.items()])


if __name__ == "__main__":
    typer.run(main)
