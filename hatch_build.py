"""Write the type stubs of ``pellucid.methods`` and the like when the package is built, so that editors see the classes.

``python hatch_build.py`` writes them, too.
"""

from __future__ import annotations

import ast
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

PACKAGES = tuple(
    Path(__file__).resolve().parent / "src" / "pellucid" / name
    for name in ("attacks", "changes", "methods", "metrics", "priors")
)
"""The packages whose files register a class each."""
METHODS = next(one for one in PACKAGES if one.name == "methods")
DECORATORS = ("register_attack", "register_change", "register_method", "register_metric", "register_prior")


def method_classes(file: Path) -> Iterator[str]:
    """The names of the classes in a file that are registered. The file is not run."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any(map(_registers, node.decorator_list)):
            yield node.name


def passed_on(file: Path) -> Iterator[str]:
    """The lines for the names that a package's own file imports for others: ``from a import B as B``."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names = [one.name for one in node.names if one.asname == one.name]
            yield from (f"from {node.module} import {name} as {name}" for name in names)


def _registers(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call):
        return False
    called = decorator.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
    return name in DECORATORS


def stub(folder: Path = METHODS) -> str:
    """The text of ``__init__.pyi``: one import for each class."""
    files = sorted(file for file in folder.glob("*.py") if file.stem != "__init__")
    found = [(file.stem, name) for file in files for name in method_classes(file)]
    package = folder.name if folder in PACKAGES else METHODS.name
    lines = [f"from pellucid.{package}.{module} import {name} as {name}" for module, name in found]
    own = folder / "__init__.py"
    lines += passed_on(own) if own.is_file() else ()
    return "\n".join(("# Written by hatch_build.py: not kept under version control.", *lines, ""))


def write_stub(folder: Path = METHODS) -> Path:
    """Write the stub beside the files, whole or not at all, where it is not up to date."""
    path, text = folder / "__init__.pyi", stub(folder)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        draft = path.with_name(f".part-{secrets.token_hex(8)}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    return path


def write_stubs() -> None:
    """Write the stub of each package that there is."""
    for folder in PACKAGES:
        if folder.is_dir():
            write_stub(folder)


with suppress(ImportError):  # the tests run without the build system
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class StubHook(BuildHookInterface[Any]):
        """The build hook that hatchling calls before it makes a wheel or an editable install."""

        def initialize(self, _version: str, _build_data: dict[str, Any]) -> None:
            """Write the stubs, which the wheel then contains."""
            write_stubs()


if __name__ == "__main__":
    write_stubs()
