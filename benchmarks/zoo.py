"""``python -m benchmarks.zoo``: explains many networks without naming a layer, and tabulates which succeed.

Each network has random weights and is explained for twenty classes. ``benchmarks.verdict`` checks whether its maps are
plausible. Results are stored, so an interrupted run continues where it stopped.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Any

import typer

from benchmarks import results
from benchmarks.verdict import Verdict, judged
from benchmarks.workers import MEMORY, judgements
from benchmarks.zoo_models import of_timm, others, sample, sizes

NAME = "zoo"
FILE = results.FOLDER / f"{NAME}.json"
WHY: Mapping[str, str] = {
    "hf:dinat": "needs the package natten, which is not installed",
    "hf:imagegpt": "takes a sequence of colour indices, not an image",
    "hf:shieldgemma2": "takes text with its images",
    "hf:siglip2": "takes precomputed patches, not an image",
    "timm:qwen3_vit_88m_enc": "has no classifier: it outputs tokens for a language model",
}
"""The reasons why some networks are not explained."""


@dataclass
class Zoo:
    """All results: a verdict per network, and the lists of timm's smallest networks and of the sample."""

    rows: dict[str, Verdict] = field(default_factory=dict)
    smallest: list[str] = field(default_factory=list)
    sampled: list[str] = field(default_factory=list)

    @classmethod
    def read(cls) -> Zoo:
        """Read the results of earlier runs."""
        if not FILE.exists():
            return cls()
        kept = json.loads(FILE.read_text())
        rows = {spec: _verdict(row) for spec, row in kept["rows"].items()}
        return cls(rows, kept["smallest"], kept["sampled"])

    def keep(self) -> None:
        """Store the results so far, one network per line."""
        lines = ",\n".join(f"{json.dumps(spec)}: {json.dumps(asdict(self.rows[spec]))}" for spec in sorted(self.rows))
        lists = f'"smallest": {json.dumps(self.smallest)},\n"sampled": {json.dumps(self.sampled)}'
        FILE.write_text(f'{{{lists},\n"rows": {{\n{lines}\n}}}}\n')


def _verdict(row: Mapping[str, Any]) -> Verdict:
    return Verdict(**{**row, "grid": tuple(row["grid"])})


def page(zoo: Zoo) -> str:
    """The counts by source, the failures with their reasons, and all rows."""
    parts = {
        "torchvision, images and videos": _of(zoo, "torchvision:"),
        "timm, the smallest of each family": zoo.smallest,
        f"timm, a sample of {len(zoo.sampled)}": zoo.sampled,
        "transformers, every type": _of(zoo, "hf:"),
        "torchxrayvision": _of(zoo, "xrv:"),
        "MONAI, in two and three dimensions": _of(zoo, "monai:"),
    }
    known = {title: sorted(spec for spec in specs if spec in zoo.rows) for title, specs in parts.items()}
    counts = [(title, f"{_passed(zoo, specs)} of {len(specs)}") for title, specs in known.items()]
    tables = [f"### {title[0].upper()}{title[1:]}\n\n{_rows(zoo, specs)}\n" for title, specs in known.items()]
    return f"{results.table(('networks', 'explained'), counts)}\n{_failures(zoo)}\n{''.join(tables)}"


def _passed(zoo: Zoo, specs: Sequence[str]) -> int:
    return sum(zoo.rows[spec].passed for spec in specs)


def _of(zoo: Zoo, prefix: str) -> list[str]:
    return sorted(spec for spec in zoo.rows if spec.startswith(prefix))


def _failures(zoo: Zoo) -> str:
    """The failures, one per line."""
    failed = sorted(spec for spec, verdict in zoo.rows.items() if not verdict.passed)
    return "".join(f"- `{spec}`: {WHY.get(spec, zoo.rows[spec].reason)}\n" for spec in failed)


def _rows(zoo: Zoo, specs: Sequence[str]) -> str:
    header = ("network", "layer", "grid", "share", "geometry", "position", "changes followed", "seconds")
    return results.table(header, (_row(spec, zoo.rows[spec]) for spec in specs))


def _row(spec: str, verdict: Verdict) -> tuple[str, ...]:
    name = spec if verdict.passed else f"{spec}, not explained"
    follows = "" if verdict.followed is None else f"{verdict.followed} of 9"
    grid = " × ".join(map(str, verdict.grid))
    return (
        name,
        _layers(verdict),
        grid,
        "" if verdict.share is None else f"{verdict.share:.2f}",
        "" if verdict.geometry is None else verdict.geometry or "whole image",
        f"{verdict.position:.2f}",
        follows,
        f"{verdict.seconds:.1f}{'' if verdict.device == 'cpu' else f' ({verdict.device})'}",
    )


def _layers(verdict: Verdict) -> str:
    """The first layer, and how many others are joined with it."""
    if not verdict.layer:
        return ""
    return f"`{verdict.layer}`" if verdict.layers == 1 else f"`{verdict.layer}` and {verdict.layers - 1} more"


def main(
    spec: Annotated[
        list[str] | None, typer.Argument(help="Judge only these, such as timm:vit_tiny_patch16_224.")
    ] = None,
    count: Annotated[int, typer.Option("--sample", min=0, help="Also a random sample of this many of timm's.")] = 0,
    every: Annotated[bool, typer.Option("--all", help="Also all of timm's.")] = False,
    seed: Annotated[int, typer.Option(help="The seed of the sample.")] = 0,
    limit: Annotated[float, typer.Option(min=1, help="Time limit per network, in seconds.")] = 60.0,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes, of one thread each.")] = 2,
    again: Annotated[bool, typer.Option(help="Judge again what has been judged.")] = False,
    memory: Annotated[float, typer.Option(min=1, help="Memory limit of a worker, in GiB.")] = MEMORY,
    device: Annotated[str, typer.Option(help="Where networks run, such as cuda, which reserves memory.")] = "cpu",
) -> None:
    """Judge networks, and write docs/results/zoo.json and zoo.md."""
    zoo = Zoo.read()
    drawn = sample(count, seed) if count else []
    zoo.sampled = drawn or zoo.sampled
    zoo.smallest = zoo.smallest if spec else of_timm()
    wanted = [*(spec or [*zoo.smallest, *others(), *zoo.sampled]), *drawn]
    wanted += [f"timm:{name}" for name in (sizes() if every else ())]
    todo = [one for one in dict.fromkeys(wanted) if again or one not in zoo.rows]
    for one, verdict in judgements(todo, limit, workers, partial(judged, device=device), memory):
        zoo.rows[one] = verdict
        zoo.keep()
        typer.echo(f"{'passed' if verdict.passed else 'FAILED'} {one}: {verdict.layer} {verdict.grid} {verdict.reason}")
    results.write(NAME, page(zoo))
    passed = Counter(zoo.rows[one].passed for one in dict.fromkeys(wanted))
    typer.echo(f"{passed[True]} of {passed.total()} explained")


if __name__ == "__main__":
    typer.run(main)
