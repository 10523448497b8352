"""Checkpoints as somebody hostile, or a broken disk, makes them: bombs of every kind, and changes at random."""

from __future__ import annotations

import io
import pickle
import pickletools
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

SIZE = 2**20  # bytes of a bomb
NESTED = b"2\x86" * 60  # a tuple of a tuple, twice each: to print, compare or hash it takes 2 ** 60 steps


def text(length: int, letter: bytes = b"a") -> bytes:
    """Put text on the stack."""
    return b"X" + struct.pack("<I", length) + letter * length


def word(name: str) -> bytes:
    return text(0)[:1] + struct.pack("<I", len(name)) + name.encode()


def fill(size: int, head: bytes, part: bytes, tail: bytes) -> bytes:
    """A program of this length, of one part many times."""
    return head + part * ((size - len(head) - len(tail)) // len(part)) + tail


def packed(program: bytes, storage: bytes = bytes(64), **entries: bytes) -> bytes:
    """A zip as torch.save makes it, with a program written by hand."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", storage)
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return file.getvalue()


def stored(count: int, kind: str = "FloatStorage", key: str = "0") -> bytes:
    """Fetch a storage."""
    number = b"J" + struct.pack("<i", count)
    return b"(" + word("storage") + b"ctorch\n" + kind.encode() + b"\n" + word(key) + word("cpu") + number + b"tQ"


def tensor(storage: bytes, size: bytes = b"K\x01\x85", stride: bytes = b"K\x01\x85") -> bytes:
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00" + size + stride + b"\x89NtR"


def weights(more: bytes) -> bytes:
    """A program of some weights, with more entries beside them."""
    return b"\x80\x04}(" + word("w.weight") + tensor(stored(4)) + more + b"u."


def collisions(size: int) -> bytes:
    """Tuples of two numbers that all have the same hash."""
    first, second, third, mask = 11400714785074694791, 14029467366897019727, 2870177450012600261, 2**64 - 1
    inverse, head, parts, number = pow(second, -1, 2**64), b"\x80\x04}(", [], 0
    while len(parts) * 22 < size:
        number += 1
        state = (third + number * second) & mask
        state = (((state << 31) | (state >> 33)) * first) & mask
        other = ((12345 - state) * inverse) & mask
        if other < 2**61 - 1:
            parts.append(b"\x8a\x08" + struct.pack("<q", number) + b"\x8a\x08" + struct.pack("<q", other) + b"\x86N")
    return head + b"".join(parts) + b"u."


def legacy(*programs: bytes) -> bytes:
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return head + b"".join(programs)


def deflated() -> bytes:
    """Entries that are small in the file and large in memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**30))
        archive.writestr("archive/version", "3\n")
    return file.getvalue()


def two_directories() -> bytes:
    """A zip with two directories: a reader that looks where it is told to finds a compressed entry of 1 GB."""
    honest, bomb = packed(weights(b"")), deflated()
    end = bomb.rindex(b"PK\x05\x06")
    count, size, start = struct.unpack("<HII", bomb[end + 10 : end + 20])
    other = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    tail = honest.rindex(b"PK\x05\x06")
    many, length, first = struct.unpack("<HII", honest[tail + 10 : tail + 20])
    body = bomb + other + honest[:tail]
    base = len(bomb) + len(other)
    own = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, many, many, length, base + first)
    locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(bomb), 1)
    last = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return body + own + locator + last


