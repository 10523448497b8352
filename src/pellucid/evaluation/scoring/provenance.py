"""What a report states of where its figures are from: the data set, the model, the methods, and the versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from pellucid.core import catalogue
from pellucid.core.provenance import architecture, digest, versions
from pellucid.evaluation.case import Data
from pellucid.evaluation.plan import DataFacts
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.request import Requested
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources import model_info

_NOT_STATED = "not stated"
_MADE_FROM = {
    "model": "the model",
    "image": "the image alone",
    "masks": "the masks of other images",
    "nothing": "nothing but the size of the image",
}


def provenance(
    data: Data,
    stated: DataFacts,
    network: Network | None,
    grid: Preprocessing,
    asked: Requested,
    records: Sequence[Any],
) -> dict[str, Any]:
    """What the report states of the model, the methods and the data set, without a path.

    What the images are is as the plan has it in ``stated``: no file is asked.
    """
    layers = {name: list(own) for record in records for name, own in record["layers"].items()}
    facts: dict[str, Any] = {
        "data set": {
            "form": data.form,
            "cases": len(data.cases),
            "phantoms": data.drawn,
            **{name: f"{text} (stated by the plan)" if text else _NOT_STATED for name, text in asdict(stated).items()},
        },
        "preprocessing": asdict(grid),
        "methods": {
            name: {"options": catalogue.settings(one), "layers": layers.get(name, [])}
            for name, one in asked.methods.items()
        },
        "maps made before": list(asked.made_before),
        "priors": {name: _about_prior(name, asked) for name in (*asked.priors, *asked.from_masks)},
        "tolerance": str(asked.tolerance),
        "versions": versions(),
    }
    if network is not None:
        info = model_info(network.model)
        facts["model"] = {
            "architecture": architecture(network.model),
            "weights": info.weights,
            "weights SHA-256": digest(network.model),
            "head": network.head,
            "runtime": {"device": network.runtime.device, "precision": network.runtime.precision},
        }
    return facts


def _about_prior(name: str, asked: Requested) -> dict[str, Any]:
    """A prior's options, and what its maps are made from."""
    made_from = catalogue.PRIORS.find(name).made_from
    options = catalogue.settings(asked.priors[name]) if name in asked.priors else {}
    return {**options, "made from": _MADE_FROM[made_from]}
