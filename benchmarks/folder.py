"""``python -m benchmarks.folder``: the throughput of explaining a folder, and what it gains where memory is kept.

Everything starts with files of 512 × 512 grey levels and a ResNet-50 in memory, and overlays are written as PNG files.
Each call is made in a process with the allocator's default settings and in one that keeps its memory, as the command
line does. The plain forward passes, pellucid and the other library have processes of their own: what one leaves in the
heap is memory that the next call need not fetch. The result is the images per second over those of the plain forward
pass by default, and of a loop over pytorch-grad-cam.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import torchvision
import typer
from PIL import Image as Pillow
from torch import Tensor, nn

import pellucid
from benchmarks import peers, results
from benchmarks.measuring import Call, Ratio, peak_memory, seconds
from benchmarks.speed import FAST, FOLDER, machine
from pellucid.core import catalogue
from pellucid.core.allocator import keep_memory
from pellucid.export import Case, find
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.io import read_image
from pellucid.models.preprocessing import Preprocessing
from pellucid.phantom import radiographs
from pellucid.run.finding import inputs
from pellucid.run.job import Job
from pellucid.run.results import Results

PEER = "pytorch-grad-cam"
SIDE = 512
BATCH = 16
"""The batch size of the loop; a smaller one is measured as well."""
SMALLER = 8
DRAWN = 20
"""Number of different images; the files repeat them."""
CLASSES = 14
PREPROCESSING = Preprocessing(256, (224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Work:
    """A network, the folder of images that it explains, and the folder for the results."""

    model: nn.Module
    images: Path
    output: Path

    def files(self) -> list[Path]:
        """The images' files, in order."""
        return sorted(self.images.iterdir())


def prepared(model: nn.Module, parent: Path, count: int) -> Work:
    """Write ``count`` drawn images, and make an empty folder for the results."""
    work = Work(model, parent / "images", parent / "output")
    for folder in (work.images, work.output):
        folder.mkdir(parents=True)
    levels = (radiographs(min(count, DRAWN), size=SIDE, seed=3).images[:, 0] * 255).round().byte().numpy()
    for index in range(count):
        Pillow.fromarray(levels[index % len(levels)]).save(work.images / f"{index:04}.png")
    return work


def peer(work: Work, size: int = BATCH) -> Call:
    """The loop from pytorch-grad-cam's documentation, with images in batches."""
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image
    from torchvision import transforms

    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(PREPROCESSING.mean, PREPROCESSING.std),
        ]
    )

    def call() -> None:
        with GradCAM(model=work.model, target_layers=[work.model.get_submodule("layer4")]) as cam:
            for paths in _batches(work.files(), size):
                images = [Pillow.open(path).convert("RGB") for path in paths]
                maps = cam(input_tensor=torch.stack([prepare(image) for image in images]), targets=None)
                for path, image, heat in zip(paths, images, maps, strict=True):
                    large = np.array(Pillow.fromarray(heat).resize(image.size, Pillow.Resampling.BILINEAR))
                    drawn = show_cam_on_image(np.asarray(image, dtype=np.float32) / 255, large, use_rgb=True)
                    Pillow.fromarray(drawn).save(work.output / path.name, compress_level=1)

    return call


def ours(formats: Sequence[str], runtime: pellucid.Runtime) -> Callable[[Work], Call]:
    """The work of ``pellucid explain`` in an empty folder, which also writes the metadata of each image."""

    def make(work: Work) -> Call:
        drawn = Results(work.output, formats)
        job = Job(work.model, [catalogue.find("gradcam")()], PREPROCESSING, drawn, runtime=runtime)

        def call() -> None:
            shutil.rmtree(work.output)
            work.output.mkdir()
            for outcome in job.outcomes(inputs([work.images], work.output)):
                if outcome.error is not None:
                    raise outcome.error

        return call

    return make


def explaining(work: Work, classes: int, runtime: pellucid.Runtime) -> Call:
    """Grad-CAM for as many preprocessed images, without files."""
    batches = _prepared(work, runtime.batch_size)
    explainer = pellucid.Explainer(work.model, runtime=runtime)
    targets = [torch.arange(classes).expand(len(batch), -1) for batch in batches]
    return lambda: [explainer(batch, classes) for batch, classes in zip(batches, targets, strict=True)]


