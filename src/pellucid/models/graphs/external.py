"""Put the weights that a graph keeps in other files into the graph itself."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.errors import SourceError
from pellucid.models.graphs.wire import Field, fields
from pellucid.models.graphs.wire import field as beginning

LARGEST = 2**31
"""The most bytes that a graph may have with its weights: its format's own limit."""
DEEPEST = 100
"""Of messages within one another, as in protobuf itself."""
MOST = 4_000_000
"""Of the fields that are looked at."""
_WITHIN: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
}
"""By message: the fields that hold messages in which a tensor may be."""
_RAW, _ENTRIES, _LOCATION = 9, 13, 14
_EXTERNAL = 1
_LONGEST_NAME = 255

Parts = list[bytes | memoryview]


@dataclass
class Graph:
    """A graph as it is read: ``name`` in messages, and ``file_of``, which finds the file that a path in it names.

    The paths are relative to the graph's folder, with slashes; each of their parts is a plain name.
    """

    name: str
    file_of: Callable[[str], Path]
    files: dict[str, Path] = field(default_factory=dict)
    _bytes: int = 0
    _seen: int = 0

    def whole(self, content: bytes) -> bytes:
        """Return the graph with the weights of other files in it.

        Raises:
            SourceError: it is no graph, it names a file that may be elsewhere or is not there, or it is too large.
        """
        try:
            return b"".join(self._message("ModelProto", memoryview(content), 0))
        except ValueError as error:
            if isinstance(error, SourceError):
                raise
            raise self._error(f"it is broken ({error})") from None

    def digest(self, content: bytes) -> str:
        """Return the SHA-256 of the graph's file and, after it, of the files that it named, in that order."""
        found = hashlib.sha256(content)
        for path in self.files.values():
            with path.open("rb") as file:
                while chunk := file.read(2**20):
                    found.update(chunk)
        return found.hexdigest()

    def _message(self, kind: str, message: memoryview, depth: int) -> Parts:
        """The bytes of a message, in which no tensor refers to a file."""
        if depth > DEEPEST:
            raise ValueError(f"messages are more than {DEEPEST} deep")
        known, made, is_changed = self._fields(message), Parts(), False
        if kind == "TensorProto":
            return self._tensor(message, known)
        for each in known:
            inner = _WITHIN[kind].get(each.number)
            parts = [each.content] if inner is None else self._message(inner, each.content, depth + 1)
            if parts == [each.content]:
                made.append(each.whole)
            else:
                is_changed = True
                made += [beginning(each.number, sum(map(len, parts))), *parts]
        return made if is_changed else [message]

    def _fields(self, message: memoryview) -> list[Field]:
        found = []
        for each in fields(message):
            self._seen += 1
            if self._seen > MOST:
                raise ValueError(f"it has more than {MOST:,} fields")
            found.append(each)
        return found

    def _tensor(self, message: memoryview, known: Sequence[Field]) -> Parts:
        places = [each.value for each in known if each.number == _LOCATION]
        if places[-1:] != [_EXTERNAL]:
            return [message]
        stated = dict(_entry(each.content) for each in known if each.number == _ENTRIES)
        data = self._data(stated)
        kept = [each.whole for each in known if each.number not in (_RAW, _ENTRIES, _LOCATION)]
        return [*kept, beginning(_RAW, len(data)), data]

    def _data(self, stated: Mapping[str, str]) -> bytes:
        """The bytes of a tensor, from the file that it names."""
        file = self._file(stated.get("location", ""))
        size = file.stat().st_size
        offset = _whole(stated.get("offset", "0"))
        length = _whole(stated["length"]) if "length" in stated else size - offset
        if length < 0 or offset + length > size:
            raise self._error(f"weights are stated at {offset:,} to {offset + length:,} of a file of {size:,} bytes")
        self._bytes += length
        if self._bytes > LARGEST:
            raise self._error(
                f"its weights have more than {LARGEST:,} bytes, which no graph can have; export it smaller"
            )
        with file.open("rb") as opened:
            opened.seek(offset)
            return opened.read(length)

    def _file(self, name: str) -> Path:
        if not all(map(_is_plain, name.split("/"))):
            raise self._error(
                f"it states weights at {name[:100]!r}, which may be elsewhere and is not read; save it again, with its "
                "files beside it"
            )
        if name not in self.files:
            self.files[name] = self.file_of(name)
        return self.files[name]

    def _error(self, what: str) -> SourceError:
        return SourceError(f"{self.name}: {what}")


def _entry(content: memoryview) -> tuple[str, str]:
    """A name and a value, both texts."""
    found = {each.number: bytes(each.content) for each in fields(content)}
    return found.get(1, b"").decode(), found.get(2, b"").decode()


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ValueError(f"a number of bytes was expected, got {text[:30]!r}")
    return int(text)


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file or folder on every system: nothing that leads elsewhere."""
    is_short = 0 < len(name) <= _LONGEST_NAME and name.isprintable()
    return is_short and not set(name) & set('/\\:*?"<>|') and name == name.rstrip(" .")
