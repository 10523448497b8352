"""``robustness_of``: a data set in, a ``Robustness`` out, with its tables in a folder."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pellucid.core import catalogue
from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.provenance import architecture, digest, versions
from pellucid.errors import OutputExistsError
from pellucid.evaluation.case import Data, Exclusion
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.survey import Progress, silent
from pellucid.evaluation.unit import unit_of
from pellucid.models.sources import model_info
from pellucid.robustness.files import CSV, JSON, to_json, write_scores
from pellucid.robustness.judging import between_of, clean_of, levels_of, scores_of, together_of, worst_of
from pellucid.robustness.measuring import NAME as JOURNAL
from pellucid.robustness.measuring import Measured, measured
from pellucid.robustness.plan import RobustnessPlan, settings_of
from pellucid.robustness.result import Robustness

_FEW = 20
"""Patients with fewer of which most intervals are withheld."""


@on_cpu_by_default
def robustness_of(
    data: Data,
    plan: RobustnessPlan,
    network: Network,
    *,
    labels: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Robustness:
    """Change the images of a data set, and measure how far answers and maps move: what ``pellucid robustness`` does.

    Each map explains the class that the model predicts of the image as it is. Pixels are changed in [0, 1], before the
    network's normalisation, ``network.preprocessing``.

    Args:
        data: the cases, as ``read_data`` makes them; masks and labels are not needed, but for hit rates.
        plan: the methods, and the changes with their budgets.
        network: the model.
        labels: classes of the model by the labels of the data set, where their names differ.
        folder: where scores.csv and robustness.json are written, and values kept while they are made, so that a run
            that was killed goes on; None: nowhere.
        overwrite: replace another result in the folder.
        progress: called with what is done, how many of it are, and of how many.

    Raises:
        DataError: no image can be used.
        OptionError: images differ in size; a method or an attack is not possible for the model.
        ShapeError: the pixels of an image are outside [0, 1] before normalisation.
        OutputExistsError: there is another result in the folder, and ``overwrite`` is false.

    >>> import pellucid
    >>> from pellucid import phantom
    >>> from pellucid.evaluation import read_data
    >>> model = phantom.models.exclusive_cnn_64()
    >>> network = Network(model, pellucid.model_info(model).preprocessing)
    >>> plan = RobustnessPlan(changes=("noise",), budgets={"noise": (0.0, 0.1)})
    >>> found = robustness_of(read_data("phantoms:exclusive:3"), plan, network)
    >>> [round(one.figures["ssim"].estimate, 2) for one in found.levels][0]
    1.0
    """
    place = None if folder is None else Path(folder)
    if place is not None and not overwrite:
        check_free(place, (CSV,))
    found = _result(data, plan, measured(data, plan, network, labels or {}, place, progress))
    if place is not None:
        write_scores(found, place, overwrite=overwrite or _is_same(place, found))
    return found


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Raise ``OutputExistsError`` if there are files of such names in a folder in which no measurement was begun."""
    if any(os.path.lexists(folder / name) for name in (JOURNAL, JSON)):
        return
    for name in names:
        if os.path.lexists(folder / name):
            raise OutputExistsError(
                f"{folder / name} is already there: remove it, replace it with overwrite=True, or write to another "
                "folder"
            )


def _is_same(folder: Path, found: Robustness) -> bool:
    """Whether this result is in the folder already. ``OutputExistsError``: another one is."""
    path = folder / JSON
    if not path.is_file():
        return False
    if path.read_bytes() == to_json(found):
        return True
    raise OutputExistsError(
        f"{path}: there is another result: replace it with overwrite=True, or write to another folder"
    )


def _result(data: Data, plan: RobustnessPlan, found: Measured) -> Robustness:
    looked, steps = found.looked, found.scorer.steps
    return Robustness(
        plan=plan,
        given=len(data.cases) + len(data.excluded),
        images=len(looked.cases),
        patients=len(set(looked.patients)),
        masked=len(looked.masks),
        excluded=_by_reason(looked.excluded),
        units={step.change: step.unit for step in steps},
        attacks=tuple(dict.fromkeys(step.change for step in steps if step.is_attack)),
        clean=clean_of(found, plan.seed),
        between=between_of(found, plan.seed),
        levels=tuple(levels_of(found, plan.seed)),
        together=tuple(together_of(found)),
        worst=tuple(worst_of(found)),
        missing=found.missing,
        notes=tuple(found.notes),
        limits=tuple(_limits(found)),
        provenance=_provenance(data, found),
        patients_stated=looked.patients_stated,
        scores=tuple(scores_of(found)),
        failures=tuple(looked.failures),
    )


def _by_reason(excluded: Sequence[Exclusion]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in excluded:
        found[one.reason].append(one.name)
    return dict(found)


def _limits(found: Measured) -> Iterator[str]:
    looked, steps = found.looked, found.scorer.steps
    patients, unit = len(set(looked.patients)), unit_of(looked.patients_stated)
    if unit.means:
        yield unit.means
    if patients < _FEW:
        yield f"There are {unit.counted(patients)}: with fewer than {_FEW} most intervals are withheld."
    if not looked.masks:
        yield "No image has a mask of the class that the model predicts: hit rates are not known."
    if not any(step.is_attack for step in steps):
        yield "No attack was asked for: how far an opponent can move answers and maps is not known."
    if any(step.by_method for step in steps) and any(one.made_from != "model" for one in found.scorer.methods.values()):
        yield "Priors never ask the model: attacks on maps have nothing to search there, and no values."
    yield (
        "An attack finds a bound from one side: a map or an answer that it does not move may be moved by another one."
    )
    yield "Maps explain the class that was predicted before the change, also where the answer moved."
    yield "These are the images of one data set: how far answers and maps of others move is not known."


def _provenance(data: Data, found: Measured) -> dict[str, Any]:
    """What the result was made with, without a path."""
    scorer = found.scorer
    network = scorer.network
    return {
        "data set": {"form": data.form, "cases": len(data.cases), "phantoms": data.drawn},
        "preprocessing": asdict(network.preprocessing),
        "methods": {
            name: {"options": catalogue.settings(one), "layers": list(found.layers.get(name, ()))}
            for name, one in scorer.methods.items()
        },
        "changes": {step.change: settings_of(step) for step in scorer.steps},
        "model": {
            "architecture": architecture(network.model),
            "weights": model_info(network.model).weights,
            "weights SHA-256": digest(network.model),
            "head": network.head,
            "runtime": {"device": network.runtime.device, "precision": network.runtime.precision},
        },
        "versions": versions(),
    }
