"""Makes the page: one HTML file that loads nothing from anywhere but the large images beside it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from pellucid.core.caption import NOT_FOR_DIAGNOSIS, explained_by
from pellucid.core.ordering import by_number
from pellucid.errors import counted
from pellucid.render.encoding import read_thumbnail
from pellucid.report.cases import Case, cases
from pellucid.report.maps import Map
from pellucid.report.templating import policy, templates
from pellucid.report.values import text
from pellucid.run.remedies import REMEDIES

GENERATOR = "pellucid"
"""What the page names as its generator, with the version."""
_MAX_MAPS = 10_000
"""The most maps on the page; the table has all."""
_MAX_THUMBNAILS = 2000
"""With more maps, the page holds a thumbnail of the first map of each case only: some 5 kB each."""


def page(
    folder: Path, maps: Sequence[Map], failed: Mapping[str, str], unread: Sequence[str], tables: Sequence[str]
) -> bytes:
    """The page of a folder's maps, of the inputs that failed with the reasons, and of files that could not be read.

    ``tables`` are the names of the files with the table.
    """
    shown = cases(maps[:_MAX_MAPS])
    small = _thumbnails(folder, shown)
    environment = _environment()
    style = Markup(environment.get_template("index.css").render())  # noqa: S704  # the package's own, without values
    script = Markup(environment.get_template("index.js").render())  # noqa: S704
    made: str = environment.get_template("index.html").render(
        cases=shown,
        thumbnail=lambda one: small.get(id(one), ""),
        explained_by=explained_by,
        counted=counted,
        settings=_numbered(shown),
        choices=_choices(shown),
        remedies=REMEDIES,
        failed=failed,
        unread=unread,
        tables=tables,
        values=any(case.prediction.are_values for case in shown),
        judged=any(case.first.is_correct is not None for case in shown),
        methods=len({one.method for case in shown for one in case.maps}),
        models=len({one.model for case in shown for one in case.maps}),
        left_out=max(0, len(maps) - _MAX_MAPS),
        maps=len(maps),
        warning=NOT_FOR_DIAGNOSIS,
        generator=f"{GENERATOR} {version('pellucid')}",
        style=style,
        script=script,
        policy=policy(style, [script]),
    )
    return made.encode("utf-8", "replace")


@cache
def _environment() -> Environment:
    environment = templates("pellucid.report")
    environment.filters |= {"figure": _figure, "chance": _chance, "ending": _ending}
    return environment


def _thumbnails(folder: Path, shown: Sequence[Case]) -> dict[int, str]:
    """The thumbnails by the identity of their map."""
    count = sum(len(case.maps) for case in shown)
    maps = [one for case in shown for one in (case.maps if count <= _MAX_THUMBNAILS else case.maps[:1])]
    return {id(one): _thumbnail(folder, one) for one in maps}


def _thumbnail(folder: Path, one: Map) -> str:
    """The thumbnail that an overlay holds, as a data URI; "" where there is none."""
    try:
        found = read_thumbnail(folder / one.folder / one.overlay) if one.overlay else b""
    except OSError:
        return ""
    return f"data:image/jpeg;base64,{base64.b64encode(found).decode()}" if found else ""


def _numbered(shown: Sequence[Case]) -> dict[tuple[tuple[str, str], ...], int]:
    """The settings of all maps, each once, with a number."""
    each = dict.fromkeys(one.settings for case in shown for one in case.maps)
    return {settings: number for number, settings in enumerate(each, 1)}


@dataclass(frozen=True)
class Choice:
    """What maps can be filtered by: the name in the page's code, the words for it, and a map's values."""

    key: str
    title: str
    of: Callable[[Map], Sequence[str]]


_CHOICES = (
    Choice("explained", "Explained class", lambda one: [one.explains]),
    Choice("predicted", "Predicted class", lambda one: [one.prediction.name]),
    Choice("label", "Label", lambda one: one.labels),
    Choice("split", "Split", lambda one: [one.split]),
    Choice("method", "Method", lambda one: [one.method]),
    Choice("model", "Model", lambda one: [one.model]),
)


def _choices(shown: Sequence[Case]) -> list[tuple[Choice, list[str]]]:
    """The choices where there is one, with their values."""
    maps = [one for case in shown for one in case.maps]
    values = [
        (choice, sorted({value for one in maps for value in choice.of(one)} - {""}, key=by_number))
        for choice in _CHOICES
    ]
    needless = _CHOICES[:1] if all(one.predicted for one in maps) else ()
    return [(choice, each) for choice, each in values if len(each) > 1 and choice not in needless]


def _ending(name: str) -> str:
    """What a file shows, by the end of its name."""
    return text(name.rpartition("_")[2])


def _figure(value: float | None) -> str:
    """A number with three digits, or a dash."""
    return "–" if value is None else f"{value:.3g}"


def _chance(value: float | None) -> str:
    """A probability with three decimals, or a dash."""
    return "–" if value is None else f"{value:.3f}"
