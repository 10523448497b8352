"""``python -m benchmarks.phantoms``: how often the peak of each method's map hits the drawn finding.

First the networks that learnt from labels alone, as most networks do; those that were also taught where findings are
stand beside them. The images use seeds that no network was trained on. A hit is a peak inside the finding's mask, or
inside the mask widened by half a cell of the network's last grid. Only findings that are present and that the network
detects (probability at least 0.5) are counted. The best method of a network is selected on other images than those
that its hits are counted on. HiResCAM is also measured at every stage of each network, and on the networks for one
class of four.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

import pellucid
from benchmarks import results
from pellucid import phantom
from pellucid.core.method import Method
from pellucid.demo.study import HALF, HALF_A_CELL, Network, networks
from pellucid.methods.rise import RISE
from pellucid.metrics.pointing import pointing_hits, widened
from pellucid.phantom.models import ARCHITECTURES, EXCLUSIVE, SIDE, UNGUIDED
from pellucid.run.explainer import Explainer
from pellucid.statistics import proportion

NAME = "phantoms"
BATCH = 32
FEWER: Mapping[str, Method] = {"rise": RISE(masks=100)}
SLOW = ("smoothgrad", "smoothgrad_squared", "vargrad", "ablationcam", "scorecam", "occlusion", "rise")
"""Measured last, and not on the networks that were taught where findings are."""
STAGES: Mapping[str, tuple[str, ...]] = {
    "cnn": tuple(f"network.layer{number}" for number in (1, 2, 3, 4)),
    "vit": tuple(f"network.blocks.{number}.norm1" for number in range(4)),
    "swin": ("network.layers.0.blocks.0", "network.layers.0.blocks.1", "network.layers.1.blocks.0", "network.norm"),
}
"""The layers at which HiResCAM is measured, by a part of the network's name."""


@dataclass(frozen=True)
class Split:
    """Images of a seed, and the networks that they are for."""

    images: int
    seed: int
    networks: tuple[str, ...]


SPLITS: Mapping[str, Split] = {
    "unguided": Split(150, 40_000_000, tuple(UNGUIDED)),
    "guided": Split(60, 40_000_000, tuple(ARCHITECTURES)),
}
CHOOSING = 50
"""The best method of a network is selected on the first so many images, and its hits are those on the others."""
EXCLUSIVE_SPLIT = Split(200, 60_000_000, tuple(EXCLUSIVE))
Stored = dict[str, dict[str, str]]
"""By split, network and method (or layer): for each case "1" or "0", for a peak in the mask and in the widened one."""


@dataclass(frozen=True, eq=False)
class Found:
    """The cases of a network: findings that are present and that it detects, one after the other."""

    images: Tensor
    finding: Tensor
    number: Tensor
    """The image that a case belongs to."""
    masks: Tensor


def cases(network: Network, drawn: phantom.Phantoms) -> Found:
    """The cases of a network among drawn images."""
    exclusive = network.model.head == "softmax"
    images = pellucid.model_info(network.model).preprocessing.normalise(drawn.images)  # type: ignore[union-attr]
    with torch.no_grad():
        logits = torch.cat([network.model(part) for part in torch.split(images, BATCH)])
    detected = logits.softmax(1)[:, 1:] >= HALF if exclusive else logits.sigmoid() >= HALF
    number, finding = (detected & drawn.labels).nonzero().unbind(1)
    return Found(images[number], finding + int(exclusive), number, drawn.masks[number, finding])


def maps(explainer: Explainer, found: Found) -> Tensor:
    """The heatmaps of the cases, (N, H, W)."""
    pairs = zip(torch.split(found.images, BATCH), torch.split(found.finding, BATCH), strict=True)
    return torch.cat([explainer(images, targets=finding).heatmaps[:, 0] for images, finding in pairs])


def hits(heatmaps: Tensor, masks: Tensor) -> dict[str, str]:
    """Which peaks hit, at both tolerances, as text."""
    tolerances = {"exact": 0.0, "half a cell": HALF_A_CELL}
    return {
        name: "".join("1" if hit else "0" for hit in pointing_hits(heatmaps, masks, tolerance).tolist())
        for name, tolerance in tolerances.items()
    }


