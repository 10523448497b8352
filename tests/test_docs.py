"""The documentation is true: snippets, commands, quoted errors, generated pages and links work."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import inspect
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Annotated
from urllib.parse import unquote

import numpy as np
import pydicom
import pydicom.data
import pytest
import skimage
import timm
import torch
import typer.main
from PIL import Image as Pillow
from pydicom.uid import generate_uid
from torch import Tensor, nn
from torchvision.models import resnet18
from typer.testing import CliRunner

import pellucid
from pellucid.cli.main import app
from pellucid.core import catalogue, gates
from pellucid.pacs.access import ServerAccess
from pellucid.run.explainer import method_of
from pellucid.tracking import journaled
from pellucid.xai import GradCAM, GradCAMConfig, get_recommended_layers
from tests.cli.quick import quick
from tests.io.test_dicom import dataset, write
from tests.io.test_dimensions import placed
from tests.networks import Reordered, TinyCNN, TinyViT, images, seeded
from tests.pacs.client import ask
from tests.pacs.hostile import an_object, hostile
from tests.replicas.naive import REPLICAS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {
    str(path.relative_to(DOCS)): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if path.parent.name != "results"
}
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ARCHIVE = "pacs.example.org"
SHAPE = re.compile(r"^(\w+\.[\w.\[\]\"]+)  # (\(\d[\d, ]+\))", re.MULTILINE)
"""A tensor in a snippet whose shape is stated in a comment."""


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language on a page."""
    return [code for kind, code in BLOCK.findall(page) if kind == language]


def lines_of(code: str) -> list[str]:
    """The commands of a block, each on one line."""
    return code.replace("\\\n", " ").splitlines()


def loaded(name: str) -> ModuleType:
    """A module of docs/generate, which is not a package."""
    spec = importlib.util.spec_from_file_location(name, DOCS / "generate" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their module there
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(DOCS / "generate"))  # as MkDocs does
method_pages = loaded("method_pages")
reference_tables = loaded("reference_tables")
filling = loaded("filling")
sys.path.pop(0)
METHODS = method_pages.methods()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a photograph and DICOM files; restores the registered methods, and torch uses one thread."""
    shutil.copy(Path(skimage.__file__).parent / "data" / "chelsea.png", tmp_path)
    scans(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # where `pellucid tune` stores its results
    monkeypatch.setattr(catalogue.METHODS, "classes", dict(catalogue.METHODS.classes))
    replicas, threads = dict(REPLICAS), torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
    REPLICAS.clear()
    REPLICAS.update(replicas)


@pytest.fixture
def files(folder: Path) -> None:
    """The files that the guide's commands read: a folder of images, and a trainer's checkpoint."""
    (folder / "images").mkdir()
    shutil.copy("chelsea.png", "images")
    saved(resnet18(num_classes=3).state_dict(), "best.pt")
    outlined()


def outlined() -> None:
    """Write what the page on data sets reads: four images with boxes in a table, and maps of them."""
    lines = ["path,label,box,patient"]
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 64), dtype=np.uint8)
        Pillow.fromarray(pixels).save(f"case{number}.png")
        lines.append(f"case{number}.png,{number % 2},8 8 40 40,P{number}")
        Path("maps/mine").mkdir(parents=True, exist_ok=True)
        np.save(f"maps/mine/case{number}.npy", pixels / 255)
    Path("cases.csv").write_text("\n".join(lines))


def scans(folder: Path) -> None:
    """Write the files that the page on medical images reads: a CT slice, and a series of three."""
    shutil.copy(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False)), folder / "scan.dcm")
    (folder / "ct").mkdir()
    for index in range(3):
        made = pydicom.dcmread(folder / "scan.dcm")
        left, top, level = made.ImagePositionPatient
        made.ImagePositionPatient = [left, top, float(level) + 5 * index]
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.save_as(folder / "ct" / f"{index}.dcm")


# Lightning's calls of what torch deprecates, and its advice; what MLflow's packages say when they are imported.
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*", "ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if blocks(page, "python")])
def test_the_snippets_of_a_page_run_in_order(name: str, files: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python and commands run in the order of the page, in one folder."""
    monkeypatch.setattr(journaled, "PATIENCE", 300.0)  # a slow machine takes longer to import MLflow
    scope: dict[str, object] = {"__name__": "snippets"}
    for language, code in BLOCK.findall(PAGES[name]):
        if language == "python":
            exec(compile(code, name, "exec", dont_inherit=True), scope)
            for expression, shape in SHAPE.findall(code):
                assert str(tuple(eval(f"{expression.removesuffix('.shape')}.shape", scope))) == shape, expression
        elif language == "sh":
            for line in lines_of(code):
                run_command(line)


