"""How explanations are kept in a file, and what is no such file."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.archive import load_explanation
from pellucid.core.explanation import Explanation
from pellucid.errors import ImageError
from tests.core.explanations import ARRAYS, assert_equal, two_images
from tests.networks import TinyCNN, images, seeded


@pytest.fixture
def explanation() -> Explanation:
    return two_images()


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
        assert list(loaded.by_layer) == list(explanation.by_layer) == ["features.0", "features.2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "kept.npz"]


@pytest.mark.parametrize(
    "options",
    [
        {"layers": ["features.2", "features.0"], "fuse": "max", "targets": "all"},
        {"targets": "all", "classes": ["<a>", "b\nc", "", "ü"]},
        {"targets": lambda logits: logits[:, :2]},
        {"method": "integrated_gradients", "targets": [1, 2], "head": "sigmoid"},
        {"method": "eigencam", "targets": "all", "runtime": pellucid.Runtime(batch_size=1)},
    ],
)
def test_everything_comes_back(options: dict[str, object], tmp_path: Path) -> None:
    batch = images(2)
    batch[1, :, 3, 3] = float("nan")
    kept = pellucid.explain(seeded(TinyCNN), batch, **options)
    assert kept.why_degenerate[1][0] == "not finite"
    kept.save(tmp_path / "a.npz")
    loaded = load_explanation(tmp_path / "a.npz")
    assert_equal(loaded, kept)
    assert loaded.checks.keys() == ({"completeness_gap"} if "method" in options and kept.checks else set())
    loaded.save(tmp_path / "b.npz")
    assert_equal(load_explanation(tmp_path / "b.npz"), kept)
    assert_equal(loaded.one(0, 0), kept.one(0, 0))


def test_volumes_come_back(tmp_path: Path) -> None:
    kept = pellucid.explain(seeded(TinyCNN, 3), images(1, 3, (16, 8, 12)), targets="all")
    kept.save(tmp_path / "a.npz")
    assert_equal(load_explanation(tmp_path / "a.npz"), kept)


def test_a_file_of_the_first_format_is_read(explanation: Explanation, tmp_path: Path) -> None:
    """As version 0.1 wrote it: the arrays, the facts, and nothing of the layers."""
    arrays = {name: getattr(explanation, name).numpy() for name in ARRAYS}
    facts = {
        "format": "pellucid explanation 1",
        "method": "gradcam",
        "layers": ["features.0", "features.2"],
        "head": "softmax",
        "classes": ["a", "b", "c", "ü"],
        "why_degenerate": [[None, None], ["not finite", "not finite"]],
        "provenance": {"method": "gradcam", "options": {}},
    }
    np.savez_compressed(tmp_path / "old.npz", facts=np.array(json.dumps(facts)), **arrays)
    loaded = load_explanation(tmp_path / "old.npz")
    for array in ARRAYS:
        mine, other = getattr(explanation, array), getattr(loaded, array)
        torch.testing.assert_close(mine, other, rtol=0, atol=0, equal_nan=True)
    assert (loaded.by_layer, loaded.checks) == ({}, {})
    assert (loaded.layers, loaded.label(0, 1), loaded.head) == (("features.0", "features.2"), "ü", "softmax")
    assert loaded.why_degenerate == explanation.why_degenerate
    assert loaded.provenance == facts["provenance"]
    loaded.save(tmp_path / "new.npz")
    assert_equal(load_explanation(tmp_path / "new.npz"), loaded)


def test_a_failing_write_leaves_the_old_file(
    explanation: Explanation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept.npz"
    explanation.one(0, 0).save(path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for name in ("replace", "chmod"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, fail)
            with pytest.raises(OSError, match="No space"):
                explanation.save(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["kept.npz"]
    with monkeypatch.context() as patched:
        patched.setattr(json, "dumps", fail)
        with pytest.raises(OSError, match="No space"):
            explanation.save(tmp_path / "new.npz")
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.npz"]
    explanation.save(path)
    assert_equal(load_explanation(path), explanation)


def test_a_draft_that_is_not_written_whole_is_removed(explanation: Explanation, tmp_path: Path) -> None:
    path = tmp_path / "kept.npz"
    path.write_bytes(b"old")

    class Full(io.BufferedWriter):
        """A file on a full disk."""

        def write(self, content: object) -> int:
            super().write(bytes(content)[:10])
            raise OSError(28, "No space left on device")

    def opened(self: Path, mode: str = "r", *_: object) -> object:
        return Full(io.FileIO(self, mode.replace("b", "")))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Path, "open", opened)
        with pytest.raises(OSError, match="No space"):
            explanation.save(path)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["kept.npz"]


@pytest.mark.skipif(os.name != "posix", reason="permissions and links are POSIX's")
def test_permissions_and_links_are_kept(explanation: Explanation, tmp_path: Path) -> None:
    path, link = tmp_path / "kept.npz", tmp_path / "link.npz"
    path.write_bytes(b"old")
    path.chmod(0o640)
    link.symlink_to(path)
    explanation.save(link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert_equal(load_explanation(path), explanation)
    masked = os.umask(0o027)
    try:
        explanation.save(tmp_path / "new.npz")
    finally:
        os.umask(masked)
    assert stat.S_IMODE((tmp_path / "new.npz").stat().st_mode) == 0o640


def test_a_folder_that_is_not_there(explanation: Explanation, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        explanation.save(tmp_path / "missing" / "a.npz")


def test_saving_into_an_open_file(explanation: Explanation, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    explanation.save(buffer)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    assert load_explanation(tmp_path / "a.npz").label(0, 1) == "ü"
    with np.load(io.BytesIO(buffer.getvalue()), allow_pickle=False) as file:
        own = [name for name in ARRAYS if name not in ("logits", "targets")]
        assert set(file) <= {*ARRAYS, "facts", *(f"layer {index} {name}" for index in (0, 1) for name in own)}
        assert set(file) >= {*ARRAYS, "facts", "layer 0 attributions"}
        assert all(file[name].dtype.kind != "O" for name in file)


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
        assert "this version reads pellucid explanation 1 and pellucid explanation 2" in message


def test_arrays_that_are_none(explanation: Explanation, tmp_path: Path) -> None:
    refused(packed(explanation, tmp_path / "a.npz", heatmaps=np.array(["text"])))
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("facts.npy", b"text")
    refused(tmp_path / "b.npz")


def told(explanation: Explanation, **changed: object) -> dict[str, object]:
    """The facts as they would be written, but for some."""
    buffer = io.BytesIO()
    explanation.save(buffer)
    with np.load(io.BytesIO(buffer.getvalue())) as file:
        return {**json.loads(str(file["facts"])), **changed}


@pytest.mark.parametrize(
    ("arrays", "part"),
    [
        ({"targets": np.array([[0, 4], [1, 2]])}, "targets name classes that are none of the 4"),
        ({"targets": np.array([[0, -2], [1, 2]])}, "targets name classes that are none of the 4"),
        ({"targets": np.zeros((2, 2), dtype=np.int32)}, "targets of shape (2, 2) do not fit"),
        ({"targets": np.zeros((2, 2))}, "targets of shape (2, 2) do not fit"),
        ({"targets": np.zeros(2, dtype=np.int64)}, "do not fit targets (2,)"),
        ({"heatmaps": np.zeros((2, 2, 32), dtype=np.float32)}, "heatmaps of shape (2, 2, 32) do not fit"),
        ({"heatmaps": np.zeros((2, 3, 32, 32), dtype=np.float32)}, "heatmaps of shape (2, 3, 32, 32) do not fit"),
        ({"heatmaps": np.zeros((2, 2, 32, 32), dtype=np.int64)}, "heatmaps of shape (2, 2, 32, 32) do not fit"),
        ({"attributions": np.zeros((1, 2, 8, 8), dtype=np.float32)}, "attributions of shape (1, 2, 8, 8) do not fit"),
        ({"logits": np.zeros((3, 4), dtype=np.float32)}, "logits of shape (3, 4) do not fit"),
        ({"logits": np.zeros((2, 4, 1), dtype=np.float32)}, "logits of shape (2, 4, 1) do not fit"),
        ({"degenerate": np.zeros((2, 1), dtype=bool)}, "degenerate of shape (2, 1) do not fit"),
        ({"degenerate": np.zeros((2, 2), dtype=np.float32)}, "degenerate of shape (2, 2) do not fit"),
        ({"check gap": np.zeros((2, 1), dtype=np.float32)}, "check gap of shape (2, 1) do not fit"),
        ({"layer 0 heatmaps": np.zeros((2, 2), dtype=np.float32)}, "heatmaps of shape (2, 2) do not fit"),
        ({"layer 1 targets": np.array([[0, 9], [1, 2]])}, "targets name classes that are none of the 4"),
    ],
)
def test_arrays_that_do_not_belong_together(
    explanation: Explanation, tmp_path: Path, arrays: dict[str, np.ndarray], part: str
) -> None:
    text = refused(packed(explanation, tmp_path / "a.npz", **arrays))
    assert text.startswith(f"{tmp_path / 'a.npz'}: an explanation's .npz was expected, this is none (")
    assert part in text


@pytest.mark.parametrize(
    "changed",
    [
        {"method": 3},
        {"layers": "features.0"},
        {"layers": [3]},
        {"head": "other"},
        {"head": ["softmax"]},
        {"classes": ["a", "b"]},
        {"classes": "abcd"},
        {"classes": [1, 2, 3, 4]},
        {"why_degenerate": [[None, None]]},
        {"why_degenerate": [[None], [None]]},
        {"why_degenerate": [[None, 3], [None, None]]},
        {"why_degenerate": ["ab", "cd"]},
        {"provenance": 3},
        {"provenance": None},
        {"by_layer": 3},
        {"by_layer": [3]},
        {"by_layer": [{"name": "features.0"}]},
    ],
    ids=str,
)
def test_facts_that_do_not_belong_to_the_arrays(
    explanation: Explanation, tmp_path: Path, changed: dict[str, object]
) -> None:
    assert load_explanation(packed(explanation, tmp_path / "a.npz", told(explanation))).method == "gradcam"
    refused(packed(explanation, tmp_path / "a.npz", told(explanation, **changed)))


def zipped(path: Path, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return path


def header(shape: str, kind: str = "<f4") -> bytes:
    """The beginning of a .npy file."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_sizes_that_a_file_only_claims(explanation: Explanation, tmp_path: Path) -> None:
    """Terabytes by the array's header: refused in one line, whatever the machine would say to them."""
    buffer = io.BytesIO()
    explanation.save(buffer)
    with zipfile.ZipFile(io.BytesIO(buffer.getvalue())) as archive:
        entries = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    for shape in ("(1099511627776,)", "(2, 2, 1048576, 1048576)", "(-1,)", "(9223372036854775807, 9)"):
        refused(zipped(tmp_path / "a.npz", **{**entries, "heatmaps": header(shape) + bytes(16)}))
    refused(zipped(tmp_path / "b.npz", **{**entries, "facts": header("()", "<U268435456") + bytes(16)}))


def test_text_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules[load_explanation.__module__]
    monkeypatch.setattr(module, "_MOST_TEXT", 1000)
    path = zipped(tmp_path / "a.npz", facts=bytes(1001))
    assert refused(path) == f"{path}: its text holds more than 1000 bytes; an explanation was expected"
    monkeypatch.setattr(module, "_MOST_BYTES", 1000)
    assert refused(path) == f"{path}: holds more than 1000 bytes; an explanation was expected"


def test_the_limits_leave_room_for_a_batch_of_volumes() -> None:
    module = sys.modules[load_explanation.__module__]
    assert module._MOST_BYTES >= 4 * 8 * 256**3
    assert module._MOST_TEXT >= 10**6
