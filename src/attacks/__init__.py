from src.attacks.pgd import PGDAttack

__all__ = ["PGDAttack"]
