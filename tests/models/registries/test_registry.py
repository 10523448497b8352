"""A folder registry: what is saved is what is loaded, and what others wrote stays as it is."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from torch import nn

import pellucid
from pellucid import ExplanationSettings, ModelInfo, ModelRegistry, Preprocessing
from pellucid.errors import (
    CheckpointError,
    DataError,
    DiskFullError,
    OptionError,
    OutputExistsError,
    PellucidWarning,
    SourceError,
    WriteError,
)
from pellucid.models.registries.versions import order
from tests.models.registries.helpers import factory, indexed, logits, recorded, scores, tiny, tree
from tests.models.registries.published import Published
from tests.models.test_checkpoint_layouts import Config, varied

SMALL = "torchvision:squeezenet1_1"


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    return ModelRegistry(tmp_path / "models")


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    return varied(pellucid.load_model(SMALL, num_classes=3))


# What is saved is what is loaded.


def test_a_version_loads_as_it_was_saved(registry: ModelRegistry, trained: nn.Module) -> None:
    record = registry.save("chest", trained, metrics={"auroc": 0.9}, config={"lr": 0.1})
    assert (record.name, record.architecture, record.path) == ("chest@1", SMALL, "chest/1/model.safetensors")
    assert (record.metrics, record.config) == ({"auroc": 0.9}, {"lr": 0.1})
    for spec in (f"registry:{registry.root}/chest", f"registry:{registry.root}/chest@latest"):
        found = pellucid.load_model(spec)
        assert not found.training
        assert torch.equal(logits(found), logits(trained))
        info = pellucid.model_info(found)
        assert (info.spec, info.weights) == (SMALL, "checkpoint")
        assert info.registered == f"registry:{registry.root}/chest@1"
        assert info.checkpoint_sha256 == record.kept["sha256"]


def test_keys_and_versions_are_listed(registry: ModelRegistry) -> None:
    for key in ("chest", "skin", "chest"):
        registry.save(key, tiny())
    assert registry.models() == ("chest", "skin")
    assert registry.versions("chest") == (1, 2)
    assert sorted(tree(registry.root)) == [
        *(".index.lock", "chest", "chest/1", "chest/1/model.safetensors", "chest/2", "chest/2/model.safetensors"),
        *("index.json", "skin", "skin/1", "skin/1/model.safetensors"),
    ]


def test_the_latest_is_the_highest(registry: ModelRegistry, tmp_path: Path) -> None:
    for version in ("1.10.0", "1.2.0", "1.9.0"):
        registry.save("chest", tiny(seed=len(version)), version=version)
    assert registry.versions("chest") == ("1.2.0", "1.9.0", "1.10.0")
    assert registry.record("chest").version == registry.record("chest", "latest").version == "1.10.0"
    assert torch.equal(logits(registry.load("chest", spec=factory(tmp_path))), logits(tiny(seed=6)))


@pytest.mark.parametrize(
    "rising",
    [
        [1, 2, 9, 10, 11],
        ["v1", "v2", "v10"],
        ["1.0-dev", "1.0-alpha2", "1.0-alpha10", "1.0-beta", "1.0-rc1", "1.0", "1.0.1", "1.1"],
        ["2024-01-05", "2024-01-31", "2024-11-02"],
        ["run9", "run10", "run10b"],
    ],
)
def test_the_order_of_versions(rising: list[int | str]) -> None:
    assert sorted([*rising[1:], rising[0]], key=order) == rising


def test_what_is_known_of_a_model_is_kept_exactly(registry: ModelRegistry, trained: nn.Module) -> None:
    exact = Preprocessing((300, 200), (256, 192), (0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "nearest", 3, "ours", (0.0, 255.0))
    info = ModelInfo(SMALL, ("effusion", "nodule", "no finding"), "sigmoid", exact)
    registry.save("chest", trained, info=info)
    found = pellucid.model_info(registry.load("chest"))
    assert (found.classes, found.head, found.preprocessing) == (info.classes, "sigmoid", exact)
    assert (found.assumed, found.input_size) == ((), (3, 256, 192))
    registry.save("chest", registry.load("chest"))
    again = pellucid.model_info(registry.load("chest", 2))
    assert dataclasses.replace(again, registered=None) == dataclasses.replace(
        found, registered=None, checkpoint_sha256=again.checkpoint_sha256
    )


def test_what_is_assumed_stays_assumed(registry: ModelRegistry, trained: nn.Module) -> None:
    known = dataclasses.replace(pellucid.model_info(trained), assumed=("mean and std",))
    registry.save("chest", trained, info=known)
    assert pellucid.model_info(registry.load("chest")).assumed == ("mean and std",)


def test_volumes(registry: ModelRegistry, monai_network: nn.Module) -> None:
    exact = Preprocessing((24, 24, 24), channels=1, range=(-1.0, 1.0), orientation="RAS", spacing=(1.5, 1.5, 2.0))
    info = dataclasses.replace(pellucid.model_info(monai_network), preprocessing=exact)
    registry.save("ct", monai_network, info=info)
    found = registry.load("ct")
    assert pellucid.model_info(found).preprocessing == exact
    assert pellucid.model_info(found).spec == "monai:resnet10-3d"
    volume = torch.randn(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found(volume), monai_network(volume))


@pytest.fixture
def monai_network() -> nn.Module:
    pytest.importorskip("monai")
    return varied(pellucid.load_model("monai:resnet10-3d", num_classes=2))


def test_an_architecture_that_weights_do_not_show(registry: ModelRegistry) -> None:
    """Three of timm's networks have these weights; a network in memory says which one it is."""
    own = varied(timm.create_model("efficientnet_b0", num_classes=3))
    assert registry.save("skin", own).architecture == "timm:efficientnet_b0"
    found = registry.load("skin")
    assert pellucid.model_info(found).spec == "timm:efficientnet_b0"
    assert torch.equal(logits(found), logits(own))


