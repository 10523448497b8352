"""The ways to install: their files agree with the package, and torchvision works without its compiled operators."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.cli.conftest import save

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONTAINER = (ROOT / "Containerfile").read_text().splitlines()

MISFIT = """
import sys, torch
def missing(path):
    raise OSError(path)
load, torch.ops.load_library = torch.ops.load_library, missing
import pellucid
from pellucid.models.operators import has_compiled_operators
from pellucid.cli.main import app
for spec in ("torchvision:resnet18", "timm:test_vit", "own.py:build"):
    app(["explain", "scan.png", "--model", spec, "--output", spec.replace(":", "-"), "--quiet"], standalone_mode=False)
assert not has_compiled_operators()
import torchvision
try:
    torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
except RuntimeError as error:
    print(str(error).splitlines()[0])
"""
OWN = """
from torchvision.models import resnet18

def build():
    return resnet18(num_classes=3)
"""


def test_classifiers_work_without_torchvision_s_compiled_operators(tmp_path: Path) -> None:
    save(tmp_path / "scan.png")
    (tmp_path / "own.py").write_text(OWN)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MISFIT], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*/scan_overlay.png"))) == 3
    assert done.stdout.startswith("Couldn't load custom C++ ops.")  # torchvision's own message


def test_another_error_of_an_import_is_passed_on() -> None:
    from pellucid.models.operators import declaring

    calls = []

    def broken() -> None:
        calls.append(1)
        raise RuntimeError("operator other::nms does not exist")

    with pytest.raises(RuntimeError, match="other::nms"):
        declaring(broken)
    assert calls == [1]


def test_the_constraints_are_a_pair_without_cuda_that_the_package_allows() -> None:
    pins = {
        one.name: next(iter(one.specifier))
        for line in (ROOT / "constraints-cpu.txt").read_text().splitlines()
        if not line.startswith("#")
        for one in [Requirement(line)]
    }
    assert set(pins) == {"torch", "torchvision"}
    assert pins["torch"].version.endswith("+cpu")
    for requirement in map(Requirement, PROJECT["dependencies"]):
        if requirement.name in pins:
            assert pins[requirement.name].version in requirement.specifier
    minor = {name: int(pin.version.split(".")[1]) for name, pin in pins.items()}
    assert minor["torchvision"] == minor["torch"] + 15  # as torchvision numbers its releases since torch 2.0


def test_the_conda_environment_leaves_the_dependencies_to_the_package() -> None:
    parts = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    python = next(part for part in parts if str(part).startswith("python="))
    assert python.partition("=")[2] in SpecifierSet(PROJECT["requires-python"])
    assert parts[-1] == {"pip": ["."]}


def test_the_container_copies_what_exists_and_its_user_is_not_root() -> None:
    words = [line.split() for line in CONTAINER if line and not line.startswith(("#", " "))]
    bases = {line[1] for line in words if line[0] == "FROM"}
    assert len(bases) == 1
    assert ":" in bases.pop()
    assert [line[1] for line in words if line[0] == "USER"] == ["1000"]
    copied = [name for line in words if line[0] == "COPY" and not line[1].startswith("--") for name in line[1:-1]]
    sent = (ROOT / ".dockerignore").read_text().splitlines()
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in sent
    assert "hatch_build.py" in copied  # the build needs it
    extras = next(line[1] for line in words if line[0] == "ARG" and line[1].startswith("EXTRAS="))
    assert set(extras.partition("=")[2].strip('"').split(",")) <= set(PROJECT["optional-dependencies"])
