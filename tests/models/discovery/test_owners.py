"""Which entry of a batch sees which part of the images."""

from __future__ import annotations

import torch

from pellucid.models.discovery.owners import entries_of, indices_seen


def test_which_entry_sees_which_value() -> None:
    images = torch.rand(2, 3, 4, 4, requires_grad=True)
    owners = entries_of(images, images.transpose(0, 1).flatten(0, 1)[:, None])
    assert owners[:, :, 0, 0].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert indices_seen(owners, 1) == [0, 1, 2]
    assert indices_seen(entries_of(images, torch.cat([images, images.flip(3)])), 1) is None
    assert indices_seen(entries_of(images, images[:, 1:2]), 1) == [1]
