"""What ``pellucid explain`` prints when it is done: a table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pellucid.cli.console import printable
from pellucid.cli.wording import as_options
from pellucid.core.caption import class_text, explained_by
from pellucid.core.reading import Reading
from pellucid.export.metadata import finite
from pellucid.run.inputs import Input
from pellucid.run.outcome import Outcome

_MAX_ROWS = 20
"""The most rows of the table."""
_MAX_CLASSES = 5
"""The most explained classes of an image in the table."""
_MAX_PATH = 30
"""The most characters of a path in the table."""


@dataclass(frozen=True)
class Summary:
    """What became of all inputs, in numbers.

    ``passed_over``: their results were already there; ``incomplete``: of both, those without one of the formats that
    were asked for, which the image does not allow; ``links``: further paths to a file that is an input;
    ``output`` is the folder of the results, None where there are none.
    """

    explained: int
    passed_over: int
    failed: int
    incomplete: int
    links: int
    output: str | None

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], files: Sequence[Input], output: Path) -> Summary:
        """The summary of a run."""
        failed = sum(outcome.error is not None for outcome in outcomes)
        passed_over = sum(outcome.passed_over for outcome in outcomes)
        incomplete = sum(bool(outcome.refused) for outcome in outcomes)
        links = sum(len(file.links) for file in files)
        where = str(output) if failed < len(outcomes) else None
        return cls(len(outcomes) - failed - passed_over, passed_over, failed, incomplete, links, where)

    @property
    def text(self) -> str:
        """The summary in one line."""
        parts = [f"{self.explained} explained"]
        parts += [f"{self.passed_over} passed over (already done)"] if self.passed_over else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.incomplete} without a format that was asked for"] if self.incomplete else []
        parts += [f"{self.links} {'link' if self.links == 1 else 'links'} to the same file"] if self.links else []
        where = "" if self.output is None else f"; results are in {printable(self.output)}"
        return ", ".join(parts) + where


def as_text(outcomes: Sequence[Outcome], summary: Summary) -> str:
    """The outcomes and their summary as a JSON object."""
    return json.dumps({"images": [_facts(outcome) for outcome in outcomes], "summary": asdict(summary)}, indent=2)


def _facts(outcome: Outcome) -> dict[str, object]:
    if outcome.error is not None:
        return {"image": str(outcome.path), "error": as_options(str(outcome.error))}
    written = {"files": [str(path) for path in outcome.files]}
    notes = {
        "warnings": list(map(as_options, outcome.warnings)),
        "refused": list(map(as_options, outcome.refused)),
    }
    if outcome.prediction is None:
        return {"image": str(outcome.path), "passed_over": outcome.passed_over, **written, **notes}
    return {
        "image": str(outcome.path),
        **_prediction(outcome.prediction),
        "explained": [_explained(one) for one in outcome.explained],
        "layers": {method: list(layers) for method, layers in outcome.layers.items()},
        **written,
        **notes,
    }


def _prediction(reading: Reading) -> dict[str, object]:
    """The predicted class with its probability, or the value of a regression head."""
    if reading.value is not None:
        return {"value_name": reading.name, "value": finite(reading.value)}
    confidence = None if reading.probability is None else finite(reading.probability)
    return {"predicted_class": reading.index, "predicted_name": reading.name, "confidence": confidence}


def _explained(reading: Reading) -> dict[str, object]:
    """A class that is explained."""
    figures = {"probability": reading.probability, "value": reading.value}
    known = {name: finite(figure) for name, figure in figures.items() if figure is not None}
    return {"class": reading.index, "name": reading.name, **known}


def refusals(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Why formats are missing, in one line for each reason: a folder of photographs has the same one for each."""
    without: dict[str, list[Path]] = {}
    for outcome in outcomes:
        for reason in outcome.refused:
            without.setdefault(reason, []).append(outcome.path)
    for reason, (first, *others) in without.items():
        more = f" and {len(others)} more {'image' if len(others) == 1 else 'images'}" if others else ""
        yield f"{first}{more}: {reason}"


def show(outcomes: Sequence[Outcome], summary: Summary) -> None:
    """Print the outcomes as a table, and the summary."""
    done = [outcome for outcome in outcomes if outcome.prediction is not None]
    figure = "value" if any(outcome.prediction.value is not None for outcome in done if outcome.prediction) else "p"
    headings = ("image", "predicted", figure, "explained", f"its {figure}", "by")
    table = Table(*(Column(heading, overflow="fold") for heading in headings))
    for outcome in done[:_MAX_ROWS]:
        for row in _rows(outcome):
            table.add_row(*map(escape, row))
    console = Console(emoji=False)
    if done:
        console.print(table)
    if len(done) > _MAX_ROWS:
        console.print(f"… and {len(done) - _MAX_ROWS} more, each with its JSON file")
    console.print(summary.text, markup=False, highlight=False)


def _tail(path: Path) -> str:
    """The end of a long path, which is the part that differs between files."""
    text = str(path)
    return text if len(text) <= _MAX_PATH else f"…{text[-_MAX_PATH:]}"


def _rows(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    """A row for each explained class, of which the first also names the image and the prediction."""
    predicted = ("", "") if outcome.prediction is None else _class(outcome.prediction)
    first = (printable(_tail(outcome.path)), *predicted)
    last = _layers_of(outcome)
    for one in outcome.explained[:_MAX_CLASSES]:
        yield (*first, *_class(one), last)
        first, last = ("", "", ""), ""
    if len(outcome.explained) > _MAX_CLASSES:
        yield ("", "", "", f"… and {len(outcome.explained) - _MAX_CLASSES} more", "", "")


def _class(reading: Reading) -> tuple[str, str]:
    """A class and its probability, or a value."""
    return printable(class_text(reading.name, reading.index)), reading.figure


def _layers_of(outcome: Outcome) -> str:
    """The methods with their layers, one a line."""
    return "\n".join(printable(explained_by(method, names)) for method, names in outcome.layers.items())
