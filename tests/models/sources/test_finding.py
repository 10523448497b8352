"""Which source a specification names."""

import pytest
import torch
import torchvision

from pellucid.errors import SourceError
from pellucid.models.sources import load_model
from pellucid.models.sources.finding import find


def test_a_checkpoint_as_a_model_is_told_where_it_belongs(tmp_path):
    path = tmp_path / "best.pt"
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), path)
    with pytest.raises(SourceError, match=r"give it as checkpoint='.*best\.pt'"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("torchvision:resnet51", "did you mean resnet"),
        ("timm:vit_base_patch16_223", "did you mean .*vit_base_patch16_224"),
        ("timm:hf-hub:someone/something", "no timm model"),
        ("nothing:resnet50", "timm:…, torchvision:…"),
        ("resnet50", "names no model"),
        ("torchvision:", "names no model"),
        ("file:a", "names no function"),
        ("nowhere/mine.py:make", "no file nowhere/mine.py"),
        ("C:\\somewhere\\mine.py:make", "no file C:"),
    ],
)
def test_unknown_specifications(spec, text):
    with pytest.raises(SourceError, match=text) as error:
        load_model(spec)
    assert "\n" not in str(error.value)


def test_windows_paths_are_files():
    source, name = find("C:\\models\\mine.py:make")
    assert (source.prefix, name) == ("file", "C:\\models\\mine.py:make")
