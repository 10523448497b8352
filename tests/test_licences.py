"""The licences of what the default installation brings: packages, and the libraries that their wheels carry."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, PackagePath, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
COPYLEFT = re.compile(r"\b(AGPL|GPL|LGPL)|GNU (Affero |Lesser |Library )?General Public", re.IGNORECASE)
WHOLE_TEXT = re.compile(r"GNU (AFFERO )?GENERAL PUBLIC LICENSE\s+Version")
EXCEPTION = "GCC RUNTIME LIBRARY EXCEPTION"
LIBRARY = re.compile(r"lib(?P<name>[^.-]+)[^/]*\.(so|dylib|dll)(\.[\d.]+)?")
ROW = re.compile(r"^\| (`.+`) \| (.+) \| (.+) \|$", re.MULTILINE)
LGPL = {("quadmath", "LGPL-2.1-or-later")}
"""Libraries under the LGPL that are files of their own, which can be replaced."""


def requirements() -> Iterator[Requirement]:
    """Those of pyproject.toml: the metadata of an editable installation may be older."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        yield from map(Requirement, tomllib.load(file)["project"]["dependencies"])


def closure() -> dict[str, Distribution]:
    """Every package that the default installation brings on this system."""
    found: dict[str, Distribution] = {}
    done: set[tuple[str, str]] = set()
    waiting = [(one.name, extra) for one in requirements() for extra in ("", *one.extras)]
    while waiting:
        name, extra = waiting.pop()
        key = canonicalize_name(name)
        if (key, extra) in done:
            continue
        done.add((key, extra))
        found[key] = distribution(name)
        for text in found[key].requires or []:
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                waiting += [(one.name, extra) for extra in ("", *one.extras)]
    return found


def stated(package: Distribution) -> str:
    """The licence by a package's metadata: the expression, or the field and the classifiers."""
    metadata = package.metadata
    kinds = [line for line in metadata.get_all("Classifier", []) if line.startswith("License")]
    field = (metadata.get("License") or "").partition("\n")[0]
    return metadata.get("License-Expression") or "; ".join(filter(None, [field, *kinds]))


def is_proprietary(package: Distribution) -> bool:
    return "Proprietary" in stated(package) or package.metadata["Name"].startswith(("nvidia-", "cuda-"))


def libraries(package: Distribution) -> set[str]:
    return {match["name"] for path in package.files or [] if (match := LIBRARY.fullmatch(path.name))}


def licence_texts(package: Distribution) -> Iterator[tuple[PackagePath, str]]:
    for path in package.files or []:
        if re.search("licen[cs]e|copying|notice", path.name, re.IGNORECASE) and path.suffix in ("", ".txt", ".md"):
            yield path, Path(str(path.locate())).read_text(encoding="utf-8", errors="replace")


PACKAGES = closure()
LISTED = {
    (name, package): licence
    for names, packages, licence in ROW.findall((ROOT / "docs" / "licences.md").read_text(encoding="utf-8"))
    for name in re.findall("`(.+?)`", names)
    for package in packages.split(", ")
}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_no_package_of_the_default_installation_is_under_the_gpl(name: str) -> None:
    package = PACKAGES[name]
    assert stated(package) or is_proprietary(package), f"{name} states no licence"
    assert not COPYLEFT.search(stated(package)), f"{name}: {stated(package)}"
    if not is_proprietary(package):
        for path, text in licence_texts(package):
            assert not WHOLE_TEXT.search(text) or EXCEPTION in text, f"{name}: {path} is the GPL"


def test_the_default_installation_has_the_decoders() -> None:
    assert {"imagecodecs", "pyjpegls", "pylibjpeg-openjpeg", "torch", "numpy"} <= set(PACKAGES)


def test_every_bundled_library_is_listed_with_its_licence() -> None:
    own = {name: package for name, package in PACKAGES.items() if not is_proprietary(package)}
    found = {(library, name) for name, package in own.items() for library in libraries(package)}
    assert found - set(LISTED) == set(), "look up the licences of these, and add them to docs/licences.md"


def test_no_listed_library_is_under_the_gpl() -> None:
    assert len(LISTED) > 60
    for (library, _), licence in LISTED.items():
        free = "WITH GCC-exception" in licence or (library, licence) in LGPL
        assert free or not COPYLEFT.search(licence), f"{library}: {licence}"
