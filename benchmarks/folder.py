"""``python -m benchmarks.folder``: the throughput of explaining a folder, compared with a loop over pytorch-grad-cam.

Both start with files of 512 × 512 grey levels and a ResNet-50 in memory, and write overlays as PNG files at the lowest
level of compression. The result is the ratio of the images per second.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import torch
import torchvision
import typer
from PIL import Image as Pillow
from torch import nn

import pellucid
from benchmarks import peers, results
from benchmarks.measuring import Call, Ratio, seconds
from benchmarks.speed import FAST, FOLDER, machine
from pellucid.core import catalogue
from pellucid.export import Case, find
from pellucid.export.metadata import metadata
from pellucid.export.writing import write
from pellucid.io import read_image
from pellucid.models.preprocessing import Preprocessing
from pellucid.phantom import radiographs
from pellucid.run.inputs import inputs
from pellucid.run.job import Job
from pellucid.run.results import Results

PEER = "pytorch-grad-cam"
SIDE = 512
BATCH = 16
"""The batch size of the loop; a smaller one is measured as well."""
SMALLER = 8
DRAWN = 20
"""Number of different images; the files repeat them."""
_FEW = 2 * BATCH
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
    """The work of ``pellucid explain``, which also writes the metadata of each image."""

    def make(work: Work) -> Call:
        drawn = Results(work.output, formats, overwrite=True)
        job = Job(work.model, [catalogue.find("gradcam")()], PREPROCESSING, drawn, runtime=runtime)
        return lambda: [outcome.files for outcome in job.outcomes(inputs([work.images], work.output))]

    return make


def forward(work: Work, size: int) -> Call:
    """The prediction alone, for as many preprocessed images."""
    batches = [torch.randn(len(paths), 3, 224, 224) for paths in _batches(work.files(), size)]

    def call() -> None:
        with torch.no_grad():
            for batch in batches:
                work.model(batch)

    return call


CALLS: dict[str, Callable[[Work], Call]] = {
    f"{PEER}, batch {BATCH}": partial(peer, size=BATCH),
    f"{PEER}, batch {SMALLER}": partial(peer, size=SMALLER),
    "pellucid, overlay and JSON": ours(["overlay"], pellucid.Runtime(batch_size=SMALLER)),
    "pellucid, overlay, heatmap and JSON": ours(["png"], pellucid.Runtime(batch_size=SMALLER)),
    "pellucid, fast, overlay and JSON": ours(["overlay"], replace(FAST, batch_size=SMALLER)),
    f"the forward pass alone, batch {BATCH}": partial(forward, size=BATCH),
    f"the forward pass alone, batch {SMALLER}": partial(forward, size=SMALLER),
}


def _batches(files: Sequence[Path], size: int) -> Iterator[Sequence[Path]]:
    return (files[start : start + size] for start in range(0, len(files), size))


def factors(work: Work, rounds: int) -> dict[str, Ratio]:
    """The images per second of each call divided by the loop's; every round makes each call once."""
    calls = {name: make(work) for name, make in CALLS.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            taken[name].append(seconds(call))
    base, *_ = taken.values()
    return {name: _spread([one / own for one, own in zip(base, times, strict=True)]) for name, times in taken.items()}


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


def page(found: dict[str, Ratio], steps: dict[str, float], count: int) -> str:
    """Both tables."""
    header = ("", f"images per second, over the loop's ({count} images; minimum and maximum)")
    table = results.table(header, ((name, str(time)) for name, time in found.items()))
    base = steps["the forward pass"]
    shares = ((name, f"{time / base:.2f}") for name, time in steps.items())
    profile = results.table(("step, for one image", "time, over the forward pass'"), shares)
    return f"{table}\n{profile}\nMeasured on: {machine()}.\n"


def main(
    count: Annotated[int, typer.Option("--images", min=1)] = 500,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
) -> None:
    """Measure, and write docs/performance/folder.md and folder.csv."""
    if PEER not in peers.available():
        raise SystemExit(f"{PEER} is not installed: make bench installs it in an environment of its own")
    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None).eval()
    with TemporaryDirectory() as parent:
        few, work = (prepared(model, Path(parent) / name, images) for name, images in (("few", _FEW), ("all", count)))
        factors(few, 1)  # warm-up
        found, steps = factors(work, rounds), stages(work)
    for name, time in found.items():
        typer.echo(f"{name}: {time}")
    (FOLDER / "folder.md").write_text(page(found, steps, count))
    results.write_csv(FOLDER / "folder.csv", [{"call": name} | asdict(time) for name, time in found.items()])


if __name__ == "__main__":
    typer.run(main)
