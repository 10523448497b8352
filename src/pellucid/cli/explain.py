"""``pellucid explain``: explain images, and write overlays and other results."""

from __future__ import annotations

from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from pellucid.cli.console import (
    BATCH_SIZE,
    DEVICE,
    HEAD,
    MODEL_OUTPUT,
    MODEL_PANEL,
    NOTHING_DONE,
    OUTPUT_PANEL,
    SOME_FAILED,
    SPEC,
    WEIGHTS,
    complain,
    guarded,
    print_json,
)
from pellucid.cli.deidentifying import deidentifier
from pellucid.cli.fetched import fetched, relative_outcome, temporary_folder
from pellucid.cli.preparing import Channels, Mean, Orientation, Range, Size, Spacing, Std, preparation
from pellucid.cli.selecting import INPUT_PANEL, Select, Series, check_series, of_series
from pellucid.core.style import Style
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.run.inputs import Input
    from pellucid.run.job import Job
    from pellucid.run.results import Outcome


class SliceMode(Enum):
    """How the slices of a DICOM series are explained."""

    auto = "auto"
    files = "files"
    volume = "volume"
    sequence = "sequence"


METHOD_PANEL = "Method"
RUNTIME_PANEL = "Computation"


def explain(  # noqa: PLR0913  # a command's options are its parameters
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT",
            help="Image or volume files, folders of them, or studies on a server.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write the results to.", rich_help_panel=OUTPUT_PANEL)
    ],
    model: Annotated[str | None, typer.Option(help=SPEC, rich_help_panel=MODEL_PANEL)] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Weights file to load; without --model, the architecture is recognised.", rich_help_panel=MODEL_PANEL
        ),
    ] = None,
    weights: Annotated[str, typer.Option(help=WEIGHTS, rich_help_panel=MODEL_PANEL)] = "none",
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method (default: gradcam); see `pellucid methods`. Repeat for several.", rich_help_panel=METHOD_PANEL
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Option of the method. Repeat for several.",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            help="Class to explain: predicted (default), all, or a class's index or name. Repeat for several.",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Layer to explain, such as layer4 (default: found automatically). Repeat for several.",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = None,
    fuse: Annotated[
        str, typer.Option(help="How to combine several layers: {fusions}.", rich_help_panel=METHOD_PANEL)
    ] = "mean",
    check: Annotated[
        list[str] | None,
        typer.Option(
            help="Figure to measure beside each map, kept in its metadata: {checks}. Repeat for several.",
            rich_help_panel=METHOD_PANEL,
        ),
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(help="File with the class names: one per line, or a JSON list.", rich_help_panel=MODEL_PANEL),
    ] = None,
    head: Annotated[
        str,
        typer.Option(help=HEAD, rich_help_panel=MODEL_PANEL),
    ] = "auto",
    model_output: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=MODEL_OUTPUT,
            rich_help_panel=MODEL_PANEL,
        ),
    ] = None,
    export: Annotated[
        str,
        typer.Option(
            help="Formats to write, separated by commas: {formats}. Some need DICOM inputs.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = "png",
    window: Annotated[
        str | None,
        typer.Option(
            metavar="CENTRE,WIDTH",
            help="Window of DICOM and NIfTI values; for CT also {windows}.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(min=1, help="Number of the frame to explain, in files with several.", rich_help_panel=INPUT_PANEL),
    ] = None,
    series: Series = None,
    select: Select = None,
    slice_mode: Annotated[
        SliceMode,
        typer.Option(
            "--as",
            help="Explain the slices of a series as one volume, the images of a folder as one sequence (views, time "
            "points), each file alone, or as fits the model.",
            rich_help_panel=INPUT_PANEL,
        ),
    ] = SliceMode.auto,
    size: Size = None,
    mean: Mean = None,
    std: Std = None,
    range_: Range = None,
    channels: Channels = None,
    orientation: Orientation = None,
    spacing: Spacing = None,
    alpha: Annotated[float, typer.Option(help="Overlay opacity, 0 to 1.", rich_help_panel=OUTPUT_PANEL)] = Style.alpha,
    colormap: Annotated[
        str, typer.Option(help="Colour map of matplotlib.", rich_help_panel=OUTPUT_PANEL)
    ] = Style.colormap,
    signed: Annotated[
        bool,
        typer.Option(
            "--signed",
            help="Draw evidence against the class, too: red for, blue against. Not of every method.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = Style.signed,
    precision: Annotated[
        str | None,
        typer.Option(help="Precision: {precisions} (default: the model's own).", rich_help_panel=RUNTIME_PANEL),
    ] = None,
    fast: Annotated[
        bool,
        typer.Option(
            "--fast", help="Use the settings that `pellucid tune` measured as fastest.", rich_help_panel=RUNTIME_PANEL
        ),
    ] = False,
    device: Annotated[str, typer.Option(help=DEVICE, rich_help_panel=RUNTIME_PANEL)] = "auto",
    batch_size: Annotated[int | None, typer.Option(help=BATCH_SIZE, rich_help_panel=RUNTIME_PANEL)] = None,
    download: Annotated[
        Path | None,
        typer.Option(
            help="Folder to keep images from a server in (default: a temporary one).", rich_help_panel=INPUT_PANEL
        ),
    ] = None,
    token_file: TokenFile = None,
    certificate: Certificate = None,
    key: Key = None,
    ca: Authority = None,
    retries: Retries = RETRIES,
    timeout: Timeout = TIMEOUT,
    max_answer: MaxAnswer = MAX_ANSWER,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace results that exist already.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    keep_identity: Annotated[
        bool,
        typer.Option(
            "--keep-identity",
            help="Name the patient and study of DICOM files in the metadata.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    deidentify: Annotated[
        bool,
        typer.Option(
            "--deidentify",
            help="Replace names, identifiers, dates and UIDs in DICOM results (PS3.15, basic profile).",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    deidentify_key: Annotated[
        Path | None,
        typer.Option(
            help="File with a secret for --deidentify: runs with the same one replace alike (default: drawn anew).",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = None,
    allow_seg_without_geometry: Annotated[
        bool,
        typer.Option(
            "--allow-seg-without-geometry",
            help="Also write seg of images without a position in the patient. Viewers may fail on it.",
            rich_help_panel=OUTPUT_PANEL,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list instead of the table.", rich_help_panel=OUTPUT_PANEL)
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Show neither a progress bar nor the table.", rich_help_panel=OUTPUT_PANEL),
    ] = False,
) -> None:
    """Explain which pixels a model's prediction is based on, for each image.

    By default, each image gets an overlay with colour bar and caption (STEM_overlay.png), a heatmap
    (STEM_heatmap.png) and the prediction and settings (STEM_metadata.json). The output folder mirrors the folders of
    the inputs. A study on a DICOMweb server is written as dicomweb://HOST/PATH/studies/UID.
    """
    with guarded(), ExitStack() as held:
        from pellucid.cli.report import as_text, show
        from pellucid.cli.request import Request, prepared_job
        from pellucid.export.writing import check_writable, sweep
        from pellucid.models.preprocessing import takes_volumes
        from pellucid.run.inputs import as_sequences, as_volumes, inputs, studies

        given = preparation(size, mean, std, range_, channels, orientation, spacing)
        check_series(series, channels if given.files else None)
        if given.files and slice_mode is not SliceMode.auto:
            raise OptionError(f"--as {slice_mode.value} and --channels {channels} were given; leave out --as")
        addresses = [path for path in paths if "://" in path]
        local = [Path(path) for path in paths if "://" not in path]
        hidden = held.enter_context(temporary_folder()) if addresses and download is None else None
        request = Request(
            model=model,
            checkpoint=checkpoint,
            weights=weights,
            methods=method or ["gradcam"],
            options=option or [],
            targets=target or ["predicted"],
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
        files = studies(local, given.files, output) if given.files else inputs(local, output)
        files = of_series(files, series)
        check_writable(output)
        sweep(output)
        job = prepared_job(request)
        files = as_sequences(files) if slice_mode is SliceMode.sequence else files
        if slice_mode is SliceMode.volume or (slice_mode is SliceMode.auto and takes_volumes(job.model)):
            files = as_volumes(files)
            if frame is not None and any(file.slices for file in files):
                raise OptionError(
                    f"--frame {frame} was given; the slices are explained as one volume: give --as files, or no --frame"
                )
        outcomes = _outcomes(job, files, quiet or as_json, hidden)
        if as_json:
            print_json(as_text(outcomes))
        elif not quiet:
            show(outcomes, output)
        failed = sum(outcome.error is not None for outcome in outcomes)
        if failed or any(outcome.refused for outcome in outcomes):
            raise typer.Exit(NOTHING_DONE if failed == len(outcomes) else SOME_FAILED)


def _outcomes(job: Job, files: list[Input], silent: bool, hidden: Path | None) -> list[Outcome]:
    """Run the job with a progress bar; errors and warnings are reported as they occur."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("explaining"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes = []
    with Progress(*columns, console=console, transient=True, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task("", total=len(files))
        for found in job.outcomes(files):
            outcome = found if hidden is None else relative_outcome(found, hidden)
            outcomes.append(outcome)
            bar.advance(task)
            if outcome.error is not None:
                complain(f"error: {_error_text(outcome)}")
            for reason in outcome.refused:
                complain(f"error: {outcome.path}: {reason}")
            for warning in outcome.warnings:
                complain(f"warning: {outcome.path}: {warning}")
    return outcomes


def _error_text(outcome: Outcome) -> str:
    """The text of an error, with the file's path in it."""
    text = str(outcome.error)
    return text if str(outcome.path) in text else f"{outcome.path}: {text}"
