"""Generates the page of every method, and the tables of all methods, from the methods' own files."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import costs  # this folder is importable while MkDocs loads its hooks
import measured

import pellucid
from pellucid.core import catalogue, gates
from pellucid.core.method import Method

LINKS = (
    (r"arXiv:(\d{4}\.\d{4,5})", r"https://arxiv.org/abs/\1"),
    (r"doi:(10\.[^\s,)]+)", r"https://doi.org/\1"),
    (r"pytorch-grad-cam", "https://github.com/jacobgil/pytorch-grad-cam"),
)
"""The references that docstrings contain, and their addresses."""

WHEN = "When to use it: "

FAILS = "Fails sanity checks"
"""The end of a method's first line if it is published that its maps hardly depend on the network."""
WARNING = f"""\
!!! warning "{FAILS}"

    The map hardly changes when the weights of the network's upper layers are replaced by random ones (Adebayo et al.
    2018, [arXiv:1810.03292](https://arxiv.org/abs/1810.03292)). It is no evidence of what the network has learnt."""


MEASURED = """\
!!! warning "Fails the test against random weights"

    Measured here ({places}): its maps of a trained network are no less like those of random weights than those of
    other trained networks ([the test](../gates.md))."""


@dataclass(frozen=True)
class About:
    """A method and the parts of its file's first line: title, paper, summary."""

    cls: type[Method]
    title: str
    paper: str
    summary: str

    @property
    def name(self) -> str:
        """The name that ``explain(method=…)`` takes."""
        return self.cls.name

    @property
    def slug(self) -> str:
        """The name in a form that suits a file name."""
        return self.name.replace("++", "-plusplus").replace("+", "-plus")

    @property
    def file(self) -> str:
        """The path of its page in ``docs``."""
        return f"methods/{self.slug}.md"

    @property
    def wraps(self) -> bool:
        """Whether it is a wrapper, with another method as an option."""
        return any(isinstance(default, Method) for default in catalogue.options(self.cls).values())

    @property
    def reads_attention(self) -> bool:
        """Whether it needs a network with attention."""
        return self.cls.uses_attention

    @property
    def fails_sanity_checks(self) -> bool:
        """Whether its file declares that its maps hardly depend on the weights, as published."""
        return FAILS in self.summary

    @property
    def fails_gate(self) -> bool:
        """Whether its maps were measured not to depend on the weights, where no layer is named."""
        return gates.fails_by_default(self.name)

    @property
    def what(self) -> str:
        """What it does, in a sentence, with what it failed."""
        places = ", ".join(gates.failures(self.name))
        return _sentence(self.summary) + (f" FAILS the test against random weights: {places}." if places else "")

    @property
    def layer(self) -> str:
        """Whether it explains at a layer, in a word."""
        return "as wrapped" if self.wraps else "yes" if self.cls.uses_layers else "no"

    @property
    def class_specific(self) -> str:
        """Whether its map depends on the class, in a word."""
        return "as wrapped" if self.wraps else "yes" if self.cls.class_specific else "no"

    @property
    def cost(self) -> costs.Cost:
        """The passes that it runs."""
        return costs.cost(self.name, self.reads_attention)


@dataclass(frozen=True)
class Shown:
    """The example images: their caption, and their files by (method, network); ("", "") is the radiograph."""

    caption: str
    files: Mapping[tuple[str, str], str]


def methods() -> list[About]:
    """Every registered method, sorted by name."""
    return [_about(catalogue.find(name)) for name in pellucid.available_methods()]


_FAMILIES = {
    "At a layer": "They explain at the output of one or several layers. Most maps have the resolution of the layer.",
    "At the input": "They explain at the input. Their maps have the resolution of the image.",
    "From attention": "They read a transformer's attention. Most maps have the resolution of its patches.",
    "Wrappers": "They run another method several times, or transform its result.",
    "Independent of the class": "The map is the same for every class, so it is evidence for none.",
}
"""The families of methods, with a sentence on each."""


def families() -> list[tuple[str, list[About]]]:
    """The methods of each family."""
    groups: dict[str, list[About]] = {family: [] for family in _FAMILIES}
    for about in methods():
        groups[_family(about)].append(about)
    return [(family, each) for family, each in groups.items() if each]


