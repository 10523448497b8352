"""``pellucid robustness``: how far answers and maps move when images are changed, or attacked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.completing import among
from pellucid.cli.computing import BatchSize, Device
from pellucid.cli.console import guarded, printable, tell_of_page
from pellucid.cli.data_sets import (
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
from pellucid.cli.preparing import Channels, Crop, Mean, Orientation, Range, Size, Spacing, Std, preparation
from pellucid.cli.tracked import MLflow, check_mlflow, log_to_mlflow
from pellucid.cli.writing import Output, Overwrite, Quiet, Report
from pellucid.errors import OptionError, counted

if TYPE_CHECKING:
    from torch import nn

    from pellucid.robustness.plan import RobustnessPlan
    from pellucid.robustness.result import Robustness

CHANGES_PANEL = "Changes"
EXAMPLES = (
    "pellucid robustness cases.csv --checkpoint best.pt --range 0,1 -o moved",
    "pellucid robustness cases.csv --checkpoint best.pt --std 1 --change pgd -o p",
)
_BUDGETS = "write --budgets CHANGE=LEVEL,…, as in noise=0.01,0.1 or pgd=1/255,2/255"


def robustness(  # noqa: PLR0913  # a command's options are its parameters
    data: DataSet,
    output: Output,
    form: DataForm = None,
    images: ImageFolder = None,
    masks: MaskFolder = None,
    label: LabelClass = None,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "--method",
            metavar="NAMES",
            help="Methods and priors, with commas between them, or all; see `pellucid methods` (default: gradcam).",
            rich_help_panel=CHANGES_PANEL,
            autocompletion=among("methods", "all"),
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--changes",
            "--change",
            metavar="NAMES",
            help="Changes, with commas between them: {changes}, or all of these; and attacks, such as pgd(steps=20): "
            "{attacks} (default: all,pgd).",
            rich_help_panel=CHANGES_PANEL,
            autocompletion=among("changes", "all"),
        ),
    ] = None,
    budgets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CHANGE=LEVELS",
            help="Growing strengths of a change, or ε of an attack, with commas between them, as in pgd=1/255,2/255 "
            "(default: the change's own). May be repeated.",
            rich_help_panel=CHANGES_PANEL,
        ),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            "--metric",
            metavar="NAMES",
            help="Comparisons of two maps beside ssim, with commas between them (default: spearman, pearson, "
            "topk_overlap, centre_shift).",
            rich_help_panel=CHANGES_PANEL,
            autocompletion=among("metrics"),
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Seed of the noise and of the attacks' starts.", rich_help_panel=CHANGES_PANEL)
    ] = 0,
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
    device: Device = "auto",
    batch_size: BatchSize = None,
    overwrite: Overwrite = False,
    page: Report = True,
    mlflow: MLflow = None,
    quiet: Quiet = False,
) -> None:
    """Change and attack the images of a data set with growing budgets, and measure how far answers and maps move.

    Writes report.html, scores.csv, robustness.json and the figures. A run that was interrupted goes on when it is
    started again. Maps explain the class that is predicted of the image as it is. Budgets are in pixels in [0, 1],
    before normalisation, which has to be known.
    """
    with guarded():
        check_mlflow(mlflow)
        from pellucid.cli.request import prepared_model
        from pellucid.evaluation.data.reading import read_data
        from pellucid.export.writing import check_writable
        from pellucid.report.evaluation import FIGURES, PAGE
        from pellucid.report.robustness import write_robustness
        from pellucid.robustness.whole import check_free, robustness_of
        from pellucid.tracking.results import log_robustness

        given = preparation(size, crop, mean, std, range_, channels, orientation, spacing)
        classes_of = dict(pairs("--label", "LABEL=CLASS", label))
        asked = _plan(methods, changes, budgets, metrics, seed)
        check_writable(output)
        if page and not overwrite:
            check_free(output, (PAGE, FIGURES))
        read = read_data(data, form=form, images=images, masks=masks, labels=classes_of, is_localised=False)
        place = Computation.of(device, batch_size)
        loaded = prepared_model(model, checkpoint, weights_key, activation, weights, place.device)
        _check_normalisation(loaded, given.valued)
        network = place.network(loaded, given, classes, head, model_output)
        with progress_bar(quiet) as progress:
            found = robustness_of(
                read, asked, network, labels=classes_of, folder=output, overwrite=overwrite, progress=progress
            )
        path = write_robustness(found, output, overwrite=True) if page else None
        log_to_mlflow(mlflow, output, "robustness", loaded, lambda tracker: log_robustness(found, output, tracker))
        if not quiet:
            _show(found, path)
        raise typer.Exit(report_failures(found.failures))


def _plan(
    methods: Sequence[str] | None,
    changes: Sequence[str] | None,
    budgets: Sequence[str] | None,
    metrics: Sequence[str] | None,
    seed: int,
) -> RobustnessPlan:
    from pellucid.robustness.plan import RobustnessPlan

    lists = {"methods": split_names(methods), "changes": split_names(changes), "metrics": split_names(metrics)}
    stated = {name: value for name, value in lists.items() if value}
    return replace(RobustnessPlan(seed=seed), **stated, budgets=dict(_levels(budgets)))  # type: ignore[arg-type]


def _levels(texts: Sequence[str] | None) -> Iterator[tuple[str, tuple[float, ...]]]:
    for text in texts or []:
        name, sign, levels = text.rpartition("=")  # the options of a change have signs of their own
        try:
            found = tuple(_number(part) for part in levels.split(","))
        except (ValueError, ZeroDivisionError):
            found = ()
        if not (sign and name.strip() and found):
            raise OptionError(f"--budgets {text} was given; {_BUDGETS}")
        yield name.strip(), found


def _number(text: str) -> float:
    """A number, or a fraction of two. ``ValueError``: the text is neither."""
    number, _, below = text.partition("/")
    found = float(number) / (float(below) if below else 1.0)
    if not math.isfinite(found):
        raise ValueError(text)
    return found


def _check_normalisation(model: nn.Module, is_stated: bool) -> None:
    """Raise unless the model or the user states how pixels are normalised: budgets are in pixels."""
    from pellucid.models.sources import model_info
    from pellucid.models.sources.assumed import VALUES

    info = model_info(model)
    if not is_stated and (info.preprocessing is None or VALUES in info.assumed):
        raise OptionError(
            "budgets are in pixels before normalisation; the model does not state its normalisation: give --mean and "
            "--std, or --range 0,1 where it takes pixels in [0, 1] as they are"
        )


def _show(found: Robustness, page: Path | None) -> None:
    """The worst case of each method, and where the report is."""
    left_out = sum(map(len, found.excluded.values()))
    images = f"{counted(found.images, 'image')} {found.unit.of(found.patients, 'image')}"
    typer.echo(printable(f"{images}; {left_out} left out"))
    for method in found.methods:
        worst = [one for one in found.worst if one.method == method and one.kind == "map moved"]
        if worst:
            one = min(worst, key=lambda each: each.ssim)
            typer.echo(
                printable(
                    f"{method}: the map of {one.image} moves most while its answer holds, to an SSIM of "
                    f"{one.ssim:.2f}, under {one.change} of {one.level:.3g}"
                )
            )
    for note in (*found.notes, *found.limits[:1]):
        typer.echo(printable(note))
    tell_of_page(page)
