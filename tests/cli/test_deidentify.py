"""``pellucid explain --deidentify``: results without identity, the same ones for the same key, and wrong use."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.datadict import dictionary_VR
from typer.testing import Result

from tests.cli.conftest import one_line, save
from tests.cli.test_explain import dicom
from tests.cli.test_medical import PROFILE, secret

Explain = Callable[..., Result]


@pytest.fixture
def named(tmp_path: Path) -> tuple[Path, list[str]]:
    """A file whose attributes identify a patient, and what must not be found."""
    (tmp_path / "doe").mkdir()
    path = dicom(tmp_path / "doe" / "scan.dcm")
    made = pydicom.dcmread(path)
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.1", "1.2.826.0.1.3680043.2"
    for index, name in enumerate(PROFILE):
        made.add_new(name, dictionary_VR(name), secret(dictionary_VR(name), index))
    made.StudyDate = "20240229"
    made.save_as(path)
    secrets = [secret(dictionary_VR(name), index) for index, name in enumerate(PROFILE)]
    uids = [str(made[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    return path, [*secrets, *uids, "Doe", "MRN-4711", "19500101", "20240229", "ACC123", "/doe/"]


def test_no_result_names_the_patient(explain: Explain, named: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, secrets = named
    result = explain(path, "--export", "png,npz,sc,sr", "--deidentify")
    assert result.exit_code == 0, result.stderr
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 8  # with the page and the table of all results
    for file in written:
        assert not [text for text in secrets if text.encode() in file.read_bytes()], file
    assert json.loads((tmp_path / "out" / "image-0001_metadata.json").read_text())["image"] == "image-0001"


def test_runs_with_the_same_key_replace_alike(explain: Explain, named: tuple[Path, list[str]], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a secret of the clinic\n")
    found = []
    for number, options in enumerate(
        (["--deidentify-key", tmp_path / "key"], ["--deidentify-key", tmp_path / "key"], [])
    ):
        output = tmp_path / f"out{number}"
        assert explain(named[0], "--export", "sc", "--deidentify", *options, output=output).exit_code == 0
        (path,) = output.glob("*_sc.dcm")
        made = pydicom.dcmread(path)
        found.append(
            (
                path.name if options else "",
                made.PatientID,
                made.PatientName,
                made.StudyInstanceUID,
                made.StudyDate,
                made.SOPInstanceUID,
            )
        )
    assert found[0] == found[1]
    assert not set(found[0]) & set(found[2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Inputs whose names and folders are patients' names: images, a series, and a file that is broken."""
    save(tmp_path / "Poe" / "Roe_Jane.png")
    save(tmp_path / "Poe" / "deep_Loe" / "Roe_Jane.png", seed=1)
    made = pydicom.dcmread(dicom(tmp_path / "Poe" / "Moe.dcm"))
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.1", "1.2.826.0.1.3680043.2"
    made.save_as(tmp_path / "Poe" / "Moe.dcm")
    (tmp_path / "Poe" / "Noe.png").write_bytes(b"broken")
    return tmp_path / "Poe"


_NAMES = ("Poe", "Loe", "Roe", "Jane", "Moe", "Noe")