def run_command(line: str) -> None:
    """Run a pellucid command and check that it writes its output; look up make's targets."""
    program, *words = shlex.split(line)
    if program == "make":
        assert words[0] in re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    if program != "pellucid":
        return
    if ARCHIVE in line:  # tests/pacs runs these if an archive is available
        assert {word for word in words if word.startswith("--")} <= options(words[0])
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pellucid.PellucidWarning)
        done = CliRunner().invoke(app, quick(words))
    assert done.exit_code == 0, (line, done.stderr)
    if "--output" in words:
        ending = "report.html" if words[0] in ("evaluate", "robustness") else "*_overlay.png"
        assert list(Path(words[words.index("--output") + 1]).rglob(ending))


def options(name: str) -> set[str]:
    """The options of a command."""
    return {option for parameter in typer.main.get_command(app).commands[name].params for option in parameter.opts}


def test_code_blocks_are_python_commands_or_text() -> None:
    kinds = {kind for page in PAGES.values() for kind, _ in BLOCK.findall(page)}
    assert {"python", "sh"} <= kinds <= {"python", "sh", "text", "toml"}
    assert len([line for page in PAGES.values() for block in blocks(page, "sh") for line in lines_of(block)]) > 10


def test_code_lines_are_short() -> None:
    lines = [line for page in PAGES.values() for _, code in BLOCK.findall(page) for line in code.splitlines()]
    assert [line for line in lines if len(line) > 88 and not line.startswith('"""')] == []