class Tied(nn.Module):
    """Two layers of one weight, and a part of another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("part", torch.arange(12.0).view(3, 4)[:, 1:3])


def test_tied_tensors_and_views(registry: ModelRegistry) -> None:
    model = Tied()
    registry.save("tied", model)
    state = registry.checkpoint("tied").state
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class LightningModule(nn.Module):
    """As the package of this name calls it."""


class Training(LightningModule):
    def __init__(self, loss: nn.Module | None = None) -> None:
        super().__init__()
        self.model, self.loss = tiny(), loss or nn.CrossEntropyLoss()


def half_compiled() -> nn.Module:
    model = tiny()
    model[0] = torch.compile(model[0], backend="eager")
    return model


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        lambda model: torch.compile(model, backend="eager"),
        lambda model: nn.DataParallel(torch.compile(model, backend="eager")),
        lambda _: Training(),
        lambda _: half_compiled(),
    ],
)
def test_wrappers_are_left_out(registry: ModelRegistry, wrap: object) -> None:
    registry.save("chest", wrap(tiny()))
    assert registry.checkpoint("chest").state.keys() == tiny().state_dict().keys()


def test_a_lightning_module_with_other_weights_is_saved_whole(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.save("chest", Training(nn.CrossEntropyLoss(weight=torch.ones(3))))
    assert "loss.weight" in registry.checkpoint("chest").state
    with pytest.warns(PellucidWarning, match=r"loss\.weight"):
        found = registry.load("chest", spec=factory(tmp_path))
    assert torch.equal(logits(found), logits(tiny()))


def test_a_network_of_one_s_own(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.save("mine", tiny(5))
    with pytest.raises(
        CheckpointError, match=r"mine@1: .*spec='path/to/file\.py:factory'.*checkpoint='.*mine/1/model"
    ) as error:
        registry.load("mine")
    assert len(str(error.value).splitlines()) == 1
    assert torch.equal(logits(registry.load("mine", spec=factory(tmp_path))), logits(tiny(5)))


def test_saving_changes_nothing_of_the_model(registry: ModelRegistry) -> None:
    model = tiny().train()
    model[1].eval()
    model(torch.ones(1, 3, 8, 8)).sum().backward()
    before = {name: (value.clone(), value._version) for name, value in model.state_dict(keep_vars=True).items()}
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    modes, random = [module.training for module in model.modules()], torch.get_rng_state()
    registry.save("chest", model)
    after = model.state_dict(keep_vars=True)
    assert all(torch.equal(after[name], value) and after[name]._version == v for name, (value, v) in before.items())
    assert all(torch.equal(one, parameter.grad) for one, parameter in zip(gradients, model.parameters(), strict=True))
    assert modes == [module.training for module in model.modules()]
    assert torch.equal(random, torch.get_rng_state())


def test_config_and_metrics_of_many_types(registry: ModelRegistry) -> None:
    metrics = {"auroc": np.float32(0.5), "loss": torch.tensor(float("nan")), "each": torch.ones(2)}
    record = registry.save("chest", tiny(), config=Config(), metrics=metrics)
    assert record.config == {"lr": 0.1, "milestones": [1, 2]}
    assert record.metrics == {"auroc": 0.5, "loss": None, "each": [1.0, 1.0]}
    with pytest.raises(OptionError, match=r"config\['loss'\] is a CrossEntropyLoss"):
        registry.save("chest", tiny(), config={"loss": nn.CrossEntropyLoss()})
    with pytest.raises(OptionError, match="config must be a mapping or a dataclass, got list"):
        registry.save("chest", tiny(), config=[1])
    assert registry.versions("chest") == (1,)


# Versions are never replaced.


def test_a_version_is_never_replaced(registry: ModelRegistry) -> None:
    registry.save("chest", tiny(1), version=3)
    before = tree(registry.root)
    for version in (3, "v3", "3"):
        with pytest.raises(OutputExistsError, match=r"version .*3 of 'chest' is already there.*another version="):
            registry.save("chest", tiny(2), version=version)
    assert tree(registry.root) == before
    assert registry.save("chest", tiny(2)).version == 4


def test_a_folder_that_the_index_does_not_list_is_not_replaced(registry: ModelRegistry) -> None:
    (registry.root / "chest" / "1").mkdir(parents=True)
    (registry.root / "chest" / "1" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"index\.json does not list it"):
        registry.save("chest", tiny())
    assert registry.save("chest", tiny(), version=2).version == 2
    assert (registry.root / "chest" / "1" / "notes.txt").read_text() == "mine"


def test_versions_of_one_kind(registry: ModelRegistry) -> None:
    registry.save("chest", tiny(), version="1.0")
    with pytest.raises(OptionError, match=r"no version was given; those of 'chest' are texts such as '1\.0'"):
        registry.save("chest", tiny())
    with pytest.raises(OptionError, match=r"version=2 was given; those of 'chest' are such as '1\.0'"):
        registry.save("chest", tiny(), version=2)
    with pytest.raises(OptionError, match="has 'chest': give a key that differs in letters"):
        registry.save("Chest", tiny())


def test_what_there_is_not(registry: ModelRegistry) -> None:
    with pytest.raises(SourceError, match="a registry was expected, got no folder"):
        registry.models()
    registry.save("chest", tiny())
    cases = {
        "chest@7": "version 7 of 'chest' was asked for; .* has 1: give one of its versions",
        "chset": "model 'chset' was asked for; .* has none; it has chest; did you mean chest",
    }
    for name, message in cases.items():
        with pytest.raises(SourceError, match=message):
            pellucid.load_model(f"registry:{registry.root}/{name}")
    with pytest.raises(SourceError, match="names a registry; add one of its models"):
        pellucid.load_model(f"registry:{registry.root}")
    with pytest.raises(SourceError, match="give registry:FOLDER/KEY@VERSION"):
        pellucid.load_model("registry:chest")
    with pytest.raises(SourceError, match="a registry's model has its weights"):
        pellucid.load_model(f"registry:{registry.root}/chest", checkpoint=registry.root / "chest/1/model.safetensors")


def test_a_folder_without_an_index_has_no_models(tmp_path: Path) -> None:
    assert ModelRegistry(tmp_path).models() == ()
    with pytest.raises(SourceError, match="and no other"):
        ModelRegistry(tmp_path).load("chest")


@pytest.mark.parametrize("spec", ["C:\\models/chest@2", "C:\\models\\chest@2", "C:/models/chest@2"])
def test_windows_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    """The drive's colon is no part of the prefix. On other systems such a folder may have this name."""
    monkeypatch.chdir(tmp_path)
    root = ModelRegistry(spec[: len("C:\\models")])
    model = pellucid.load_model(SMALL, num_classes=3)
    root.save("chest", model)
    root.save("chest", varied(model))
    found = pellucid.load_model(f"registry:{spec}")
    assert pellucid.model_info(found).registered.endswith("chest@2")
    assert torch.equal(logits(found), logits(model))


