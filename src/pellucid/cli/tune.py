"""``pellucid tune``: measure which precision, memory format and compilation explain a model fastest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.completing import among
from pellucid.cli.computing import BatchSize, Device
from pellucid.cli.console import guarded, print_json
from pellucid.cli.modelling import Activation, Checkpoint, Head, ModelOutput, Spec, Weights, WeightsKey
from pellucid.cli.preparing import (
    Channels,
    Crop,
    Mean,
    NnUNetPlans,
    Orientation,
    Preparation,
    Range,
    Size,
    Spacing,
    Std,
    preparation,
)
from pellucid.cli.selecting import Select, Series, check_series, of_series

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.core.image import Image
    from pellucid.run.inputs import Input
    from pellucid.run.tuned import Trial


EXAMPLES = ("pellucid tune torchvision:resnet18 --seconds 20 scan.png",)


def tune(  # noqa: PLR0913  # a command's options are its parameters
    spec: Spec,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="INPUT", help="Images to measure with (default: drawn ones).")
    ] = None,
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    activation: Activation = None,
    weights: Weights = "none",
    head: Head = "auto",
    model_output: ModelOutput = None,
    method: Annotated[
        str, typer.Option(help="Method to measure; see `pellucid methods`.", autocompletion=among("methods"))
    ] = "gradcam",
    size: Size = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    range_: Range = None,
    channels: Channels = None,
    orientation: Orientation = None,
    spacing: Spacing = None,
    nnunet_plans: NnUNetPlans = None,
    series: Series = None,
    select: Select = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    seconds: Annotated[float, typer.Option(min=0, help="Begin no further measurement after this many seconds.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list instead of the table.")] = False,
) -> None:
    """Measure precisions, memory formats and compilation on this machine, and store the fastest settings.

    `pellucid explain --fast` uses them for this model and method. Settings whose heatmaps correlate with float32's
    below 0.999 are not used.
    """
    with guarded():
        from pellucid.cli.request import chosen_device, chosen_size, prepared_model
        from pellucid.core import catalogue
        from pellucid.core.head import check_head
        from pellucid.core.runtime import Runtime
        from pellucid.io.selection import parsed_options
        from pellucid.models.sources.known import restate
        from pellucid.run.inputs import open_input
        from pellucid.run.refusing import explained_refusals
        from pellucid.run.tuned import remember
        from pellucid.run.tuning import best, trials

        given = preparation(size, crop, mean, std, range_, channels, orientation, spacing, nnunet_plans)
        check_series(series, channels if given.files else None)
        selected = parsed_options(select or [])
        resolved = chosen_device(device)
        count = chosen_size(batch_size, resolved)
        runtime = Runtime(resolved, batch_size=count)
        chosen = catalogue.find(method)()
        check_head(head)
        loaded = prepared_model(spec, checkpoint, weights_key, activation, weights, resolved)
        model = restate(loaded, head, model_output)
        files = _files(model, paths, given, series) if paths else []
        images = _images(model, [open_input(file, select=selected) for file in files[:count]], count, given)
        with explained_refusals(images):
            tried = list(trials(model, images, chosen, runtime, seconds))
        kept = best(tried)
        remember(model, chosen, runtime, kept)
        if as_json:
            print_json(json.dumps([_facts(trial, kept) for trial in tried], indent=2))
        else:
            _show(tried, kept, method)


def _images(model: nn.Module, read: Sequence[Image], count: int, given: Preparation) -> Tensor:
    """Images (B, C, *space), preprocessed for the model: those that were read, repeated to ``count``, or drawn ones."""
    import torch

    from pellucid.cli.request import preprocessing
    from pellucid.core.geometry import Geometry
    from pellucid.core.image import Image
    from pellucid.errors import ShapeError
    from pellucid.models.preprocessing import takes_volumes
    from pellucid.phantom import radiographs, volumes

    prepare = preprocessing(model, given)
    if not read:
        drawn = volumes(count).images if takes_volumes(model) else radiographs(count, size=256).images
        drawn = drawn.expand(-1, prepare.channels, *drawn.shape[2:])
        place = torch.eye(4, dtype=torch.float64)  # drawn volumes lie anywhere in the patient
        read = [Image(one, one, Geometry.identity(one.shape[1:]), affine=place) for one in drawn]
    each = [prepare(image).values for image in read]
    if len({one.shape for one in each}) > 1:
        raise ShapeError(
            f"{len(each)} images were given; after preprocessing they differ in size: give one, or images of one size"
        )
    return torch.stack([each[index % len(each)] for index in range(count)])


def _files(model: nn.Module, paths: list[Path], given: Preparation, series: str | None) -> list[Input]:
    """The images or volumes at the paths."""
    from pellucid.models.preprocessing import takes_volumes
    from pellucid.run.finding import inputs, studies
    from pellucid.run.grouping import as_volumes

    files = studies(paths, given.files) if given.files else inputs(paths)
    files = of_series(files, series)
    return as_volumes(files) if takes_volumes(model) else files


def _facts(trial: Trial, kept: Trial) -> dict[str, object]:
    from pellucid.export.metadata import finite

    figures = {name: finite(getattr(trial, name)) for name in ("time", "forward", "agreement")}
    return asdict(trial) | figures | {"kept": trial == kept}


def _show(tried: list[Trial], kept: Trial, method: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from pellucid.run.tuned import AGREEMENT

    table = Table("precision", "chan. last", "compiled", "explain", "predict", "agreement", "")
    for trial in tried:
        settings = (trial.precision, "yes" if trial.channels_last else "no", "yes" if trial.compile else "no")
        if trial.error:
            table.add_row(*settings, "", "", "", trial.error)
            continue
        note = "kept" if trial is kept else "" if trial.agrees else f"below {AGREEMENT}"
        table.add_row(*settings, f"{trial.time:.2f}", f"{trial.forward:.2f}", f"{trial.agreement:.5f}", note)
    console = Console(emoji=False)
    console.print(table)
    console.print(
        f"Times are relative to float32's; agreement is the lowest correlation of a heatmap with float32's. "
        f"The settings kept for {method}, this model and this machine are used by `pellucid explain --fast` and "
        f'Runtime(precision="auto").',
        markup=False,
        highlight=False,
    )
