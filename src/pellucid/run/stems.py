"""The names of results: a distinct stem for each input, below the output folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from pellucid.io import SUFFIXES


def stem_of(relative: PurePath) -> PurePath:
    """A path without the suffix of an image file, which may have two parts (.nii.gz)."""
    name = relative.name
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), relative.suffix)
    stem = name[: len(name) - len(suffix)]
    return relative.with_name(stem if stem.strip(".") else name)  # "." and ".." are no names


def distinct(found: Sequence[tuple[Path, PurePath]], stems: list[PurePath]) -> list[PurePath]:
    """Stems that no two files share, compared without case, as some file systems do."""
    counts = Counter(key_of(stem) for stem in stems)
    stems = [relative if counts[key_of(stem)] > 1 else stem for stem, (_, relative) in zip(stems, found, strict=True)]
    counts = Counter(key_of(stem) for stem in stems)
    if max(counts.values()) == 1:
        return stems
    absolute = [real_path(path) for path, _ in found]
    root = Path(os.path.commonpath(path.parent for path in absolute)) if _one_drive(absolute) else Path()
    return [
        PurePath(*path.relative_to(root).parts if _one_drive(absolute) else path.parts[1:])
        if counts[key_of(stem)] > 1
        else stem
        for stem, path in zip(stems, absolute, strict=True)
    ]


def _one_drive(paths: Iterable[Path]) -> bool:
    return len({path.anchor for path in paths}) == 1


def key_of(stem: PurePath) -> str:
    """What two stems have in common that a file system may take for one."""
    return str(stem).casefold()


def real_path(path: Path) -> Path:
    """The path without links; ``Path.resolve`` raises where links form a loop."""
    return Path(os.path.realpath(path))


def folder_name(folder: Path, otherwise: str) -> PurePath:
    """The name of a folder, also of "."; ``otherwise`` of one without a name, such as the root."""
    return PurePath(real_path(folder).name or otherwise)