def test_a_version_that_is_written_with_a_v(registry: ModelRegistry) -> None:
    registry.save("chest", tiny(), version="v2")
    assert registry.record("chest", 2).version == registry.record("chest", "2").version == "v2"


# Settings and evaluations.


def test_explanation_settings_are_kept(registry: ModelRegistry) -> None:
    settings = ExplanationSettings(
        "integrated_gradients", {"steps": "8"}, ("features.12",), "nodule", "sigmoid", fuse="max"
    )
    registry.save("chest", tiny(), explanation=settings)
    registry.save("chest", tiny())
    assert registry.explanation("chest", 1) == settings
    assert registry.explanation("chest") is None
    assert registry.explanation("chest", 1).build().steps == 8


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": 3},
        {"method": ""},
        {"options": {"steps": 64}},
        {"options": ["steps"]},
        {"layers": "layer4"},
        {"layers": (1,)},
        {"target": True},
        {"target": 0.5},
        {"head": "soft"},
        {"fuse": None},
    ],
)
def test_settings_of_other_types(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        ExplanationSettings(**wrong)


def test_an_evaluation_is_kept(registry: ModelRegistry, tmp_path: Path) -> None:
    folder = scores(tmp_path / "evaluated")
    registry.save("chest", tiny(), evaluation=folder)
    record = registry.record("chest")
    assert record.kept["evaluation"]["verdicts"] == {"gradcam": "better than every prior"}
    found = registry.evaluation("chest")
    assert found.path == registry.root / "chest/1/scores.json"
    assert found.path.read_bytes() == (folder / "scores.json").read_bytes()
    assert (found.primary, found.verdicts) == ("pointing_game", {"gradcam": "better than every prior"})
    registry.save("chest", tiny())
    assert registry.evaluation("chest") is None
    found.path.write_bytes(found.path.read_bytes().replace(b"better", b"worser"))
    with pytest.raises(DataError, match="missing or was changed"):
        registry.evaluation("chest", 1)
    found.path.unlink()
    with pytest.raises(DataError, match="missing or was changed"):
        registry.evaluation("chest", 1)


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", "[" * 100_000, '{"primary": 3, "rows": []}'])
def test_what_is_no_evaluation(registry: ModelRegistry, tmp_path: Path, content: str) -> None:
    (tmp_path / "scores.json").write_text(content)
    with pytest.raises(DataError, match="an evaluation was expected, got other content"):
        registry.save("chest", tiny(), evaluation=tmp_path)
    with pytest.raises(DataError, match="an evaluation was expected, got no such file"):
        registry.save("chest", tiny(), evaluation=tmp_path / "none.json")
    assert not registry.root.exists()


SETTINGS = ExplanationSettings("saliency", target=2)


@pytest.fixture
def kept(registry: ModelRegistry) -> ModelRegistry:
    """A registry with two versions that were saved without settings."""
    registry.save("chest", tiny(), metrics={"auroc": 0.9})
    registry.save("chest", tiny(1))
    return registry


def test_settings_and_an_evaluation_are_attached_later(kept: ModelRegistry, tmp_path: Path) -> None:
    before = tree(kept.root)
    assert kept.attach("chest", 1, explanation=SETTINGS).name == "chest@1"
    kept.attach("chest", 1, evaluation=scores(tmp_path / "evaluated"))
    assert kept.explanation("chest", 1) == SETTINGS
    assert kept.evaluation("chest", 1).verdicts == {"gradcam": "better than every prior"}
    assert (kept.explanation("chest"), kept.evaluation("chest")) == (None, None)
    record = kept.record("chest", 1)
    assert (record.metrics, record.kept["sha256"]) == (
        {"auroc": 0.9},
        json.loads(before["index.json"])["models"]["chest"][0]["extra_state"]["pellucid"]["sha256"],
    )
    after = tree(kept.root)
    assert set(after) - set(before) == {"chest/1/scores.json"}
    assert all(after[name] == content for name, content in before.items() if name != "index.json")
    assert torch.equal(logits(kept.load("chest", 1, spec=factory(tmp_path))), logits(tiny()))


def test_the_latest_version_is_the_one_that_is_attached_to(kept: ModelRegistry) -> None:
    assert kept.attach("chest", explanation=SETTINGS).version == 2
    assert kept.explanation("chest", 2) == SETTINGS


def test_what_is_attached_is_never_replaced(kept: ModelRegistry, tmp_path: Path) -> None:
    evaluated, other = scores(tmp_path / "evaluated"), scores(tmp_path / "other", "not shown")
    kept.attach("chest", explanation=SETTINGS, evaluation=evaluated)
    before = tree(kept.root)
    kept.attach("chest", explanation=SETTINGS, evaluation=evaluated)
    for given in ({"explanation": ExplanationSettings()}, {"evaluation": other}):
        with pytest.raises(OutputExistsError, match=r"chest@2 has another \w+ already, which is not replaced"):
            kept.attach("chest", **{"explanation": SETTINGS, **given})
    assert tree(kept.root) == before
    with pytest.raises(OutputExistsError):
        kept.attach("chest", 1, explanation=SETTINGS) and kept.attach("chest", 1, explanation=ExplanationSettings())


def test_a_file_that_is_in_the_way_stays(kept: ModelRegistry, tmp_path: Path) -> None:
    (kept.root / "chest/2/scores.json").write_text("mine")
    with pytest.raises(OutputExistsError, match="does not list it"):
        kept.attach("chest", evaluation=scores(tmp_path / "evaluated"))
    assert (kept.root / "chest/2/scores.json").read_text() == "mine"
    assert kept.evaluation("chest") is None


def test_a_version_of_the_trainer_keeps_all_that_it_had(tmp_path: Path) -> None:
    trainer = Published(tmp_path / "models")
    trainer.save("chest", tiny(), {"lr": 0.1}, extra_state={"mine": [1]})
    first = trainer.models["chest"][0]
    registry = ModelRegistry(tmp_path / "models")
    registry.attach("chest", explanation=SETTINGS, evaluation=scores(tmp_path / "evaluated"))
    (record,) = Published(tmp_path / "models").models["chest"]
    assert (record.extra_state["mine"], registry.explanation("chest")) == ([1], SETTINGS)
    assert dataclasses.replace(record, extra_state=None) == dataclasses.replace(first, extra_state=None)
    assert registry.evaluation("chest").path == registry.root / "chest/1/scores.json"


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ({}, OptionError, "nothing was given to attach"),
        ({"explanation": "gradcam"}, OptionError, r"must be pellucid\.ExplanationSettings"),
        ({"explanation": SETTINGS, "version": 3}, SourceError, "version 3 of 'chest' was asked for"),
        ({"evaluation": "nowhere"}, DataError, "an evaluation was expected"),
    ],
)
def test_what_cannot_be_attached(
    kept: ModelRegistry, given: dict[str, object], error: type[Exception], reason: str
) -> None:
    before = tree(kept.root)
    with pytest.raises(error, match=reason):
        kept.attach("chest", **given)
    assert tree(kept.root) == before


