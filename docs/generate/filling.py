"""Replaces the comments on documentation pages by the text that is generated from the code."""

from __future__ import annotations

from collections.abc import Callable

import method_pages  # this folder is importable while MkDocs loads its hooks
import reference_tables


def filled(markdown: str, uri: str) -> str:
    """A page's Markdown with its generated text; ``uri`` is the page's path in ``docs``."""
    for comment, text in _generated("" if uri.startswith("methods/") else "methods/").items():
        if comment in markdown:
            markdown = markdown.replace(comment, text())
    return markdown


def _generated(prefix: str) -> dict[str, Callable[[], str]]:
    """What each comment stands for; ``prefix`` leads from the page to the methods' pages."""
    return {
        "<!-- the number of methods -->": lambda: str(len(method_pages.methods())),
        "<!-- the table of all methods -->": lambda: method_pages.table(prefix),
        "<!-- the methods by family -->": method_pages.tables,
        "<!-- the methods that read attention -->": lambda: method_pages.links(
            prefix, lambda about: about.reads_attention
        ),
        "<!-- the methods that fail sanity checks -->": lambda: method_pages.links(
            prefix, lambda about: about.fails_sanity_checks
        ),
        "<!-- the methods that fail against random weights -->": lambda: method_pages.gate_failures(prefix),
        **reference_tables.TABLES,
    }
