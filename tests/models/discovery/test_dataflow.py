"""What is made of the image is marked, and by which convolutions over it."""

from __future__ import annotations

import gc

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.discovery.dataflow import IMAGE, NOTHING, REORDERED, Dataflow

KERNEL = torch.ones(8, 1, 3, 3)


def followed(image: Tensor) -> tuple[Dataflow, list[Tensor]]:
    seen: list[Tensor] = []

    def look(given: Tensor, _weight: Tensor, _is_image: bool) -> Tensor:
        seen.append(given)
        return given

    return Dataflow(image, look), seen


def test_convolutions_over_the_image_are_looks_and_later_ones_are_not() -> None:
    image, other = torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)
    flow, seen = followed(image)
    with flow:
        mirrored = image.flip(3)
        one, two = F.conv2d(image, KERNEL), F.conv2d(input=mirrored, weight=KERNEL)
        foreign = F.conv2d(other, KERNEL)
        deeper = F.conv2d(one.sum(1, keepdim=True), KERNEL)
        joined = torch.cat([one, two, foreign])
    assert seen[0] is image
    assert seen[1] is mirrored
    assert len(seen) == 2
    assert [flow.of(each) for each in (image, mirrored, one, two)] == [IMAGE, IMAGE, {1}, {2}]
    assert flow.of(deeper) == {1}
    assert flow.of(joined) == flow.of({"a": [one, (two, 3)]}) == {1, 2}
    assert flow.of(foreign) == flow.of("text") == NOTHING


def test_what_is_written_into_a_tensor_marks_it() -> None:
    image = torch.rand(1, 1, 8, 8)
    flow, _ = followed(image)
    with flow:
        by_item, by_part, by_method, by_operator = (torch.zeros(1, 1, 8, 8) for _ in range(4))
        by_item[..., 2:] = image[..., 2:]
        by_part[..., 0].copy_(image[..., 0])
        by_method.add_(image)
        by_operator += image
        made = torch.cat([image, F.conv2d(image, KERNEL, stride=2).mean() * image], dim=1)
    assert flow.of(by_item) == flow.of(by_part) == flow.of(by_method) == flow.of(by_operator) == IMAGE
    assert flow.of(made) == {0, 1}


def test_an_adapter_and_a_blur_make_another_image() -> None:
    image = torch.rand(1, 1, 8, 8)
    flow, seen = followed(image)
    with flow:
        coloured = F.conv2d(image, torch.rand(3, 1, 1, 1))
        blurred = F.conv2d(coloured, torch.rand(3, 1, 3, 3), padding=1, groups=3)
        F.conv2d(blurred, torch.rand(8, 3, 3, 3), padding=1)
    assert flow.of(blurred) == IMAGE
    assert [given is blurred for given in seen] == [True]


def test_a_convolution_over_the_image_and_other_outputs_is_a_look() -> None:
    image = torch.rand(1, 1, 8, 8)
    flow, seen = followed(image)
    with flow:
        gate = F.conv2d(image, torch.rand(8, 1, 8, 8)).mean()
        joined = gate * image
        output = F.conv2d(joined, torch.rand(8, 1, 3, 3))
    assert [given is joined for given in seen] == [False, True]
    assert flow.of(output) == {1, 2}


def test_the_image_itself_is_told_from_equal_ones() -> None:
    image = torch.zeros(1, 1, 8, 8)
    told: list[bool] = []

    def look(given: Tensor, _weight: Tensor, is_image: bool) -> Tensor:
        told.append(is_image)
        return given

    kernel = torch.rand(8, 1, 3, 3)
    with Dataflow(image, look):
        written = image.clone()
        assert written.shape == image.shape
        assert len(written) == 1
        for given in (image, image.clone().contiguous(), image.flip(3), image + 0):
            F.conv2d(given, kernel)
        written[..., 0] = 1
        F.conv2d(written, kernel)
    assert told == [True, True, False, False, False]


def test_a_look_may_be_given_another_input_and_nothing_is_held() -> None:
    image = torch.rand(1, 1, 8, 8)
    flow = Dataflow(image, lambda given, weight, _is_image: given * 0 + weight.numel())
    with flow:
        output = F.conv2d(image, KERNEL)
        assert torch.equal(output, torch.full((1, 8, 6, 6), 9.0 * KERNEL.numel()))
        reference = torch._C._WeakTensorRef(output)
        del output
        gc.collect()
        assert reference.expired()


def test_what_is_picked_by_the_image_is_marked_and_what_is_picked_by_constants_is_not() -> None:
    image, constant = torch.rand(1, 8), torch.tensor([[3, 1]])
    flow, _ = followed(image)
    with flow:
        numbers = image.argsort(dim=1)
        by_image = [
            image.gather(1, numbers),
            image[:, numbers[0]],
            image.sort(dim=1).values,
            image[image > 0.5],
            torch.zeros(1, 8).scatter_(1, numbers, image),
        ]
        plain = [image.gather(1, constant), image[:, constant[0]], image[:, ::2], numbers, image > 0.5]
        after = by_image[0] * 2
    assert [flow.of(each) for each in (*by_image, after)] == [IMAGE | REORDERED] * 6
    assert [flow.of(each) for each in plain] == [IMAGE] * 5


def test_numbers_that_leave_the_tensors_pick_from_then_on() -> None:
    image = torch.rand(1, 8)
    flow, _ = followed(image)
    with flow:
        before = image[:, [1, 2]]
        chosen = image.argsort(dim=1)[0, :2].tolist()
        after = image[:, chosen]
    assert (flow.of(before), flow.of(after)) == (IMAGE, IMAGE | REORDERED)