@pytest.mark.parametrize("extra", [[1], "text", {"pellucid": 3}])
def test_a_record_without_a_place_for_it(tmp_path: Path, extra: object) -> None:
    registry = indexed(tmp_path, recorded("chest.pt", extra_state=extra))
    with pytest.raises(CheckpointError, match="extra_state of chest@1 is no object"):
        registry.attach("chest", explanation=SETTINGS)


def test_a_name_that_is_no_folder_has_settings_and_no_evaluation(tmp_path: Path) -> None:
    registry = indexed(tmp_path / "models", recorded("chest.pt"), key="../chest")
    registry.attach("../chest", explanation=SETTINGS)
    assert registry.explanation("../chest") == SETTINGS
    with pytest.raises(OptionError, match="it names a folder"):
        registry.attach("../chest", evaluation=scores(tmp_path / "evaluated"))


def test_nothing_is_made_where_no_registry_is(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="got no folder"):
        ModelRegistry(tmp_path / "none").attach("chest", explanation=SETTINGS)
    assert not (tmp_path / "none").exists()


# The published trainer.


def test_what_the_published_trainer_wrote(tmp_path: Path) -> None:
    trainer = Published(tmp_path / "models")
    model = varied(torchvision.models.squeezenet1_1(num_classes=3))
    more = {"model": {"name": "squeezenet1_1"}, "classes": ["effusion", "nodule", "none"], "loss": "bce"}
    trainer.save("chest", model, {**more, "image_size": 96, "mean": [0.5] * 3, "std": [0.25] * 3})
    trainer.save("chest", varied(model, seed=2), metrics={"auroc": 0.9})
    registry = ModelRegistry(tmp_path / "models")
    assert registry.versions("chest") == (1, 2)
    assert torch.equal(logits(registry.load("chest")), logits(model))
    info = pellucid.model_info(registry.load("chest", 1))
    assert (info.classes, info.head) == (("effusion", "nodule", "none"), "sigmoid")
    assert (info.preprocessing.resize, info.preprocessing.mean) == ((96, 96), (0.5,) * 3)


