"""Turn a run's outcome into JSON, and the JSON of both ends into the page that the documentation includes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from scripts.support.requirements import Dependency

ENDS = ("oldest", "newest")
_TEMPORARY = re.compile(r"\S*/pytest-of-\S*/")
"""The folder of a file that a test wrote."""


@dataclass(frozen=True)
class Tests:
    """What pytest reports: counts, the first line of each failure, and how many tests each reason skipped."""

    passed: int
    failed: int
    skipped: int
    failures: dict[str, str]
    skips: dict[str, int]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Tests:
        """Read JUnit reports. Of a test that is in several, the last counts.

        An error outside a test, such as a failed import, counts as failed.
        """
        roots = [ElementTree.parse(path).getroot() for path in paths]  # noqa: S314  # pytest has written them
        cases = list({_name(case): case for root in roots for case in root.iter("testcase")}.values())
        failures = {_name(case): _message(found) for case in cases for found in _children(case, "failure", "error")}
        skips = Counter(_message(found) for case in cases for found in _children(case, "skipped"))
        skipped = sum(skips.values())
        return cls(len(cases) - len(failures) - skipped, len(failures), skipped, failures, dict(skips))


@dataclass(frozen=True)
class Result:
    """The outcome at one end of the range: date, system, versions, what is missing and what the tests reported."""

    end: str
    date: str
    system: str
    python: str
    folders: list[str]
    versions: dict[str, str]
    missing: dict[str, str]
    tests: Tests

    def write(self, folder: Path) -> None:
        """Write ``support-<end>.json``."""
        (folder / f"support-{self.end}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Result:
        """Read such a file."""
        fields = json.loads(path.read_text())
        return cls(**{**fields, "tests": Tests(**fields["tests"])})


def write_page(folder: Path, dependencies: Sequence[Dependency]) -> None:
    """Write ``support.md`` from the JSON of the ends that were run."""
    paths = [folder / f"support-{end}.json" for end in ENDS]
    results = [Result.read(path) for path in paths if path.exists()]
    (folder / "support.md").write_text("\n".join(_page(results, dependencies)) + "\n")


def _page(results: Sequence[Result], dependencies: Sequence[Dependency]) -> Iterator[str]:
    yield from _table(
        ["", *(f"{result.end} versions" for result in results)],
        [
            ["date", *(result.date for result in results)],
            ["system", *(result.system for result in results)],
            ["Python", *(result.python for result in results)],
            ["tests passed", *(str(result.tests.passed) for result in results)],
            ["tests failed", *(str(result.tests.failed) for result in results)],
            ["tests skipped", *(str(result.tests.skipped) for result in results)],
        ],
    )
    yield from ("", "## Versions of the direct dependencies", "")
    yield from _table(
        ["package", "required", "extra", *(f"{result.end} tested" for result in results)],
        [_row(dependency, results) for dependency in dependencies],
    )
    for result in results:
        yield from ("", f"## What is not promised with the {result.end} versions", "", *_gaps(result, dependencies))


def _row(dependency: Dependency, results: Sequence[Result]) -> list[str]:
    versions = [result.versions.get(dependency.name, "not installed") for result in results]
    return [f"`{dependency.name}`", f"`{dependency.requirement.specifier}`", dependency.extra, *versions]


def _gaps(result: Result, dependencies: Sequence[Dependency]) -> Iterator[str]:
    """What was not installed, failed or was skipped, or that there is nothing of the kind."""
    extras = {dependency.name: dependency.extra for dependency in dependencies}
    for name, reason in result.missing.items():
        yield f"- `{name}` (extra `{extras.get(name, '')}`) could not be installed: {_cell(reason)}"
    for test, reason in result.tests.failures.items():
        yield f"- `{test}` fails: {_cell(reason)}"
    for reason, count in result.tests.skips.items():
        yield f"- {count} skipped: {_cell(reason)}"
    if not (result.missing or result.tests.failures or result.tests.skips):
        yield "Every package was installed, and every test ran and passed."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    """Text that Markdown and HTML leave alone, on one line."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname')}::{case.get('name')}"


def _children(case: ElementTree.Element, *tags: str) -> list[ElementTree.Element]:
    """The first child of one of these tags: a test that fails and then fails to clean up is one failure."""
    return [child for child in case if child.tag in tags][:1]


def _message(found: ElementTree.Element) -> str:
    lines = (found.get("message") or found.text or "no message").strip().splitlines()
    return _TEMPORARY.sub("", lines[0])
