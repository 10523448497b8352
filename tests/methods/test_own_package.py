"""A method with a backward rule of its own, as one file in a package of its own: built, installed, found, and right."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image as PillowImage

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
METHOD = re.search(r"`src/pellucid/methods/deconvnet\.py`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)
PROJECT = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
NETWORK = """
import torch
from torch import nn

def network(positive_part_goes_on=False):
    torch.manual_seed(0)
    relu = Deconvolved() if positive_part_goes_on else nn.ReLU(inplace=True)
    return nn.Sequential(nn.Conv2d(3, 6, 3), relu, nn.Conv2d(6, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()

class PositivePart(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.clamp(min=0)

class Deconvolved(nn.Module):
    def forward(self, x):
        return PositivePart.apply(x)

def build():
    return network()
"""
IN_PYTHON = """
import torch
import pellucid
from network import network

images = torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1))
found = pellucid.explain(network(), images, method="deconvnet", targets=1).attributions[:, 0]
leaf = images.clone().requires_grad_()
network(positive_part_goes_on=True)(leaf)[:, 1].sum().backward()
torch.testing.assert_close(found, leaf.grad.abs().amax(1))
plain = pellucid.explain(network(), images, method="saliency", targets=1).attributions[:, 0]
assert not torch.allclose(found, plain), "the rule changes the gradient"
assert "deconvnet" in pellucid.available_methods()
print("equal")
"""


def run(*arguments: object, folder: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, with an installed package on its path."""
    search = os.pathsep.join(str(entry) for entry in (path, ROOT / "src", folder) if entry is not None)
    return subprocess.run(  # the interpreter itself
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package's wheel was installed into."""
    project = tmp_path_factory.mktemp("project")
    (project / "my_package").mkdir()
    (project / "my_package" / "__init__.py").touch()
    (project / "my_package" / "deconvnet.py").write_text(METHOD[1], encoding="utf-8")
    (project / "pyproject.toml").write_text(PROJECT[1], encoding="utf-8")
    pip = ("-m", "pip", "--disable-pip-version-check")
    built = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", "dist", ".", folder=project)
    assert built.returncode == 0, built.stderr
    (wheel,) = (project / "dist").glob("*.whl")
    target = project / "installed"
    done = run(*pip, "install", "--no-deps", "--no-index", "--target", target, wheel, folder=project)
    assert done.returncode == 0, done.stderr
    (project / "network.py").write_text(NETWORK, encoding="utf-8")
    return target


def test_it_is_found_and_right_in_python(installed: Path) -> None:
    done = run("-W", "error", "-c", IN_PYTHON, folder=installed.parent, path=installed)
    assert done.stdout.splitlines() == ["equal"], done.stderr


def test_it_works_on_the_command_line(installed: Path) -> None:
    project = installed.parent
    PillowImage.new("RGB", (12, 12), (90, 120, 30)).save(project / "image.png")
    command = ("-m", "pellucid", "explain", "image.png", "--model", "network.py:build", "--method", "deconvnet")
    done = run(*command, "--output", "results", folder=project, path=installed)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list((project / "results").rglob("*overlay*.png"))
    listed = run("-m", "pellucid", "methods", folder=project, path=installed)
    assert "deconvnet" in listed.stdout
    assert "Zeiler" in listed.stdout


def test_without_the_package_there_is_no_such_method(installed: Path) -> None:
    done = run("-m", "pellucid", "methods", folder=installed.parent)
    assert done.returncode == 0, done.stderr
    assert "deconvnet" not in done.stdout
