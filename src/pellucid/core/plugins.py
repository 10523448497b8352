"""Find the plugins of other packages: methods and model sources that they name in an entry point group."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from threading import RLock

from pellucid.errors import message_of


class Plugins:
    """The entry points of one group, imported when they are first needed.

    ``use`` imports what an entry point names and puts it into use; it raises where that cannot be. An entry point that
    fails is left out, and never stops the others: ``failures`` holds one line for each, by the entry point's name.
    """

    def __init__(self, group: str, use: Callable[[EntryPoint], None]) -> None:
        self.group = group
        self.failures: dict[str, str] = {}
        self._use = use
        self._renew()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        """Reset: in a forked child, a thread that does not exist there may hold the lock."""
        self._lock, self._is_loaded = RLock(), False

    def load(self) -> None:
        """Import the entry points, once."""
        with self._lock:
            if self._is_loaded:
                return
            self._is_loaded = True  # set first: a package may use the registry while it is imported
            try:
                self._load()
            except BaseException:  # an interrupt: the rest is still to be imported
                self._is_loaded = False
                raise

    def _load(self) -> None:
        for name, entries in self._by_name():
            failure = self._failure(entries)
            if failure:
                self.failures[name] = f"entry point {name!r} of {_packages(entries)} was left out: {failure}"

    def failures_of(self, name: str, is_known: bool) -> list[str]:
        """The failures to report when a name is asked for: its own, or all if nothing has the name.

        What a broken package calls its entry point need not be the name that its user asks for.
        """
        return [failure for failed, failure in self.failures.items() if failed == name or not is_known]

    def forget(self) -> None:
        """Import the entry points again when they are next needed: for tests that add packages."""
        with self._lock:
            self.failures.clear()
            self._is_loaded = False

    def _by_name(self) -> Iterator[tuple[str, Sequence[EntryPoint]]]:
        grouped: dict[str, list[EntryPoint]] = defaultdict(list)
        for entry in entry_points(group=self.group):
            grouped[entry.name].append(entry)
        yield from sorted(grouped.items())

    def _failure(self, entries: Sequence[EntryPoint]) -> str | None:
        """Put an entry point into use; the reason where that is not possible."""
        if len(entries) > 1:
            return f"{len(entries)} packages use this name, uninstall all but one"
        try:
            self._use(entries[0])
        except (Exception, SystemExit) as error:  # whatever another package raises as it is imported
            return f"{type(error).__name__}: {message_of(error)}"
        return None


def _packages(entries: Sequence[EntryPoint]) -> str:
    return " and ".join(sorted(entry.dist.name if entry.dist else entry.module for entry in entries))
