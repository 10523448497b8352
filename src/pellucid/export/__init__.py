"""What is written of an explanation, one file a format. A file that is put here with an exporter is found."""

from __future__ import annotations

import importlib
import pkgutil

from pellucid.export.case import Case, Exporter, exported, exporters, find

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
    importlib.import_module(_module.name)

__all__ = ["Case", "Exporter", "exported", "exporters", "find"]
