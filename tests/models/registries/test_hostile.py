"""A registry that somebody hostile wrote: nothing in it runs, and nothing outside of it is read or written."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid import ExplanationSettings, ModelRegistry
from pellucid.errors import CheckpointError, DataError, OptionError, PellucidError, SourceError, WriteError
from pellucid.models.registries.facts import preprocessing_json, preprocessing_of
from pellucid.models.registries.index import DEEPEST, LARGEST
from tests.models.registries.helpers import factory, indexed, recorded, scores, tiny, tree

OPENED: list[str] = []
WATCHED: list[Path] = []


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if WATCHED and event in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate"):
        with contextlib.suppress(OSError, ValueError):  # a link now may be a file later
            OPENED.extend(os.path.realpath(each) for each in arguments if isinstance(each, str | os.PathLike))


sys.addaudithook(_watch)  # it cannot be removed; without a folder to watch it does nothing


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A registry's folder beside one with a secret; no file of the latter may be opened or changed."""
    secret = tmp_path / "outside"
    secret.mkdir()
    torch.save(tiny(9).state_dict(), secret / "chest.pt")
    (secret / "index.json").write_text(json.dumps({"schema_version": 1, "models": {}, "secret": "hush"}))
    (secret / "config.json").write_text(json.dumps({"classes": ["a", "b", "c"], "image_size": 99}))
    before = tree(secret)
    (tmp_path / "models").mkdir()
    OPENED.clear()
    WATCHED.append(secret)
    yield tmp_path / "models"
    WATCHED.clear()
    assert [path for path in OPENED if Path(path).is_relative_to(secret.resolve())] == []
    assert tree(secret) == before


def one_line(call: Callable[[], object], *errors: type[PellucidError]) -> str:
    """The message of the error that a call gives."""
    with pytest.raises(errors) as caught:
        call()
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert len(message) < 1500
    assert "hush" not in message
    return message


def test_the_watch_sees_what_is_opened(tmp_path: Path) -> None:
    WATCHED.append(tmp_path)
    OPENED.clear()
    (tmp_path / "x").write_text("")
    WATCHED.clear()
    assert str((tmp_path / "x").resolve()) in OPENED


# Names.