def forward(work: Work, size: int) -> Call:
    """The prediction alone, for as many preprocessed images."""
    batches = _prepared(work, size)

    def call() -> None:
        with torch.no_grad():
            for batch in batches:
                work.model(batch)

    return call


BASE = f"the forward pass alone, batch {BATCH}"
LOOP = f"{PEER}, batch {BATCH}"
Makers = dict[str, Callable[[Work], Call]]
GROUPS: dict[str, Makers] = {
    "forward": {
        BASE: partial(forward, size=BATCH),
        f"the forward pass alone, batch {SMALLER}": partial(forward, size=SMALLER),
    },
    "pellucid": {
        "gradcam, no files": partial(explaining, classes=1, runtime=pellucid.Runtime(batch_size=BATCH)),
        f"gradcam, {CLASSES} classes, no files": partial(
            explaining, classes=CLASSES, runtime=pellucid.Runtime(batch_size=BATCH)
        ),
        "gradcam, fast, no files": partial(explaining, classes=1, runtime=replace(FAST, batch_size=BATCH)),
        "folder: overlay and JSON": ours(["overlay"], pellucid.Runtime(batch_size=SMALLER)),
        "folder: overlay, heatmap and JSON": ours(["png"], pellucid.Runtime(batch_size=SMALLER)),
        "folder, fast: overlay and JSON": ours(["overlay"], replace(FAST, batch_size=SMALLER)),
    },
    PEER: {
        LOOP: partial(peer, size=BATCH),
        f"{PEER}, batch {SMALLER}": partial(peer, size=SMALLER),
    },
}
"""The calls, by what shares a process."""
CALLS: Makers = {name: make for calls in GROUPS.values() for name, make in calls.items()}
Rates = dict[tuple[str, bool], Ratio]
KEPT = {False: "default", True: "kept"}


def _prepared(work: Work, size: int) -> list[Tensor]:
    return [torch.randn(len(paths), 3, 224, 224) for paths in _batches(work.files(), size)]


