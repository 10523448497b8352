"""``pellucid``: the command line's entry point, with its commands and the version."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.choose import choose
from pellucid.cli.convert import convert
from pellucid.cli.demo import demo
from pellucid.cli.derived import DerivedHelp
from pellucid.cli.doctor import doctor
from pellucid.cli.ending import ended_by_signals
from pellucid.cli.evaluate import evaluate
from pellucid.cli.explain import explain
from pellucid.cli.init import init
from pellucid.cli.layers import layers
from pellucid.cli.methods import methods
from pellucid.cli.mlflow import mlflow
from pellucid.cli.push import push
from pellucid.cli.robustness import robustness
from pellucid.cli.tune import tune
from pellucid.core.allocator import keep_memory

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(cls=DerivedHelp)(choose)
app.command(cls=DerivedHelp)(convert)
app.command(cls=DerivedHelp)(demo)
app.command(cls=DerivedHelp)(doctor)
app.command(cls=DerivedHelp)(evaluate)
app.command(cls=DerivedHelp)(explain)
app.command(cls=DerivedHelp)(init)
app.command(cls=DerivedHelp)(layers)
app.command(cls=DerivedHelp)(methods)
app.add_typer(mlflow, name="mlflow")
app.command(cls=DerivedHelp)(push)
app.command(cls=DerivedHelp)(robustness)
app.command(cls=DerivedHelp)(tune)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"pellucid {version('pellucid')}")
        raise typer.Exit


@app.callback()
def pellucid(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Visual explanations of medical image classifiers: the pixels that a prediction is based on.

    Exit codes: 0 success, 1 some inputs failed, 2 wrong usage, 3 all inputs failed, 130 interrupted.
    """


def run() -> None:
    """Run the command line. It owns its process, so it keeps the process's memory."""
    keep_memory()
    with ended_by_signals():
        app(prog_name="pellucid")  # also where it is run by python -m
