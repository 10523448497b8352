"""Find an architecture's weights among names that a wrapper has changed: under which prefix, with which head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor, nn

from pellucid.errors import CheckpointError, OptionError
from pellucid.models.checkpoints.heads import Head, read_head
from pellucid.models.checkpoints.layouts import equal, is_layer, plain, rank, same, taken, with_key
from pellucid.models.checkpoints.names import MOST_PREFIXES, Names
from pellucid.models.checkpoints.pooling import CUT, TIMM, ConcatPool, follows_pooling, is_fastais
from pellucid.models.checkpoints.reference import AUXILIARY, Reference, Slot, needed
from pellucid.models.checkpoints.refusals import OWN, few, words


@dataclass(frozen=True, eq=False)
class Match:
    """Weights by an architecture's names, and where in a state they were.

    ``head`` stands in place of the architecture's, at the module ``target``, and fastai's pooling in that of the module
    ``pool``. ``row``: the architecture's children are in a row, as fastai's body has them. ``beside`` are the weights
    that belong to none of it. ``problem``: why the weights but for the head's make no network. ``notes``: what the user
    must know.
    """

    reference: Reference
    prefix: str
    state: dict[str, Tensor]
    beside: dict[str, Tensor] = field(default_factory=dict)
    head: Head | None = None
    target: str = ""
    pool: str = ""
    row: bool = False
    problem: str = ""
    notes: tuple[str, ...] = ()

    def activated(self, name: str | None) -> Match:
        """Return the match with the activation of its head that the user knows. ``OptionError``: it has none."""
        if name is None:
            return self
        if self.head is None:
            raise OptionError(f"activation={name!r} was given; the head is {self.spec}'s own: leave it out")
        return replace(self, head=self.head.activated(name))

    @property
    def warnings(self) -> list[str]:
        """All that the user must know, also of the head."""
        return [*self.notes, *([self.head.note] if self.head is not None and self.head.assumed else [])]

    @property
    def spec(self) -> str:
        """The architecture, as a specification for ``load_model``."""
        return self.reference.spec

    @property
    def num_classes(self) -> int | None:
        """The number of classes of the weights, where it shows."""
        last = self.head.layers[-1] if self.head is not None else None
        return last.out_features if isinstance(last, nn.Linear) else self.reference.sizes(self.state)[0]

    @property
    def in_channels(self) -> int | None:
        """The number of input channels of the weights, where it shows."""
        return self.reference.sizes(self.state)[1]


def matches(reference: Reference, names: Names) -> list[Match]:
    """Return each place in a state where the weights of an architecture are, whatever its head.

    Only if there is none, those without a readable head are returned, each with its ``problem``.
    """
    found: dict[str, Match] = {}
    for form in _forms(reference):
        for slot in (None, *reference.slots):
            body = [name for name in needed(form) if not _within(form[name], slot) and not name.startswith(AUXILIARY)]
            for prefix in names.prefixes(body):
                match = _match(reference, names, prefix, form, slot)
                if match is not None and (prefix not in found or found[prefix].problem):
                    found[prefix] = match
    return [match for match in found.values() if not match.problem] or list(found.values())


def _forms(reference: Reference) -> Iterator[dict[str, str]]:
    """Yield the names that an architecture's weights may have, with its own: these, or its children by position."""
    yield {name: name for name in reference.shapes}
    numbers = {child: str(number) for number, child in enumerate(reference.children)}
    if not all(child.isdecimal() for child in numbers):
        parts = {name: name.partition(".") for name in reference.shapes}
        if all(part[0] in numbers for part in parts.values()):
            yield {f"{numbers[part[0]]}.{part[2]}": name for name, part in parts.items()}


def _within(name: str, slot: Slot | None) -> bool:
    return slot is not None and name.startswith(f"{slot.name}.")


