"""``pellucid mlflow``: send to MLflow what was logged and not sent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.console import NOTHING_DONE, SOME_FAILED, complain, guarded, printable
from pellucid.cli.derived import DerivedHelp
from pellucid.cli.tracked import silent_mlflow

EXAMPLES = ("pellucid mlflow sync results",)

mlflow = typer.Typer(no_args_is_help=True, epilog="\n\n".join(("Examples:", *EXAMPLES)))


@mlflow.callback()
def commands() -> None:
    """Send runs to MLflow that could not be sent when they were logged."""


@mlflow.command(cls=DerivedHelp)
def sync(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of results, or of runs.")],
    uri: Annotated[
        str | None,
        typer.Option("--mlflow", metavar="URI", help="Address in place of the one that the runs were logged for."),
    ] = None,
) -> None:
    """Send what a server has not received of the runs in DIR and below it, each entry once."""
    with guarded():
        from pellucid.tracking.syncing import sync as synced

        with silent_mlflow():
            found = list(synced(folder, uri))
        for one in found:
            if one.error:
                complain(f"error: {one.folder}: {one.error}")
            if one.refused:
                complain(f"warning: {one.folder}: {one.where} refused {one.refused} entries for good")
        failed = sum(bool(one.error) for one in found)
        runs = "run" if len(found) == 1 else "runs"
        typer.echo(printable(f"{sum(one.sent for one in found)} entries of {len(found)} {runs} sent"))
        if failed:
            raise typer.Exit(NOTHING_DONE if failed == len(found) else SOME_FAILED)
