"""Add explanation settings or an evaluation to a version that is already in a registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.core.settings import ExplanationSettings
from pellucid.errors import CheckpointError, OptionError, OutputExistsError
from pellucid.models.registries import evaluations
from pellucid.models.registries.evaluations import summary_of
from pellucid.models.registries.record import OWN, ModelRecord
from pellucid.models.registries.versions import check_key, check_version


def additions(
    found: ModelRecord, explanation: ExplanationSettings | None, evaluation: bytes | None, root: Path
) -> dict[str, Any]:
    """Return what is to be kept of a version beside what is kept; nothing where it is kept already.

    Raises:
        OutputExistsError: other settings, or another evaluation, are kept.
        OptionError: the version's name is no name of a folder, which an evaluation needs.
    """
    made: dict[str, Any] = {}
    if explanation is not None:
        made["explanation"] = explanation.to_json()
    if evaluation is not None:
        place = f"{check_key(found.key)}/{check_version(found.version)}/{evaluations.NAME}"
        made["evaluation"] = summary_of(evaluation, Path(evaluations.NAME)) | {"path": place}
    for name, value in made.items():
        if found.kept.get(name, value) != value:
            raise OutputExistsError(
                f"{root}: {found.name} has another {name} already, which is not replaced: save a new version with it"
            )
    return {name: value for name, value in made.items() if name not in found.kept}


def with_additions(records: list[Any], found: ModelRecord, made: Mapping[str, Any], root: Path) -> list[Any]:
    """Return a model's records, in which that one keeps more; all else stays as it was.

    ``CheckpointError``: the record has no place for it.
    """
    extra = found.fields.get("extra_state")
    if not isinstance(extra, Mapping | None) or not isinstance((extra or {}).get(OWN, {}), Mapping):
        raise CheckpointError(f"{root}: the extra_state of {found.name} is no object in index.json: correct it there")
    kept = {**(extra or {}), OWN: {**found.kept, **made}}
    changed = {**found.fields, "extra_state": kept}
    return [changed if one is found.fields else one for one in records]


def check_given(explanation: object, evaluation: object) -> None:
    """``OptionError``: nothing is to be added, or something else than settings."""
    if explanation is None and evaluation is None:
        raise OptionError("nothing was given to attach: give explanation= or evaluation=")
    check_settings(explanation)


def check_settings(explanation: object) -> None:
    """``OptionError``: they are no settings."""
    if not isinstance(explanation, ExplanationSettings | None):
        raise OptionError(f"explanation must be pellucid.ExplanationSettings, got {type(explanation).__name__}")