NAMES = [
    *("../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "a\0b", "x" * 101, "x" * 5000, "CON", "con.txt", "nul"),
    *(".hidden", "-o", "a ", "a.", "a@2", "a\nb", "C:", "é", "index.json", "%2e%2e", "~", "$HOME", None, 3.5, b"a"),
]


@pytest.mark.parametrize("name", NAMES)
def test_no_such_key_is_written(root: Path, name: object) -> None:
    assert "the model's key" in one_line(lambda: ModelRegistry(root).save(name, tiny()), OptionError)
    assert tree(root) == {}


@pytest.mark.parametrize("name", [*(name for name in NAMES if name not in (None, "index.json")), "latest", True, -1])
def test_no_such_version_is_written(root: Path, name: object) -> None:
    assert "version=" in one_line(lambda: ModelRegistry(root).save("chest", tiny(), version=name), OptionError)
    assert {path for path in tree(root) if path != ".index.lock"} == set()


@pytest.mark.parametrize("name", [name for name in NAMES if isinstance(name, str)])
def test_no_such_name_is_read(root: Path, name: str) -> None:
    torch.save(tiny().state_dict(), root / "chest.pt")
    registry = indexed(root, recorded("chest.pt"))
    one_line(lambda: registry.load(name), SourceError)
    one_line(lambda: registry.load("chest", name), SourceError)
    one_line(lambda: pellucid.load_model(f"registry:{root}/chest@{name}x"), SourceError)


def test_keys_of_an_index_are_only_names(root: Path) -> None:
    """Whatever a key is, it is looked up and never joined to a path."""
    torch.save(tiny().state_dict(), root / "chest.pt")
    for key in ("../outside", "/etc/passwd", "a\0b"):
        registry = indexed(root, recorded("chest.pt"), key=key)
        assert registry.models() == (key,)
        registry.load(key, spec=factory(root))


# Paths.


@pytest.mark.parametrize(
    "stated",
    [
        *(
            "../outside/chest.pt",
            "..\\outside\\chest.pt",
            "a/../../outside/chest.pt",
            "../../x",
            ".. /outside/chest.pt",
        ),
        *("/etc/passwd", "{secret}/chest.pt", "{secret}\\chest.pt", "file://{secret}/chest.pt", "C:..\\chest.pt"),
        *("linked.pt", "linked/chest.pt", "circle", "circle/chest.pt", "", " ", ".", "/", "\\", "x" * 300, "x/" * 3000),
        *("chest\0.pt", "pipe", "folder", "~/chest.pt", "$HOME/chest.pt", "\\\\.\\pipe\\x", "\n"),
    ],
)
def test_no_path_leads_out(root: Path, stated: str) -> None:
    secret = root.parent / "outside"
    (root / "linked.pt").symlink_to(secret / "chest.pt")
    (root / "linked").symlink_to(secret)
    (root / "circle").symlink_to(root / "circle")
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    registry = indexed(root, recorded(stated.replace("{secret}", str(secret))))
    one_line(lambda: registry.load("chest", spec=factory(root.parent)), CheckpointError)


def test_links_within_the_registry_are_followed(root: Path) -> None:
    (root / "blobs").mkdir()
    torch.save(tiny(4).state_dict(), root / "blobs" / "abc")
    (root / "chest.pt").symlink_to("blobs/abc")
    indexed(root, recorded("chest.pt")).load("chest", spec=factory(root))


def test_the_registry_itself_may_be_a_link(root: Path) -> None:
    ModelRegistry(root).save("chest", tiny())
    link = root.parent / "link"
    link.symlink_to(root)
    registry = ModelRegistry(link)
    registry.load("chest", spec=factory(root.parent))
    assert registry.save("chest", tiny()).version == 2


def test_files_beside_the_weights_are_not_read(root: Path) -> None:
    """Settings beside a checkpoint may be links; those of a folder "models" are looked for beside that."""
    (root / "config.json").symlink_to(root.parent / "outside" / "config.json")
    (root.parent / "configs").mkdir()
    (root.parent / "configs" / "metadata.json").write_text("{}")
    model = pellucid.load_model("torchvision:squeezenet1_1", num_classes=3)
    torch.save(model.state_dict(), root / "chest.pt")
    registry = indexed(root, recorded("chest.pt", architecture="squeezenet1_1"))
    OPENED.clear()
    info = pellucid.model_info(registry.load("chest"))
    assert info.classes is None
    assert info.preprocessing.crop == (224, 224)
    assert not [path for path in OPENED if "configs" in path]


def test_a_list_of_several_files_is_not_read(root: Path) -> None:
    (root / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "linked.safetensors"}}))
    registry = indexed(root, recorded("model.safetensors.index.json"))
    assert "a list of several" in one_line(lambda: registry.load("chest"), CheckpointError)


def test_links_are_not_written_through(root: Path) -> None:
    secret = root.parent / "outside"
    registry = ModelRegistry(root)
    (root / "chest").symlink_to(secret)
    assert "expected, got something else" in one_line(lambda: registry.save("chest", tiny()), WriteError)
    (root / "skin").mkdir()
    (root / "skin" / "1").symlink_to(secret)
    one_line(lambda: registry.save("skin", tiny()), PellucidError)
    (root / ".index.lock").unlink()
    (root / ".index.lock").symlink_to(secret / "index.json")
    assert "the lock of the registry" in one_line(lambda: registry.save("eye", tiny()), WriteError)


# The index.


def test_an_index_that_is_a_link_out(root: Path) -> None:
    (root / "index.json").symlink_to(root.parent / "outside" / "index.json")
    registry = ModelRegistry(root)
    for call in (registry.models, lambda: registry.save("chest", tiny())):
        assert "a link out of the registry" in one_line(call, CheckpointError)


def test_an_index_of_a_gigabyte(root: Path) -> None:
    with (root / "index.json").open("wb") as file:
        file.truncate(2**30)
    assert f"more than {LARGEST:,} bytes" in one_line(ModelRegistry(root).models, CheckpointError)


