"""Weights files: what is read, what is refused, and that nothing in a file ever runs."""

import argparse
import dataclasses
import functools
import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints import load_into, read_checkpoint, recognise
from pellucid.models.checkpoints.fitting import chosen, matches
from pellucid.models.checkpoints.names import Names
from pellucid.models.checkpoints.rebuilding import Inert
from pellucid.models.checkpoints.recognition import reference
from pellucid.models.checkpoints.reference import describe, weightless
from pellucid.models.checkpoints.unpickling import SafeUnpickler

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


@dataclasses.dataclass
class Config:
    lr: float = 0.1


class Slotted:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class WithArguments:
    def __new__(cls, *, a):
        return super().__new__(cls)

    def __getnewargs_ex__(self):
        return (), {"a": 1}


class Listed(list):
    pass


class Keyed(dict):
    pass


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call

    def __call__(self):
        """What is called by a pickle must be callable when it is written."""


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def saved(path, content, zipped=True, protocol=2):
    torch.save(content, path, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return path


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    return text


@FORMATS
@pytest.mark.parametrize("place", ["model_state_dict", "model_state", "state_dict", "model", None])
def test_state_is_found_in_every_layout(tmp_path, place, zipped):
    state = small().state_dict()
    content = {place: state, "epoch": 3} if place else state
    assert same(read_checkpoint(saved(tmp_path / "a.pt", content, zipped)).state, state)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "model.net.", "a.b.c."])
def test_prefixes_are_found(tmp_path, prefix):
    state = small().state_dict()
    renamed = {prefix + key: value for key, value in state.items()}
    read = read_checkpoint(saved(tmp_path / "a.ckpt", {"state_dict": renamed})).state
    (match,) = matches(describe("", small()), Names(read))
    assert match.prefix == prefix
    assert same(match.state, state)


@FORMATS
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_objects_beside_the_weights_are_skipped(tmp_path, zipped, protocol):
    model = small()
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.rand(2, 3, 3, 3)).sum().backward()
    optimiser.step()
    content = {
        "model_state_dict": OrderedDict(model.state_dict()),
        "optimizer_state_dict": optimiser.state_dict(),
        "config": Config(),
        "others": [
            argparse.Namespace(a=1),
            Slotted(),
            WithArguments(a=1),
            Listed([1, 2]),
            Keyed(a=1),
            {1, 2},
        ],
        "numpy": [np.float64(0.5), np.arange(4), np.array(["a"], dtype=object)],
        "path": Path("a"),
        "dtype": [torch.float16, torch.Size([1]), torch.device("cpu"), b"bytes"],
        "parameter": nn.Parameter(torch.ones(2)),
    }
    path = saved(tmp_path / "a.pt", content, zipped, protocol)
    assert same(read_checkpoint(path).state, model.state_dict())


@FORMATS
def test_parameters_and_views_and_dtypes(tmp_path, zipped):
    whole = torch.arange(12.0)
    state = {
        "parameter.weight": nn.Parameter(torch.ones(2, 3)),
        "view.weight": whole.view(3, 4).t(),
        "slice.weight": whole[2:5],
        "half.weight": torch.ones(2, dtype=torch.bfloat16),
        "empty.weight": torch.empty(0, 3),
        "scalar.weight": torch.tensor(3),
    }
    if zipped:  # torch itself reads this type from no legacy file
        state["word.weight"] = torch.ones(2, dtype=torch.uint16)
    read = read_checkpoint(saved(tmp_path / "a.bin", state, zipped)).state
    assert same(read, state)
    assert not any(value.requires_grad for value in read.values())


def test_safetensors(tmp_path):
    state = small().state_dict()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    assert same(read_checkpoint(tmp_path / "a.safetensors").state, state)


@pytest.mark.parametrize(
    ("beside", "stated"),
    [
        ({"architecture": "resnet50"}, "resnet50"),
        ({"arch": "vgg16"}, "vgg16"),
        ({"config": {"model": {"name": "a"}}}, "a"),
        ({"config": {"model": "b"}}, "b"),
        ({"config": {"model_name": "c"}}, "c"),
        ({"config": Config(), "arch": 3}, None),
        ({"architecture": Config()}, None),
    ],
)
def test_stated_architecture(tmp_path, beside, stated):
    path = saved(tmp_path / "a.pt", {"model": small().state_dict(), **beside})
    assert read_checkpoint(path).architecture == stated


