"""A job takes up where it stopped: what is finished is not done again, and sets of two requests never mix."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.catalogue import find
from pellucid.core.style import Style
from pellucid.core.target import SameClasses
from pellucid.errors import DiskFullError, OutputExistsError
from pellucid.export.deidentify import Deidentifier
from pellucid.models.preprocessing import Preprocessing
from pellucid.run.finding import inputs
from pellucid.run.grouping import as_sequences
from pellucid.run.job import Job
from pellucid.run.outcome import Outcome
from pellucid.run.results import Results
from pellucid.run.resuming import Resuming
from tests.networks import TinyCNN, seeded
from tests.run.test_job import save_images


class Counting(TinyCNN):
    """Keeps the images that pass through it. A twin shares its list."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen += list(x.detach().clone())
        return super().forward(x)

    def passes_of(self, image: Tensor) -> int:
        """How often an image passed."""
        return sum(torch.equal(one, image) for one in self.seen)


def made(output: Path, **changes: object) -> Job:
    """A job whose results hang on the batch: the noise of each row is its own."""
    job = Job(
        seeded(Counting).eval(),
        [find("smoothgrad")(samples=2)],
        Preprocessing(resize=(16, 16)),
        Results(output, ["png", "npz"]),
        runtime=pellucid.Runtime(batch_size=4),
    )
    return replace(job, **changes)


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def ran(job: Job, *paths: Path) -> list[Outcome]:
    return list(job.outcomes(inputs(list(paths), job.results.output)))


def removed(output: Path, *stems: str) -> None:
    """Remove sets."""
    for stem in stems:
        for path in output.glob(f"{stem}_*"):
            path.unlink()


def test_what_is_finished_is_passed_over_and_the_rest_is_as_if_nothing_had_been(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 10), tmp_path / "out"
    ran(made(output), folder)
    whole = content(output)
    assert len(whole) == 40
    removed(output, "02", "05", "06", "09")
    job = made(output)
    outcomes = ran(job, folder)
    assert [one.path.stem for one in outcomes if not one.passed_over] == ["02", "05", "06", "09"]
    assert content(output) == whole
    prepared = [pellucid.read_image(path) for path in sorted(folder.iterdir())]
    counts = [job.model.passes_of(job.preprocessing(image).values) for image in prepared]
    assert [count > 0 for count in counts] == [index in (2, 5, 6, 9) for index in range(10)]
    again = made(output)
    assert all(one.passed_over and len(one.files) == 4 for one in ran(again, folder))
    assert again.model.seen == []


def test_nothing_is_decoded_of_what_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, output = save_images(tmp_path / "in", 2), tmp_path / "out"
    ran(made(output), folder)
    monkeypatch.setattr("pellucid.run.job.open_input", lambda *arguments: pytest.fail("decoded"))
    assert all(one.passed_over for one in ran(made(output), folder))


def test_new_images_among_finished_ones_are_explained_alone(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 4), tmp_path / "out"
    ran(made(output), folder)
    shutil.copy(folder / "00.png", folder / "02b.png")
    job = made(output)
    assert sum(not one.passed_over for one in ran(job, folder)) == 1
    assert {tuple(one.flatten().tolist()) for one in job.model.seen} != set()
    fresh = made(tmp_path / "alone")
    (only,) = inputs([folder / "02b.png"], tmp_path / "alone")
    list(fresh.outcomes([only]))
    assert len(fresh.model.seen) == len(job.model.seen)


def altered(network: nn.Module) -> nn.Module:
    with torch.no_grad():
        next(network.parameters()).add_(1)
    return network


def other_activation() -> nn.Module:
    network = seeded(Counting).eval()
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.ReLU):
            network.get_submodule(name.rpartition(".")[0])._modules[name.rpartition(".")[2]] = nn.LeakyReLU()
    return network


CHANGES: dict[str, Callable[[Job], Job]] = {
    "weights": lambda job: replace(job, model=altered(job.model)),
    "architecture": lambda job: replace(job, model=other_activation()),
    "method": lambda job: replace(job, methods=[find("gradcam")()]),
    "options of the method": lambda job: replace(job, methods=[find("smoothgrad")(samples=3)]),
    "methods": lambda job: replace(job, methods=[*job.methods, find("gradcam")()]),
    "targets": lambda job: replace(job, targets=1),
    "several targets": lambda job: replace(job, targets=SameClasses((0, 1))),
    "tensor": lambda job: replace(job, targets=torch.tensor([0])),
    "callable": lambda job: replace(job, targets=lambda scores: scores[:, 0]),
    "checks": lambda job: replace(job, checks=["blur_fall"]),
    "classes": lambda job: replace(job, classes=["a", "b", "c"]),
    "head": lambda job: replace(job, head="sigmoid"),
    "preprocessing": lambda job: replace(job, preprocessing=Preprocessing(resize=(20, 20))),
    "window": lambda job: replace(job, window="40,400"),
    "frame": lambda job: replace(job, frame=1),
    "select": lambda job: replace(job, select={"time": "1"}),
    "fuse": lambda job: replace(job, fuse="max"),
    "layers": lambda job: replace(job, layers=["features.0"]),
    "precision": lambda job: replace(job, runtime=replace(job.runtime, precision="bfloat16")),
    "seed": lambda job: replace(job, runtime=replace(job.runtime, seed=1)),
    "formats": lambda job: replace(job, results=replace(job.results, formats=["png"])),
    "style": lambda job: replace(job, results=replace(job.results, style=Style(0.3))),
    "identity": lambda job: replace(job, results=replace(job.results, keep_identity=True)),
    "no identity": lambda job: replace(job, results=replace(job.results, deidentifier=Deidentifier(b"x" * 16))),
}


