"""``pellucid doctor``: report what is installed, what this machine can do, and what is slow about it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from pellucid.cli.console import guarded, print_json, printable

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


EXAMPLES = ("pellucid doctor --json",)


def doctor(as_json: AsJson = False) -> None:
    """Report versions, devices, threads, DICOM decoders and extras, and what is slow about this machine.

    For reports of errors: it names neither the user nor files.
    """
    with guarded():
        from pellucid.run.doctor import report

        found = report()
        if as_json:
            print_json(json.dumps(found, indent=2))
        else:
            typer.echo("\n".join(printable(line) for line in _lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    for section, facts in found.items():
        yield section
        if isinstance(facts, Mapping):
            width = max(map(len, facts), default=0)
            yield from (f"  {name:{width}}  {text}" for name, text in facts.items())
        else:
            yield from (f"  {line}" for line in facts or ["nothing that was looked for"])
