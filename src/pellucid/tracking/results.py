"""Logs what the command line wrote: the maps of a folder, an evaluation, how far maps move; a run within for a method.

What is sent names no patient, and no file in a key or parameter: images are numbered in the order of their files. The
reports are sent as they are, and name the images' files; the tables, with the patients' names, are not sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pellucid.evaluation import Evaluation
from pellucid.report.maps import Map
from pellucid.report.reading import read_maps
from pellucid.robustness.result import Robustness
from pellucid.statistics import Interval
from pellucid.tracking.explanations import layers_of
from pellucid.tracking.tracker import Parameter, Tracker

FOLDER = "tracking"
"""The folder of the journals, in the folder of the results."""
MOST_IMAGES = 200
"""The most overlays of a run: a server's page shows no more at a time. All others stay on the disk."""
_SUMMARY = ("index.html",)
_REPORT = ("report.html",)
"""Pages without a patient's name. The tables, which have a column of them, stay on the disk."""


def log_results(folder: Path, tracker: Tracker) -> None:
    """Log the maps of a folder that ``pellucid explain`` wrote, and its page."""
    maps = read_maps(folder)[0]
    numbers = {image: number for number, image in enumerate(dict.fromkeys(one.image for one in maps))}
    tracker.parameters({"images": len(numbers), "maps": len(maps)})
    for method in dict.fromkeys(one.method for one in maps):
        own = [one for one in maps if one.method == method]
        run = tracker.child(method)
        run.parameters({"method": method, **_settings(own[0])})
        run.metrics({"degenerate": sum(bool(one.degenerate) for one in own) / len(own)})
        for one in own[:MOST_IMAGES]:
            _overlay(folder, one, f"{numbers[one.image]}/{one.name or one.index}", run)
        run.close()
    _files(folder, _SUMMARY, tracker)


def log_evaluation(found: Evaluation, folder: Path, tracker: Tracker) -> None:
    """Log the figures and verdicts of an evaluation, and its report."""
    tracker.parameters({"images": found.flow.images, "findings": found.flow.findings, "patients": found.flow.patients})
    tracker.parameters(_plain({"plan": vars(found.plan), **found.provenance}))
    for row in found.rows:
        run = tracker.child(row.method)
        run.parameters(
            {"method": row.method, "prior": row.is_prior, "verdict": str(row.verdict or row.no_verdict or "")}
        )
        for target, figures in row.figures.items():
            run.metrics(_figures({f"{target}/{name}": one for name, one in figures.items()}))
        run.close()
    _files(folder, _REPORT, tracker)
    _drawings(folder, tracker)


def log_robustness(found: Robustness, folder: Path, tracker: Tracker) -> None:
    """Log how far answers and maps move: the n-th level of each change is step n."""
    tracker.parameters({"images": found.images, "patients": found.patients})
    tracker.parameters(_plain({"plan": vars(found.plan), **found.provenance}))
    for method in found.methods:
        run = tracker.child(method)
        run.parameters({"method": method})
        run.metrics(_figures(found.clean[method]))
        for change in found.changes:
            for step, level in enumerate(found.at(method, change)):
                run.metrics(_figures({f"{change}/{name}": one for name, one in level.figures.items()}), step)
                run.metrics({f"{change}/level": level.level}, step)
        run.close()
    _files(folder, _REPORT, tracker)
    _drawings(folder, tracker)


def _settings(one: Map) -> dict[str, Parameter]:
    """What a map was made with, as the page states it."""
    named = {name.replace(": ", "."): value for name, value in one.settings}
    return layers_of(one.layers) | {"model": one.model} | _plain(named)


def _overlay(folder: Path, one: Map, key: str, run: Tracker) -> None:
    path = folder / one.path_of(one.overlay)
    if not one.overlay or not path.is_file() or path.is_symlink():
        return
    with Image.open(path) as image:
        run.image(key, image.convert("RGB"))


def _figures(figures: Mapping[str, Interval]) -> dict[str, float]:
    """The estimates, and the ends of their intervals; those that are withheld are not finite, and left out."""
    found: dict[str, float] = {}
    for name, one in figures.items():
        found |= {name: one.estimate, f"{name}/low": one.low, f"{name}/high": one.high, f"{name}/n": float(one.count)}
    return found


def _files(folder: Path, names: Sequence[str], tracker: Tracker) -> None:
    for name in names:
        if (folder / name).is_file():
            tracker.file(folder / name, "report")


def _drawings(folder: Path, tracker: Tracker) -> None:
    for path in sorted((folder / "figures").glob("*.png"))[:MOST_IMAGES]:
        tracker.file(path, "report/figures")


# What may name files or patients: a plan's splits by path, the data set, folders.
_PRIVATE = re.compile(r"data|path|folder|file|patient", re.IGNORECASE)


def _plain(values: Mapping[str, Any], before: str = "") -> dict[str, Parameter]:
    """Nested values under names joined by dots; paths and what names the data are left out."""
    return dict(_each(values, before))


def _each(values: Mapping[str, Any], before: str) -> Iterator[tuple[str, Parameter]]:
    for name, value in values.items():
        key = f"{before}{name}"
        if _PRIVATE.search(str(name)) or value is None:
            continue
        if isinstance(value, Mapping):
            yield from _each(value, f"{key}.")
        elif isinstance(value, (bool, int, float, str)):
            yield key, value
        elif isinstance(value, (list, tuple)) and all(isinstance(one, (str, int, float)) for one in value):
            yield key, ", ".join(map(str, value))
