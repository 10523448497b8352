"""The report of ``pellucid doctor``: versions, devices, threads, decoders and extras, whatever of them is broken."""

from __future__ import annotations

import os
import platform
import re
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module, metadata
from typing import Any, TypeVar

from pellucid.errors import message_of
from pellucid.run import machine

T = TypeVar("T")
PACKAGE = "pellucid"
MISSING = "not installed"
_REQUIREMENT = re.compile(r"^([\w.-]+).*?(?:extra == ['\"]([\w.-]+)['\"])?\)?$")
_FOLDERS = re.compile(r"(?:[A-Za-z]:)?[/\\](?:[^\s'\":/\\]+[/\\])+")


def report() -> dict[str, Any]:
    """The facts by section; "slow" is a list of what is slow about this machine. Never raises."""
    here: dict[str, Callable[[], str]] = {
        "python": platform.python_version,
        "system": _system,
        PACKAGE: partial(metadata.version, PACKAGE),
    }
    return {
        "versions": _facts(here) | _found(_packages, _section),
        "devices": _facts({"cpu": _cpu, "cuda": _cuda, "mps": _mps}),
        "threads": _facts({"torch": _torch_threads, machine.OMP: _omp, "processors": _processors, "memory": _memory}),
        "decoders": _found(_decoders, _section),
        "extras": _found(_extras, _section),
        "slow": machine.slow(),
    }


def _found(find: Callable[[], T], failed: Callable[[str], T]) -> T:
    """What a function finds, or what is made of the reason: a package that is broken may raise anything, and print."""
    try:
        with redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return find()
    except (Exception, SystemExit) as error:
        return failed(f"unknown ({_told(error)})")


def _facts(facts: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    return {name: _found(find, str) for name, find in facts.items()}


def _section(reason: str) -> dict[str, str]:
    """A section of which nothing is known."""
    return {"all": reason}


def _told(error: BaseException) -> str:
    """An error's class and message without folders, which name the user."""
    return f"{type(error).__name__}: {_FOLDERS.sub('…/', message_of(error))}"


def _system() -> str:
    return f"{platform.system()} {platform.release()}, {platform.machine()}"


def _requirements() -> dict[str, list[str]]:
    """The packages of each extra, and under "" what is always needed."""
    found: dict[str, list[str]] = defaultdict(list)
    for text in metadata.requires(PACKAGE) or ():
        match = _REQUIREMENT.match(text)
        if match:
            found[match[2] or ""].append(match[1])
    return found


def _packages() -> dict[str, str]:
    """The version of each package that is always needed, and whether it can be imported."""
    names, modules = sorted(_requirements()[""]), _modules()
    return _facts({name: partial(_package, name, modules[_normal(name)]) for name in names})


def _modules() -> dict[str, list[str]]:
    """The modules that each installed package brings."""
    found: dict[str, list[str]] = defaultdict(list)
    for module, owners in metadata.packages_distributions().items():
        for owner in set(owners):
            if module.isidentifier():
                found[_normal(owner)].append(module)
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _package(name: str, modules: Sequence[str]) -> str:
    version = _version(name)
    if version == MISSING:
        return f"{MISSING}: pip install {name}"
    try:
        for module in modules:
            _imported(module)
    except (Exception, SystemExit) as error:
        return f"{version}, cannot be imported ({_told(error)}): install it again"
    return version + (_lacking() if name == "torchvision" else "")


def _imported(module: str) -> None:
    if module in ("torchvision", "timm"):
        from pellucid.models.operators import imported

        imported(module)
    else:
        import_module(module)


def _lacking() -> str:
    from pellucid.models.operators import has_compiled_operators

    return "" if has_compiled_operators() else ", built for another torch: classifiers work, detection networks do not"


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return MISSING


def _cpu() -> str:
    import torch

    bfloat16 = sorted(flag for flag in machine.processor_flags() if "bf16" in flag)
    return ", ".join([torch.backends.cpu.get_cpu_capability(), *bfloat16])


def _cuda() -> str:
    import torch

    built = torch.version.cuda or torch.version.hip
    if built is None:
        return "torch is built without it"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return f"{built}, {', '.join(names) or 'no device that torch can use'}"


def _mps() -> str:
    import torch

    return "available" if torch.backends.mps.is_available() else "not available"


def _torch_threads() -> str:
    import torch

    return str(torch.get_num_threads())


def _omp() -> str:
    return os.environ.get(machine.OMP) or "not set"


def _processors() -> str:
    limit, cores = machine.cpu_limit(), machine.physical_cores()
    parts = [f"{os.cpu_count()} logical", "" if cores is None else f"{cores} cores"]
    parts += [f"{machine.allowed_cpus()} allowed", "" if limit is None else f"time of {limit:g}"]
    return ", ".join(filter(None, parts))


def _memory() -> str:
    from pellucid.core.allocator import unsupported

    reason = unsupported()
    if reason is not None:
        return f"freed memory is not kept: {reason}"
    return "freed memory is kept on the command line; in scripts with Runtime(keep_memory=True)"


def _decoders() -> dict[str, str]:
    """The transfer syntaxes of DICOM, and whether each can be decoded."""
    from pellucid.io.dicom_decoding import decoded_syntaxes

    return {name: "decoded" if works else "not decoded" for name, works in decoded_syntaxes().items()}


def _extras() -> dict[str, str]:
    """Whether the packages of each extra are installed, but of those that contain another extra."""
    every = {name: packages for name, packages in _requirements().items() if name}
    own = {
        name: packages for name, packages in every.items() if not any(set(o) < set(packages) for o in every.values())
    }
    return {name: _extra(name, packages) for name, packages in sorted(own.items())}


def _extra(name: str, wanted: Sequence[str]) -> str:
    missing = [one for one in wanted if _version(one) == MISSING]
    if not missing:
        return "installed"
    return f"{', '.join(sorted(missing))} missing: pip install 'pellucid[{name}]'"
