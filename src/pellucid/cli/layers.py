"""``pellucid layers``: list a model's layers with their output shapes, and mark the recommended one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.console import guarded, print_json
from pellucid.cli.modelling import Activation, Checkpoint, ModelOutput, OptionalSpec, WeightsKey

if TYPE_CHECKING:
    from rich.tree import Tree

    from pellucid.run.layers import LayerTree


EXAMPLES = (
    "pellucid layers torchvision:resnet18",
    "pellucid layers timm:vit_tiny_patch16_224 --json",
)


def layers(
    spec: OptionalSpec = None,
    checkpoint: Checkpoint = None,
    weights_key: WeightsKey = None,
    activation: Activation = None,
    input_size: Annotated[
        str | None, typer.Option(metavar="C,H,W", help="Input size (default: what the model states, or a common size).")
    ] = None,
    model_output: ModelOutput = None,
    share: Annotated[
        bool, typer.Option("--share", help="Measure how much of the score passes through each layer; takes a while.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a tree.")] = False,
) -> None:
    """List a model's layers with their output shapes, and mark the one that would be explained."""
    with guarded():
        from pellucid.models.sources import load_model
        from pellucid.run.layers import layer_tree

        model = load_model(spec, checkpoint, weights_key=weights_key, activation=activation)
        tree = layer_tree(model, _size(input_size), model_output, share)
        if as_json:
            shapes = {name: list(shape[1:]) for name, shape in tree.profile.shapes.items() if name}
            facts = {"recommended": list(tree.recommended), "shares": dict(tree.shares), "shapes": shapes}
            print_json(json.dumps(facts, indent=2))
        else:
            _show(spec or str(checkpoint), tree)


def _size(text: str | None) -> tuple[int, ...] | None:
    from pellucid.errors import OptionError

    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise OptionError(f"--input-size {text} was given; write whole numbers above 0, as in 3,224,224")
    return tuple(map(int, parts))


def _show(spec: str, tree: LayerTree) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.tree import Tree

    root = Tree(f"[bold]{escape(spec)}[/bold]")
    nodes: dict[str, Tree] = {"": root}
    # Parents finish after their children; sorted by depth, then by when they finished.
    for name in sorted(filter(None, tree.profile.shapes), key=lambda name: name.count(".")):
        nodes[name] = _parent(nodes, name).add(_line(name, tree))
    Console(emoji=False).print(root)


def _parent(nodes: dict[str, Tree], name: str) -> Tree:
    """The nearest enclosing module that is in the tree."""
    while name:
        name = name.rpartition(".")[0]
        if name in nodes:
            return nodes[name]
    return nodes[""]


def _line(name: str, tree: LayerTree) -> str:
    text = f"{name}  [dim]{' × '.join(map(str, tree.profile.shapes[name][1:]))}[/dim]"
    share = tree.shares.get(name)
    text += "" if share is None else f"  share {share:.2f}"
    return f"[bold green]{text}  ← recommended[/bold green]" if name in tree.recommended else text
