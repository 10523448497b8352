"""What users and enemies do to an evaluation: it ends in one line, or counts what it leaves out and goes on."""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

from pellucid.core import catalogue
from pellucid.core.image import Image
from pellucid.errors import DataError, DiskFullError, OptionError, OutputExistsError, WriteError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data import made_before
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.measured import Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.journal import NAME, Journal
from pellucid.evaluation.scoring.measuring import measured
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.whole import evaluate_data
from pellucid.report import write_report
from tests.evaluation.small_set import SIDE, network, written
from tests.export.dicom import SHIPPED

PLAN = EvaluationPlan(methods=("gradcam",), metrics=("iou",), gates=())
MINE = replace(PLAN, methods=("mine",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    written(path)
    (path / "maps").mkdir()
    for number in range(12):
        np.save(path / "maps" / f"image {number}.npy", np.random.default_rng(number).random((SIDE, SIDE)))
    return path


def data_of(folder: Path, name: str = "mine") -> Data:
    return read_data(folder / "cases.csv", maps={name: folder / "maps"})


class Failing(nn.Module):
    """Raises for images whose first pixel is that of a marked image, with gradients only if ``late``."""

    def __init__(self, late: bool) -> None:
        super().__init__()
        self.net, self.late = network().model, late

    def forward(self, images: Tensor) -> Tensor:
        is_marked = bool((images[:, :, :4, :4].detach() >= 1.9).flatten(1).all(1).any())
        if is_marked and (images.requires_grad or not self.late):
            raise RuntimeError("this image is too\nbright")
        found: Tensor = self.net(images)
        return found


def failing(late: bool) -> Network:
    return replace(network(), model=Failing(late).eval())


def mark(folder: Path, number: int) -> None:
    pixels = np.array(Pillow.open(folder / f"image {number}.png"))
    pixels[:8, :8] = 255
    Pillow.fromarray(pixels).save(folder / f"image {number}.png")


def reasons_of(found: Measured) -> dict[str, int]:
    """Why maps of "mine" are missing: a map that is missing has no value of any metric."""
    each = [{reason.removesuffix(" (mine)"): count for reason, count in one.items()} for one in found.reasons.values()]
    assert set(found.reasons) == set(found.metrics)
    assert all(one == each[0] for one in each)
    return each[0]


@pytest.mark.parametrize("prior", ["mean_mask", "centre", "random"])
def test_maps_do_not_take_the_place_of_a_prior(folder: Path, prior: str) -> None:
    with pytest.raises(OptionError, match=f"{prior}.*is a prior, with which"):
        evaluate_data(data_of(folder, prior), replace(PLAN, methods=(prior,)))
    with pytest.raises(OptionError, match=f"{prior}.*is a prior, with which"):
        evaluate_data(data_of(folder), replace(PLAN, methods=(prior,)), network=network())


def test_a_header_that_states_any_size_takes_no_memory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_given: object, **_named: object) -> None:
        raise AssertionError("the array was read")

    monkeypatch.setattr(np.lib.format, "read_array", never)
    (folder / "maps" / "image 0.npy").unlink()
    with zipfile.ZipFile(folder / "maps" / "image 0.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("heatmap.npy", header((10**6, 10**6)) + b"\0" * 10**6)
    (folder / "maps" / "image 1.npy").write_bytes(header((10**6, 10**6)))
    (folder / "maps" / "image 2.npy").write_bytes((folder / "maps" / "image 0.npz").read_bytes())
    found = measured(data_of(folder), MINE)
    assert reasons_of(found) == {made_before.OTHER_SIZE: 1, made_before.BROKEN: 2}
    assert np.isnan(found.values["label"]["mine"]["pointing_game"]).tolist() == [True] * 3 + [False] * 6


def header(shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def test_archives_of_several_arrays_or_of_none(folder: Path) -> None:
    heat = np.random.default_rng(0).random((1, 1, SIDE, SIDE))
    for number, arrays in enumerate(({}, {"heatmap": heat, "a": [1]}, {"a": heat}, {"a": np.array("text")})):
        (folder / "maps" / f"image {number}.npy").unlink()
        np.savez(folder / "maps" / f"image {number}.npz", **arrays)  # type: ignore[arg-type]
    found = measured(data_of(folder), MINE)
    assert reasons_of(found) == {made_before.BROKEN: 1, made_before.NO_NUMBERS: 1}
    values = found.overlaps["mine"]
    assert values[1].tolist() == values[2].tolist() or not np.isnan(values[1:3]).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_maps_that_are_not_finite_are_counted_with_the_reason(folder: Path, bad: float) -> None:
    path = folder / "maps" / "image 3.npy"
    heat = np.load(path)
    heat[5, 5] = bad
    np.save(path, heat)
    assert reasons_of(measured(data_of(folder), MINE)) == {made_before.NOT_FINITE: 1}


def test_an_image_that_the_network_fails_on_is_left_out(folder: Path) -> None:
    mark(folder, 4)
    found = evaluate_data(data_of(folder), PLAN, network=failing(late=False))
    assert found.flow.excluded == {"the model fails on the image": ("image 4.png",)}
    assert [one.name for one in found.failures] == ["image 4.png"]
    assert found.flow.findings == 8
    without = evaluate_data(
        Data([case for case in data_of(folder).cases if case.name != "image 4.png"], (), "csv"), PLAN, network=network()
    )
    row, other = found.rows[0], without.rows[0]
    assert row.figures["label"]["iou"].estimate == pytest.approx(other.figures["label"]["iou"].estimate, rel=1e-6)


def test_a_network_that_fails_on_all_images_is_one_line(folder: Path) -> None:
    for number in range(12):
        mark(folder, number)
    with pytest.raises(DataError, match=r"the model fails.*RuntimeError: this image is too bright") as caught:
        evaluate_data(data_of(folder), PLAN, network=failing(late=False))
    assert "\n" not in str(caught.value)


def test_a_map_that_a_method_fails_on_counts_as_a_miss(folder: Path) -> None:
    mark(folder, 0)
    plan = replace(PLAN, methods=("saliency",))
    found = evaluate_data(data_of(folder), plan, network=failing(late=True))
    assert found.flow.excluded == {}
    row = next(row for row in found.rows if row.method == "saliency")
    assert row.failed == 1
    reasons = found.missing["pointing_game"]
    assert list(reasons) == ["the network or the method raises RuntimeError: this image is too bright (saliency)"]
    own = [one for one in found.scores if (one["method"], one["target"]) == ("saliency", "label")]
    values = [one["pointing_game"] for one in own]
    assert np.isnan(values).tolist() == [True] + [False] * 8


def test_lack_of_memory_is_no_miss(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_given: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("pellucid.evaluation.scoring.maps.of_explanation", short)
    with pytest.raises(Exception, match="memory ran out: give a smaller batch_size"):
        evaluate_data(data_of(folder), PLAN, network=network())


def test_all_methods_do_not_depend_on_the_first_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "names", lambda: ["gradcam", "rollout"])
    (folder / "image 0.png").write_bytes(b"no image")
    found = evaluate_data(read_data(folder / "cases.csv"), replace(PLAN, methods=("all",)), network=network())
    assert [row.method for row in found.rows if not row.is_prior] == ["gradcam"]
    monkeypatch.setattr(catalogue, "names", lambda: ["rollout"])
    with pytest.raises(OptionError, match="the model allows none of them"):
        evaluate_data(read_data(folder / "cases.csv"), replace(PLAN, methods=("all",)), network=network())


def test_images_of_other_labels_are_negative_where_classes_are_independent(folder: Path) -> None:
    own = replace(network(), classes=("cyst", "nodule", "other"))
    exclusive = evaluate_data(read_data(folder / "cases.csv"), PLAN, network=own)
    assert {(one.positive, one.negative) for one in exclusive.quality} <= {(5, 4), (4, 5), (0, 9)}
    independent = evaluate_data(read_data(folder / "cases.csv"), PLAN, network=replace(own, head="sigmoid"))
    counts = {one.name: (one.positive, one.negative) for one in independent.quality}
    assert counts["cyst"] == (5, 7)
    assert counts["nodule"] == (4, 8)


def test_a_label_that_stands_for_no_class_is_one_line(folder: Path) -> None:
    data = read_data(folder / "cases.csv")
    with pytest.raises(OptionError, match=r"'cyst' was said to stand for 'cists'; .*did you mean cyst"):
        evaluate_data(data, PLAN, network=network(), labels={"cyst": "cists"})
    with pytest.raises(OptionError, match="there are cyst, nodule, normal"):
        evaluate_data(data, PLAN, network=network(), labels={"cyst": "xyz"})


def test_labels_that_are_no_classes_are_told_how_to_be_some(folder: Path) -> None:
    own = replace(network(), classes=("a", "b", "c"))
    with pytest.raises(DataError, match=r"of a, b, c, a label stands for, by labels=\{label: class\}"):
        evaluate_data(read_data(folder / "cases.csv"), PLAN, network=own)


def spaced(data: Data, spacings: Mapping[str, tuple[float, float]]) -> Data:
    """The data set with the spacing of some images, as DICOM headers state it."""
    return replace(data, cases=[replace(case, source=Spaced(case, spacings.get(case.name))) for case in data.cases])


@dataclass(frozen=True)
class Spaced:
    case: Case
    spacing: tuple[float, float] | None

    def image(self) -> Image:
        return replace(self.case.source.image(), spacing=self.spacing)

    def digest(self) -> str | None:
        return self.case.source.digest()


def test_a_tolerance_in_mm_leaves_out_images_without_spacing(folder: Path) -> None:
    plan, data = replace(MINE, tolerance="2 mm"), data_of(folder)
    known = {f"image {number}.png": (1.0, 1.0) for number in range(8)}
    found = evaluate_data(spaced(data, known), plan)
    assert found.flow.excluded == {"the image states no spacing, which a tolerance in mm needs": ("image 8.png",)}
    assert (found.flow.findings, found.flow.lesion_free) == (8, 3)
    with pytest.raises(DataError, match=r"states no spacing.*give the tolerance in px or in %"):
        evaluate_data(data, plan)


@pytest.mark.parametrize("tolerance", ["99 px", "50 %", "29 mm"])
def test_a_tolerance_within_which_every_peak_hits_is_refused(folder: Path, tolerance: str) -> None:
    data = spaced(data_of(folder), {f"image {number}.png": (1.0, 1.0) for number in range(12)})
    with pytest.raises(OptionError, match=r"half the diagonal of the images is (28\.28|50) .*give less"):
        evaluate_data(data, replace(MINE, tolerance=tolerance))
    evaluate_data(data, replace(MINE, tolerance=tolerance.replace("99", "28").replace("50", "49").replace("29", "28")))


def test_one_patient_is_the_reason_why_there_is_no_verdict(tmp_path: Path) -> None:
    def one(number: int, line: str) -> str:
        return line.replace(f",P{number // 2},", ",P,")

    path = written(tmp_path, findings=4, without=0, change=one)
    found = evaluate_data(read_data(path), PLAN, network=network())
    assert "There is no verdict: all findings are of one patient." in found.notes
    (tmp_path / "b").mkdir()
    single = evaluate_data(read_data(written(tmp_path / "b", findings=1, without=0)), PLAN, network=network())
    assert "There is no verdict: there is one finding only." in single.notes


def test_files_that_were_there_before_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "examples").mkdir(parents=True)
    (out / "examples" / "00-00.png").write_text("mine")
    for _ in range(2):
        with pytest.raises(OutputExistsError, match="examples is already there"):
            evaluate_data(data_of(folder), MINE, folder=out)
    assert [path.name for path in out.rglob("*")] == ["examples", "00-00.png"]
    evaluate_data(data_of(folder), MINE, folder=out, overwrite=True)
    assert (out / "examples" / "00-00.png").read_bytes()[1:4] == b"PNG"
    (out / "examples" / "00-07.png").write_text("of a method that is not evaluated any more")
    (out / "examples" / "mine.png").write_text("mine")
    evaluate_data(data_of(folder), MINE, folder=out, overwrite=True)
    assert not (out / "examples" / "00-07.png").exists()
    assert (out / "examples" / "mine.png").read_text() == "mine"


@pytest.mark.parametrize("stage", ["write", "write_scores"])
def test_a_run_that_ended_while_it_wrote_goes_on(
    folder: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_given: object, **_named: object) -> None:
        raise KeyboardInterrupt

    evaluate_data(data_of(folder), MINE, folder=tmp_path / "whole")
    monkeypatch.setattr(f"pellucid.evaluation.whole.{stage}", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate_data(data_of(folder), MINE, folder=tmp_path / "out")
    monkeypatch.undo()
    assert not (tmp_path / "out" / "scores.json").exists()
    evaluate_data(data_of(folder), MINE, folder=tmp_path / "out")
    each = [{path.name: path.read_bytes() for path in (tmp_path / one).rglob("*.*")} for one in ("whole", "out")]
    assert each[0] == each[1]


def test_images_that_an_evaluation_wrote_are_no_data(folder: Path) -> None:
    layout = folder.parent / "layout"
    for part, name in (("images", "image"), ("masks", "mask")):
        (layout / part).mkdir(parents=True)
        for number in range(9):
            (folder / f"{name} {number}.png").rename(layout / part / f"{number}.png")
    before = [case.name for case in read_data(layout).cases]
    evaluate_data(read_data(layout), PLAN, network=replace(network(), classes=None), folder=layout / "out")
    assert (layout / "out" / "examples" / "00-00.png").is_file()
    assert [case.name for case in read_data(layout).cases] == before


def test_a_journal_follows_no_link_and_takes_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "pipe", "precious"):
        with pytest.raises(WriteError, match=r"scores cannot be kept there, it is .*write to another folder"):
            Journal(tmp_path / name).__enter__()
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "none").exists()


def test_two_runs_do_not_write_into_one_folder(folder: Path, tmp_path: Path) -> None:
    with Journal(tmp_path / "out" / NAME), pytest.raises(WriteError, match="another run writes there"):
        evaluate_data(data_of(folder), MINE, folder=tmp_path / "out")
    evaluate_data(data_of(folder), MINE, folder=tmp_path / "out")


def test_a_full_disk_is_one_line_and_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        """Has room for one line and a half."""

        def write(self, content: Any) -> int:
            room = 45 - self.tell()
            if room <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content[:room])

    monkeypatch.setattr("pellucid.evaluation.scoring.journal.FileIO", Full)
    with Journal(tmp_path / "scores") as journal:
        journal.keep("a", {"value": 1})
        with pytest.raises(DiskFullError, match="make room and run the same command again"):
            journal.keep("b", {"value": 2})
    assert (tmp_path / "scores").stat().st_size == 45
    monkeypatch.undo()
    with Journal(tmp_path / "scores") as again:
        assert again.get("a") == {"value": 1}
        assert again.get("b") is None