@FORMATS
@pytest.mark.parametrize("attack", ["os.system", "exec", "eval", "torch.load", "hub", "setattr", "import"])
def test_nothing_from_a_file_runs(tmp_path, zipped, attack):
    marker = tmp_path / "marker"
    code = f"open({str(marker)!r}, 'w').close()"
    nested = saved(tmp_path / "nested.pt", Calls(exec, code))
    call = {
        "os.system": Calls(os.system, f"touch {marker}"),
        "exec": Calls(exec, code),
        "eval": Calls(eval, code),
        "torch.load": Calls(functools.partial(torch.load, str(nested), weights_only=False)),
        "hub": Calls(torch.hub.load, str(tmp_path), "a"),
        "setattr": Calls(setattr, nn.Module, "hostile", 1),
        "import": Calls(Calls(getattr, Calls(__import__, "os"), "system"), f"touch {marker}"),
    }[attack]
    for content in ({"model": small().state_dict(), "config": call}, call):
        path = tmp_path / "hostile.pt"
        saved(path, content, zipped)
        try:
            read = read_checkpoint(path)
        except CheckpointError:
            continue
        finally:
            assert not marker.exists()
        assert same(read.state, small().state_dict())
    assert not hasattr(nn.Module, "hostile")


def crafted(path, program):
    """A zip as torch.save makes it, with a hand-written pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data/0", b"\0" * 16)
    return path


def storage(count):
    return (
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK"
        + bytes([count])
        + b"tQ"
    )


def tensor(count, offset, size, stride):
    numbers = b"K" + bytes([offset]) + b"(K" + bytes([size]) + b"t(K" + bytes([stride]) + b"t"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(count) + numbers + b"\x89Nt" + b"R"


def test_a_crafted_file_that_is_right_is_read(tmp_path):
    path = crafted(tmp_path / "a.pt", b"\x80\x02}X\x01\x00\x00\x00a" + tensor(4, 1, 3, 1) + b"s.")
    assert read_checkpoint(path).state["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("program", [tensor(4, 1, 4, 1), tensor(4, 0, 5, 1), tensor(4, 0, 2, 9), tensor(9, 0, 9, 1)])
def test_tensors_beyond_the_file_are_refused(tmp_path, program):
    path = crafted(tmp_path / "a.pt", b"\x80\x02}X\x01\x00\x00\x00a" + program + b"s.")
    with pytest.raises(CheckpointError, match=r"beyond its storage|larger than the file") as error:
        read_checkpoint(path)
    one_line(error)


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02cos\nsystem\n\x81.",  # NEWOBJ without arguments on the stack
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02ctorch.storage\nUntypedStorage\n}X\x01\x00\x00\x00aK\x01sb.",  # a state for torch's own class
        b"\x80\x02K\x01Q.",
        b"\x80\x02(X\x06\x00\x00\x00modulecos\nsystem\nX\x01\x00\x00\x00aX\x01\x00\x00\x00btQ.",
        b"\x80\x02(cos\nsystem\nX\x01\x00\x00\x00ao.",  # OBJ
        b"(Vecho\nios\nsystem\n.",  # INST
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02ctorch.nn.modules\nModule\n)\x81}b.",
    ],
)
def test_odd_programs_are_refused(tmp_path, program):
    before = dict(vars(torch.UntypedStorage))
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(crafted(tmp_path / "a.pt", program))
    one_line(error)
    assert dict(vars(torch.UntypedStorage)) == before


def test_every_other_name_is_a_stand_in():
    unpickler = SafeUnpickler(io.BytesIO(), 0, 0)
    for module, name in [
        ("builtins", "eval"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch", "nn"),
        ("a.b", "c"),
    ]:
        stub = unpickler.find_class(module, name)
        assert issubclass(stub, Inert)
        assert unpickler.find_class(module, name) is stub
        assert {name for name in vars(stub) if not name.startswith("__")} == {"asked"}
    assert unpickler.find_class("torch", "UntypedStorage") is torch.uint8
    assert unpickler.find_class("torch", "HalfStorage") is torch.float16


@FORMATS
def test_a_whole_module_is_refused(tmp_path, zipped):
    for content in (small(), {"model": small()}):
        path = saved(tmp_path / "a.pt", content, zipped)
        with pytest.raises(CheckpointError, match=r"torch\.save") as error:
            read_checkpoint(path)
        assert str(path) in one_line(error)


def test_torchscript_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"N.")
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/constants.pkl", b"N.")
    with pytest.raises(CheckpointError, match=r"TorchScript.*state_dict"):
        read_checkpoint(tmp_path / "a.pt")


def test_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.pt", "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"))
    with pytest.raises(CheckpointError, match="tar archive"):
        read_checkpoint(tmp_path / "a.pt")


def test_compressed_and_doubled_entries_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 100000)
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/data.pkl", b"N.")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("archive/data.pkl", b"N.")
    with pytest.raises(CheckpointError, match="occurs twice"):
        read_checkpoint(tmp_path / "b.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"just some text\n", b"\x80\x02}", b"PK\x03\x04 no zip"])
def test_what_is_no_checkpoint(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert str(path) in one_line(error)


@FORMATS
def test_truncated(tmp_path, zipped):
    path = saved(tmp_path / "a.pt", small().state_dict(), zipped)
    for share in (0.3, 0.6, 0.9):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(path)
        one_line(error)


def test_missing_and_folder(tmp_path):
    with pytest.raises(CheckpointError, match="nothing there"):
        read_checkpoint(tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="a folder"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(("content", "named"), [({"epoch": 3, "state_dict": {}}, "epoch, state_dict"), ([1], "a list")])
def test_no_weights(tmp_path, content, named):
    with pytest.raises(CheckpointError, match=named):
        read_checkpoint(saved(tmp_path / "a.pt", content))


ARCHITECTURES = [
    ("resnet18", 14, 1),
    ("resnet50", 1000, 3),
    ("wide_resnet50_2", 2, 3),
    ("resnext50_32x4d", 2, 3),
    ("vgg11", 14, 1),
    ("vgg16_bn", 3, 3),
    ("densenet121", 14, 1),
    ("efficientnet_b0", 5, 3),
    ("mobilenet_v3_small", 14, 1),
    ("squeezenet1_1", 14, 3),
    ("convnext_tiny", 14, 3),
    ("vit_b_16", 14, 3),
    ("swin_v2_t", 14, 3),
    ("shufflenet_v2_x0_5", 14, 1),
    ("googlenet", 14, 3),
    ("inception_v3", 14, 3),
    ("regnet_y_400mf", 14, 3),
]


def blank(name, classes, channels=3):
    """A state of the architecture's shapes without memory."""
    with weightless():
        model = torchvision.models.get_model(name, weights=None, num_classes=classes)
    state, first = model.state_dict(), describe("", model).first
    key = f"{first}.weight"
    return state | {key: state[key][:, :1].expand(-1, channels, *state[key].shape[2:])}


