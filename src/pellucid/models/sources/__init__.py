"""The sources of models: ``load_model`` makes a model, ``model_info`` returns what is known about one."""

from pellucid.models.sources.base import ModelInfo
from pellucid.models.sources.known import model_info
from pellucid.models.sources.loading import load_model

__all__ = ["ModelInfo", "load_model", "model_info"]
