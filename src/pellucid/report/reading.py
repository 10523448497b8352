"""Reads the ``…_metadata.json`` files of a folder as maps.

The files may come from anywhere. Their size and number are bounded, links are not followed, values of another type than
expected are left out, and a file is named only if it lies beside the JSON file that lists it.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.core.caption import class_text
from pellucid.core.ordering import by_number
from pellucid.export.earlier import MAX_BYTES, metadata_files
from pellucid.report.maps import AXES, Map, Prediction, split_labels
from pellucid.report.values import MAX_PATH, MAX_TEXT, listed, mapping, number, text, texts, whole

_MAX_FILES = 100_000
_MAX_NAMES = 64
"""The most layers, checks, warnings or files of a map."""
_MAX_TOP = 5
_MAX_CLASSES = 2**20


def read_maps(folder: Path) -> tuple[list[Map], list[str]]:
    """The maps of a folder and those below it, by image, method and class; and the files that are no such metadata."""
    found, unread = [], []
    for path in islice(metadata_files(folder), _MAX_FILES):
        one = _read(folder, path.parent.relative_to(folder), path.name)
        if one is None:
            unread.append(text(str(path.relative_to(folder)), MAX_PATH))
        else:
            found.append(one)
    return sorted(found, key=_order), unread


def _order(one: Map) -> tuple[Any, ...]:
    last = one.index is None  # callables come after the classes
    return by_number(one.image), str(one.folder), one.source, one.method, last, one.index or 0, one.overlay, one.key


def _read(root: Path, folder: Path, name: str) -> Map | None:
    """The map of a metadata file; None of a file that is none."""
    path = root / folder / name
    try:
        if not is_regular(path):
            return None
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        facts = mapping(json.loads(content, parse_constant=str)) if len(content) <= MAX_BYTES else {}
        return _map(root, folder, facts) if text(facts.get("image")) and text(facts.get("method")) else None
    except (OSError, ValueError, RecursionError, MemoryError):
        return None


def is_regular(path: Path) -> bool:
    """Whether a path is a file itself: no link, which may lead elsewhere, and no pipe, which waits for its writer."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except (OSError, ValueError):
        return False


def _map(root: Path, folder: Path, facts: Mapping[str, Any]) -> Map:
    labels, provenance = mapping(facts.get("labels")), mapping(facts.get("provenance"))
    model, grade = mapping(facts.get("model")), mapping(facts.get("grade"))
    position = {name: whole(mapping(facts.get("peak")).get(name)) for name in AXES}
    shape = [whole(side) for side in listed(facts.get("shape"), len(AXES))]
    checks = sorted(mapping(facts.get("checks")).items())[:_MAX_NAMES]
    figures = {name: number(figure) for name, figure in checks if name.isidentifier() and name.isascii()}
    return Map(
        image=text(facts.get("image"), MAX_PATH),
        method=text(facts.get("method")),
        folder=folder,
        layers=texts(facts.get("layers"), _MAX_NAMES),
        index=whole(facts.get("target_class")),
        name=text(facts.get("target_name")),
        probability=number(facts.get("target_probability")),
        value=number(facts.get("target_value")),
        logit=number(facts.get("target_logit")),
        is_correct=_is_correct(labels.get("label"), mapping(facts.get("prediction"))),
        prediction=_prediction(mapping(facts.get("prediction"))),
        position={name: found for name, found in position.items() if found is not None},
        shape=tuple(side for side in shape if side),
        evidence=number(facts.get("evidence")),
        degenerate=text(facts.get("degenerate")),
        share=number(provenance.get("share")),
        checks={name: figure for name, figure in figures.items() if figure is not None},
        grade=text(grade.get("text")),
        worth=text(grade.get("worth")),
        label=text(labels.get("label")),
        patient=text(labels.get("patient")),
        split=text(labels.get("split")),
        part=_part(provenance),
        overlay=_beside(root / folder, facts.get("overlay")),
        files=tuple(filter(None, (_beside(root / folder, name) for name in listed(facts.get("files"), _MAX_NAMES)))),
        key=text(facts.get("key")),
        model=text(model.get("spec")),
        settings=_settings(facts),
        warnings=texts(facts.get("warnings"), _MAX_NAMES),
        source=_digest([facts.get("image_sha256"), model, facts.get("image_provenance")]),
    )


