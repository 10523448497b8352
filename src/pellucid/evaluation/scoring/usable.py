"""The methods that a network allows: what "all" stands for in a plan."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from pellucid.core import catalogue
from pellucid.errors import PellucidError
from pellucid.evaluation.scoring.network import Network
from pellucid.io.refusal import one_line

ALL = "all"


def expanded(names: Sequence[str], network: Network | None, image: Tensor | None) -> tuple[list[str], list[str]]:
    """The methods that names stand for, and a note for each of "all" that the network does not allow.

    Each is tried on one image (1, C, *space). A method that is named is kept, so that its error is heard.
    """
    if ALL not in names:
        return list(names), []
    found = [name for name in names if name != ALL]
    notes: list[str] = []
    for name in catalogue.names() if network is not None and image is not None else ():
        if name in found:
            continue
        reason = _why_not(name, network, image)  # type: ignore[arg-type]  # both are there
        if reason is None:
            found.append(name)
        else:
            notes.append(f"The method {name} was left out: {reason}.")
    return found, notes


def _why_not(name: str, network: Network, image: Tensor) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are heard when findings are scored
            network.explainer(name)(image, 0)
    except PellucidError as error:
        return one_line(str(error)).rstrip(".")
    return None
