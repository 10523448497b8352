"""``pellucid``: the commands, and the version."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.demo import demo
from pellucid.cli.explain import explain
from pellucid.cli.layers import layers
from pellucid.cli.methods import methods
from pellucid.cli.push import push
from pellucid.cli.tune import tune

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(demo)
app.command()(explain)
app.command()(layers)
app.command()(methods)
app.command()(push)
app.command()(tune)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pellucid {version('pellucid')}")
        raise typer.Exit


@app.callback()
def pellucid(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Visual explanations of image classifiers, made for medicine: which pixels made the model say so.

    Exit codes: 0 all done, 1 some inputs failed, 2 wrong usage, 3 nothing done, 130 interrupted.
    """


def run() -> None:
    """Run the command line."""
    app()
