"""Classes by number and by name, and what is refused of both."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.class_names import class_index, class_number, classes_named
from pellucid.errors import TargetError

NAMES = ("normal", "pleural effusion", "tench, Tinca tinca")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Pleural_Effusion", [1]),
        ("  pleural  effusion ", [1]),
        ("tinca tinca", [2]),
        ("tench, Tinca tinca", [2]),
        ("tinca", []),
    ],
)
def test_case_and_underscores_do_not_count_and_a_class_may_have_several_names(name: str, found: list[int]) -> None:
    assert classes_named(name, NAMES) == found


def test_a_whole_name_comes_before_a_part_of_one() -> None:
    assert classes_named("cat", ("lynx, cat", "cat")) == [1]


def test_a_direction_alone_is_a_name_where_there_is_one_value() -> None:
    assert class_index("higher", ("lower bone age", "higher bone age"), "regression") == 1
    with pytest.raises(TargetError, match=r"classes \[1, 3\] all have that name"):
        class_index("higher", ("lower a", "higher a", "lower b", "higher b"), "regression")
    with pytest.raises(TargetError, match="the model does not have it"):
        class_index("higher", ("lower bone age", "higher bone age"), "softmax")


@pytest.mark.parametrize(
    ("name", "names", "message"),
    [
        ("pleural efusion", NAMES, "class 'pleural efusion' was asked for; .*; did you mean pleural effusion?"),
        ("normal", None, r"by name; the model's names are not known: give classes=\[…\]"),
        ("a", ("a", "b", "A"), r"classes \[0, 2\] all have that name: give the number"),
    ],
)
def test_names_that_are_refused(name: str, names: tuple[str, ...] | None, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        class_index(name, names, "softmax")


def test_numbers() -> None:
    assert [class_number(item) for item in (3, np.int64(3), -1)] == [3, 3, -1]
    for item in (True, 1.5, None, int):
        with pytest.raises(TargetError, match="a target must be 'predicted', 'all', a class's number or name"):
            class_number(item)
    with pytest.raises(TargetError, match="no model has that many"):
        class_number(2**63)


def test_a_callable_in_a_list_is_told_what_to_write() -> None:
    with pytest.raises(TargetError, match="give one callable for all images"):
        class_number(lambda logits: logits)

    class ClassifierOutputTarget:
        category = 7

        def __call__(self, output: object) -> object:
            return output

    with pytest.raises(TargetError, match=r"write the class itself: targets=\[7\]"):
        class_number(ClassifierOutputTarget())
