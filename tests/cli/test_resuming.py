"""``pellucid explain`` takes up where it stopped: after kills, beside another run, with labels, and in one summary."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pydicom
import pytest
from typer.testing import Result

from pellucid.export import exporters
from tests.cli.conftest import ROOT, one_line, save, three, written
from tests.io.test_volumes import slices

Explain = Callable[..., Result]

MODEL = """
import os, time
from pathlib import Path
import torch
from torch import nn

class Logging(nn.Module):
    '''Writes which images pass into a file, by their first pixels; images of noise have none of these.'''

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU())
        self.fc = nn.Linear(6, 3)
        self.classes = ["a", "b", "c"]
        self.head, self.preprocessing = "softmax", {"size": (32, 32)}

    def forward(self, x):
        marks = x[:, :, 0, 0].double() * 255
        whole = marks.round()
        own = ((marks - whole).abs().amax(1) < 1e-4) & (whole[:, 1] + whole[:, 2] == 255)
        with Path(__file__).with_name("passes").open("a") as file:
            file.write("".join(f"{int(256 * high + low)}\\n" for high, low, _ in whole[own].tolist()))
        return self.fc(self.features(x).mean((2, 3)))

def make():
    return Logging().eval()
"""


class Folder:
    """Images whose first pixel tells them, and a network that logs the images that pass."""

    def __init__(self, root: Path, count: int) -> None:
        from PIL import Image as Pillow

        self.root, self.images, self.log = root, root / "in", root / "model" / "passes"
        (root / "model").mkdir()
        (root / "model" / "own.py").write_text(MODEL)
        for index in range(count):
            path = save(self.images / f"{index:03}.png", (32, 32), seed=index)
            with Pillow.open(path) as image:
                image.putpixel((0, 0), (index // 256, index % 256, 255 - index % 256))
                image.save(path)

    def arguments(self, output: str) -> list[object]:
        options = ["--method", "smoothgrad", "--set", "samples=2", "--export", "png,npz", "--batch-size", "4", "-q"]
        return [
            "explain",
            self.images,
            "--model",
            f"{self.root / 'model' / 'own.py'}:make",
            "-o",
            self.root / output,
            *options,
        ]

    def passes(self) -> set[int]:
        """The images that passed since the last call."""
        found = set(map(int, self.log.read_text().split())) if self.log.exists() else set()
        self.log.unlink(missing_ok=True)
        return found

    def content(self, output: str) -> dict[str, bytes]:
        folder = self.root / output
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def finished(self, output: str) -> set[int]:
        """The images whose metadata is there."""
        return {int(path.name[:3]) for path in (self.root / output).glob("*_metadata.json")}

    def wait_for(self, output: str, count: float) -> None:
        """Wait until so many sets are finished."""
        end = time.monotonic() + 120
        while len(self.finished(output)) < count and time.monotonic() < end:
            time.sleep(0.001)


class Commands:
    """Runs commands in processes of their own, without the time that loading takes."""

    def __init__(self) -> None:
        own = [sys.executable, "-m", "tests.cli.forked"]
        self.process = subprocess.Popen(
            own, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def _answer(self, order: object) -> int:
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def start(self, arguments: Sequence[object]) -> int:
        return self._answer([str(argument) for argument in arguments])

    def wait(self, child: int) -> int:
        return self._answer(child)

    def run(self, arguments: Sequence[object]) -> None:
        assert self.wait(self.start(arguments)) == 0


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    made = Commands()
    yield made
    made.process.stdin.close()
    made.process.stdout.close()
    made.process.wait(60)


needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork, and no locks of folders")


@needs_fork
@pytest.mark.parametrize(("count", "kills"), [(16, 2), pytest.param(500, 20, marks=pytest.mark.release)])
def test_a_run_that_is_killed_goes_on(commands: Commands, tmp_path: Path, count: int, kills: int) -> None:
    folder, draw = Folder(tmp_path, count), random.Random(0)
    commands.run(folder.arguments("whole"))
    assert folder.passes() == set(range(count))
    drafts, finished, again = 0, set(), set()
    for number in range(kills):
        child = commands.start(folder.arguments("out"))
        folder.wait_for("out", (number + draw.random()) / kills * count)
        time.sleep(draw.random() * 0.05)
        os.kill(child, signal.SIGKILL)
        assert commands.wait(child) in (-signal.SIGKILL, 0)
        again |= folder.passes() & finished
        drafts += bool(list((tmp_path / "out").glob(".part-*")))
        finished = whole_sets(tmp_path / "out")
    commands.run(folder.arguments("out"))
    passed = folder.passes()
    assert again | (passed & finished) == set(), "what was done is not done again"
    assert passed == set(range(count)) - finished
    assert folder.content("out") == folder.content("whole")
    commands.run(folder.arguments("out"))
    assert folder.passes() == set(), "nothing is left to do"
    print(f"{kills} kills, {drafts} while files were written; {len(finished)} were finished at the last")  # noqa: T201


def whole_sets(output: Path) -> set[int]:
    """The images whose files are all there, and of which none is in a draft."""
    moving = {
        int(name[:3])
        for journal in output.glob(".part-*/journal")
        if (text := journal.read_text())
        for name in (json.loads(text)["names"] if text.endswith("}") else [])
    }
    files = {path.name for path in output.iterdir()}
    numbers = {int(name[:3]) for name in files if name[:3].isdecimal()} - moving
    names = ("overlay.png", "heatmap.png", "explanation.npz", "metadata.json")
    return {number for number in numbers if {f"{number:03}_{name}" for name in names} <= files}


@needs_fork
def test_two_processes_share_a_folder(commands: Commands, tmp_path: Path) -> None:
    folder = Folder(tmp_path, 16)
    commands.run(folder.arguments("whole"))
    children = [commands.start(folder.arguments("out")) for _ in range(2)]
    assert [commands.wait(child) for child in children] == [0, 0]
    assert folder.content("out") == folder.content("whole")


def test_dicom_objects_of_two_runs_differ_in_dates_and_times_alone(explain: Explain, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3])
    formats = ",".join(name for name in exporters() if name not in ("npz", "png", "overlay"))
    for output in ("one", "other"):
        assert explain(folder, "--as", "files", "--export", formats, output=tmp_path / output).exit_code == 0
    names = written(tmp_path / "one")
    assert len([name for name in names if name.endswith(".dcm")]) >= 10
    assert names == written(tmp_path / "other")
    for name in names:
        one, other = tmp_path / "one" / name, tmp_path / "other" / name
        if name.endswith(".dcm"):
            assert untimed(pydicom.dcmread(one)) == untimed(pydicom.dcmread(other)), name
        else:
            assert one.read_bytes() == other.read_bytes(), name


def untimed(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """An object without dates and times."""
    for element in list(dataset):
        if element.VR in ("DA", "DT", "TM"):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                untimed(item)
    return dataset


# What is told.


def test_the_summary_counts_everything(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    path = save(folder / "a.png")
    assert "1 explained; results are in" in explain(folder).stdout
    (folder / "b.png").symlink_to(path)
    (folder / "c.png").hardlink_to(path)
    (folder / "d.png").write_text("no image")
    save(folder / "e.png", seed=1)
    result = explain(folder)
    assert result.exit_code == 1
    end = " ".join(result.stdout.split()).partition("1 explained")[2]
    assert end.startswith(", 1 passed over (already done), 1 failed, 2 links to the same file; results are in")
    assert written(tmp_path / "out") == three("a", "e")
    found = json.loads(explain(folder, "--json").stdout)
    assert found["summary"] == {
        "explained": 0,
        "passed_over": 2,
        "failed": 1,
        "incomplete": 0,
        "links": 2,
        "output": str(tmp_path / "out"),
    }
    assert found["images"][0] == {
        "image": str(path),
        "passed_over": True,
        "files": [str(tmp_path / "out" / name) for name in ("a_overlay.png", "a_heatmap.png", "a_metadata.json")],
        "warnings": [],
        "refused": [],
    }


def test_where_there_are_no_results_none_are_named(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no image")
    result = explain(tmp_path / "a.png")
    assert result.exit_code == 3
    assert result.stdout.strip() == "0 explained, 1 failed"
    assert json.loads(explain(tmp_path / "a.png", "--json").stdout)["summary"]["output"] is None


def test_a_changed_request_is_refused_in_one_line_and_both_remedies_work(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    for index in range(3):
        save(folder / f"{index}.png", seed=index)
    assert explain(folder).exit_code == 0
    changed = ("--target", "0", "--target", "1")
    result = explain(folder, *changed)
    assert result.exit_code == 3
    one_line(result, "there are results of another --target: replace", "--overwrite, or choose another --output")
    assert explain(folder, *changed, output=tmp_path / "other").exit_code == 0
    assert explain(folder, *changed, "--overwrite").exit_code == 0
    assert written(tmp_path / "out") == written(tmp_path / "other")
    assert not set(three("0", "1", "2")) & set(written(tmp_path / "out"))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (("--export", "png,npz"), "--export"),
        (("--method", "smoothgrad"), "--method"),
        (("--size", "24", "--alpha", "0.2"), "preprocessing and --alpha"),
    ],
)
def test_what_differs_is_said_truly(explain: Explain, tmp_path: Path, changed: tuple[str, ...], named: str) -> None:
    image = save(tmp_path / "a.png")
    assert explain(image).exit_code == 0
    result = explain(image, *changed)
    one_line(result, f"there are results of another {named}: replace them with --overwrite")


def test_what_a_format_refused_is_told_again(explain: Explain, tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    first = explain(image, "--export", "png,sc")
    again = explain(image, "--export", "png,sc")
    assert (first.exit_code, again.exit_code) == (1, 1)
    assert again.stderr == first.stderr
    assert "1 passed over" in again.stdout


def test_runs_without_identity_go_on_with_the_same_key(explain: Explain, tmp_path: Path) -> None:
    pytest.importorskip("dicomanonymizer")
    image, key = save(tmp_path / "a.png"), tmp_path / "key"
    key.write_bytes(b"x" * 32)
    assert explain(image, "--deidentify", "-q").exit_code == 0
    facts = json.loads((tmp_path / "out" / "image-0001_metadata.json").read_text())
    (clear,) = explain_facts(explain, image, tmp_path / "clear")
    assert not {clear["image_sha256"], clear["key"], *clear["set"]["key"].values()} & set(
        facts["set"]["key"].values()
    ) - {clear["set"]["key"]["version"]}
    result = explain(image, "--deidentify", "-q")  # another key was drawn
    assert result.exit_code == 3
    one_line(result, "runs with the same --deidentify-key go on from one another")
    options = ("--deidentify", "--deidentify-key", key)
    stays = explain(image, *options, "--overwrite")
    assert stays.exit_code == 0
    one_line(stays, "another key, such as image-0001; they stay there", kind="warning")
    for file in (tmp_path / "out").glob("image-0001_*"):
        file.unlink()
    again = explain(image, *options)
    assert "1 passed over" in again.stdout
    assert again.stderr == ""


def explain_facts(explain: Explain, image: Path, output: Path) -> list[dict[str, object]]:
    assert explain(image, "-q", output=output).exit_code == 0
    return [json.loads(path.read_text()) for path in output.glob("*_metadata.json")]


# Labels.


def test_labels_stand_in_the_metadata_and_come_later_without_a_pass(pellucid: Explain, tmp_path: Path) -> None:
    folder, file = Folder(tmp_path, 3), tmp_path / "labels.csv"
    assert pellucid(*folder.arguments("out")).exit_code == 0
    folder.passes()
    file.write_text("path,label,patient,split\n000.png,a;b,p1,test\n001.png,2,,\n")
    for labels in ([], ["--labels", file]):
        done = pellucid(*folder.arguments("out"), *labels)
        assert done.exit_code == 0
    assert folder.passes() == set()
    assert [line.partition("; ")[2] for line in done.stderr.splitlines()] == ["there is 1 image without a row: 002.png"]
    found = [json.loads(path.read_text())["labels"] for path in sorted((tmp_path / "out").glob("*_metadata.json"))]
    assert found == [{"label": "a;b", "patient": "p1", "split": "test"}, {"label": "2"}, None]
    assert pellucid(*folder.arguments("fresh"), "--labels", file).exit_code == 0
    assert folder.content("out") == folder.content("fresh")
    assert pellucid(*folder.arguments("out")).exit_code == 0
    assert folder.content("out") == folder.content("fresh"), "without --labels they stay"


def test_labels_that_cannot_be_read_end_the_run_before_it_begins(explain: Explain, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "a.png"), "--labels", tmp_path / "gone.csv")
    assert result.exit_code == 2
    one_line(result, "--labels", "gone.csv", "it is no file: give a CSV file with the columns path and label")
    assert not (tmp_path / "out").exists()


# Outputs and inputs.


def test_results_never_become_inputs(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a.png")
    for output in ("first", "second", "deep/third"):
        result = explain(folder, "--export", "png,npz", "--target", "all", "-q", output=folder / output)
        assert result.exit_code == 0, result.stderr
        assert {name.partition("_")[0] for name in written(folder / output)} == {"a"}
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert "files of earlier results were left out" in lines[0]
    moved = tmp_path / "moved"
    shutil.copytree(folder / "first", moved)
    nothing = explain(moved, output=tmp_path / "none")
    assert nothing.exit_code == 3
    assert "no image file was found" in nothing.stderr.splitlines()[-1]


def test_metadata_hides_no_image_of_another_name(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(folder / "a.png")
    save(folder / "b.png", seed=1)
    facts = {"image_sha256": "", "provenance": {}, "files": ["a.png", "b.png", "../in/a.png"]}
    (folder / "b_metadata.json").write_text(json.dumps(facts))
    assert explain(folder, "-q").exit_code == 0
    assert written(tmp_path / "out") == three("a", "b")


# A disk that is full.


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="mounting needs root")
def test_a_disk_that_is_really_full(pellucid: Explain, tmp_path: Path) -> None:
    folder, disk = Folder(tmp_path, 40), tmp_path / "out"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a disk cannot be mounted here")
    try:
        done = pellucid(*folder.arguments("out"))
        assert done.exit_code == 3
        one_line(done, "No space left on device", "make room")
        assert not list(disk.glob(".part-*"))
        assert whole_sets(disk) == folder.finished("out") == {int(name[:3]) for name in written(disk)} != set()
        assert len(folder.passes()) < 40
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)  # the remedy
        assert pellucid(*folder.arguments("out")).exit_code == 0
        assert pellucid(*folder.arguments("whole")).exit_code == 0
        assert folder.content("out") == folder.content("whole")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
