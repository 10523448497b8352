"""Small networks that the attacks are tried on."""

import torch
from torch import nn


class Smooth(nn.Module):
    """A network with tanh alone, for which finite differences are exact but for rounding."""

    def __init__(self, classes=4, axes=2):
        super().__init__()
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.first, self.second = convolution(2, 5, 3, padding=1), convolution(5, 6, 3, padding=1)
        self.last = nn.Linear(6, classes)

    def forward(self, x):
        x = torch.tanh(self.second(torch.tanh(self.first(x))))
        return self.last(x.flatten(2).mean(2))


class Bent(Smooth):
    """The same with ReLU."""

    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.last(x.flatten(2).mean(2))


def made(kind=Smooth, seed=0, scale=4.0, **options):
    """A network whose answers differ from image to image."""
    torch.manual_seed(seed)
    model = kind(**options).eval()
    with torch.no_grad():
        model.last.weight.mul_(scale)
        some = pictures(64, seed=2, size=(8, 9) if options.get("axes", 2) == 2 else (3, 4, 3))
        spread = model(some).std(0)
        model.last.weight.div_(spread[:, None])  # so that each class is an answer for some
        model.last.bias.zero_()
        model.last.bias.sub_(model(some).mean(0))
    return model


def pictures(count=6, seed=1, size=(8, 9)):
    """Images in [0, 1]."""
    return torch.rand(count, 2, *size, generator=torch.Generator().manual_seed(seed))
