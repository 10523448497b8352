"""``pellucid evaluate``: whether maps are better than knowing nothing, on images whose findings are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.completing import among
from pellucid.cli.computing import BatchSize, Device
from pellucid.cli.console import guarded, printable, tell_of_page
from pellucid.cli.data_sets import (
    DATA_PANEL,
    Computation,
    DataForm,
    DataSet,
    ImageFolder,
    LabelClass,
    MaskFolder,
    pairs,
    progress_bar,
    report_failures,
    split_names,
)
from pellucid.cli.modelling import Activation, Checkpoint, Classes, Head, Model, ModelOutput, Weights, WeightsKey
from pellucid.cli.preparing import (
    Channels,
    Crop,
    Mean,
    NnUNetPlans,
    Orientation,
    Range,
    Size,
    Spacing,
    Std,
    preparation,
)
from pellucid.cli.tracked import MLflow, check_mlflow, log_to_mlflow
from pellucid.cli.writing import Output, Overwrite, Quiet, Report
from pellucid.errors import OptionError, counted

if TYPE_CHECKING:
    from pellucid.cli.preparing import Preparation
    from pellucid.evaluation.evaluation import Evaluation
    from pellucid.evaluation.plan import EvaluationPlan
    from pellucid.models.preprocessing import Preprocessing

PLAN_PANEL = "Plan"
EXAMPLES = (
    "pellucid evaluate cases.csv --checkpoint best.pt --output verdict",
    "pellucid evaluate cases.csv --maps mine=maps --plan plan.toml --output mine",
    "pellucid evaluate phantoms:8 --maps mine=drawn --output phantoms",
)
Text = str | None


def evaluate(  # noqa: PLR0913  # a command's options are its parameters
    data: DataSet,
    output: Output,
    form: DataForm = None,
    images: ImageFolder = None,
    masks: MaskFolder = None,
    maps: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METHOD=FOLDER",
            help="Maps of a method that were made before: a .npy or .npz file for each image. May be repeated.",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    label: LabelClass = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Plan (TOML), fixed before the scores are seen. Without one, all figures are exploratory.",
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "--method",
            metavar="NAMES",
            help="Methods, with commas between them, or all; see `pellucid methods` (default: gradcam).",
            rich_help_panel=PLAN_PANEL,
            autocompletion=among("methods", "all"),
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            "--metric",
            metavar="NAMES",
            help="Exploratory metrics, with commas between them, such as iou,deletion_auc(steps=10).",
            rich_help_panel=PLAN_PANEL,
            autocompletion=among("metrics"),
        ),
    ] = None,
    primary: Annotated[
        Text,
        typer.Option(
            metavar="METRIC",
            help="Metric of the verdict (default: pointing_game, the share of maps whose peak is in the finding).",
            rich_help_panel=PLAN_PANEL,
            autocompletion=among("metrics"),
        ),
    ] = None,
    tolerance: Annotated[
        Text,
        typer.Option(
            metavar="DISTANCE",
            help="How far beside the finding the peak may be: '15 px' of the model's input, '2 %' of its diagonal, or "
            "'5 mm' (default: 0 px).",
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None,
    target: Annotated[
        Text,
        typer.Option(
            metavar="CLASS",
            help="Class whose maps give the verdict: label, the annotated one, or predicted. Both are measured "
            "(default: label).",
            rich_help_panel=PLAN_PANEL,
        ),
    ] = None,
    protocol: Annotated[
        Text,
        typer.Option(
            metavar="NAME",
            help="Also score by a published recipe: {protocols}.",
            rich_help_panel=PLAN_PANEL,
            autocompletion=among("protocols"),
        ),
    ] = None,
    model: Model = None,
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    activation: Activation = None,
    weights: Weights = "none",
    classes: Classes = None,
    head: Head = "auto",
    model_output: ModelOutput = None,
    size: Size = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    range_: Range = None,
    channels: Channels = None,
    orientation: Orientation = None,
    spacing: Spacing = None,
    nnunet_plans: NnUNetPlans = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    overwrite: Overwrite = False,
    page: Report = True,
    mlflow: MLflow = None,
    quiet: Quiet = False,
) -> None:
    """Judge maps on a data set with masks or boxes: better than knowing where findings usually are, or not shown.

    Writes report.html, scores.csv, scores.json and the figures. A run that was interrupted goes on when it is started
    again. Localisation explains the annotated class and, as a second row, the predicted one. Patients are the units of
    all statistics: name them in the data set.
    """
    with guarded():
        check_mlflow(mlflow)
        from pellucid.evaluation.data.reading import read_data
        from pellucid.evaluation.whole import check_free, evaluate_data
        from pellucid.export.writing import check_writable
        from pellucid.report.evaluation import FIGURES, PAGE, write_report
        from pellucid.tracking.results import log_evaluation

        given = preparation(size, crop, mean, std, range_, channels, orientation, spacing, nnunet_plans)
        made_before = {name: Path(folder) for name, folder in pairs("--maps", "METHOD=FOLDER", maps)}
        classes_of = dict(pairs("--label", "LABEL=CLASS", label))
        has_model = model is not None or checkpoint is not None
        lists = {"methods": split_names(methods), "metrics": split_names(metrics)}
        texts = {"primary": primary, "tolerance": tolerance, "target": target}
        asked = _plan(plan, {**lists, **texts}, [] if has_model else list(made_before))
        check_writable(output)
        if page and not overwrite:
            check_free(output, (PAGE, FIGURES))
        read = read_data(data, form=form, images=images, masks=masks, maps=made_before, labels=classes_of)
        network = loaded = None
        if has_model:
            from pellucid.cli.request import prepared_model

            place = Computation.of(device, batch_size)
            loaded = prepared_model(model, checkpoint, weights_key, activation, weights, place.device)
            network = place.network(loaded, given, classes, head, model_output)
        with progress_bar(quiet) as progress:
            found = evaluate_data(
                read,
                asked,
                network=network,
                preprocessing=None if has_model else _grid(given),
                labels=classes_of,
                folder=output,
                overwrite=overwrite,
                protocol=protocol,
                progress=progress,
            )
        path = write_report(found, output, overwrite=True) if page else None
        log_to_mlflow(mlflow, output, "evaluate", loaded, lambda tracker: log_evaluation(found, output, tracker))
        if not quiet:
            _show(found, path)
        raise typer.Exit(report_failures(found.failures))


def _plan(
    path: Path | None, options: Mapping[str, list[str] | str | None], made_before: Sequence[str]
) -> EvaluationPlan:
    """The plan of a file, or of the options; ``made_before`` are the methods where none is named."""
    from pellucid.evaluation.plan import EvaluationPlan

    stated = {name: value for name, value in options.items() if value}
    if path is None:
        methods = {"methods": made_before} if made_before else {}
        return replace(EvaluationPlan(), **{**methods, **stated})  # type: ignore[arg-type]  # each by its own name
    if stated:
        raise OptionError(f"--plan {path} and --{next(iter(stated))} were given; the plan states it: leave one out")
    return EvaluationPlan.of(path)


def _grid(given: Preparation) -> Preprocessing:
    """How images become the grid without a model: as they are, or of the size that is given."""
    from pellucid.models.preprocessing import Preprocessing

    return given.applied(Preprocessing(), 2)


def _show(found: Evaluation, page: Path | None) -> None:
    """The verdicts, a line for each method, and where the report is."""
    flow = found.flow
    left_out = sum(map(len, flow.excluded.values()))
    typer.echo(
        printable(
            f"{counted(flow.images, 'image')} {found.unit.of(flow.patients, 'image')}: "
            f"{counted(flow.findings, 'finding')}, {counted(flow.lesion_free, 'image')} without one; "
            f"{left_out} left out"
        )
    )
    for row in found.rows:
        if row.verdict is not None:
            typer.echo(printable(str(row.verdict)))
    for note in found.notes:
        typer.echo(printable(note))
    tell_of_page(page)
