"""``pellucid demo``: write a page of explanations of images whose findings are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.console import guarded

EXAMPLES = ("pellucid demo --output demo-output --images 20",)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write the page to.")] = Path("demo-output"),
    images: Annotated[int, typer.Option(min=1, help="Number of drawn images to measure hit rates on.")] = 60,
) -> None:
    """Write a page that explains drawn radiographs, a photograph and a DICOM file, and measures the explanations.

    Needs neither a network connection nor a model. The photograph needs the extra "demo" of the package.
    """
    with guarded():
        from rich.console import Console

        from pellucid.demo import write_demo

        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.quiet = not console.is_terminal  # progress messages would clutter a log
        page = write_demo(output, images, lambda text: console.print(f"… {text}", markup=False))
        typer.echo(f"{page}: open it in a browser")
