"""The names of a state's weights: the prefixes before them, and those that wrappers put there."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from torch import Tensor

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.reference import Reference
from pellucid.models.checkpoints.refusals import OWN

MOST_NAMES = 100_000
DEEPEST = 6  # names before a network's own that make up a prefix
MOST_PREFIXES = 16
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""The names under which torch's own wrappers hold a module, whole networks' and parts'."""


class Names:
    """A state, and which prefixes stand before a name in it."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        if len(state) > MOST_NAMES:
            raise CheckpointError(f"{len(state)} weights were found, at most {MOST_NAMES:,} are read; {OWN}")
        self.state = state
        self._sorted = sorted(state)
        self.before: dict[str, list[str]] = defaultdict(list)
        for key in state:
            self.before[key].append("")
            at = 0
            for _ in range(DEEPEST):
                at = key.find(".", at) + 1
                if not at:
                    break
                self.before[key[at:]].append(key[:at])

    def prefixes(self, names: Sequence[str]) -> list[str]:
        """Return the prefixes that stand before each of these names."""
        if not names or not all(name in self.before for name in names):
            return []
        fewest = min((self.before[name] for name in names), key=len)
        found = [prefix for prefix in fewest if all(prefix + name in self.state for name in names)]
        return found[: MOST_PREFIXES + 1]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Return the weights under a prefix, without it."""
        if not prefix:
            return dict(self.state)
        start, end = bisect_left(self._sorted, prefix), bisect_left(self._sorted, f"{prefix[:-1]}/")  # after "."
        return {key.removeprefix(prefix): self.state[key] for key in self._sorted[start:end]}

    def beside(self, prefix: str) -> dict[str, Tensor]:
        """Return the weights that are not under a prefix."""
        return {key: value for key, value in self.state.items() if not key.startswith(prefix)}

    def closest(self, reference: Reference) -> dict[str, Tensor]:
        """Return the weights under the prefix that stands before most of an architecture's names, without it."""
        counts = Counter(prefix for name in reference.shapes for prefix in self.before.get(name, ()))
        return self.under(counts.most_common(1)[0][0] if counts else "")


def unprefixed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without the names that all of its weights are under."""
    first = next(iter(state), "").split(".")[:-1]
    common = first[: next((n for n in range(len(first)) if not _all_under(state, first[: n + 1])), len(first))]
    return {".".join(key.split(".")[len(common) :]): value for key, value in state.items()}


def _all_under(state: Mapping[str, Tensor], parts: Sequence[str]) -> bool:
    return all(key.startswith(".".join(parts) + ".") for key in state)


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state without the names of torch's wrappers, also of parts of the network."""
    return {".".join(part for part in key.split(".") if part not in WRAPPERS): value for key, value in state.items()}
