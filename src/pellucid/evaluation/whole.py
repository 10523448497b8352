"""``evaluate_data``: a data set in, an ``Evaluation`` out, with its tables and examples in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from pellucid.core.default_device import on_cpu_by_default
from pellucid.errors import OutputExistsError
from pellucid.evaluation.case import Data
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.files import CSV, JSON, to_json, write_scores
from pellucid.evaluation.judging.judging import judged
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.published import by_chexlocalize, check_protocol
from pellucid.evaluation.scoring.examples import FOLDER, OWN_NAMES, examples
from pellucid.evaluation.scoring.journal import NAME as JOURNAL
from pellucid.evaluation.scoring.measuring import Looked
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.survey import Progress, silent
from pellucid.export.writing import write
from pellucid.models.preprocessing import Preprocessing


@on_cpu_by_default
def evaluate_data(
    data: Data,
    plan: EvaluationPlan,
    *,
    network: Network | None = None,
    preprocessing: Preprocessing | None = None,
    labels: Mapping[str, str] | None = None,
    folder: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    protocol: str | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Measure and judge the maps of a data set: what ``pellucid evaluate`` does, but for the report.

    Args:
        data: the cases, as ``read_data`` makes them.
        plan: what is measured and what it is compared with. Its figures are exploratory unless it was read from a file.
        network: the model; None where maps of all methods were made before.
        preprocessing: without a model, how images become the grid; None: as they are.
        labels: classes of the model by the labels of the data set, where their names differ.
        folder: where scores.csv, scores.json and the examples are written, and scores kept while they are made, so that
            a run that was killed goes on; None: nowhere.
        overwrite: replace another evaluation in the folder.
        protocol: also score by a published recipe: "chexlocalize".
        progress: called with what is done, how many of it are, and of how many.

    Raises:
        DataError: no finding can be scored, or a patient is in two splits.
        OptionError: the plan names what there is not, or images differ in size.
        OutputExistsError: there is another evaluation in the folder, and ``overwrite`` is false.

    >>> import pellucid
    >>> from pellucid import phantom
    >>> from pellucid.evaluation.data.reading import read_data
    >>> model = phantom.models.unguided_cnn()
    >>> network = Network(model, pellucid.model_info(model).preprocessing)
    >>> plan = EvaluationPlan(methods=("gradcam",), metrics=(), gates=())
    >>> found = evaluate_data(read_data("phantoms:6:50000000"), plan, network=network)
    >>> found.flow.findings, found.rows[0].verdict.claim.value
    (7, 'not shown')
    """
    check_protocol(protocol)
    place = None if folder is None else Path(folder)
    if place is not None and not overwrite:
        check_free(place, (CSV, FOLDER))
    looked = Looked.of(data, plan, network=network, preprocessing=preprocessing, labels=labels, progress=progress)
    measured = looked.measured(place, progress)
    evaluation = judged(measured, plan, planned=plan.file_digest is not None, plan_digest=plan.digest)
    shown, files = examples(looked, measured)
    recipe = by_chexlocalize(looked, progress) if protocol is not None else {}
    failures = tuple(one for one in measured.excluded if one.failed)
    evaluation = replace(evaluation, examples=shown, protocols=recipe, failures=failures)
    if place is not None:
        again = overwrite or _is_same(place, evaluation)
        if files:  # that were there before are of this evaluation, see above
            write(place / FOLDER, files, True, lambda: _earlier(place / FOLDER))
        write_scores(evaluation, place, overwrite=again)
    return evaluation


def _earlier(folder: Path) -> list[str]:
    """The examples that are there: none of other cases or methods may stay beside the new ones."""
    return [path.name for path in folder.iterdir() if OWN_NAMES.fullmatch(path.name) and path.is_file()]


def check_free(folder: Path, names: Iterable[str]) -> None:
    """Raise ``OutputExistsError`` if there are files of such names in a folder in which no evaluation was begun.

    Where one was, they are its own: they are replaced when it goes on.
    """
    if any(os.path.lexists(folder / name) for name in (JOURNAL, JSON)):
        return
    for name in names:
        if os.path.lexists(folder / name):
            raise OutputExistsError(
                f"{folder / name} is already there: remove it, replace it with overwrite=True, or write to another "
                "folder"
            )


def _is_same(folder: Path, evaluation: Evaluation) -> bool:
    """Whether this evaluation is in the folder already. ``OutputExistsError``: another one is."""
    path = folder / JSON
    if not path.is_file():
        return False
    content = to_json(evaluation)
    if path.stat().st_size == len(content) and path.read_bytes() == content:
        return True
    raise OutputExistsError(
        f"{path}: there is another evaluation: replace it with overwrite=True, or write to another folder"
    )
