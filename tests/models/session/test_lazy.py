"""Attributes that are computed when they are first asked for."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest

from pellucid.models.session.lazy import lazy


@dataclass(frozen=True)
class Box:
    number: int
    computed: list[int]

    @lazy
    def double(self) -> int:
        """Twice the number."""
        self.computed.append(self.number)
        if self.number < 0:
            raise ValueError("negative")
        return 2 * self.number


def test_a_value_is_computed_once_for_each_object_also_of_a_frozen_class() -> None:
    computed: list[int] = []
    one, other = Box(3, computed), Box(4, computed)
    assert computed == []
    assert (one.double, one.double, other.double, one.double) == (6, 6, 8, 6)
    assert computed == [3, 4]


def test_the_class_has_the_property_itself() -> None:
    assert isinstance(Box.double, lazy)
    assert Box.double.__doc__ == "Twice the number."


def test_an_error_is_not_kept() -> None:
    computed: list[int] = []
    box = Box(-1, computed)
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            box.double  # noqa: B018  # that it is asked for is the matter
    assert computed == [-1, -1]


def test_no_object_waits_for_another() -> None:
    """With a lock of the class, the first value would wait for the second and the second for the lock."""
    there = threading.Event()

    class Waiting:
        def __init__(self, first: bool) -> None:
            self.first = first

        @lazy
        def value(self) -> bool:
            if self.first:
                thread = threading.Thread(target=lambda: Waiting(False).value)
                thread.start()
                return there.wait(5)
            there.set()
            return True

    assert Waiting(True).value
