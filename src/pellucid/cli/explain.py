"""``pellucid explain``: explain images, and write overlays and other results."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from pellucid.cli.access import (
    MAX_ANSWER,
    RETRIES,
    TIMEOUT,
    Authority,
    Certificate,
    Key,
    MaxAnswer,
    Retries,
    Timeout,
    TokenFile,
    server_access,
)
from pellucid.cli.computing import BatchSize, Device, Fast, Precision
from pellucid.cli.console import NOTHING_DONE, SOME_FAILED, complain, guarded, print_json, tell_of_page
from pellucid.cli.deidentifying import Deidentify, DeidentifyKey, deidentifier, failures, result_names
from pellucid.cli.explaining import Checks, ChoiceFile, Fuse, Layers, Methods, Options, Targets
from pellucid.cli.fetched import fetched, relative_outcome, temporary_folder
from pellucid.cli.modelling import Activation, Checkpoint, Classes, Model, ModelOutput, NamedHead, Weights, WeightsKey
from pellucid.cli.piped import DASH, is_piped, kept
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
from pellucid.cli.selecting import (
    As,
    Download,
    Frame,
    Inputs,
    Labels,
    Select,
    Series,
    SliceMode,
    Window,
    check_series,
    of_series,
)
from pellucid.cli.tracked import MLflow, check_mlflow, log_to_mlflow
from pellucid.cli.writing import (
    AllowSegWithoutGeometry,
    Alpha,
    AsJson,
    Colormap,
    Export,
    KeepIdentity,
    Output,
    Overwrite,
    Page,
    Quiet,
    Signed,
    Table,
)
from pellucid.core.style import Style
from pellucid.errors import OptionError, PellucidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pellucid.run.inputs import Input
    from pellucid.run.job import Job
    from pellucid.run.outcome import Outcome


EXAMPLES = (
    "pellucid explain scan.png --checkpoint best.pt --output results",
    "pellucid explain images/ --checkpoint best.pt --target all --output maps",
    "pellucid explain scan.dcm --checkpoint best.pt --export png,sr --output sr",
    "cat scan.png | pellucid explain - --checkpoint best.pt --output piped",
)


def explain(  # noqa: PLR0913  # a command's options are its parameters
    paths: Inputs,
    output: Output,
    model: Model = None,
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    activation: Activation = None,
    weights: Weights = "none",
    method: Methods = None,
    option: Options = None,
    target: Targets = None,
    layer: Layers = None,
    fuse: Fuse = None,
    check: Checks = None,
    classes: Classes = None,
    head: NamedHead = None,
    model_output: ModelOutput = None,
    choice: ChoiceFile = None,
    export: Export = "png",
    table: Table = "csv",
    page: Page = True,
    mlflow: MLflow = None,
    window: Window = None,
    frame: Frame = None,
    labels: Labels = None,
    series: Series = None,
    select: Select = None,
    slice_mode: As = SliceMode.auto,
    size: Size = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    range_: Range = None,
    channels: Channels = None,
    orientation: Orientation = None,
    spacing: Spacing = None,
    nnunet_plans: NnUNetPlans = None,
    alpha: Alpha = Style.alpha,
    colormap: Colormap = Style.colormap,
    signed: Signed = Style.signed,
    precision: Precision = None,
    fast: Fast = False,
    device: Device = "auto",
    batch_size: BatchSize = None,
    download: Download = None,
    token_file: TokenFile = None,
    certificate: Certificate = None,
    key: Key = None,
    ca: Authority = None,
    retries: Retries = RETRIES,
    timeout: Timeout = TIMEOUT,
    max_answer: MaxAnswer = MAX_ANSWER,
    overwrite: Overwrite = False,
    keep_identity: KeepIdentity = False,
    deidentify: Deidentify = False,
    deidentify_key: DeidentifyKey = None,
    allow_seg_without_geometry: AllowSegWithoutGeometry = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Explain which pixels a model's prediction is based on, for each image.

    By default, each image gets an overlay with colour bar and caption (STEM_overlay.png), a heatmap
    (STEM_heatmap.png) and the prediction and settings (STEM_metadata.json). The output folder mirrors the folders of
    the inputs. Its index.html shows all images, and its results.csv has a row for each map. A study on a
    DICOMweb server is written as dicomweb://HOST/PATH/studies/UID.
    """
    with guarded(), ExitStack() as held:
        from pellucid.cli.asked import Request
        from pellucid.cli.report import Summary, as_text, show
        from pellucid.cli.request import prepared_job
        from pellucid.cli.settled import with_kept
        from pellucid.export.writing import check_writable
        from pellucid.models.preprocessing import takes_volumes
        from pellucid.run.finding import inputs, studies
        from pellucid.run.grouping import as_sequences, as_volumes
        from pellucid.run.labels import labels_of, read_rows
        from pellucid.run.renaming import without_names
        from pellucid.tracking.results import log_results

        check_mlflow(mlflow)
        given = preparation(size, crop, mean, std, range_, channels, orientation, spacing, nnunet_plans)
        check_series(series, channels if given.files else None)
        _check_as(slice_mode, channels if given.files else None)
        rows = None if labels is None else read_rows(labels)
        piped = is_piped(paths)
        addresses = [path for path in paths if "://" in path]
        local = [Path(path) for path in paths if "://" not in path and path != DASH]
        hidden = held.enter_context(temporary_folder()) if piped or (addresses and download is None) else None
        request = Request(
            model=model,
            checkpoint=checkpoint,
            weights_key=weights_key,
            activation=activation,
            weights=weights,
            methods=method or [],
            choice=choice,
            options=option or [],
            targets=target or [],
            layers=layer,
            fuse=fuse,
            checks=check or [],
            classes=classes,
            head=head,
            model_output=model_output,
            formats=[name.strip() for name in export.split(",")],
            style=Style(alpha, colormap, signed),
            precision=precision,
            fast=fast,
            device=device,
            batch_size=batch_size,
            overwrite=overwrite,
            window=window,
            frame=frame,
            select=select or [],
            keep_identity=keep_identity,
            allow_seg_without_geometry=allow_seg_without_geometry,
            preparation=given,
            output=output,
            hidden=hidden,
            deidentifier=deidentifier(deidentify, deidentify_key, keep_identity),
        )
        if addresses:
            access = server_access(token_file, certificate, key, ca, retries, timeout, max_answer)
            local += fetched(addresses, access, download or hidden or Path())
        local += [kept(hidden)] if piped and hidden is not None else []
        files = studies(local, given.files, output) if given.files else inputs(local, output)
        files = of_series(files, series)
        check_writable(output)
        _check_page(page, output, table)
        request = with_kept(request)
        if request.taken and not quiet:
            complain(str(request.taken))
        job = prepared_job(request)
        files = as_sequences(files) if slice_mode is SliceMode.sequence else files
        if slice_mode is SliceMode.volume or (slice_mode is SliceMode.auto and takes_volumes(job.model)):
            files = as_volumes(files)
            if frame is not None and any(file.slices for file in files):
                raise OptionError(
                    f"--frame {frame} was given; the slices are explained as one volume: give --as files, or no --frame"
                )
        if rows is not None and labels is not None:
            folders = [path for path in local if path.is_dir()]
            stated = labels_of(rows, labels, files, folders, job.class_names)
            job = replace(job, labels=stated)
        if request.deidentifier is not None:
            names = result_names(files, request.deidentifier, deidentify_key)
            job, files = without_names(job, files, names, request.deidentifier)
        outcomes = _outcomes(job, files, quiet or as_json, hidden)
        summary = Summary.of(outcomes, files, output)
        failed = failures(outcomes, files, request.deidentifier is not None)
        index = _page(output, table, failed) if page else None
        log_to_mlflow(mlflow, output, "explain", job.model, lambda tracker: log_results(output, tracker))
        if as_json:
            print_json(as_text(outcomes, summary))
        elif not quiet:
            show(outcomes, summary)
            tell_of_page(index)
        if summary.failed or (page and index is None) or any(outcome.refused for outcome in outcomes):
            raise typer.Exit(NOTHING_DONE if summary.failed == len(outcomes) else SOME_FAILED)