def named_in(folder: Path) -> list[tuple[str, str]]:
    """Each name of an input that is in a result: in its path, its bytes, or a text of a PNG file."""
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        texts = [str(file.relative_to(folder)).encode(), file.read_bytes()]
        if file.suffix == ".png":
            with Image.open(file) as image:
                texts += [str(value).encode() for value in image.info.values()]
        if file.suffix == ".npz":
            with zipfile.ZipFile(file) as archive:
                texts += [archive.read(name) for name in archive.namelist()]
        found += [(file.name, name) for name in _NAMES if any(name.encode() in text for text in texts)]
    return found


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("methods", [("gradcam",), ("gradcam", "saliency")])
def test_no_result_has_the_name_of_an_input(
    explain: Explain, folder: Path, tmp_path: Path, keyed: bool, methods: tuple[str, ...]
) -> None:
    (tmp_path / "key").write_text("a secret of the clinic\n")
    (tmp_path / "labels.csv").write_text("path,label,patient\nPoe/Roe_Jane.png,a,Roe\nPoe/Moe.dcm,b,\n")
    key = ["--deidentify-key", tmp_path / "key"] if keyed else []
    chosen = [part for method in methods for part in ("--method", method)]
    options = ("--export", "png,npz,sc", "--labels", tmp_path / "labels.csv", *chosen, *key)
    result = explain(folder, *options, "--deidentify")
    assert result.exit_code == 1, result.stderr  # one is broken, and PNG files are no DICOM
    assert "Noe.png" in result.stderr, "the terminal names it"
    output = tmp_path / "out"
    assert named_in(output) == []
    names = {json.loads(path.read_text())["image"] for path in output.glob("*_metadata.json")}
    assert len(names) == 3
    assert all(re.fullmatch("image-[0-9a-f]{16}" if keyed else "image-000[1-4]", name) for name in names)
    with (output / "failed.csv").open() as file:
        ((image, reason),) = list(csv.reader(file))[1:]
    assert image.startswith("image-")
    assert reason.startswith("it could not be explained")
    with (output / "results.csv").open() as file:
        stated = {row["image"]: (row["label"], row["patient"]) for row in csv.DictReader(file)}
    assert sorted(label for label, _ in stated.values()) == ["", "a", "b"]
    assert len([patient for _, patient in stated.values() if patient]) == 1


def test_the_same_run_without_it_has_the_names(explain: Explain, folder: Path, tmp_path: Path) -> None:
    explain(folder)
    assert {name for _, name in named_in(tmp_path / "out")} == set(_NAMES)


