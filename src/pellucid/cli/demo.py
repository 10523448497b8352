"""``pellucid demo``: one page that shows what the tool does, on images whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.console import guarded


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for the page.")] = Path("demo-output"),
    images: Annotated[int, typer.Option(min=1, help="On how many drawn images the hit rates are measured.")] = 60,
) -> None:
    """Make a page that explains drawn radiographs, a photograph and a DICOM file, and measures the explanations.

    Needs no network and no model. The photograph needs pellucid[demo]; without it the page says so.
    """
    with guarded():
        from rich.console import Console

        from pellucid.demo import write_demo

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.quiet = not console.is_terminal  # who reads a log wants no progress
        page = write_demo(output, images, lambda text: console.print(f"… {text}", markup=False))
        typer.echo(f"{page}: open it in a browser")
