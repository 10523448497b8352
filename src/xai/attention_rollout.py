from pellucid.xai import AttentionRollout

__all__ = ["AttentionRollout"]