def _family(about: About) -> str:
    if about.wraps:
        return "Wrappers"
    if not about.cls.class_specific:
        return "Independent of the class"
    if about.reads_attention:
        return "From attention"
    return "At a layer" if about.cls.uses_layers else "At the input"


def _about(cls: type[Method]) -> About:
    parts = re.fullmatch(r"(.+?) \((.+?)\): (.+)", catalogue.summary(cls))
    if parts is None:
        raise ValueError(f"{cls.__module__}: the first line must read 'name (paper): what it does'")
    return About(cls, *parts.groups())


def table(prefix: str) -> str:
    """All methods in one table; ``prefix`` leads to the folder of their pages."""
    rows = ["| name | what it does | layer | class | passes |", "| --- | --- | --- | --- | --- |"]
    for about in methods():
        facts = f"{about.layer} | {about.class_specific} | {about.cost.short}"
        rows.append(f"| {_link(about, prefix)} | {prose(about.what)} | {facts} |")
    return "\n".join(rows) + f"\n\n*layer*: explains at a layer. *class*: the map depends on the class. {_PASSES}"


def tables() -> str:
    """A table per family, for the page that the methods' pages are listed on."""
    parts = []
    for family, each in families():
        rows = ["| name | what it does | paper | passes |", "| --- | --- | --- | --- |"]
        for about in each:
            what = f"{prose(about.what)} | {prose(about.paper)} | {about.cost.short}"
            rows.append(f"| {_link(about, '')} | {what} |")
        parts.append(f"### {family}\n\n{_FAMILIES[family]}\n\n" + "\n".join(rows))
    return "\n\n".join([*parts, _PASSES])


def _link(about: About, prefix: str) -> str:
    return f"[`{about.name}`]({prefix}{about.slug}.md)"


def links(prefix: str, wanted: Callable[[About], bool]) -> str:
    """The links to some methods' pages, in one line."""
    return ", ".join(_link(about, prefix) for about in methods() if wanted(about))


def gate_failures(prefix: str) -> str:
    """The methods that failed the test against random weights, each with the places where it did."""
    failed = [(about, gates.failures(about.name)) for about in methods()]
    return "; ".join(f"{_link(about, prefix)} ({', '.join(places)})" for about, places in failed if places) or "none"


_PASSES = f"*passes*: forward + backward passes through the network, {costs.COUNTED}."


