"""``python -m benchmarks.speed``: the cost of an explanation, compared with the prediction and with other libraries.

Each call alternates with the model's plain forward pass, in float32 without gradients, in one process. Memory is
measured in a new process per call. The results are ratios to that forward pass.
"""

from __future__ import annotations

import copy
import csv
import math
import platform
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import growth, peers, results
from benchmarks.measuring import Call, Ratio, forward, in_new_process, memory_growth, ratio
from pellucid.core.provenance import versions
from pellucid.methods.rise import RISE
from pellucid.methods.scorecam import ScoreCAM

FOLDER = Path(__file__).parents[1] / "docs" / "performance"
MASKS = 64
CHANNELS = 512
"""Masks of Score-CAM at ResNet-18's last layer, one per channel."""
FAST = pellucid.Runtime(precision="bfloat16", channels_last=True, compile=True)
FASTEST = {"resnet50": 0.22, "convnext_tiny": 0.22, "densenet121": 0.3, "vit_b_16": 0.32, "efficientnet_b0": 0.4}
"""Limits on the cost of Grad-CAM with these settings, on processors that multiply bfloat16 matrices (AMX)."""


@dataclass(frozen=True)
class Case:
    """A network, the number of images, and the call; ``limit`` is the target for its cost."""

    network: str
    call: str
    limit: float | None = None
    memory_limit: float | None = None
    batch: int = 16


@dataclass(frozen=True)
class Row:
    """The result of a case; ``agreement`` is the mean correlation of another library's maps with pellucid's."""

    case: Case
    time: Ratio
    memory: float
    agreement: float | None


Make = Callable[[nn.Module, Tensor], Call]


def _explaining(method: str = "gradcam", layers: int = 0, classes: int = 0, fast: bool = False) -> Make:
    """An explanation of ``classes`` classes (0: one) at the last ``layers`` layers (0: the recommended one)."""

    def make(model: nn.Module, images: Tensor) -> Call:
        targets = torch.arange(classes).expand(len(images), -1) if classes else 0
        names = LAYERS[type(model).__name__][-layers:] if layers else None
        runtime = replace(FAST if fast else pellucid.Runtime(), batch_size=len(images))
        explainer = pellucid.Explainer(model, method, layers=names, runtime=runtime)
        return lambda: explainer(images, targets)

    return make


def _fast_forward(model: nn.Module, images: Tensor) -> Call:
    """The prediction with torch's own means of acceleration."""
    own = copy.deepcopy(model).to(torch.bfloat16).to(memory_format=torch.channels_last)
    own.compile()
    return forward(own, images.to(torch.bfloat16).to(memory_format=torch.channels_last))


def _first(model: nn.Module, images: Tensor) -> Call:
    """The first explanation with a model, in which its layer is chosen: each call has modules that were never seen."""
    tensors = [*model.parameters(), *model.buffers()]
    return lambda: pellucid.explain(copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}), images, targets=0)


