from pellucid.xai import PGDAttack

__all__ = ["PGDAttack"]
