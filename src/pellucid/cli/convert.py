"""``pellucid convert``: take the weights out of a file that holds a whole network, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.console import guarded, printable

if TYPE_CHECKING:
    from pellucid.models.checkpoints.modules import Found

EXAMPLES = ("pellucid convert whole.pt --output weights.safetensors",)
SHOWN = 8
"""Names in one line."""


def convert(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A pickled network, a TorchScript archive, or a checkpoint.")
    ],
    output: Annotated[
        Path | None, typer.Option(metavar="OUT.safetensors", help="File to write (default: beside FILE).")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists already.")] = False,
) -> None:
    """Write the weights of a network that was saved as a whole into a .safetensors file. No code from FILE is run.

    `pellucid explain --checkpoint` loads the result. The weights have the names of the network's state_dict().
    """
    with guarded():
        from pellucid.errors import OptionError
        from pellucid.export.writing import check_writable, write
        from pellucid.models.checkpoints.converting import as_safetensors, take_out

        target = output or file.with_suffix(".safetensors")
        if target.suffix.lower() != ".safetensors":
            raise OptionError(f"--output {target} was given; the file is of that format: name it ….safetensors")
        if target.exists() and file.exists() and target.samefile(file):
            raise OptionError(f"{file} would replace itself; name another file with --output")
        check_writable(target.parent)
        found = take_out(file)
        write(target.parent, {target.name: as_safetensors(found.state, file)}, overwrite)
        typer.echo(printable(_summary(target, found)))
        if found.left_out:
            typer.echo(printable(f"left out: {_listed(found.left_out)}"))


def _summary(target: Path, found: Found) -> str:
    numbers = sum(value.numel() for value in found.state.values())
    return f"{target}: {len(found.state)} tensors of {numbers:,} numbers"


def _listed(names: list[str]) -> str:
    shown = ", ".join(name[:100] for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
