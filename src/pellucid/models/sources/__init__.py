"""Where models come from: ``load_model`` makes one, ``model_info`` says what is known of one."""

from pellucid.models.sources.base import ModelInfo
from pellucid.models.sources.loading import load_model, model_info

__all__ = ["ModelInfo", "load_model", "model_info"]