def work() -> Iterator[tuple[str, str, Split, Network, str | Method, str | None]]:
    """What is measured: a key, the name of the maps, and how they are made. What takes long comes last."""
    methods = sorted(pellucid.available_methods(), key=lambda name: name in SLOW)
    every = {name: network for split in SPLITS.values() for name, network in _networks(split.networks, methods)}
    for slow in (False, True):
        for key, split in SPLITS.items():
            for name in split.networks:
                chosen = [method for method in every[name].methods if (method in SLOW) == slow]
                chosen = [] if slow and key == "guided" else chosen
                for method in chosen:
                    yield f"{key}/{name}/{method}", name, split, every[name], FEWER.get(method, method), None
        if not slow:
            for split, name, network in _staged(every):
                for layer in STAGES[next(part for part in STAGES if part in name)]:
                    yield f"layers/{name}/{layer}", name, split, network, "hirescam", layer


def _staged(every: Mapping[str, Network]) -> Iterator[tuple[Split, str, Network]]:
    for name in UNGUIDED:
        yield SPLITS["unguided"], name, every[name]
    for name, network in _networks(EXCLUSIVE_SPLIT.networks, ()):
        yield EXCLUSIVE_SPLIT, name, network


def _networks(names: Sequence[str], methods: Sequence[str]) -> Iterator[tuple[str, Network]]:
    return zip(names, networks(names, methods), strict=True)


def drawn(split: Split, network: Network) -> phantom.Phantoms:
    """The images of a split, as a network takes them."""
    preprocessing = pellucid.model_info(network.model).preprocessing
    side = preprocessing.resize[0] if preprocessing and isinstance(preprocessing.resize, tuple) else SIDE
    return phantom.radiographs(split.images, side, split.seed, exclusive=network.model.head == "softmax")


def read() -> Stored:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    found: Stored = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(stored: Stored) -> None:
    """Store the results so far."""
    ordered = {key: stored[key] for key in sorted(stored)}
    (results.FOLDER / f"{NAME}.json").write_text(json.dumps(ordered, indent=1) + "\n")


def page(stored: Stored, random: Mapping[str, float]) -> str:
    """A table with a row per method, with the best methods, selected on other images, and the layers."""
    names = sorted({key.split("/")[2] for key in stored if key.count("/") == 2 and "layers/" not in key})
    names.sort(key=lambda name: -max(_rate(stored, f"unguided/{one}/{name}") for one in UNGUIDED))
    half = _methods(stored, names, "half a cell", ("unguided", "guided"))
    exact = _methods(stored, names, "exact", ("unguided",))
    fewer = ", ".join(f"`{name}` with {method}" for name, method in FEWER.items())
    chosen = "".join(f"- {UNGUIDED[name].title}: {_chosen(stored, name)}\n" for name in UNGUIDED)
    share = SPLITS["unguided"].images
    return (
        f"The peak is in the finding or at most half a cell (4 pixels) beside it; a random pixel in "
        f"{100 * random['half a cell']:.1f} %:\n\n{half}\n"
        f"The peak is in the finding itself; a random pixel in {100 * random['exact']:.1f} %:\n\n{exact}\n"
        f"{share} radiographs. Default settings, except {fewer}. *taught*: the same architecture, also taught where "
        "findings are.\n\nThe best method of each network that learnt from labels alone, selected on "
        f"the first {CHOOSING} radiographs, and its hits on the others:\n\n{chosen}\n"
        "HiResCAM at each stage, the peak in the finding or half a cell beside it, and in the finding itself:\n\n"
        f"{_layers(stored)}"
    )


def _methods(stored: Stored, names: Sequence[str], tolerance: str, groups: Sequence[str]) -> str:
    columns = [(group, name) for other in ARCHITECTURES for group, name in _columns(other) if group in groups]
    header = ("method", *(_title(group, name) for group, name in columns))
    rows = [
        (f"`{name}`", *(_cell(stored, f"{group}/{one}/{name}", tolerance) for group, one in columns)) for name in names
    ]
    return results.table(header, rows)


