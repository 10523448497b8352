"""What MkDocs calls: a page and pictures a method, and the tables of all methods, are made from the catalogue.

``PELLUCID_DOCS_PICTURES=0`` leaves the pictures out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import method_pages  # this folder is importable while MkDocs loads its hooks
import pictures
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

TABLE = "<!-- the table of all methods -->"
TABLES = "<!-- the methods by family -->"
COUNT = "<!-- the number of methods -->"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the methods' pages behind ``methods/index.md``, a heading a family."""
    for entry in config.nav or []:
        if entry.get("Methods"):
            entry["Methods"] = [
                "methods/index.md",
                *({family: [{about.title: about.file} for about in each]} for family, each in method_pages.families()),
            ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the methods' pages and pictures."""
    drawn = pictures.drawn() if os.environ.get("PELLUCID_DOCS_PICTURES", "1") != "0" else {}
    for path in drawn.values():
        files.append(File.generated(config, f"methods/images/{path.name}", abs_src_path=str(path)))
    for about in method_pages.methods():
        shown = method_pages.Shown(pictures.CAPTION, {key: path.name for key, path in drawn.items()})
        files.append(File.generated(config, about.file, content=method_pages.page(about, shown)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs' own
    """Put the tables of methods where a page asks for them."""
    made = {
        TABLE: lambda: method_pages.table("methods/"),
        TABLES: method_pages.tables,
        COUNT: lambda: str(len(method_pages.methods())),
    }
    for mark, text in made.items():
        if mark in markdown:
            markdown = markdown.replace(mark, text())
    return markdown
