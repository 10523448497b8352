"""mypy --strict reads two users' files: it accepts the correct one, and finds every mistake in the other."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pellucid
from hatch_build import method_classes, stub, write_stub, write_stubs
from pellucid.core import catalogue

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CORRECT, MISTAKEN = HERE / "correct.py", HERE / "mistaken.py"


@pytest.fixture(scope="module")
def reported() -> list[tuple[str, int, str]]:
    """What mypy reports of both files: the file, the line, the kind of mistake."""
    write_stubs()  # as the build does
    # The settings of `make lint`, and its cache: a run of its own would read all of torch.
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml", CORRECT, MISTAKEN]
    places = {"MYPYPATH": str(Path(pellucid.__file__).parents[1]), "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache")}
    done = subprocess.run(
        [*command, "--show-error-codes", "--no-error-summary", "--no-pretty"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
        env={**os.environ, **places},
    )
    assert done.returncode in (0, 1), done.stderr
    found = re.findall(r"^(.+?):(\d+)(?::\d+)?: error: .*\[(\S+)\]$", done.stdout, re.MULTILINE)
    assert len(found) == done.stdout.count(": error:"), done.stdout
    return [(Path(file).name, int(line), code) for file, line, code in found]


def test_a_user_s_file_is_accepted(reported: list[tuple[str, int, str]]) -> None:
    assert [one for one in reported if one[0] != MISTAKEN.name] == []


def test_mistakes_are_found_where_they_are(reported: list[tuple[str, int, str]]) -> None:
    lines = MISTAKEN.read_text().splitlines()
    marked = [(number, line.partition("# mistake: ")[2]) for number, line in enumerate(lines, 1) if "# mistake" in line]
    assert len(marked) > 10
    assert sorted({(line, code) for file, line, code in reported if file == MISTAKEN.name}) == marked


def test_the_user_s_file_runs_as_far_as_it_can() -> None:
    """Its names exist, and its method registers itself."""
    from tests.typing import correct

    with catalogue.forgetting(correct.Mine):
        assert catalogue.find("mine") is correct.Mine
    tree = ast.parse(CORRECT.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_pellucid(node.value)}
    assert used
    assert all(hasattr(pellucid, name) for name in used)


def _is_pellucid(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "pellucid"


def test_the_stub_names_the_methods_classes(tmp_path: Path) -> None:
    own = [cls for cls in catalogue.registered().values() if cls.__module__.startswith("pellucid.methods.")]
    lines = {f"from {cls.__module__} import {cls.__name__} as {cls.__name__}" for cls in own}
    assert {line for line in stub().splitlines() if not line.startswith("#")} == lines
    file = tmp_path / "new.py"
    file.write_text(
        "import no_such_module_at_all\n@other('a')\nclass A: ...\n"
        "@catalogue.register_method('b')\n@frozen\nclass B: ...\n"
        "@register_method('c')\nclass C: ...\n@register_method\nclass D: ...\n"
    )
    assert list(method_classes(file)) == ["B", "C"]
    path = write_stub(tmp_path)
    assert path.read_text().splitlines()[1:] == [f"from pellucid.methods.new import {name} as {name}" for name in "BC"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["__init__.pyi", "new.py"]
