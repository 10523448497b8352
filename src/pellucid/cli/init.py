"""``pellucid init``: write a file with a function that returns a checkpoint's network."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.console import SOME_FAILED, complain, guarded, printable
from pellucid.cli.modelling import Activation, WeightsKey

if TYPE_CHECKING:
    from torch import nn

    from pellucid.models.checkpoints import Checkpoint
    from pellucid.run.factory_file import Facts


EXAMPLES = ("pellucid init best.pt --output model.py",)


def init(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="Weights file.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE.py", help="File to write.")] = Path(
        "model.py"
    ),
    model: Annotated[
        str | None, typer.Option(metavar="SPEC", help="Architecture, where none is recognised, or several are.")
    ] = None,
    weights_key: WeightsKey = None,
    activation: Activation = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists already.")] = False,
) -> None:
    """Write a Python file whose function returns a checkpoint's network, for --model FILE.py:build.

    It has what was recognised: architecture, classes, head, input size and normalisation. What was assumed is marked
    with a comment. No code from the checkpoint is run, and nothing is asked.
    """
    with guarded():
        from pellucid.errors import OptionError
        from pellucid.export.writing import check_writable, write
        from pellucid.run.factory_file import factory_file

        if output.suffix != ".py":
            raise OptionError(f"--output {output} was given; the file is one of Python: name it ….py")
        check_writable(output.parent)
        facts = _facts(checkpoint, model, weights_key, activation)
        text = factory_file(facts, output).encode()
        if not (output.is_file() and output.read_bytes() == text):
            write(output.parent, {output.name: text}, overwrite)
        _report(facts, output, text.count(b"# assumed: "))
    if facts.spec is None:
        raise typer.Exit(SOME_FAILED)


def _facts(path: Path, spec: str | None, key: str | None, activation: str | None) -> Facts:
    """What is known of the network; without an architecture where none is recognised."""
    from pellucid.cli.preparing import Preparation
    from pellucid.cli.request import preprocessing
    from pellucid.errors import CheckpointError, PellucidWarning
    from pellucid.models.checkpoints import read_checkpoint
    from pellucid.models.sources import load_model, model_info
    from pellucid.run.factory_file import Facts

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read = read_checkpoint(path, key)
        try:
            model = load_model(spec, path, weights_key=key, activation=activation)
        except CheckpointError as error:
            if spec is not None:
                raise
            return Facts(path, key, activation, problem=str(error), candidates=error.candidates)
        notes = [str(each.message) for each in caught if issubclass(each.category, PellucidWarning)]
        info = model_info(model)
        prepared = preprocessing(model, Preparation())
    return Facts(
        path,
        key,
        activation,
        spec=info.spec,
        spec_stated=_is_stated(read, info.spec),
        count=_count(model, prepared.channels, prepared.input_size),
        classes=info.classes,
        classes_stated=bool(read.classes),
        head=info.head,
        head_is_a_layer="head" in dict(model.named_children()),
        preprocessing=prepared,
        assumed=info.assumed if info.preprocessing is not None else _everything(model),
        notes=notes,
    )


def _is_stated(read: Checkpoint, spec: str | None) -> bool:
    stated = read.architecture
    return bool(stated) and spec is not None and spec in (stated, f"torchvision:{stated}", f"timm:{stated}")


def _everything(model: nn.Module) -> tuple[str, ...]:
    from pellucid.models.preprocessing import takes_volumes
    from pellucid.models.sources.assumed import parts

    return parts(takes_volumes(model))


def _count(model: nn.Module, channels: int, size: tuple[int, ...] | None) -> int | None:
    """The number of classes, where an image of the usual size shows it."""
    import torch

    with torch.no_grad():
        try:
            scores = model(torch.zeros(1, *(size or (channels, 224, 224))))
        except Exception:  # a network of other inputs, which the file does without
            return None
    return scores.shape[1] if isinstance(scores, torch.Tensor) and scores.ndim == 2 else None


def _report(facts: Facts, output: Path, marks: int) -> None:
    if facts.spec is None:
        complain(f"warning: no architecture was recognised: {facts.problem}")
        complain(f"warning: fill in ARCHITECTURE in {output}; until then, its build() raises an error")
        return
    classes = "" if facts.count is None else f", {facts.count} classes"
    typer.echo(printable(f"{output}: {facts.spec}{classes}; {marks} lines are marked as assumed: check them"))
    typer.echo(printable(f"use it with: pellucid explain IMAGE --model {output}:build --output results"))
