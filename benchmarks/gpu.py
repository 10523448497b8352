"""``python -m benchmarks.gpu``: the cost of an explanation on a GPU, over the prediction's, in time and in memory.

Calls alternate in one process, as in ``benchmarks.speed`` and ``benchmarks.training``, and each waits for the GPU. The
networks have random weights, and the precision is float32 as torch has it by default (convolutions by TF32).
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Iterator
from typing import Annotated

import torch
import typer

from benchmarks import results, training
from benchmarks.measuring import Call, finished, forward, paired, ratio_of
from benchmarks.speed import BASES, MASKS, Case, built
from pellucid.core.provenance import versions

NAME = "gpu"
DEVICE = "cuda"
BATCHES = (64, 256)
HEADER = (
    "network, images",
    "call",
    "time over the prediction's (quartiles)",
    "its own time",
    "memory over the prediction's",
)


def cases() -> Iterator[Case]:
    """The cases to measure."""
    for network in ("resnet50", "densenet121", "convnext_tiny"):
        for batch in BATCHES:
            for call in ("forward again", "gradcam", "gradcam++", "gradcam, 14 classes"):
                yield Case(network, call, batch=batch)
    yield Case("resnet50", "gradcam", batch=1)
    yield Case("resnet50", f"rise, {MASKS} masks", batch=1)
    for call in ("forward again", "rollout", "gradient_rollout"):
        yield Case("vit_b_16", call, batch=BATCHES[0])


def measured(case: Case, pairs: int) -> tuple[str, ...]:
    """A row of the table."""
    model, images, call = built(case, DEVICE)
    base = BASES.get(case.call, forward)(model, images)
    durations = paired(finished(base, DEVICE), finished(call, DEVICE), pairs)
    own = statistics.median(second for _, second in durations)
    memory = peak(call) / peak(base)
    return f"{case.network}, {case.batch}", case.call, str(ratio_of(durations)), f"{1000 * own:.0f} ms", f"{memory:.2f}"


def peak(call: Call) -> float:
    """The most memory of the GPU that a call takes beyond what was taken, in bytes."""
    gc.collect()
    torch.cuda.reset_peak_memory_stats(DEVICE)
    before = torch.cuda.memory_allocated(DEVICE)
    finished(call, DEVICE)()
    return torch.cuda.max_memory_allocated(DEVICE) - before


def main(pairs: Annotated[int, typer.Option(min=2, help="Number of alternating pairs.")] = 9) -> None:
    """Measure, and write docs/results/gpu.md."""
    rows, epochs = [], []
    for case in cases():
        rows.append(measured(case, pairs))
        typer.echo(" | ".join(rows[-1]))
    for each in training.CASES:
        epochs.append(training.measured(each, pairs, DEVICE))
        typer.echo(" | ".join(epochs[-1]))
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    results.write(
        NAME,
        f"{results.table(HEADER, rows)}\nA monitored epoch:\n\n{results.table(training.HEADER, epochs)}\n"
        f"Measured on: {torch.cuda.get_device_name(0)}; {known}.\n",
    )


if __name__ == "__main__":
    typer.run(main)