def _batches(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (files[start : start + size] for start in range(0, len(files), size))


@dataclass(frozen=True)
class Row:
    """A call with memory returned to the system or kept: its seconds in each round, and the process's peak in bytes."""

    name: str
    kept: bool
    taken: Sequence[float]
    peak: float


_made: dict[str, Call] = {}
"""The calls of a worker process."""


def _begin(group: str, kept: bool, images: Path, output: Path) -> None:
    """Prepare a worker process for the calls of a group."""
    if kept and (reason := keep_memory()):
        raise SystemExit(f"memory cannot be kept: {reason}")
    torch.manual_seed(0)
    output.mkdir(exist_ok=True)
    work = Work(torchvision.models.resnet50(weights=None).eval(), images, output)
    _made.update({name: make(work) for name, make in GROUPS[group].items()})


def _seconds(name: str) -> tuple[float, float]:
    """The seconds of a call, and the process's peak in it."""
    taken: list[float] = []
    peak = peak_memory(lambda: taken.append(seconds(_made[name])))
    return taken[0], peak


def measured(work: Work, rounds: int) -> list[Row]:
    """Every call in every round once in either process, in turn, after one round to warm up."""
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        pools = {
            (group, kept): stack.enter_context(
                context.Pool(1, _begin, (group, kept, work.images, work.output.with_name(f"{group}, {name}")))
            )
            for group in GROUPS
            for kept, name in KEPT.items()
        }
        _round(pools)
        every = [_round(pools) for _ in range(rounds)]
    return [
        Row(name, kept, [one[name, kept][0] for one in every], max(one[name, kept][1] for one in every))
        for name, kept in every[0]
    ]


def _round(pools: dict[tuple[str, bool], Pool]) -> dict[tuple[str, bool], tuple[float, float]]:
    return {
        (name, kept): pools[group, kept].apply(_seconds, (name,))
        for group, calls in GROUPS.items()
        for name in calls
        for kept in KEPT
    }


def over(rows: Sequence[Row], base: str) -> Rates:
    """The images per second of each call divided by those of a call with the default settings, round by round."""
    own = next(row.taken for row in rows if row.name == base and not row.kept)
    return {
        (row.name, row.kept): _spread([one / other for one, other in zip(own, row.taken, strict=True)]) for row in rows
    }


def _spread(found: Sequence[float]) -> Ratio:
    return Ratio(statistics.median(found), min(found), max(found))


def stages(work: Work, repeats: int = 15) -> dict[str, float]:
    """The seconds of each step for one image, measured alone."""
    path = work.files()[0]
    image = read_image(path)
    processed = PREPROCESSING(image)
    batch = processed.values[None].repeat(BATCH, 1, 1, 1)
    explainer = pellucid.Explainer(work.model, runtime=pellucid.Runtime(batch_size=BATCH))
    one = explainer(batch).one(0, 0)

    def case() -> Case:
        return Case("one", processed, one)  # a new one, since a case caches its drawings

    files = find("overlay")(case())
    with torch.no_grad():
        predicting = _median(lambda: work.model(batch), repeats) / BATCH
    return {
        "the forward pass": predicting,
        "the explanation beyond it": _median(lambda: explainer(batch), repeats) / BATCH - predicting,
        "reading and decoding": _median(lambda: read_image(path), repeats),
        "resizing and normalising": _median(lambda: PREPROCESSING(image), repeats),
        "drawing and compressing the overlay": _median(lambda: find("overlay")(case()), repeats),
        "drawing and compressing the heatmap as well": _median(lambda: find("png")(case()), repeats)
        - _median(lambda: find("overlay")(case()), repeats),
        "the metadata": _median(lambda: metadata(case(), "", files), repeats),
        "writing": _median(lambda: write(work.output / "stage", files, overwrite=True), repeats),
    }


def _median(call: Callable[[], object], repeats: int) -> float:
    return statistics.median(seconds(call) for _ in range(repeats))


def page(rows: Sequence[Row], steps: dict[str, float], count: int) -> str:
    """The tables."""
    forward, loop, peaks = over(rows, BASE), over(rows, LOOP), {(row.name, row.kept): row.peak for row in rows}
    rate, times = "images per second", "over the loop's"
    header = ("", rate, f"{rate}, kept", times, f"{times}, kept", "peak memory, kept over default")
    table = results.table(header, (_cells(name, forward, loop, peaks) for name in CALLS))
    base = steps["the forward pass"]
    shares = ((name, f"{time / base:.2f}") for name, time in steps.items())
    profile = results.table(("step, for one image, memory kept", "time, over the forward pass'"), shares)
    spread = f"{count} images; medians of {len(rows[0].taken)} rounds, with minimum and maximum."
    return f"{table}\n{spread}\n\n{profile}\nMeasured on: {machine()}.\n"


def _cells(name: str, forward: Rates, loop: Rates, peaks: dict[tuple[str, bool], float]) -> tuple[str, ...]:
    ours, theirs = (forward[name, False], forward[name, True]), (loop[name, False], loop[name, True])
    growth = peaks[name, True] / peaks[name, False]
    return name, *map(str, ours), *(f"{one.median:.2f}" for one in theirs), f"{growth:.2f}"


def main(
    count: Annotated[int, typer.Option("--images", min=1)] = 500,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure, and write docs/performance/folder.md and folder.csv."""
    if PEER not in peers.available():
        raise SystemExit(f"{PEER} is not installed: make bench installs it in an environment of its own")
    torch.manual_seed(0)
    with TemporaryDirectory() as parent:
        work = prepared(torchvision.models.resnet50(weights=None).eval(), Path(parent), count)
        rows = measured(work, rounds)
        keep_memory()
        steps = stages(work)
    for (name, kept), rate in over(rows, BASE).items():
        typer.echo(f"{name}, {KEPT[kept]}: {rate}")
    (FOLDER / "folder.md").write_text(page(rows, steps, count))
    loop = over(rows, LOOP)
    results.write_csv(
        FOLDER / "folder.csv",
        [
            {"call": name, "memory": KEPT[kept], **asdict(rate), "over_loop": loop[name, kept].median}
            for (name, kept), rate in over(rows, BASE).items()
        ],
    )


if __name__ == "__main__":
    typer.run(main)