def many_entries(size: int) -> bytes:
    """Entries without content, as many as fit."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        for number in range(size // 120):
            archive.writestr(f"archive/data/{number}", b"")
    return file.getvalue()


def header(of: bytes, data: bytes = b"") -> bytes:
    """A safetensors file."""
    return len(of).to_bytes(8, "little") + of + data


def tar_of(size: bytes, kind: bytes) -> bytes:
    """The first header of a tar archive, which states any size."""
    block = bytearray(b"storages".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + size + b"00000000000\0")
    block += b" " * 8 + kind + bytes(100) + b"ustar\x0000"
    block = bytearray(block.ljust(512, b"\0"))
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(512)


SELF = b"".join(word(name) + b"h\x00" for name in ("config", "model", "args", "data", "hparams", "training", "loss"))
VOLUME = word("v.weight") + tensor(stored(4), b"(K\x01K\x01K\x01K\x01K\x01t", b"(K\x01K\x01K\x01K\x01K\x01t")
AGAIN = b"h\x00h\x01R"  # call what is in place 0 with what is in place 1
SIZE_OF = b"ctorch\nSize\nq\x00"
ORDERED = b"ccollections\nOrderedDict\nq\x00"
LONG = b"\x8b" + struct.pack("<I", 60_000) + b"\x7f" * 60_000
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\nq\x01(" + stored(1) + b"K\x00))\x89Ntq\x02R0"


def programs(size: int) -> Iterator[tuple[str, bytes]]:
    """Programs that take memory or time, by what they do."""
    yield "size of text", fill(size, b"\x80\x04" + SIZE_OF + text(size // 2) + b"\x85q\x01(", AGAIN, b"l.")
    yield (
        "size of bytes",
        fill(
            size // 2,
            b"\x80\x04" + SIZE_OF + b"B" + struct.pack("<I", size // 2) + bytes(size // 2) + b"\x85q\x01(",
            AGAIN,
            b"l.",
        ),
    )
    yield (
        "size of a list",
        fill(size, b"\x80\x04" + SIZE_OF + b"(" + b"N" * (size // 2) + b"l\x85q\x01(", AGAIN, b"l."),
    )
    yield (
        "size of a set",
        fill(size, b"\x80\x04" + SIZE_OF + b"(" + b"M\1\2" * (size // 8) + b"\x91\x85q\1(", AGAIN, b"l."),
    )
    yield (
        "dictionary of text",
        fill(size, b"\x80\x04" + ORDERED + text(size // 2) + b"\x85q\x01(", AGAIN, b"l."),
    )
    pairs = b"(" + b"Nq\x05K\x01\x86q\x06" + b"h\x06" * (size // 4) + b"l"
    yield "dictionary of pairs", fill(size, b"\x80\x04" + ORDERED + pairs + b"\x85q\x01(", AGAIN, b"l.")
    many = fill(size // 2, b"\x80\x04(", b"N", b"tq\x01c__main__\nA\nq\x00(")
    yield "stand-ins with many arguments", fill(size, many, AGAIN, b"l.")
    yield "names of classes", b"\x80\x04(" + b"".join(b"c%x\n\n" % n for n in range(size // 8)) + b"l."
    yield "one class many times", fill(size, b"\x80\x04(", b"ca\na\n", b"l.")
    yield "stand-ins", fill(size, b"\x80\x04ca\na\nq\x00(", b"h\x00)\x81", b"l.")
    yield "states", fill(size, b"\x80\x04ca\na\nq\x00(", b"h\x00)\x81}b", b"l.")
    yield "sets", fill(size, b"\x80\x04(", b"\x8f", b"l.")
    yield "sets that are remembered", fill(size, b"\x80\x04(", b"\x8f\x94", b"l.")
    yield "dictionaries", fill(size, b"\x80\x04(", b"}", b"l.")
    yield "dictionaries with an entry", fill(size, b"\x80\x04" + word("a") + b"q\x00(", b"}h\x00Ns", b"l.")
    yield "lists", fill(size, b"\x80\x04(", b"]", b"l.")
    yield "numbers", fill(size, b"\x80\x04(", b"G" + bytes(7) + b"\x01", b"l.")
    yield "marks", fill(size, b"\x80\x04", b"(", b".")
    yield "places in memory", b"\x80\x04N" + b"".join(b"r" + struct.pack("<I", n) for n in range(size // 5)) + b"."
    yield "lists in one another", fill(size, b"\x80\x04", b"]", b"a" * (size // 2 - 10) + b".")
    yield "tuples in one another", fill(size, b"\x80\x04N", b"\x85", b".")
    yield "tuples twice in one another", fill(size, b"\x80\x04)", b"2\x86", b".")
    yield (
        "dictionaries in one another",
        fill(size, b"\x80\x04" + word("a") + b"q\x00", b"}h\0", b"N" + b"s" * (size // 4) + b"."),
    )
    yield "a list that holds itself", b"\x80\x04}q\x00(" + word("model") + b"h\x00u."
    yield "long numbers", b"\x80\x04(" + LONG + b"q\x00" + LONG + b"q\x01l."
    axes = b"(" + b"h\x03" * 60 + b"t"
    shorter = b"\x8b" + struct.pack("<I", (size // 4)) + b"\x7f" * (size // 4) + b"q\x03("
    yield "axes of long numbers", b"\x80\x04" + shorter + tensor(stored(4), axes, axes) * 1_000 + b"l."
    yield "digits", b"\x80\x04L" + b"9" * (size - 20) + b"L\n."
    yield "hexadecimal digits", b"\x80\x04I0x" + b"f" * (size - 20) + b"\n."
    yield "digits of a place", b"\x80\x04Np" + b"9" * (size - 20) + b"\n."
    yield "a name", b"\x80\x04c" + b"a" * (size - 20) + b"\nb\n."
    yield "tuples of one hash", collisions(SIZE)  # a smaller one takes too little time to be noticed
    ints = b"".join(b"\x8a\x09" + struct.pack("<Q", n << 40) + b"\0N" for n in range(size // 14))
    yield "numbers of nearly one hash", b"\x80\x04}(" + ints + b"u."
    yield "tensors", fill(size, b"\x80\x04" + REBUILD + b"(", b"h\x01h\x02R", b"l.")
    named = b"".join(word(f"{n:x}.weight") + b"h\x01h\x02R" for n in range(size // 22))
    yield "tensors by name", b"\x80\x04" + REBUILD + b"}(" + named + b"u."
    yield "a giant tensor", weights(word("g") + tensor(stored(4), b"J\xff\xff\xff\x7f\x85", b"K\x00\x85"))
    yield "an empty giant", weights(word("g") + tensor(stored(4), b"K\x00J\xff\xff\xff\x7f\x86", b"K\x01K\x01\x86"))
    yield "a giant storage", weights(word("g") + tensor(stored(2**31 - 1)))
    yield "an unknown storage", weights(word("g") + tensor(stored(1, key="7")))
    quantised = b"ctorch\nqint8\n"
    yield "numbers of another kind", weights(word("g") + tensor(stored(1, "QInt8Storage")) + word("d") + quantised)
    yield "a row of members", weights(word("g") + tensor(stored(4)) + b"(K\x01K\x02\x90")
    codes = b"(" + text(size // 4) + b"q\x09" + b"h\x09" * (size // 4) + b"l"
    yield "orientation that is long", weights(VOLUME + word("orientation") + codes)
    spacing = word("axcodes") + word("RAS") + word("spacing") + b")" + NESTED
    yield "spacing in itself", weights(VOLUME + spacing)
    yield "orientation in itself", weights(VOLUME + word("orientation") + b")" + NESTED)
    yield "sizes in themselves", weights(word("input_size") + b")" + NESTED + word("mean") + b")" + NESTED)
    loss = word("loss_fn") + text(size // 2, b"A")
    own = word("w.weight") + tensor(stored(4))
    yield "settings in themselves", b"\x80\x04}q\x00(" + own + SELF + loss + b"u."
    yield "an architecture's name", weights(word("arch") + text(size // 2) + word("config") + text(size // 3))
    yield "a weight's name", weights(text(size // 2, b"\n") + tensor(stored(4)))
    yield "prefixes", weights(text(size // 2).replace(b"aaaa", b"net.") + tensor(stored(4)))
    for code in b"\x96\x8e\x8d\x95":
        yield f"a length of opcode {code}", b"\x80\x05" + bytes([code]) + struct.pack("<Q", 2**36) + b"."
    for code in b"BTX\x8b":
        yield f"a length of opcode {code}", b"\x80\x05" + bytes([code]) + struct.pack("<I", 2**31 - 1) + b"."
    for code in range(256):
        yield f"opcode {code} alone", b"\x80\x04" + bytes([code]) + b"."
        yield f"opcode {code} after some", b"\x80\x04(}]NK\x01" + word("a") + bytes([code]) + b"."


def bombs(size: int = SIZE, every: bool = False) -> Iterator[tuple[str, str, bytes]]:
    """Every bomb: what it is, the ending of its file's name, and its content. ``every``: in older formats too."""
    for name, program in programs(size):
        yield name, ".pt", packed(program)
        if every and not name.startswith("opcode"):
            yield f"{name}, in a row", ".pt", legacy(program, pickle.dumps([]))
            yield f"{name}, at once", ".pt", program
    again = b"\x80\x04(" + word("storage") + b"ctorch\nFloatStorage\n" + word("0") + word("cpu") + b"K\x00tq\x00("
    yield "a storage again and again", ".pt", packed(fill(size // 2, again, b"h\x00Q", b"l."), bytes(size // 2))
    kinds = ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool", "BFloat16", "Untyped")
    each = b"".join(stored(8, f"{kind}Storage") for kind in kinds)
    yield "a storage of every kind", ".pt", packed(b"\x80\x04(" + each * 50 + b"l.", bytes(size // 2))
    view = (
        b"ctorch._utils\n_rebuild_tensor_v2\nq\x01("
        + stored(size // 8)
        + b"K\x00J"
        + struct.pack("<i", size // 8)
        + b"\x85K\x01\x85\x89Ntq\x02R0"
    )
    names = b"".join(word(f"{n:x}.weight") + b"h\x01h\x02R" for n in range(size // 50))
    yield "tensors over the same bytes", ".pt", packed(b"\x80\x04" + view + b"}(" + names + b"u.", bytes(size // 2))
    yield "compressed entries", ".pt", deflated()
    yield "two directories", ".pt", two_directories()
    yield "many entries", ".pt", many_entries(size)
    yield "orders of bytes", ".pt", packed(weights(b""), byteorder=b"big" * (size // 4))
    yield "an entry that is no number", ".pt", packed(weights(b""), **{".storage_alignment": b"9" * 10**6})
    yield "a tar archive of any size", ".pt", tar_of(b"77777777777\0", b"0")
    yield "a tar archive's own header", ".pt", tar_of(b"77777777777\0", b"x")
    yield "a tar archive's long name", ".pt", tar_of(b"77777777777\0", b"L")
    yield (
        "storages of a row",
        ".pt",
        legacy(b"\x80\x02(" + b"".join(stored(size // 4, key=str(n)) for n in range(99)) + b"l."),
    )
    yield (
        "a storage read again",
        ".pt",
        legacy(b"\x80\x04(" + stored(4) + b"l.", fill(size, b"\x80\x04(" + word("0") + b"q\0", b"h\0", b"l.")),
    )
    yield from _safetensors(size)


def _safetensors(size: int) -> Iterator[tuple[str, str, bytes]]:
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    rows = {
        "a header of any length": (2**62).to_bytes(8, "little") + b"{}",
        "many tensors": header(b"{" + b"".join(entry % n for n in range(size // 60))[:-1] + b"}"),
        "lists in one another": header(b"[" * size),
        "objects in one another": header(b'{"a":' * (size // 5)),
        "a tensor beyond the file": one(b"[4398046511104]", b"[0,4398046511104]"),
        "an empty giant": one(b"[0,9223372036854775807]", b"[0,0]"),
        "a product beyond 64 bits": one(b"[4294967296,4294967296]", b"[0,0]"),
        "many axes": one(b"[" + b"1," * (size // 2 - 50) + b"1]"),
        "a name": one(name=b"a" * size),
        "an unknown kind": one(kind=b"F7"),
        "not finite": one(kind=b"F32", place=b"[0,4]", data=struct.pack("<f", float("nan"))),
        "a negative length": one(b"[-1]"),
        "offsets the wrong way": one(place=b"[1,0]"),
        "metadata": header(b'{"__metadata__":{"a":"' + b"b" * size + b'"}}'),
    }
    yield from ((name, ".safetensors", content) for name, content in rows.items())


def one(
    shape: bytes = b"[1]", place: bytes = b"[0,1]", kind: bytes = b"U8", name: bytes = b"w", data: bytes = b"\0"
) -> bytes:
    """A safetensors file of one tensor."""
    return header(b'{"%b":{"dtype":"%b","shape":%b,"data_offsets":%b}}' % (name, kind, shape, place), data)


# Honest files, and changes to them.


def honest() -> list[tuple[str, bytes]]:
    """The ending of the name and the content of checkpoints of every format."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 2))
    beside = {"epoch": 3, "config": {"arch": "none", "mean": [0.5] * 3, "std": [0.2] * 3, "size": (8, 8)}, "loss": 1.5}
    content = {"model_state_dict": model.state_dict(), "classes": ["a", "b"], **beside}
    made = [(".safetensors", safetensors.torch.save(model.state_dict()))]
    for saved in (content, model, {"model": nn.Linear(2, 2).half()}):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(saved, file, _use_new_zipfile_serialization=zipped)
            made.append((".pt", file.getvalue()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, files of it are there
        file = io.BytesIO()
        torch.jit.save(torch.jit.script(nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())), file)
    return [*made, (".pt", file.getvalue())]


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """So many changed checkpoints, in turn of every format, with the endings of their names."""
    files, chance = honest(), random.Random(seed)
    changes = (flipped, cut, moved, reprogrammed, reprogrammed, spliced)
    for number in range(count):
        ending, content = files[number % len(files)]
        yield ending, changes[(number // len(files)) % len(changes)](content, chance)


def flipped(content: bytes, chance: random.Random) -> bytes:
    """Change some bytes."""
    changed = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        changed[chance.randrange(len(changed))] = chance.choice((0, 1, 255, 128, chance.randrange(256)))
    return bytes(changed)


def cut(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randrange(len(content))]


def moved(content: bytes, chance: random.Random) -> bytes:
    """Write over a part with another part."""
    start, end, length = (chance.randrange(len(content)) for _ in range(3))
    part = content[start : start + length % 200]
    return content[:end] + part + content[end + chance.choice((0, len(part))) :]


def spliced(content: bytes, chance: random.Random) -> bytes:
    """Write a number at the limits of its type over some bytes."""
    number = chance.choice((0, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)).to_bytes(8, "little")
    place, length = chance.randrange(len(content)), chance.choice((2, 4, 8))
    return content[:place] + number[:length] + content[place + length :]


def reprogrammed(content: bytes, chance: random.Random) -> bytes:
    """Change the pickle by whole opcodes, and pack it again so that the file is whole."""
    if not content.startswith(b"PK"):
        program = _program(content)
        return content if program is None else content.replace(program, _changed(program, chance), 1)
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(file, "w") as new:
        for entry in old.infolist():
            inner = old.read(entry)
            new.writestr(entry.filename, _changed(inner, chance) if entry.filename.endswith("/data.pkl") else inner)
    return file.getvalue()


def _program(content: bytes) -> bytes | None:
    """The fourth pickle of a row: the content."""
    file = io.BytesIO(content)
    try:
        for _ in range(3):
            _opcodes(file)
        start = file.tell()
        _opcodes(file)
    except ValueError:
        return None
    return content[start : file.tell()]


def _opcodes(program: Any) -> list[tuple[Any, Any, int | None]]:
    return list(pickletools.genops(program))


def _changed(program: bytes, chance: random.Random) -> bytes:
    places = [place or 0 for _, _, place in _opcodes(program)] + [len(program)]
    parts = [program[start:end] for start, end in pairwise(places)]
    for _ in range(chance.choice((1, 2, 5))):
        at = chance.randrange(len(parts))
        how = chance.randrange(4)
        if how == 0:
            parts[at] = chance.choice(parts)
        elif how == 1:
            parts.insert(at, chance.choice(parts) * chance.choice((1, 1, 2, 1000)))
        elif how == 2:
            parts.insert(at, chance.choice(pickletools.opcodes).code.encode("latin-1"))
        else:
            del parts[at]
    return b"".join(parts)


def write(folder: Path, files: Iterator[tuple[str, str, bytes]]) -> None:
    """Write files, whose names are what they are, in their order."""
    for number, (name, ending, content) in enumerate(files):
        (folder / f"{number:05d} {name}{ending}").write_bytes(content)
