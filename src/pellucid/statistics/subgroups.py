"""The same estimate in each subgroup of the cases, where the subgroup is large enough."""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import names_of, numbers
from pellucid.statistics.distributions import Array
from pellucid.statistics.intervals import Interval
from pellucid.statistics.samples import Patients, check_lengths, sample

FEWEST = 20
"""The patients of a subgroup whose estimate is shown."""


class Estimate(Protocol):
    """A function such as ``proportion``, or ``functools.partial(mean, generator=generator)``."""

    def __call__(self, values: Array, patients: Patients, /) -> Interval:
        """The estimate of values (N,) of these patients (N,)."""


def subgroups(
    values: ArrayLike, groups: Iterable[Hashable], estimate: Estimate, patients: Patients = None
) -> dict[Hashable, Interval]:
    """An estimate of the values (N,) in each group, in the order in which the groups first appear.

    ``groups`` (N,) names each case's group; None and NaN are one group, of unknown members. A group with fewer than 20
    patients has its count only: the estimate and the interval are NaN.

    >>> from pellucid.statistics import proportion
    >>> found = subgroups([1, 1, 0] * 10, ["large"] * 25 + ["small"] * 5, proportion)
    >>> for name, interval in found.items():
    ...     print(name, interval)
    large 0.680 (0.465 to 0.851)
    small 5 cases of 5 patients; interval withheld: fewer than 20 patients

    Raises:
        ShapeError: the arrays are not (N,), or differ in length.
        OptionError: ``estimate`` needs more than values and patients; or what it does not allow.
    """
    _check_callable(estimate)
    names = [None if name is None or name != name else name for name in names_of("groups", groups)]
    column = numbers("values", values)
    whose = list(range(len(column))) if patients is None else names_of("patients", patients)
    check_lengths({"values": len(column), "groups": len(names), "patients": len(whose)})
    members: dict[Hashable, list[int]] = {}
    for index, name in enumerate(names):
        members.setdefault(name, []).append(index)
    return {
        name: _estimated(column[cases], [whose[case] for case in cases], estimate) for name, cases in members.items()
    }


def _check_callable(estimate: Estimate) -> None:
    """Raise ``OptionError`` if the estimate cannot be called with values and patients alone."""
    name = getattr(estimate, "__name__", repr(estimate))
    remedy = "give a function such as proportion, or functools.partial(mean, generator=generator)"
    if not callable(estimate):
        raise OptionError(f"estimate {name[:60]} was given, which is no function: {remedy}")
    try:
        inspect.signature(estimate).bind(None, None)
    except TypeError as error:
        raise OptionError(
            f"estimate {name[:60]} cannot be called with values and patients ({error}): {remedy}"
        ) from error
    except ValueError:  # functions in C may have no signature
        return


def _estimated(values: Array, patients: Sequence[Hashable], estimate: Estimate) -> Interval:
    found = sample({"values": values}, patients)
    if found.patients >= FEWEST:
        return estimate(values, patients)
    return found.without(f"fewer than {FEWEST} patients")