def _match(reference: Reference, names: Names, prefix: str, form: Mapping[str, str], slot: Slot | None) -> Match | None:
    """Return the weights under a prefix by the architecture's names; None if their shapes or other names do not fit."""
    inside = names.under(prefix)
    body = {form[key]: value for key, value in inside.items() if key in form and not _within(form[key], slot)}
    rest = {key: value for key, value in inside.items() if key not in form or _within(form[key], slot)}
    if not reference.shapes_fit(body):
        return None
    if slot is not None and slot.cut:
        return _cut(Match(reference, prefix, body, names.beside(prefix)), rest, form, slot)
    if slot is not None:
        return _headed(Match(reference, prefix, body, names.beside(prefix)), rest, form, slot)
    auxiliary = {name for name in needed(reference.shapes) if name.startswith(AUXILIARY)}
    complete = not rest and auxiliary - body.keys() in (set(), auxiliary)
    return Match(reference, prefix, body, names.beside(prefix)) if complete else None


def _headed(body: Match, rest: dict[str, Tensor], form: Mapping[str, str], slot: Slot) -> Match:
    """Add the head: what else is under the prefix, or what is beside it."""
    for weights, beside in _candidates(body, rest, form, slot):
        head = read_head(weights, slot)
        if head is None:
            continue
        named = {f"{slot.target}.{key.removeprefix('0.')}": value for key, value in head.state.items()}
        own = {name for name in body.reference.shapes if _within(name, Slot(slot.target, 0, ""))}
        if len(head.layers) == 1 and slot.target in body.reference.heads and named.keys() == own:
            return replace(body, state=body.state | named, beside=beside)
        return _placed(body, head, beside, slot.target)
    return _pooled(body, rest, form, slot)


def _placed(body: Match, head: Head, beside: dict[str, Tensor], target: str) -> Match:
    placed = {f"{target}.{key}": value for key, value in head.state.items()}
    return replace(body, state=body.state | placed, beside=beside, head=head, target=target)


def _pooled(body: Match, rest: dict[str, Tensor], form: Mapping[str, str], slot: Slot) -> Match:
    """Add a head that follows fastai's pooling, which makes two features of each channel; else say what is wrong."""
    channels = slot.width if slot.pool is None else slot.pool.channels
    twice = replace(slot, width=2 * channels)
    for weights, beside in _candidates(body, rest, form, slot):
        head = read_head(weights, twice) if follows_pooling(weights) else None
        if head is not None and slot.pool is not None:
            pooled = replace(head, pooled=True, assumed=True)
            return replace(_placed(body, pooled, beside, slot.name), pool=slot.pool.name)
        if head is not None:
            return replace(
                body,
                problem=f"its head takes {2 * channels} features, two of each channel as after fastai's pooling by "
                "maximum and mean, and the architecture has no module of pooling that could be replaced",
            )
    found = list(rest or body.beside)
    what = f"its head ({few(found)}) is no row of linear layers and norms" if found else "there is no head"
    return replace(body, problem=f"{what} that takes {slot.width} features")


def _cut(body: Match, rest: dict[str, Tensor], form: Mapping[str, str], slot: Slot) -> Match | None:
    """Add a head of fastai's to the body that fastai makes of an architecture; None if it is none.

    That is the children in a row, or what timm computes before its own head, of which norms may be left in the file.
    """
    row = body.prefix.endswith(CUT) and any(key != own for key, own in form.items()) and not rest
    timm = body.prefix.endswith(TIMM) and slot.pool is not None and rest.keys() <= form.keys()
    for weights, beside in _candidates(body, {}, form, slot) if row or timm else ():
        fits = follows_pooling(weights) and is_fastais(weights)
        head = read_head(weights, replace(slot, width=2 * slot.width)) if fits else None
        if head is not None:
            before = "" if row or slot.pool is None or slot.pool.name == slot.name else slot.pool.name
            modules = (nn.Flatten(),) if before else (ConcatPool(), nn.Flatten())
            pooled = replace(head, pooled=True, assumed=True).after(*modules)
            return replace(_placed(body, pooled, beside, slot.name), pool=before, row=row)
    return None


