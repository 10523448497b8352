"""How images are prepared: the options of the command line, and the tensors that reach the network."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor
from torch.nn import functional as F
from torchvision import transforms
from torchvision.models import resnet18
from torchvision.transforms._presets import ImageClassification
from typer.testing import Result

import pellucid as library
from pellucid.errors import OptionError, PellucidWarning
from pellucid.models.preprocessing import Preprocessing
from tests.cli.conftest import one_line, save, three, written
from tests.io.test_dicom import shipped
from tests.models.test_plans import scan
from tests.models.test_plans import stated as stated_plans
from tests.models.test_plans import written as written_plans
from tests.networks import trained
from tests.run.test_channels import picture, volume

Run = Callable[..., Result]

NOTING = """
import torch
from torch import nn

SEEN = []

class Noting(nn.Module):
    def __init__(self, channels=3, rank=2):
        super().__init__()
        kinds = {2: (nn.Conv2d, nn.AdaptiveAvgPool2d), 3: (nn.Conv3d, nn.AdaptiveAvgPool3d)}
        conv, pool = kinds[rank]
        self.first = conv(channels, 4, 3, padding=1)
        self.rest = nn.Sequential(pool(1), nn.Flatten(), nn.Linear(4, 2))
        self.head = "softmax"

    def forward(self, x):
        SEEN.append(x.detach().clone())
        return self.rest(self.first(x).relu())

