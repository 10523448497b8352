"""Make a virtual environment, install packages into it, and run the tests there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_VERSIONS = """
import importlib.metadata, json, platform
names = {each.metadata["Name"].lower().replace("_", "-").replace(".", "-"): each.version
         for each in importlib.metadata.distributions()}
print(json.dumps({"python": platform.python_version(), "packages": names}))
"""
"""Runs in the environment. Names are normalised by hand, since nothing else need be installed there."""


class SetupError(RuntimeError):
    """The environment cannot be made: no such Python, no room on the disk, or pip finds no set of versions."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment in a folder of its own."""

    path: Path

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.path / "bin" / "python"

    def create(self, interpreter: str) -> None:
        """Make it, unless it is there already.

        Raises
        ------
        SetupError
            If the interpreter cannot.
        """
        if not self.python.exists():
            ran = _run([interpreter, "-m", "venv", str(self.path)])
            if ran.returncode:
                raise SetupError(f"{interpreter} cannot make an environment\n{ran.stderr.strip()}")

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def refusal(self, requirement: str) -> str:
        """Why pip cannot install this one requirement here; empty where it can. Nothing is installed."""
        ran = self._pip("install", "--quiet", "--dry-run", "--no-deps", requirement)
        return _last_error(ran.stderr) if ran.returncode else ""

    def install(self, arguments: Sequence[str]) -> None:
        """Install with pip, everything in one resolution.

        Raises
        ------
        SetupError
            If pip fails, with pip's own messages.
        """
        ran = self._pip("install", "--quiet", *arguments)
        if ran.returncode:
            raise SetupError(f"pip cannot install what was asked for\n{ran.stderr.strip()}")

    def installed(self) -> str:
        """JSON: the version of Python, and the version of every installed package by normalised name."""
        return _run([str(self.python), "-c", _VERSIONS]).stdout

    def test(self, arguments: Sequence[str], report: Path) -> None:
        """Run pytest with these options and paths in one worker process with one thread; it writes a JUnit report."""
        command = [str(self.python), "-m", "pytest", "-q", "-n", "1", f"--junitxml={report}", *arguments]
        _run(command, capture_output=False)

    def _pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # Several GB of wheels that are needed once would stay in pip's cache.
        return _run([str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-cache-dir", *arguments])


def _run(command: Sequence[str], capture_output: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command with one thread, and with nothing of another environment on Python's path."""
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    variables["OMP_NUM_THREADS"] = "1"
    return subprocess.run(  # noqa: S603  # the commands are this module's own
        command, capture_output=capture_output, text=True, check=False, env=variables
    )


def interpreter(version: str) -> str:
    """The path of an interpreter of this version, such as ``3.13``: on the search path, or one of pyenv's.

    Raises
    ------
    SetupError
        If there is none.
    """
    for candidate in _candidates(version):
        code = f"import sys; raise SystemExit('%d.%d' % sys.version_info[:2] != {version!r})"
        if _run([candidate, "-c", code]).returncode == 0:
            return candidate
    raise SetupError(f"Python {version} is not installed: install it, or name one with --python")


def _candidates(version: str) -> Iterator[str]:
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        yield sys.executable
    found = shutil.which(f"python{version}")
    if found:
        yield found  # pyenv's shims are found, too, and fail where another version is chosen
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from (str(path) for path in sorted(root.glob(f"versions/{version}.*/bin/python")))


def require_room(folder: Path, gigabytes: int) -> None:
    """Check that the disk has room for an environment.

    Raises
    ------
    SetupError
        If it has less.
    """
    free = shutil.disk_usage(folder).free // 10**9
    if free < gigabytes:
        raise SetupError(f"an environment with PyTorch needs {gigabytes} GB on this disk, {free} are free")


def _last_error(text: str) -> str:
    """The last of pip's errors: what it could not find, after what it looked at."""
    lines = [line.removeprefix("ERROR: ") for line in text.splitlines() if line.startswith("ERROR: ")]
    return lines[-1] if lines else text.strip()