@pytest.mark.parametrize("name", ["seed", "gated"])
def test_numbers_of_a_plan_that_no_generator_takes(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} = .* was asked for; write 0 or more, a whole number below"):
        EvaluationPlan(**{name: 2**63})
    EvaluationPlan(**{name: 2**63 - 1})


def test_folders_of_maps_are_listed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"listed": 0}
    scandir = os.scandir

    def counting(*given: object) -> object:
        counts["listed"] += 1
        return scandir(*given)  # type: ignore[call-overload]

    for number in range(6):
        (folder / "maps" / f"image {number}.npy").unlink()
    monkeypatch.setattr(os, "scandir", counting)
    data_of(folder)
    assert counts["listed"] < 6


def test_what_dicom_headers_say_of_patients_is_nowhere(tmp_path: Path) -> None:
    data, lines = tmp_path / "set", ["path,label,box"]
    data.mkdir()
    for number in range(6):
        path = data / f"{number}.dcm"
        dataset = pydicom.dcmread(SHIPPED["CT_small.dcm"])
        dataset.PatientName, dataset.PatientID = "Secretname^Ada", f"SECRET{number // 2}"
        dataset.PatientBirthDate, dataset.InstitutionName = "19011224", "Secretplace"
        pixels = dataset.pixel_array.copy()
        pixels[number * 9 : number * 9 + 9] += 500
        dataset.PixelData = pixels.tobytes()
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
        dataset.save_as(path)
        lines.append(f"{path.name},cyst,10 {5 + number} 60 {50 + number}")
    (data / "cases.csv").write_text("\n".join(lines))
    found = evaluate_data(read_data(data / "cases.csv"), PLAN, network=network(), folder=tmp_path / "out")
    write_report(found, tmp_path / "out")
    assert found.flow.patients == 3
    hidden = ("secret", "19011224", *(hashlib.sha256(f"SECRET{one}".encode()).hexdigest() for one in range(3)))
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        content = path.read_bytes().lower()
        assert not [one for one in hidden if one.encode() in content], path
