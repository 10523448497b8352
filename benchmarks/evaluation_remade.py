"""``python -m benchmarks.evaluation_remade``: the cost of metrics that make maps again, beside that of their passes.

ResNet-18 with random weights, 32 images of 224 × 224, Grad-CAM, in float32. Processor time of one thread, which depends
less than the clock on what else the machine does. Writes docs/performance/evaluation_remade.md.
"""

from __future__ import annotations

import csv
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.measuring import Call, Ratio, in_new_process
from benchmarks.oracles_remade import explain_func
from benchmarks.speed import FOLDER, machine
from pellucid.core.metric import Metric
from pellucid.metrics.max_sensitivity import MaxSensitivity
from pellucid.metrics.mprt import MPRT

BATCH, SIDE, LAYER, SAMPLES, LAYERS = 32, 224, "layer4", 10, 41
"""ResNet-18 has 41 layers with weights."""
TIMED = 4
"""The passes that are timed to know what one takes."""
BESIDE_QUANTUS = 0.6
"""The target for the time of MPRT over that of Quantus's."""


@dataclass(frozen=True)
class Case:
    """A call, and the number of forward and backward passes that its time is divided by."""

    call: str
    passes: int
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
}
_SENSITIVITY, _MPRT, _QUANTUS = CALLS
CASES = (Case(_SENSITIVITY, SAMPLES, 1.15), Case(_MPRT, LAYERS, 1.3), Case(_QUANTUS, LAYERS, None))


def timed(case: Case, runs: int) -> Ratio:
    """The processor time of the call over that of its passes, which are timed before each run."""
    torch.set_num_threads(1)
    subject = Subject.built()
    base, call = passes(TIMED)(subject), CALLS[case.call](subject)
    base()
    found = []
    for _ in range(runs):
        one = _processor_seconds(base) / TIMED
        found.append(_processor_seconds(call) / (case.passes * one))
    low, median, high = statistics.quantiles(found, n=4) if runs > 1 else found * 3
    return Ratio(median, low, high)


def _processor_seconds(call: Call) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def page(rows: dict[Case, Ratio]) -> str:
    """The table, and the machine on which it was measured."""
    header = ("call", "forward and backward passes", "time over theirs (quartiles)", "limit")
    lines = [
        (case.call, str(case.passes), f"{found}{_mark(found.median, case.limit)}", f"{case.limit or ''}")
        for case, found in rows.items()
    ]
    medians = {case.call: found.median for case, found in rows.items()}
    if _MPRT in medians and _QUANTUS in medians:
        beside = medians[_MPRT] / medians[_QUANTUS]
        lines.append((_MPRT, "over Quantus's", f"{beside:.2f}{_mark(beside, BESIDE_QUANTUS)}", str(BESIDE_QUANTUS)))
    text = f"Processor time of one thread. Measured on: {machine()}. **!** is above the limit.\n"
    return f"{results.table(header, lines)}\n{text}"


def _mark(found: float, limit: float | None) -> str:
    return " **!**" if limit is not None and found > limit else ""


def _read() -> dict[Case, Ratio]:
    """The rows of earlier runs."""
    path = FOLDER / "evaluation_remade.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        return dict(map(_row, csv.DictReader(file)))


def _row(cells: Mapping[str, str]) -> tuple[Case, Ratio]:
    case = Case(cells["call"], int(cells["passes"]), float(cells["limit"]) if cells["limit"] else None)
    return case, Ratio(float(cells["median"]), float(cells["low"]), float(cells["high"]))


def write(rows: dict[Case, Ratio]) -> None:
    """Write the table and the figures behind it."""
    ordered = {case: rows[case] for case in CASES if case in rows}
    (FOLDER / "evaluation_remade.md").write_text(page(ordered))
    results.write_csv(FOLDER / "evaluation_remade.csv", [asdict(case) | asdict(one) for case, one in ordered.items()])


def main(
    runs: Annotated[int, typer.Option(min=1, help="Number of runs of each call.")] = 3,
    only: Annotated[str, typer.Option(help="Measure only calls that contain this; other rows stay.")] = "",
) -> None:
    """Measure, and write docs/performance/evaluation_remade.md. The row of Quantus needs it installed."""
    rows = _read()
    known = CASES if find_spec("quantus") else [case for case in CASES if case.call != _QUANTUS]
    for case in (case for case in known if only in case.call):
        found = rows[case] = in_new_process(timed, case, runs)
        typer.echo(f"{case.call}: {found}")
        write(rows)


if __name__ == "__main__":
    typer.run(main)
