"""MkDocs hooks: add a page and images for every method, and replace comments on pages by generated tables.

``PELLUCID_DOCS_FIGURES=0`` leaves the images out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import figures  # this folder is importable while MkDocs loads its hooks
import filling
import method_pages
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the methods' pages to the navigation after ``methods/index.md``, under a heading per family."""
    for entry in config.nav or []:
        if entry.get("Methods"):
            entry["Methods"] = [
                "methods/index.md",
                *({family: [{about.title: about.file} for about in each]} for family, each in method_pages.families()),
            ]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the methods' pages and images."""
    drawn = figures.drawn() if os.environ.get("PELLUCID_DOCS_FIGURES", "1") != "0" else {}
    for path in drawn.values():
        files.append(File.generated(config, f"methods/images/{path.name}", abs_src_path=str(path)))
    for about in method_pages.methods():
        shown = method_pages.Shown(figures.CAPTION, {key: path.name for key, path in drawn.items()})
        files.append(File.generated(config, about.file, content=method_pages.page(about, shown)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001  # MkDocs' own
    """Replace the comments that stand for generated text."""
    return filling.filled(markdown, page.file.src_uri)
