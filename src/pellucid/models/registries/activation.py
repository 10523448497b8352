"""What lies between the linear layers of a head, which a weights file does not show."""

from __future__ import annotations

from torch import nn

from pellucid.models.checkpoints.heads import ACTIVATIONS


def activation_of(network: nn.Module) -> str | None:
    """Return the name of the activation in a network's last row of linear layers.

    "none" is that of a row without one; None where there is no such row, or where several or others are in it.

    >>> activation_of(nn.Sequential(nn.Linear(8, 4), nn.GELU(), nn.Linear(4, 2)))
    'gelu'
    >>> activation_of(nn.Sequential(nn.Linear(8, 4), nn.Dropout(), nn.Linear(4, 2)))
    'none'
    """
    rows = [one for one in network.modules() if isinstance(one, nn.Sequential) and _linear(one) > 1]
    if not rows:
        return None
    kinds = {type(made()): name for name, made in ACTIVATIONS.items()}
    found = {kinds[type(one)] if _is_usual(one) else None for one in rows[-1] if type(one) in kinds}
    return found.pop() if len(found) == 1 else "none" if not found else None


def _linear(row: nn.Sequential) -> int:
    return sum(isinstance(layer, nn.Linear) for layer in row)


def _is_usual(layer: nn.Module) -> bool:
    """Whether an activation has the settings that it is made with by default."""
    return _settings(layer) == _settings(type(layer)())


def _settings(layer: nn.Module) -> str:
    return layer.extra_repr().replace("inplace=True", "").rstrip(", ")
