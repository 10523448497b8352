"""Read what ``torch.save`` wrote, and ``torch.jit.save``, without running code from it.

Both write a zip archive: a pickle, and the bytes of each storage beside it. Before 1.6 ``torch.save`` wrote several
pickles in a row, and the storages after them. Torch's own reader of zip archives is not used: it trusts the file
for the size of each storage, and where two directories are in a file it may take another than a check took.
"""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import torch

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.exported import exported_weights, is_exported
from pellucid.models.checkpoints.rebuilding import Stored, refuse
from pellucid.models.checkpoints.refusals import foreign_zip, torchscript
from pellucid.models.checkpoints.unpickling import SafeUnpickler

ZIP_MAGIC = b"PK\x03\x04"
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
"""What a file of torch before 1.6 begins with."""
CHUNK = 2**20


def read_saved(path: Path, script: bool = False) -> Any:
    """Return the content of a file. ``script``: also that of a TorchScript archive, whose code is not read.

    ``CheckpointError``, or any error that a broken file causes.
    """
    total = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(tarfile.BLOCKSIZE)
        file.seek(0)
        if not head:
            raise CheckpointError(f"{path}: a weights file was expected, got an empty file; save it again")
        if head.startswith(ZIP_MAGIC):
            with zipfile.ZipFile(file) as archive:
                if is_exported(archive):
                    return exported_weights(archive, path, total)
                return _Zip(archive, path, total, script).content()
        if _is_tar(head):
            raise CheckpointError(f"{path}: a tar archive of torch before 0.4 is not read; save model.state_dict()")
        return _Row(file, total).content()


def _is_tar(head: bytes) -> bool:
    """Whether a file begins as a tar archive; none of what is in it is read."""
    try:
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return False
    return True


class _Zip:
    """A zip archive, whose entries are read as they are: a compressed one could be of any size."""

    def __init__(self, archive: zipfile.ZipFile, path: Path, total: int, script: bool) -> None:
        entries = archive.infolist()
        self._archive, self._total = archive, total
        self._entries = {entry.filename.partition("/")[2]: entry for entry in entries}
        self._read: dict[tuple[str, torch.dtype], Stored] = {}
        if (problem := foreign_zip(path, [entry.filename for entry in entries])) is not None:
            raise problem
        if "constants.pkl" in self._entries and not script:
            raise torchscript(path)
        code = [entry for name, entry in self._entries.items() if name.startswith("code/")] if script else []
        plain = [entry for entry in entries if entry not in code]
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in plain)
        if packed or sum(entry.file_size for entry in plain) > total:
            raise CheckpointError(f"{path}: compressed entries are not read; save the file with torch.save")
        if len(self._entries) != len(entries):
            raise CheckpointError(f"{path}: an entry is hidden or occurs twice; save the file with torch.save")

    def content(self) -> Any:
        """Run the pickle."""
        program = self._archive.read(self._entries["data.pkl"])
        return SafeUnpickler(io.BytesIO(program), len(program), self._total, self._fetch).load()

    def _fetch(self, asked: Sequence[Any]) -> Stored:
        dtype, key, _, count, *_ = asked
        size = _size(dtype, key, count)
        key = str(key)
        if (key, dtype) not in self._read:
            entry = self._entries.get(f"data/{key}")
            if entry is None or size > entry.file_size:
                raise _larger(key)
            with self._archive.open(entry) as file:
                memory = _memory(size)
                _fill(memory, file)
            if self._byte_order() != sys.byteorder:
                memory.byteswap(dtype)  # type: ignore[no-untyped-call]  # torch's own lacks types
            self._read[key, dtype] = Stored(memory, dtype)
        return self._read[key, dtype]

    def _byte_order(self) -> str:
        known = self._entries.get("byteorder")
        return "little" if known is None else self._archive.read(known).decode()


class _Row:
    """Pickles in a row, and the bytes of the storages after them, in the order of the last pickle."""

    def __init__(self, file: IO[bytes], total: int) -> None:
        self._file, self._total = file, total
        self._free = total
        self._roots: dict[str, Stored] = {}

    def content(self) -> Any:
        """Run the pickles: two numbers, the writer's machine, the content, and the storages' names."""
        for number in (MAGIC, PROTOCOL):
            if self._next() != number:
                raise refuse("it does not begin as torch.save begins a file")
        self._next()
        content = SafeUnpickler(self._file, self._total, self._total, self._fetch).load()
        keys = self._next()
        if not isinstance(keys, list) or not all(map(_is_name, keys)) or set(map(str, keys)) != set(self._roots):
            raise refuse("the storages are not those that the weights are in")
        for key in keys:
            self._fill(str(key))
        return content

    def _next(self) -> Any:
        return SafeUnpickler(self._file, self._total, self._total).load()

    def _fetch(self, asked: Sequence[Any]) -> Stored:
        dtype, key, _, count, *views = asked
        size = _size(dtype, key, count)
        key = str(key)
        if key not in self._roots:
            if size > self._free:
                raise _larger(key)
            self._free -= size
            self._roots[key] = Stored(_memory(size), dtype)
        root = self._roots[key]
        if not views or views[0] is None:
            return root
        _, start, length = views[0]  # torch before 0.4 wrote a storage's part as one of its own
        first = _size(root.dtype, key, start)
        return Stored(root.memory[first : first + _size(root.dtype, key, length)], root.dtype)

    def _fill(self, key: str) -> None:
        """Read the number of elements of a storage, and its bytes."""
        root = self._roots[key]
        count = int.from_bytes(self._file.read(8), "little")
        if count * root.dtype.itemsize != root.memory.nbytes():
            raise refuse(f"storage {key[:40]} has another size than the weights in it")
        _fill(root.memory, self._file)


def _is_name(key: object) -> bool:
    return isinstance(key, str | int)


def _size(dtype: Any, key: Any, count: Any) -> int:
    """Return the number of bytes that a storage's elements take."""
    if not isinstance(dtype, torch.dtype) or not _is_name(key) or not isinstance(count, int) or count < 0:
        raise refuse(f"a storage is named by a {type(key).__name__}, sized by a {type(count).__name__}")
    return count * dtype.itemsize


def _larger(key: Any) -> Exception:
    return refuse(f"storage {str(key)[:40]} is larger than the file says")


def _memory(size: int) -> torch.UntypedStorage:
    return torch.empty(size, dtype=torch.uint8).untyped_storage()


def _fill(memory: torch.UntypedStorage, file: IO[bytes]) -> None:
    """Read all bytes of a storage, a part at a time: a reader of archives makes a copy of what it is asked for."""
    numbers: Any = torch.empty(0, dtype=torch.uint8).set_(memory).numpy()
    room = memoryview(numbers)
    for start in range(0, len(room), CHUNK):
        part = room[start : start + CHUNK]
        read = file.read(len(part))
        if len(read) != len(part):
            raise refuse("the file ends within a storage")
        part[:] = read