@pytest.mark.parametrize("about", METHODS, ids=lambda about: about.name)
def test_the_calls_on_a_methods_page_are_right(about, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Its names, options and values; the method's doctest checks that it works."""
    used = []
    page = page_of(about)
    model = seeded(TinyCNN)
    monkeypatch.setattr(pellucid, "load_model", lambda spec: model)
    monkeypatch.setattr(pellucid, "explain", lambda m, x, method: used.append(method_of(pellucid.Explainer(m, method))))
    for code in blocks(page, "python"):
        exec(compile(code, about.file, "exec", dont_inherit=True), {})
    assert used
    assert all(method == about.cls() for method in used)
    (command,) = [line for block in blocks(page, "sh") for line in lines_of(block)]
    words = shlex.split(command)
    given = dict(words[at + 1].split("=", 1) for at, word in enumerate(words) if word == "--set")
    assert catalogue.build(about.name, given) == about.cls()
    assert {word for word in words if word.startswith("--")} <= options(words[1])


def test_methods_that_fail_sanity_checks_are_labelled() -> None:
    labelled = {about.name for about in METHODS if method_pages.WARNING in page_of(about)}
    assert labelled == {"guided_backprop", "guided_gradcam"}


def test_methods_that_fail_against_random_weights_are_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """On their pages, in both tables, and beside the recommended ones."""
    known = {"net": {"gradcam": {"found": "passes", "early": "fails"}, "saliency": {"as it is": "fails"}}}
    monkeypatch.setattr(gates, "_all", lambda: known)
    assert {about.name for about in METHODS if "Measured here (as it is in net): " in page_of(about)} == {"saliency"}
    [gradcam] = [about for about in METHODS if about.name == "gradcam"]
    assert "| [test against random weights](../gates.md) | net: found: passes, early: fails |" in page_of(gradcam)
    for table in (method_pages.table(""), method_pages.tables()):
        assert table.count("FAILS the test against random weights: early in net.") == 1
        assert table.count("FAILS the test against random weights: as it is in net.") == 1
    comment = "<!-- the methods that fail against random weights -->"
    expected = "[`gradcam`](gradcam.md) (early in net); [`saliency`](saliency.md) (as it is in net)"
    assert filling.filled(comment, "methods/index.md") == expected
    assert comment in PAGES["methods/index.md"]
    assert comment in PAGES["trust.md"]
    monkeypatch.setattr(gates, "_all", dict)
    assert filling.filled(comment, "trust.md") == "none"


def test_the_cost_of_a_method_is_counted() -> None:
    costs = {about.name: about.cost for about in METHODS}
    assert (costs["gradcam"].forward, costs["gradcam"].backward) == (1, 1)
    assert (costs["rollout"].forward, costs["rollout"].backward) == (1, 0)
    assert costs["rise"].forward >= 1000
    assert costs["ablationcam"].forward > 96 > costs["ablationcam"].whole
    assert costs["shapleycam"].text == "1 forward pass, 2 backward passes"


def page_of(about) -> str:
    return method_pages.page(about, method_pages.Shown("", {}))


def test_a_new_method_gets_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registered method gets one although no file in docs/ names it."""
    monkeypatch.setattr(catalogue.METHODS, "classes", dict(catalogue.METHODS.classes))
    exec(blocks(PAGES["adding-a-method.md"], "python")[0], {"__name__": made_module(monkeypatch)})
    (about,) = [about for about in method_pages.methods() if about.name == "abscam"]
    assert about.file == "methods/abscam.md"
    page = page_of(about)
    assert "map = Σ_c |∂z/∂A_c ⊙ A_c|^power" in page
    assert "| `power` | `float` | `1.0` |" in page
    assert any(about in each for _, each in method_pages.families())


def made_module(monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with the docstring of the example on the page."""
    module = ModuleType("abscam")
    module.__doc__ = blocks(PAGES["adding-a-method.md"], "python")[0].splitlines()[0].strip('"')
    monkeypatch.setitem(sys.modules, "abscam", module)
    return "abscam"


def test_the_quick_reference_has_every_public_name_argument_option_and_error() -> None:
    page = filling.filled(PAGES["reference.md"], "reference.md")
    assert "<!--" not in page
    assert [name for name in pellucid.__all__ if f"| `{name}" not in page] == []
    arguments = inspect.signature(pellucid.explain).parameters
    assert [name for name in arguments if f"| `{name}` |" not in page] == []
    assert [name for name in arguments if not re.search(rf"^    {name}\b.*,$", page, re.MULTILINE)] == []
    kinds = [kind.__name__ for kind in subclasses(pellucid.PellucidError) if not kind.__name__.startswith("_")]
    assert [kind for kind in kinds if f"| `{kind}` | " not in page] == []
    fields = pellucid.Explanation.__dataclass_fields__
    assert [name for name in fields if f"`{name}`" not in page] == []
    for name, command in typer.main.get_command(app).commands.items():
        options = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
        _, _, section = page.partition(f"### Options of `pellucid {name}`")
        section = section.partition("##")[0]
        assert [option for option in options if f"`{option}" not in section] == [], name
        assert [one.help for one in command.params if not one.help] == [], name


def subclasses(kind: type) -> set[type]:
    """The classes of pellucid below one, at any depth."""
    found = {one for one in kind.__subclasses__() if one.__module__.startswith("pellucid.")}
    return found.union(*(subclasses(one) for one in found))


def test_a_new_command_option_and_error_are_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    other = typer.Typer()

    @other.command("measure", help="Measure a map. In detail.")
    def measure(steps: Annotated[int, typer.Option("--steps", "-s", metavar="N", help="How many.")] = 7) -> None: ...

    other.command("more")(lambda: None)
    monkeypatch.setattr(reference_tables, "app", other)
    monkeypatch.setattr(pellucid.errors, "NewError", type("NewError", (pellucid.PellucidError, IndexError), {}), False)
    assert "| `pellucid measure` | Measure a map |" in reference_tables.commands()
    assert "| `--steps N`, `-s` | How many. | `7` |" in reference_tables.options()
    assert "| `NewError` | `IndexError` |" in reference_tables.error_table()


def test_the_arguments_of_a_call_keep_their_kinds() -> None:
    def explain(model: nn.Module, targets: str = "all", *, layers: list[str] | None = None) -> None: ...

    found = reference_tables.signature("found", explain)
    assert (
        found == "```text\nfound = pellucid.explain(\n    model,\n    targets='all',\n    *,\n    layers=None,\n)\n```"
    )


def test_no_table_has_two_heads_alike() -> None:
    """Of the built pages, those that they include, and the README."""
    files = [*DOCS.rglob("*.md"), ROOT / "README.md"]
    twice = []
    for file in files:
        text = filling.filled(file.read_text(encoding="utf-8"), str(file.relative_to(ROOT)).removeprefix("docs/"))
        for head in re.findall(r"^\|(.*)\|\n\|[ :|-]+\|$", text, re.MULTILINE):
            cells = [cell.strip() for cell in head.split("|")]
            twice += [(file.name, head)] if len(set(cells)) < len(cells) else []
    assert twice == []


def test_lists_of_methods_are_generated() -> None:
    page = filling.filled("<!-- the methods that fail sanity checks -->", "trust.md")
    assert page == "[`guided_backprop`](methods/guided_backprop.md), [`guided_gradcam`](methods/guided_gradcam.md)"
    listed = filling.filled("<!-- the methods that read attention -->", "methods/index.md")
    assert set(re.findall("`(.+?)`", listed)) == {n for n in catalogue.names() if catalogue.find(n).uses_attention}
    assert filling.filled("<!-- the number of methods -->", "index.md") == str(len(pellucid.available_methods()))


def test_no_page_counts_the_methods_by_hand() -> None:
    counted = re.compile(rf"\b{len(METHODS)}(?:\s+\w+)?\s+methods\b")
    assert [name for name, page in PAGES.items() if counted.search(page)] == []


# The messages that the troubleshooting page quotes.


class Centred(nn.Module):
    """Takes the mean of the whole batch from its input."""

    def __init__(self) -> None:
        super().__init__()
        self.network = seeded(TinyCNN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network((x - x.mean()) / x.std())


class Detached(nn.Module):
    """A network that blocks the gradient before its first layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x).detach().mean((2, 3)))


def saved(state: object, name: str) -> str:
    torch.save({"model_state_dict": state}, name)
    return name


def headed(head: nn.Module) -> dict[str, torch.Tensor]:
    model = resnet18()
    model.fc = head
    return model.state_dict()


def loaded_checkpoint(content: object) -> nn.Module:
    return pellucid.load_model(checkpoint=saved(content, "content.pt"))


def on_the_command_line(*arguments: str) -> None:
    """Run a command, and raise its error output."""
    done = CliRunner().invoke(app, quick(["explain", *arguments, "--output", "results", "--quiet"]))
    raise pellucid.PellucidError(done.stderr)


def unplaced(*shape: int) -> pellucid.Image:
    """An image that does not state where it lies in the patient."""
    return pellucid.Image(torch.zeros(shape), torch.zeros(shape), pellucid.Geometry.identity(shape[1:]))


def flat() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2))


def two(count: int = 2, **options: object) -> pellucid.Explanation:
    return pellucid.explain(seeded(TinyCNN, 2, 2), images(count), **options)


class Joined(TinyCNN):
    """A network that adds what it sees of an image and of its mirror image early."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = self.features[0](x) + self.features[0](x.flip(-1))
        return self.fc(self.features[1:](both).mean((2, 3)))


class Mirrored(nn.Module):
    """The mean of a network's scores of an image and of its mirror image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.network(x) + self.network(x.flip(-1))) / 2


class Latents(TinyViT):
    """Sixteen latents that attend to the patches."""

    def __init__(self) -> None:
        super().__init__(prefix=0)
        self.latents, self.queries = nn.Parameter(torch.randn(1, 16, 24)), nn.LayerNorm(24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        queries, tokens = self.queries(self.latents.expand(len(x), -1, -1)), self.blocks(self.embed(x))
        return self.head(self.norm((queries @ tokens.mT).softmax(dim=-1) @ tokens).mean(dim=1))


class Answering(nn.Module):
    """A network whose scores ``answer`` turns into what it returns."""

    def __init__(self, answer: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self.network, self.answer = seeded(TinyCNN, 2, 3), answer

    def forward(self, image: torch.Tensor, age: torch.Tensor | None = None) -> object:
        scores = self.network(image)
        return self.answer(scores if age is None else scores + age)


def answered(answer: Callable[[torch.Tensor], object], **options: object) -> pellucid.Explanation:
    return pellucid.explain(Answering(answer), images(2), "saliency", **options)


def series(name: str, heights: Sequence[float], **attributes: Sequence[object]) -> str:
    """A folder of DICOM slices at these heights, each with its value of each attribute."""
    Path(name).mkdir()
    for index, height in enumerate(heights):
        made = placed(dataset(np.zeros((8, 8), np.uint16)), height)
        for attribute, values in attributes.items():
            setattr(made, attribute, values[index])
        write(Path(name), made, f"{index}.dcm")
    return name


def with_notes(folder: str) -> str:
    (Path(folder) / "notes.txt").touch()
    return folder


def with_limit(gib: str, read: Callable[[], object]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PELLUCID_MAX_GIB", gib)
        read()


TERM = re.compile(r"^`([^`]+)`(?: \(a warning\))?$", re.MULTILINE)


def pruned() -> nn.Module:
    """A vision transformer that keeps its strongest patches."""

    def strongest(tokens: Tensor) -> Tensor:
        chosen = 1 + tokens[:, 1:].norm(dim=-1).topk(16, dim=1).indices
        return tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))

    return seeded(Reordered, lambda patches, extra: torch.cat([extra, patches], dim=1), strongest).eval()


def of_an_archive(asked: str, trick: str) -> None:
    """Ask a server that does a trick, and raise the error output."""
    folder = Path(tempfile.mkdtemp())
    (folder / "a.dcm").write_bytes(an_object())
    output = io.StringIO()
    access = ServerAccess(retries=0, timeout=0.4 if "drips" in trick else 10, max_answer=1)
    with hostile(asked, trick) as server, contextlib.redirect_stderr(output):
        ask(asked, server.port, folder, access)
    raise pellucid.PellucidError(" ".join(output.getvalue().split()))


def full() -> None:
    """Explain on a disk that is full."""

    def fill(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        on_the_command_line(shutil.copy("chelsea.png", "full.png"), "--model", "torchvision:resnet18")


class Parts(nn.Module):
    """The mean of a network over 25 patches of 8 pixels, as entries of the batch."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        parts = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).flatten(0, 2)
        return self.network(parts).unflatten(0, (len(x), -1)).mean(1)


class Summed(nn.Module):
    """A network over the sum of two images."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, prior: Tensor) -> Tensor:
        return self.network(x + prior)


def normed() -> nn.Module:
    """A norm before a network that sees the mirror image."""
    model = nn.Sequential()
    model.norm, model.network = nn.BatchNorm2d(3), seeded(TinyCNN)
    model.forward = lambda x: model.network(model.norm(x).flip(3))
    return model.eval()


TROUBLES: list[Callable[[], object]] = [
    lambda: pellucid.explain(Centred().eval(), images(2), "saliency", head="softmax"),
    lambda: pellucid.explain(resnet18(), images(1, side=64), layers=["layer5"]),
    lambda: GradCAM(resnet18(), GradCAMConfig(target_layers=["layer5"])),
    lambda: get_recommended_layers(flat()),
    lambda: pellucid.explain(Detached(), images(1), layers=["first"]),
    lambda: pellucid.explain(seeded(TinyViT).eval(), images(1), layers=["norm"]),
    lambda: pellucid.explain(seeded(Joined).eval(), images(1), layers=["features.4"]),
    lambda: pellucid.explain(pruned(), images(1, side=64), layers=["norm"]),
    lambda: pellucid.explain(normed(), images(1), layers=["norm"]),
    lambda: pellucid.explain(Parts(seeded(TinyCNN)).eval(), images(1, side=40), layers=["network.features.4"]),
    lambda: pellucid.explain(Summed(seeded(TinyCNN)).eval(), {"x": images(1), "prior": images(1)}),
    lambda: pellucid.explain(seeded(Latents).eval(), images(1), layers=["norm"]),
    lambda: pellucid.explain(seeded(Latents).eval(), images(1), layers=["queries"]),
    lambda: pellucid.explain(pruned(), images(1, side=64), method="rollout"),
    lambda: pellucid.explain(Mirrored(seeded(TinyViT)).eval(), images(1), method="rollout"),
    lambda: pellucid.explain(Mirrored(seeded(TinyCNN)).eval(), images(1), method="fullgrad"),
    lambda: two(method="rollout", layers=["layer4"]),
    lambda: two(method="rollout"),
    lambda: pellucid.explain(
        timm.create_model("swin_tiny_patch4_window7_224", num_classes=2), images(1, side=224), method="rollout"
    ),
    lambda: pellucid.explain(
        timm.create_model("crossvit_tiny_240", num_classes=2), images(1, side=240), method="rollout"
    ),
    lambda: pellucid.explain(timm.create_model("test_coatnet"), images(1, side=160), method="legrad"),
    lambda: two(method="attnlrp"),
    lambda: pellucid.explain(resnet18(), images(1)[0]),
    lambda: pellucid.explain(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(0)), images(2), layers=["0"]),
    lambda: answered(lambda scores: (scores, scores[:, :1])),
    lambda: answered(lambda scores: {"boxes": scores, "labels": scores}),
    lambda: answered(torch.sigmoid, head="softmax"),
    lambda: answered(lambda scores: 0.5 * (1 + scores.tanh())),
    lambda: answered(lambda scores: {"image_embeds": scores}),
    lambda: answered(lambda scores: scores[:, :1], head="softmax"),
    lambda: pellucid.explain(pellucid.load_model("torchvision:resnet18"), torch.zeros(1, 4, 32, 32)),
    lambda: answered(lambda scores: scores, classes=list("abcd")),
    lambda: pellucid.explain(
        Answering(lambda scores: scores), {"image": images(2), "age": torch.zeros(3, 1)}, "saliency"
    ),
    lambda: two(targets=pellucid.Region(1)),
    lambda: two(targets=5),
    lambda: two(targets=[1]),
    lambda: two(targets="nodule"),
    lambda: pellucid.overlay(pellucid.explain(seeded(TinyCNN), images(1, side=28)), images(1, side=30)),
    lambda: pellucid.prepare(seeded(TinyCNN), None),
    lambda: pellucid.load_model(checkpoint=saved({"a.weight": torch.ones(2, 2)}, "a.pt")),
    lambda: pellucid.load_model(checkpoint=saved(timm.create_model("efficientnet_b0").state_dict(), "b.pt")),
    lambda: pellucid.load_model("torchvision:resnet50", saved(resnet18().state_dict(), "best.pt")),
    lambda: loaded_checkpoint({key: headed(nn.Linear(512, 2)) for key in ("student", "teacher")}),
    lambda: loaded_checkpoint({key: headed(nn.Linear(512, 2)) for key in ("model", "ema")}),
    lambda: loaded_checkpoint(headed(nn.Bilinear(512, 1, 2))),
    lambda: loaded_checkpoint(headed(nn.Sequential(nn.Linear(512, 8), nn.GELU(), nn.Linear(8, 2)))),
    lambda: loaded_checkpoint({"cnn": headed(nn.Linear(512, 2)), "more": {"weight": torch.ones(2, 9)}}),
    lambda: loaded_checkpoint(resnet18()),
    lambda: pellucid.explain(
        pellucid.load_model("torchvision:resnet18"), torch.linspace(0, 1, 3 * 64 * 64).view(1, 3, 64, 64)
    ),
    lambda: on_the_command_line("chelsea.png", "--model", "torchvision:resnet18"),
    lambda: on_the_command_line("chelsea.png", "--model", "torchvision:resnet18", "--target", "1"),
    lambda: Path("results/chelsea_metadata.json").unlink(),
    lambda: on_the_command_line("chelsea.png", "--model", "torchvision:resnet18"),
    lambda: on_the_command_line(
        *(shutil.copy("chelsea.png", name) for name in ("a.png", "b.png")),
        *("--model", "torchvision:resnet18", "--export", "sc"),
    ),
    lambda: full(),
    lambda: pellucid.prepare(
        pellucid.load_model(checkpoint=saved(resnet18().state_dict(), "c.pt")), pellucid.read_image("chelsea.png")
    ),
    lambda: pellucid.Preprocessing(channels=4)(pellucid.read_image("chelsea.png")),
    lambda: on_the_command_line(saved({}, "best.pt"), "--model", "torchvision:resnet18"),
    lambda: pellucid.read_series(series("dynamic", [0, 0, 1, 1], TemporalPositionIdentifier=[1, 2, 1, 2])),
    lambda: pellucid.read_series(series("mixed", [0, 1], SeriesInstanceUID=["1.2.3", "1.2.4"], SeriesNumber=[3, 4])),
    lambda: pellucid.read_series(series("gap", [0, 1, 2, 9])),
    lambda: with_limit("1e-9", lambda: pellucid.read_series(series("large", [0, 1]))),
    lambda: pellucid.read_series(with_notes(series("folder", [0, 1]))),
    lambda: on_the_command_line("ct", "--model", "monai:resnet10-3d", "--size", "16", "--range", "0,1"),
    lambda: pellucid.Preprocessing(channels=1, orientation="RAS")(unplaced(1, 4, 5, 6)),
    lambda: pellucid.Preprocessing(channels=1, orientation="RAS")(unplaced(1, 5, 6)),
    lambda: pellucid.Preprocessing(channels=1, spacing=(1e-4,) * 3)(pellucid.read_series("ct")),
    lambda: of_an_archive("store", "redirects 301"),
    lambda: of_an_archive("store", "shows a login"),
    lambda: of_an_archive("store", "stores nothing"),
    lambda: of_an_archive("store", "drips a body"),
    lambda: of_an_archive("retrieve", "gives a flood"),
]


def test_quoted_messages_are_raised(folder: Path) -> None:
    messages = []
    for trouble in TROUBLES:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                trouble()
            except pellucid.PellucidError as error:
                messages.append(str(error))
        messages += [str(warning.message) for warning in caught if warning.category is pellucid.PellucidWarning]
    page = " ".join(PAGES["troubleshooting.md"].split())
    quoted = TERM.findall(PAGES["troubleshooting.md"]) + re.findall(r"`((?:normalised|Target) [^`]+)`", page)
    assert len(quoted) > 18
    patterns = {text: ".*".join(map(re.escape, text.split("…"))) for text in quoted}
    assert [text for text, pattern in patterns.items() if not any(re.search(pattern, one) for one in messages)] == []


# The built pages.


HEADINGS = (
    "needs a layer?",
    "class-specific?",
    "cost",
    "What it computes",
    "When to use it",
    "How to call it",
    "Options",
)


class Links(HTMLParser):
    """The links of a page, the files it loads, and its anchors."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = dict(attributes)
        self.anchors |= {known[key] for key in ("id", "name") if known.get(key)}
        if tag == "a" and known.get("href"):
            self.links.append(known["href"])
        elif tag == "link" and known.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loaded.append(known["href"])
        elif known.get("src"):
            self.loaded.append(known["src"])


def test_the_site_builds_without_warnings_and_has_every_page_and_link(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install '.[docs]'")
    environment = {**os.environ, "PELLUCID_DOCS_FIGURES": "0", "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr  # --quiet would not count the warnings
    assert "WARNING" not in done.stderr
    site = {path: Links(path.read_text(encoding="utf-8")) for path in (tmp_path / "site").rglob("*.html")}
    for about in METHODS:
        page = tmp_path / "site" / about.file.replace(".md", ".html")
        papers = [target for target in site[page].links if "arxiv.org" in target or "doi.org" in target]
        shown = page.read_text(encoding="utf-8")
        assert papers or "pytorch-grad-cam" in shown or "no arXiv" in shown, about.name
        assert [heading for heading in HEADINGS if heading not in shown] == []
    assert [f"{page.name}: {link}" for page, found in site.items() for link in _broken(page, found, site)] == []
    loaded_from = {target for found in site.values() for target in found.loaded}
    assert [target for target in loaded_from if re.match("(https?:)?//", target)] == []


def _broken(page: Path, found: Links, site: dict[Path, Links]) -> Iterator[str]:
    """The broken links of a page within the site."""
    if page.name == "404.html":  # its links start at the root of a server
        return
    for link in [*found.links, *found.loaded]:
        if re.match(r"\w+:", link) or link.startswith("/"):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path.partition("?")[0]).resolve() if path else page
        target = target / "index.html" if target.is_dir() else target
        known = site.get(target)
        if not target.exists() or (anchor and known is not None and anchor not in known.anchors):
            yield link


def test_example_images_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pellucid, "available_methods", lambda: ["gradcam", "rollout"])
    monkeypatch.syspath_prepend(DOCS / "generate")
    threads = torch.get_num_threads()
    figures = loaded("figures")
    monkeypatch.setattr(figures, "CACHE", tmp_path)
    drawn = figures.drawn()
    torch.set_num_threads(threads)
    assert sorted(path.name for path in drawn.values()) == [
        "gradcam-cnn.webp", "gradcam-vit.webp", "phantom.webp", "rollout-vit.webp"
    ]  # fmt: skip
    assert all(1_000 < path.stat().st_size < 60_000 for path in drawn.values())
    assert figures.drawn() == drawn
