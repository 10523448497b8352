"""The methods that a network allows: what "all" stands for in a plan."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from pellucid.core import catalogue
from pellucid.errors import OptionError, PellucidError
from pellucid.evaluation.naming import method_of
from pellucid.evaluation.scoring.failing import reason_of
from pellucid.evaluation.scoring.network import Network

ALL = "all"


def expanded(
    names: Sequence[str], made_before: Sequence[str], network: Network | None, images: Sequence[Tensor]
) -> tuple[list[str], list[str]]:
    """The methods that names stand for, and a note for each of "all" that the network does not allow.

    Each is tried on a few images (1, C, *space), and is allowed if it explains one of them.

    Raises:
        PellucidError: a method that is named is not allowed, or none of "all" is.
    """
    found = [name for name in dict.fromkeys(names) if name != ALL]
    if network is None or not images:
        return found, []
    for name in found:
        error = None if name in made_before else _why_not(name, network, images)
        if error is not None:  # several methods are measured: which one it is has to be said
            kind = type(error) if isinstance(error, PellucidError) else PellucidError
            raise kind(f"method {name!r}: {reason_of(error)}") from error
    notes: list[str] = []
    for name in catalogue.names() if ALL in names else ():
        error = None if name in found else _why_not(name, network, images)
        if error is not None:
            notes.append(f"The method {name} was left out: {reason_of(error)}.")
        elif name not in found:
            found.append(name)
    if not found:
        raise OptionError("methods all were asked for; the model allows none of them: name one, and its error is said")
    return found, notes


def _why_not(name: str, network: Network, images: Sequence[Tensor]) -> Exception | None:
    """Why a method explains none of a few images; the reason of the first."""
    first: Exception | None = None
    for image in images:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are heard when findings are scored
                network.explainer(method_of(name))(image, 0)
        except Exception as error:  # networks and methods are anyone's code
            first = first or error
        else:
            return None
    return first