@pytest.mark.parametrize(("name", "classes", "channels"), ARCHITECTURES)
def test_recognised(name, classes, channels):
    found = recognise(blank(name, classes, channels))
    assert (found.spec, found.num_classes, found.in_channels) == (f"torchvision:{name}", classes, channels)


def test_no_time_is_spent_on_the_values_of_weights_without_memory():
    with weightless():
        network, real = torchvision.models.resnet18(), torch.zeros(2)
        torch.nn.init.constant_(real, 3)
        torch.nn.init.uniform_(tensor=real[1:], a=5, b=6)
    assert all(weight.is_meta and weight._version == 0 for weight in network.parameters())  # nothing was written
    assert real[0] == 3
    assert 5 <= real[1] <= 6


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_recognised_without_auxiliary_heads_and_counters(name):
    state = {key: v for key, v in blank(name, 14).items() if not key.lower().startswith("aux")}
    state = {key: v for key, v in state.items() if not key.endswith("num_batches_tracked")}
    assert recognise(state).spec == f"torchvision:{name}"


def test_timm_is_recognised_where_only_one_fits():
    with weightless():
        state = timm.create_model("resnet26", num_classes=5, in_chans=1).state_dict()
    found = recognise(state)
    assert (found.spec, found.num_classes, found.in_channels) == ("timm:resnet26", 5, 1)


def test_several_that_fit_are_listed():
    with weightless():
        state = timm.create_model("vit_tiny_patch16_224").state_dict()
    with pytest.raises(CheckpointError, match=r"timm:deit_tiny_patch16_224, timm:vit_tiny_patch16_224.*spec=") as e:
        recognise(state)
    one_line(e)


def test_the_closest_is_named():
    state = blank("resnet18", 2)
    del state["fc.bias"]
    with pytest.raises(
        CheckpointError, match=r"resnet18 but for the head: 1 missing \(fc.bias\); 1 unexpected \(new\).*spec="
    ) as error:
        recognise(state | {"new": torch.ones(1)})
    one_line(error)
    with pytest.raises(CheckpointError, match=r"named own.weight.*spec="):
        recognise({"own.weight": torch.ones(1)})