def page(about: About, shown: Shown) -> str:
    """The page of a method, as Markdown."""
    text, when = _described(about.cls)
    parts = [
        f"# {about.title}",
        f"*{prose(_sentence(about.summary))}*",
        f"Paper: {prose(about.paper)}.",
        WARNING if about.fails_sanity_checks else "",
        MEASURED.format(places=", ".join(gates.failures(about.name))) if about.fails_gate else "",
        _figures(about, shown),
        "## In short",
        _facts(about),
        "## What it computes",
        *text,
        "## When to use it",
        when,
        "## How to call it",
        _called(about),
        "## Options",
        _options(about.cls),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def prose(text: str) -> str:
    """A docstring's text as Markdown: code in backticks, no accidental emphasis, references as links."""
    pieces = re.split(r"``(.+?)``", " ".join(text.split()))
    for index, piece in enumerate(pieces):
        pieces[index] = f"`{piece}`" if index % 2 else _linked(re.sub(r"([*_<>|\[\]])", r"\\\1", piece))
    return "".join(pieces)


def _linked(text: str) -> str:
    for pattern, target in LINKS:
        text = re.sub(pattern, lambda found, target=target: f"[{found[0]}]({found.expand(target)})", text)  # type: ignore[misc]
    return text


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _described(cls: type[Method]) -> tuple[list[str], str]:
    """The docstring's paragraphs as Markdown, without its example; and when to use the method."""
    text, when = [], ""
    for paragraph in re.split(r"\n\n+", inspect.getdoc(cls) or ""):
        if paragraph.startswith(">>>"):
            continue
        if paragraph.startswith(WHEN):
            when = prose(_sentence(paragraph.removeprefix(WHEN)))
        elif paragraph.startswith("    "):
            text.append(f"```text\n{_formula(paragraph)}\n```")
        else:
            text.append(prose(paragraph.replace("::", ":") if paragraph.endswith("::") else paragraph))
    if not when:
        raise ValueError(f"{cls.__module__}: the docstring has no paragraph 'When to use it: …'")
    return text, when


def _formula(block: str) -> str:
    """A block of formulas, one per line: in docstrings wide gaps separate them."""
    lines = inspect.cleandoc(block).replace("``", "").splitlines()
    return "\n".join(re.sub(r"(?<=\S) {4,}", "\n", line) for line in lines)


def _figures(about: About, shown: Shown) -> str:
    """The example image and its maps, side by side."""
    files = {network: file for (name, network), file in shown.files.items() if name in ("", about.name)}
    if not files:
        return ""
    figures = "\n".join(
        f'<figure><img alt="{_alt(about, network)}" src="images/{file}"><figcaption>{network or "the image"}'
        "</figcaption></figure>"
        for network, file in files.items()
    )
    return f'<div class="maps">\n{figures}\n</div>\n\n{shown.caption}\n{{: data-search-exclude }}'


def _alt(about: About, network: str) -> str:
    return f"The map of {about.title} for the {network}" if network else "A drawn radiograph with outlined findings"


def _called(about: About) -> str:
    """A call in Python and on the command line, with the options if there are any."""
    given = catalogue.options(about.cls)
    model = "timm:vit_tiny_patch16_224" if about.reads_attention else "torchvision:resnet18"
    python = [
        "import torch",
        "",
        "import pellucid",
        "",
        f'model = pellucid.load_model("{model}")',
        "images = torch.randn(1, 3, 224, 224)  # prepared as in training",
        f'explanation = pellucid.explain(model, images, method="{about.name}")',
    ]
    command = f"pellucid explain image.png --model {model} \\\n    --method {about.name} --output results"
    if given:
        inner = sorted({type(value).__name__ for value in given.values() if isinstance(value, Method)})
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        python += [
            "",
            f"from pellucid.methods import {', '.join(sorted([about.cls.__name__, *inner]))}",
            "",
            f"method = {about.cls.__name__}({arguments})",
            "explanation = pellucid.explain(model, images, method=method)",
        ]
        command += " \\\n    " + " ".join(f"--set {key}={_text(value)}" for key, value in given.items())
    return "```python\n" + "\n".join(python) + "\n```\n\n```sh\n" + command + "\n```"


def _text(value: object) -> str:
    """An option's value in the form that the command line takes."""
    return value.name if isinstance(value, Method) else str(value).lower() if value is None else str(value)


def _options(cls: type[Method]) -> str:
    known = fields(cls)  # type: ignore[arg-type]  # methods are dataclasses
    if not known:
        return "None."
    rows = ["| name | type | default |", "| --- | --- | --- |"]
    rows += [f"| `{field.name}` | `{_type(field.type)}` | `{field.default!r}` |" for field in known]
    return "\n".join(rows)


def _type(hint: object) -> str:
    return (hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))).replace("|", "or")


def _facts(about: About) -> str:
    inner = "as the wrapped method"
    looks = "yes: `layers=` names it; by default it is found" if about.cls.uses_layers else "no"
    depends = "yes" if about.cls.class_specific else "no: the map is the same for every class"
    file = about.cls.__module__.rpartition(".")[2]
    return "\n".join(
        [
            '<div class="facts" markdown>',
            "",
            f"| name | `{about.name}` |",
            "| --- | --- |",
            f"| class | `pellucid.methods.{about.cls.__name__}` in `src/pellucid/methods/{file}.py` |",
            f"| needs a layer? | {inner if about.wraps else looks} |",
            f"| class-specific? | {inner if about.wraps else depends} |",
            f"| cost | {about.cost.text}, {costs.COUNTED} |",
            *measured.rows(about.name),
            *_gate(about.name),
            "",
            "</div>",
        ]
    )


def _gate(name: str) -> list[str]:
    """The row with the outcome of the test against random weights; none for a method that was not tested."""
    each = gates.outcomes(name).items()
    text = "; ".join(f"{network}: {', '.join(f'{place}: {own[place]}' for place in own)}" for network, own in each)
    return [f"| [test against random weights](../gates.md) | {text} |"] if text else []
