"""``pellucid explain``: pictures in, overlays out."""

from __future__ import annotations

import json
from contextlib import ExitStack
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.access import RETRIES, Authority, Certificate, Key, Retries, TokenFile, access_by
from pellucid.cli.console import NOTHING_DONE, SOME_FAILED, SPEC, complain, guarded, print_json, printable
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.pacs.dicomweb import Access
    from pellucid.run.inputs import Input
    from pellucid.run.job import Job
    from pellucid.run.results import Outcome


class TakenAs(Enum):
    """How the slices of a series are taken."""

    auto = "auto"
    files = "files"
    volume = "volume"


_ROWS = 20
"""How long the table gets."""
_WIDTH = 30
"""How many characters of a path it shows."""


def explain(  # noqa: PLR0913  # a command's options are its parameters
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT…",
            help="Pictures, DICOM or NIfTI files, folders of them, or dicomweb://HOST/PATH/studies/UID.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
    model: Annotated[str | None, typer.Option(help=SPEC)] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A weights file; without --model its architecture is recognised.")
    ] = None,
    weights: Annotated[str, typer.Option(help="default (pretrained, downloaded) or none (random).")] = "none",
    method: Annotated[list[str] | None, typer.Option(help="See `pellucid methods`; may be repeated.")] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="An option of the method.")
    ] = None,
    target: Annotated[str, typer.Option(help="predicted, all, a class's number or its name.")] = "predicted",
    layer: Annotated[list[str] | None, typer.Option(help="Dotted name; found by itself otherwise.")] = None,
    fuse: Annotated[str, typer.Option(help="How several layers are joined: mean, max or weighted.")] = "mean",
    classes: Annotated[Path | None, typer.Option(help="Class names: a text file, one a line, or a JSON list.")] = None,
    export: Annotated[
        str, typer.Option(help="Formats, by commas: png, overlay, npz; of DICOM files also pm, sc, seg, sr.")
    ] = "png",
    window: Annotated[
        str | None, typer.Option(metavar="CENTRE,WIDTH", help="How DICOM values are shown; for CT also lung, bone, …")
    ] = None,
    frame: Annotated[int | None, typer.Option(min=1, help="Which frame of files that hold several.")] = None,
    take_as: Annotated[
        TakenAs, typer.Option("--as", help="Slices of a series: volume, files, or as the model takes them.")
    ] = TakenAs.auto,
    alpha: Annotated[float, typer.Option(help="How much of the colours is seen, 0 to 1.")] = 0.5,
    colormap: Annotated[str, typer.Option(help="One of matplotlib's colour maps.")] = "jet",
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="As `pellucid tune` found fastest for the model here.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, …")] = "auto",
    batch_size: Annotated[
        int | None, typer.Option(help="Pictures a pass; if not said, 8 on a CPU and 32 elsewhere.")
    ] = None,
    download: Annotated[
        Path | None, typer.Option(help="Where pictures from a server are kept, and not fetched again.")
    ] = None,
    token_file: TokenFile = None,
    certificate: Certificate = None,
    key: Key = None,
    ca: Authority = None,
    retries: Retries = RETRIES,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that are already there.")] = False,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Say in the metadata whom a DICOM file shows.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON list instead of the table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no table.")] = False,
) -> None:
    """Show which pixels made a model say what it says of each picture.

    Writes, for each, STEM_overlay.png (with a colour bar, at the picture's own size), STEM_heatmap.png and
    STEM_metadata.json; the output folder mirrors the input's folders.
    """
    with guarded(), ExitStack() as held:
        from pellucid.cli.request import Request, prepared_job
        from pellucid.export.writing import check_writable
        from pellucid.models.preprocessing import takes_volumes
        from pellucid.run.inputs import as_volumes, inputs

        request = Request(
            model=model,
            checkpoint=checkpoint,
            weights=weights,
            methods=method or ["gradcam"],
            options=option or [],
            target=target,
            layers=layer,
            fuse=fuse,
            classes=classes,
            formats=[name.strip() for name in export.split(",")],
            alpha=alpha,
            colormap=colormap,
            precision=precision,
            fast=fast,
            device=device,
            batch_size=batch_size,
            overwrite=overwrite,
            window=window,
            frame=frame,
            keep_identity=keep_identity,
            output=output,
        )
        addresses = [path for path in paths if "://" in path]
        local = [Path(path) for path in paths if "://" not in path]
        if addresses:
            access = access_by(token_file, certificate, key, ca)
            local += _fetched(addresses, access, download or Path(held.enter_context(TemporaryDirectory())), retries)
        files = inputs(local, output)
        check_writable(output)
        job = prepared_job(request)
        if take_as is TakenAs.volume or (take_as is TakenAs.auto and takes_volumes(job.model)):
            files = as_volumes(files)
            if frame is not None and any(file.slices for file in files):
                raise OptionError(
                    f"--frame {frame} was given; the slices are of one volume: take --as files, or no frame"
                )
        outcomes = _worked(job, files, silent=quiet or as_json)
        _report(outcomes, as_json, quiet, output)
        failed = sum(outcome.error is not None for outcome in outcomes)
        if failed or any(outcome.refused for outcome in outcomes):
            raise typer.Exit(NOTHING_DONE if failed == len(outcomes) else SOME_FAILED)


