"""Models of transformers, torchxrayvision and MONAI, and torchvision's of videos. Nothing is downloaded."""

import json
import os
import pickle
import sys
import warnings

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import CheckpointError, MissingPackageError, PellucidWarning, SourceError
from pellucid.models.checkpoints.reference import describe, weightless
from pellucid.models.sources import hf as hf_source
from pellucid.models.sources import load_model, model_info
from pellucid.models.sources import monai as monai_source
from pellucid.models.sources import xrv as xrv_source
from pellucid.models.sources.base import package
from pellucid.models.sources.loading import find

TINY = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 8,
}
LABELS = {0: "well", 1: "ill", 2: "blurred"}


def optional(name):
    try:
        return package(name, "a test")
    except MissingPackageError:
        pytest.skip(f"{name} is not installed")


@pytest.fixture
def transformers():
    library = optional("transformers")
    library.utils.logging.disable_progress_bar()
    return library


@pytest.fixture
def xrv():
    return optional("torchxrayvision")


@pytest.fixture
def monai():
    return optional("monai.networks.nets")


def drawn(model, seed=1):
    """Weights for a model, other than it was made with."""
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    return {
        key: torch.randn(value.shape, generator=generator).abs() * 0.05 if value.is_floating_point() else value
        for key, value in state.items()
    }


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def holds(model, state):
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


def one_line(error):
    return "\n" not in str(error.value)


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
        order = pellucid.models.sources.base.Order(name, num_classes=11)
        reference = describe(name, source.outline(order))
        assert reference.shapes[f"{reference.heads[0]}.weight"][0] == 11, name
        assert reference.shapes[f"{reference.first}.weight"][1] == 3, name
    with weightless():
        narrow = source.outline(pellucid.models.sources.base.Order("siglip", in_channels=1))
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
    found = pellucid.models.preprocessing.from_transformers(processor, "here")
    assert wanted == (None if found is None else (found.resize, found.crop))


def test_hf_image_processors_that_are_not_understood(folder, monkeypatch):
    monkeypatch.setattr(hf_source, "from_transformers", lambda *_: {}["pixel_values"])
    assert model_info(load_model(f"hf:{folder}")).preprocessing is None


def test_hf_image_processor_that_only_scales(transformers):
    processor = transformers.ViTImageProcessor(do_resize=False, do_normalize=False)
    found = pellucid.models.preprocessing.from_transformers(processor, "here")
    assert (found.resize, found.crop, found.mean, found.std) == (None, None, None, None)


