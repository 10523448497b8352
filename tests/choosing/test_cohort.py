"""What a choice is measured on: classes, masks, patients and lenders of a data set."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

import pellucid
from pellucid import phantom
from pellucid.choosing.cohort import Question, cohort_of
from pellucid.core.runtime import Runtime
from pellucid.errors import TargetError
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.scoring.network import Network


@pytest.fixture(scope="module")
def network() -> Network:
    model = phantom.exclusive_cnn_64()
    return Network(model, pellucid.model_info(model).preprocessing, runtime=Runtime(batch_size=16))


@pytest.fixture(scope="module")
def drawn() -> phantom.Phantoms:
    return phantom.radiographs(24, 64, seed=5, exclusive=True)


def table(folder: Path, drawn: phantom.Phantoms, patient: str = "p{number}") -> Path:
    """The radiographs with their labels and patients, as a table."""
    lines = ["path,label,patient"]
    for number, index in enumerate(drawn.classes.tolist()):
        save_image(drawn.images[number], folder / f"{number:02}.png")
        lines.append(f"{number:02}.png,{phantom.CLASSES[index]},{patient.format(number=number)}")
    (folder / "cases.csv").write_text("\n".join(lines))
    return folder / "cases.csv"


def test_a_target_is_explained_where_it_is_stated_and_the_others_lend(
    tmp_path: Path, drawn: phantom.Phantoms, network: Network
) -> None:
    data = read_data(table(tmp_path, drawn), is_localised=False)
    found = cohort_of(data, network, Question("nodule"))
    shown = (drawn.classes == 1).nonzero()[:, 0].tolist()
    assert [int(Path(name).stem) for name in found.names] == shown
    assert set(found.targets.tolist()) == {1}
    assert found.patients == [f"p{number}" for number in shown]
    assert found.reference is not None
    assert len(found.reference.images) == len(drawn.classes) - len(shown)
    assert found.reference.labels is not None
    assert not found.reference.labels[:, 1].any()
    assert found.masks is None


def test_lenders_that_are_all_of_one_patient_are_left_out(
    tmp_path: Path, drawn: phantom.Phantoms, network: Network
) -> None:
    data = read_data(table(tmp_path, drawn, "one"), is_localised=False)
    assert cohort_of(data, network, Question("nodule")).reference is None


def test_patients_that_are_told_apart_by_the_images_count_within_one_data_set(
    tmp_path: Path, drawn: phantom.Phantoms, network: Network
) -> None:
    """Of images of two data sets of whom nothing is stated, none is of the same patient."""
    file = table(tmp_path, drawn)
    file.write_text("\n".join(line.rpartition(",")[0] for line in file.read_text().splitlines()))
    data = read_data(file, is_localised=False)
    own = cohort_of(data, network, Question("nodule")).reference
    other = cohort_of(data, network, Question("nodule"), reference=data).reference
    assert own is not None
    assert other is not None
    assert all(isinstance(patient, str) for patient in own.patients or ())
    assert not any(isinstance(patient, str) for patient in other.patients or ())


def test_labels_are_explained_and_at_most_so_many(tmp_path: Path, drawn: phantom.Phantoms, network: Network) -> None:
    data = read_data(table(tmp_path, drawn), is_localised=False)
    found = cohort_of(data, network, Question(most=10))
    numbers = [int(Path(name).stem) for name in found.names]
    assert len(numbers) == 10
    assert found.targets.tolist() == drawn.classes[numbers].tolist()
    other = cohort_of(data, network, Question(most=10, seed=1))
    assert other.names != found.names


def test_masks_are_those_of_the_class(network: Network) -> None:
    found = cohort_of(read_data("phantoms:exclusive:12:3"), network, Question())
    assert found.masks is not None
    assert found.masks.shape == (len(found.images), 64, 64)
    assert found.masks.flatten(1).any(1).all()
    assert 0 not in found.targets.tolist()  # "none" has no outline, so it is no finding


def test_without_labels_the_predicted_class_is_explained(
    tmp_path: Path, drawn: phantom.Phantoms, network: Network
) -> None:
    for number in range(8):
        save_image(drawn.images[number], tmp_path / f"{number:02}.png")
    found = cohort_of(read_data(tmp_path, is_localised=False), network, Question())
    with torch.no_grad():
        expected = network.model(found.images).argmax(1)
    assert torch.equal(found.targets, expected)


def test_a_class_that_is_none(network: Network) -> None:
    with pytest.raises(TargetError, match="did you mean nodule"):
        cohort_of(read_data("phantoms:exclusive:8"), network, Question("nodul"))
