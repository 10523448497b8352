"""Help texts that list what the package contains, filled in when ``--help`` is shown.

The lists come from the source files, which are parsed and not imported: importing them would load torch.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from pellucid.cli.wording import spoken
from pellucid.export import exporters


class DerivedHelp(TyperCommand):
    """A command whose help texts may contain the placeholders of ``LISTS``, such as ``{formats}``."""

    def format_help(self, ctx: Any, formatter: Any) -> None:  # click's types, or typer's copies of them
        """Fill in the placeholders and unwrap the paragraphs of the docstring, then show the help."""
        self.help = unwrapped(self.help or "")
        self._fill()
        found = examples(self.callback)
        self.epilog = "\n\n".join(("Examples:", *found)) if found else None
        super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Fill in the placeholders: some shells show the help of an option that they complete."""
        self._fill()
        return super().shell_complete(ctx, incomplete)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; messages name its options."""
        with spoken(self.params):
            return super().invoke(ctx)

    def _fill(self) -> None:
        for param in self.params:
            text = getattr(param, "help", None)
            if text:
                vars(param)["help"] = filled(text)  # arguments of plain click have no help


def examples(command: Callable[..., Any] | None) -> tuple[str, ...]:
    """The ``EXAMPLES`` of a command's module."""
    return tuple(getattr(sys.modules[command.__module__], "EXAMPLES", ())) if command is not None else ()


def unwrapped(text: str) -> str:
    """Put each paragraph on one line: rich would keep the line breaks of the source code."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def filled(text: str) -> str:
    """Replace each placeholder by the names that it stands for."""
    for name, names in LISTS.items():
        if f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", ", ".join(names()))
    return text


def sources() -> list[str]:
    """The forms of a model's specification, one per module with a ``SOURCE`` in ``pellucid.models.sources``."""
    modules = (path for path in _files("pellucid.models.sources") if "SOURCE" in _constants(path))
    return sorted(f"{prefix}:NAME" for path in modules for prefix in _prefixes(path) if prefix not in _FILES)


def constant(module: str, name: str) -> list[str]:
    """The texts in a module's constant: a literal tuple or list, or the keys of a literal dictionary."""
    package, _, stem = module.rpartition(".")
    value = _constants(package_folder(package) / f"{stem}.py")[name]
    parts = value.keys if isinstance(value, ast.Dict) else getattr(value, "elts", [])
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


_FILES = ("file", "module", "onnx")
"""The sources whose models are named by a path, or by a module, instead of a prefix."""


def registered_names(package: str) -> list[str]:
    """The names that a package's files register, and those that other packages name in its entry point group."""
    own = (name for path in _files(package) for name in _REGISTERED.findall(path.read_text(encoding="utf-8")))
    return sorted({*own, *(entry.name for entry in entry_points(group=package))})


_REGISTERED = re.compile(r'^@register_\w+\("([^"]+)"\)', re.MULTILINE)
LISTS: dict[str, Callable[[], list[str]]] = {
    "attacks": partial(registered_names, "pellucid.attacks"),
    "changes": partial(registered_names, "pellucid.changes"),
    "activations": partial(constant, "pellucid.models.checkpoints.heads", "ACTIVATIONS"),
    "dimensions": partial(constant, "pellucid.io.dimensions", "DIMENSIONS"),
    "formats": exporters,
    "forms": partial(registered_names, "pellucid.evaluation.sources"),
    "checks": partial(constant, "pellucid.run.checks", "CHECKS"),
    "fusions": partial(constant, "pellucid.run.fusing", "FUSIONS"),
    "heads": partial(constant, "pellucid.core.head", "HEADS"),
    "methods": partial(registered_names, "pellucid.methods"),
    "metrics": partial(registered_names, "pellucid.metrics"),
    "precisions": partial(constant, "pellucid.core.runtime", "PRECISIONS"),
    "priors": partial(registered_names, "pellucid.priors"),
    "protocols": partial(constant, "pellucid.evaluation.published", "PROTOCOLS"),
    "sources": sources,
    "tables": partial(constant, "pellucid.report.table", "TABLES"),
    "weights": partial(constant, "pellucid.models.sources.loading", "WEIGHTS"),
    "windows": partial(constant, "pellucid.io.window", "PRESETS"),
}


def package_folder(package: str) -> Path:
    """The folder of a package; only the root package is looked up, as that of a subpackage would import its parents."""
    root, *rest = package.split(".")
    spec = find_spec(root)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(package)
    return Path(spec.origin).parent.joinpath(*rest)


def _files(package: str) -> list[Path]:
    return sorted(package_folder(package).glob("*.py"))


def _constants(path: Path) -> dict[str, ast.expr]:
    """The values that a file assigns to names at its top level."""
    found: dict[str, ast.expr] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        found |= {one.id: value for one in targets if isinstance(one, ast.Name) and value is not None}
    return found


def _prefixes(path: Path) -> Iterator[str]:
    """The ``prefix`` that a class in a file assigns."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for inner in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(inner, ast.Assign) and getattr(inner.targets[0], "id", None) == "prefix":
                yield ast.literal_eval(inner.value)
