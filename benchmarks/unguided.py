"""``python -m benchmarks.unguided``: whether the layer that is found is the one whose maps hit, in unguided networks.

Transformers that never saw a mask (``unguided_networks``) are explained with HiResCAM at each of their layers. The
layer is found, and the share measured, on generated images without masks. The masks then count how often the peak of
a map lies in the finding, as in ``benchmarks.phantoms``. As a grade of a map without masks, the pixels where it is
highest are blurred: the further the score falls, the more it rests on them.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.unguided_networks import GRID, IMAGES, SIDE, STUDENTS, distilled, draw, lessons, teach, teacher
from pellucid import phantom
from pellucid.core.explanation import Explanation
from pellucid.core.grade import TOP
from pellucid.core.ranking import highest
from pellucid.core.replacement import blurred
from pellucid.demo.study import HALF
from pellucid.metrics.pointing import pointing_hits, widened
from pellucid.models.discovery.layers import candidates
from pellucid.models.discovery.passage import ENOUGH
from pellucid.phantom.training import measure, normalised
from pellucid.run.layers import layer_tree

NAME = "unguided"
DOCS = Path(__file__).parents[1] / "docs"
CACHE = DOCS / ".cache" / NAME
"""Where the networks are kept, so that an interrupted run goes on."""
SEED, TEST_SEED = 40_000_000, 60_000_000
"""The first seeds of the images that are explained, and of those that the AUC is measured on."""
EXPLAINED, TESTED = 500, 1000
TOLERANCE = SIDE / GRID / 2
_BATCH = 64
_CONTAINER = re.compile(r"(^|\.)(blocks|layers(\.\d+)?)$")
"""Modules whose output is that of the last block in them."""


@dataclass(frozen=True)
class Layer:
    """A layer's share, its maps' hits, and how far the score falls (mean, in logits) where they are highest."""

    name: str
    share: float | None
    hits: int
    fall: float


@dataclass(frozen=True)
class Measured:
    """What was measured of a network: the AUC of each finding, and the layers on ``count`` maps each."""

    auc: tuple[float, ...]
    count: int
    found: str
    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Measured:
        """From a mapping that was stored."""
        layers = tuple(Layer(**one) for one in stored["layers"])
        return cls(tuple(stored["auc"]), stored["count"], stored["found"], layers)

    @property
    def chosen(self) -> Layer:
        """The layer that pellucid finds."""
        return next(one for one in self.layers if one.name == self.found)

    @property
    def best(self) -> Layer:
        """The layer with the most hits; of several, the one with the larger share."""
        return max(self.layers, key=lambda one: (one.hits, one.share or 0.0))

    @property
    def steepest(self) -> Layer:
        """The layer whose maps the score falls most with."""
        return max(self.layers, key=lambda one: one.fall)

    def rate(self, layer: Layer) -> float:
        """A layer's hit rate."""
        return layer.hits / max(1, self.count)


def networks(names: list[str]) -> Iterator[tuple[str, nn.Module]]:
    """The networks of these names, trained if they are not in the cache."""
    missing = [name for name in names if not _file(name).exists()]
    if missing:
        CACHE.mkdir(parents=True, exist_ok=True)
        pool, taught = draw(IMAGES), teacher()
        if _file("teacher").exists():
            taught.load_state_dict(load_file(_file("teacher")))
        else:
            teach(taught, pool)
            save_file(taught.state_dict(), _file("teacher"))
        known = lessons(taught.eval(), pool)
        for name in missing:
            save_file(distilled(STUDENTS[name], pool, known).state_dict(), _file(name))
            typer.echo(f"{name}: trained")
    for name in names:
        network = STUDENTS[name].build()
        network.load_state_dict(load_file(_file(name)))
        yield name, network.eval()


def _file(name: str) -> Path:
    return CACHE / f"{name}.safetensors"