def test_an_index_that_is_no_file(root: Path) -> None:
    os.mkfifo(root / "index.json")
    assert "it is no file" in one_line(ModelRegistry(root).models, CheckpointError)
    (root / "index.json").unlink()
    (root / "index.json").mkdir()
    assert "it is no file" in one_line(ModelRegistry(root).models, CheckpointError)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no JSON"),
        (b"\xff\xfe\x00", "it is no JSON"),
        (b"[" * 1_000_000, "nested too deep"),
        (b'{"a":' * 1_000_000, "nested too deep"),
        (b'{"models": {"chest": [' + b"[" * DEEPEST + b"]" * DEEPEST + b"]}}", f"more than {DEEPEST} deep"),
        (b'{"models": {"chest": [], "chest": []}}', "the name 'chest' twice"),
        (b'{"models": {"chest": [{"version": 1, "version": 2}]}}', "the name 'version' twice"),
        (b'{"models": {"chest": ' + b"9" * 10_000 + b"}}", "it is no JSON"),
        (b"[]", "an object was expected, got a list"),
        (b"null", "an object was expected, got null"),
        (b'{"models": []}', "its models are a list"),
        (b'{"models": null}', "its models are null"),
        (b'{"schema_version": 1}', "its models are null"),
        (b'{"models": {"chest": {}}}', "'chest' is an object"),
        (b'{"models": {"chest": "x"}}', "'chest' is a text"),
        (b'{"chest": 3}', "'chest' is a number"),
        (b'{"schema_version": 2, "models": {}}', "its schema_version is 2, and 1 is read"),
        (b'{"schema_version": true, "models": {}}', "its schema_version is True"),
        (b'{"schema_version": [[]], "models": {}}', "its schema_version is"),
        (b'{"schema_version": "\\u001b[31m\\n", "models": {}}', "its schema_version is"),
    ],
)
def test_a_broken_index(root: Path, content: bytes, message: str) -> None:
    (root / "index.json").write_bytes(content)
    registry = ModelRegistry(root)
    for call in (registry.models, lambda: registry.load("chest"), lambda: registry.save("chest", tiny())):
        assert message in one_line(call, CheckpointError)
    assert (root / "index.json").read_bytes() == content, "a broken index is not replaced"


@pytest.mark.parametrize(
    "index",
    [b'\xef\xbb\xbf{"models": {}}', b'{"models": {"chest": []}, "x": [NaN, Infinity, 1e999]}', b'{"models": {}}'],
)
def test_an_index_that_is_read(root: Path, index: bytes) -> None:
    (root / "index.json").write_bytes(index)
    registry = ModelRegistry(root)
    assert registry.save("chest", tiny()).version == 1
    assert registry.versions("chest") == (1,)


# Contents.


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


def test_no_pickle_runs(root: Path) -> None:
    """Neither in the weights' place, nor beside them, nor as the whole file."""
    spec, mark = factory(root.parent), root.parent / "ran"
    state = tiny().state_dict()
    torch.save({"model_state": state, "config": Bomb(mark), "model_key": Bomb(mark)}, root / "beside.pt")
    torch.save({"model_state": Bomb(mark)}, root / "weights.pt")
    torch.save(Bomb(mark), root / "whole.pt")
    (root / "plain.pt").write_bytes(pickle.dumps(Bomb(mark)))
    names = ("beside", "weights", "whole", "plain")
    registry = indexed(root, *(recorded(f"{name}.pt", number) for number, name in enumerate(names)))
    registry.load("chest", 0, spec=spec)
    for version in (1, 2, 3):
        one_line(lambda version=version: registry.load("chest", version, spec=spec), CheckpointError)
    assert not mark.exists()
    torch.load(root / "whole.pt", weights_only=False)
    assert mark.exists(), "the pickle does what it should"


@pytest.mark.parametrize("name", ["{file}:make", "file:{file}:make", "os:abort", "hf:x/y", "registry:{file}/x"])
def test_no_architecture_of_a_record_is_code(root: Path, name: str) -> None:
    mark = root.parent / "ran"
    file = root / "mine.py"
    file.write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    torch.save(tiny().state_dict(), root / "chest.pt")
    name = name.replace("{file}", str(file))
    registry = indexed(root, recorded("chest.pt", architecture=name, config={"model": name}))
    one_line(lambda: registry.load("chest"), CheckpointError)
    assert not mark.exists()


@pytest.mark.parametrize("wrong", [3, [], "x", None, [[]], {"a": {}}, [None], {"path": "../outside/index.json"}])
def test_what_is_kept_may_be_anything(root: Path, wrong: object) -> None:
    """It counts as not stated, or is an error of one line."""
    torch.save(tiny().state_dict(), root / "chest.pt")
    spec = factory(root.parent)
    names = ("classes", "head", "preprocessing", "assumed", "activation", "explanation", "evaluation")
    extra = {"pellucid": dict.fromkeys(names, wrong)}
    registry = indexed(root, recorded("chest.pt", extra_state=extra, config=wrong, metrics=wrong, architecture=wrong))
    info = pellucid.model_info(registry.load("chest", spec=spec))
    assert (info.classes, info.head, info.preprocessing) == (("x",) if wrong == ["x"] else None, None, None)
    if wrong is not None:
        one_line(lambda: registry.explanation("chest"), CheckpointError)
    if isinstance(wrong, dict):
        one_line(lambda: registry.evaluation("chest"), DataError, CheckpointError)