def _masks(model: nn.Module, images: Tensor) -> Call:
    rise = RISE(masks=MASKS)
    return lambda: pellucid.explain(model, images, rise, runtime=pellucid.Runtime(batch_size=MASKS // 2))


def _scorecam(model: nn.Module, images: Tensor) -> Call:
    return lambda: pellucid.explain(model, images, ScoreCAM(), runtime=pellucid.Runtime(batch_size=MASKS // 2))


def _forwards(count: int) -> Make:
    """``count`` forward passes of one image, in batches as large as those of the masks."""

    def make(model: nn.Module, images: Tensor) -> Call:
        part = forward(model, images.expand(MASKS // 2, -1, -1, -1).contiguous())
        return lambda: [part() for _ in range(2 * count // MASKS)]

    return make


LAYERS = {
    "ResNet": ["layer3", "layer4"],
    "DenseNet": ["features.denseblock3", "features.norm5"],
    "EfficientNet": ["features.5", "features.8"],
    "ConvNeXt": ["features.5", "features.7"],
}
"""Two layers of each network; the last is the recommended one."""

CALLS: dict[str, Make] = {
    "forward again": forward,
    "gradcam": _explaining(),
    "gradcam++": _explaining("gradcam++"),
    "gradcam, 14 classes": _explaining(classes=14),
    "gradcam, two layers": _explaining(layers=2),
    "gradcam, first call": _first,
    "rollout": _explaining("rollout"),
    "gradient_rollout": _explaining("gradient_rollout"),
    f"rise, {MASKS} masks": _masks,
    f"scorecam, {CHANNELS} masks": _scorecam,
    "forward, fast": _fast_forward,
    "gradcam, fast": _explaining(fast=True),
}
VOLUMES = ("monai resnet18 128³", "monai densenet121 128³")
BASES: dict[str, Make] = {
    f"rise, {MASKS} masks": _forwards(MASKS),
    f"scorecam, {CHANNELS} masks": _forwards(CHANNELS),
}
"""The calls that are compared with something else than one forward pass of their images."""


def cases() -> Iterator[Case]:
    """The cases to measure."""
    for network in ("resnet50", "densenet121", "efficientnet_b0", "convnext_tiny"):
        yield Case(network, "forward again")
        yield Case(network, "gradcam", 1.08, 1.25)
        yield Case(network, "gradcam++", 1.08, 1.25)
        yield Case(network, "gradcam, 14 classes", 1.25, 1.8)
        yield Case(network, "gradcam, two layers", 1.35)
        for name in peers.available():
            yield Case(network, name)
    yield Case("resnet50", "gradcam", 1.15, batch=1)
    for network in ("resnet50", "densenet121", "vit_b_16"):
        yield Case(network, "gradcam, first call", 40.0, batch=1)
    yield Case("resnet50", f"rise, {MASKS} masks", 1.1, batch=1)
    yield Case("resnet18", f"scorecam, {CHANNELS} masks", 1.1, batch=1)
    yield Case("vit_b_16", "forward again")
    yield Case("vit_b_16", "rollout", 1.08, 1.25)
    yield Case("vit_b_16", "gradient_rollout", 2.3)
    for network in VOLUMES:
        yield Case(network, "forward again", batch=1)
        yield Case(network, "gradcam", memory_limit=1.25, batch=1)
        yield Case(network, "gradcam, 14 classes", memory_limit=1.8, batch=1)
    for network, limit in FASTEST.items():
        yield Case(network, "forward, fast")
        yield Case(network, "gradcam, fast", limit if _has_amx() else None)


@cache
def _has_amx() -> bool:
    path = Path("/proc/cpuinfo")
    return path.exists() and "amx_bf16" in path.read_text()


def built(case: Case, device: str = "cpu") -> tuple[nn.Module, Tensor, Call]:
    """The network with random weights, its images, and the call."""
    import torchvision

    torch.manual_seed(0)
    if case.network in VOLUMES:
        model = _of_volumes(case.network)
        images = torch.randn(case.batch, 1, 128, 128, 128)
    else:
        model = torchvision.models.get_model(case.network, weights=None).eval()
        if case.network == "vit_b_16":
            nn.init.trunc_normal_(
                model.heads.head.weight, std=0.02
            )  # torchvision initialises it to zeros, which block the gradient
        images = torch.randn(case.batch, 3, 224, 224)
    model, images = model.to(device), images.to(device)
    if case.call in peers.PEERS:
        explain = peers.explainer(case.call, model, LAYERS[type(model).__name__][-1])
        return model, images, lambda: explain(images)
    return model, images, CALLS[case.call](model, images)


def _of_volumes(name: str) -> nn.Module:
    from importlib import import_module

    monai: Any = import_module("monai.networks.nets")  # its exports are not declared
    if name == "monai densenet121 128³":
        model: nn.Module = monai.DenseNet121(spatial_dims=3, in_channels=1, out_channels=14)
    else:
        model = monai.resnet18(spatial_dims=3, n_input_channels=1, num_classes=14)
    return model.eval()


def timed(case: Case, pairs: int) -> Ratio:
    """The duration of the call over that of the forward pass."""
    model, images, call = built(case)
    return ratio(BASES.get(case.call, forward)(model, images), call, pairs)


def used(case: Case, base: bool) -> float:
    """The peak memory in bytes of the call, or of its base, beyond the model and the images."""
    model, images, call = built(case)
    forward(model, images[:1])()
    return memory_growth(BASES.get(case.call, forward)(model, images) if base else call)


def agreement(case: Case) -> float:
    """The mean correlation of another library's maps with pellucid's, or of the fast maps with float32's."""
    model, images, call = built(case)
    pairs = _fast_pairs(model, images) if case.call == "gradcam, fast" else _peers_pairs(model, images, call)
    found = [float(torch.corrcoef(pair)[0, 1]) for pair in pairs if pair.std(dim=1).min() > 0]
    return statistics.fmean(found) if found else math.nan  # with random weights all maps may be empty


def _fast_pairs(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Maps for the class that float32 predicts; with random weights those of other classes are often empty."""
    ours = pellucid.explain(model, images)
    fast = pellucid.explain(model, images, targets=ours.targets[:, 0], runtime=replace(FAST, batch_size=len(images)))
    return _pairs(fast.heatmaps[:, 0], ours.heatmaps[:, 0])


def _peers_pairs(model: nn.Module, images: Tensor, call: Call) -> list[Tensor]:
    theirs: Any = call()
    layers = LAYERS[type(model).__name__][-1:]
    return _pairs(theirs, pellucid.explain(model, images, targets=0, layers=layers).heatmaps[:, 0])


def _pairs(theirs: Tensor, ours: Tensor) -> list[Tensor]:
    return [torch.stack([one.flatten(), other.flatten()]) for one, other in zip(theirs, ours, strict=True)]


@cache
def _used(case: Case, base: bool) -> float:
    """The median memory of three processes, measured once per case."""
    return statistics.median(in_new_process(used, case, base) for _ in range(3))


def measured(case: Case, pairs: int) -> Row:
    """One row of the table."""
    plain = case if case.call in BASES else Case(case.network, "gradcam", batch=case.batch)
    # The forward pass of a single image reuses the memory of the one before, so it measures nothing.
    large = case.batch > 1 or case.network in VOLUMES
    memory = _used(case, base=False) / _used(plain, base=True) if large else math.nan
    likeness = in_new_process(agreement, case) if case.call in (*peers.PEERS, "gradcam, fast") else None
    return Row(case, in_new_process(timed, case, pairs), memory, likeness)


def page(rows: Sequence[Row]) -> str:
    """The table, and the machine on which it was measured."""
    header = ("network, images", "call", "time (quartiles)", "limit", "memory", "its limit", "agreement")
    lines = [
        (
            f"{row.case.network}, {row.case.batch}",
            row.case.call,
            str(row.time) + _mark(row.time.median, row.case.limit),
            _number(row.case.limit),
            _number(row.memory) + _mark(row.memory, row.case.memory_limit),
            _number(row.case.memory_limit),
            _number(row.agreement, 4),
        )
        for row in rows
    ]
    return f"{results.table(header, lines)}\nMeasured on: {machine()}. **!** is above the limit.\n"


def machine() -> str:
    """The processor and the versions of the libraries."""
    known = ", ".join(f"{name} {version}" for name, version in versions().items())
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()}, {torch.get_num_threads()} threads, {capability}; {known}"


def _number(value: float | None, digits: int = 2) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _mark(value: float, limit: float | None) -> str:
    return " **!**" if limit is not None and value > limit else ""


def _read() -> dict[Case, Row]:
    """The rows of earlier runs."""
    path = FOLDER / "speed.csv"
    if not path.exists():
        return {}
    with path.open() as file:
        return {row.case: row for row in map(_row, csv.DictReader(file))}


def _row(cells: Mapping[str, str]) -> Row:
    def number(name: str) -> float | None:
        return float(cells[name]) if cells[name] else None

    case = Case(cells["network"], cells["call"], number("limit"), number("memory_limit"), int(cells["batch"]))
    time = Ratio(float(cells["median"]), float(cells["low"]), float(cells["high"]))
    return Row(case, time, float(cells["memory"]), number("agreement"))


def _write(rows: Sequence[Row]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "speed.md").write_text(page(rows))
    flat = [asdict(row.case) | asdict(row.time) | {"memory": row.memory, "agreement": row.agreement} for row in rows]
    results.write_csv(FOLDER / "speed.csv", flat)


def main(
    pairs: Annotated[int, typer.Option(min=2, help="Number of alternating pairs.")] = 9,
    only: Annotated[str, typer.Option(help="Measure only networks whose names contain this; other rows stay.")] = "",
    plots: Annotated[bool, typer.Option(help="Also measure and plot how the cost grows.")] = True,
) -> None:
    """Measure, and write docs/performance."""
    rows = _read()
    for case in (case for case in cases() if only in case.network):
        row = rows[case] = measured(case, pairs)
        typer.echo(f"{case.network} {case.batch} {case.call}: {row.time}, memory {row.memory:.2f}")
    _write([rows[case] for case in cases() if case in rows])
    if plots:
        growth.write(FOLDER)


if __name__ == "__main__":
    typer.run(main)
