"""``pellucid methods``: list the names that ``--method`` accepts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.cli.console import guarded, print_json
from pellucid.errors import warn

if TYPE_CHECKING:
    from pellucid.core.method import Method
    from pellucid.core.registry import Registry

EXAMPLES = ("pellucid methods --json",)
Facts = dict[str, dict[str, Any]]


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """List the explanation methods with their papers and options, and the priors, which never ask the model.

    Methods whose maps were no less alike with random weights than with other trained ones are marked (docs/gates.md).
    """
    with guarded():
        from pellucid.core.catalogue import METHODS, PRIORS

        known, priors = _facts(METHODS), _facts(PRIORS)
        if as_json:
            print_json(json.dumps({**known, "priors": priors}, indent=2))
        else:
            _table("method", known)
            _table("prior (never asks the model)", priors)
        for failure in (*METHODS.failures(), *PRIORS.failures()):
            warn(failure)


def _facts(registry: Registry[Method]) -> Facts:
    return {name: _about(cls) for name, cls in sorted(registry.registered().items())}


def _about(cls: type[Method]) -> dict[str, Any]:
    from pellucid.core import catalogue, gates

    found = {"summary": catalogue.summary(cls), "options": catalogue.settings(cls)}
    return found if cls.made_from != "model" else {**found, "random_weights": gates.outcomes(cls.name)}


def _table(heading: str, facts: Facts) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(heading, "what it does", "options (--set name=value)")
    for name, about in facts.items():
        text = "\n".join(f"{key}={value}" for key, value in about["options"].items())
        table.add_row(name, f"{about['summary']}{_warning(name)}", text)
    Console().print(table)


def _warning(name: str) -> str:
    """Where a method's maps do not depend on the weights, if they were found not to."""
    from pellucid.core.gates import failures

    places = ", ".join(failures(name))
    return f"\nFAILS the test against random weights: {places}." if places else ""
