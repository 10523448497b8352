"""Counts of annotated and predicted classes, against plain loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.evaluation.judging.quality import called_of, confusion_of, judged_images, quality_of
from tests.evaluation import made_scores


@pytest.fixture(scope="module")
def scores():
    return made_scores.made(patients=60, seed=3)


def with_labels(scores, change):
    """The same images with other stated classes."""
    return replace(scores, images=[replace(one, labels=change(index, one)) for index, one in enumerate(scores.images)])


def test_the_table_counts_annotated_against_predicted_classes(scores):
    found = confusion_of(scores)
    assert list(found.annotated) == list(found.predicted) == ["lesion", "nodule", "none"]
    for row, annotated in enumerate(found.annotated):
        for column, predicted in enumerate(found.predicted):
            both = [one for one in scores.images if one.labels == (annotated,) and one.predicted == predicted]
            assert found.counts[row][column] == len(both)
    assert sum(map(sum, found.counts)) == len(scores.images)


def test_images_that_the_model_is_not_judged_on_are_not_counted(scores):
    changed = with_labels(scores, lambda index, one: ((), ("fracture",), None, one.labels)[index % 4])
    found = confusion_of(changed)
    assert "fracture" not in found.annotated
    assert sum(map(sum, found.counts)) == len(judged_images(changed)) == len(scores.images[3::4])


def test_an_image_of_two_classes_counts_in_each_and_of_one_that_is_named_twice_once(scores):
    both = with_labels(scores, lambda _index, _one: ("nodule", "lesion", "nodule"))
    found = confusion_of(both)
    assert list(found.annotated) == ["lesion", "nodule"]
    assert [sum(row) for row in found.counts] == [len(scores.images)] * 2


def test_detected_classes_equal_loops(scores):
    several = replace(scores, multilabel=True)
    assert confusion_of(several) is None
    for one in quality_of(several):
        pairs = [(one.name in image.labels, image.probabilities[one.name] > 0.5) for image in several.images]
        expected = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
        called = one.called
        counts = [called.present_called, called.present_missed, called.absent_called, called.absent_not_called]
        assert counts == expected
        assert (sum(counts[:2]), sum(counts[2:])) == (one.positive, one.negative)


def test_a_probability_of_a_half_is_not_called():
    found = called_of(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    assert (found.present_called, found.absent_called) == (0, 0)


def test_exclusive_classes_have_no_threshold_and_no_model_has_no_table(scores):
    assert all(one.called is None for one in quality_of(scores))
    blind = replace(scores, images=[replace(one, probabilities=None, predicted=None) for one in scores.images])
    assert confusion_of(blind) is None