def test_it_reads_and_writes_on_after_us(tmp_path: Path) -> None:
    root = tmp_path / "models"
    Published(root).save("chest", tiny(), {"lr": 0.1})
    first = json.loads((root / "index.json").read_text())
    registry = ModelRegistry(root)
    settings = ExplanationSettings(layers=("0",))
    registry.save("chest", tiny(1), explanation=settings)
    trainer = Published(root)
    assert trainer.versions("chest") == [1, 2]
    assert json.loads((root / "index.json").read_text())["models"]["chest"][0] == first["models"]["chest"][0]
    assert trainer.save("chest", tiny(2)).version == 3
    assert registry.versions("chest") == (1, 2, 3)
    assert registry.explanation("chest", 2) == settings
    assert torch.equal(logits(registry.load("chest", 2, spec=factory(tmp_path))), logits(tiny(1)))


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    record = recorded("chest.pt", 1, lineage={"parent": None}, metrics={"auroc": float("nan")})
    registry = indexed(tmp_path, record, owner="ward 3")
    registry.save("chest", tiny())
    registry.save("skin", tiny())
    content = json.loads((tmp_path / "index.json").read_text())
    assert json.dumps(content["models"]["chest"][0]) == json.dumps(record)
    assert (content["owner"], list(content["models"])) == ("ward 3", ["chest", "skin"])


