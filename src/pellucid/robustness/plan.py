"""What is asked: methods, changes with their budgets, and how maps are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pellucid.core.attack import ATTACKS, Attack, settings
from pellucid.core.change import CHANGES
from pellucid.core.metric import METRICS, Comparison
from pellucid.core.numbers import is_number, is_seed
from pellucid.core.registry import options
from pellucid.errors import OptionError, did_you_mean
from pellucid.evaluation.naming import parts_of
from pellucid.robustness.steps import ByAttack, ByChange, Step

ALL = "all"
WITHIN = "ssim"
"""The comparison that tells the worst case, and how far answers and maps move together."""
_SHARES = (0.125, 0.25, 0.5, 1.0)
"""The budgets of an attack, as shares of its own."""
_STRENGTH, _EPSILON = "strength", "epsilon"


@dataclass(frozen=True, kw_only=True)
class RobustnessPlan:
    """What is changed, and by how much.

    ``methods`` are methods and priors with their options, ``all`` those that the model allows. ``changes`` are changes
    (``pellucid.changes``; ``all``: each of them) and attacks (``pellucid.attacks``) with their options, such as
    "pgd(steps=20)". ``budgets`` maps a change to its strengths, or an attack to its ε; by default the change's own
    levels, and ⅛, ¼, ½ and all of the attack's ε. ``metrics`` compare two maps.

    Raises:
        OptionError: there is no such change, attack or comparison, or a budget is out of its range.

    >>> plan = RobustnessPlan(changes=("noise", "pgd(steps=2)"), budgets={"noise": (0.0, 0.1)})
    >>> [(step.change, step.level) for step in plan.steps[:3]]
    [('noise', 0.0), ('noise', 0.1), ('pgd(steps=2)', 0.00392156862745098)]
    """

    methods: Sequence[str] = ("gradcam",)
    changes: Sequence[str] = (ALL, "pgd")
    budgets: Mapping[str, Sequence[float]] = field(default_factory=dict)
    metrics: Sequence[str] = (WITHIN, "spearman", "pearson", "topk_overlap", "centre_shift")
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        for name in ("methods", "changes", "metrics"):
            given = getattr(self, name)
            listed = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else [None]
            if not all(isinstance(one, str) for one in listed):
                raise OptionError(f"{name}={given!r} was given; write a list of names: {getattr(type(self), name)}")
            object.__setattr__(self, name, tuple(listed))  # frozen
        if not is_seed(self.seed):
            raise OptionError(
                f"seed = {self.seed} was asked for; write 0 or more, a whole number below 2 to the power of 63"
            )
        if not self.methods or not self.changes:
            raise OptionError("no method or no change was asked for; name one of each at least")
        if not isinstance(self.budgets, Mapping):
            raise OptionError(
                f"budgets={self.budgets!r} was given; write those of each change: {{'noise': (0.1, 0.2)}}"
            )
        unasked = [name for name in self.budgets if name not in _names(self)]
        if unasked:
            raise OptionError(
                f"budgets of {unasked[0]!r} were given; the changes are {', '.join(_names(self))}: add it"
            )
        _ = self.steps, self.comparisons

    @property
    def steps(self) -> tuple[Step, ...]:
        """Each change at each of its levels."""
        return tuple(step for name in _names(self) for step in _steps(name, self.budgets.get(name), self.seed))

    @property
    def comparisons(self) -> dict[str, Comparison]:
        """The comparisons of maps by their label; SSIM is always there."""
        return {label: _comparison(label) for label in dict.fromkeys((WITHIN, *self.metrics))}


def _names(plan: RobustnessPlan) -> list[str]:
    each = [CHANGES.names() if name == ALL else [name] for name in plan.changes]
    return list(dict.fromkeys(name for part in each for name in part))


def _steps(label: str, budgets: Sequence[float] | None, seed: int) -> list[Step]:
    name, texts = parts_of(label, "change")
    if name in CHANGES.registered():
        _check_free(label, texts, _STRENGTH)
        change = CHANGES.build(name, texts)
        levels = _levels(label, change.levels if budgets is None else budgets)
        return [ByChange(label, replace(change, strength=level)) for level in levels]  # type: ignore[type-var]  # a frozen dataclass
    if name not in ATTACKS.registered():
        known = [*CHANGES.names(), *ATTACKS.names()]
        raise OptionError(
            f"change {name!r} was asked for; no change or attack has that name"
            f"{did_you_mean(name, known) or '; there are ' + ', '.join(known)}"
        )
    _check_free(label, texts, _EPSILON)
    attack = ATTACKS.build(name, texts)
    _check_alone(label, name, attack)
    own = settings(attack).get(_EPSILON)
    if not isinstance(own, int | float):
        raise OptionError(f"attack {name!r} was asked for; it has no epsilon that could grow: leave it out")
    levels = _levels(label, [share * own for share in _SHARES] if budgets is None else budgets)
    return [ByAttack(label, replace(_seeded(attack, seed), epsilon=level)) for level in levels]  # type: ignore[type-var]  # a frozen dataclass


def _seeded(attack: Attack, seed: int) -> Attack:
    """The attack with the plan's seed, if it draws a start; its own is added."""
    own = settings(attack).get("seed")
    return replace(attack, seed=(own + seed) % 2**63) if isinstance(own, int) else attack  # type: ignore[type-var]  # likewise


def _check_free(label: str, texts: Mapping[str, str], size: str) -> None:
    if size in texts:
        raise OptionError(f"change {label!r} was asked for; its {size} is its budget: give budgets=")


def _check_alone(label: str, name: str, attack: Attack) -> None:
    """Raise ``OptionError`` if an attack needs other images: each is attacked as if it were the only one."""
    if settings(attack).get("target") == "next":
        raise OptionError(
            f"change {label!r} was asked for; each image is attacked by itself, and has no next one: write "
            f"'{name}(target=corner)'"
        )


def _levels(label: str, levels: Sequence[float]) -> list[float]:
    listed = not isinstance(levels, (str, bytes)) and isinstance(levels, Iterable)
    given: list[Any] = list(levels) if listed else [levels]
    if not given or not listed or not all(is_number(level) for level in given):
        raise OptionError(f"budgets {levels!r} of {label!r} were given; write a list of numbers, as in [0.1, 0.2]")
    found = [float(level) for level in given]
    if found != sorted(set(found)):
        raise OptionError(f"budgets {found} of {label!r} were given; write growing ones, each once")
    return found


def _comparison(label: str) -> Comparison:
    found = METRICS.build(*parts_of(label))
    if not isinstance(found, Comparison):
        known = [name for name, cls in sorted(METRICS.registered().items()) if issubclass(cls, Comparison)]
        raise OptionError(f"metric {label!r} was asked for; it judges one map: choose among {', '.join(known)}")
    return found


def settings_of(step: Step) -> dict[str, object]:
    """All options of a step's change or attack."""
    what = step.what
    return {"name": what.name, **{key: repr(getattr(what, key)) for key in options(type(what))}}
