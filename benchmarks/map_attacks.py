"""``python -m benchmarks.map_attacks --busi FOLDER``: how far maps move while the answer holds, and the other way.

What follows was fixed before any of it was run. Each attack takes 8 steps of a quarter of the budget, with its other
options as they are. The maps of the predicted class are compared before and after: overlap of the highest 2 % of the
pixels, shift of the centre (pixels), SSIM, Spearman, and the share of the map in the corner that ``target_map`` aims
at. Noise stands beside: uniform in the budget, and ±ε in each pixel.

- Of noise and of ``topk``, ``centre`` and ``target_map`` the images count whose answer holds; of ``held_map``, and of
  PGD on the answer alone beside it, those whose answer has moved.
- *Further* is the paired mean difference, with its interval: of ``topk``, ``centre`` and ``target_map`` against ±ε
  noise in what each is about (overlap, centre, corner); of ``held_map`` against PGD in SSIM. Above 0 the attack does
  what it is for. An attack keeps the best of its steps, noise is drawn once.

These are explorations: intervals are by image and not corrected for their number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor

import pellucid
from benchmarks import results
from benchmarks.map_attack_networks import Signs, Subject, subjects
from pellucid.attacks import PGD, Centre, HeldMap, TargetMap, TopK
from pellucid.core.attack import Attack
from pellucid.core.attacked import Attacked
from pellucid.metrics import TopKOverlap
from pellucid.statistics import Interval, difference, mean

NAME = "map_attacks"
STEPS = 8
FIGURES = {"overlap": 1, "shift": -1, "ssim": 1, "spearman": 1, "corner": -1}
"""What is measured, and the sign with which it is larger the more alike the maps are."""
Row = dict[str, list[float]]


@dataclass(frozen=True)
class Kind:
    """A change of images, whether the answer is to hold, and against what it should be larger in which figure."""

    attack: Callable[[float], Attack]
    holds: bool = True
    against: str = ""
    figure: str = ""
    sign: int = 1


KINDS: Mapping[str, Kind] = {
    "uniform noise": Kind(lambda epsilon: PGD(epsilon, steps=1, step_size=0.0)),
    "±ε noise": Kind(Signs),
    "topk": Kind(lambda epsilon: TopK(epsilon, STEPS), True, "±ε noise", "overlap", -1),
    "centre": Kind(lambda epsilon: Centre(epsilon, STEPS), True, "±ε noise", "shift"),
    "target_map": Kind(lambda epsilon: TargetMap(epsilon, STEPS), True, "±ε noise", "corner"),
    "pgd": Kind(lambda epsilon: PGD(epsilon, STEPS), False),
    "held_map": Kind(lambda epsilon: HeldMap(epsilon, STEPS), False, "pgd", "ssim"),
}


def corner(found: Attacked) -> Tensor:
    """The share (B,) of each map in the first corner, a quarter of each side, after the change."""
    maps = _explained(found.explanation).heatmaps[:, 0].double()
    part = maps[:, : maps.shape[1] // 4, : maps.shape[2] // 4]
    return part.flatten(1).sum(1) / maps.flatten(1).sum(1)


def measured(found: Attacked) -> Row:
    """Each figure of each image, and whether its answer has moved."""
    before, after = _explained(found.clean_explanation), _explained(found.explanation)
    scores = pellucid.compare(before, after, metrics=[TopKOverlap(share=0.02), "centre_shift", "ssim", "spearman"])
    names = dict(zip(scores, FIGURES, strict=False))
    row = {short: _plain(scores[name][:, 0]) for name, short in names.items()}
    return row | {"corner": _plain(corner(found)), "moved": _plain(found.moved.double())}


def _explained(found: pellucid.Explanation | None) -> pellucid.Explanation:
    if found is None:
        raise ValueError("maps were asked for; no method was given to make them")
    return found


def _plain(values: Tensor) -> list[float]:
    return [round(value, 4) if math.isfinite(value) else math.nan for value in values.tolist()]


def cells(about: Mapping[str, Subject]) -> Iterator[tuple[str, str, int]]:
    """Network, method and budget, the middle budget first."""
    for epsilon in (2, 4, 1):
        for name, subject in about.items():
            for method, (_, budgets) in subject.methods.items():
                if epsilon in budgets:
                    yield name, method, epsilon


def counted(row: Row, name: str) -> NDArray[np.bool_]:
    """Which images count for a kind of change, (N,) bool."""
    return np.equal(row["moved"], 0.0 if KINDS[name].holds else 1.0)


def chosen(row: Row, name: str, figure: str) -> NDArray[np.float64]:
    """A figure's values (N,), NaN where an image does not count."""
    return np.where(counted(row, name), np.asarray(row[figure], dtype=float), np.nan)


