"""What commands over a data set share: its options, the network that they make, and their progress."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.completing import among
from pellucid.cli.console import SOME_FAILED, complain
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from torch import nn

    from pellucid.cli.preparing import Preparation
    from pellucid.evaluation.case import Exclusion
    from pellucid.evaluation.scoring.network import Network
    from pellucid.evaluation.scoring.survey import Progress

DATA_PANEL = "Data set"
DataSet = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Folder of images and masks, table (CSV), annotation file, or phantoms. Forms: {forms}.",
    ),
]
DataForm = Annotated[
    str | None,
    typer.Option(
        help="Form of the data set, if it is not recognised: {forms}.",
        rich_help_panel=DATA_PANEL,
        autocompletion=among("forms"),
    ),
]
ImageFolder = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Folder of the images (default: beside the file).", rich_help_panel=DATA_PANEL),
]
MaskFolder = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Folder of the masks.", rich_help_panel=DATA_PANEL)
]
LabelClass = Annotated[
    list[str] | None,
    typer.Option(
        metavar="LABEL=CLASS",
        help="Class of the model that a label of the data set stands for, if its name differs. May be repeated.",
        rich_help_panel=DATA_PANEL,
    ),
]


def split_names(texts: Sequence[str] | None) -> list[str]:
    """Names with commas between them; those within parentheses belong to options."""
    return [part.strip() for text in texts or [] for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def pairs(option: str, form: str, texts: Sequence[str] | None) -> Iterator[tuple[str, str]]:
    """The names and values of an option that is written as in ``form``. ``OptionError``: one is not."""
    for text in texts or []:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not (sign and name and value):
            raise OptionError(f"{option} {text} was given; write {option} {form}")
        yield name, value


@dataclass(frozen=True)
class Computation:
    """Where the model runs, and how many images at a time."""

    device: str
    batch_size: int

    @classmethod
    def of(cls, device: str, batch_size: int | None) -> Computation:
        """The device and batch size of the options."""
        from pellucid.cli.request import chosen_device, chosen_size

        resolved = chosen_device(device)
        return cls(resolved, chosen_size(batch_size, resolved))

    def network(
        self, model: nn.Module, given: Preparation, classes: Path | None, head: str, model_output: str | None
    ) -> Network:
        """The model with what the options say of it."""
        from pellucid.cli.request import class_names, preprocessing
        from pellucid.core.head import check_head
        from pellucid.core.runtime import Runtime
        from pellucid.evaluation.scoring.network import Network
        from pellucid.models.sources.known import restate

        check_head(head)
        restate(model, head, model_output)
        names = None if classes is None else class_names(classes)
        runtime = Runtime(self.device, batch_size=self.batch_size)
        return Network(model, preprocessing(model, given), names, head, model_output, runtime)


def report_failures(excluded: Iterable[Exclusion]) -> int:
    """Report each image and mask that is broken or does not fit; the command's exit code, 0 if there is none."""
    failures = [one for one in excluded if one.failed]
    for one in failures:
        complain(f"error: {one}")
    return SOME_FAILED if failures else 0


@contextmanager
def progress_bar(silent: bool) -> Iterator[Progress]:
    """A progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=silent or not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, done, of: bar.update(task, description=what, completed=done, total=of)
