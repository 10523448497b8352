from pellucid.xai import GradCAM, GradCAMConfig, GradCAMPlusPlus, create_gradcam, get_recommended_layers

__all__ = ["GradCAM", "GradCAMConfig", "GradCAMPlusPlus", "create_gradcam", "get_recommended_layers"]
