"""The page of choices: a row for each network, the pairs of each, and a plot of grades against hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import results
from benchmarks.choice_judged import Judged, Outcome, hindsight, ranking, rate
from benchmarks.choice_networks import FAMILIES
from benchmarks.choice_stability import Stability

HEAD = ("network", "AUC", "chosen", "hits", "convention", "best in hindsight", "ρ", "ρ of 2 % alone", "mass")


def page(known: Mapping[str, Outcome], halves: Stability | None) -> str:
    """The tables: the networks that learnt from drawn radiographs, and what else a choice was tried on."""
    known = {name: known[name] for name in sorted(known, key=_order)}
    networks = {name: one for name, one in known.items() if is_family(name)}
    others = {name: one for name, one in known.items() if name not in networks}
    details = "\n".join(_details(name, one) for name, one in known.items())
    return (
        f"{_rates(networks)}\n{_summary(networks)}\n\n{_STRICT}\n\n{_exact(networks)}\n"
        f"### Elsewhere\n\n{_ELSEWHERE}\n\n{_rates(others)}\n{_STRICT}\n\n{_exact(others)}\n{_halves(halves)}{details}"
    )


def _rates(known: Mapping[str, Outcome]) -> str:
    return results.table(HEAD, [_row(name, one) for name, one in known.items()])


def _exact(known: Mapping[str, Outcome]) -> str:
    header = ("network", "chosen", "convention", "best", "called right: chosen", "convention there")
    return results.table(header, [_strict(name, one) for name, one in known.items()])


_ELSEWHERE = (
    "The second network of three families with the same scenes drawn again without the finding among what replaces; a "
    "network that knows by heart labels drawn at random (its hits are those of drawn findings that it was taught to "
    "call, and it cannot know them); mosaics of photographs; real ultrasound, where half of the normal images lend "
    "tissue and what chose is also what is judged."
)
_STRICT = (
    "The same with the peak in the drawn mask itself (tolerance 0), and within half a cell over the cases alone that "
    "the network called right:"
)


def is_family(name: str) -> bool:
    """Whether a name is that of a network and its seed, such as "cnn-1"."""
    family, _, seed = name.rpartition("-")
    return family in FAMILIES and seed.isdigit()


def _order(name: str) -> tuple[int, str]:
    family = name.partition("-")[0]
    return (list(FAMILIES).index(family) if family in FAMILIES else len(FAMILIES), name)


def _halves(found: Stability | None) -> str:
    """What both halves of images chose, and how the number of images changes it."""
    if found is None:
        return ""
    rows = [
        (str(number + 1), *(f"{100 * hit:.0f} {name}" for hit, name in zip(hits, names, strict=True)))
        for number, (hits, names) in enumerate(zip(found.hits, found.chosen, strict=True))
    ]
    apart = [abs(one - other) for one, other in found.hits]
    growth = [
        (
            count,
            "withheld" if width is None else f"{width:.2f}",
            " / ".join(f"{100 * hit:.0f}" for hit in found.picks[count]),
        )
        for count, width in found.widths.items()
    ]
    return (
        f"### Other images\n\n20 random splits of 100 findings in halves of 50; hits (%) of what each half chose, on "
        f"the same 500 other findings, where the best pair has {100 * found.best:.0f}. The median difference is "
        f"{100 * float(np.median(apart)):.1f} points, the largest {100 * max(apart):.1f}.\n\n"
        f"{results.table(('split', 'one half', 'the other half'), rows)}\n"
        f"By the first stage alone, 20 draws of each number of findings: the median width of the chosen pair's "
        f"interval, and the hits of what was chosen (least / median / most).\n\n"
        f"{results.table(('findings', 'width of the interval', 'hits, %'), growth)}\n"
    )


def title(name: str) -> str:
    """A network as a reader sees it."""
    family, _, seed = name.partition("-")
    return f"{FAMILIES[family].title}, seed {seed}" if family in FAMILIES else name


def chosen_of(one: Outcome) -> Judged | None:
    """The chosen pair; None where nothing was chosen."""
    return next((pair for pair in one.pairs if pair.is_chosen), None)


def convention_of(one: Outcome) -> Judged:
    """Grad-CAM at the layer that is found."""
    return next(pair for pair in one.pairs if pair.is_convention)


def able(one: Outcome) -> list[Judged]:
    """The pairs that may be chosen."""
    return [pair for pair in one.pairs if not pair.excluded]


def _row(name: str, one: Outcome) -> tuple[str, ...]:
    chosen, best = chosen_of(one), hindsight(able(one))
    picked = max(one.pairs, key=lambda pair: sum(pair.near))
    every = "" if not picked.excluded else f"; of all pairs {rate(picked.near)}"
    return (
        title(name),
        ", ".join(f"{area:.3f}" for area in one.auc) or "—",
        "nothing" if chosen is None else chosen.name,
        "—" if chosen is None else rate(chosen.near),
        rate(convention_of(one).near),
        f"{rate(best.near)} {best.name}{every}",
        _correlation(one.pairs, "grade"),
        _correlation(one.pairs, "first"),
        "—" if chosen is None else f"{chosen.mass:.2f}",
    )


def _correlation(pairs: Sequence[Judged], by: str) -> str:
    found = ranking(pairs, by)
    return "—" if np.isnan(found) else f"{found:.2f}"


def _strict(name: str, one: Outcome) -> tuple[str, ...]:
    chosen, convention = chosen_of(one), convention_of(one)
    best = hindsight([replace(pair, near=pair.hits) for pair in able(one)])
    return (
        title(name),
        "—" if chosen is None else rate(chosen.hits),
        rate(convention.hits),
        rate(best.near),
        "—" if chosen is None else rate(_where(chosen.near, one.called)),
        rate(_where(convention.near, one.called)),
    )


def _where(hits: Sequence[int], called: Sequence[int]) -> list[int]:
    return [hit for hit, right in zip(hits, called, strict=True) if right]


def _summary(known: Mapping[str, Outcome]) -> str:
    met, above, made = 0, 0, 0
    for one in known.values():
        chosen = chosen_of(one)
        if chosen is None:
            continue
        made += 1
        met += np.mean(chosen.near) >= 0.9 * np.mean(hindsight(able(one)).near)
        above += np.mean(chosen.near) > np.mean(convention_of(one).near)
    return (
        f"A choice was made on {made} of {len(known)} networks. On {met} its hits are at least 90 % of those of the "
        f"best pair in hindsight, and on {above} above those of convention."
    )


def _details(name: str, one: Outcome) -> str:
    """All pairs of a network, folded up."""
    header = ("pair", "hits within half a cell", "hits", "mass", "grade", "first stage")
    rows = [
        (
            f"**{pair.name}**" if pair.is_chosen else pair.name,
            rate(pair.near),
            rate(pair.hits),
            f"{pair.mass:.2f}",
            "" if pair.grade is None else f"{pair.grade:.2f}",
            "" if pair.first is None else f"{pair.first:.2f}",
        )
        for pair in sorted(one.pairs, key=lambda pair: -sum(pair.near))
    ]
    left_out = "; ".join(f"{name}: {why}" for name, why in one.replacements.items() if why) or "nothing"
    return (
        f'<details markdown="1"><summary>{title(name)}: every pair</summary>\n\n{one.reason}\n\n'
        f"Left out of what replaces: {left_out}.\n\n{results.table(header, rows)}\n</details>\n"
    )


def plot(known: Mapping[str, Outcome], path: Path) -> None:
    """Draw the first stage's grade of each pair against its hits, a panel a network that has grades.

    The chosen pair has a ring.
    """
    from matplotlib.figure import Figure

    known = {name: known[name] for name in sorted(known, key=_order) if next(_points(known[name]), None)}
    columns = 3
    lines = -(-len(known) // columns)
    figure = Figure(figsize=(9, 2.4 * lines), layout="constrained")
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).flat
    for axes, (name, one) in zip(panels, known.items(), strict=False):
        for pair, grade, mark in _points(one):
            axes.scatter(grade, 100 * np.mean(pair.near), s=14, c=mark, alpha=0.8, linewidths=0)
            if pair.is_chosen:
                axes.scatter(grade, 100 * np.mean(pair.near), s=90, facecolors="none", edgecolors="black")
        axes.axhline(100 * np.mean(convention_of(one).near), color="grey", linewidth=0.8, linestyle=":")
        axes.set_title(f"{title(name)}, ρ = {ranking(one.pairs, 'first'):.2f}", fontsize=8)
        axes.tick_params(labelsize=7)
    for axes in list(panels):
        axes.set_axis_off()
    figure.supxlabel("grade without masks", fontsize=9)
    figure.supylabel("hits within half a cell, %", fontsize=9)
    figure.savefig(path, dpi=110)


def plot_growth(halves: Stability, path: Path) -> None:
    """Draw what the number of findings does: the width of the interval, and the hits of what is chosen."""
    from matplotlib.figure import Figure

    counts = [int(count) for count in halves.picks]
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    wide, hits = figure.subplots(1, 2)
    stated = {int(count): width for count, width in halves.widths.items() if width is not None}
    wide.plot(list(stated), list(stated.values()), marker="o")
    wide.set_ylabel("width of the grade's interval", fontsize=9)
    least, median, most = (100 * np.array(each) for each in zip(*halves.picks.values(), strict=True))
    hits.fill_between(counts, least, most, alpha=0.25, label="least to most of 20 draws")
    hits.plot(counts, median, marker="o", label="median")
    hits.axhline(100 * halves.best, color="grey", linewidth=0.8, linestyle=":", label="best pair")
    hits.set_ylabel("hits of what is chosen, %", fontsize=9)
    hits.legend(fontsize=7)
    for axes in (wide, hits):
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(count) for count in counts], fontsize=7)
        axes.minorticks_off()
        axes.set_xlabel("findings that choose", fontsize=9)
    figure.savefig(path, dpi=110)


def _points(one: Outcome) -> Iterator[tuple[Judged, float, str]]:
    for pair in one.pairs:
        if pair.first is not None:
            yield pair, pair.first, "C3" if pair.excluded else "C0"
        elif pair.grade is not None:
            yield pair, pair.grade, "C1"
