"""``python -m benchmarks.grade_worth``: whether a map's own grade tells that its peak misses the finding.

Networks that learnt from labels alone explain drawn radiographs, each at the layer that is found. Of every finding that
a network detects, the map's grade (``pellucid.run.checks.grade``, which sees no mask) and whether its peak hits, which
only the mask tells. The AUROC is that of the grades for hits against misses, with an interval by image. What was
measured of each map is cached, and a run that was interrupted goes on.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch import Tensor, nn

import pellucid
from benchmarks import results
from pellucid import phantom, statistics
from pellucid.core.grade import FILE, GRADE
from pellucid.demo.study import HALF, HALF_A_CELL
from pellucid.metrics.pointing import pointing_hits
from pellucid.phantom.models import SIDE, UNGUIDED
from pellucid.phantom.training import normalised

NAME = "grade_worth"
CACHE = results.FOLDER.parent / ".cache" / NAME
METHODS: Mapping[str, int] = {"gradcam": 600, "hirescam": 600, "saliency": 1000, "integrated_gradients": 150}
"""The drawn radiographs of each method: the first of the same ones."""
SEED = 90_000_000
FEWEST = 100
"""The misses that a row needs."""
_BATCH = 32
_DRAWS = 1000


@dataclass(frozen=True)
class Maps:
    """What was measured of maps: the image of each, whether its peak hits, its grade (NaN of none)."""

    image: tuple[int, ...] = ()
    hit: tuple[bool, ...] = ()
    grade: tuple[float, ...] = ()

    def __add__(self, other: Maps) -> Maps:
        return Maps(self.image + other.image, self.hit + other.hit, self.grade + other.grade)


@dataclass(frozen=True)
class Row:
    """A row of the table. ``maps`` are all, ``misses`` those of them whose peak misses.

    ``ungraded`` have no grade, of which ``ungraded_misses`` miss: the AUROC is of the others.
    """

    maps: int
    misses: int
    ungraded: int
    ungraded_misses: int
    auroc: float
    low: float
    high: float

    @classmethod
    def of(cls, found: Maps) -> Row:
        """The row of some maps; NaN in place of what is withheld."""
        grades, hits = np.array(found.grade), np.array(found.hit)
        area = statistics.auroc(grades, hits.astype(float), found.image)
        none = np.isnan(grades)
        counts = (len(hits), int((~hits).sum()), int(none.sum()), int((none & ~hits).sum()))
        return cls(*counts, *(round(float(value), 4) for value in (area.estimate, area.low, area.high)))

    @classmethod
    def over(cls, each: Sequence[Maps]) -> Row:
        """The row of several networks: the mean of their AUROCs, with a bootstrap of the images.

        Pooled grades would tell networks apart, of which one has more misses and lower grades than another. Those with
        too few hits or misses for an interval of their own are left out of the mean.
        """
        counts = cls.of(sum(each, Maps()))
        pairs = [Pairs.of(one) for one in each if math.isfinite(cls.of(one).low)]
        last = max(one.images for one in pairs)
        rng = np.random.default_rng(0)
        draws = [np.bincount(rng.integers(last, size=last), minlength=last) for _ in range(_DRAWS)]
        areas = [float(np.mean([one.area(weights) for one in pairs])) for weights in (np.ones(last), *draws)]
        low, high = np.quantile(areas[1:], (0.025, 0.975))
        return replace(counts, auroc=round(areas[0], 4), low=round(float(low), 4), high=round(float(high), 4))

    @property
    def is_enough(self) -> bool:
        """Whether as many misses have a grade as a row needs."""
        return self.misses - self.ungraded_misses >= FEWEST


@dataclass(frozen=True, eq=False)
class Pairs:
    """All pairs of a hit and a miss: ``won`` (hits, misses) is 1 where the hit has the higher grade, ½ for ties.

    ``hits`` and ``misses`` are the numbers of their images.
    """

    won: NDArray[np.float64]
    hits: NDArray[np.int64]
    misses: NDArray[np.int64]

    @classmethod
    def of(cls, found: Maps) -> Pairs:
        """Those of the maps that have a grade."""
        grades, hit, image = np.array(found.grade), np.array(found.hit), np.array(found.image)
        one, other = hit & ~np.isnan(grades), ~hit & ~np.isnan(grades)
        apart = grades[one][:, None] - grades[other]
        return cls((apart > 0) + 0.5 * (apart == 0), image[one], image[other])

    @property
    def images(self) -> int:
        """One more than the largest number of an image."""
        return int(max(self.hits.max(), self.misses.max())) + 1

    def area(self, weights: NDArray[Any]) -> float:
        """The AUROC with a weight for each image."""
        hits, misses = weights[self.hits], weights[self.misses]
        return float(hits @ self.won @ misses / (hits.sum() * misses.sum()))


def measured(network: nn.Module, method: str, drawn: phantom.Phantoms, count: int) -> Maps:
    """Explain the findings that a network detects in the first images, a finding after the other."""
    found = Maps()
    for finding in range(len(phantom.FINDINGS)):
        shown = drawn.labels[:count, finding].nonzero()[:, 0]
        for numbers in torch.split(shown, _BATCH):
            found += _of_batch(network, method, drawn, finding, numbers)
    return found


def _of_batch(network: nn.Module, method: str, drawn: phantom.Phantoms, finding: int, numbers: Tensor) -> Maps:
    images = normalised(drawn.images[numbers])
    with torch.no_grad():
        detected = network(images)[:, finding].sigmoid() >= HALF
    if not detected.any():
        return Maps()
    chosen = numbers[detected]
    explanation = pellucid.explain(network, images[detected], method, finding, head="sigmoid", checks=[GRADE])
    hits = pointing_hits(explanation.heatmaps[:, 0], drawn.masks[chosen, finding], HALF_A_CELL)
    grades = explanation.checks[GRADE][:, 0]
    return Maps(tuple(chosen.tolist()), tuple(hits.tolist()), tuple(round(one, 5) for one in grades.tolist()))


def cached(name: str, method: str, drawn: phantom.Phantoms) -> Maps:
    """The maps of a network by a method, measured unless they were before."""
    file = CACHE / f"{name}-{method}.json"
    if not file.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = measured(UNGUIDED[name].trained(), method, drawn, METHODS[method])
        file.write_text(json.dumps(asdict(made)))
    stored = json.loads(file.read_text())
    return Maps(tuple(stored["image"]), tuple(stored["hit"]), tuple(stored["grade"]))


def rows(found: Mapping[tuple[str, str], Maps]) -> dict[str, Row]:
    """A row for each network and method, "NETWORK/METHOD", and one for each method."""
    made = {f"{name}/{method}": Row.of(own) for (name, method), own in found.items()}
    for method in dict.fromkeys(method for _, method in found):
        made[method] = Row.over([own for (_, each), own in found.items() if each == method])
    return made


def shipped(known: Mapping[str, Row]) -> dict[str, dict[str, float]]:
    """What the package states: the rows that have enough misses."""
    return {
        name: {"auroc": one.auroc, "low": one.low, "high": one.high, "maps": one.maps, "misses": one.misses}
        for name, one in known.items()
        if one.is_enough
    }


def page(known: Mapping[str, Row], machine: str) -> str:
    """The table, and what it was made with."""
    header = ("network", "method", "maps", "misses", "without a grade (misses)", "AUROC (95 % interval)")
    images = ", ".join(f"{count} for `{method}`" for method, count in METHODS.items())
    lines = [(*_titled(name), *_figures(one)) for name, one in known.items()]
    return (
        f"{results.table(header, lines)}\nDrawn radiographs of {SIDE} × {SIDE} pixels (seed {SEED}; {images}), and the "
        f"maps of all findings that the network detects (probability at least {HALF}), each method at the layer that "
        f"is found. A peak misses where it lies more than {HALF_A_CELL:.0f} pixels from the finding. The AUROC is of "
        f"maps that have a grade, with an interval by image; of all networks it is "
        f"the mean of theirs. Made by `python -m benchmarks.{NAME}` on {machine}.\n"
    )


def _titled(name: str) -> tuple[str, str]:
    network, _, method = name.rpartition("/")
    return (f"`{network}`", f"`{method}`") if network else ("**all**", f"`{method}`")


def _figures(one: Row) -> Sequence[str]:
    area = f"{one.auroc:.2f} ({one.low:.2f} to {one.high:.2f})" if one.is_enough else f"fewer than {FEWEST} misses"
    return str(one.maps), str(one.misses), f"{one.ungraded} ({one.ungraded_misses})", area


def read() -> tuple[dict[str, Row], str]:
    """The rows that were stored, and the machine that made them."""
    stored = json.loads((results.FOLDER / f"{NAME}.json").read_text())
    return {name: Row(**one) for name, one in stored["rows"].items()}, stored["machine"]


def _machine() -> str:
    return f"one core of a CPU ({platform.machine()}), torch {torch.__version__}"


def _cells() -> Iterator[tuple[str, str]]:
    return ((name, method) for method in METHODS for name in UNGUIDED)


def main() -> None:
    """Measure what has not been measured; write docs/results/grade_worth.md, its JSON, and the package's file."""
    drawn = phantom.radiographs(max(METHODS.values()), SIDE, SEED)
    found = {}
    for name, method in _cells():
        found[name, method] = cached(name, method, drawn)
        typer.echo(f"{name} {method}: {Row.of(found[name, method])}")
    made = {"machine": _machine(), "rows": {name: asdict(one) for name, one in rows(found).items()}}
    (results.FOLDER / f"{NAME}.json").write_text(json.dumps(made, indent=1) + "\n")
    publish(*read())


def publish(known: Mapping[str, Row], machine: str) -> None:
    """Write the page's table, and the file of the package."""
    results.write(NAME, page(known, machine))
    FILE.write_text(json.dumps(shipped(known), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
