"""Weights in other files: put into the graph as onnx itself does it, and nothing but plain names is opened."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import load_external_data_for_model

from pellucid.errors import SourceError
from pellucid.models.graphs import external
from pellucid.models.graphs.external import Graph
from pellucid.models.graphs.wire import field, fields

VALUES = np.arange(300, dtype=np.float32)


def tensor(name: str, location: str | None = "w.bin", **more: str) -> TensorProto:
    """A tensor whose values are in a file, or, without a location, its own."""
    made = numpy_helper.from_array(VALUES, name)
    if location is not None:
        made.ClearField("raw_data")
        made.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **more}.items():
            made.external_data.add(key=key, value=value)
    return made


def graph_of(*tensors: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    return helper.make_graph(nodes or [], "g", [value], [value], list(tensors))


def model_of(*tensors: TensorProto, nodes: list[onnx.NodeProto] | None = None) -> onnx.ModelProto:
    return helper.make_model(graph_of(*tensors, nodes=nodes))


def everywhere() -> onnx.ModelProto:
    """A model with such tensors wherever the format allows one."""
    inner = graph_of(tensor("inner"))
    sparse = helper.make_sparse_tensor(tensor("values"), numpy_helper.from_array(np.arange(300), "i"), [1000])
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, value=tensor("t"))
    for name, kind, content in (
        ("graphs", onnx.AttributeProto.GRAPHS, [inner]),
        ("tensors", onnx.AttributeProto.TENSORS, [tensor("a"), tensor("b", None)]),
        ("sparse_tensor", onnx.AttributeProto.SPARSE_TENSOR, sparse),
        ("sparse_tensors", onnx.AttributeProto.SPARSE_TENSORS, [sparse]),
    ):
        attribute = node.attribute.add(name=name, type=kind)
        if isinstance(content, list):
            getattr(attribute, name).extend(content)
        else:
            getattr(attribute, name).CopyFrom(content)
    made = model_of(tensor("w", offset="0", length="1200"), tensor("own", None), nodes=[node])
    made.graph.sparse_initializer.append(sparse)
    made.functions.append(helper.make_function("d", "f", ["x"], ["y"], [node], []))
    made.training_info.add().algorithm.CopyFrom(inner)
    made.training_info[0].initialization.CopyFrom(inner)
    return made


def whole(model: onnx.ModelProto | bytes, folder: Path) -> bytes:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return Graph("net", folder.joinpath).whole(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "w.bin").write_bytes(VALUES.tobytes())
    return tmp_path


def test_as_onnx_itself_does(folder: Path) -> None:
    """The oracle: onnx's own reader of such a model, for the places that it knows (initializers and attributes)."""
    model = model_of(tensor("w"), tensor("part", offset="400", length="800"), tensor("own", None))
    found = onnx.load_from_string(whole(model, folder))
    load_external_data_for_model(model, str(folder))
    for one, other in zip(found.graph.initializer, model.graph.initializer, strict=True):
        assert one.raw_data == other.raw_data
        assert (one.name, one.dims, one.data_type) == (other.name, other.dims, other.data_type)
    assert found.graph.initializer[1].raw_data == VALUES[100:].tobytes()


def tensors_in(message: object) -> list[TensorProto]:
    """Every tensor anywhere in a message, by its own description of its fields."""
    if isinstance(message, TensorProto):
        return [message]
    values = [value for known, value in message.ListFields() if known.message_type is not None]
    listed = [one for value in values for one in (value if hasattr(value, "__len__") else [value])]
    return [found for one in listed if hasattr(one, "ListFields") for found in tensors_in(one)]


def test_no_tensor_is_left_that_refers_to_a_file(folder: Path) -> None:
    model = everywhere()
    before, after = tensors_in(model), tensors_in(onnx.load_from_string(whole(model, folder)))
    assert len(before) == len(after) == 24
    assert sum(one.data_location == TensorProto.EXTERNAL for one in before) == 16
    for one, other in zip(before, after, strict=True):
        assert other.data_location == TensorProto.DEFAULT
        assert not other.external_data
        assert other.raw_data == (one.raw_data or VALUES.tobytes())


def test_every_field_of_the_format_that_may_hold_a_tensor_is_known() -> None:
    """By the format's own description: a field that were left out could hide a path."""
    kinds = [getattr(onnx, name).DESCRIPTOR for name in dir(onnx) if hasattr(getattr(onnx, name), "DESCRIPTOR")]
    messages = {one.name: one for one in kinds if hasattr(one, "fields")}
    holds = {"TensorProto"}
    while True:
        more = {name for name, one in messages.items() if holds & set(inner(one).values())}
        if more <= holds:
            break
        holds |= more
    reached = holds - {"TensorProto", "SequenceProto", "MapProto", "OptionalProto", "OperatorSetProto"}  # in no model
    assert {
        name: {number: kind for number, kind in inner(messages[name]).items() if kind in holds} for name in reached
    } == external._WITHIN


