"""The names that published scripts import, and the files that re-export them."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

import pellucid.xai
import src.xai

ROOT = Path(__file__).parents[2]
NAMES = ["AttentionRollout", "GradCAM", "GradCAMConfig", "GradCAMPlusPlus", "create_gradcam", "get_recommended_layers"]
SHIMS = ["src/xai/__init__.py", "src/xai/gradcam.py", "src/xai/attention_rollout.py", "src/attacks/pgd.py"]


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_the_same_objects(name):
    assert getattr(src.xai, name) is getattr(pellucid.xai, name)
    assert name in src.xai.__all__
    assert name in pellucid.xai.__all__


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("src.xai", NAMES),
        ("src.xai.gradcam", [name for name in NAMES if name != "AttentionRollout"]),
        ("src.xai.attention_rollout", ["AttentionRollout"]),
        ("src.attacks", ["PGDAttack"]),
        ("src.attacks.pgd", ["PGDAttack"]),
    ],
)
def test_each_module_gives_its_names(module, names):
    loaded = importlib.import_module(module)
    assert sorted(loaded.__all__) == sorted(names)
    assert all(getattr(loaded, name) is getattr(pellucid.xai, name) for name in names)


@pytest.mark.parametrize("path", SHIMS)
def test_the_shims_are_re_exports_of_a_few_lines(path):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 20
    first, second = ast.parse(text).body
    assert isinstance(first, ast.ImportFrom)
    assert isinstance(second, ast.Assign)


def test_the_wheel_holds_only_the_package():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["packages"] == ["src/pellucid"]
    assert all(path.startswith("src/pellucid/") for path in wheel["artifacts"])


def test_the_requirements_are_one_line():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").split("\n")
    (line,) = [line for line in lines if line.strip() and not line.startswith("#")]
    assert line.strip().removeprefix("-e ") == ".[xai]"