NAMED = {
    "weights": "model",
    "architecture": "model",
    "method": "--method",
    "options of the method": "--set",
    "methods": "--method",
    "targets": "--target",
    "several targets": "--target",
    "tensor": "--target",
    "callable": "--target",
    "checks": "--check",
    "classes": "--classes",
    "head": "--head",
    "preprocessing": "preprocessing",
    "window": "--window",
    "frame": "--frame",
    "select": "--select",
    "fuse": "--fuse",
    "layers": "--layer",
    "precision": "--precision",
    "seed": "seed",
    "formats": "--export",
    "style": "--alpha",
    "identity": "--keep-identity",
}
"""What the message says of each change: exactly what was changed, and nothing that follows from it."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an image and its results."""
    folder = tmp_path_factory.mktemp("finished")
    save_images(folder / "in", 1)
    ran(made(folder / "out"), folder / "in")
    return folder


@pytest.mark.parametrize("change", CHANGES)
def test_another_request_is_another_set(finished: Path, change: str) -> None:
    before = content(finished / "out")
    job = CHANGES[change](made(finished / "out"))
    if isinstance(job.model, Counting):
        job.model.seen.clear()
    with pytest.raises(
        OutputExistsError, match=r"there are results of another .*overwrite=True, or write to another folder"
    ) as caught:
        ran(job, finished / "in")
    assert "\n" not in str(caught.value)
    # Of results without identity all digests are made with a key, so that nothing is known of what differs.
    expected = NAMED[change] if change != "no identity" else ".*"
    assert re.search(f"results of another {expected}: replace", str(caught.value))
    assert job.model.seen == [], "refused before anything is computed"
    assert content(finished / "out") == before


def test_several_changes_are_named_together(finished: Path) -> None:
    job = made(finished / "out", fuse="max", head="sigmoid")
    job = replace(job, results=replace(job.results, formats=["png"]))
    with pytest.raises(OutputExistsError, match="results of another --fuse, --head and --export: replace"):
        ran(job, finished / "in")


def test_results_without_the_options_digests_are_of_other_options(finished: Path, tmp_path: Path) -> None:
    """As an earlier version wrote them."""
    shutil.copytree(finished, tmp_path / "old")
    (metadata,) = (tmp_path / "old" / "out").glob("*_metadata.json")
    facts = json.loads(metadata.read_text())
    del facts["set"]["options"]
    metadata.write_text(json.dumps(facts))
    assert ran(made(tmp_path / "old" / "out"), tmp_path / "old" / "in")[0].passed_over
    with pytest.raises(OutputExistsError, match="results of another method or of other options: replace"):
        ran(made(tmp_path / "old" / "out", fuse="max"), tmp_path / "old" / "in")


def test_the_batch_size_is_no_part_of_the_request(finished: Path) -> None:
    job = made(finished / "out", runtime=pellucid.Runtime(batch_size=1))
    assert ran(job, finished / "in")[0].passed_over


def test_another_version_is_another_set(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.core.provenance import versions

    monkeypatch.setattr("pellucid.run.request.versions", lambda: versions() | {"pellucid": "99"})
    with pytest.raises(OutputExistsError, match="another version of pellucid or torch"):
        ran(made(finished / "out"), finished / "in")


def test_another_image_of_the_same_name_is_the_files_own_error(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 3), tmp_path / "out"
    ran(made(output), folder)
    before = content(output)
    shutil.copy(folder / "00.png", folder / "01.png")
    outcomes = ran(made(output), folder)
    assert [one.passed_over for one in outcomes] == [True, False, True]
    assert "there are results of another image of this name" in str(outcomes[1].error)
    assert content(output) == before


def test_overwrite_replaces_whole_sets_and_nothing_else(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 1), tmp_path / "out"
    ran(made(output, targets="all"), folder)
    assert len(content(output)) > 7
    facts = output / "00_0_metadata.json"
    own = {"00_notes.txt": b"mine", "01_overlay.png": b"mine", "deep/00_overlay.png": b"mine"}
    for name, text in own.items():
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_bytes(text)
    outside = tmp_path / "00_overlay.png"
    outside.write_bytes(b"mine")
    named = json.loads(facts.read_text())
    named["files"] += ["../00_overlay.png", "01_overlay.png", str(outside), "deep/00_overlay.png", "..", ""]
    facts.write_text(json.dumps(named))
    fresh = made(tmp_path / "fresh", targets=0)
    ran(fresh, folder)
    job = made(output, targets=0)
    ran(replace(job, results=replace(job.results, overwrite=True)), folder)
    assert outside.read_bytes() == b"mine"
    assert {name: text for name, text in content(output).items() if name in own} == own
    assert {name: text for name, text in content(output).items() if name not in own} == content(tmp_path / "fresh")


def test_a_set_that_lost_a_file_is_made_again(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 2), tmp_path / "out"
    ran(made(output), folder)
    whole = content(output)
    (output / "01_overlay.png").unlink()
    assert [one.passed_over for one in ran(made(output), folder)] == [True, False]
    assert content(output) == whole


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "[" * 100_000,
        '{"set": 1}',
        '{"set": {"name": "00", "key": {}}}',
        '{"files": 1, "set": {"name": ".."}}',
    ],
)
def test_metadata_that_is_none_is_ignored(tmp_path: Path, text: str) -> None:
    folder, output = save_images(tmp_path / "in", 1), tmp_path / "out"
    output.mkdir()
    (output / "00_other_metadata.json").write_text(text)
    assert ran(made(output), folder)[0].error is None
    assert (output / "00_other_metadata.json").read_text() == text


