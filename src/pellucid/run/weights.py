"""The digest of a model's weights, which is not made anew while they are the same."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from pellucid.core.provenance import digest
from pellucid.models.session.placement import Stamp, stamp
from pellucid.models.session.session import unwrapped

_DIGESTS: WeakKeyDictionary[nn.Module, tuple[Stamp, str]] = WeakKeyDictionary()


def digest_of(model: nn.Module) -> str:
    """The digest of a model's weights, SHA-256, cached until they change."""
    model = unwrapped(model)
    now = stamp(model)
    if _DIGESTS.get(model, (None, ""))[0] != now:
        _DIGESTS[model] = (now, digest(model))
    return _DIGESTS[model][1]
