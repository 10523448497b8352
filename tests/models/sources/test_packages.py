"""Libraries that are not installed, and what all sources refuse."""

import sys
import warnings

import pytest

import pellucid
from pellucid.errors import MissingPackageError, SourceError
from pellucid.models.sources import load_model
from pellucid.models.sources.base import package
from tests.models.sources.helpers import one_line


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


@pytest.mark.parametrize("count", ["3", 2.5, True, 0])
def test_numbers_of_classes_that_are_none(count):
    with pytest.raises(pellucid.errors.OptionError, match="num_classes must be a whole number and at least 1"):
        load_model("timm:test_vit", num_classes=count)


def test_a_specification_may_be_a_path(tmp_path):
    with pytest.raises(SourceError, match="no such file"):
        load_model(tmp_path / "net.onnx")
    with pytest.raises(pellucid.errors.OptionError, match="must be a string"):
        load_model(3)
