"""The templates of pages: their text is escaped, and a missing value is an error."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Sequence
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def templates(package: str) -> Environment:
    """The templates of a package and, after them, those that all pages share."""
    loaders = [PackageLoader(name) for name in dict.fromkeys((package, "pellucid.report"))]
    environment = Environment(loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined)
    environment.filters["url"] = url
    return environment


def policy(style: str, scripts: Sequence[str] = ()) -> str:
    """The Content Security Policy: the page's own style and scripts alone, and images beside it or inside it."""
    allowed = " ".join(map(_hash, scripts)) or "'none'"
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {allowed}; "
        "img-src 'self' file: data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def url(path: str) -> str:
    """A relative path as a URL; bytes that are no text keep their value."""
    return quote(os.fsencode(path))