def _check_as(mode: SliceMode, files: str | None) -> None:
    if files is not None and mode is not SliceMode.auto:
        raise OptionError(f"--as {mode.value} and --channels {files} were given; leave out --as")


def _outcomes(job: Job, files: list[Input], silent: bool, hidden: Path | None) -> list[Outcome]:
    """Run the job with a progress bar; errors and warnings are reported as they occur, refused formats at the end."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("explaining"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes: list[Outcome] = []
    bar = Progress(*columns, console=console, transient=True, disable=silent or not console.is_terminal)
    with ExitStack() as ended:
        ended.callback(_complain_of_refusals, outcomes)  # also of a run that is interrupted
        ended.enter_context(bar)
        task = bar.add_task("", total=len(files))
        for found in job.outcomes(files):
            outcome = found if hidden is None else relative_outcome(found, hidden)
            outcomes.append(outcome)
            bar.advance(task)
            if outcome.error is not None:
                complain(f"error: {_error_text(outcome)}")
            for warning in outcome.warnings:
                complain(f"warning: {outcome.path}: {warning}")
    return outcomes


def _complain_of_refusals(outcomes: list[Outcome]) -> None:
    from pellucid.cli.report import refusals

    for text in refusals(outcomes):
        complain(f"error: {text}")


def _check_page(asked: bool, output: Path, table: str) -> None:
    """Check that the page and the tables can be written, if they are to be."""
    from pellucid.report import check_index

    if asked:
        check_index(output, table)


def _page(output: Path, table: str, failed: Mapping[str, str]) -> Path | None:
    """Write the page and the table of the output folder, and return the page; None where there is none to write."""
    from pellucid.report import write_index

    try:
        return next(iter(write_index(output, table, failed)), None)
    except PellucidError as error:  # the results themselves are there
        complain(f"error: {error}")
        return None


def _error_text(outcome: Outcome) -> str:
    """The text of an error, with the file's path in it."""
    text = str(outcome.error)
    return text if str(outcome.path) in text else f"{outcome.path}: {text}"
