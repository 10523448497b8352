"""Finds export formats by name, in ``pellucid.export.formats`` and in other installed packages.

Another package adds a format by an entry point of the group ``pellucid.exporters``: its name is the format's, its
object a function ``Case -> Files``. Such a package is imported only when its format is asked for; if it fails, the
error names it, and every other format still works. The formats of pellucid itself cannot be replaced.
"""

from __future__ import annotations

import pkgutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from pellucid.errors import ExportError, OptionError, PellucidError, did_you_mean, message_of
from pellucid.export import formats as own_formats
from pellucid.export.case import Case, Files

Exporter = Callable[[Case], Files]
"""Makes the files of a case.

Raises:
    ExportError: the source of the image does not allow this format.
"""
_GROUP = "pellucid.exporters"


def exporters() -> list[str]:
    """The names of all formats, sorted. Nothing is imported for it."""
    return sorted({*_own(), *_entry_points()})


def find(name: str) -> Exporter:
    """The exporter of a format.

    Raises:
        OptionError: there is no format of that name, or the package that provides it cannot be used.
    """
    if name in _own():
        own: Exporter = import_module(f"{own_formats.__name__}.{name.replace('-', '_')}").export
        return own
    entries = _entry_points().get(name, [])
    if not entries:
        known = exporters()
        raise OptionError(f"export {name!r} was asked for; there are {', '.join(known)}{did_you_mean(name, known)}")
    if len(entries) > 1:
        packages = " and ".join(sorted(_package(entry) for entry in entries))
        raise OptionError(f"export {name!r} was asked for; the packages {packages} both provide it: uninstall one")
    return _loaded(entries[0])


def exported(case: Case, formats: Sequence[str]) -> tuple[Files, list[ExportError]]:
    """The files of all formats, and the errors of those that the image does not allow."""
    files: Files = {}
    refused: list[ExportError] = []
    case = replace(case, formats=tuple(formats))
    for name in formats:
        try:
            made = find(name)(case)
            files |= made if case.deidentifier is None else case.deidentifier.cleaned(made)
        except ExportError as error:
            refused.append(error)
        except PellucidError:
            raise
        except Exception as error:  # a library refuses what a hostile file states; its text may quote the patient
            refused.append(ExportError(f"export {name!r} failed ({type(error).__name__}): choose another format"))
    return files, refused


@dataclass(frozen=True)
class PackageExporter:
    """An exporter of another package. Its failures become errors of one line that name the package."""

    name: str
    package: str
    function: Exporter

    def __call__(self, case: Case) -> Files:
        """The files of a case, with names that stay within the case's folder and tell whose they are."""
        try:
            files = dict(self.function(case))
            wrong = next((name for name in files if not _is_name(name, case)), None)
            untyped = next((name for name, content in files.items() if not isinstance(content, bytes)), None)
        except PellucidError:
            raise
        except Exception as error:  # the text may quote the patient's data
            raise self._error(f"failed ({type(error).__name__})") from error
        if wrong is not None:
            raise self._error(f"returned the file name {wrong!r}; one that begins with {case.name}_ was expected")
        if untyped is not None:
            raise self._error(f"returned {type(files[untyped]).__name__} for {untyped}; bytes were expected")
        return files

    def _error(self, what: str) -> ExportError:
        return ExportError(
            f"export {self.name!r} was asked for; entry point {self.name!r} of the package {self.package} {what}: "
            f"choose another format, or report it to that package"
        )


def _is_name(name: object, case: Case) -> bool:
    """Whether a file name belongs to a case, and holds no path."""
    return isinstance(name, str) and name.startswith(f"{case.name}_") and not set(name) & set("/\\\0")


def _own() -> frozenset[str]:
    names = (module.name for module in pkgutil.iter_modules(own_formats.__path__))
    return frozenset(name.replace("_", "-") for name in names if not name.startswith("_"))


@cache  # installed packages are searched once a process, and not again for each image
def _entry_points() -> Mapping[str, Sequence[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = defaultdict(list)
    for entry in entry_points(group=_GROUP):
        found[entry.name].append(entry)
    return dict(found)


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module


@cache
def _loaded(entry: EntryPoint) -> Exporter:
    package = _package(entry)
    problem = f"export {entry.name!r} was asked for; entry point {entry.name!r} of the package {package}"
    try:
        function = entry.load()
    except Exception as error:  # of any kind: it is another package's code
        reason = f"{type(error).__name__}: {message_of(error)}"
        raise OptionError(f"{problem} cannot be loaded ({reason}): repair or uninstall that package") from error
    if not callable(function):
        raise OptionError(f"{problem} is {type(function).__name__}; a function of a Case was expected")
    return PackageExporter(entry.name, package, function)
