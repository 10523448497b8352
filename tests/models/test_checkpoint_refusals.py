"""What is refused of a weights file, by the public API, in whose words."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pellucid import load_model
from pellucid.errors import CheckpointError, OptionError, PellucidError

SPEC = "torchvision:squeezenet1_1"
FACTORY = """
from torch import nn

def make(num_classes=2, in_channels=3):
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, num_classes))

def fixed():
    return make()
"""


class Network(nn.Sequential):
    """A network of the user's own, which its pickle names."""


class Runs:
    """An object whose pickle runs a command."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def small(channels: int = 3, classes: int = 2) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Network(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, classes))


def saved(path: Path, content: object, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def refused(
    path: Path | None, spec: str | None = None, kind: type[PellucidError] = CheckpointError, **more: int
) -> str:
    """The message, its path written as PATH."""
    with pytest.raises(kind) as error:
        load_model(spec, path, **more)
    text = str(error.value)
    assert "\n" not in text
    return text.replace(str(path), "PATH")


def own(folder: Path, function: str = "make") -> str:
    (folder / "mine.py").write_text(FACTORY)
    return f"{folder / 'mine.py'}:{function}"


# Files that hold no weights, or more than weights.


def pickled(path: Path, content: object = None) -> str:
    """The remedy for a pickled network."""
    entry = '["model"]' if isinstance(content, dict) else ""
    return (
        "`pellucid convert PATH` takes the weights out of it without that; or, if you trust it, save its "
        "state_dict() where its code is: "
        f'python -c \'import torch; model = torch.load("PATH", map_location="cpu", weights_only=False){entry}; '
        f'torch.save(model.state_dict(), "{path.with_name("best-weights.pt")}")\''
    )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickled_model(tmp_path: Path, zipped: bool) -> None:
    named = f"{__name__}.Network"
    for content in (small(), {"model": small()}):
        assert refused(saved(tmp_path / "best.pt", content, zipped)) == (
            f"PATH: weights were expected, got a whole pickled object ({named!r}), which is not loaded because that "
            f"would run its code; {pickled(tmp_path / 'best.pt', content)}"
        )


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_runs_a_command(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "mark"
    text = refused(saved(tmp_path / "best.pt", Runs(mark), zipped))
    assert text == (
        f"PATH: weights were expected, got a whole pickled object ('{os.system.__module__}.system'), which is not "
        f"loaded because that would run its code; {pickled(tmp_path / 'best.pt')}"
    )
    assert not mark.exists()
    beside = saved(tmp_path / "beside.pt", {"model": small().state_dict(), "config": Runs(mark)}, zipped)
    assert load_model(own(tmp_path), beside) is not None
    assert not mark.exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"epoch": 3, "state_dict": {}}, "epoch, state_dict"),
        ({"loss": {"value": torch.tensor(1.0)}, "metrics": [0.5]}, "loss, metrics"),
        ({"optimizer": {"state": {0: torch.ones(1)}}}, "optimizer"),
        ({}, "a dict without names"),
        ([torch.ones(1)], "a list without names"),
        (torch.ones(1), "a Tensor without names"),
    ],
)
def test_no_weights(tmp_path: Path, content: object, got: str) -> None:
    assert refused(saved(tmp_path / "best.pt", content)) == (
        f"PATH: a network's weights were expected, got {got}; save the network's own: "
        "torch.save(model.state_dict(), 'weights.pt')"
    )


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    text = "PATH: a weights file was expected, got {}; give the path of a file"
    assert refused(tmp_path / "missing.pt") == text.format("nothing there")
    assert refused(tmp_path) == text.format("a folder without one")


def archive(path: Path, how: int = zipfile.ZIP_STORED, **entries: bytes) -> Path:
    with zipfile.ZipFile(path, "w", how) as opened:
        for name, content in entries.items():
            opened.writestr(f"archive/{name.replace('__', '.')}", content)
    return path


def torchscript(path: Path) -> None:
    archive(path, data__pkl=b"N.", version=b"3\n", constants__pkl=b"N.")


def tar(path: Path) -> None:
    with tarfile.open(path, "w") as opened:
        opened.addfile(tarfile.TarInfo("storages"))


def bomb(path: Path) -> None:
    archive(path, zipfile.ZIP_DEFLATED, data__pkl=bytes(2**20), version=b"3\n")


def overlapping(path: Path) -> None:
    """A zip whose entries are all the same bytes, named a hundred times: small, and large when it is read."""
    saved(path, {"w": torch.zeros(1000)})
    content = path.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack("<HII", content[end + 10 : end + 20])
    assert count > 0
    directory = content[start : start + size] * 100
    tail = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count * 100, count * 100, len(directory), start, 0)
    path.write_bytes(content[:start] + directory + tail)


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("archive/version", "3\n")
        opened.writestr("archive/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            opened.writestr("archive/data.pkl", b"}.")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            torchscript,
            "PATH: a TorchScript archive is not loaded because it holds code; `pellucid convert PATH` takes …",
        ),
        (tar, "PATH: a tar archive of torch before 0.4 is not read; save model.state_dict()"),
        (bomb, "PATH: compressed entries are not read; save the file with torch.save"),
        (overlapping, "PATH: compressed entries are not read; save the file with torch.save"),
        (twice, "PATH: an entry is hidden or occurs twice; save the file with torch.save"),
        (lambda path: path.write_bytes(b""), "PATH: a weights file was expected, got an empty file; save it again"),
    ],
    ids=["TorchScript", "tar", "compressed", "overlapping", "twice", "empty"],
)
def test_containers(tmp_path: Path, write: Callable[[Path], object], message: str) -> None:
    write(tmp_path / "best.pt")
    start, cut, _ = message.partition("…")
    assert refused(tmp_path / "best.pt")[: len(start) if cut else None] == start


@pytest.mark.parametrize("suffix", [".pt", ".ckpt", ".safetensors"])
def test_broken_files(tmp_path: Path, suffix: str) -> None:
    import safetensors.torch

    path = tmp_path / f"best{suffix}"
    buffer = io.BytesIO()
    torch.save(small().state_dict(), buffer)
    whole = safetensors.torch.save(small().state_dict()) if suffix == ".safetensors" else buffer.getvalue()
    for content in (whole[: len(whole) // 2], whole[:-3], whole[:6], b"no weights at all, but text\n"):
        path.write_bytes(content)
        text = refused(path)
        assert text.startswith("PATH: weights could not be read (")
        assert text.endswith("); save the file again")


def test_safetensors_that_lie(tmp_path: Path) -> None:
    """A header of any length, and tensors beyond the file: refused before room is made for them."""
    path = tmp_path / "best.safetensors"
    beyond = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    for content in (
        (2**62).to_bytes(8, "little") + b"{}",
        len(beyond).to_bytes(8, "little") + beyond + bytes(16),
    ):
        path.write_bytes(content)
        assert refused(path).startswith("PATH: weights could not be read (")


def test_a_pickle_by_the_name_of_safetensors(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    path = saved(tmp_path / "best.safetensors", Runs(mark))
    assert refused(path).startswith("PATH: weights could not be read (")
    assert not mark.exists()


# Weights that do not fit.


def test_missing_and_unexpected_weights(tmp_path: Path) -> None:
    state = small().state_dict()
    wrong = {"0.weight": state["0.weight"], "new.weight": torch.ones(1), "3.weight": torch.ones(2, 5)}
    assert refused(saved(tmp_path / "best.pt", wrong), own(tmp_path)) == (
        "PATH: the weights do not fit the model: 2 missing (0.bias, 3.bias); 1 unexpected (new.weight); "
        "1 of another shape (3.weight (2, 5) instead of (2, 4)); check spec= and the classes"
    )


def test_classes_that_the_users_own_factory_does_not_take(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", small(classes=7).state_dict())
    assert refused(path, own(tmp_path, "fixed")) == (
        "PATH: the weights do not fit the model: 2 of another shape (3.weight (7, 4) instead of (2, 4), "
        "3.bias (7,) instead of (2,)); check spec= and the classes"
    )


def test_a_number_of_classes_that_is_not_the_weights(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", small(classes=7).state_dict())
    assert refused(path, own(tmp_path), OptionError, num_classes=3) == (
        "num_classes=3 was asked for, PATH has 7; leave it out"
    )


def test_names_of_no_known_architecture(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", {f"own.{letter}.weight": torch.ones(1) for letter in "fedcba"})
    assert refused(path) == (
        "no known architecture has weights named own.a.weight, own.b.weight, own.c.weight, own.d.weight, "
        "own.e.weight, …; name it with spec= if a library has it, else give the network as spec="
        "'path/to/file.py:factory', a function that returns it"
    )


def test_another_architecture_is_never_loaded_in_part(tmp_path: Path) -> None:
    path = saved(tmp_path / "best.pt", small().state_dict())
    text = refused(path, SPEC)
    assert text.startswith("PATH: the weights do not fit the model: 52 missing (")
    assert "; 4 unexpected (0.bias, 0.weight, 3.bias, 3.weight); check spec= and the classes" in text
