"""A Python file with a function that returns a checkpoint's network: what was recognised, and what was assumed.

Names from a checkpoint are not trusted: they are written as literals, in comments as one line of printable letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.assumed import ORIENTATION, SIZE, VALUES

FIELDS = {
    "resize": SIZE,
    "crop": SIZE,
    "interpolation": "",
    "mean": VALUES,
    "std": VALUES,
    "range": "",
    "channels": "",
    "orientation": ORIENTATION,
    "spacing": "",
}
"""What is written of the preprocessing, and the part that begins with it where it is assumed."""
LONGEST = 300
UNFILLED = "ARCHITECTURE is not filled in: uncomment one of the candidates, or name another, as in torchvision:resnet50"


@dataclass(frozen=True)
class Facts:
    """What is known of a checkpoint's network; ``assumed`` are parts of its preprocessing, ``notes`` its warnings.

    ``spec`` is None where no architecture was recognised: ``problem`` says why, ``candidates`` are those that fit.
    """

    checkpoint: Path
    key: str | None = None
    activation: str | None = None
    spec: str | None = None
    spec_stated: bool = False
    count: int | None = None
    classes: Sequence[str] | None = None
    classes_stated: bool = False
    head: str | None = None
    head_is_a_layer: bool = False
    preprocessing: Preprocessing | None = None
    assumed: Sequence[str] = ()
    notes: Sequence[str] = ()
    problem: str = ""
    candidates: Sequence[str] = ()


def factory_file(facts: Facts, target: Path) -> str:
    """Return the file's text, for the path that it will have."""
    blocks = (_beginning(facts, target), _architecture(facts), _classes(facts), _head(facts), _preprocessing(facts))
    return "\n".join([*(line for block in blocks for line in block), *_build(facts)]) + "\n"


def literal(text: str) -> str:
    """A Python literal of any text, on one line, without letters that an editor does not show."""
    quote = "'" if '"' in text and "'" not in text else '"'
    return quote + "".join(_escaped(letter, quote) for letter in text) + quote


def _escaped(letter: str, quote: str) -> str:
    if letter in ("\\", quote):
        return f"\\{letter}"
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def comment(text: str) -> str:
    """A comment of one line."""
    line = " ".join(text.split())[:LONGEST]
    return "# " + "".join(letter if letter.isprintable() else "?" for letter in line)


def assumed(text: str) -> str:
    """A comment on something that nothing states."""
    return comment(f"assumed: {text[: LONGEST - 30]}; check")


def _beginning(facts: Facts, target: Path) -> Iterator[str]:
    yield '"""A model factory, written by `pellucid init`: see what is marked "assumed", and correct it.'
    yield ""
    yield "Use it with: pellucid explain IMAGE --model path/to/this_file.py:build --output results"
    yield '"""'
    yield ""
    yield "from pathlib import Path"
    yield "from typing import Any"
    yield ""
    yield "import pellucid"
    yield ""
    yield f"CHECKPOINT = {_path(facts.checkpoint, target)}"
    if facts.key is not None:
        yield f"WEIGHTS_KEY = {literal(facts.key)}"
    if facts.activation is not None:
        yield f"ACTIVATION = {literal(facts.activation)}  # between the layers of the head"


def _path(checkpoint: Path, target: Path) -> str:
    """The checkpoint's path, from the file on where it is beside it or below."""
    whole, folder = checkpoint.resolve(), target.resolve().parent
    if whole.is_relative_to(folder):
        return f"Path(__file__).parent / {literal(whole.relative_to(folder).as_posix())}"
    return f"Path({literal(str(whole))})"


def _architecture(facts: Facts) -> Iterator[str]:
    yield ""
    if facts.spec is None:
        yield comment(f"not recognised: {facts.problem}")
        yield from (comment(f"ARCHITECTURE = {literal(each)}") for each in facts.candidates)
        yield 'ARCHITECTURE = ""'
        return
    origin = "stated by the checkpoint" if facts.spec_stated else "recognised by the names and shapes of the weights"
    yield comment(origin)
    yield from (assumed(note) for note in facts.notes)
    yield f"ARCHITECTURE = {literal(facts.spec)}"


def _classes(facts: Facts) -> Iterator[str]:
    yield ""
    number = "" if facts.count is None else f" {facts.count}"
    if facts.classes is None:
        yield assumed(f"the{number} classes have no names, write a list of them in the order of the outputs")
        yield "CLASSES: list[str] | None = None"
        return
    yield (
        comment(f"the names of the{number} classes, stated by the checkpoint")
        if facts.classes_stated
        else assumed("the classes are those of the architecture's published weights")
    )
    yield "CLASSES: list[str] | None = ["
    yield from (f"    {literal(name)}," for name in facts.classes)
    yield "]"


def _head(facts: Facts) -> Iterator[str]:
    yield ""
    if facts.head_is_a_layer:
        said = (
            f"stated by the checkpoint: {facts.head}" if facts.head else "assumed: one class of many (softmax); check"
        )
        yield comment(f"How the outputs are read is {said}. Change it with --head: a layer has the name `head`.")
    elif facts.head is None:
        yield assumed('one class of many ("softmax"), write "sigmoid" if several findings may be present together')
        yield "HEAD: str | None = None"
    else:
        yield comment("how the outputs are read, stated by the checkpoint")
        yield f"HEAD: str | None = {literal(facts.head)}"


def _preprocessing(facts: Facts) -> Iterator[str]:
    known = facts.preprocessing
    yield ""
    if known is None:
        yield comment("None takes what the checkpoint states, or else the architecture's published weights")
        yield "PREPROCESSING: pellucid.Preprocessing | None = None"
        return
    yield "PREPROCESSING: pellucid.Preprocessing | None = pellucid.Preprocessing("
    marked: set[str] = set()
    for name, part in FIELDS.items():
        if part in facts.assumed and part not in marked:
            marked.add(part)
            yield f"    {assumed(f'{part}, which nothing states')}"
        value = getattr(known, name)
        yield f"    {name}={literal(value) if isinstance(value, str) else repr(value)},"
    yield '    source="the model factory",'
    yield ")"


def _build(facts: Facts) -> Iterator[str]:
    yield ""
    yield ""
    yield "def build() -> Any:"
    yield '    """Return the network with its weights, and what is known of it."""'
    if facts.spec is None:
        yield "    if not ARCHITECTURE:"
        yield "        raise ValueError("
        yield f"            {literal(UNFILLED)}"
        yield "        )"
    yield "    model: Any = pellucid.load_model("
    yield "        ARCHITECTURE,"
    yield "        checkpoint=CHECKPOINT,"
    yield "        preprocessing=PREPROCESSING,"
    if facts.key is not None:
        yield "        weights_key=WEIGHTS_KEY,"
    if facts.activation is not None:
        yield "        activation=ACTIVATION,"
    yield "    )"
    for name in ("CLASSES",) if facts.head_is_a_layer else ("CLASSES", "HEAD"):
        yield f"    if {name} is not None:"
        yield f"        model.{name.lower()} = {name}"
    yield "    return model"
