"""Reads a data set: cases with what is stated of them, and what is excluded before any image is opened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pellucid.errors import DataError, OptionError, did_you_mean
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data.findings import NO_MASK, settled, with_one_spelling
from pellucid.evaluation.data.maps_made import with_maps
from pellucid.evaluation.data.patients import check_splits
from pellucid.evaluation.form import FORMS, Asked, Form
from pellucid.io.refusal import one_line

PathLike = str | os.PathLike[str]
_SHOWN = 3


def read_data(
    data: PathLike,
    *,
    form: str | None = None,
    images: PathLike | None = None,
    masks: PathLike | None = None,
    maps: Mapping[str, PathLike] | None = None,
    labels: Mapping[str, str] | None = None,
    is_localised: bool = True,
) -> Data:
    r"""Read a data set. No image, mask or map is opened.

    Args:
        data: a folder, a table, an annotation file, or what else a form reads.
        form: the name of the form, such as "csv"; None: the one that recognises it.
        images: the folder of the images, where the data set does not say so.
        masks: the folder of the masks.
        maps: folders of maps made before, by method: for each case a .npy or .npz file under the case's name.
        labels: classes of the model by labels of the data set, where their names differ.
        is_localised: leave out cases that lack the outline of a finding, which no map can be judged by.

    Raises:
        DataError: it cannot be read, or no case in it can be used, or a patient is in two splits.
        OptionError: there is no such form, or no case has a label that is to be renamed.

    >>> import tempfile
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     Image.new("L", (8, 8)).save(f"{folder}/a.png")
    ...     _ = Path(folder, "cases.csv").write_text("path,label,box\na.png,cyst,1 2 5 6\nb.png,cyst,")
    ...     found = read_data(f"{folder}/cases.csv")
    >>> found.cases[0].findings, found.excluded[0].reason
    ({'cyst': Boxes(boxes=((1.0, 2.0, 5.0, 6.0),), size=None)}, 'its image is missing')
    """
    asked = Asked(
        os.fspath(data),
        None if images is None else _folder(images, "images"),
        None if masks is None else _folder(masks, "masks"),
        {method: _folder(folder, f"maps {method}") for method, folder in (maps or {}).items()},
        dict(labels or {}),
    )
    found = _form_of(asked, form).read(asked)
    _check_names(found.cases, asked)
    found = replace(found, cases=with_one_spelling(found.cases))
    found = _usable(found) if is_localised else found
    _check_usable(found, asked)
    _check_labels(asked, found.cases)
    check_splits(found.cases)
    return with_maps(found, asked.maps)


def _usable(data: Data) -> Data:
    """The data set without the cases that lack the outline of a finding."""
    with_findings, _, excluded = settled(data.cases)
    left_out = {one.name for one in excluded}
    notes = [] if with_findings else ["No case states where a finding is, so nothing can be said of localisation."]
    return replace(
        data,
        cases=[case for case in data.cases if case.name not in left_out],
        excluded=[*data.excluded, *excluded],
        notes=[*data.notes, *notes],
    )


def _folder(given: PathLike, name: str) -> Path:
    """A folder that the user names."""
    folder = Path(given)
    if not folder.is_dir():
        raise DataError(f"{name} {one_line(folder)} was given; it is no folder: give the folder of the files")
    return folder


def _form_of(asked: Asked, name: str | None) -> Form:
    """The form of a name, or the one that recognises the data set; a general one only if no other does."""
    if name is not None:
        return FORMS.find(name)()
    forms = [cls() for _, cls in sorted(FORMS.registered().items())]
    found = next((form for form in sorted(forms, key=lambda form: form.is_general) if _recognises(form, asked)), None)
    if found is None:
        known = ", ".join(FORMS.names())
        exists = os.path.exists(asked.data)  # noqa: PTH110  (raises of no name)
        what = "it is none of the forms that are read" if exists else "there is no such file or folder"
        raise DataError(f"data {one_line(asked.data)} was given; {what}: give one of {known}")
    return found


def _recognises(form: Form, asked: Asked) -> bool:
    try:
        return form.recognises(asked)
    except (OSError, ValueError):  # a text that no path can be
        return False


def _check_names(cases: Sequence[Case], asked: Asked) -> None:
    names = Counter(case.name for case in cases)
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"data {one_line(asked.data)} was given; two cases are called {one_line(twice[0])}: rename one")


def _check_usable(data: Data, asked: Asked) -> None:
    if not data.cases:
        reasons = Counter(one.reason for one in data.excluded).most_common(_SHOWN)
        why = ", ".join(f"{reason} ({count})" for reason, count in reasons) or "it names none"
        raise DataError(
            f"data {one_line(asked.data)} was given; no case in it can be used: {why}; {_remedy(reasons, asked)}"
        )


def _remedy(reasons: Sequence[tuple[str, int]], asked: Asked) -> str:
    if not reasons or reasons[0][0] != NO_MASK:
        return f"check its paths{' and images=' if asked.images is None else ''}"
    return "give masks=, the folder of the masks" if asked.masks is None else "name the masks in masks= as their images"


def _check_labels(asked: Asked, cases: Sequence[Case]) -> None:
    """Raise if a label that is to be renamed is none of the data set's."""
    known = {label for case in cases for label in (*(case.labels or ()), *case.findings)}
    plain = {label.casefold() for label in known}
    if unknown := [label for label in asked.labels if label.casefold() not in plain]:
        hint = did_you_mean(unknown[0], known) or f"; its labels are {one_line(', '.join(sorted(known)))}"
        raise OptionError(f"labels={{{unknown[0]!r}: …}} was given; no case has that label{hint}")
