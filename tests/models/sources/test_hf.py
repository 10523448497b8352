"""Models of transformers. Nothing is downloaded."""

import json
import os

import pytest
import safetensors.torch
import torch

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import CheckpointError, PellucidWarning, SourceError
from pellucid.models.checkpoints.reference import describe, weightless
from pellucid.models.sources import hf as hf_source
from pellucid.models.sources import load_model, model_info
from pellucid.models.sources.finding import find
from tests.models.sources.helpers import drawn, holds, noise, one_line

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
LABELS = {0: "well", 1: "ill", 2: "blurred"}


def tiny(transformers, **settings):
    config = transformers.AutoConfig.for_model("vit", **TINY, **settings)
    with torch.random.fork_rng(devices=[]):
        return transformers.AutoModelForImageClassification.from_config(config).eval()


@pytest.fixture
def folder(transformers, tmp_path):
    """A checkpoint as transformers saves it: configuration, weights, image processor."""
    model = tiny(transformers, id2label=LABELS, label2id={name: index for index, name in LABELS.items()})
    model.load_state_dict(drawn(model))
    model.save_pretrained(tmp_path / "mine")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "mine")
    return tmp_path / "mine"


def test_hf_folder_with_its_weights(transformers, folder):
    model = load_model(f"hf:{folder}", weights="default")
    assert holds(model, drawn(model))
    assert not model.training
    info = model_info(model)
    assert (info.classes, info.head, info.weights) == (("well", "ill", "blurred"), None, "default")
    assert (info.preprocessing.resize, info.preprocessing.crop, info.preprocessing.mean) == ((32, 32), None, (0.5,) * 3)
    pixels = torch.rand(3, 50, 70, generator=torch.Generator().manual_seed(0))
    prepared = pellucid.prepare(model, Image(pixels, pixels, Geometry.identity((50, 70))))
    explanation = pellucid.explain(model, prepared.values[None], targets="ill")
    assert explanation.heatmaps.shape == (1, 1, 32, 32)
    assert explanation.classes == ("well", "ill", "blurred")