def test_references_are_built_once_and_leave_the_random_state():
    before = torch.get_rng_state()
    assert reference("resnet18") is reference("resnet18")
    assert torch.equal(torch.get_rng_state(), before)


def with_loss(prefix, extra=None):
    state = {f"{prefix}{key}": value for key, value in blank("resnet34", 3).items()}
    return state | {"loss.weight": torch.ones(3)} | (extra or {})


@pytest.mark.parametrize("prefix", ["model.", "model.module."])
def test_a_training_wrapper_s_own_weights_are_dropped_and_named(prefix):
    assert (recognise(with_loss(prefix)).spec, recognise(with_loss(prefix)).num_classes) == ("torchvision:resnet34", 3)
    match = chosen(matches(reference("resnet34"), Names(with_loss(prefix))))
    (note,) = match.notes
    assert f"1 weights beside {prefix!r} are left out (loss.weight)" in note
    assert match.state.keys() == reference("resnet34").shapes.keys()


def test_a_training_wrapper_s_own_weights_are_unexpected_where_the_others_do_not_fit():
    state = with_loss("model.", {"model.new.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match=r"resnet34 but for the head: 1 unexpected \(new\.weight\)"):
        recognise(state)


def test_loading_is_strict(tmp_path):
    model = small()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrong = {key: value + 1 for key, value in before.items()} | {
        "3.weight": torch.ones(5, 4),
        "new": torch.ones(1),
    }
    del wrong["0.bias"]
    with pytest.raises(CheckpointError, match=r"1 missing \(0.bias\); 1 unexpected \(new\); 1 of another") as error:
        load_into(model, wrong, tmp_path / "a.pt")
    assert "a.pt" in one_line(error)
    assert same(model.state_dict(), before)
    fits = {key: value + 1 for key, value in before.items() if "num_batches" not in key}
    load_into(model, fits, tmp_path / "a.pt")
    assert torch.equal(model.state_dict()["0.bias"], before["0.bias"] + 1)


NESTED = b"2\x86" * 60  # a tuple of a tuple, twice each: hashing or printing it takes 2 ** 60 steps


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x04})" + NESTED + b"Ns.",
        b"\x80\x04}()" + NESTED + b"Nu.",
        b"\x80\x04()" + NESTED + b"Nd.",
        b"\x80\x04()" + NESTED + b"\x91.",
        b"\x80\x04\x8f()" + NESTED + b"\x90.",
        b"\x80\x04ccollections\nOrderedDict\n])" + NESTED + b"N\x86a\x85R.",
        b"\x80\x04(X\x07\0\0\0storagectorch\nFloatStorage\n]" + NESTED + b"X\x03\0\0\0cpuK\x01tQ.",
        b"\x80\x04}" + b"\x8b" + (400).to_bytes(4, "little") + b"\x01" * 400 + b"Ns.",
    ],
    ids=["setitem", "setitems", "dict", "frozenset", "additems", "ordered", "storage", "integer"],
)
def test_keys_that_take_for_ever_to_hash_are_left_out_or_refused(tmp_path, program):
    with pytest.raises(CheckpointError, match=r"weights were expected|is named by a tuple|512 bits") as error:
        read_checkpoint(crafted(tmp_path / "a.pt", program))
    one_line(error)


def test_a_configuration_with_tuples_for_keys_is_no_obstacle(tmp_path):
    path = saved(tmp_path / "a.pt", {"state_dict": {"w": torch.ones(2)}, "config": {("a", 1): 2, (): 3}})
    assert torch.equal(read_checkpoint(path).state["w"], torch.ones(2))


def legacy(path, *programs):
    """A file of torch before 1.6, up to its machine's description, and what follows."""
    torch.save({}, path, _use_new_zipfile_serialization=False)
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    path.write_bytes(head + b"".join(programs))
    return path


def test_nested_tuples_around_the_weights_are_refused(tmp_path):
    hostile = b"\x80\x04](" + b")" + NESTED + b"e."
    with pytest.raises(CheckpointError, match="the storages are not those"):
        read_checkpoint(legacy(tmp_path / "a.pt", pickle.dumps({}, 2), hostile))
    (tmp_path / "b.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x04}K\x01)" + NESTED + b"s.")
    with pytest.raises(CheckpointError, match="does not begin as torch"):
        read_checkpoint(tmp_path / "b.pt")


