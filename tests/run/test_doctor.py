"""``pellucid doctor``: facts that agree with their sources, whatever is broken, and what is slow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pellucid.cli.main import app
from pellucid.core import allocator
from pellucid.run import doctor, machine

BROKEN = """
import sys
from importlib.abc import MetaPathFinder
KINDS = [OSError("/home/jane/lib/libtorch.so: cannot open"), SystemExit(3), RuntimeError("no operator"), ImportError()]
class Broken(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in NAMES:
            print("noise of a package")
            raise KINDS[len(name) % len(KINDS)]
sys.meta_path.insert(0, Broken())
from pellucid.cli.main import run
sys.argv = ["pellucid", "doctor", "--json"]
run()
"""
KEPT = ("typer", "rich")
"""What the command line itself is made of."""


@pytest.fixture(scope="module")
def found() -> dict[str, object]:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert (done.exit_code, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_versions_are_the_installed_ones(found: dict) -> None:
    needed = [text for text in metadata.requires("pellucid") if "extra ==" not in text]
    names = [text.split(">")[0].split("=")[0].strip() for text in needed]
    assert len(names) > 10
    assert {name: found["versions"][name] for name in names} == {name: metadata.version(name) for name in names}
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert found["threads"]["torch"] == str(torch.get_num_threads())


def test_decoders_are_those_of_the_readers(found: dict) -> None:
    for name in ("JPEG Extended (Process 2 and 4)", "RLE Lossless", "JPEG 2000 Image Compression"):
        assert found["decoders"][name] == "decoded"


def test_text_has_every_fact_in_plain_lines(found: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "report", lambda: {**found, "slow": []})
    lines = CliRunner().invoke(app, ["doctor"]).stdout.splitlines()
    shown = [line.split() for line in lines]
    for section in ("versions", "devices", "threads", "decoders", "extras"):
        assert section in lines
        assert all([*name.split(), *text.split()] in shown for name, text in found[section].items())
    assert lines[-2:] == ["slow", "  nothing that was looked for"]
    assert str(Path.home()) not in "\n".join(lines)


def test_a_missing_extra_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata, "requires", lambda _: ["numpy>=1", "none-such>=2; extra == 'own'", "rich; extra == 'all'"]
    )
    monkeypatch.setattr(doctor.metadata, "requires", metadata.requires)
    assert doctor.report()["extras"] == {"all": "installed", "own": "none-such missing: pip install 'pellucid[own]'"}


def test_extras_that_only_collect_others_are_left_out(found: dict) -> None:
    named = set(metadata.metadata("pellucid").get_all("Provides-Extra"))
    assert named - set(found["extras"]) == {"all", "dev"}


def test_nothing_that_is_broken_stops_the_report(tmp_path: Path) -> None:
    distributions = metadata.packages_distributions()
    needed = {text.split(">")[0] for text in metadata.requires("pellucid") if "extra ==" not in text} - set(KEPT)
    broken = sorted(module for module, owners in distributions.items() if needed & {one.lower() for one in owners})
    assert {"torch", "numpy", "pydicom", "timm"} <= set(broken)
    done = subprocess.run(
        [sys.executable, "-c", f"NAMES = {broken}\n{BROKEN}"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)  # the noise is not in it
    for name in needed:
        assert "cannot be imported (" in report["versions"][name], name
        assert report["versions"][name].startswith(metadata.version(name))
    assert report["devices"]["cpu"].startswith("unknown (")
    assert "jane" not in done.stdout
    assert "…/libtorch.so: cannot open" in str(report)


def test_a_package_without_metadata_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: str) -> list[str]:
        raise metadata.PackageNotFoundError("pellucid")

    monkeypatch.setattr(doctor.metadata, "requires", none)
    monkeypatch.setattr(doctor.metadata, "version", none)
    found = doctor.report()
    assert found["versions"]["all"].startswith("unknown (PackageNotFoundError")
    assert found["versions"]["pellucid"].startswith("unknown (PackageNotFoundError")


# What is slow.


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Files of a Linux system."""
    for name in ("CPUS", "CGROUPS", "PROCESS"):
        monkeypatch.setattr(machine, name, tmp_path / name)

    def write(path: str, text: str) -> None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    return write


def test_the_limit_of_a_container_is_the_smallest_around_it(system: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.cpu_limit() is None
    system("PROCESS/self/cgroup", "0::/pod/inner\n")
    system("CGROUPS/cpu.max", "max 100000\n")
    assert machine.cpu_limit() is None
    system("CGROUPS/pod/cpu.max", "250000 100000\n")
    system("CGROUPS/pod/inner/cpu.max", "400000 100000\n")
    assert machine.cpu_limit() == 2.5
    monkeypatch.setattr(machine, "allowed_cpus", lambda: 8)
    assert machine.usable_cpus() == 3
    monkeypatch.setattr(machine, "allowed_cpus", lambda: 2)
    assert machine.usable_cpus() == 2


def test_the_limit_of_the_first_version_of_cgroups(system: Callable) -> None:
    system("PROCESS/self/cgroup", "4:memory:/\n2:cpu,cpuacct:/pod\n")
    system("CGROUPS/cpu,cpuacct/pod/cpu.cfs_quota_us", "-1\n")
    system("CGROUPS/cpu,cpuacct/pod/cpu.cfs_period_us", "100000\n")
    assert machine.cpu_limit() is None
    system("CGROUPS/cpu,cpuacct/pod/cpu.cfs_quota_us", "50000\n")
    assert machine.cpu_limit() == 0.5
    assert machine.usable_cpus() == 1


def test_hyper_threads_are_one_core(system: Callable) -> None:
    assert machine.physical_cores() is None
    for number, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        system(f"CPUS/cpu{number}/topology/thread_siblings_list", f"{siblings}\n")
    assert machine.physical_cores() == 2


def test_a_folder_of_another_machine(system: Callable, tmp_path: Path) -> None:
    assert machine.file_system(tmp_path) == ""
    system(
        "PROCESS/mounts", f"disk / ext4 rw 0 0\nserver:/home {tmp_path} nfs4 rw 0 0\nx {tmp_path}/other ext4 rw 0 0\n"
    )
    assert machine.file_system(tmp_path / "cache") == "nfs4"
    assert machine.file_system(tmp_path / "other" / "cache") == "ext4"
    assert machine.file_system(tmp_path.parent) == "ext4"


@pytest.fixture
def fine(monkeypatch: pytest.MonkeyPatch, system: Callable) -> pytest.MonkeyPatch:
    """A machine with nothing to report: four cores, all used."""
    for name in allocator._STATED:
        monkeypatch.delenv(name, raising=False)
    system("PROCESS/cpuinfo", "flags\t\t: fpu avx2 avx512_bf16\n")
    monkeypatch.setattr(machine, "allowed_cpus", lambda: 4)
    monkeypatch.setattr(machine, "has_gpu", lambda: False)
    monkeypatch.setattr(machine.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert machine.slow() == []
    return monkeypatch


def test_what_is_slow_is_found(fine: pytest.MonkeyPatch, system: Callable, tmp_path: Path) -> None:
    system("PROCESS/cpuinfo", "flags\t\t: fpu avx2\n")
    system("PROCESS/mounts", "server:/home / nfs 0 0\n")
    fine.setattr(torch, "get_num_threads", lambda: 16)
    fine.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    fine.setattr(machine, "has_gpu", lambda: True)
    fine.setattr(torch.version, "cuda", None)
    fine.setattr(torch.version, "debug", True)
    lines = machine.slow()
    for part in ("16 threads, and 4 can", "no AVX2", "no bfloat16", "without CUDA", "(nfs)", "for debugging"):
        assert sum(part in line for line in lines) == 1, part
    fine.setattr(torch.version, "cuda", "13.0")
    assert any("its driver may be too old" in line for line in machine.slow())
    fine.setattr(machine.platform, "machine", lambda: "arm64")  # "DEFAULT" is NEON there
    assert not any("AVX2" in line for line in machine.slow())


def test_a_variable_that_keeps_no_memory_is_named(fine: pytest.MonkeyPatch) -> None:
    if allocator.unsupported() is not None:
        pytest.skip("this system keeps no memory")
    fine.setenv("MALLOC_TOP_PAD_", "0")
    (line,) = machine.slow()
    assert "as the variable MALLOC_TOP_PAD_ states how memory is allocated: unset it" in line
    assert doctor.report()["threads"]["memory"].startswith("freed memory is not kept: the variable MALLOC_TOP_PAD_")
    fine.delenv("MALLOC_TOP_PAD_")
    assert machine.slow() == []


def test_a_broken_search_stops_no_other(fine: pytest.MonkeyPatch) -> None:
    def broken() -> str:
        raise OSError

    fine.setattr(machine, "SLOW", (broken, lambda: "a line"))
    assert machine.slow() == ["a line"]


THREADS = """
from pellucid.run import machine
machine.physical_cores = lambda: None
for usable in (1, 2):
    machine.usable_cpus = lambda: usable
    print(*machine.slow(), sep="\\n", end="\\0")
"""


def of_threads(count: str) -> tuple[list[str], ...]:
    """What is said of so many threads where one processor is usable, and where two are."""
    done = subprocess.run(
        [sys.executable, "-c", THREADS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, machine.OMP: count},
    )
    return tuple([line for line in one.splitlines() if machine.OMP in line] for one in done.stdout.split("\0")[:-1])


def test_the_remedy_for_threads_works() -> None:
    if (os.cpu_count() or 1) < 2:
        pytest.skip("torch takes no more threads than there are processors")
    (fine, [few]), ([many], right) = of_threads("1"), of_threads("2")
    assert (fine, right) == ([], [])
    for line, remedy in ((few, "2"), (many, "1")):
        assert line.partition(f"{machine.OMP}=")[2].partition(",")[0] == remedy
