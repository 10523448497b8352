"""The tables of ``benchmarks.fooled``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from benchmarks import results
from benchmarks.fooled_figures import POINT, Figure, OfMethod, OfNetwork, reference
from benchmarks.fooled_networks import NETWORKS

_GAPS = {"zero": "pixels become grey", "blur": "pixels are blurred", "cells": "cells become grey"}
_Known = Mapping[str, OfNetwork]


def page(known: _Known) -> str:
    """What became of the predictions, of the maps that were aimed at, and of all other maps."""
    one = next(iter(known.values()))
    return (
        f"The predictions, on {one.tested} radiographs of 64 × 64 pixels:\n\n{_predictions(known)}\n"
        f"The maps that were aimed at, on {_cases(one)} findings; **bold**: apart from the untouched network's, which "
        f"stand in the row above.\n\n{_aimed(known)}\n"
        f"Hit rates of every method; **bold** as above:\n\n{_every(known, _hits)}\n"
        f"Deletion against random order, {_GAPS['zero']}, of every method; below 0 is better than random order:\n\n"
        f"{_every(known, _gap)}"
    )


def _cases(one: OfNetwork) -> int:
    return next(iter(one.methods.values())).cases


def _predictions(known: _Known) -> str:
    header = ("network", "accuracy", "change, points", "within a point", "AUC", "same class predicted")
    rows = [
        (
            NETWORKS[name].title,
            f"{100 * one.accuracy.estimate:.1f} %",
            "—" if name == reference(name) else _signed(one.change, 100.0, 1),
            "—" if name == reference(name) else _yes(one.change.within(POINT)),
            f"{one.auc:.4f}",
            f"{100 * one.same:.1f} %",
        )
        for name, one in known.items()
    ]
    return results.table(header, rows)


def _aimed(known: _Known) -> str:
    header = ("network", "map", "hits", *(f"deletion − random, {what}" for what in _GAPS.values()), "ρ", "empty")
    return results.table(header, _aimed_rows(known))


def _aimed_rows(known: _Known) -> Iterator[tuple[str, ...]]:
    for name, one in known.items():
        for method in NETWORKS[name].aimed:
            before = known[reference(name)].methods[method]
            yield (NETWORKS[reference(name)].title, f"`{method}`", *_cells(before, before))
            yield (NETWORKS[name].title, f"`{method}`", *_cells(one.methods[method], before))


def _cells(one: OfMethod, before: OfMethod) -> tuple[str, ...]:
    gaps = [_bold(_gap_text(one.gaps[key]), one.gaps[key].apart(before.gaps[key])) for key in _GAPS]
    alike = "—" if one.likeness is None else f"{one.likeness:.2f}"
    return (_bold(_share(one.hits), one.hits.apart(before.hits)), *gaps, alike, f"{100 * one.empty:.0f} %")


def _every(known: _Known, cell: Callable[[OfMethod, OfMethod], str]) -> str:
    methods = list(next(iter(known.values())).methods)
    rows = [
        (
            NETWORKS[name].title,
            *(cell(one.methods[method], known[reference(name)].methods[method]) for method in methods),
        )
        for name, one in known.items()
    ]
    return results.table(("network", *(f"`{method}`" for method in methods)), rows)


def _hits(one: OfMethod, before: OfMethod) -> str:
    return _bold(f"{100 * one.hits.estimate:.0f} %", one.hits.apart(before.hits))


def _gap(one: OfMethod, before: OfMethod) -> str:
    return _bold(f"{one.gaps['zero'].estimate:+.3f}", one.gaps["zero"].apart(before.gaps["zero"]))


def _share(found: Figure) -> str:
    if found.low is None or found.high is None:
        return f"{100 * found.estimate:.0f} %"
    return f"{100 * found.estimate:.0f} % ({100 * found.low:.0f}–{100 * found.high:.0f})"


def _gap_text(found: Figure) -> str:
    return _signed(found, 1.0, 3)


def _signed(found: Figure, factor: float, digits: int) -> str:
    """An estimate with its interval, each with its sign."""
    if found.low is None or found.high is None:
        return f"{factor * found.estimate:+.{digits}f}"
    low, high = factor * found.low, factor * found.high
    return f"{factor * found.estimate:+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _bold(text: str, marked: bool) -> str:
    return f"**{text}**" if marked else text


def _yes(held: bool) -> str:
    return "yes" if held else "no"