def _fetched(addresses: list[str], access: Access, folder: Path, retries: int) -> list[Path]:
    """The folders that pictures of servers were fetched to, an address each."""
    from pellucid.pacs.dicomweb import place
    from pellucid.pacs.fetching import fetched

    places = [place(address, access) for address in addresses]
    folders = [folder / str(index) if len(places) > 1 else folder for index, _ in enumerate(places, 1)]
    for at, own in zip(places, folders, strict=True):
        for _ in fetched(at, own, retries):
            pass
    return folders


def _worked(job: Job, files: list[Input], silent: bool) -> list[Outcome]:
    """Do the work, with a progress bar; what fails is said as it happens."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("explaining"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    outcomes = []
    with Progress(*columns, console=console, transient=True, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task("", total=len(files))
        for outcome in job.outcomes(files):
            outcomes.append(outcome)
            bar.advance(task)
            if outcome.error is not None:
                complain(f"error: {_about(outcome)}")
            for reason in outcome.refused:
                complain(f"error: {outcome.path}: {reason}")
            for warning in outcome.warnings:
                complain(f"warning: {outcome.path}: {warning}")
    return outcomes


def _about(outcome: Outcome) -> str:
    """An error's text, which begins with the file that it is about."""
    text = str(outcome.error)
    return text if str(outcome.path) in text else f"{outcome.path}: {text}"


def _report(outcomes: list[Outcome], as_json: bool, quiet: bool, output: Path) -> None:
    if as_json:
        print_json(json.dumps([_facts(outcome) for outcome in outcomes], indent=2))
    elif not quiet:
        _table(outcomes, output)


def _facts(outcome: Outcome) -> dict[str, object]:
    if outcome.error is not None:
        return {"image": str(outcome.path), "error": str(outcome.error)}
    from pellucid.export.metadata import finite

    return {
        "image": str(outcome.path),
        "predicted_class": outcome.predicted,
        "predicted_name": outcome.name,
        "confidence": finite(outcome.confidence),
        "layers": {method: list(layers) for method, layers in outcome.layers.items()},
        "files": [str(path) for path in outcome.files],
        "warnings": list(outcome.warnings),
        "refused": list(outcome.refused),
    }


def _table(outcomes: list[Outcome], output: Path) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    done = [outcome for outcome in outcomes if outcome.error is None]
    table = Table(Column("image", overflow="fold"), "predicted", "probability", "explained by")
    for outcome in done[:_ROWS]:
        name = outcome.name if outcome.name == str(outcome.predicted) else f"{outcome.name} ({outcome.predicted})"
        path, shown = (escape(printable(text)) for text in (_tail(outcome.path), name))
        table.add_row(path, shown, f"{outcome.confidence:.3f}", _layers_of(outcome))
    console = Console(emoji=False)
    if done:
        console.print(table)
    if len(done) > _ROWS:
        console.print(f"… and {len(done) - _ROWS} more, each with its JSON file")
    failed = f", {len(outcomes) - len(done)} failed" if len(done) < len(outcomes) else ""
    console.print(
        f"{len(done)} explained{failed}; results are in {printable(str(output))}", markup=False, highlight=False
    )


def _tail(path: Path) -> str:
    """The end of a long path, which tells files apart."""
    text = str(path)
    return text if len(text) <= _WIDTH else f"…{text[-_WIDTH:]}"


def _layers_of(outcome: Outcome) -> str:
    return "\n".join(f"{method} at {', '.join(names)}" if names else method for method, names in outcome.layers.items())
