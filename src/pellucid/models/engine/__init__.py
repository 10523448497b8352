"""The probe: the only place that touches a model, and the only one with hooks."""

from pellucid.models.engine.session import Session, modules, opened
from pellucid.models.engine.views import View

__all__ = ["Session", "View", "modules", "opened"]
