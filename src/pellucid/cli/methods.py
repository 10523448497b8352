"""``pellucid methods``: list the names that ``--method`` accepts."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pellucid.cli.console import guarded, print_json
from pellucid.errors import warn

EXAMPLES = ("pellucid methods --json",)


def methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """List the explanation methods with their papers and options."""
    with guarded():
        from pellucid.core import catalogue

        found = [cls for _, cls in sorted(catalogue.registered().items())]
        facts: dict[str, dict[str, object]] = {
            cls.name: {"summary": catalogue.summary(cls), "options": catalogue.settings(cls)} for cls in found
        }
        if as_json:
            print_json(json.dumps(facts, indent=2))
        else:
            _table(facts)
        for failure in catalogue.failures():
            warn(failure)


def _table(facts: dict[str, dict[str, object]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("method", "what it does", "options (--set name=value)")
    for name, about in facts.items():
        options = about["options"]
        text = "\n".join(f"{key}={value}" for key, value in options.items()) if isinstance(options, dict) else ""
        table.add_row(name, str(about["summary"]), text)
    Console().print(table)
