"""The published Grad-CAM API, kept for existing scripts; new code should use ``pellucid.explain``."""

from pellucid.xai.attention_rollout import AttentionRollout
from pellucid.xai.config import GradCAMConfig
from pellucid.xai.gradcam import GradCAM, GradCAMPlusPlus
from pellucid.xai.helpers import create_gradcam, get_recommended_layers
from pellucid.xai.pgd import PGDAttack

__all__ = [
    "AttentionRollout",
    "GradCAM",
    "GradCAMConfig",
    "GradCAMPlusPlus",
    "PGDAttack",
    "create_gradcam",
    "get_recommended_layers",
]