def _beside(folder: Path, name: object) -> str:
    """The name of a file if there is one of this name in the folder itself, else ""."""
    if not isinstance(name, str) or set(name) & set("/\\\0") or len(name) > MAX_PATH:
        return ""
    try:
        return name if is_regular(folder / name) else ""
    except ValueError:  # no name that a file can have
        return ""


def _prediction(facts: Mapping[str, Any]) -> Prediction:
    head = text(facts.get("head"))
    values = mapping(facts.get("values"))
    if values:
        figures = [(text(name), number(value)) for name, value in list(values.items())[:_MAX_TOP]]
        return Prediction(head, None, tuple(figures), are_values=True)
    columns = (listed(facts.get(f"top_k_{part}"), _MAX_TOP) for part in ("classes", "names", "probs"))
    top = [(whole(index), text(name), number(p)) for index, name, p in zip(*columns, strict=False)]
    return Prediction(head, whole(facts.get("predicted_class")), tuple((class_text(name, i), p) for i, name, p in top))


def _is_correct(label: object, facts: Mapping[str, Any]) -> bool | None:
    """Whether a label, a class's name or number, is the predicted class; None where none names a class."""
    labels = split_labels(label[:MAX_TEXT]) if isinstance(label, str) else []
    names = [str(name).casefold() for name in listed(facts.get("class_names"), _MAX_CLASSES)] if labels else []
    count = len(listed(facts.get("probabilities"), _MAX_CLASSES))
    known = [_class_of(each.casefold(), names, count) for each in labels]
    found = [index for index in known if index is not None]
    return whole(facts.get("predicted_class")) in found if found else None


def _class_of(label: str, names: Sequence[str], count: int) -> int | None:
    if label in names:
        return names.index(label)
    return int(label) if label.isdecimal() and len(label) < 9 and int(label) < count else None


def _part(provenance: Mapping[str, Any]) -> str:
    """Which image of a sequence it is, such as "image 2 of 4"."""
    given = text(provenance.get("input"))
    return given if given.startswith("image ") else ""


def _settings(facts: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What the map was made with, by name. Nothing else of the metadata is shown, which may name a patient."""
    model, made, runtime, read = (
        mapping(part)
        for part in (
            facts.get("model"),
            facts.get("provenance"),
            mapping(facts.get("provenance")).get("runtime"),
            mapping(facts.get("image_provenance")).get("preprocessing"),
        )
    )
    groups: Sequence[tuple[str, object]] = (
        ("method", facts.get("method")),
        *((f"option {name}", value) for name, value in sorted(mapping(made.get("options")).items())),
        ("layers", ", ".join(texts(facts.get("layers"), _MAX_NAMES))),
        ("fusion of layers", made.get("fuse") if len(listed(facts.get("layers"), 2)) > 1 else None),
        ("model", model.get("spec")),
        ("weights", model.get("weights")),
        ("SHA-256 of the weights", model.get("weights_sha256")),
        ("head", mapping(facts.get("prediction")).get("head")),
        *((f"preprocessing: {name}", value) for name, value in read.items()),
        ("device", runtime.get("device")),
        ("precision", runtime.get("precision")),
        *((f"version of {name}", value) for name, value in sorted(mapping(made.get("versions")).items())),
    )
    shown = ((text(name), _json(value)) for name, value in groups[:_MAX_NAMES] if value not in (None, "", [], {}))
    return tuple(shown)


def _digest(values: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _json(value: object) -> str:
    return text(value if isinstance(value, str) else json.dumps(value, sort_keys=True))
