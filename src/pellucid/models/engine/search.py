"""A network that lets something through, to look into it by noise."""

from __future__ import annotations

from pellucid.models.engine.noise import noise_like
from pellucid.models.engine.session import Session


def without_zeros(session: Session) -> Session:
    """The network with noise in weights that are all zero: torchvision's untrained ViT head lets nothing through."""
    if session.has_script:
        return session
    return session.with_parameters(lambda weight: noise_like(weight) if weight.ndim > 1 and not weight.any() else None)
