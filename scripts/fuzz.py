"""Feed the readers hostile bytes, ten minutes each: a result or a one-line ``PellucidError``, nothing else, and soon.

pip install atheris
python -m scripts.fuzz TARGET --corpus FOLDER [-max_total_time=600 -timeout=20 -rss_limit_mb=3000]

The targets are the keys of ``TARGETS``. What fails is left in the corpus's folder as ``crash-…``, ``timeout-…`` or
``oom-…``; give such a file as the last argument to see it fail again.
"""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["pellucid.io", "pellucid.core.archive", "pydicom", "nibabel"]):
    import nibabel
    import numpy as np
    import pydicom.data
    import torch

    import pellucid
    from pellucid.core.explanation import Explanation
    from pellucid.core.image import Image
    from pellucid.errors import PellucidError
    from pellucid.io import read_image, read_series

LIMITS = ("-max_total_time=600", "-timeout=20", "-rss_limit_mb=3000", "-max_len=65536")
_LARGEST = 2**15
"""The most bytes of a file that is a seed."""
_ENDINGS = (".dcm", ".png", ".jpg", ".tif", "")
_SPLIT = b"\xff--next--\xff"
"""Separates the files of a series."""


def _image(folder: Path, content: bytes) -> None:
    """The first byte chooses the ending, the others are the file."""
    path = folder / f"a{_ENDINGS[content[0] % len(_ENDINGS)]}"
    path.write_bytes(content[1:])
    _check(read_image(path))


def _series(folder: Path, content: bytes) -> None:
    for number, part in enumerate(content.split(_SPLIT)[:8]):
        (folder / f"{number}.dcm").write_bytes(part)
    _check(read_series(folder))


def _nifti(folder: Path, content: bytes) -> None:
    """The first byte says whether the file is compressed."""
    path = folder / ("a.nii.gz" if content[0] % 2 else "a.nii")
    path.write_bytes(content[1:])
    _check(read_image(path))


def _archive(folder: Path, content: bytes) -> None:
    path = folder / "a.npz"
    path.write_bytes(content)
    pellucid.load_explanation(path)


TARGETS: dict[str, Callable[[Path, bytes], None]] = {
    "image": _image,
    "series": _series,
    "nifti": _nifti,
    "archive": _archive,
}


def _check(image: Image) -> None:
    pixels = image.pixels
    if not bool(pixels.isfinite().all()) or float(pixels.min()) < 0 or float(pixels.max()) > 1:
        raise AssertionError("pixels outside [0, 1]")


def one_input(target: str, folder: Path, content: bytes) -> None:
    """Read a content; ``AssertionError``: the error has several lines, or the result is not an image."""
    if len(content) < 2:
        return
    own = folder / "one"
    own.mkdir(exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TARGETS[target](own, content)
    except PellucidError as error:
        if "\n" in str(error):
            raise AssertionError(f"more than a line: {error}") from error
    finally:
        shutil.rmtree(own)


def seeds(target: str) -> Iterator[bytes]:
    """Contents to begin with."""
    if target in ("image", "series"):
        shipped = [
            path.read_bytes()
            for source in pydicom.data.__path__
            for path in sorted(Path(source).rglob("*.dcm"))
            if path.stat().st_size < _LARGEST
        ]
        yield from ([b"\0" + one for one in shipped] if target == "image" else shipped)
        if target == "series":
            yield from (_SPLIT.join((one, one)) for one in shipped)
    if target == "nifti":
        for kind in ("<i2", ">f4", "u1"):
            volume = nibabel.Nifti1Image(np.arange(60).reshape(3, 4, 5).astype(kind), np.diag([2.0, 3, 4, 1]))  # type: ignore[no-untyped-call]
            yield b"\0" + volume.to_bytes()
    if target == "archive":
        file = io.BytesIO()
        _explanation().save(file)
        yield file.getvalue()


def _explanation() -> Explanation:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(1), torch.nn.Linear(72, 2)).eval()
    return pellucid.explain(model, torch.rand(1, 1, 8, 8), layers=["0"])


def main(arguments: list[str]) -> None:
    """Fuzz a target."""
    target, *rest = arguments
    place = Path(tempfile.mkdtemp())
    if "--corpus" in rest:
        at = rest.index("--corpus")
        corpus = Path(rest[at + 1])
        rest[at : at + 2] = [str(corpus), f"-artifact_prefix={corpus}/"]
        corpus.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(seeds(target)):
            (corpus / f"seed-{number}").write_bytes(content)
    given = [one for one in LIMITS if not any(own.startswith(one.partition("=")[0]) for own in rest)]
    atheris.Setup([sys.argv[0], *rest, *given], lambda content: one_input(target, place, content))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