@pytest.mark.parametrize(
    "content", [recorded("chest.pt", extra_state={"pellucid": {"sha256": wrong}}) for wrong in (3, [], "x")]
)
def test_a_digest_of_another_type_is_another_s(root: Path, content: dict[str, object]) -> None:
    torch.save(tiny().state_dict(), root / "chest.pt")
    message = one_line(lambda: indexed(root, content).load("chest"), CheckpointError)
    assert "saved with other bytes" in message


KNOWN = pellucid.Preprocessing(
    (300, 200), (256, 192), (0.1,) * 3, (0.4,) * 3, "nearest", 3, "ours", (0.0, 255.0), "RAS"
)


@pytest.mark.parametrize(
    "change",
    [
        {"resize": 10**9},
        {"resize": [8192, 8192, 8192]},
        {"resize": 0},
        {"resize": True},
        {"resize": "300"},
        {"resize": []},
        {"crop": 224},
        {"crop": [[224], 224]},
        {"crop": [1, 2, 3, 4]},
        {"mean": [0.1, 0.2]},
        {"mean": ["a", "b", "c"]},
        {"mean": [float("nan")] * 3},
        {"std": [0.0, 0.1, 0.1]},
        {"std": 0.1},
        {"interpolation": "lanczos"},
        {"interpolation": None},
        {"channels": 0},
        {"channels": 10**9},
        {"source": 3},
        {"range": [1.0, 0.0]},
        {"range": [0.0, float("inf")]},
        {"range": None},
        {"orientation": "XYZ"},
        {"orientation": ["R"]},
        {"spacing": [0.0, 1.0, 1.0]},
        {"spacing": "1"},
    ],
)
def test_a_preprocessing_that_none_has(change: dict[str, object]) -> None:
    assert preprocessing_of(preprocessing_json(KNOWN)) == KNOWN
    assert preprocessing_of(preprocessing_json(KNOWN) | change) is None


@pytest.mark.parametrize(
    "wrong",
    [
        3,
        None,
        [],
        {"method": []},
        {"options": 3},
        {"method": "gradcam", "later": 1},
        {"method": "gradcam", "layers": [3]},
        {"method": "gradcam", "target": {}},
    ],
)
def test_settings_that_none_wrote(wrong: object) -> None:
    message = one_line(lambda: ExplanationSettings.from_json(wrong), CheckpointError)
    assert "cannot be read" in message


# What a kill left.


def left_by(root: Path, place: object) -> None:
    """Drafts of a version that looks as if it had been moved and not listed."""
    drafts = root / ".part-abcdefgh"
    drafts.mkdir()
    (drafts / "index.json").write_text("{}")
    journal = {"place": place, "files": ["model.safetensors", "scores.json"], "made": 2}
    (drafts / "journal").write_text(json.dumps(journal))


@pytest.mark.parametrize(
    "place", [["..", "outside"], ["../outside", "1"], ["outside", "."], ["linked", "1"], 3, ["a"], [[], {}]]
)
def test_a_journal_cannot_remove_what_is_outside(root: Path, place: object) -> None:
    outside = root.parent / "outside" / "1"
    WATCHED.clear()
    outside.mkdir()
    (outside / "model.safetensors").write_text("precious")
    (root / "linked").symlink_to(root.parent / "outside")
    left_by(root, place)
    ModelRegistry(root).save("chest", tiny())
    assert (outside / "model.safetensors").read_text() == "precious"
    (outside / "model.safetensors").unlink()
    outside.rmdir()


def test_a_journal_cannot_remove_what_is_listed(root: Path) -> None:
    registry = ModelRegistry(root)
    registry.save("chest", tiny(), evaluation=scores(root.parent / "evaluated"))
    left_by(root, ["chest", "1"])
    registry.save("skin", tiny())
    registry.load("chest", spec=factory(root))
    assert registry.evaluation("chest") is not None
    assert not list(root.glob(".part-*"))


def test_a_journal_cannot_remove_other_files(root: Path) -> None:
    (root / "chest" / "1").mkdir(parents=True)
    (root / "chest" / "1" / "notes.txt").write_text("mine")
    left_by(root, ["chest", "1"])
    (root / ".part-ijklmnop").mkdir()
    (root / ".part-ijklmnop" / "thesis.txt").write_text("mine")
    ModelRegistry(root).save("skin", tiny())
    assert (root / "chest" / "1" / "notes.txt").read_text() == "mine"
    assert (root / ".part-ijklmnop" / "thesis.txt").read_text() == "mine"