def test_an_index_of_the_first_form(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps({"chest": [recorded("chest.pt")]}))
    registry = ModelRegistry(tmp_path)
    assert registry.versions("chest") == (1,)
    registry.save("chest", tiny())
    content = json.loads((tmp_path / "index.json").read_text())
    assert (list(content), len(content["chest"])) == (["chest"], 2)
    assert registry.versions("chest") == (1, 2)


# Where the files are.


@pytest.mark.parametrize(
    ("stated", "stored", "warns"),
    [
        ("chest.pt", "chest.pt", False),
        ("runs/a/chest.pt", "runs/a/chest.pt", False),
        ("runs\\a\\chest.pt", "runs/a/chest.pt", False),
        ("./chest.pt", "chest.pt", False),
        ("models/chest.pt", "chest.pt", True),
        ("/home/someone/models/runs/a/chest.pt", "runs/a/chest.pt", True),
        ("D:\\models\\a\\chest.pt", "a/chest.pt", True),
        ("\\\\server\\share\\models\\a\\chest.pt", "a/chest.pt", True),
    ],
)
def test_paths_of_other_machines(tmp_path: Path, stated: str, stored: str, warns: bool) -> None:
    root = tmp_path / "models"
    (root / stored).parent.mkdir(parents=True)
    torch.save({"model_state": tiny(4).state_dict()}, root / stored)
    registry = indexed(root, recorded(stated))
    spec = factory(tmp_path)
    if warns:
        with pytest.warns(PellucidWarning, match=f"{stored} is read"):
            found = registry.load("chest", spec=spec)
    else:
        found = registry.load("chest", spec=spec)
    assert torch.equal(logits(found), logits(tiny(4)))


def test_the_longest_path_that_is_there_is_taken(tmp_path: Path) -> None:
    for folder, seed in (("", 1), ("a", 2)):
        (tmp_path / folder).mkdir(exist_ok=True)
        torch.save(tiny(seed).state_dict(), tmp_path / folder / "chest.pt")
    with pytest.warns(PellucidWarning, match="a/chest.pt is read"):
        found = indexed(tmp_path, recorded("/x/a/chest.pt")).load("chest", spec=factory(tmp_path))
    assert torch.equal(logits(found), logits(tiny(2)))