def saved_module(path, name, legacy=False):
    """Weights as torchxrayvision publishes them: the whole DenseNet pickled, the ResNet's state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = xrv_source._bare(name, 18, 1).eval()
    first = model.get_parameter("features.conv0.weight" if name == "densenet121" else "conv1.weight")
    with torch.no_grad():
        first.mul_(1e-3)  # so that pixels of 1024 bring logits of about 1
    content = model if name == "densenet121" else model.state_dict()
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return model


@pytest.fixture
def published(xrv, tmp_path, monkeypatch):
    """The downloads are left out: the files are there."""

    def make(name="densenet121", **options):
        path = tmp_path / f"{name}.pt"
        model = saved_module(path, name, **options)
        monkeypatch.setattr(xrv.models, "get_weights", lambda *_, **__: str(path))
        return model

    return make


@pytest.mark.parametrize("legacy", [True, False])
def test_xrv_densenet_answers_logits(xrv, published, legacy):
    published(legacy=legacy)
    model = load_model("xrv:densenet121-res224-all", weights="default")
    original = xrv.models.DenseNet(weights="densenet121-res224-all").eval()
    images = (noise(2, 1, 224, 224) * 400).clamp(-1024, 1024)
    with torch.no_grad():
        logits, calibrated = model(images), original(images)
        normed = xrv.models.op_norm(logits.sigmoid(), original.op_threshs)
        original.op_threshs, original.apply_sigmoid = None, True
        probabilities = original(images)
    assert torch.allclose(normed, calibrated, atol=1e-6)
    assert torch.allclose(logits.sigmoid(), probabilities, atol=1e-6)
    assert torch.allclose(logits, probabilities.logit(), atol=1e-4)
    assert logits.std() > 0.01


def test_xrv_resnet_answers_logits(xrv, published):
    published("resnet50")
    model = load_model("xrv:resnet50-res512-all", weights="default")
    original = xrv.models.ResNet(weights="resnet50-res512-all").eval()
    images = (noise(1, 1, 512, 512) * 400).clamp(-1024, 1024)
    with torch.no_grad():
        logits, calibrated = model(images), original(images)
    assert torch.allclose(xrv.models.op_norm(logits.sigmoid(), original.op_threshs), calibrated, atol=1e-6)
    assert logits.std() > 0.01
    assert logits.isfinite().all()
    assert calibrated.std() > 0.1
    assert model_info(model).preprocessing.crop == (512, 512)


def test_xrv_info(xrv):
    model = load_model("xrv:densenet121-res224-rsna")
    info = model_info(model)
    assert (len(info.classes), len(set(info.classes)), info.head) == (18, 18, "sigmoid")
    assert (info.classes[0], info.classes[8], info.classes[16]) == ("class 0", "Pneumonia", "Lung Opacity")
    assert model_info(load_model("xrv:densenet121-res224-rsna", num_classes=3)).classes is None
    bare = model_info(load_model("xrv:densenet121"))
    assert (bare.classes, bare.head, bare.weights) == (None, "sigmoid", "random")


def test_xrv_preprocessing(xrv):
    model = load_model("xrv:densenet121-res224-all")
    pixels = torch.linspace(0, 1, 300).expand(1, 224, 300).contiguous()
    prepared = pellucid.prepare(model, Image(pixels, pixels, Geometry.identity((224, 300))))
    assert prepared.values.shape == (1, 224, 224)
    assert torch.allclose(prepared.values, (2 * pixels[:, :, 38:262] - 1) * 1024, atol=1e-3)
    expected = model_info(model).preprocessing
    assert expected.range_warning(torch.linspace(-1024, 1024, 100).reshape(1, 1, 10, 10)) is None
    assert "unnormalised" in expected.range_warning(torch.linspace(0, 1, 100).reshape(1, 1, 10, 10))
    assert "Hounsfield" in expected.range_warning(torch.linspace(0, 65535, 100).reshape(1, 1, 10, 10))


def test_xrv_another_number_of_classes(published):
    own = published()
    model = load_model("xrv:densenet121-res224-all", weights="default", num_classes=3)
    assert model.classifier.out_features == 3
    assert torch.equal(model.features.conv0.weight, own.features.conv0.weight)


@pytest.mark.parametrize("name", ["densenet121", "resnet50"])
def test_xrv_checkpoint(xrv, published, tmp_path, name):
    """As torchxrayvision's own models give their state: with operating points, the ResNet's within a wrapper."""
    published(name)
    weights = {"densenet121": "densenet121-res224-all", "resnet50": "resnet50-res512-all"}[name]
    original = xrv.models.get_model(weights)
    file = tmp_path / "state.safetensors"
    safetensors.torch.save_file({key: value.contiguous() for key, value in original.state_dict().items()}, file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(f"xrv:{weights}", file)
    assert model_info(model).classes[0] == "Atelectasis"
    inner = original if name == "densenet121" else original.model
    own = dict(inner.named_parameters())
    assert all(torch.equal(value, own[key]) for key, value in model.named_parameters())


def test_xrv_checkpoint_of_other_sizes(xrv, tmp_path):
    own = xrv_source._bare("densenet121", 4, 3)
    file = tmp_path / "a.pt"
    torch.save(own.state_dict(), file)
    model = load_model("xrv:densenet121", file)
    assert holds(model, own.state_dict())
    assert model_info(model).preprocessing.channels == 3


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("legacy", [True, False])
def test_xrv_runs_nothing_from_a_file(xrv, tmp_path, monkeypatch, legacy):
    model = nn.Linear(1, 1)
    model.evil = Evil(str(tmp_path / "ran"))
    path = tmp_path / "evil.pt"
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.setattr(xrv.models, "get_weights", lambda *_, **__: str(path))
    with pytest.raises(SourceError, match=r"could not be loaded.*do not fit") as error:
        load_model("xrv:densenet121-res224-all", weights="default")
    assert one_line(error)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps(Evil(str(tmp_path / "ran"))))
    with pytest.raises(SourceError, match="could not be loaded"):
        load_model("xrv:densenet121-res224-all", weights="default")
    assert not (tmp_path / "ran").exists()


def test_xrv_weights_that_hold_themselves(tmp_path):
    """A module within itself, as no honest file has it, ends."""
    model = nn.Sequential(nn.Linear(2, 2))
    model._modules["again"] = model
    torch.save(model, tmp_path / "a.pt")
    assert set(xrv_source._read(tmp_path / "a.pt")) == {"0.weight", "0.bias"}


@pytest.mark.parametrize(
    ("spec", "weights", "text"),
    [
        ("xrv:densenet121-res224-al", "none", "did you mean densenet121-res224-all"),
        ("xrv:all", "none", "no model of torchxrayvision"),
        ("xrv:densenet121", "default", "name weights such as xrv:densenet121-res224-all"),
        ("xrv:resnet50", "default", "name weights such as xrv:resnet50-res512-all"),
        ("monai:densenet12", "none", "did you mean densenet121"),
        ("monai:densenet121-4d", "none", "did you mean densenet121-3d"),
        ("monai:densenet121-3d", "default", "no weights of whole classifiers"),
        ("monai:nothing", "default", "no classification network of MONAI"),
    ],
)
def test_errors_of_the_medical_sources(xrv, monai, spec, weights, text):
    with pytest.raises(SourceError, match=text) as error:
        load_model(spec, weights=weights)
    assert one_line(error)


def test_xrv_downloads_that_fail(xrv, monkeypatch):
    def fail(*_, **__):
        sys.stdout.write("Downloading…")
        raise OSError("no\nnetwork")

    monkeypatch.setattr(xrv.models, "get_weights", fail)
    with pytest.raises(SourceError, match=r"could not be loaded.*no network") as error:
        load_model("xrv:densenet121-res224-all", weights="default")
    assert one_line(error)


def test_xrv_download_says_nothing_in_the_answer(xrv, published, monkeypatch, capsys):
    published()
    path = xrv.models.get_weights("")

    def loud(*_, **__):
        sys.stdout.write("Downloading…")
        return path

    monkeypatch.setattr(xrv.models, "get_weights", loud)
    load_model("xrv:densenet121-res224-all", weights="default")
    assert capsys.readouterr().out == ""


MONAI = {
    "densenet121": (1, 64, 64),
    "densenet121-3d": (1, 32, 32, 32),
    "resnet10": (1, 64, 64),
    "ResNet10-3D": (1, 32, 32, 32),
    "seresnet50": (1, 64, 64),
    "efficientnet-b0": (1, 64, 64),
    "efficientnet-b0-3d": (1, 32, 32, 32),
    "vit-2d": (1, 224, 224),
}


def needs_einops(name):
    if name.startswith("vit"):
        pytest.importorskip("einops")


@pytest.mark.parametrize("name", MONAI)
def test_monai_answers_logits(monai, name):
    """No activation comes after the head: what is added to its bias comes out."""
    needs_einops(name)
    model = load_model(f"monai:{name}", num_classes=3)
    head = model.get_submodule(describe("", model).heads[0])
    with torch.no_grad():
        answers = []
        for extra in (0.0, 100.0):
            head.bias.add_(extra)
            answer = model(noise(1, *MONAI[name]))
            answers.append(answer[0] if isinstance(answer, tuple) else answer)
    assert answers[0].shape == (1, 3)
    assert torch.allclose(answers[1], answers[0] + 100, atol=1e-3)
    info = model_info(model)
    assert (info.classes, info.head, info.preprocessing, info.weights) == (None, None, None, "random")


def test_monai_defaults(monai):
    model = load_model("monai:resnet10-3d")
    assert (model.conv1.in_channels, model.fc.out_features) == (1, 2)
    explanation = pellucid.explain(model, noise(1, 1, 32, 32, 32), targets=1)
    assert explanation.heatmaps.shape == (1, 1, 32, 32, 32)


@pytest.mark.parametrize("name", ["densenet121", "resnet10-3d", "seresnet50", "efficientnet-b0"])
def test_monai_checkpoint(monai, tmp_path, name):
    source, bare = find(f"monai:{name}")
    own = source.build(pellucid.models.sources.base.Order(bare, num_classes=5, in_channels=3))
    state = {key: value.contiguous() for key, value in own.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    assert holds(load_model(f"monai:{name}", tmp_path / "a.safetensors"), state)


def test_monai_every_name_is_there(monai):
    source, _ = find("monai:vit")
    for name in monai_source.CLASSES:
        assert hasattr(monai, monai_source.CLASSES[name]), name
    for name in ("senet154", "seresnext50-3d", "resnet200-3d", "densenet264-3d", "efficientnet-b8"):
        assert describe(name, source.outline(pellucid.models.sources.base.Order(name))).heads


def test_monai_vit_without_its_tanh(monai, tmp_path):
    pytest.importorskip("einops")
    own = monai.ViT(1, (224, 224), (16, 16), classification=True, num_classes=4, spatial_dims=2).eval()
    stale = {"blocks.0.cross_attn.to_q.weight": torch.zeros(2, 2)}  # of MONAI before 1.5.3
    torch.save(own.state_dict() | stale, tmp_path / "a.pt")
    model = load_model("monai:vit", tmp_path / "a.pt")
    with torch.no_grad():
        images = noise(1, 1, 224, 224)
        assert torch.allclose(model(images)[0].tanh(), own(images)[0], atol=1e-6)


def test_monai_vit_names_what_it_needs(monai, monkeypatch):
    def fail(**_):
        raise ImportError("from einops import Rearrange\nand much more")

    monkeypatch.setattr(monai, "ViT", fail)
    with pytest.raises(MissingPackageError, match=r"monai:vit needs einops.*pip install") as error:
        load_model("monai:vit")
    assert one_line(error)


@pytest.mark.parametrize(
    ("spec", "module"),
    [
        ("hf:vit", "transformers"),
        ("hf:owner/name", "transformers"),
        ("xrv:densenet121", "torchxrayvision"),
        ("monai:densenet121", "monai.networks.nets"),
    ],
)
def test_packages_that_are_not_installed(monkeypatch, spec, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingPackageError, match=r"needs \w+, which is not installed.*'pellucid\[zoo\]'") as error:
        load_model(spec)
    assert one_line(error)
    assert module.partition(".")[0] in str(error.value)


def test_a_single_models_package_that_is_not_installed(transformers, monkeypatch):
    def fail(*_, **__):
        raise ImportError("Dinat needs natten\nwhich is not there")

    monkeypatch.setattr(transformers.AutoModelForImageClassification, "from_config", fail)
    with pytest.raises(MissingPackageError, match="hf:mobilenet_v2: Dinat needs natten which") as error:
        load_model("hf:mobilenet_v2")
    assert one_line(error)


def test_imports_leave_the_warnings_alone(tmp_path, monkeypatch):
    (tmp_path / "silencer.py").write_text("import warnings\nwarnings.filterwarnings('ignore')\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(warnings.filters)
    package("silencer", "a test")
    assert warnings.filters == before
    monkeypatch.delitem(sys.modules, "silencer")


def test_torchvision_videos(tmp_path):
    model = load_model("torchvision:r3d_18")
    info = model_info(model)
    assert (len(info.classes), info.preprocessing) == (400, None)
    assert pellucid.explain(model, noise(1, 3, 4, 32, 32), targets=0).heatmaps.shape == (1, 1, 4, 32, 32)
    own = torchvision.models.video.mc3_18(num_classes=6)
    own.stem[0] = nn.Conv3d(1, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
    torch.save(own.state_dict(), tmp_path / "a.pt")
    model = load_model("torchvision:mc3_18", tmp_path / "a.pt")
    assert holds(model, own.state_dict())
    assert model_info(model).classes is None
    with pytest.raises(SourceError, match="did you mean r3d_18"):
        load_model("torchvision:r3d_17")


@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models.video))
def test_torchvision_videos_say_where_the_head_is(name):
    source, _ = find(f"torchvision:{name}")
    reference = describe(name, source.outline(pellucid.models.sources.base.Order(name)))
    assert reference.shapes[f"{reference.heads[0]}.weight"][0] == 400
    assert reference.shapes[f"{reference.first}.weight"][1] == 3


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


@pytest.mark.parametrize("count", ["3", 2.5, True, 0])
def test_numbers_of_classes_that_are_none(count):
    with pytest.raises(pellucid.errors.OptionError, match="num_classes must be a whole number and at least 1"):
        load_model("timm:test_vit", num_classes=count)


def test_a_specification_may_be_a_path(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        load_model(tmp_path / "net.onnx")
    with pytest.raises(pellucid.errors.OptionError, match="must be a text"):
        load_model(3)
