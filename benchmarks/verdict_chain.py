"""A study as a data set of files, and what is measured of it: by the whole chain, or of its arrays alone."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image as Picture
from torch import Tensor

from benchmarks.verdict_studies import SIDE, Study
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.measured import Column, Finding, Measured, MetricFacts, Seen
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.by_masks import by_masks, of_random
from pellucid.evaluation.scoring.frame import packed
from pellucid.evaluation.scoring.mean_masks import MeanMasks
from pellucid.evaluation.scoring.measuring import measured
from pellucid.evaluation.scoring.partners import partners
from pellucid.export.csv_file import csv_file
from pellucid.metrics.pointing import PointingGame
from pellucid.priors.random import Random

METRIC = PointingGame()
PLAN = """prior = "mean_mask"
methods = [{methods}]
metrics = []
"""


def write(study: Study, folder: Path) -> Path:
    """Write a study as a table of files: cases.csv with images and masks, a folder of maps a method, and a plan."""
    rows = []
    for index, patient in enumerate(study.patients):
        name = f"images/{index:04}.png"
        _save(study.images[index], folder / name)
        _save(study.masks[index] * np.uint8(255), folder / f"masks/{index:04}.png")
        rows.append((name, study.labels[index], f"masks/{index:04}.png", patient))
        for method, maps in study.maps.items():
            path = folder / "maps" / method / f"images/{index:04}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, maps[index].astype(np.float32))
    methods = ", ".join(f'"{method}"' for method in study.maps)
    (folder / "plan.toml").write_text(PLAN.format(methods=methods))
    table = folder / "cases.csv"
    table.write_bytes(csv_file(("path", "label", "mask", "patient"), rows))
    return table


def _save(pixels: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.asarray(pixels)).save(path)


def command(folder: Path, methods: Iterable[str], output: Path) -> list[str]:
    """The command line that evaluates a written study, without the interpreter."""
    maps = [text for method in methods for text in ("--maps", f"{method}={folder / 'maps' / method}")]
    given = [str(folder / "cases.csv"), *maps, "--plan", str(folder / "plan.toml")]
    return ["evaluate", *given, "--no-report", "--quiet", "--output", str(output)]


def through_files(study: Study) -> Measured:
    """What is measured of a study that is written as files, read as a data set, and scored as any other."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        maps = {method: folder / "maps" / method for method in study.maps}
        data = read_data(write(study, folder), maps=maps)
        return measured(data, EvaluationPlan.of(folder / "plan.toml"))


def direct(study: Study) -> Measured:
    """What is measured of a study's arrays alone: the primary metric of the methods and of three priors."""
    masks = torch.from_numpy(study.masks)
    maps = {name: torch.from_numpy(one).float() for name, one in study.maps.items()}
    maps["mean_mask"] = _mean_masks(study, masks)
    maps["centre"] = _centre().expand(masks.shape)
    partner = partners(study.patients, 0)
    others = masks[torch.from_numpy(partner).clamp(min=0)]
    lone = partner < 0
    values = {name: {METRIC.name: _values(one, masks)} for name, one in maps.items()}
    shuffled = {name: np.where(lone, np.nan, _values(one, others)) for name, one in maps.items()}
    values["random"] = {METRIC.name: _random(masks)}
    shuffled["random"] = np.where(lone, np.nan, _random(others))
    return Measured(
        images=[
            Seen(f"{index:04}.png", patient, (label,))
            for index, (patient, label) in enumerate(zip(study.patients, study.labels, strict=True))
        ],
        findings=[
            Finding(index, label, float(mask.mean()))
            for index, (label, mask) in enumerate(zip(study.labels, study.masks, strict=True))
        ],
        methods=tuple(study.maps),
        priors=("mean_mask", "centre", "random"),
        metrics={METRIC.name: MetricFacts(METRIC.better, METRIC.proportion, METRIC.needs_mask)},
        primary=METRIC.name,
        values={"label": values},
        partners=partner[:, None],
        shuffled=shuffled,
        given=len(study.patients),
    )


def _mean_masks(study: Study, masks: Tensor) -> Tensor:
    """The mean mask (N, side, side) of the other patients, for each finding."""
    each = [(patient, packed(mask)) for patient, mask in zip(study.patients, masks, strict=True)]
    found = MeanMasks(each, (SIDE, SIDE))
    nothing = torch.full((SIDE, SIDE), torch.nan)
    maps = [found.of(patient) for patient in study.patients]
    return torch.stack([nothing if one is None else one for one in maps])


def _values(maps: Tensor, masks: Tensor) -> Column:
    return by_masks(METRIC, {"heatmaps": maps, "attributions": maps}, masks).numpy()


def _random(masks: Tensor) -> Column:
    return of_random(METRIC, Random(), masks, 0).numpy()


def _centre() -> Tensor:
    steps = torch.arange(SIDE) - (SIDE - 1) / 2
    return torch.exp(-(steps[:, None] ** 2 + steps**2) / (2 * (SIDE / 4) ** 2))