def test_a_folder_that_grows_goes_on_with_the_same_key(explain: Explain, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a secret of the clinic\n")
    options = ("--deidentify", "--deidentify-key", tmp_path / "key")
    explain(folder, *options)
    before = {path.name for path in (tmp_path / "out").iterdir()}
    save(folder / "Aoe.png", seed=2)
    assert "3 passed over" in explain(folder, *options).stdout
    assert before < {path.name for path in (tmp_path / "out").iterdir()}


def test_results_of_two_keys_do_not_stand_in_one_folder(explain: Explain, folder: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).write_text(f"a secret of the {name} clinic\n")
    key = ("-q", "--method", "saliency", "--deidentify", "--deidentify-key")
    explain(folder, *key, tmp_path / "one")
    before = sorted((tmp_path / "out").iterdir())
    first = min(path.name for path in before if path.name.endswith("_metadata.json")).removesuffix("_metadata.json")
    refused = explain(folder, *key, tmp_path / "other")
    assert refused.exit_code == 3
    one_line(
        refused,
        f"out: there are results without identity of another key, such as {first}; the same image has another name",
        "give the same --deidentify-key, remove them, or choose another --output",
    )
    anew = explain(folder, "-q", "--deidentify")  # a key that is drawn anew is another one
    assert anew.exit_code == 3
    one_line(anew, "of another key")
    assert sorted((tmp_path / "out").iterdir()) == before
    assert explain(folder, *key, tmp_path / "other", output=tmp_path / "more").exit_code == 1  # the broken file
    assert explain(folder, *key, tmp_path / "one").exit_code == 1
    assert sorted((tmp_path / "out").iterdir()) == before


def test_results_of_another_key_that_are_replaced_do_not_stay(explain: Explain, folder: Path) -> None:
    """A key that is drawn anew replaces all names by the same numbers."""
    explain(folder / "Roe_Jane.png", "-q", "--deidentify")
    result = explain(folder / "Roe_Jane.png", "-q", "--deidentify", "--overwrite")
    assert (result.exit_code, result.stderr) == (0, "")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def without_record(output: Path) -> None:
    """The metadata of an earlier version, which did not say what they are of."""
    for path in output.rglob("*_metadata.json"):
        path.write_text(json.dumps({name: one for name, one in json.loads(path.read_text()).items() if name != "set"}))


def below(output: Path) -> None:
    """Results in a subfolder alone."""
    (output / "deep").mkdir()
    for path in [path for path in output.iterdir() if path.is_file()]:
        path.rename(output / "deep" / path.name)


def failed_alone(output: Path) -> None:
    """An input that failed, and a byte that is no UTF-8."""
    for path in [path for path in output.iterdir() if path.name != "failed.csv"]:
        path.unlink()
    assert b"Noe" in (output / "failed.csv").read_bytes()
    with (output / "failed.csv").open("ab") as file:
        file.write(b"\xff.png,broken\n")


@pytest.mark.parametrize("earlier", [lambda _: None, without_record, below, failed_alone])
@pytest.mark.parametrize("options", [[], ["--overwrite"], ["--no-page"], ["--deidentify-key", "KEY"]])
def test_results_with_identity_do_not_come_along(
    explain: Explain, folder: Path, tmp_path: Path, earlier: Callable[[Path], None], options: list[str]
) -> None:
    """Whether or not a page is asked for: it may be made later."""
    (tmp_path / "key").write_text("a secret of the clinic\n")
    output = tmp_path / "out"
    explain(folder / "Roe_Jane.png", *([folder / "Noe.png"] if earlier is failed_alone else []), "-q")
    earlier(output)
    before = contents(output)
    options = [str(tmp_path / "key") if one == "KEY" else one for one in options]
    result = explain(folder / "Moe.dcm", "-q", "--deidentify", *options)
    assert result.exit_code == 3
    one_line(result, "out: there are results with identity, such as ", "oe", "choose another --output")
    assert contents(output) == before
    assert explain(folder / "Moe.dcm", "-q", "--deidentify", *options, output=tmp_path / "other").exit_code == 0
    assert named_in(tmp_path / "other") == []


@pytest.mark.parametrize("given", ["Poe/Roe_Jane.png", "top"], ids=["beside them", "in a subfolder"])
def test_results_without_identity_are_not_mixed_with_others(
    explain: Explain, folder: Path, tmp_path: Path, given: str
) -> None:
    save(tmp_path / "top" / "one" / "a.png")
    save(tmp_path / "top" / "one" / "b.png", seed=1)
    explain(folder / "Moe.dcm", "-q", "--deidentify")
    before = contents(tmp_path / "out")
    result = explain(tmp_path / given, "-q")
    assert result.exit_code == 3
    one_line(result, "there are results without identity, such as image-0001", "choose another --output")
    assert contents(tmp_path / "out") == before


def test_results_with_identity_that_are_replaced_are_no_matter(explain: Explain, folder: Path, tmp_path: Path) -> None:
    (folder / "Roe_Jane.png").rename(folder / "image-0001.png")
    explain(folder / "image-0001.png", "-q")
    result = explain(folder / "image-0001.png", "-q", "--deidentify", "--overwrite")
    assert (result.exit_code, result.stderr) == (0, "")
    assert named_in(tmp_path / "out") == []


def test_the_patient_is_replaced_as_in_dicom_objects(explain: Explain, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label,patient\nPoe/Moe.dcm,b,MRN-4711\n")
    explain(folder / "Moe.dcm", "--export", "sc", "--deidentify", "--labels", tmp_path / "labels.csv")
    facts = json.loads((tmp_path / "out" / "image-0001_metadata.json").read_text())
    assert facts["labels"]["patient"] == pydicom.dcmread(tmp_path / "out" / "image-0001_sc.dcm").PatientID


def test_the_files_of_channels_are_not_named(explain: Explain, tmp_path: Path) -> None:
    for name in ("Roe_t1.png", "Loe_t2.png", "Noe.png"):
        save(tmp_path / "Poe" / "Moe" / name)
    result = explain(tmp_path / "Poe", "--channels", "Roe_*,Loe_*,Noe*", "--deidentify")
    assert result.exit_code == 0, result.stderr
    assert named_in(tmp_path / "out") == []
    facts = json.loads((tmp_path / "out" / "image-0001_metadata.json").read_text())
    assert [one["format"] for one in facts["image_provenance"]["channels"]] == ["PNG"] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--deidentify", "--keep-identity"], "give one of them"),
        (["--deidentify-key", "KEY"], "give --deidentify, too"),
        (["--deidentify", "--deidentify-key", "none"], "cannot be read"),
        (["--deidentify", "--deidentify-key", "KEY"], "has 5 bytes: give at least 16"),
    ],
)
def test_wrong_use(
    explain: Explain, named: tuple[Path, list[str]], tmp_path: Path, options: list[str], words: str
) -> None:
    (tmp_path / "key").write_text("short")
    result = explain(named[0], *(str(tmp_path / "key") if one == "KEY" else one for one in options))
    assert result.exit_code == 2
    one_line(result, words)