def inner(message: object) -> dict[int, str]:
    return {one.number: one.message_type.name for one in message.fields if one.message_type is not None}


def test_a_graph_without_other_files_stays_as_it_is(tmp_path: Path) -> None:
    content = model_of(tensor("w", None)).SerializeToString()
    assert whole(content, tmp_path) == content


def test_the_digest_is_of_all_files(folder: Path) -> None:
    (folder / "v.bin").write_bytes(b"\0" * 1200)
    content = model_of(tensor("v", "v.bin"), tensor("w"), tensor("again")).SerializeToString()
    graph = Graph("net", folder.joinpath)
    graph.whole(content)
    assert graph.digest(content) == hashlib.sha256(content + b"\0" * 1200 + VALUES.tobytes()).hexdigest()


@pytest.mark.parametrize(
    "location",
    [
        *("../w.bin", "/etc/passwd", "a/../../w.bin", "C:\\w.bin", "\\\\host\\w.bin", "..", ".", "", "./w.bin"),
        *("a//w.bin", "w.bin\0", "w.bin ", "w.bin:x", "*/_ORT_MEM_ADDR_/*", "x" * 256, "w\nbin"),
    ],
)
def test_paths_that_may_lead_elsewhere_are_not_opened(location: str) -> None:
    def opened(name: str) -> Path:
        raise AssertionError(f"{name!r} was asked for")

    with pytest.raises(SourceError, match="which may be elsewhere") as raised:
        Graph("net", opened).whole(model_of(tensor("w", location)).SerializeToString())
    assert len(str(raised.value).splitlines()) == 1


def turned(content: bytes) -> bytes:
    """The same name and value in the other order, with lengths written longer than they need be."""
    entry = TensorProto.FromString(content).external_data[0]
    value, key = entry.value.encode(), entry.key.encode()
    return bytes([0x12, len(value) | 128, 0, *value, 0x0A, len(key) | 128, 128, 0, *key])


def test_a_path_that_is_written_unusually_is_found(folder: Path) -> None:
    """What a search for the usual bytes would miss."""
    plain = tensor("w", "../w.bin").SerializeToString()
    made = TensorProto.FromString(plain)
    entry = made.external_data[0].SerializeToString()
    odd = plain.replace(field(13, len(entry)) + entry, field(13, len(turned(plain))) + turned(plain))
    assert b"location\x12" not in odd
    assert TensorProto.FromString(odd) == made
    graph = field(5, len(odd)) + odd
    with pytest.raises(SourceError, match="which may be elsewhere"):
        whole(field(7, len(graph)) + graph, folder)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"offset": "1", "length": "1200"}, "weights are stated at 1 to 1,201 of a file of 1,200 bytes"),
        ({"length": str(2**62)}, "of a file of 1,200 bytes"),
        ({"offset": str(2**62)}, "of a file of 1,200 bytes"),
        ({"length": "-1"}, "a number of bytes was expected, got '-1'"),
        ({"offset": "9" * 5000}, "a number of bytes was expected"),
        ({"length": "1e3"}, "a number of bytes was expected"),
    ],
)
def test_sizes_that_are_not_those_of_the_file(folder: Path, more: dict[str, str], reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as raised:
        whole(model_of(tensor("w", **more)), folder)
    assert len(str(raised.value).splitlines()) == 1


def test_a_file_that_is_named_often_is_not_read_without_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "LARGEST", 4000)
    model = model_of(*(tensor(f"w{number}") for number in range(4)))
    with pytest.raises(SourceError, match="more than 4,000 bytes"):
        whole(model, folder)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x0a\xff", "does not end"),
        (b"\x3a\xff\xff\xff\xff\x0f", "ends after its message"),
        (b"\x3b", "ends after its message"),
        (b"\xff" * 11, "does not end"),
        (field(7, 3) + b"\x0a\x09\x01", "ends after its message"),
    ],
)
def test_what_is_no_graph(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(SourceError, match=f"it is broken .*{reason}"):
        whole(content, tmp_path)


def test_messages_within_one_another_without_end(tmp_path: Path) -> None:
    made = b""
    for _ in range(40):
        for number in (6, 5, 1):  # a graph in an attribute of a node, from the inside
            made = field(number, len(made)) + made
    with pytest.raises(SourceError, match="more than 100 deep"):
        whole(field(7, len(made)) + made, tmp_path)


def test_more_fields_than_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external, "MOST", 1000)
    with pytest.raises(SourceError, match="more than 1,000 fields"):
        whole(b"\x08\x01" * 1001, tmp_path)


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_an_error(content: bytes) -> None:
    try:
        found = list(fields(memoryview(content)))
    except ValueError:
        return
    assert b"".join(bytes(one.whole) for one in found) == content
