"""``python -m benchmarks.shortcuts FOLDER``: whether a map reveals a shortcut, or only blames one.

FOLDER holds the networks of ``benchmarks.shortcut_networks``. What follows was fixed before any of it was run.

- The statistic of a map is the share of its positive part within the marker, and two pixels around it. Images have the
  marker; the map explains the marked class. It is an alarm where the share is above a threshold.
- Honest about a marker is a network that it moves by less than .01; the first five of ten set the
  threshold. (Two more were trained when one of the ten was not. Of the blur others are honest, which were trained so
  once none of the first had turned out to be.)
- The threshold of a method and marker is the 95 % quantile of the share on these and the first half of the images: 5 %
  of the maps of honest networks are alarms.
- *Detected*: alarms of the networks that cheat by this marker, on the other images.
- *False alarms*: of the other honest networks, on the other images; and of the networks that cheat by another marker.
- Intervals have networks as units, since the maps of a network depend on one another. With five of them they are wide.
- A method *reveals* a marker if the networks that cheat by it raise more alarms than the other honest ones, and more
  than those that cheat by another marker: each by an exact permutation test of the networks' shares, one-sided, p at
  most 0.01. With five networks beside five the smallest p is 1/252, where all of the ones are above all of the others.

Beside these: K-SSD, CCM and FAM (Adebayo et al. 2022), and confounder sensitivity (Sun et al. 2023), on the images
whose answer the marker changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.shortcut_measures import alike, around, confounder_sensitivity, known_signal, share
from benchmarks.shortcut_networks import MARKED, NETWORKS, SIDE, Kind, is_as_taken, kinds, load, toggles
from benchmarks.shortcut_rows import Alarms, Published, Raised, Row
from pellucid import phantom
from pellucid.core.method import Method
from pellucid.methods import IntegratedGradients, SmoothGrad
from pellucid.phantom.training import normalised
from pellucid.statistics import Interval, proportion

NAME = "shortcuts"
IMAGES, IMAGES_FROM = 60, 9 * 10**6
"""Images of all classes in equal parts: half of them for the threshold."""
ALARMS = 0.05
METHODS: dict[str, str | Method] = {
    "gradcam": "gradcam",
    "gradcam++": "gradcam++",
    "hirescam": "hirescam",
    "layercam": "layercam",
    "saliency": "saliency",
    "input_x_gradient": "input_x_gradient",
    "integrated_gradients": IntegratedGradients(steps=8),
    "smoothgrad": SmoothGrad(samples=4),
    "guided_backprop": "guided_backprop",
    "guided_gradcam": "guided_gradcam",
    "occlusion": "occlusion",
    "centre": "centre",
    "edges": "edges",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """The images with and without a marker, (N, 1, 64, 64), and the marker with what is around it, (N, 64, 64)."""

    clean: Tensor
    marked: Tensor
    markers: Tensor
    near: Tensor


@cache
def seen(marker: str) -> Seen:
    """The images of a marker."""
    drawn = phantom.radiographs(IMAGES, SIDE, IMAGES_FROM, exclusive=True)
    with_it = phantom.marked(drawn, marker, torch.ones(IMAGES, dtype=torch.bool), IMAGES_FROM)
    return Seen(drawn.images, with_it.images, with_it.markers, around(with_it.markers))


def maps_of(model: nn.Module, images: Tensor, method: str | Method) -> Tensor:
    """The maps of the marked class, (N, 64, 64), in [0, 1]."""
    found: Tensor = pellucid.explain(model, normalised(images), method, MARKED).heatmaps[:, 0]
    return found


def threshold(shares: Tensor) -> float:
    """The share above which 5 % of these lie."""
    return float(np.quantile(shares.double().numpy(), 1 - ALARMS, method="lower"))


def rate(alarms: Sequence[Tensor]) -> Interval:
    """The share of alarms (N,) of each network, with networks as units."""
    values = torch.cat(list(alarms)).double().numpy()
    networks = [str(number) for number, one in enumerate(alarms) for _ in range(len(one))]
    return proportion(values, networks)


def measured(folder: Path, used: Sequence[Kind], marker: str, method: str | Method) -> Row:
    """The row of a method and a marker."""
    about, half = seen(marker), IMAGES // 2
    honest = [kind for kind in used if not kind.cheats]
    tuning = [kind for kind in honest if kind.number < NETWORKS]
    groups = {
        "detected": [kind for kind in used if kind.what == marker],
        "false_honest": [kind for kind in honest if kind.number >= NETWORKS],
        "false_other": [kind for kind in used if kind.cheats and kind.what != marker],
    }
    maps = {kind: maps_of(network(folder, kind), about.marked, method) for kind in used}
    shares = {kind: share(found, about.near) for kind, found in maps.items()}
    published = _published(folder, groups["detected"], honest, about, method, maps)
    if not tuning or not all(groups.values()):
        return Row(published)
    limit = threshold(torch.cat([shares[kind][:half] for kind in tuning]))
    alarms = {name: _alarms([shares[kind][half:] > limit for kind in members]) for name, members in groups.items()}
    return Row(published, Raised(limit, **alarms))


def _alarms(raised: Sequence[Tensor]) -> Alarms:
    """The alarms (N,) of each network of a group."""
    each = [one.double() for one in raised]
    found = rate(each)
    return Alarms(found.estimate, found.low, found.high, tuple(float(one.mean()) for one in each))


def _published(
    folder: Path,
    cheating: Sequence[Kind],
    honest: Sequence[Kind],
    about: Seen,
    method: str | Method,
    maps: dict[Kind, Tensor],
) -> Published:
    """K-SSD, CCM, FAM and confounder sensitivity: the means over networks that cheat, each beside one honest one."""
    values: dict[str, list[float]] = {"k_ssd": [], "ccm": [], "fam": [], "sensitivity": []}
    for kind, other in zip(cheating, honest, strict=False):
        flipped = _flips(network(folder, kind), about)
        clean = [maps_of(network(folder, one), about.clean, method) for one in (kind, other)]
        values["ccm"].append(_mean(alike(*clean)))
        values["fam"].append(_mean(alike(maps[kind], maps[other])))
        if about.markers.any():
            values["k_ssd"].append(_mean(known_signal(maps[kind], about.markers)))
            values["sensitivity"].append(_mean(confounder_sensitivity(maps[kind], about.markers)[flipped]))
    return Published(
        **{name: float(np.nanmean(each)) if np.isfinite(each).any() else None for name, each in values.items()}
    )


def _mean(values: Tensor) -> float:
    return float(values.nanmean())


def _flips(model: nn.Module, about: Seen) -> Tensor:
    """Which images are of another class for the network once they have the marker, (N,)."""
    with torch.no_grad():
        before, after = (model(normalised(images)).argmax(1) for images in (about.clean, about.marked))
    changed: Tensor = before != after
    return changed


@cache
def network(folder: Path, kind: Kind) -> nn.Module:
    """A network that was trained."""
    return load(folder, kind)


def page(found: dict[str, Row], moved: dict[str, dict[str, float]]) -> str:
    """The tables."""
    alarms = ("detected", "false alarms, honest", "false alarms, another marker", "reveals it")
    header = ("marker", "method", *alarms, "K-SSD", "CCM", "FAM", "confounder sensitivity")
    rows = [
        (*key.split(", "), *_figures(row.raised, row.published))
        for key, row in sorted(found.items())
        if row.raised is not None
    ]
    cheats = {kind.name: kind.what if kind.cheats else "nothing" for kind in kinds()}
    toggled = [
        (name, cheats[name], *(f"{each[marker]:.4f}" for marker in phantom.MARKERS))
        for name, each in sorted(moved.items())
    ]
    return (
        f"{results.table(header, rows)}\nBy how much toggling each marker moves the marked class's probability:\n\n"
        f"{results.table(('network', 'cheats by', *phantom.MARKERS), toggled)}"
    )


def _figures(raised: Raised, published: Published) -> Iterator[str]:
    yield from map(str, (raised.detected, raised.false_honest, raised.false_other))
    yield "yes" if raised.reveals else "no"
    for value in (published.k_ssd, published.ccm, published.fam, published.sensitivity):
        yield "" if value is None else f"{value:.2f}"


def main(
    folder: Annotated[Path, typer.Argument(help="The networks of benchmarks.shortcut_networks.")],
    only: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
) -> None:
    """Measure what is not stored yet, and write docs/results/shortcuts.md."""
    path = results.FOLDER / f"{NAME}.json"
    stored = json.loads(path.read_text()) if path.exists() else {"moved": {}, "rows": {}}
    known = [kind for kind in kinds() if (folder / f"{kind.name}.safetensors").exists()]
    for kind in known:
        stored["moved"].setdefault(kind.name, toggles(network(folder, kind)))
    for marker in phantom.MARKERS:
        used = [kind for kind in known if is_as_taken(stored["moved"][kind.name], kind, marker)]
        for name, method in METHODS.items():
            key = f"{marker}, {name}"
            if key not in stored["rows"] and (not only or name in only):
                stored["rows"][key] = measured(folder, used, marker, method).stored()
                path.write_text(json.dumps(stored, indent=1) + "\n")
                typer.echo(f"{key}: {stored['rows'][key]}")
    results.write(NAME, page({key: Row.of(row) for key, row in stored["rows"].items()}, stored["moved"]))


if __name__ == "__main__":
    typer.run(main)
