"""What ``pellucid explain`` prints when it is done: a table, or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pellucid.cli.console import printable
from pellucid.core.caption import class_text, explained_by
from pellucid.core.reading import Reading
from pellucid.export.metadata import finite
from pellucid.run.results import Outcome

_MAX_ROWS = 20
"""The most rows of the table."""
_MAX_CLASSES = 5
"""The most explained classes of an image in the table."""
_MAX_PATH = 30
"""The most characters of a path in the table."""


def as_text(outcomes: list[Outcome]) -> str:
    """The outcomes as a JSON list."""
    return json.dumps([_facts(outcome) for outcome in outcomes], indent=2)


def _facts(outcome: Outcome) -> dict[str, object]:
    if outcome.prediction is None:
        return {"image": str(outcome.path), "error": str(outcome.error)}
    return {
        "image": str(outcome.path),
        **_prediction(outcome.prediction),
        "explained": [_explained(one) for one in outcome.explained],
        "layers": {method: list(layers) for method, layers in outcome.layers.items()},
        "files": [str(path) for path in outcome.files],
        "warnings": list(outcome.warnings),
        "refused": list(outcome.refused),
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


def show(outcomes: list[Outcome], output: Path) -> None:
    """Print the outcomes as a table, and where the results are."""
    done = [outcome for outcome in outcomes if outcome.prediction is not None]
    figure = "value" if any(outcome.prediction.value is not None for outcome in done if outcome.prediction) else "p"
    headings = ("image", "predicted", figure, "explained", figure, "by")
    table = Table(*(Column(heading, overflow="fold") for heading in headings))
    for outcome in done[:_MAX_ROWS]:
        for row in _rows(outcome):
            table.add_row(*map(escape, row))
    console = Console(emoji=False)
    if done:
        console.print(table)
    if len(done) > _MAX_ROWS:
        console.print(f"… and {len(done) - _MAX_ROWS} more, each with its JSON file")
    failed = f", {len(outcomes) - len(done)} failed" if len(done) < len(outcomes) else ""
    console.print(
        f"{len(done)} explained{failed}; results are in {printable(str(output))}", markup=False, highlight=False
    )


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
