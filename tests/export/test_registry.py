"""Export formats are found: a file in the package of formats, and an entry point of another package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import pellucid
from pellucid.errors import OptionError
from pellucid.export import exporters, find
from pellucid.io import FORMATS

SOURCE = Path(pellucid.__file__).parent

COUNT = '''"""Text: the number of maps."""

from pellucid.export import Case, Files


def export(case: Case) -> Files:
    """``…_count.txt`` of the image, and ``…_name.txt`` of each map."""
    names = {f"{one.name}_name.txt": one.explanation.label(0).encode() for one in case.each()}
    return {f"{case.name}_count.txt": str(len(case.each())).encode()} | names
'''

PYTHON = """
import sys
import torch, pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image

values = torch.rand(3, 32, 32)
image = Image(values, values, Geometry.identity((32, 32)))
layer = torch.nn.Conv2d(3, 4, 3)
model = torch.nn.Sequential(layer, torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
explanation = pellucid.explain(model.eval(), values[None], "gradcam", targets=torch.tensor([[0, 1]]))
print([path.name for path in pellucid.write(explanation, image, sys.argv[1], sys.argv[2])])
"""

LIGHT = """
import sys
from pellucid.export import Case, exported, exporters, find
from pellucid.errors import PellucidError

def tried(name):
    try:
        return exported(Case("scan", None, None), [name])
    except PellucidError as error:
        return type(error).__name__, str(error)

for name in sys.argv[1:]:
    print(repr(tried(name)))
print(exporters())
print(sorted({"torch", "numpy", "pydicom", "highdicom", "matplotlib", "PIL"} & set(sys.modules)))
"""


def python(*arguments: str | Path, path: Path) -> str:
    """What a fresh interpreter prints that finds ``path`` before this checkout."""
    paths = os.pathsep.join(map(str, (path, SOURCE.parent)))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(folder: Path, package: str, module: str, formats: dict[str, str]) -> None:
    """Write a package as pip would install it: its module, and metadata with entry points."""
    folder.mkdir(exist_ok=True)
    (folder / f"{package}.py").write_text(module)
    about = folder / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"{name} = {package}:{function}" for name, function in formats.items()]
    (about / "entry_points.txt").write_text("\n".join(["[pellucid.exporters]", *lines]))


@pytest.fixture(scope="module")
def with_a_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of pellucid to which one file was added."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(SOURCE, folder / "pellucid", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "pellucid/export/formats/count.py").write_text(COUNT)
    return folder


@pytest.fixture(scope="module")
def with_a_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages, one of which adds a format."""
    folder = tmp_path_factory.mktemp("packages")
    installed(folder, "acme", COUNT, {"count": "export"})
    return folder


@pytest.fixture(params=["with_a_file", "with_a_package"])
def added(request: pytest.FixtureRequest) -> Path:
    """Where a format named count was added, in either way."""
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A grey image file."""
    Image.new("L", (40, 30), 99).save(tmp_path / "scan.png")
    return tmp_path / "scan.png"


def test_write_takes_an_added_format(added: Path, tmp_path: Path) -> None:
    printed = python("-c", PYTHON, tmp_path / "out", "count", path=added)
    assert printed.strip() == "['image_count.txt', 'image_0_name.txt', 'image_1_name.txt']"
    assert (tmp_path / "out/image_count.txt").read_text() == "2"


def test_the_command_line_takes_an_added_format_and_metadata_name_its_files(
    added: Path, tmp_path: Path, scan: Path
) -> None:
    command = ["explain", scan, "--model", "torchvision:resnet18", "--output", tmp_path / "out", "--quiet"]
    python("-m", "pellucid", *command, "--export", "png,count", path=added)
    facts = json.loads((tmp_path / "out/scan_metadata.json").read_text())
    assert facts["files"] == ["scan_overlay.png", "scan_heatmap.png", "scan_count.txt", "scan_name.txt"]
    assert all((tmp_path / "out" / name).is_file() for name in facts["files"])


def test_messages_name_an_added_format(added: Path) -> None:
    asked, names, _ = python("-c", LIGHT, "cuont", path=added).splitlines()
    assert f"there are {', '.join(sorted([*exporters(), 'count']))}; did you mean count?" in asked
    assert "'count'" in names


def test_the_help_lists_an_added_format(added: Path) -> None:
    shown = python("-m", "pellucid", "explain", "--help", path=added)
    assert ", ".join(sorted([*exporters(), "count"])) in " ".join(re.sub("[│┃]", " ", shown).split())


def test_listing_imports_nothing(added: Path) -> None:
    assert python("-c", LIGHT, path=added).splitlines()[-1] == "[]"


BROKEN = """
def raising(case): raise ZeroDivisionError("Doe^John")
def leaving(case): return {"../scan_x.txt": b""}
def below(case): return {f"{case.name}_a/b.txt": b""}
def foreign(case): return {"other_x.txt": b""}
def texts(case): return {f"{case.name}_x.txt": "text"}
def nothing(case): return None
def good(case): return {f"{case.name}_x.txt": b"good"}
number = 3
"""


def test_a_package_that_fails_is_named_in_one_line_and_others_work(tmp_path: Path) -> None:
    names = ["raising", "leaving", "below", "foreign", "texts", "nothing"]
    installed(tmp_path, "acme", BROKEN, {name: name for name in [*names, "number", "missing", "good", "npz"]})
    installed(tmp_path, "bolt", "import not_there\n", {"absent": "export"})
    installed(tmp_path, "carp", BROKEN, {"twice": "good"})
    installed(tmp_path, "dent", BROKEN, {"twice": "good"})
    asked = [*names, "number", "missing", "absent", "twice", "good"]
    lines = python("-c", LIGHT, *asked, path=tmp_path).splitlines()
    reported = dict(zip(asked, lines, strict=False))
    expected = {
        "raising": "entry point 'raising' of the package acme failed (ZeroDivisionError)",
        "leaving": "returned the file name '../scan_x.txt'; one that begins with scan_ was expected",
        "below": "returned the file name 'scan_a/b.txt'",
        "foreign": "returned the file name 'other_x.txt'",
        "texts": "returned str for scan_x.txt; bytes were expected",
        "nothing": "entry point 'nothing' of the package acme failed (TypeError)",
        "number": "entry point 'number' of the package acme is int; a function of a Case was expected",
        "missing": "entry point 'missing' of the package acme cannot be loaded (AttributeError: ",
        "absent": "of the package bolt cannot be loaded (ModuleNotFoundError: No module named 'not_there')",
        "twice": "the packages carp and dent both provide it: uninstall one",
        "good": "({'scan_x.txt': b'good'}, [])",
    }
    for name, words in expected.items():
        assert words in reported[name].replace("\\'", "'"), name
        assert "Doe" not in reported[name]
        assert "\\n" not in reported[name]


def test_a_package_cannot_replace_a_format(tmp_path: Path) -> None:
    installed(tmp_path, "acme", BROKEN, {"npz": "good"})
    printed = python("-c", "from pellucid.export import find; print(find('npz').__module__)", path=tmp_path)
    assert printed.strip() == "pellucid.export.formats.npz"


def test_every_file_of_formats_is_one() -> None:
    files = {path.stem.replace("_", "-") for path in (SOURCE / "export/formats").glob("[!_]*.py")}
    assert set(exporters()) == files
    assert all(callable(find(name)) for name in files)


def test_an_unknown_name_is_refused_with_those_that_exist() -> None:
    with pytest.raises(OptionError, match=r"export 'pgn' was asked for; there are .*; did you mean png") as caught:
        find("pgn")
    assert all(name in str(caught.value) for name in exporters())


def test_the_documentation_has_every_format() -> None:
    page = (SOURCE.parents[1] / "docs/medical.md").read_text(encoding="utf-8")
    written, read = (page.partition("## Writing")[index] for index in (2, 0))
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", written, re.MULTILINE)) == exporters()
    table = " ".join(re.findall(r"^\| ([A-Z][^|]*) \|", read, re.MULTILINE))
    assert set(re.findall(r"\w+", table)) - {"grey", "colour"} == set(FORMATS)