def stated():
    model = Noting()
    model.preprocessing = {"size": (8, 8), "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    return model

def colour():
    return Noting()

def grey():
    return Noting(1)

def two():
    return Noting(2)

def four():
    return Noting(4)

def deep():
    return Noting(2, 3)

def dense():
    return Noting(1, 3)

def with_axes(**axes):
    model = Noting(1, 3)
    model.preprocessing = {"size": (4, 5, 6), "mean": [0.5], "std": [0.5], **axes}
    return model

def silent():
    return with_axes()

def stored():
    return with_axes(orientation=None)

def turned():
    return with_axes(orientation="RAS", spacing=[2, 2, 2.5])

def wrong():
    return with_axes(orientation="RXX")
"""


@pytest.fixture
def spec(tmp_path: Path) -> Callable[[str], str]:
    """A model that notes what it is given."""
    file = tmp_path / "noting.py"
    file.write_text(NOTING)
    return lambda factory: f"{file}:{factory}"


def seen() -> list[Tensor]:
    return sys.modules["pellucid_user_noting"].SEEN


def reached(expected: Tensor) -> bool:
    """Whether the network was given exactly this image."""
    return any(one.shape == expected[None].shape and torch.allclose(one[0], expected, atol=1e-5) for one in seen())


def done(folder: Path, stem: str) -> dict[str, object]:
    facts = json.loads((folder / f"{stem}_metadata.json").read_text(encoding="utf-8"))
    return facts["image_provenance"]["preprocessing"]


def test_what_is_stated_reaches_the_network(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (12, 10))
    pixels = library.read_image(path).pixels
    small = F.interpolate(pixels[None], (5, 6), mode="bilinear", antialias=True)[0]
    mean, std = (torch.tensor(values)[:, None, None] for values in ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]))
    options = ("--size", "5,6", "-q", "--overwrite")
    for more, expected, kept in (
        ((), (small - mean) / std, ["--size"]),
        (("--mean", "0.5"), (small - 0.5) / std, ["--size", "--mean"]),
        (("--std", "1,2,4"), (small - mean) / torch.tensor([1.0, 2, 4])[:, None, None], ["--size", "--std"]),
        (("--range", "-1024,1024"), small * 2048 - 1024, ["--size", "--range"]),
        (("--range", "0,255", "--mean", "104,117,123"), small * 255 - torch.tensor([104.0, 117, 123])[:, None, None],
         ["--size", "--mean", "--range"]),
    ):  # fmt: skip
        result = explain(path, *options, *more, spec=spec("stated"))
        assert (result.exit_code, result.stderr) == (0, "")
        assert reached(expected)
        settings = done(tmp_path / "out", "a")
        assert (settings["resize"], settings["crop"]) == ([5, 6], None)
        assert settings["source"] == f"{spec('stated')}; given: {', '.join(kept)}"
    assert (settings["mean"], settings["std"], settings["range"]) == ([104, 117, 123], None, [0, 255])


def test_one_number_is_the_size_of_every_side(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (12, 10))
    result = explain(path, "--size", 7, "--mean", 0, "--std", 1, "-q", spec=spec("colour"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert reached(F.interpolate(library.read_image(path).pixels[None], (7, 7), mode="bilinear", antialias=True)[0])


@pytest.mark.parametrize("shape", [(41, 30), (30, 57)], ids=str)
@pytest.mark.parametrize(
    ("size", "crop", "stated"),
    [
        ("16", "14,11", transforms.Resize(16)),
        ("16,16", "14", transforms.Resize((16, 16))),
        ("14", "17", transforms.Resize(14)),  # padded where the crop is larger
        (None, "17", transforms.Lambda(lambda pixels: pixels)),
    ],
)
def test_size_and_crop_are_those_of_torchvision(
    explain: Run, spec: Callable[[str], str], tmp_path: Path, shape: tuple[int, int], size: str | None, crop: str,
    stated: Callable[[Tensor], Tensor],
) -> None:  # fmt: skip
    path = save(tmp_path / "a.png", shape)
    options = () if size is None else ("--size", size)
    result = explain(path, *options, "--crop", crop, "-q", "--mean", "0.4", "--std", "0.2", spec=spec("colour"))
    assert (result.exit_code, result.stderr) == (0, "")
    cut = transforms.CenterCrop(tuple(map(int, crop.split(","))) if "," in crop else int(crop))
    with Pillow.open(path) as opened:
        whole = transforms.ToTensor()(opened.convert("RGB"))
    assert reached((cut(stated(whole)) - 0.4) / 0.2)


def test_a_photograph_is_cut_as_torchvision_cuts_it(pellucid: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (300, 400))
    command = ("explain", path, "--model", spec("colour"), "--size", 256, "--crop", 224, "-q", "-o", tmp_path / "out")
    values = ("--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225", "--method", "saliency")
    assert pellucid(*command, *values).stderr == ""
    with Pillow.open(path) as opened:
        made = transforms.Compose([transforms.ToTensor(), ImageClassification(crop_size=224, antialias=True)])
        expected = made(opened.convert("RGB"))
    assert reached(expected)
    settings = done(tmp_path / "out", "a")
    assert (settings["resize"], settings["crop"]) == (256, [224, 224])
    assert settings["source"].endswith("; given: --size, --crop, --mean, --std")


def test_a_crop_alone_keeps_the_size_before_it(pellucid: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save({"state_dict": trained(resnet18(num_classes=2)).state_dict()}, tmp_path / "best.pt")
    path = save(tmp_path / "a.png", (40, 40))
    command = ("explain", path, "--checkpoint", tmp_path / "best.pt", "-o", tmp_path / "out", "-q", "--overwrite")
    known = ("--mean", 0, "--std", 1, "--head", "softmax", "--method", "saliency", "--crop", 32)
    one_line(
        pellucid(*command, *known),
        "no input size: images of 32 × 32 pixels from the middle of 256 are assumed",
        "give --size",
        kind="warning",
    )
    assert pellucid(*command, *known, "--size", 36).stderr == ""  # the remedy
    settings = done(tmp_path / "out", "a")
    assert (settings["resize"], settings["crop"]) == (36, [32, 32])


def test_what_is_not_stated_is_warned_of(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (12, 10))
    result = explain(path, "--size", "5,6", "-q", "--overwrite", spec=spec("colour"))
    one_line(result, "the model states no mean and std: images of values in [0, 1]", "give --mean and --std, or set",
             kind="warning")  # fmt: skip
    result = explain(path, "--range", "0,255", "-q", "--overwrite", spec=spec("colour"))
    one_line(
        result, "the model states no input size: images of 224 × 224 pixels are", "give --size, or", kind="warning"
    )


def test_colours(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", (12, 10))
    known = ("--size", "10,12", "--range", "0,1", "-q")
    assert explain(path, *known, "--channels", "grey", spec=spec("grey")).exit_code == 0
    red, green, blue = library.read_image(path).pixels
    assert reached((0.299 * red + 0.587 * green + 0.114 * blue)[None])
    assert done(tmp_path / "out", "a")["channels"] == 1
    grey = picture(tmp_path / "b.png", shape=(10, 12))
    assert explain(grey, *known, "--channels", "rgb", spec=spec("colour")).exit_code == 0
    assert reached(library.read_image(grey).pixels.expand(3, 10, 12))
    result = explain(grey, *known, "--overwrite", spec=spec("four"))
    assert result.exit_code == 3
    one_line(result, "b.png", "4 channels were expected, got 1; give a file for each: --channels a.png,b.png,…")


def test_files_of_a_study_are_the_channels(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    for seed, name in enumerate(("mlo", "cc")):
        picture(tmp_path / "in" / "one" / f"{name}.png", seed)
        picture(tmp_path / "in" / "other" / f"{name}.png", seed, (5, 7) if seed else (5, 6))
    options = ("--channels", "cc.png, mlo.png", "--size", "5,6", "--mean", "0.5,0.25", "--std", 0.5, "-q")
    result = explain(tmp_path / "in", *options, spec=spec("two"))
    assert result.exit_code == 1
    one_line(result, "other", "cc.png and mlo.png have 5 × 7 and 5 × 6 pixels")
    cc, mlo = (library.read_image(tmp_path / "in" / "one" / f"{name}.png").pixels for name in ("cc", "mlo"))
    assert reached(torch.cat([(cc - 0.5) / 0.5, (mlo - 0.25) / 0.5]))
    assert written(tmp_path / "out") == three("one")
    found = json.loads((tmp_path / "out" / "one_metadata.json").read_text())
    assert found["image"] == str(tmp_path / "in" / "one")
    assert [one["file"] for one in found["image_provenance"]["channels"]] == ["cc.png", "mlo.png"]
    plain = explain(tmp_path / "in" / "one", *options, "--export", "overlay", "--alpha", 0, spec=spec("two"),
                    output=tmp_path / "plain")  # fmt: skip
    assert plain.exit_code == 0
    with Pillow.open(tmp_path / "plain" / "one_overlay.png") as drawn:
        shown = np.lib.stride_tricks.sliding_window_view(np.asarray(drawn)[..., 0], (5, 6))
    first = (255 * cc[0]).round().byte().numpy()
    assert any(np.array_equal(part, first) for part in shown.reshape(-1, 5, 6))


def test_volumes_are_channels_too(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    paths = [volume(tmp_path / "p7" / f"{name}.nii", seed) for seed, name in enumerate(("t1", "t2"))]
    options = ("--channels", "t1.nii,t2.nii", "--size", "4,5,6", "--range", "-1,1", "--export", "nifti", "-q")
    options += ("--orientation", "stored")
    result = explain(tmp_path / "p7", *options, spec=spec("deep"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert reached(2 * torch.cat([library.read_image(path).pixels for path in paths]) - 1)
    assert written(tmp_path / "out") == ["p7_heatmap.nii.gz", "p7_metadata.json"]
    too_many = explain(tmp_path / "p7", *options, "--as", "files", spec=spec("deep"))
    assert too_many.exit_code == 2
    one_line(too_many, "--as files and --channels t1.nii,t2.nii were given")


def test_volumes_are_cropped_too(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = volume(tmp_path / "a.nii")
    pixels = library.read_image(path).pixels
    larger = F.interpolate(pixels[None], (8, 8, 8), mode="trilinear")[0]
    options = ("--channels", "1", "--range", "0,1", "-q", "--orientation", "stored", "--overwrite")
    for more, expected in (
        (("--size", 8, "--crop", 4), larger[:, 2:6, 2:6, 2:6]),
        (("--size", "8,8,8", "--crop", "6,4,2"), larger[:, 1:7, 2:6, 3:5]),
        (("--crop", "3,3"), transforms.CenterCrop(3)(pixels)),
    ):
        result = explain(path, *options, *more, "--method", "saliency", spec=spec("dense"))
        assert (result.exit_code, result.stderr) == (0, "")
        assert reached(expected)


def test_a_checkpoint_that_states_no_input_size_is_warned_of(pellucid: Run, tmp_path: Path) -> None:
    torch.manual_seed(0)
    content = {"state_dict": trained(resnet18(num_classes=2)).state_dict(), "loss": "CrossEntropyLoss"}
    torch.save(content, tmp_path / "best.pt")
    path = save(tmp_path / "a.png", (40, 40))
    command = ("explain", path, "--checkpoint", tmp_path / "best.pt", "-o", tmp_path / "out", "-q", "--overwrite")
    one_line(
        pellucid(*command),
        "the checkpoint states no input size, mean and std: images of 224 × 224 pixels from the middle of 256, mean",
        "if it was trained on others, the maps are wrong: give --size, --mean and --std",
        kind="warning",
    )
    assert pellucid(*command, "--size", 32, "--mean", "0.5", "--std", "0.5").stderr == ""
    settings = done(tmp_path / "out", "a")
    assert (settings["resize"], settings["crop"]) == ([32, 32], None)


def test_tune_prepares_as_explain_does(
    pellucid: Run, spec: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.run import tuned

    monkeypatch.setattr(tuned.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    folder = tmp_path / "in"
    paths = [picture(folder / f"{name}.png", seed) for seed, name in enumerate("ab")]
    command = ("tune", "--seconds", 0, "--batch-size", 1, "--size", "5,6", "--range", "0,255")
    result = pellucid(*command, spec("two"), folder, "--channels", "b.png,a.png")
    assert (result.exit_code, result.stderr) == (0, "")
    assert reached(255 * torch.cat([library.read_image(path).pixels for path in paths[::-1]]))
    assert pellucid(*command, spec("four")).exit_code == 0
    assert any(one.shape[1:] == (4, 5, 6) and one.max() > 100 for one in seen())
    assert pellucid(*command, "--crop", "3,4", spec("four")).exit_code == 0
    assert any(one.shape[1:] == (4, 3, 4) and one.max() > 100 for one in seen())
    deep = pellucid("tune", "--seconds", 0, "--batch-size", 1, "--size", "6", "--range", "0,255", spec("deep"),
                     "--orientation", "RAS", "--spacing", "2")  # fmt: skip
    assert (deep.exit_code, deep.stderr) == (0, "")
    assert any(one.shape[1:] == (2, 6, 6, 6) and one.max() > 100 for one in seen())


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--size", "0", "whole numbers above 0"),
        ("--size", "8,x", "whole numbers above 0"),
        ("--size", "1,2,3,4", "whole numbers above 0"),
        ("--size", "-3", "whole numbers above 0"),
        ("--size", "", "whole numbers above 0"),
        ("--size", "8,24,24", "the model takes 2-D images: give H,W"),
        ("--size", "99999,99999", "--size 99999,99999 was given; an input has at most 134,217,728 positions"),
        ("--crop", "0", "whole numbers above 0"),
        ("--crop", "1,2,3,4", "whole numbers above 0"),
        ("--crop", "8,24,24", "the model takes 2-D images: give H,W"),
        ("--crop", "99999,99999", "--crop 99999,99999 was given; an input has at most 134,217,728 positions"),
        ("--mean", "a", "write numbers, as in"),
        ("--mean", "nan", "write numbers, as in"),
        ("--mean", "0.1,0.2", "the model takes 3 channels: give 3 numbers, or one"),
        ("--std", "0", "numbers above 0"),
        ("--std", "0.1,-1,2", "numbers above 0"),
        ("--std", "inf", "numbers above 0"),
        ("--range", "1", "a lower and a higher number"),
        ("--range", "1,0", "a lower and a higher number"),
        ("--range", "0,1,2", "a lower and a higher number"),
        ("--channels", "rbg", "it is rgb, grey, a number from 1 to 64, or names of files"),
        ("--channels", "0", "it is rgb, grey, a number from 1 to 64, or names of files"),
        ("--channels", "65", "it is rgb, grey, a number from 1 to 64, or names of files"),
        ("--channels", "", "it is rgb, grey, a number from 1 to 64, or names of files"),
        ("--channels", "a.png,", "it is rgb, grey, a number from 1 to 64, or names of files"),
        ("--channels", "../a.png,b.png", "it is rgb, grey, a number from 1 to 64, or names of files"),
        ("--channels", "a.png,a.png", "a name is there twice"),
        ("--channels", "a.png,b.png", "a.png, which is no folder: give the study's folder"),
        ("--orientation", "RSA", "the model takes 2-D images: leave out --orientation and --spacing"),
        ("--orientation", "RAX", "one letter each of L or R, A or P, S or I"),
        ("--orientation", "RLA", "one letter each of L or R, A or P, S or I"),
        ("--orientation", "RASS", "one letter each of L or R, A or P, S or I"),
        ("--orientation", "", "as in RAS; or stored"),
        ("--spacing", "1,1,2", "the model takes 2-D images: leave out --orientation and --spacing"),
        ("--spacing", "1,1", "three numbers of mm from 0.000001 to 1,000,000, or one"),
        ("--spacing", "0", "three numbers of mm from 0.000001 to 1,000,000, or one"),
        ("--spacing", "1,1,inf", "three numbers of mm from 0.000001 to 1,000,000, or one"),
        ("--spacing", "-1,1,1", "three numbers of mm from 0.000001 to 1,000,000, or one"),
    ],
)
def test_wrong_values_are_one_line(
    explain: Run, spec: Callable[[str], str], tmp_path: Path, option: str, value: str, says: str
) -> None:
    result = explain(save(tmp_path / "a.png"), option, value, spec=spec("stated"))
    assert result.exit_code == 2
    one_line(result, f"{option} {value}", "was given", says)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["choose", "evaluate", "explain", "robustness", "tune"])
@pytest.mark.parametrize("option", ["--size", "--crop", "--mean", "--std", "--range", "--orientation", "--spacing"])
def test_every_command_takes_them(pellucid: Run, tmp_path: Path, command: str, option: str) -> None:
    first = ("torchvision:resnet18",) if command in ("choose", "tune") else ()
    folder = save(tmp_path / "in" / "a.png").parent
    output = () if command == "tune" else ("-o", tmp_path / "out")
    result = pellucid(command, *first, folder, *output, option, "0,x")
    assert result.exit_code == 2
    one_line(result, f"{option} 0,x was given")


@pytest.mark.parametrize("command", ["choose", "evaluate", "explain", "tune"])
def test_plans_leave_nothing_to_state(pellucid: Run, tmp_path: Path, command: str) -> None:
    first = ("torchvision:resnet18",) if command in ("choose", "tune") else ()
    folder = save(tmp_path / "in" / "a.png").parent
    output = () if command == "tune" else ("-o", tmp_path / "out")
    result = pellucid(command, *first, folder, *output, "--nnunet-plans", "plans.json", "--std", "2", "--crop", 3)
    assert result.exit_code == 2
    one_line(result, "--nnunet-plans plans.json and --std were given; the plans state it: leave one out")


def test_nnunets_plans_reach_the_network(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    for name in "ab":
        scan(tmp_path / "in" / f"{name}.nii", (0.9, 1.2, 2.0), seed=ord(name))
    plans = written_plans(tmp_path, stated_plans(channels=1))
    options = ("--nnunet-plans", plans, "-q", "--method", "saliency", "--export", "nifti,overlay")
    prepare = Preprocessing.from_plans(plans)
    expected = prepare(library.read_image(tmp_path / "in" / "a.nii")).values
    result = explain(tmp_path / "in" / "a.nii", *options, spec=spec("dense"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert reached(expected)
    settings = done(tmp_path / "out", "a")
    assert settings["source"] == "nnU-Net's plans, 3d_fullres"
    assert settings["plans"]["schemes"][0]["name"] == "ZScoreNormalization"
    heat = nibabel.load(tmp_path / "out" / "a_heatmap.nii.gz")
    assert heat.shape == nibabel.load(tmp_path / "in" / "a.nii").shape
    cropped = explain(tmp_path / "in" / "a.nii", *options, "--crop", "6", "--overwrite", spec=spec("dense"))
    assert (cropped.exit_code, cropped.stderr) == (0, "")
    assert reached(library.Preprocessing(crop=(6, 6, 6), channels=1, plans=prepare.plans)(
        library.read_image(tmp_path / "in" / "a.nii")).values)  # fmt: skip
    both = written_plans(tmp_path, stated_plans(channels=2))
    study = explain(tmp_path / "in", *options, "--channels", "a.nii,b.nii", "--overwrite", spec=spec("deep"))
    assert (study.exit_code, study.stderr) == (0, "")
    assert any(one.shape[1:] == (2, *expected.shape[1:]) and torch.allclose(one[0, :1], expected) for one in seen())
    wrong = explain(tmp_path / "in" / "a.nii", "--nnunet-plans", both, "-q", "--overwrite", spec=spec("dense"))
    one_line(wrong, "a.nii: plans of 3d_fullres were given; 2 channels were expected, got 1; give a file for each")
    flat = explain(save(tmp_path / "c.png"), "--nnunet-plans", both, spec=spec("colour"))
    assert flat.exit_code == 2
    one_line(flat, "configuration 2d takes slices of volumes that are normalised as a whole")


def test_any_text_is_a_value_or_an_error_of_one_line() -> None:
    from pellucid.cli.preparing import preparation

    generator = np.random.default_rng(0)
    signs = [*"0123456789", *",,,..--", "e", "x", "*", "/", " ", "²", "٣", "\0", "\n", "nan", "inf", "rgb"]
    for _ in range(3000):
        texts = ["".join(generator.choice(signs, generator.integers(0, 8))) for _ in range(8)]
        plans = Path(texts[0]) if generator.integers(8) == 0 else None
        try:
            made = preparation(*texts, plans)
        except OptionError:
            continue
        assert all(side > 0 for side in (made.size or ()) + (made.crop or ()))
        assert made.std is None or min(made.std) > 0
        assert made.spacing is None or min(made.spacing) > 0
    assert preparation(*[None] * 9).stated == []


def test_a_size_that_the_network_fixes_is_known() -> None:
    from pellucid.cli.preparing import Preparation
    from pellucid.cli.request import preprocessing

    pytest.importorskip("monai")
    pytest.importorskip("einops")
    with pytest.warns(PellucidWarning, match="the model states no mean and std: images of values in"):
        made = preprocessing(library.load_model("monai:vit"), Preparation())
    assert (made.resize, made.channels) == ((224, 224), 1)


def test_orientation_and_spacing_reach_the_network(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    path = volume(tmp_path / "in" / "a.nii")
    known = ("--range", "0,1", "-q", "--overwrite", "--export", "nifti")
    for options, orientation, spacing, size in (
        (("--orientation", "ras"), "RAS", None, None),
        (("--orientation", "RAS", "--spacing", "2.5"), "RAS", (2.5, 2.5, 2.5), None),
        (("--orientation", "SRA", "--spacing", "2,2.5,3", "--size", "6,7,8"), "SRA", (2.0, 2.5, 3.0), (6, 7, 8)),
        (("--orientation", "stored", "--spacing", "2,2.5,3"), None, (2.0, 2.5, 3.0), None),
    ):
        sized = () if size or spacing else ("--size", "4,5,6")
        settings = Preprocessing(size or ((4, 5, 6) if sized else None), channels=1, orientation=orientation,
                                 spacing=spacing)  # fmt: skip
        result = explain(path, *known, *options, *sized, spec=spec("dense"))
        assert result.exit_code == 0, result.stderr
        assert ("input size" in result.stderr) == (spacing is not None and size is None)
        assert "orientation" not in result.stderr.replace("--orientation", "")
        assert reached(settings(library.read_image(path)).values)
        made = done(tmp_path / "out", "a")
        assert (made["orientation"], made["spacing"]) == (orientation, None if spacing is None else list(spacing))
        written_map = nibabel.load(tmp_path / "out" / "a_heatmap.nii.gz")
        assert written_map.shape == nibabel.load(path).shape
        assert np.array_equal(written_map.affine, nibabel.load(path).affine)


def test_a_network_of_volumes_that_states_no_orientation_is_warned_of(
    explain: Run, spec: Callable[[str], str], tmp_path: Path
) -> None:
    for name in "ab":  # two files, and one warning
        volume(tmp_path / "in" / f"{name}.nii")
    known = ("--size", "4,5,6", "--range", "0,1", "-q", "--overwrite", "--export", "npz")
    assumed = "images of axes as stored (slices, rows, columns) and spacing as stored are assumed"
    for factory, options in (("dense", known), ("silent", known[4:])):
        result = explain(tmp_path / "in", *options, spec=spec(factory))
        assert result.exit_code == 0
        cure = "give --orientation and --spacing (as they are: --orientation stored), or set it in the `preprocessing`"
        one_line(result, "the model states no orientation and spacing", assumed, cure, kind="warning")
        for remedy in (("--orientation", "RAS", "--spacing", "2"), ("--orientation", "stored")):
            assert explain(tmp_path / "in", *options, *remedy, "--size", "4,5,6", spec=spec(factory)).stderr == ""
    for factory in ("turned", "stored"):  # the other remedy
        assert explain(tmp_path / "in", *known[4:], spec=spec(factory)).stderr == ""
    result = explain(tmp_path / "in", *known[4:], "--spacing", "2", spec=spec("silent"))
    one_line(result, "axes as stored (slices, rows, columns) and spacing 2 × 2 × 2 mm are assumed", kind="warning")
    given = ("--orientation", "LPS")  # leaves out the spacing that is stated
    assert explain(tmp_path / "in" / "a.nii", *known, *given, spec=spec("turned")).stderr == ""
    made = done(tmp_path / "out", "a")
    assert (made["orientation"], made["spacing"]) == ("LPS", None)


def test_a_wrong_orientation_of_a_factory_is_one_line(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    result = explain(volume(tmp_path / "in" / "a.nii"), spec=spec("wrong"))
    assert result.exit_code == 2
    one_line(result, "noting.py:wrong: preprocessing: orientation RXX was given; write one letter each")


def test_files_without_a_place_are_refused_alone(explain: Run, spec: Callable[[str], str], tmp_path: Path) -> None:
    volume(tmp_path / "in" / "a.nii")
    shutil.copy(shipped("examples_ybr_color.dcm"), tmp_path / "in" / "b.dcm")
    options = (
        "--size",
        "4,5,6",
        "--range",
        "0,1",
        "-q",
        "--export",
        "npz",
        "--channels",
        "grey",
        "--method",
        "saliency",
    )
    result = explain(tmp_path / "in", *options, "--orientation", "RAS", spec=spec("dense"))
    assert result.exit_code == 1
    one_line(
        result, "b.dcm: orientation RAS was asked for; the volume does not state where its axes lie in the patient"
    )
    assert written(tmp_path / "out") == ["a_explanation.npz", "a_metadata.json"]
    alone = explain(tmp_path / "in" / "b.dcm", *options, "--orientation", "stored", spec=spec("dense"))  # the remedy
    assert (alone.exit_code, alone.stderr) == (0, "")
