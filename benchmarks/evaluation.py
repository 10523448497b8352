"""``python -m benchmarks.evaluation``: the cost of metrics, as multiples of the passes that their definitions need.

Each call alternates with what it is compared with, in float32 in one process: the plain passes, each as large as those
of the call, or the same by another library. Where both give values, their largest difference is the last column.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.measuring import Call, Ratio, forward, in_new_process, ratio
from benchmarks.oracles import largest
from benchmarks.speed import machine
from pellucid import metrics as m
from pellucid.core.imputation import imputed
from pellucid.core.metric import Metric

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
IMAGES, SIDE, STEPS, FLIPS = 32, 224, 10, 224
FEW = 1
"""Images of the calls beside other libraries, which take long."""
PERCENT = range(10, 100, 10)
"""The shares of the pixels that ROAD imputes."""


@dataclass(frozen=True)
class Pair:
    """A call and what it is compared with; ``difference`` is the largest one of the values that both give."""

    base: Call
    call: Call
    difference: float | None = None


@dataclass(frozen=True)
class Case:
    """What is timed, what it is compared with, the target for the time, and the package that it needs."""

    call: str
    base: str
    limit: float
    make: Callable[[], Pair]
    needs: str = "pellucid"


@dataclass(frozen=True)
class Row:
    """The result of a case."""

    call: str
    base: str
    limit: float
    time: Ratio
    difference: float | None


def network() -> nn.Module:
    """ResNet-18 with random weights."""
    import torchvision

    torch.manual_seed(0)
    model: nn.Module = torchvision.models.resnet18(weights=None)
    return model.eval()


def maps(count: int) -> Tensor:
    """Maps as a CAM's, (count, 224, 224) in [0, 1]."""
    cells = torch.rand(count, 1, 7, 7, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(cells, (SIDE, SIDE), mode="bilinear")[:, 0]


def passes(metric: Metric, count: int) -> Pair:
    """A metric of 32 images, beside ``count`` forward passes of them."""
    model, images, given = network(), torch.randn(IMAGES, 3, SIDE, SIDE), maps(IMAGES)
    runtime = pellucid.Runtime(batch_size=IMAGES)
    once = forward(model, images)
    return Pair(
        lambda: [once() for _ in range(count)],
        lambda: pellucid.evaluate(model, images, given, targets=0, metrics=[metric], runtime=runtime),
    )


def _first(logits: Tensor) -> Tensor:
    return logits[:, 0]


def flipping() -> Pair:
    """Pixel flipping of a logit in 224 steps, beside Quantus', which flips a pixel's channels one after the other."""
    import quantus

    model, images = network(), torch.randn(FEW, 3, SIDE, SIDE)
    given = torch.stack([torch.randperm(SIDE**2) / SIDE**2 for _ in images]).view(FEW, SIDE, SIDE)  # without ties
    metric = m.AOPC(FLIPS)
    theirs: Any = quantus.PixelFlipping(SIDE**2 // FLIPS, perturb_baseline=0.0, normalise=False, disable_warnings=True)
    runtime = pellucid.Runtime(batch_size=FEW)

    def ours() -> list[float]:
        scores = pellucid.evaluate(model, images, given, targets=_first, metrics=[metric], runtime=runtime)
        values: list[float] = scores[next(iter(scores))][:, 0].tolist()
        return values

    def base() -> list[float]:
        curves = np.array(
            theirs(
                model=model,
                x_batch=images.numpy(),
                y_batch=np.zeros(FEW, int),
                a_batch=given[:, None].numpy(),
                batch_size=FEW,
                softmax=False,
            )
        )
        with torch.no_grad():
            clean = model(images)[:, :1].numpy()
        whole = curves[:, 2::3]  # where all channels of each pixel are flipped
        found: list[float] = ((clean - whole).sum(1) / (FLIPS + 1)).tolist()
        return found

    return Pair(base, ours, largest(ours(), base()))


def imputation() -> Pair:
    """ROAD's imputation of 10 % to 90 % of the pixels, beside pytorch-grad-cam's solver."""
    from pytorch_grad_cam.metrics.road import NoisyLinearImputer

    images, given, solver = torch.randn(FEW, 3, SIDE, SIDE), maps(FEW), NoisyLinearImputer(0.0)
    quantiles = given.flatten(1).quantile(torch.tensor([percent / 100 for percent in PERCENT]), dim=1)
    missing = given > quantiles[:, :, None, None]  # (9, images, 224, 224)

    def ours() -> Tensor:
        return torch.cat([imputed(images, gone) for gone in missing])

    def base() -> Tensor:
        each = [solver(image, (~gone).float()) for part in missing for image, gone in zip(images, part, strict=True)]
        return torch.stack(each)

    return Pair(base, ours, float((ours() - base()).abs().max()))


CASES = (
    Case("deletion_auc, 10 steps", "11 forward passes", 1.15, lambda: passes(m.Deletion(STEPS), STEPS + 1)),
    Case("insertion_auc, 10 steps", "11 forward passes", 1.15, lambda: passes(m.Insertion(STEPS), STEPS + 1)),
    Case("aopc, 224 steps, 1 image", "Quantus", 0.6, flipping, "quantus"),
    Case("road's imputation, 1 image", "pytorch-grad-cam", 0.2, imputation, "pytorch_grad_cam"),
)
"""The calls that are timed: of ResNet-18 with 32 images of 224 × 224 pixels, where nothing else is said."""


def timed(call: str, pairs: int) -> tuple[Ratio, float | None]:
    """The duration of a call over what it is compared with, and the difference of their values."""
    pair = next(case for case in CASES if case.call == call).make()
    return ratio(pair.base, pair.call, pairs), pair.difference


def page(rows: Sequence[Row]) -> str:
    """The table, and the machine on which it was measured."""
    header = ("call", "compared with", "time (quartiles)", "limit", "largest difference")
    lines = [
        (
            row.call,
            row.base,
            str(row.time) + (" **!**" if row.time.median > row.limit else ""),
            f"{row.limit:.2f}",
            "" if row.difference is None else f"{row.difference:.1e}",
        )
        for row in rows
    ]
    return f"{results.table(header, lines)}\nMeasured on: {machine()}. **!** is above the limit.\n"


def _read() -> dict[str, Row]:
    """The rows of earlier runs."""
    path = FOLDER / "evaluation.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        return {row.call: row for row in map(_row, csv.DictReader(file))}


def _row(cells: Mapping[str, str]) -> Row:
    time = Ratio(*(float(cells[name]) for name in ("median", "low", "high")))
    difference = float(cells["difference"]) if cells["difference"] else None
    return Row(cells["call"], cells["base"], float(cells["limit"]), time, difference)


def _write(rows: Sequence[Row]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "evaluation.md").write_text(page(rows))
    flat = [
        {"call": row.call, "base": row.base, "limit": row.limit} | asdict(row.time) | {"difference": row.difference}
        for row in rows
    ]
    results.write_csv(FOLDER / "evaluation.csv", flat)


def main(
    pairs: Annotated[int, typer.Option(min=2, help="Number of alternating pairs.")] = 5,
    only: Annotated[str, typer.Option(help="Measure only calls whose names contain this; other rows stay.")] = "",
) -> None:
    """Measure, and write docs/performance/evaluation.md after each row; without the other library there is none."""
    rows = _read()
    for case in (case for case in CASES if only in case.call):
        if not find_spec(case.needs):
            typer.echo(f"{case.call}: not measured, {case.needs} is not installed")
            continue
        time, difference = in_new_process(timed, case.call, pairs)
        rows[case.call] = Row(case.call, case.base, case.limit, time, difference)
        _write([rows[known.call] for known in CASES if known.call in rows])
        typer.echo(f"{case.call} over {case.base}: {time}, difference {difference}")


if __name__ == "__main__":
    typer.run(main)
