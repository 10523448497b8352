"""The probe for methods: passes of a model, their derivatives, attention folds, replays and compiled programs."""

from pellucid.models.engine.passes import Pass

__all__ = ["Pass"]