def test_a_file_of_another_version_is_not_taken(tmp_path: Path) -> None:
    content = {"model_state": tiny().state_dict(), "model_key": "chest", "version": 1}
    torch.save(content, tmp_path / "chest.pt")
    registry = indexed(tmp_path, recorded("chest.pt", 1), recorded("chest.pt", 2))
    spec = factory(tmp_path)
    registry.load("chest", 1, spec=spec)
    with pytest.raises(CheckpointError, match="the file of chest@2 states that it is chest@1"):
        registry.load("chest", 2, spec=spec)
    torch.save({**content, "model_key": "skin"}, tmp_path / "chest.pt")
    with pytest.raises(CheckpointError, match="the file of chest@1 states that it is skin@1"):
        registry.load("chest", 1, spec=spec)


def test_a_saved_file_that_was_changed_is_not_taken(registry: ModelRegistry, tmp_path: Path) -> None:
    registry.save("chest", tiny(1))
    registry.save("chest", tiny(2))
    first, second = (registry.root / f"chest/{version}/model.safetensors" for version in (1, 2))
    first.write_bytes(second.read_bytes())
    with pytest.raises(CheckpointError, match="chest@1 was saved with other bytes"):
        registry.load("chest", 1, spec=factory(tmp_path))


def test_one_broken_version_leaves_the_others(tmp_path: Path) -> None:
    torch.save(tiny(1).state_dict(), tmp_path / "good.pt")
    (tmp_path / "cut.pt").write_bytes((tmp_path / "good.pt").read_bytes()[:300])
    broken = [recorded(None, 2), recorded("none.pt", 3), recorded("cut.pt", 4), recorded(["good.pt"], 5)]
    registry = indexed(tmp_path, recorded("good.pt", 1), *broken, recorded("good.pt", 6))
    assert registry.versions("chest") == (1, 2, 3, 4, 5, 6)
    spec = factory(tmp_path)
    for version in (1, 6, "latest"):
        assert torch.equal(logits(registry.load("chest", version, spec=spec)), logits(tiny(1)))
    for version in (2, 3, 4, 5):
        with pytest.raises(CheckpointError) as error:
            registry.load("chest", version, spec=spec)
        assert len(str(error.value).splitlines()) == 1


def test_a_record_without_a_version_is_left_out(tmp_path: Path) -> None:
    wrong = [None, 3, {}, recorded("a.pt", True), recorded("a.pt", -1), recorded("a.pt", 1.5), recorded("a.pt", "")]
    registry = indexed(tmp_path, *wrong, recorded("a.pt", 1), recorded("a.pt", "x" * 300))
    with pytest.warns(PellucidWarning, match="has no version, and is left out") as caught:
        assert registry.versions("chest") == (1,)
    assert len(caught) == len(wrong) + 1


def test_a_version_that_is_there_twice(tmp_path: Path) -> None:
    registry = indexed(tmp_path, recorded("a.pt"), recorded("b.pt"))
    with pytest.raises(CheckpointError, match=r"chest@1 is in index\.json 2 times"):
        registry.load("chest")


# What cannot be written.


@pytest.mark.parametrize(
    ("step", "number"), [*(("fsync", number) for number in (1, 2, 3)), ("rename", 1), ("replace", 1)]
)
def test_a_save_that_fails_leaves_nothing(
    registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    registry.save("chest", tiny())
    before = tree(registry.root)
    real, calls = getattr(os, step), iter(range(1, 100))

    def failing(*arguments: object, **more: object) -> object:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, step, failing)
        with pytest.raises(DiskFullError, match="No space left on device"):
            registry.save("skin", tiny(1))
    assert tree(registry.root) == before
    assert registry.save("skin", tiny(1)).version == 1


def test_a_registry_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")
    with pytest.raises(WriteError, match="cannot be written to"):
        ModelRegistry(tmp_path / "models").save("chest", tiny())


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Linear(2, 2, device="meta")])
def test_a_model_without_weights(registry: ModelRegistry, model: nn.Module) -> None:
    with pytest.raises(CheckpointError, match="which has no weights"):
        registry.save("chest", model)
    assert not registry.root.exists()
