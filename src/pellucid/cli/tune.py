"""``pellucid tune``: which precision, memory format and compiling are fastest here and leave the maps as they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.console import SPEC, guarded, print_json

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pellucid.run.tuned import Trial


def tune(  # a command's options are its parameters
    spec: Annotated[str, typer.Argument(help=SPEC)],
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[INPUT]…", help="Pictures to try it on; drawn ones otherwise.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="A weights file to load.")] = None,
    weights: Annotated[str, typer.Option(help="default (pretrained, downloaded) or none (random).")] = "none",
    method: Annotated[str, typer.Option(help="The method whose maps are compared.")] = "gradcam",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures a pass, as for explain.")] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Nothing more is begun after that.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of the table.")] = False,
) -> None:
    """Measure precisions, memory formats and compiling on this machine, and keep the fastest for `explain --fast`.

    Kept is the fastest whose maps correlate with float32's at 0.999 or more, for this model, method and machine.
    """
    with guarded():
        from pellucid.cli.request import chosen_device, chosen_size, prepared_model
        from pellucid.core import catalogue
        from pellucid.core.runtime import Runtime
        from pellucid.run.refusing import explained_refusals
        from pellucid.run.tuned import remember
        from pellucid.run.tuning import best, trials

        place = chosen_device(device)
        runtime = Runtime(place, batch_size=chosen_size(batch_size, place))
        chosen = catalogue.find(method)()
        model = prepared_model(spec, checkpoint, weights, place)
        images = _images(model, paths or [], runtime.batch_size)
        with explained_refusals(images):
            tried = list(trials(model, images, chosen, runtime, seconds))
        kept = best(tried)
        remember(model, chosen, runtime, kept)
        if as_json:
            print_json(json.dumps([_facts(trial, kept) for trial in tried], indent=2))
        else:
            _show(tried, kept, method)


def _images(model: nn.Module, paths: list[Path], count: int) -> Tensor:
    """So many pictures (B, C, *space) as the model wants them: those at the paths, in turn, or drawn ones."""
    import torch

    from pellucid.cli.request import input_size, preprocessing
    from pellucid.core.geometry import Geometry
    from pellucid.core.image import Image
    from pellucid.errors import ShapeError
    from pellucid.models.preprocessing import takes_volumes
    from pellucid.models.sources import model_info
    from pellucid.phantom import radiographs, volumes
    from pellucid.run.inputs import as_volumes, inputs, opened

    if not paths and model_info(model).preprocessing is None:
        channels, *size = input_size(model)
        if len(size) == 3:
            return volumes(count, size).images.expand(-1, channels, -1, -1, -1).contiguous()
    if paths:
        files = inputs(paths)
        read = [opened(file) for file in (as_volumes(files) if takes_volumes(model) else files)[:count]]
    else:
        drawn = radiographs(count, size=256).images
        read = [Image(one, one, Geometry.identity((256, 256))) for one in drawn]
    prepare = preprocessing(model)
    each = [prepare(image).values for image in read]
    if len({one.shape for one in each}) > 1:
        raise ShapeError(
            f"{len(each)} pictures were given to try; prepared, they differ in size: give one, or equal ones"
        )
    return torch.stack([each[index % len(each)] for index in range(count)])


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
        how = (trial.precision, "yes" if trial.channels_last else "no", "yes" if trial.compile else "no")
        if trial.error:
            table.add_row(*how, "", "", "", trial.error)
            continue
        note = "kept" if trial is kept else "" if trial.agrees else f"below {AGREEMENT}"
        table.add_row(*how, f"{trial.time:.2f}", f"{trial.forward:.2f}", f"{trial.agreement:.5f}", note)
    console = Console(emoji=False)
    console.print(table)
    console.print(
        f"Times are over float32's; agreement is the least correlation of a map with float32's. Kept for {method} of "
        f'this model on this machine: `pellucid explain --fast`, Runtime(precision="auto").',
        markup=False,
        highlight=False,
    )