def _columns(name: str) -> tuple[tuple[str, str], ...]:
    return ("unguided", f"unguided_{name}"), ("guided", name)


def _title(group: str, name: str) -> str:
    title = {**ARCHITECTURES, **UNGUIDED}[name].title
    return title if group == "unguided" else f"*taught*: {title}"


def _cell(stored: Stored, key: str, tolerance: str) -> str:
    if key not in stored:
        return "not measured" if key.startswith("guided/") and key.split("/")[2] in SLOW else "does not apply"
    images = stored.get(key.rpartition("/")[0], {}).get("images")
    return share(stored[key][tolerance], images.split() if images else None)


def share(flags: str, images: Sequence[str] | None) -> str:
    """A proportion of hits with its 95 % interval in percent, where an image with two findings is one patient."""
    found = proportion([int(flag) for flag in flags], images)
    interval = f" ({100 * found.low:.0f}–{100 * found.high:.0f})" if found.withheld is None else ""
    return f"{100 * found.estimate:.1f} %{interval}"


def _rate(stored: Stored, key: str, tolerance: str = "half a cell") -> float:
    flags = stored.get(key, {tolerance: ""})[tolerance]
    return flags.count("1") / max(1, len(flags))


def _chosen(stored: Stored, name: str) -> str:
    """The method that hits most on the first images, and its hits on the others."""
    split = sum(int(number) < CHOOSING for number in stored[f"unguided/{name}"]["images"].split())
    flags = {
        key.split("/")[2]: own["half a cell"] for key, own in stored.items() if key.startswith(f"unguided/{name}/")
    }
    best = max(flags, key=lambda one: (flags[one][:split].count("1"), one))
    numbers = stored[f"unguided/{name}"]["images"].split()
    return f"`{best}`, {share(flags[best][split:], numbers[split:])}"


def _layers(stored: Stored) -> str:
    titles = {**UNGUIDED, **EXCLUSIVE}
    rows = [
        (
            titles[name].title,
            f"`{layer}`",
            *(_cell(stored, f"layers/{name}/{layer}", one) for one in ("half a cell", "exact")),
        )
        for name in titles
        for layer in STAGES[next(part for part in STAGES if part in name)]
        if f"layers/{name}/{layer}" in stored
    ]
    return results.table(("network", "layer", "half a cell", "exact"), rows)


def main(
    method: Annotated[list[str] | None, typer.Option(help="Measure only this method; may be repeated.")] = None,
    again: Annotated[bool, typer.Option(help="Measure again what has been measured.")] = False,
    folder: Annotated[Path | None, typer.Option("--maps", help="Keep the maps here, as NAME.npy of float16.")] = None,
) -> None:
    """Measure every method that has not been measured, and write docs/results/phantoms.md."""
    stored = read()
    known: dict[tuple[str, int], Found] = {}
    for key, name, split, network, chosen, layer in work():
        if (method and key.split("/")[2] not in method) or (key in stored and not again):
            continue
        if (name, split.seed) not in known:
            known[name, split.seed] = cases(network, drawn(split, network))
            stored[key.rpartition("/")[0]] = {"images": " ".join(map(str, known[name, split.seed].number.tolist()))}
        found = known[name, split.seed]
        heatmaps = maps(Explainer(network.model, chosen, layers=None if layer is None else [layer]), found)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{key.replace('/', ' ')}.npy", heatmaps.half().numpy())
        stored[key] = hits(heatmaps, found.masks)
        keep(stored)
        typer.echo(f"{key}: {_rate(stored, key):.3f}")
    results.write(NAME, page(stored, chance()))


def chance() -> dict[str, float]:
    """How often a random pixel hits."""
    split = SPLITS["unguided"]
    made = phantom.radiographs(split.images, seed=split.seed)
    masks = made.masks[made.labels]
    return {
        name: float(widened(masks, tolerance).float().mean())
        for name, tolerance in (("exact", 0.0), ("half a cell", HALF_A_CELL))
    }


if __name__ == "__main__":
    typer.run(main)
