"""Whether a checkpoint looks like a network that was never trained, by the statistics of its norms."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pellucid.errors import warn

_MEAN, _VARIANCE, _COUNT = "running_mean", "running_var", "num_batches_tracked"


def untrained(state: Mapping[str, Tensor]) -> str | None:
    """Say that every norm with running statistics has those of a new network; None of any other state.

    The first batch that a batch norm sees in training moves its mean off 0 and its variance off 1. A network without
    such norms does not show whether it was trained.

    >>> from torch import nn
    >>> untrained(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).state_dict())
    'its batch norm has the statistics of a new network (mean 0, variance 1)'
    >>> untrained(nn.Conv2d(3, 8, 3).state_dict()) is None
    True
    """
    owners = [key.removesuffix(_MEAN) for key in state if key.rpartition(".")[2] == _MEAN]
    if not owners or not all(_is_new(state, owner) for owner in owners):
        return None
    which = "its batch norm has" if len(owners) == 1 else f"each of its {len(owners)} batch norms has"
    return f"{which} the statistics of a new network (mean 0, variance 1)"


def warn_of_untrained(what: str, state: Mapping[str, Tensor], cure: str) -> None:
    """Warn of weights that came from somewhere, and are those of a new network. Drawn ones are known to be random."""
    seen = untrained(state)
    if seen is not None:
        warn(f"{what}: {seen}, so that it was hardly trained, and its maps mean nothing: {cure}")


def _is_new(state: Mapping[str, Tensor], owner: str) -> bool:
    """Whether the norm with the names that begin with ``owner`` has seen no batch."""
    means, variances, count = (state.get(f"{owner}{name}") for name in (_MEAN, _VARIANCE, _COUNT))
    if means is None or variances is None or (count is not None and bool(count.any())):
        return False
    return not bool(means.any()) and bool((variances == 1).all())