def _candidates(
    body: Match, rest: dict[str, Tensor], form: Mapping[str, str], slot: Slot
) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Yield the weights that may be a head, and what is left beside them."""
    if rest:
        name = _in_file(slot, form)
        within = [key for key in rest if key.startswith(f"{name}.")]
        if len(within) in (0, len(rest)):
            yield {key.removeprefix(f"{name}."): value for key, value in rest.items()}, body.beside
        return
    outer = body.prefix
    while outer:
        outer = outer[:-1].rpartition(".")[0]
        outer += "." if outer else ""
        near = {key.removeprefix(outer): value for key, value in body.beside.items() if key.startswith(outer)}
        near = {key: value for key, value in near.items() if not _again(key, value, body.state)}
        for kept in (near, _layers(near)):
            yield kept, {key: value for key, value in body.beside.items() if key.removeprefix(outer) not in kept}


def _in_file(slot: Slot, form: Mapping[str, str]) -> str:
    """The slot's name in a file of this form."""
    key, own = next((key, own) for key, own in form.items() if _within(own, slot))
    return key[: len(key) - len(own) + len(slot.name)]


def _layers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out single vectors, as the classes' weights in a loss."""
    alone = {key for key, value in weights.items() if value.ndim < 2 and not _has_siblings(key, weights)}
    return {key: value for key, value in weights.items() if key not in alone}


def _has_siblings(key: str, weights: Mapping[str, Tensor]) -> bool:
    owner = key.rpartition(".")[0]
    return any(f"{owner}.{kind}" in weights for kind in ("weight", "bias", "running_mean") if not key.endswith(kind))


def _again(key: str, value: Tensor, body: Mapping[str, Tensor]) -> bool:
    return key in body and same(body[key], value)


def chosen(found: Sequence[Match]) -> Match:
    """Return the one match, or that of the plain weights. ``CheckpointError`` lists several, and what is beside one."""
    distinct: list[Match] = []
    for match in sorted(found, key=lambda each: rank(each.prefix.removesuffix("."))):
        if not any(match.spec == other.spec and equal(match.state, other.state) for other in distinct):
            distinct.append(match)
    places = list(dict.fromkeys(match.prefix.removesuffix(".") for match in distinct))
    place = plain(places)
    if place is None or len(places) > MOST_PREFIXES:
        raise _several_networks(distinct, places)
    here = [match for match in distinct if match.prefix.removesuffix(".") == place]
    if len(here) > 1:
        raise _several_architectures(here)
    others = [other for other in places if other != place]
    return _noted(here[0], others)


def _noted(match: Match, others: Sequence[str]) -> Match:
    """Add what the user must know; refuse weights beside a network that may belong to it."""
    notes = [taken(match.prefix.removesuffix("."), others)] if others else []
    kept = {key: value for key, value in match.beside.items() if not key.startswith(tuple(f"{o}." for o in others))}
    own = {_memory(value) for value in match.state.values() if not value.is_meta}
    kept = {key: value for key, value in kept.items() if value.ndim and _memory(value) not in own}
    if any(is_layer(key, value) or (value.ndim > 1 and value.is_floating_point()) for key, value in kept.items()):
        raise CheckpointError(
            f"the weights under {words(match.prefix)!r} fit {match.spec}; others beside them ({few(sorted(kept))}) may "
            f"be layers of the same network: if they are, {OWN}; if not, "
            f"take the weights without them with {with_key(match.prefix.removesuffix('.'))}"
        )
    if kept:
        notes.append(
            f"{len(kept)} weights beside {words(match.prefix)!r} are left out ({few(sorted(kept))}); the others are "
            "complete"
        )
    return replace(match, notes=tuple(notes))


def _memory(value: Tensor) -> tuple[int, tuple[int, ...]]:
    """What a tensor and its copies by another name have in common."""
    return 0 if value.is_meta else value.data_ptr(), tuple(value.shape)


def _several_networks(found: Sequence[Match], places: Sequence[str]) -> CheckpointError:
    listed = [f"{place or 'the top'} ({_specs(found, place)})" for place in places]
    return CheckpointError(
        f"the file holds the weights of several networks, under {few(listed, 8)}; choose with "
        f"{with_key(places[0] or places[-1])}; the last layer of a network that was trained without labels is no "
        "classifier"
    )


def _specs(found: Sequence[Match], place: str) -> str:
    return " or ".join(match.spec for match in found if match.prefix.removesuffix(".") == place)


def _several_architectures(found: Sequence[Match]) -> CheckpointError:
    specs = [match.spec for match in found]
    return CheckpointError(
        f"the weights fit {len(specs)} architectures that compute differently, {few(specs, 8)}; choose with spec=",
        specs,
    )
