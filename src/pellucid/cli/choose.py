"""``pellucid choose``: which method at which layers is faithful to a network, by measurement on images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.completing import among, models
from pellucid.cli.computing import BatchSize, Device
from pellucid.cli.console import NOTHING_DONE, OUTPUT_PANEL, guarded, print_json, printable_row
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
from pellucid.cli.modelling import Activation, Checkpoint, Classes, Head, ModelOutput, Weights, WeightsKey
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
from pellucid.cli.writing import AsJson, Quiet
from pellucid.errors import OutputExistsError

CHOICE_PANEL = "Choice"
EXAMPLES = (
    "pellucid choose best.pt images/ --reference normals/",
    "pellucid choose pellucid.phantom:exclusive_cnn_64 phantoms:exclusive:40",
)


def choose(  # noqa: PLR0913  # a command's options are its parameters
    spec: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="Model, as --model of `pellucid explain`, or a checkpoint whose architecture is recognised.",
            autocompletion=models,
        ),
    ],
    data: DataSet,
    form: DataForm = None,
    images: ImageFolder = None,
    masks: MaskFolder = None,
    label: LabelClass = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Images of other patients, whose tissue replaces that of the explained ones; with labels, those that "
            "do not show the class (default: those of the data set without the class).",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="CLASS",
            help="Class that is explained of every image, by name or number (default: the label of each, or else the "
            "predicted class).",
            rich_help_panel=DATA_PANEL,
        ),
    ] = None,
    most: Annotated[
        int,
        typer.Option(
            "--max-images", min=1, help="Most images that are measured, drawn by --seed.", rich_help_panel=DATA_PANEL
        ),
    ] = 64,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidates",
            "--candidate",
            metavar="NAMES",
            help="Methods, with commas between them; see `pellucid methods` (default: all that explain a class and "
            "wrap no other).",
            rich_help_panel=CHOICE_PANEL,
            autocompletion=among("methods"),
        ),
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="Layer that the methods are tried at (default: those that are found, and some before them). Repeat "
            "for several.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full/--first-stage",
            help="Measure the best again by all that replaces, and methods that ask for scores alone; or leave it at "
            "the first stage.",
            rich_help_panel=CHOICE_PANEL,
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of what is drawn.", rich_help_panel=CHOICE_PANEL)] = 0,
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Also write the choice into a file.", rich_help_panel=OUTPUT_PANEL
        ),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Choose the method and the layers whose maps mark what the model's score rests on. No mask is needed.

    The pixels that each map marks are replaced, and the score is watched; what replaces is tested first. The choice is
    kept for these weights: `pellucid explain --method auto` takes it. Where masks are there, half of the images with
    one take no part in the choice, and show how often each map hits.
    """
    with guarded():
        from pellucid.choosing.choose import check_candidates
        from pellucid.choosing.choose import choose as measured
        from pellucid.choosing.cohort import Question, cohort_of
        from pellucid.cli.request import prepared_model
        from pellucid.evaluation.data.reading import read_data
        from pellucid.run.chosen import keep

        given = preparation(size, crop, mean, std, range_, channels, orientation, spacing, nnunet_plans)
        labels = dict(pairs("--label", "LABEL=CLASS", label))
        named = split_names(candidates) or None
        check_candidates(named)
        if output is not None and output.exists():
            raise OutputExistsError(f"{output} is already there: remove it, or give another name")
        read = read_data(data, form=form, images=images, masks=masks, labels=labels, is_localised=False)
        others = None if reference is None else read_data(reference, is_localised=False)
        place = Computation.of(device, batch_size)
        name, file = (spec, checkpoint) if checkpoint is not None else _model(spec)
        loaded = prepared_model(name, file, weights_key, activation, weights, place.device)
        network = place.network(loaded, given, classes, head, model_output)
        silent = quiet or as_json
        with progress_bar(silent) as progress:
            asked = Question(target, labels, most, seed)
            cohort = cohort_of(read, network, asked, reference=others, progress=progress)
        found = measured(
            network.model,
            cohort.images,
            targets=cohort.targets,
            candidates=named,
            layers=layer,
            reference=cohort.reference,
            patients=cohort.patients,
            masks=cohort.masks,
            full=full,
            head=head,
            output=model_output,
            seed=seed,
            runtime=network.runtime,
            told=lambda passes: None if silent else _tell(len(cohort.images), passes),
        )
        if output is not None:
            found.save(output)
        keep(found)
        if as_json:
            print_json(found.to_json())
        elif not quiet:
            typer.echo("\n".join(map(printable_row, found.table().splitlines())))
        code = report_failures(cohort.excluded)
        raise typer.Exit(NOTHING_DONE if found.chosen is None else code)


def _model(spec: str) -> tuple[str | None, Path | None]:
    """A model by its name, or a checkpoint by its path."""
    path = Path(spec)
    is_checkpoint = path.is_file() and path.suffix not in (".py", ".onnx")
    return (None, path) if is_checkpoint else (spec, None)


def _tell(images: int, passes: int) -> None:
    typer.echo(f"at most {images} images: {passes:,} passes of the model", err=True)
