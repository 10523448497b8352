"""Lists in help texts: equal to what the imported package contains, and to what a new file adds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import Result

import pellucid as library
from pellucid.cli import derived
from pellucid.cli.main import app
from pellucid.core.attack import ATTACKS
from pellucid.core.catalogue import PRIORS
from pellucid.core.change import CHANGES
from pellucid.core.head import HEADS
from pellucid.core.metric import METRICS
from pellucid.core.runtime import PRECISIONS
from pellucid.evaluation.form import FORMS
from pellucid.evaluation.published import PROTOCOLS
from pellucid.export import exporters
from pellucid.io.dimensions import DIMENSIONS
from pellucid.io.window import PRESETS
from pellucid.models.checkpoints.heads import ACTIVATIONS
from pellucid.models.sources.base import PathSource, sources
from pellucid.models.sources.loading import WEIGHTS
from pellucid.report.table import TABLES
from pellucid.run.checks import CHECKS
from pellucid.run.fusing import FUSIONS, HEATMAP_FUSIONS, SUM

Command = Callable[..., Result]
COMMANDS = [command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("attacks", ATTACKS.names()),
        ("changes", CHANGES.names()),
        ("activations", list(ACTIVATIONS)),
        ("dimensions", list(DIMENSIONS)),
        ("formats", exporters()),
        ("forms", FORMS.names()),
        ("checks", list(CHECKS)),
        ("fusions", list(FUSIONS)),
        ("heads", list(HEADS)),
        ("methods", library.available_methods()),
        ("metrics", METRICS.names()),
        ("precisions", list(PRECISIONS)),
        ("priors", PRIORS.names()),
        ("protocols", list(PROTOCOLS)),
        ("sources", [f"{prefix}:NAME" for prefix, one in sorted(sources().items()) if not isinstance(one, PathSource)]),
        ("tables", list(TABLES)),
        ("weights", list(WEIGHTS)),
        ("windows", list(PRESETS)),
    ],
)
def test_parsed_lists_equal_the_imported_ones(name: str, names: Sequence[str]) -> None:
    assert names
    assert derived.LISTS[name]() == list(names)


def test_the_fusions_are_those_of_heatmaps_and_the_sum() -> None:
    assert (*HEATMAP_FUSIONS, SUM) == FUSIONS


def test_every_list_has_a_case_above() -> None:
    (mark,) = test_parsed_lists_equal_the_imported_ones.pytestmark
    assert [name for name, _ in mark.args[1]] == list(derived.LISTS)


def test_a_new_file_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(Path(library.__file__).parent / "models/sources", tmp_path / "models/sources")
    (tmp_path / "models" / "sources" / "keras.py").write_text(
        'class KerasSource:\n    prefix = "keras"\n\n\nSOURCE = KerasSource()\n'
    )
    monkeypatch.setattr(derived, "package_folder", lambda package: tmp_path.joinpath(*package.split(".")[1:]))
    assert "keras:NAME" in derived.sources()


def test_explain_help_lists_formats_and_sources(pellucid: Command) -> None:
    text = " ".join(pellucid("explain", "--help").output.split())
    for name in (*exporters(), *FUSIONS, *PRECISIONS):
        assert name in text
    for form in derived.sources():
        assert form in text
    for name in DIMENSIONS:
        assert name in text


def test_the_help_of_targets_says_where_numbers_begin(pellucid: Command) -> None:
    text = " ".join(pellucid("explain", "--help").output.replace("│", " ").split())
    assert "a class's name or number, counted from 0" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_no_placeholder_is_left(pellucid: Command, command: str) -> None:
    text = pellucid(command, "--help").output
    assert "Usage" in text
    for name in derived.LISTS:
        assert f"{{{name}}}" not in text


def test_paragraphs_are_unwrapped() -> None:
    assert derived.unwrapped("One\n    sentence.\n\n    Another\n    one.\n") == "One sentence.\n\nAnother one."


def test_placeholders_need_no_torch() -> None:
    code = "import sys; from pellucid.cli.derived import LISTS; [names() for names in LISTS.values()]; "
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "False"), done.stderr
