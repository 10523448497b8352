"""A model's inputs: what is explained, and what goes along with it."""

from __future__ import annotations

import torch

from pellucid.core.inputs import Inputs, chunks


def two(count: int = 3) -> Inputs:
    return Inputs.of({"x": torch.arange(2.0 * count).reshape(count, 1, 2), "age": torch.arange(count)})


def test_images_alone_are_given_by_position() -> None:
    batch = torch.ones(2, 3, 4, 4)
    inputs = Inputs.of(batch)
    assert inputs.images is batch
    assert (inputs.name, inputs.named, len(inputs)) == ("", {}, 2)
    assert inputs.positional[0] is batch
    assert Inputs.of(inputs) is inputs


def test_of_a_mapping_the_first_is_explained_and_all_are_named() -> None:
    inputs = two()
    assert inputs.name == "x"
    assert inputs.images is inputs.tensors["x"]
    assert list(inputs.named) == ["x", "age"]
    assert inputs.positional == ()


def test_a_mapping_that_changes_afterwards_changes_nothing() -> None:
    given = {"x": torch.ones(1)}
    inputs = Inputs.of(given)
    given["y"] = torch.ones(1)
    assert list(inputs.tensors) == ["x"]


def test_every_tensor_is_cut_and_changed_alike() -> None:
    part = two()[1:]
    assert part.images.tolist() == [[[2.0, 3.0]], [[4.0, 5.0]]]
    assert part.tensors["age"].tolist() == [1, 2]
    assert two().map(lambda tensor: tensor + 1).tensors["age"].tolist() == [1, 2, 3]


def test_other_images_of_one_take_its_further_tensors_along() -> None:
    found = two()[2:].with_images(torch.zeros(4, 1, 2))
    assert found.images.shape == (4, 1, 2)
    assert found.tensors["age"].tolist() == [2, 2, 2, 2]
    same = two().with_images(torch.zeros(3, 1, 2))
    assert same.tensors["age"].tolist() == [0, 1, 2]
    assert list(same.tensors) == ["x", "age"]


def test_repeating_copies_nothing_and_cloning_everything() -> None:
    inputs = two(1)
    assert inputs.repeated(5).images.shape == (5, 1, 2)
    assert inputs.repeated(5).images.data_ptr() == inputs.images.data_ptr()
    copied = inputs.cloned()
    copied.images.zero_()
    assert inputs.images.any()


def test_chunks_cover_everything_once() -> None:
    assert list(chunks(7, 3)) == [(0, 3), (3, 6), (6, 7)]
    assert list(chunks(2, 3)) == [(0, 2)]
    assert list(chunks(0, 3)) == []
