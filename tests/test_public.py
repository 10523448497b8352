"""The flat namespace, and the tree of errors."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import pellucid
from pellucid import errors
from tests.fresh import fresh

ROOT = Path(__file__).parents[1]
CLASSES = [cls for cls in vars(errors).values() if inspect.isclass(cls) and issubclass(cls, errors.PellucidError)]


def test_the_namespace_is_sorted_and_complete() -> None:
    assert pellucid.__all__ == sorted(pellucid.__all__, key=lambda name: (name[0].islower(), name))
    assert sorted(pellucid.__all__) == sorted([*pellucid._HOMES, *pellucid._MODULES, "__version__"])
    assert dir(pellucid) == sorted(pellucid.__all__)
    designed = {
        *("Explainer", "Explanation", "Image", "Runtime", "PellucidError", "explain", "overlay"),
        *("recommended_layers", "available_methods", "load_model", "read_image", "load_explanation"),
        *("errors", "methods", "metrics", "phantom", "priors", "statistics", "xai"),
        # What a method or preprocessing of one's own is written with.
        *("Attribution", "Geometry", "Method", "Preprocessing", "Probe", "Region", "Targets", "register_method"),
    }
    assert designed <= set(pellucid.__all__)


@pytest.mark.parametrize("name", sorted(pellucid._HOMES))
def test_every_name_is_what_its_module_defines(name: str) -> None:
    home = importlib.import_module(f"pellucid.{pellucid._HOMES[name]}")
    assert getattr(pellucid, name) is getattr(home, name)
    assert inspect.getdoc(getattr(pellucid, name))


def test_modules_are_attributes_in_a_fresh_process() -> None:
    found = fresh(*(f"import pellucid; print(pellucid.{name}.__name__)" for name in pellucid._MODULES))
    assert found == [f"pellucid.{name}" for name in pellucid._MODULES]


def test_what_the_documentation_calls_an_attribute_is_one() -> None:
    pages = [ROOT / "README.md", *(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "results")]
    named = {
        name for page in pages for name in re.findall(r"(?<!from )\bpellucid\.([a-z]\w+)", page.read_text("utf-8"))
    }
    groups = {"exporters", "sources"}  # names of entry points
    assert {"statistics", "xai", "explain"} <= named
    assert named - groups - {"core"} - set(pellucid.__all__) == set()  # core is there since pellucid imports it


def test_the_version_is_the_package_s() -> None:
    assert pellucid.__version__ == metadata.version("pellucid")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", pellucid.__version__)


def test_type_checkers_see_the_same_names() -> None:
    block = inspect.getsource(pellucid).partition("if TYPE_CHECKING:")[2].partition("\n#")[0]
    seen = {
        name: home
        for home, names in re.findall(r"from pellucid\.(\S+) import (.+)", block)
        for name in names.split(", ")
    }
    assert seen == pellucid._HOMES
    (modules,) = re.findall(r"from pellucid import (\([^)]+\)|.+)", block)
    assert tuple(re.findall(r"\w+", modules)) == pellucid._MODULES
    assert "__version__: str" in block


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'pellucid' has no attribute 'explian'"):
        _ = pellucid.explian


def test_a_warning_points_at_the_line_outside_of_the_package() -> None:
    with pytest.warns(errors.PellucidWarning, match="look here") as caught:
        errors.warn("look here")
    assert caught[0].filename == __file__


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, pellucid; print(sorted({'torch', 'timm', 'numpy', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_star_import_gives_all_names() -> None:
    space: dict[str, object] = {}
    exec("from pellucid import *", space)
    assert set(pellucid.__all__) <= set(space)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_stands_in_the_tree(cls: type[errors.PellucidError]) -> None:
    rows = [line for line in errors.__doc__.splitlines() if re.search(rf"\b{cls.__name__}\b", line)]
    assert rows, f"{cls.__name__} is not drawn"
    assert cls.exit_code in (2, 3)
    assert re.search(rf"\b{cls.exit_code}\b", rows[0]), rows[0]
    assert cls.__doc__
    if cls is errors.PellucidError:
        return
    plain = [kind for kind in (ValueError, IndexError, TypeError, RuntimeError) if issubclass(cls, kind)]
    assert len(plain) == 1
    inherited = any(base in CLASSES and base is not errors.PellucidError for base in cls.__bases__)
    assert inherited or plain[0].__name__ in rows[0]


def test_the_tree_has_no_others() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__)) | {"PellucidError"}
    assert drawn == {cls.__name__ for cls in CLASSES}


def test_warnings_are_no_errors() -> None:
    assert issubclass(errors.PellucidWarning, UserWarning)
    assert not issubclass(errors.PellucidWarning, errors.PellucidError)


def test_near_names() -> None:
    assert errors.did_you_mean("layr4", ["layer4", "fc"]) == "; did you mean layer4?"
    assert errors.did_you_mean("zzz", ["layer4", "fc"]) == ""
    assert errors.did_you_mean("Layer_4", ["layer4", "layer3"]) == "; did you mean layer4?"
    findings = ["effusion", "pneumothorax", "pneumonia", "pneu"]
    assert errors.did_you_mean("pneum", findings) == "; did you mean pneumonia, pneumothorax, pneu?"
    assert errors.did_you_mean("", ["layer4"]) == ""
    assert errors.did_you_mean("layer", [f"layer{i}" for i in range(9)], count=2).count("layer") == 2