def test_hf_folder_without_its_weights(folder):
    (folder / "model.safetensors").unlink()
    before = torch.get_rng_state()
    first, second = (load_model(f"hf:{folder}") for _ in range(2))
    assert holds(first, second.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert model_info(first).classes == ("well", "ill", "blurred")
    assert model_info(first).weights == "random"
    with pytest.raises(SourceError, match="could not be loaded") as error:
        load_model(f"hf:{folder}", weights="default")
    assert one_line(error)


def test_hf_another_number_of_classes(folder):
    for weights in ("none", "default"):
        model = load_model(f"hf:{folder}", weights=weights, num_classes=5)
        assert model(torch.zeros(1, 3, 32, 32)).logits.shape == (1, 5)
        assert model_info(model).classes is None


def test_hf_weights_without_a_head(transformers, folder):
    """As of a backbone: what was never trained to classify would answer at random."""
    state = safetensors.torch.load_file(folder / "model.safetensors")
    rest = {key: value for key, value in state.items() if not key.startswith("classifier.")}
    safetensors.torch.save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.warns(PellucidWarning, match=r"no weights for classifier\.bias, classifier\.weight; they are random"):
        load_model(f"hf:{folder}", weights="default")


@pytest.mark.parametrize("names", ["saved", "own"])
def test_hf_checkpoint(transformers, folder, tmp_path, names):
    """The file that transformers saves has other names than the model, since version 5."""
    own = tiny(transformers, num_labels=4, num_channels=1)
    state = drawn(own)
    own.load_state_dict(state)
    if names == "saved":
        own.save_pretrained(tmp_path / "other")
        file = tmp_path / "other" / "model.safetensors"
    else:
        file = tmp_path / "own.safetensors"
        safetensors.torch.save_file(state, file)
    model = load_model(f"hf:{folder}", file)
    assert holds(model, state)
    info = model_info(model)
    assert (info.classes, info.weights, info.preprocessing.channels) == (None, "checkpoint", 1)
    assert info.assumed == ()  # the folder's processor states it
    assert torch.equal(model(noise(1, 1, 32, 32)).logits, own(noise(1, 1, 32, 32)).logits)


def test_hf_checkpoint_of_the_same_classes(folder):
    assert model_info(load_model(f"hf:{folder}", folder / "model.safetensors")).classes == tuple(LABELS.values())


def test_hf_checkpoint_of_a_type(transformers, tmp_path):
    own = load_model("hf:mobilenet_v2", num_classes=7)
    own.save_pretrained(tmp_path / "saved")
    model = load_model("hf:mobilenet_v2", tmp_path / "saved" / "model.safetensors")
    assert holds(model, own.state_dict())
    with pytest.raises(CheckpointError, match="do not fit") as error:
        load_model("hf:resnet", tmp_path / "saved" / "model.safetensors")
    assert one_line(error)


def test_hf_types(transformers):
    model = load_model("hf:mobilenet_v2", num_classes=5)
    assert model(torch.zeros(1, 3, 64, 64)).logits.shape == (1, 5)
    info = model_info(model)
    assert (info.classes, info.head, info.preprocessing, info.weights) == (None, None, None, "random")


def test_hf_outlines_say_where_the_head_is(transformers):
    """So that the sizes come from the weights, whatever the type."""
    source, _ = find("hf:vit")
    types = ("beit", "clip", "convnext", "dinov2", "levit", "perceiver", "pvt", "regnet", "siglip", "swin", "textnet")
    for name in types:
        request = pellucid.models.sources.base.ModelRequest(name, num_classes=11)
        reference = describe(name, source.outline(request))
        assert reference.shapes[f"{reference.heads[0]}.weight"][0] == 11, name
        assert reference.shapes[f"{reference.first}.weight"][1] == 3, name
    with weightless():
        narrow = source.outline(pellucid.models.sources.base.ModelRequest("siglip", in_channels=1))
    assert narrow.vision_model.embeddings.patch_embedding.in_channels == 1


def test_hf_several_labels(transformers, tmp_path):
    tiny(transformers, problem_type="multi_label_classification").save_pretrained(tmp_path / "multi")
    info = model_info(load_model(f"hf:{tmp_path}/multi"))
    assert (info.head, info.classes) == ("sigmoid", None)


@pytest.mark.parametrize(
    ("spec", "weights", "text"),
    [
        ("hf:vitt", "none", r"did you mean vit\b"),
        ("hf:vit", "default", "name a checkpoint such as hf:google/vit-base-patch16-224"),
        ("hf:imagegpt", "none", "ImageGPTForImageClassification takes input_ids.*and not images alone"),
        ("hf:siglip2", "none", "spatial_shapes and not images alone"),
        ("hf:shieldgemma2", "none", "not images alone"),
        ("hf:/nowhere/at/all", "none", r"its config\.json could not be read"),
    ],
)
def test_hf_errors(transformers, spec, weights, text):
    with pytest.raises(SourceError, match=text) as error:
        load_model(spec, weights=weights)
    assert one_line(error)


def test_hf_refuses_other_models_and_foreign_code(transformers, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(SourceError, match=r"of type bert.*no image classifier") as error:
        load_model(f"hf:{tmp_path}")
    assert one_line(error)
    ran = tmp_path / "ran"
    (tmp_path / "code.py").write_text(f"open({str(ran)!r}, 'w').close()")
    settings = {"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    for weights in ("none", "default"):
        with pytest.raises(SourceError, match="could not be read") as error:
            load_model(f"hf:{tmp_path}", weights=weights)
        assert one_line(error)
    assert not ran.exists()


def test_hf_reads_no_pickles(transformers, folder):
    (folder / "model.safetensors").unlink()
    torch.save(drawn(tiny(transformers)), folder / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"could not be loaded.*safetensors"):
        load_model(f"hf:{folder}", weights="default")


@pytest.mark.parametrize("kept", [None, "0"])
def test_hf_from_the_hub(transformers, monkeypatch, kept):
    """The downloads are left out: what they are asked for is looked at."""
    asked = {}

    def config_of(name, **options):
        asked["config"] = (name, options)
        return transformers.AutoConfig.for_model("vit", **TINY, num_labels=options.get("num_labels", 2))

    def weights_of(name, **options):
        asked["weights"] = (name, options, os.environ.get("DISABLE_SAFETENSORS_CONVERSION"))
        made = transformers.AutoModelForImageClassification.from_config(options["config"])
        return made.half(), {"missing_keys": set()}

    def processor_of(name, **options):
        asked["processor"] = (name, options)
        raise OSError("there is none")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", config_of)
    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", weights_of)
    monkeypatch.setattr(transformers.AutoImageProcessor, "from_pretrained", processor_of)
    if kept is None:
        monkeypatch.delenv("DISABLE_SAFETENSORS_CONVERSION", raising=False)
    else:
        monkeypatch.setenv("DISABLE_SAFETENSORS_CONVERSION", kept)
    model = load_model("hf:someone/net", weights="default", num_classes=6)
    assert asked["config"] == ("someone/net", {"trust_remote_code": False, "num_labels": 6})
    name, options, quiet = asked["weights"]
    assert (name, quiet) == ("someone/net", "1")
    assert os.environ.get("DISABLE_SAFETENSORS_CONVERSION") == kept
    wanted = {"use_safetensors": True, "trust_remote_code": False, "ignore_mismatched_sizes": True}
    assert wanted.items() <= options.items()
    assert asked["processor"] == ("someone/net", {"trust_remote_code": False})
    assert next(model.parameters()).dtype == torch.float32
    assert model_info(model).preprocessing is None
    del asked["processor"]
    load_model("hf:someone/net")
    assert "processor" not in asked


def test_hf_downloads_that_fail(transformers, monkeypatch):
    def fail(*_, **__):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", fail)
    with pytest.raises(SourceError, match=r"config.json could not be read.*no network") as error:
        load_model("hf:someone/net")
    assert one_line(error)
    monkeypatch.setattr(
        transformers.AutoConfig, "from_pretrained", lambda *_, **__: transformers.AutoConfig.for_model("vit", **TINY)
    )
    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_pretrained", fail)
    with pytest.raises(SourceError, match=r"could not be loaded.*no network") as error:
        load_model("hf:someone/net", weights="default")
    assert one_line(error)


READINGS = [
    ("ViT", {}, ((224, 224), None)),
    ("CLIP", {}, (224, (224, 224))),
    ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}, (256, (224, 224))),
    ("ConvNext", {"size": {"shortest_edge": 384}}, ((384, 384), None)),
    ("Levit", {}, (256, (224, 224))),
    ("PoolFormer", {}, (248, (224, 224))),
    ("MobileViT", {}, None),  # blue comes first
    ("EfficientNet", {}, None),  # normalises twice
]


@pytest.mark.parametrize(("name", "settings", "wanted"), READINGS)
def test_hf_image_processors(transformers, name, settings, wanted):
    processor = getattr(transformers, f"{name}ImageProcessor")(**settings)
    found = pellucid.models.stated_preprocessing.from_transformers(processor, "here")
    assert wanted == (None if found is None else (found.resize, found.crop))


def test_hf_image_processors_that_are_not_understood(folder, monkeypatch):
    monkeypatch.setattr(hf_source, "from_transformers", lambda *_: {}["pixel_values"])
    assert model_info(load_model(f"hf:{folder}")).preprocessing is None


def test_hf_image_processor_that_only_scales(transformers):
    processor = transformers.ViTImageProcessor(do_resize=False, do_normalize=False)
    found = pellucid.models.stated_preprocessing.from_transformers(processor, "here")
    assert (found.resize, found.crop, found.mean, found.std) == (None, None, None, None)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": "big"},
        {"hidden_size": -4},
        {"patch_size": 0},
        {"hidden_act": "nope"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_hf_configurations_that_make_no_model(transformers, tmp_path, change):
    config = {"model_type": "vit", **TINY, "architectures": ["ViTForImageClassification"], **change}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SourceError) as caught:
        load_model(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)