def summary(row: Row, name: str, figure: str) -> Interval:
    """The mean of a figure over the images that count, with its interval by image."""
    return mean(chosen(row, name, figure), generator=np.random.default_rng(0))


def further(cell: Mapping[str, Row], name: str) -> Interval:
    """By how much an attack does more of what it is for than what stands beside it."""
    kind = KINDS[name]
    pair = [kind.sign * chosen(cell[one], one, kind.figure) for one in (name, kind.against)]
    return difference(*pair, generator=np.random.default_rng(0))


def text(found: Interval) -> str:
    """An interval in a table; of what is withheld the mean alone, if there is one."""
    if found.count == 0:
        return ""
    if found.withheld is not None:
        return f"{found.estimate:.2f} (of {found.count})"
    return f"{found.estimate:.2f} ({found.low:.2f} to {found.high:.2f})"


def page(stored: Mapping[str, Row], order: list[tuple[str, str, int]]) -> str:
    """What each attack does of what it is for, and a table of all figures for each network and method."""
    header = ("ε · 255", "change", "answers that held", *FIGURES, "further")
    groups: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    short = []
    for network, method, epsilon in sorted(order, key=lambda one: one[2]):
        cell = {name: stored[key] for name in KINDS if (key := key_of(network, method, epsilon, name)) in stored}
        if len(cell) == len(KINDS):
            groups.setdefault((network, method), []).extend(_rows(cell, epsilon))
            short.append((f"{network}: {method}", str(epsilon), *_short(cell)))
    first = ("maps", "ε · 255", "topk: overlap", "centre: shift, pixels", "target_map: corner", "pgd", "held_map")
    parts = [
        f'<details markdown="1"><summary>{network}: {method}</summary>\n\n{results.table(header, rows)}\n</details>\n'
        for (network, method), rows in groups.items()
    ]
    return "\n".join([results.table(first, sorted(short)), *parts])


def _rows(cell: Mapping[str, Row], epsilon: int) -> Iterator[tuple[str, ...]]:
    for name, row in cell.items():
        held = f"{row['moved'].count(0.0)} of {len(row['moved'])}"
        figures = (text(summary(row, name, figure)) for figure in FIGURES)
        yield str(epsilon), name, held, *figures, text(further(cell, name)) if KINDS[name].against else ""


def _short(cell: Mapping[str, Row]) -> Iterator[str]:
    """Noise and attack by what each is about; then how many answers moved, and the SSIM of their maps."""
    for name in ("topk", "centre", "target_map"):
        figure = KINDS[name].figure
        pair = [summary(cell[one], one, figure).estimate for one in ("±ε noise", name)]
        yield f"{pair[0]:.2f} → {pair[1]:.2f}"
    for name in ("pgd", "held_map"):
        found = summary(cell[name], name, "ssim")
        yield f"{found.count} of {len(cell[name]['moved'])}" + (f"; SSIM {found.estimate:.2f}" if found.count else "")


def key_of(*parts: object) -> str:
    """What the values of a row are stored by."""
    return " | ".join(str(part) for part in parts)


def keep(path: Path, stored: Mapping[str, Row]) -> None:
    """Store all rows so far, one a line."""
    lines = (f"{json.dumps(key, ensure_ascii=False)}: {json.dumps(row)}" for key, row in stored.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(
    busi: Annotated[Path | None, typer.Option(help="Folder with busi/ and the network trained on it.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only cells that begin so: 'CNN, 64 px | gradcam | 2'.")
    ] = None,
) -> None:
    """Measure what is not stored yet, and write docs/results/map_attacks.md."""
    path = results.FOLDER / f"{NAME}.json"
    stored: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    about = subjects(busi)
    order = list(cells(about))
    for network, method, epsilon in order:
        if only and not key_of(network, method, epsilon).startswith(tuple(only)):
            continue
        for name, kind in KINDS.items():
            key = key_of(network, method, epsilon, name)
            if key in stored:
                continue
            subject = about[network]
            attack, maps = kind.attack(epsilon / 255), subject.methods[method][0]
            stored[key] = measured(pellucid.attack(subject.network(), subject.images(), attack, method=maps))
            keep(path, stored)
            typer.echo(f"{key}: {stored[key]['moved'].count(0.0)} held, SSIM {np.nanmean(stored[key]['ssim']):.3f}")
    results.write(NAME, page(stored, order))


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(main)