def test_two_sets_of_one_name_are_of_no_request(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 1), tmp_path / "out"
    ran(made(output), folder)
    ran(made(tmp_path / "other", targets="all"), folder)
    shutil.copytree(tmp_path / "other", output, dirs_exist_ok=True)
    with pytest.raises(OutputExistsError, match="there are results of another"):
        ran(made(output), folder)


def test_sequences_are_passed_over_as_one(tmp_path: Path) -> None:
    folder, output = save_images(tmp_path / "in", 3), tmp_path / "out"

    class PerImage(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(0, 1)).view(*x.shape[:2], -1).mean(1)

    def job() -> Job:
        return made(output, model=seeded(PerImage).eval(), methods=[find("gradcam")()])

    def outcomes(one: Job) -> list[Outcome]:
        return list(one.outcomes(as_sequences(inputs([folder], output))))

    assert [one.error for one in outcomes(job())] == [None]
    again = job()
    assert [one.passed_over for one in outcomes(again)] == [True]
    assert again.model.seen == []
    (folder / "00.png").rename(folder / "9.png")  # another order of the same images
    assert "another image" in str(outcomes(job())[0].error)


# Two runs at once, and full disks.


@pytest.mark.parametrize("same", [True, False])
def test_two_runs_into_one_folder_do_not_mix(tmp_path: Path, same: bool) -> None:
    folder, output = save_images(tmp_path / "in", 8), tmp_path / "out"
    targets: tuple[str | int, ...] = (0, 0) if same else (0, "all")
    jobs = [made(output, targets=target) for target in targets]
    expected = []
    for number, target in enumerate(targets):
        ran(made(tmp_path / str(number), targets=target), folder)
        expected.append(content(tmp_path / str(number)))
    found: list[list[Outcome]] = [[], []]
    files, start = inputs([folder], output), threading.Barrier(2)

    def run(number: int) -> None:
        start.wait(60)
        # Both have looked at the folder before either writes.
        found[number] = list(jobs[number].outcomes(files))

    looked = threading.Barrier(2)
    earlier = Resuming.sets
    try:
        Resuming.sets = lambda *arguments: (earlier(*arguments), looked.wait(60))[0]
        threads = [threading.Thread(target=run, args=[number]) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    finally:
        Resuming.sets = earlier
    written = content(output)
    for stem in (f"{index:02}" for index in range(8)):
        own = {name: text for name, text in written.items() if name.startswith(f"{stem}_")}
        whole = [{name: text for name, text in one.items() if name.startswith(f"{stem}_")} for one in expected]
        assert own in whole
    assert not list(output.glob(".part-*"))
    for one, other in zip(*found, strict=True):
        states = [outcome.passed_over if same else outcome.error is not None for outcome in (one, other)]
        assert sorted(states) == [False, True]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    folder, output = save_images(tmp_path / "in", 40), tmp_path / "out"
    whole = Path.write_bytes

    def fill(path: Path, data: bytes) -> int:
        if len(list(output.glob("*_metadata.json"))) >= 8:
            whole(path, data[:10])
            raise OSError(code, os.strerror(code))
        return whole(path, data)

    monkeypatch.setattr(Path, "write_bytes", fill)
    job = made(output)
    with pytest.raises(DiskFullError, match=r"make room and run the same command again") as caught:
        ran(job, folder)
    assert "\n" not in str(caught.value)
    assert len(job.model.seen) < 20 * 2 * 4
    finished = content(output)
    assert len(finished) % 4 == 0
    monkeypatch.undo()  # the remedy: room was made
    outcomes = ran(made(output), folder)
    assert sum(one.passed_over for one in outcomes) == len(finished) // 4
    assert all(one.error is None for one in outcomes)
    ran(made(tmp_path / "whole"), folder)
    assert content(output) == content(tmp_path / "whole")