def measured(network: nn.Module, drawn: phantom.Phantoms, tested: phantom.Phantoms) -> Measured:
    """Measure a network's layers on the findings that it detects."""
    tree = layer_tree(network, (1, SIDE, SIDE), shares=True)
    (found,) = tree.recommended
    modules = dict(network.named_modules())
    # Linear layers have a part of the score in any network; containers have their last block's output.
    whole = [name for name in candidates(tree.profile, network) if not isinstance(modules[name], nn.Linear)]
    names = [name for name in whole if name == found or not _CONTAINER.search(name)]
    hits, sums, count = dict.fromkeys(names, 0), dict.fromkeys(names, 0.0), 0
    for images, masks, explanation, finding in _explained(network, drawn, names):
        count += len(images)
        heatmaps = {name: explanation.by_layer[name].heatmaps[:, 0] for name in names}
        for name, fallen in falls(network, images, heatmaps, finding):
            hits[name] += int(pointing_hits(heatmaps[name], masks, TOLERANCE).sum())
            sums[name] += float(fallen.sum())
    layers = [Layer(name, tree.shares[name], hits[name], sums[name] / max(1, count)) for name in names]
    return Measured(measure(network, tested).auc, count, found, tuple(layers))


def _explained(
    network: nn.Module, drawn: phantom.Phantoms, names: list[str]
) -> Iterator[tuple[Tensor, Tensor, Explanation, int]]:
    """Images with a finding that the network detects, the finding's masks, its explanation at layers, and its index."""
    explainer = pellucid.Explainer(network, "hirescam", layers=names, head="sigmoid")
    for finding, _ in enumerate(phantom.FINDINGS):
        images, masks = drawn.images[drawn.labels[:, finding]], drawn.masks[drawn.labels[:, finding], finding]
        with torch.no_grad():
            detected = network(normalised(images))[:, finding].sigmoid() >= HALF
        for some, theirs in zip(*(torch.split(one[detected], _BATCH) for one in (images, masks)), strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", pellucid.PellucidWarning)  # layers with a low share are meant
                explanation = explainer(normalised(some), targets=finding)
            yield some, theirs, explanation, finding


def falls(
    network: nn.Module, images: Tensor, heatmaps: Mapping[str, Tensor], finding: int
) -> Iterator[tuple[str, Tensor]]:
    """How far the logit of a finding falls, (B,), where the pixels with the highest values of maps are blurred."""
    smooth = blurred(images)
    with torch.no_grad():
        before = network(normalised(images))[:, finding]
        for name, heat in heatmaps.items():
            changed = torch.where(highest(heat, TOP, torch.Generator().manual_seed(0))[:, None], smooth, images)
            yield name, before - network(normalised(changed))[:, finding]


def correlation(one: list[float], other: list[float]) -> float:
    """Spearman's rank correlation of two lists; ties have their mean rank. NaN where one of them is constant."""
    ranks = []
    for values in (torch.tensor(one).double(), torch.tensor(other).double()):
        differences = values[:, None] - values
        ranks.append((differences > 0).double().sum(1) + 0.5 * (differences == 0).double().sum(1))
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def page(known: Mapping[str, Measured], random: float) -> str:
    """A table with a row per network, and one with all layers of each."""
    header = ("network", "AUC", "maps", "found", "best", "largest fall", "ρ share", "ρ fall")
    rows = [_row(STUDENTS[name].title, one) for name, one in known.items()]
    layers = "\n".join(_details(STUDENTS[name].title, one) for name, one in known.items())
    return f"{results.table(header, rows)}\n{_remarks(random)}\n\n{layers}"


def _row(title: str, one: Measured) -> tuple[str, ...]:
    areas = ", ".join(f"{area:.2f}" for area in one.auc)
    layers = [_named(layer, one) for layer in (one.chosen, one.best, one.steepest)]
    return (title, areas, str(one.count), *layers, *(f"{ρ:.2f}" for ρ in correlations(one)))


def _named(layer: Layer, one: Measured) -> str:
    return f"`{layer.name}` ({_share(layer)}): {100 * one.rate(layer):.1f} %"


def _share(layer: Layer) -> str:
    return "—" if layer.share is None else f"{layer.share:.2f}"


def correlations(one: Measured) -> tuple[float, float]:
    """Over the layers, the rank correlations of the hits with the share, and with the fall of the score."""
    hits = [float(layer.hits) for layer in one.layers]
    shares, falls = [layer.share or 0.0 for layer in one.layers], [layer.fall for layer in one.layers]
    return correlation(hits, shares), correlation(hits, falls)


def _remarks(random: float) -> str:
    return (
        "*Found* is the layer that pellucid chooses, *best* the one with the most hits, which only masks can tell, and "
        "*largest fall* the one at which the logit falls furthest where the pixels of the map's highest "
        f"{100 * TOP:.0f} % are blurred; each with its share and its hits. ρ is the rank correlation, over the layers, "
        f"of the hits with the share, and with that fall. {EXPLAINED} radiographs of {SIDE} × {SIDE} pixels; the AUC "
        f"(nodule, consolidation, cavity) is measured on {TESTED} others. A random pixel hits in {100 * random:.1f} %."
    )


def _details(title: str, one: Measured) -> str:
    """All layers of a network, folded up: the deepest first."""
    header = ("layer", "share", "hits (95 % interval)", "fall of the logit")
    rows = [
        (
            f"**`{layer.name}`, found**" if layer == one.chosen else f"`{layer.name}`",
            _share(layer),
            results.share(layer.hits, one.count),
            f"{layer.fall:.2f}",
        )
        for layer in one.layers
    ]
    return (
        f'<details markdown="1"><summary>{title}: every layer</summary>\n\n{results.table(header, rows)}\n</details>\n'
    )


def plot(known: Mapping[str, Measured], path: Path) -> None:
    """Draw the hit rate against the share and against the fall of the score; the layers found have a ring."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for index, (name, one) in enumerate(known.items()):
        rates, chosen = [100 * one.rate(layer) for layer in one.layers], 100 * one.rate(one.chosen)
        style = {"marker": "s" if name.startswith("swin") else "o", "color": f"C{index}", "s": 18, "alpha": 0.75}
        for axes, value in ((left, _share_value), (right, _fall_value)):
            label = STUDENTS[name].title if axes is left else None
            axes.scatter([value(layer) for layer in one.layers], rates, label=label, linewidths=0, **style)
            axes.scatter([value(one.chosen)], [chosen], s=110, facecolors="none", edgecolors=f"C{index}")
    left.axvline(ENOUGH, color="grey", linewidth=0.8, linestyle=":")
    left.set(xlabel="share of the score that passes through the layer", ylabel="HiResCAM's hits, %", ylim=(-3, 103))
    right.set(xlabel="fall of the logit, the map's top 2 % blurred")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def _share_value(layer: Layer) -> float:
    return layer.share or 0.0


def _fall_value(layer: Layer) -> float:
    return layer.fall


def read() -> dict[str, Measured]:
    """The results of earlier runs, in the order in which they are shown."""
    path = results.FOLDER / f"{NAME}.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    return {name: Measured.of(stored[name]) for name in STUDENTS if name in stored}


def keep(known: Mapping[str, Measured]) -> None:
    """Store the results so far."""
    stored = {name: asdict(known[name]) for name in STUDENTS if name in known}
    rounded = json.loads(json.dumps(stored), parse_float=lambda number: round(float(number), 4))
    (results.FOLDER / f"{NAME}.json").write_text(json.dumps(rounded, indent=1) + "\n")


def main() -> None:
    """Train and measure what has not been, and write docs/results/unguided.md and docs/images/unguided.png."""
    known = read()
    drawn = phantom.radiographs(EXPLAINED, SIDE, SEED)
    tested = phantom.radiographs(TESTED, SIDE, TEST_SEED)
    for name, network in networks([name for name in STUDENTS if name not in known]):
        known[name] = measured(network, drawn, tested)
        keep(known)
        typer.echo(f"{name}: {known[name].chosen} of {known[name].count}")
    random = float(widened(drawn.masks[drawn.labels], TOLERANCE).float().mean())
    results.write(NAME, page(read(), random))
    plot(read(), DOCS / "images" / f"{NAME}.png")


if __name__ == "__main__":
    typer.run(main)
