from pellucid.xai import (
    AttentionRollout,
    GradCAM,
    GradCAMConfig,
    GradCAMPlusPlus,
    create_gradcam,
    get_recommended_layers,
)

__all__ = [
    "AttentionRollout",
    "GradCAM",
    "GradCAMConfig",
    "GradCAMPlusPlus",
    "create_gradcam",
    "get_recommended_layers",
]
