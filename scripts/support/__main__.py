"""``python -m scripts.support oldest`` or ``newest``: test one end of the promised range of versions.

The command makes an environment in ``build/``, installs the package there with the oldest or newest version of every
dependency, runs a part of the tests, and removes the environment. It writes the outcome to ``docs/results``.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.support.environment import Environment, SetupError, interpreter, require_room
from scripts.support.report import Result, Tests, write_page
from scripts.support.requirements import BoundError, Dependency, Project

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
TESTS = [f"tests/{name}" for name in ("contract", "replicas", "io", "export", "render", "core")]
GIGABYTES = 20


@dataclass(frozen=True)
class End:
    """One end of the range: its Python, the requirement that pip gets for a dependency, and options for pytest."""

    python: Callable[[Project], str]
    requirement: Callable[[Dependency], str]
    options: tuple[str, ...] = ()


ENDS = {
    "oldest": End(
        lambda project: project.oldest_python,
        lambda dependency: dependency.oldest(),
        # Old releases use what newer releases of their own dependencies deprecate: matplotlib 3.9 and pyparsing.
        ("-W", "ignore::DeprecationWarning"),
    ),
    "newest": End(
        lambda project: project.newest_python,
        lambda dependency: str(dependency.requirement),
        # highdicom leaves the database in memory of each object that it makes open; Python 3.13 warns of it. Within a
        # test that makes warnings errors itself, pytest reports that as an error that nothing could raise.
        (
            *("-W", "ignore:unclosed database:ResourceWarning"),
            *("-W", "ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
    ),
}


def arguments(given: Sequence[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.support", description="Test one end of the versions' range."
    )
    parser.add_argument("end", choices=ENDS)
    parser.add_argument("--python", help="interpreter to use (default: one of the promised version on this machine)")
    parser.add_argument(
        "--reports",
        nargs="+",
        type=Path,
        help="JUnit reports of tests that were run by hand in a kept environment, instead of running them",
    )
    parser.add_argument("--keep", action="store_true", help="keep the environment, and use a kept one")
    return parser.parse_args(given)


def run(options: argparse.Namespace) -> Result:
    """Make the environment, run the tests in it, and remove it unless it is to be kept.

    Raises
    ------
    SetupError
        If the environment cannot be made, or pytest does not run in it.
    """
    project = Project.read(ROOT / "pyproject.toml")
    end = ENDS[options.end]
    environment = Environment(ROOT / "build" / f"support-{options.end}")
    if not environment.python.exists():
        require_room(ROOT, GIGABYTES)
    try:
        environment.create(options.python or interpreter(end.python(project)))
        if options.reports:
            return _result(options.end, environment, project, {}, Tests.read(options.reports))
        missing = _install(environment, project.dependencies(), end.requirement)
        return _result(options.end, environment, project, missing, _tested(environment, end.options))
    finally:
        if not options.keep:
            environment.remove()


def _install(
    environment: Environment, dependencies: Sequence[Dependency], requirement: Callable[[Dependency], str]
) -> dict[str, str]:
    """Install the package and its dependencies; returns why each optional one that pip refuses is left out."""
    refusals = {each.name: environment.refusal(requirement(each)) for each in dependencies if each.extra}
    missing = {name: reason for name, reason in refusals.items() if reason}
    wanted = [requirement(each) for each in dependencies if each.name not in missing]
    environment.install(["--upgrade", "--upgrade-strategy", "eager", "--editable", str(ROOT), *wanted])
    return missing


def _tested(environment: Environment, options: Sequence[str]) -> Tests:
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        environment.test([*options, *TESTS], report)
        if not report.exists():
            raise SetupError("pytest did not run in the environment: its messages are above")
        return Tests.read([report])


def _result(name: str, environment: Environment, project: Project, missing: dict[str, str], tests: Tests) -> Result:
    """The outcome, with the versions that the environment holds; a package that it lacks is missing."""
    installed = json.loads(environment.installed())
    packages: dict[str, str] = installed["packages"]
    names = [each.name for each in project.dependencies()]
    return Result(
        end=name,
        date=datetime.now(UTC).date().isoformat(),
        system=f"{platform.system()} {platform.machine()}",
        python=installed["python"],
        folders=TESTS,
        versions={each: packages[each] for each in names if each in packages},
        missing={each: missing.get(each, "not installed") for each in names if each not in packages},
        tests=tests,
    )


def main(given: Sequence[str]) -> int:
    """Run one end, write its outcome, and return 1 if a test failed or the environment could not be made."""
    options = arguments(given)
    try:
        result = run(options)
    except (BoundError, SetupError) as error:
        print(error, file=sys.stderr)
        return 1
    result.write(RESULTS)
    write_page(RESULTS, Project.read(ROOT / "pyproject.toml").dependencies())
    print(f"{options.end}: {result.tests.passed} passed, {result.tests.failed} failed, {result.tests.skipped} skipped")
    return 1 if result.tests.failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
