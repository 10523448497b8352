"""The templates of pages: their text is escaped, and a missing value is an error."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates(package: str) -> Environment:
    """The templates of a package and, after them, those that all pages share."""
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "pellucid.report"))]
    return Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined)
