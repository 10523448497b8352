"""Explanations: what they answer, and how they are kept in a file."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.explanation import Explanation, load_explanation
from pellucid.errors import ImageError
from tests.networks import TinyCNN, images, seeded

ARRAYS = ("heatmaps", "attributions", "logits", "targets", "degenerate")


@pytest.fixture
def explanation() -> Explanation:
    batch = images(2)
    batch[1] = float("nan")
    return pellucid.explain(
        seeded(TinyCNN),
        batch,
        targets=torch.tensor([[0, 3], [1, 2]]),
        layers=["features.0", "features.2"],
        classes=["a", "b", "c", "ü"],
    )


def test_what_is_saved_is_loaded(explanation: Explanation, tmp_path: Path) -> None:
    for name in ("kept.npz", "kept"):
        explanation.save(tmp_path / name)
        loaded = load_explanation(str(tmp_path / name))
        for array in ARRAYS:
            mine, other = getattr(explanation, array), getattr(loaded, array)
            assert mine.dtype == other.dtype
            torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)
        for fact in ("method", "layers", "head", "classes", "why_degenerate", "provenance"):
            assert getattr(explanation, fact) == getattr(loaded, fact)
        assert loaded.by_layer == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.npz"]


def test_saving_into_an_open_file(explanation: Explanation, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    explanation.save(buffer)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    assert load_explanation(tmp_path / "a.npz").label(0, 1) == "ü"
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as file:
        assert sorted(file) == sorted([*ARRAYS, "facts"])


class Boom:
    """Sets a mark when it is unpickled."""

    ran = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Boom, "ran", True)


def packed(explanation: Explanation, path: Path, saying: object = None, **arrays: np.ndarray) -> Path:
    buffer = io.BytesIO()
    explanation.save(buffer)
    with np.load(io.BytesIO(buffer.getvalue())) as file:
        content = {name: file[name] for name in file}
    if saying is not None:
        content["facts"] = np.array(json.dumps(saying))
    np.savez(path, **{**content, **arrays})
    return path


def refused(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        load_explanation(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_pickle_is_not_run(explanation: Explanation, tmp_path: Path) -> None:
    hostile = np.array([Boom()], dtype=object)
    for name in ("facts", "heatmaps"):
        refused(packed(explanation, tmp_path / "a.npz", **{name: hostile}))
    np.save(tmp_path / "b.npy", hostile, allow_pickle=True)
    refused(tmp_path / "b.npy")
    assert not Boom.ran


def test_files_that_are_none(explanation: Explanation, tmp_path: Path) -> None:
    whole = packed(explanation, tmp_path / "whole.npz").read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    files = {
        "text": b"not an explanation",
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "barely cut": whole[:-10],
        "zip": b"PK\x03\x04" + bytes(50),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    refused(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    refused(tmp_path / "array.npy")
    refused(tmp_path / "missing.npz")
    refused(tmp_path)


def test_flipped_bytes_are_refused_or_read(explanation: Explanation, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    explanation.save(buffer)
    whole = buffer.getvalue()
    path = tmp_path / "a.npz"
    for place in range(0, len(whole), max(1, len(whole) // 150)):
        broken = bytearray(whole)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        with suppress(ImageError):
            load_explanation(path)


@pytest.mark.parametrize(
    "facts",
    [
        [],
        "text",
        3,
        {},
        {"format": "pellucid explanation 1"},
        {"format": "pellucid explanation 1", "why_degenerate": 3, "classes": None},
        {"format": "pellucid explanation 99"},
    ],
)
def test_facts_that_are_none(explanation: Explanation, tmp_path: Path, facts: object) -> None:
    message = refused(packed(explanation, tmp_path / "a.npz", facts))
    if "99" in str(facts):
        assert "99" in message
        assert "pellucid explanation 1" in message


def test_arrays_that_are_none(explanation: Explanation, tmp_path: Path) -> None:
    refused(packed(explanation, tmp_path / "a.npz", heatmaps=np.array(["text"])))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("facts.npy", b"text")
    refused(tmp_path / "b.npz")


def test_one_map_keeps_its_axes(explanation: Explanation) -> None:
    one = explanation.one(0, 1)
    assert one.heatmaps.shape == (1, 1, 32, 32)
    assert torch.equal(one.heatmaps[0, 0], explanation.heatmaps[0, 1])
    assert torch.equal(one.attributions[0, 0], explanation.attributions[0, 1])
    assert torch.equal(one.logits[0], explanation.logits[0])
    assert one.targets.tolist() == [[3]]
    assert one.why_degenerate == ((None,),)
    assert torch.equal(one.by_layer["features.0"].heatmaps[0, 0], explanation.by_layer["features.0"].heatmaps[0, 1])
    assert explanation.one(1, 0).why_degenerate == (("not finite",),)
    assert len(one) == 1
    assert len(explanation) == 2


def test_labels(explanation: Explanation) -> None:
    assert [explanation.label(0, k) for k in (0, 1)] == ["a", "ü"]
    assert explanation.class_name(1) == "b"
    plain = pellucid.explain(seeded(TinyCNN), images(1), targets=2)
    assert (plain.label(0), plain.class_name(1)) == ("2", "1")
    assert pellucid.explain(seeded(TinyCNN), images(1), targets=lambda z: z[:, 0]).label(0) == "callable"


def test_probabilities_follow_the_head() -> None:
    model, batch = seeded(TinyCNN), images(2)
    soft = pellucid.explain(model, batch)
    assert torch.equal(soft.probabilities, soft.logits.softmax(1))
    assert torch.equal(pellucid.explain(model, batch, head="sigmoid").probabilities, soft.logits.sigmoid())


def test_an_explanation_is_frozen(explanation: Explanation) -> None:
    with pytest.raises(FrozenInstanceError):
        explanation.method = "other"