def test_storages_of_a_legacy_file_share_its_bytes(tmp_path):
    one = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\0%cX\x03\0\0\0cpuM\x20\0NtQ"
    program = b"\x80\x02(" + b"".join(one % bytes([letter]) for letter in b"abcdefgh") + b"l."
    with pytest.raises(CheckpointError, match="larger than the file"):
        read_checkpoint(legacy(tmp_path / "a.pt", program, pickle.dumps([], 2)))


@pytest.mark.parametrize("opcode", [b"\x96", b"\x8e", b"\x8d", b"\x95"])
def test_no_more_bytes_are_asked_for_than_the_file_has(tmp_path, opcode):
    program = b"\x80\x05" + opcode + (2**36).to_bytes(8, "little") + b"."
    with pytest.raises(CheckpointError, match="more bytes are asked for"):
        read_checkpoint(crafted(tmp_path / "a.pt", program))


def test_copies_of_one_list_are_counted(tmp_path):
    calls = b"(" + b"h\x00h\x01R" * 1100 + b"l."
    program = b"\x80\x04ctorch\nSize\nq\x00(" + b"N" * 10_000 + b"l\x85q\x01" + calls
    with pytest.raises(CheckpointError, match="elements are copied"):
        read_checkpoint(crafted(tmp_path / "a.pt", program))


@pytest.mark.parametrize("call", [b"\x85R.", b"\x85\x81.", b"\x85}\x92."])
def test_storages_are_not_made_by_the_program(tmp_path, call):
    program = b"\x80\x04ctorch\nUntypedStorage\nJ\0\0\0\x40" + call
    with pytest.raises(CheckpointError, match="is called"):
        read_checkpoint(crafted(tmp_path / "a.pt", program))


def test_a_tensor_that_repeats_its_storage_is_refused(tmp_path):
    path = saved(tmp_path / "a.pt", {"fc.weight": torch.zeros(1).expand(2**20, 2**20)})
    with pytest.raises(CheckpointError, match="repeats its storage"):
        read_checkpoint(path)


def test_a_long_row_of_prefixes_takes_no_room():
    state = {f"{'net.' * 5000}{number}": torch.zeros(1) for number in range(100)}
    assert sum(map(len, Names(state).before)) < 8 * sum(map(len, state))


def test_names_in_a_message_are_words_and_cut(tmp_path):
    path = saved(tmp_path / "a.pt", {3: 1, "line\nbreak": 1, "x" * 5000: 1})
    with pytest.raises(CheckpointError, match=r"got line break, x{100};") as error:
        read_checkpoint(path)
    one_line(error)


def test_more_networks_than_can_be_listed_are_not_chosen_from():
    state = {f"fold{number}.{key}": value for number in range(40) for key, value in small().state_dict().items()}
    for number in range(40):
        state[f"fold{number}.3.bias"] = torch.full((2,), float(number))
    with pytest.raises(CheckpointError, match=r"several networks, under fold0 .*, …;.*weights_key='fold0'"):
        chosen(matches(describe("", small()), Names(state)))


def test_a_file_of_more_names_than_a_network_has_is_refused():
    with pytest.raises(CheckpointError, match="100001 weights were found, at most 100,000 are read"):
        Names(dict.fromkeys(map(str, range(100_001)), torch.ones(1)))


def test_entries_that_hold_one_another_are_searched_once(tmp_path):
    content = {"fc.weight": torch.ones(2, 2)}
    for _ in range(30):
        content = {f"k{number}": content for number in range(30)}
    with pytest.raises(CheckpointError, match="a network's weights were expected"):
        read_checkpoint(saved(tmp_path / "a.pt", content))


@pytest.mark.parametrize("key", ["ema", "ema.module", "state_dict.model", "model"])
def test_a_key_is_that_of_an_entry_or_of_a_prefix(tmp_path, key):
    plain, averaged = ({name: value + n for name, value in small().state_dict().items()} for n in (0, 1))
    content = {
        "state_dict": {f"model.{name}": value for name, value in plain.items()},
        "ema": {f"module.{name}": value for name, value in averaged.items()},
    }
    state = read_checkpoint(saved(tmp_path / "a.pt", content), key).state
    found = {name.removeprefix("module."): value for name, value in state.items()}
    assert same(found, averaged if "ema" in key else plain)


def test_a_key_that_the_file_lacks(tmp_path):
    path = saved(tmp_path / "a.pt", {"model": small().state_dict(), "model_ema": {"fc.weight": torch.ones(2, 2)}})
    with pytest.raises(CheckpointError, match=r"'modelema'.* under model, model_ema.*did you mean model_ema") as error:
        read_checkpoint(path, "modelema")
    one_line(error)
