"""Files without content, and what their results are called."""

from __future__ import annotations

from pathlib import Path

from pellucid.run.finding import inputs


def touch(folder: Path, *names: str) -> list[Path]:
    """Make empty files."""
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def stems(*paths: Path, output: Path = Path("/nowhere")) -> dict[str, str]:
    """The stem of each file that is found at these paths."""
    return {str(one.path): one.stem.as_posix() for one in inputs(paths, output)}
