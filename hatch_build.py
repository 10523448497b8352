"""Write the type stub of ``pellucid.methods`` when the package is built or installed, so that editors see its classes.

``python hatch_build.py`` writes it, too.
"""

from __future__ import annotations

import ast
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

METHODS = Path(__file__).resolve().parent / "src" / "pellucid" / "methods"
DECORATOR = "register_method"


def method_classes(file: Path) -> Iterator[str]:
    """The names of the classes in a file that are registered as methods. The file is not run."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any(map(_registers, node.decorator_list)):
            yield node.name


def _registers(decorator: ast.expr) -> bool:
    if not isinstance(decorator, ast.Call):
        return False
    called = decorator.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", None)
    return bool(name == DECORATOR)


def stub(folder: Path = METHODS) -> str:
    """The text of ``__init__.pyi``: one import for each method."""
    files = sorted(file for file in folder.glob("*.py") if file.stem != "__init__")
    found = [(file.stem, name) for file in files for name in method_classes(file)]
    lines = [f"from pellucid.methods.{module} import {name} as {name}" for module, name in found]
    return "\n".join(("# Written by hatch_build.py: not kept under version control.", *lines, ""))


def write_stub(folder: Path = METHODS) -> Path:
    """Write the stub beside the methods, whole or not at all, where it is not up to date."""
    path, text = folder / "__init__.pyi", stub(folder)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        draft = path.with_name(f".part-{secrets.token_hex(8)}")
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    return path


with suppress(ImportError):  # the tests run without the build system
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface

    class StubHook(BuildHookInterface[Any]):
        """The build hook that hatchling calls before it makes a wheel or an editable install."""

        def initialize(self, _version: str, _build_data: dict[str, Any]) -> None:
            """Write the stub, which the wheel then contains."""
            write_stub()


if __name__ == "__main__":
    write_stub()
