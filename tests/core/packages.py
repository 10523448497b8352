"""Packages that are installed for a test: a module and its entry points, in a folder of their own on ``sys.path``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Install = Callable[[str, str, Mapping[str, str]], None]


def installer(group: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that installs a package: its name, its module's text, and its entry points in ``group``."""
    monkeypatch.syspath_prepend(folder)

    def install(name: str, text: str, points: Mapping[str, str]) -> None:
        (folder / f"{name}.py").write_text(text)
        info = folder / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = "\n".join(f"{point} = {value}" for point, value in points.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}\n")
        monkeypatch.delitem(sys.modules, name, raising=False)

    return install
